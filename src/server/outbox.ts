/**
 * Replies that go out at the end of a turn of the event loop, one right behind the other.
 *
 * A send wakes the thread that waits for it, and in a virtual machine that takes longer than all else the
 * kernel does for a small reply. A client with many connections in one thread reads the one reply, asks again and
 * sleeps until the next; when replies come together it is awake already. Redis writes its replies before it
 * sleeps for the same reason. Nobody waits longer than for what is due in the same turn, but for bulk work: before each
 * helping of that they go out.
 */

import { goesBeforeBulk } from "../base/turn-share.ts";

/** So much waits at most, as sending it takes as long as a turn may. */
const WAITING_BYTES_MAX = 1024 * 1024;

/** What goes out at the end of a turn. Its calls must not throw. */
export interface Departing {
  /** The turn is over: sends. */
  depart(): void;
  /** All that goes out with it was sent too: time for what is still to be done. */
  onDeparted(): void;
}

export class Outbox {
  readonly #endOfTurn: (run: () => void) => void;
  readonly #flush = (): void => this.flush();
  #waiting: Departing[] = [];
  #waitingBytes = 0;
  #isFlushing = false;

  /** @param endOfTurn calls back after everything that is already due on the event loop */
  constructor(endOfTurn: (run: () => void) => void = (run) => void setImmediate(run)) {
    this.#endOfTurn = endOfTurn;
  }

  /** Lets `departing`, which is about to send so many bytes, depart at the end of the turn. */
  add(sizeBytes: number, departing: Departing): void {
    if (!this.#isFlushing && this.#waitingBytes + sizeBytes > WAITING_BYTES_MAX) this.flush();
    if (this.#waiting.length === 0) this.#endOfTurn(this.#flush);
    this.#waitingBytes += sizeBytes;
    this.#waiting.push(departing);
  }

  /** Calls `send`, which is about to send so many bytes, at the end of the turn, and settles as it does. */
  defer<T>(sizeBytes: number, send: () => T | PromiseLike<T>): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    this.add(sizeBytes, {
      depart() {
        try {
          resolve(send());
        } catch (error) {
          reject(error);
        }
      },
      onDeparted: () => undefined,
    });
    return promise;
  }

  /** Sends now what waits for the end of the turn. */
  flush(): void {
    if (this.#waiting.length === 0) return;
    const waiting = this.#waiting;
    this.#waiting = [];
    this.#waitingBytes = 0;
    for (const departing of waiting) departing.depart();
    // Whoever is done may ask to send more, which waits for the turn that is to come.
    const wasFlushing = this.#isFlushing;
    this.#isFlushing = true;
    for (const departing of waiting) departing.onDeparted();
    this.#isFlushing = wasFlushing;
  }
}

/** Of all listeners, as they share the turns of one event loop. */
export const outbox = new Outbox();
goesBeforeBulk(() => outbox.flush());
