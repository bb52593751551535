/**
 * Keeps what lies around in the JavaScript heap small: strings and objects of requests that are done.
 *
 * The collector begins when the heap has doubled, and counts buffers as part of it, those that were
 * freed too. With a memory tier of 128 MiB beside 25 MiB of objects that is more than 100 MiB of garbage
 * before it does, and more while its threads wait for the processor. A collection of what is young finds it,
 * in 5 to 30 ms on a busy core like the collector's own; so it is asked for when there can be
 * much to find. Buffers are watched in bulk-garbage.ts.
 */

import { edenGC } from "bun:jsc";
import type { Clock } from "./clock.ts";
import { memoryUsage } from "./memory-usage.ts";

const TICK_MS = 100;
const MIB = 1024 * 1024;
/** So much room beyond what was in use is worth a collection, */
const WORTH_BYTES = 48 * MIB;
/** if all of it was filled: the heap grew by this since the last one, after which it is filled first. */
const GROWTH_BYTES = 8 * MIB;

export interface HeapCollector {
  /** Bytes of the JavaScript heap without buffers, in use or not; 0 when nobody knows, then nothing is done. */
  sizeBytes(): number;
  /** Of it in use when it was last collected. */
  usedBytes(): number;
  /** Makes room of what was made since the last collection and is not used any more. */
  collectYoung(): void;
}

/** What Bun says of its own heap. */
export const runtimeHeap: HeapCollector = {
  sizeBytes: () => memoryUsage()?.heapTotal ?? 0,
  usedBytes() {
    const { heapUsed, external } = memoryUsage() ?? { heapUsed: 0, external: 0 };
    return Math.max(0, heapUsed - external);
  },
  collectYoung: () => void edenGC(),
};

/** Looks at the heap from time to time, until it is stopped. */
export class HeapGarbage {
  readonly #clock: Clock;
  readonly #collector: HeapCollector;
  #usedBytes: number;
  /** The size after the last collection, or less: the runtime gives room back, and collects too. */
  #leftBytes: number;
  #isStopped = false;

  constructor(clock: Clock, collector: HeapCollector = runtimeHeap) {
    this.#clock = clock;
    this.#collector = collector;
    this.#usedBytes = collector.usedBytes();
    this.#leftBytes = collector.sizeBytes();
    this.#wait();
  }

  stop(): void {
    this.#isStopped = true;
  }

  #wait(): void {
    this.#clock.after(TICK_MS, () => {
      if (this.#isStopped) return;
      this.#look();
      this.#wait();
    });
  }

  #look(): void {
    const sizeBytes = this.#collector.sizeBytes();
    this.#leftBytes = Math.min(this.#leftBytes, sizeBytes);
    if (sizeBytes - this.#usedBytes < WORTH_BYTES) return;
    if (sizeBytes - this.#leftBytes < GROWTH_BYTES) return;
    this.#collector.collectYoung();
    this.#usedBytes = this.#collector.usedBytes();
    this.#leftBytes = this.#collector.sizeBytes();
  }
}
