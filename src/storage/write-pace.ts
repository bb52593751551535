/**
 * `WritePace`: on which thread bytes of the cache are written.
 *
 * A write into the page cache is a copy, and a copy is cheapest right where the bytes are: still in
 * the processor's cache, on the thread that received them. Through the thread pool a body of 64 MiB
 * cost 1.2 ms of processor time per MiB more (3.3 in place of 2.1 on a core of its own): bytes go cold
 * while they wait, the queue grows in memory never used before, and every piece takes two thread switches.
 *
 * But a volume that falls behind makes its writers wait in the kernel (Linux throttles who makes
 * pages dirty), and nobody else is served meanwhile. So every write is timed. After a slow one
 * the pool does the work for fifty times as long as it took: at most a fiftieth of the time is ever spent
 * waiting for the volume, however slow it is.
 *
 * A write is slow only if it waited. With a compiler thread on the same core one now and then took 8 to 12 ms
 * while that one had the core; the pool then took over for half a second, and its threads held small hits up for as
 * long: p99 beside eight misses 10 ms in place of 6.
 */

import type { Clock } from "../base/clock.ts";
import type { DiskFile } from "../base/disk.ts";
import { voluntaryWaits } from "../base/thread-usage.ts";

/** Longer than a copy takes. */
const SLOW_MS = 8;
const REST_PER_SLOW_MS = 50;

export class WritePace {
  readonly #clock: Clock;
  readonly #waits: () => number | undefined;
  #restsUntilMs = 0;

  /** @param waits how often this thread has waited for something; undefined: any write that takes long is slow */
  constructor(clock: Clock, waits: () => number | undefined = voluntaryWaits) {
    this.#clock = clock;
    this.#waits = waits;
  }

  /** Writes are done at once for now. */
  get isQuick(): boolean {
    return this.#clock.monotonicMs() >= this.#restsUntilMs;
  }

  /**
   * Writes all chunks one after the other from `position`. Undefined when it is done, else a promise
   * of it. Throws or rejects with `storage_io` unless every byte was taken; nobody may change the
   * chunks before. Hand over a few hundred KiB at a time: that is how long others wait.
   */
  write(
    file: DiskFile,
    chunks: readonly Uint8Array[],
    position: number,
  ): Promise<void> | undefined {
    const startMs = this.#clock.monotonicMs();
    if (startMs < this.#restsUntilMs) return file.write(chunks, position);
    const waitsBefore = this.#waits();
    file.writeSync(chunks, position);
    const endMs = this.#clock.monotonicMs();
    const tookMs = endMs - startMs;
    if (tookMs >= SLOW_MS && (waitsBefore === undefined || this.#waits() !== waitsBefore)) {
      this.#restsUntilMs = endMs + tookMs * REST_PER_SLOW_MS;
    }
    return undefined;
  }
}
