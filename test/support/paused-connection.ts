/** A connection of this process with itself, whose receiving end leaves what comes with the kernel. */

import type { Socket } from "bun";

export interface PausedConnection extends Disposable {
  readonly sender: Socket<unknown>;
  /** Paused until somebody resumes it. */
  readonly receiver: Socket<unknown>;
  /** What it received since, once the sender has ended. */
  readonly received: Promise<Buffer>;
}

export async function pausedConnection(): Promise<PausedConnection> {
  const accepted = Promise.withResolvers<Socket<unknown>>();
  const received = Promise.withResolvers<Buffer>();
  const chunks: Buffer[] = [];
  const listener = Bun.listen({
    hostname: "127.0.0.1",
    port: 0,
    socket: { open: (socket) => accepted.resolve(socket), data: () => undefined },
  });
  const receiver = await Bun.connect({
    hostname: "127.0.0.1",
    port: listener.port,
    socket: {
      data: (_, chunk) => void chunks.push(chunk),
      close: () => received.resolve(Buffer.concat(chunks)),
    },
  });
  receiver.pause();
  return {
    sender: await accepted.promise,
    receiver,
    received: received.promise,
    [Symbol.dispose]() {
      receiver.terminate();
      listener.stop(true);
    },
  };
}
