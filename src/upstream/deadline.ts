/**
 * `Deadline`: one moment after which something is given up.
 *
 * A connection moves its deadline with every chunk, so moving must cost nothing: the timer
 * underneath stays where it is, and when it fires early it is set again for the rest.
 */

import type { Clock, Timer } from "../base/clock.ts";

export class Deadline {
  readonly #clock: Clock;
  readonly #onExpire: () => void;
  #dueAtMs = Infinity;
  #timer: Timer | undefined;
  #timerAtMs = 0;

  constructor(clock: Clock, onExpire: () => void) {
    this.#clock = clock;
    this.#onExpire = onExpire;
  }

  /** Expires `ms` from now, whatever was set before. */
  set(ms: number): void {
    this.#dueAtMs = this.#clock.monotonicMs() + ms;
    if (this.#timer !== undefined && this.#timerAtMs <= this.#dueAtMs) return;
    this.#timer?.cancel();
    this.#arm(ms);
  }

  /** Nothing expires until it is set again. The timer may still run out, unheard. */
  clear(): void {
    this.#dueAtMs = Infinity;
  }

  /** Clears it and frees the timer. */
  dispose(): void {
    this.clear();
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #arm(ms: number): void {
    this.#timerAtMs = this.#clock.monotonicMs() + ms;
    this.#timer = this.#clock.after(ms, () => {
      this.#timer = undefined;
      if (this.#dueAtMs === Infinity) return;
      const restMs = this.#dueAtMs - this.#clock.monotonicMs();
      // Timers may fire a fraction of a millisecond early.
      if (restMs > 1) {
        this.#arm(restMs);
        return;
      }
      this.#dueAtMs = Infinity;
      this.#onExpire();
    });
  }
}
