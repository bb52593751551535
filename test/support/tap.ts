/**
 * A tap: an HTTP proxy between a client and the gateway that changes nothing and remembers every
 * reply head, so that a test can say what a client was really sent: the client's own view hides
 * headers, retries and extra requests.
 */

import {
  createServer,
  request as send,
  type IncomingMessage,
  type ServerResponse,
} from "node:http";
import type { AddressInfo } from "node:net";

import { Fields, withoutFields } from "../../src/http/fields.ts";

export interface TappedReply {
  readonly method: string;
  readonly rawTarget: string;
  readonly status: number;
  /** The reply's fields as the gateway sent them. */
  readonly fields: Fields;
}

export interface Tap extends AsyncDisposable {
  /** `http://127.0.0.1:<port>`, for the client. */
  readonly endpoint: string;
  /** Every reply so far, in order of their heads. */
  readonly replies: readonly TappedReply[];
}

/** Opens a tap in front of whatever listens on `port` of this machine. */
export async function openTap(port: number): Promise<Tap> {
  const replies: TappedReply[] = [];

  const pass = (incoming: IncomingMessage, reply: ServerResponse) => {
    const method = incoming.method ?? "";
    const rawTarget = incoming.url ?? "";
    const outgoing = send({
      host: "127.0.0.1",
      port,
      method,
      path: rawTarget,
      // The server already answered 100 Continue; the body follows at once.
      headers: withoutFields(incoming.rawHeaders, (name) => name === "expect"),
      setHost: false,
    });
    outgoing.on("response", (answer) => {
      const status = answer.statusCode ?? 0;
      replies.push({ method, rawTarget, status, fields: new Fields(answer.rawHeaders) });
      reply.writeHead(status, answer.rawHeaders);
      answer.on("error", () => reply.destroy());
      answer.pipe(reply);
    });
    outgoing.on("error", () => reply.destroy());
    reply.on("close", () => {
      if (!reply.writableFinished) outgoing.destroy();
    });
    incoming.pipe(outgoing);
  };

  const server = createServer({ maxHeaderSize: 64 * 1024 }, pass);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port: ownPort } = server.address() as AddressInfo;
  return {
    endpoint: `http://127.0.0.1:${ownPort}`,
    replies,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
