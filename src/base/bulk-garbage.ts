/**
 * Keeps memory flat while gigabytes pass through.
 *
 * Chunks from sockets lie outside of the JavaScript heap, which is small, so the collector sees
 * little reason to hurry, and on a busy machine its threads come late: 5 GiB on their way into
 * the store left 150 MiB of chunks behind that nobody needed any more. Whoever moves many bytes
 * reports them here; every so often what is left behind is taken away at once, if it is much.
 */

const MIB = 1024 * 1024;
/** A collection takes 11 ms on a quiet machine, the bytes in between a second or half of one. */
const STEP_BYTES = 64 * MIB;
/** Less than this is not worth it: left alone, the collector keeps below it on a quiet machine. */
const WORTH_BYTES = 64 * MIB;

export interface Collector {
  /** Bytes of all buffers, in use or not. */
  heldBytes(): number;
  collect(): void;
}

const runtimeCollector: Collector = {
  heldBytes: () => process.memoryUsage().arrayBuffers,
  collect: () => Bun.gc(true),
};

export class BulkGarbage {
  readonly #collector: Collector;
  #passedBytes = 0;
  /** Held after the last collection: that much was in use. */
  #inUseBytes = 0;

  constructor(collector: Collector = runtimeCollector) {
    this.#collector = collector;
  }

  /** So many bytes were passed on, and their chunks let go of. */
  passed(sizeBytes: number): void {
    this.#passedBytes += sizeBytes;
    if (this.#passedBytes < STEP_BYTES) return;
    this.#passedBytes = 0;
    const heldBytes = this.#collector.heldBytes();
    this.#inUseBytes = Math.min(this.#inUseBytes, heldBytes);
    if (heldBytes - this.#inUseBytes < WORTH_BYTES) return;
    this.#collector.collect();
    this.#inUseBytes = this.#collector.heldBytes();
  }
}
