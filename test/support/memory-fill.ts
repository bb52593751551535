/** A `Fill` in memory, for tests of whoever writes fills: slow, broken or refused on demand. */

import { GatewayError } from "../../src/base/errors.ts";
import { IntervalSet } from "../../src/base/interval-set.ts";
import type { CommitOutcome, Fill, StoredObject } from "../../src/storage/storage.ts";

export interface MemoryFillOptions {
  readonly sizeBytes: number;
  /** Resolves when a write may be taken; undefined: at once. */
  readonly delay?: (() => Promise<void>) | undefined;
  /** The fill breaks when so many bytes were written. */
  readonly breaksAfterBytes?: number | undefined;
}

export class MemoryFill implements Fill {
  readonly #options: MemoryFillOptions;
  readonly #bytes: Uint8Array;
  readonly #present = new IntervalSet();
  isBroken = false;
  isReleased = false;
  outcome: CommitOutcome | undefined;

  constructor(options: MemoryFillOptions) {
    this.#options = options;
    this.#bytes = new Uint8Array(options.sizeBytes);
  }

  get bytes(): Uint8Array {
    return this.#bytes;
  }

  write(offset: number, chunk: Uint8Array): void | Promise<void> {
    if (this.isBroken) return;
    for (const { start, end } of [{ start: offset, end: offset + chunk.length }]) {
      if (
        this.#present.gaps(start, end).reduce((sum, gap) => sum + gap.end - gap.start, 0) !==
        end - start
      ) {
        throw new Error(`bytes ${start}-${end} were written twice`);
      }
    }
    if (this.#present.size >= (this.#options.breaksAfterBytes ?? Number.POSITIVE_INFINITY)) {
      this.isBroken = true;
      return;
    }
    this.#bytes.set(chunk, offset);
    this.#present.add(offset, offset + chunk.length);
    return this.#options.delay?.();
  }

  readableFrom(start: number): number {
    return this.isReleased ? 0 : this.#present.endOfRun(start) - start;
  }

  async readBack(start: number, limitBytes: number): Promise<Uint8Array> {
    const count = Math.min(limitBytes, this.readableFrom(start));
    if (count <= 0) throw new GatewayError("storage_io", "nothing there to read back");
    return this.#bytes.slice(start, start + count);
  }

  isDoneWith(): boolean {
    return true;
  }

  async commit(stillPermitted: () => boolean): Promise<CommitOutcome> {
    if (this.isBroken || this.#present.size !== this.#options.sizeBytes) {
      this.outcome = { kind: "failed", reason: "incomplete" };
    } else if (!stillPermitted()) this.outcome = { kind: "refused" };
    else this.outcome = { kind: "committed", object: {} as StoredObject };
    return this.outcome;
  }

  abandon(): void {
    this.isBroken = true;
  }

  release(): void {
    if (this.isReleased) throw new Error("released twice");
    this.isReleased = true;
  }
}
