/**
 * Replies that go out at the end of a turn of the event loop, one right behind the other.
 *
 * A send wakes the thread that waits for it, and in a virtual machine that takes longer than all else the
 * kernel does for a small reply. A client with many connections in one thread reads the one reply, asks again and
 * sleeps until the next; when replies come together it is awake already. Redis writes its replies before it
 * sleeps for the same reason. Nobody waits longer than for what is due in the same turn, or for one helping.
 */

/** Small replies of a turn; more than that go out before its end. */
const HELD_BYTES_MAX = 256 * 1024;

/** Of large ones so much is deferred, as sending it takes as long as a turn may. */
const DEFERRED_BYTES_MAX = 1024 * 1024;

/** The sending half of a connection. */
export interface HeldSender {
  /** Sends `bytes[start, end)`, which are another's afterwards. Does not throw when the client is gone. */
  sendHeld(bytes: Uint8Array, start: number, end: number): void;
}

interface Held {
  readonly sender: HeldSender;
  readonly startBytes: number;
  endBytes: number;
}

interface Deferred {
  readonly send: () => Promise<void> | undefined;
  readonly done: PromiseWithResolvers<void>;
}

export class Outbox {
  readonly #endOfTurn: (run: () => void) => void;
  readonly #flush = (): void => this.flush();
  /** What was held, in one piece of memory. */
  readonly #bytes = Buffer.allocUnsafeSlow(HELD_BYTES_MAX);
  #heldBytes = 0;
  #deferredBytes = 0;
  /** In the order in which they were given, which of one connection must be that of its requests. */
  #waiting: (Held | Deferred)[] = [];

  /** @param endOfTurn calls back after everything that is already due on the event loop */
  constructor(endOfTurn: (run: () => void) => void = (run) => void setImmediate(run)) {
    this.#endOfTurn = endOfTurn;
  }

  /** Copies a header, a character per byte, and its body; both together at most 64 KiB. */
  hold(sender: HeldSender, head: string, body: Uint8Array): void {
    if (this.#heldBytes + head.length + body.length > HELD_BYTES_MAX) this.flush();
    const startBytes = this.#heldBytes;
    this.#bytes.write(head, startBytes, "latin1");
    this.#bytes.set(body, startBytes + head.length);
    this.#heldBytes += head.length + body.length;
    const last = this.#waiting.at(-1);
    // Requests of one connection that came together are answered together.
    if (last !== undefined && "sender" in last && last.sender === sender)
      last.endBytes = this.#heldBytes;
    else this.#add({ sender, startBytes, endBytes: this.#heldBytes });
  }

  /** Calls `send` with the others, which is about to send so many bytes, and settles as it does. */
  defer(sizeBytes: number, send: () => Promise<void> | undefined): Promise<void> {
    if (this.#deferredBytes + sizeBytes > DEFERRED_BYTES_MAX) this.flush();
    this.#deferredBytes += sizeBytes;
    const done = Promise.withResolvers<void>();
    this.#add({ send, done });
    return done.promise;
  }

  /** Sends now what waits for the end of the turn: whoever sends at once does it first, to keep the order. */
  flush(): void {
    if (this.#waiting.length === 0) return;
    const waiting = this.#waiting;
    this.#waiting = [];
    this.#heldBytes = 0;
    this.#deferredBytes = 0;
    for (const one of waiting) {
      if ("sender" in one) one.sender.sendHeld(this.#bytes, one.startBytes, one.endBytes);
      else settle(one);
    }
  }

  #add(one: Held | Deferred): void {
    if (this.#waiting.length === 0) this.#endOfTurn(this.#flush);
    this.#waiting.push(one);
  }
}

function settle({ send, done }: Deferred): void {
  try {
    const sending = send();
    if (sending === undefined) done.resolve();
    else sending.then(done.resolve, done.reject);
  } catch (error) {
    done.reject(error);
  }
}
