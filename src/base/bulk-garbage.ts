/**
 * Keeps memory flat while gigabytes pass through, as far as nobody says that he is done with it
 * (counted-bytes.ts).
 *
 * Chunks from sockets lie outside of the JavaScript heap, which is small, so the collector sees
 * little reason to hurry, and on a busy machine its threads come late: 5 GiB on their way into
 * the store left 150 MiB of chunks behind that nobody needed any more. Whoever moves many bytes
 * reports them here; every so often what is left behind is taken away at once, if it is much.
 *
 * Much it is when both measures say so: the runtime counts buffers that were freed already until it
 * looks at them, and resident memory holds more than buffers.
 *
 * Chunks live for moments, so a young collection finds nearly all of them, in 1.5 to 2 ms. A full
 * one holds everybody up for 25 to 40 ms on a busy core (beside eight misses of 64 MiB that alone was the
 * p99 of small hits). What young collections leave behind (bodies that a cache in memory kept for a while are
 * old when they are thrown out) is left to one in the background; but on a core without a pause that one
 * comes late, and buffers grew by 130 MiB a second beside it. So there is a bound at which we wait for it.
 */

import { edenGC, fullGC } from "bun:jsc";
import { memoryUsage } from "./memory-usage.ts";

const MIB = 1024 * 1024;
/** How many bytes pass between two looks. */
const STEP_BYTES = 32 * MIB;
/** Less than this is not worth it: left alone, the collector keeps below it on a quiet machine. */
const WORTH_BYTES = 32 * MIB;
/** So much more left by young collections is worth a full one in the background; it may be in use. */
const WORTH_OF_ALL_BYTES = 64 * MIB;
/** So much left is worth to wait for one. */
const WORTH_A_WAIT_BYTES = 128 * MIB;

export interface Collector {
  /** Bytes of all buffers, in use or not; 0 when nobody knows, which makes the next look collect at worst. */
  heldBytes(): number;
  /** Resident memory of the process; 0 as above. */
  residentBytes(): number;
  /** Frees what was made since the last collection and is not used any more. */
  collectYoung(): void;
  /** Begins to free everything that is not used any more. */
  beginAll(): void;
  /** The same, but it is done when this returns. */
  collectAll(): void;
}

const runtimeCollector: Collector = {
  heldBytes: () => memoryUsage()?.arrayBuffers ?? 0,
  residentBytes: () => memoryUsage()?.rss ?? 0,
  collectYoung: () => void edenGC(),
  beginAll: () => Bun.gc(false),
  collectAll: () => void fullGC(),
};

export class BulkGarbage {
  readonly #collector: Collector;
  #passedBytes = 0;
  /** Held after the last collection. */
  #leftBytes = 0;
  /** Resident after the last collection, or less. */
  #leftResidentBytes = 0;
  /** The least that was left since the last full collection: at most that much was in use. */
  #inUseBytes = 0;
  /** What was left when a full collection was last asked for, or less. */
  #askedAtBytes = 0;

  constructor(collector: Collector = runtimeCollector) {
    this.#collector = collector;
  }

  /** So many bytes were passed on, and their chunks let go of. */
  passed(sizeBytes: number): void {
    this.#passedBytes += sizeBytes;
    if (this.#passedBytes < STEP_BYTES) return;
    this.#passedBytes = 0;
    const heldBytes = this.#collector.heldBytes();
    this.#leftBytes = Math.min(this.#leftBytes, heldBytes);
    const residentBytes = this.#collector.residentBytes();
    this.#leftResidentBytes = Math.min(this.#leftResidentBytes, residentBytes);
    if (heldBytes - this.#leftBytes < WORTH_BYTES) return;
    if (residentBytes - this.#leftResidentBytes < WORTH_BYTES) return;
    this.#collector.collectYoung();
    this.#leftBytes = this.#collector.heldBytes();
    this.#leftResidentBytes = this.#collector.residentBytes();
    this.#inUseBytes = Math.min(this.#inUseBytes, this.#leftBytes);
    this.#askedAtBytes = Math.min(this.#askedAtBytes, this.#leftBytes);
    if (this.#leftBytes - this.#inUseBytes >= WORTH_A_WAIT_BYTES) {
      this.#collector.collectAll();
      this.#leftBytes = this.#collector.heldBytes();
      this.#inUseBytes = this.#leftBytes;
      this.#askedAtBytes = this.#leftBytes;
    } else if (this.#leftBytes - this.#askedAtBytes >= WORTH_OF_ALL_BYTES) {
      this.#collector.beginAll();
      this.#askedAtBytes = this.#leftBytes;
    }
  }
}
