/**
 * One byte budget for all background work: evacuation, sweeping, scrubbing. A token
 * bucket that also steps back when the event loop is late, because then requests are
 * waiting already.
 */

import type { Clock } from "../base/clock.ts";

/** A pause this long shows whether the event loop keeps up. */
const BREATH_MS = 1;
/** Late by more than this, the loop is busy with requests. */
const LATE_MS = 10;
/** How much of its budget background work gives up while the loop is late. */
const LATE_FACTOR = 4;

export class BackgroundBudget {
  readonly #clock: Clock;
  readonly #bytesPerSecond: number;
  #readyAtMs: number;

  /** @param bytesPerSecond 0: no limit but the pauses that let requests through */
  constructor(clock: Clock, bytesPerSecond: number) {
    this.#clock = clock;
    this.#bytesPerSecond = bytesPerSecond;
    this.#readyAtMs = clock.monotonicMs();
  }

  /** Resolves when `sizeBytes` may be read or written; always lets the event loop run once. */
  async spend(sizeBytes: number, signal?: AbortSignal): Promise<void> {
    const nowMs = this.#clock.monotonicMs();
    const costMs = this.#bytesPerSecond === 0 ? 0 : (1000 * sizeBytes) / this.#bytesPerSecond;
    this.#readyAtMs = Math.max(this.#readyAtMs, nowMs) + costMs;
    await this.#clock.sleep(BREATH_MS, signal);
    const lateMs = this.#clock.monotonicMs() - nowMs - BREATH_MS;
    if (lateMs > LATE_MS) this.#readyAtMs += LATE_FACTOR * costMs;
    const waitMs = this.#readyAtMs - this.#clock.monotonicMs();
    if (waitMs > 0) await this.#clock.sleep(waitMs, signal);
  }
}
