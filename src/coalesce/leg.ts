/**
 * A leg: one upstream response that brings a contiguous part of an object, and the
 * chunks of it that are still in memory.
 *
 * A flight has one leg as a rule. Further legs bring ranges that a reader wants
 * before the first leg gets there, or the rest after one broke.
 */

import type { ByteSource } from "../base/byte-source.ts";

export class Leg {
  readonly start: number;
  /** One past the last byte this leg is to bring. Lowered when another leg takes over the rest. */
  end: number;
  readonly source: ByteSource;
  /** The next byte upstream will send on this leg. */
  position: number;
  isActive = true;
  /**
   * Time spent waiting for upstream to send, after the first byte: what the line itself takes. Shared with the other
   * large objects that were on their way in that moment: they were handled meanwhile, and have connections of their own.
   */
  waitedMs = 0;
  /** Monotonic time of the first byte, for the rate. */
  firstByteAtMs: number | undefined;

  readonly #chunks: HeldChunk[] = [];

  constructor(start: number, end: number, source: ByteSource) {
    this.start = start;
    this.end = end;
    this.position = start;
    this.source = source;
  }

  /** Start of the oldest chunk in memory; `position` when there is none. */
  get windowStart(): number {
    return this.#chunks[0]?.start ?? this.position;
  }

  /** `isAlone`: all that was received with these bytes is in them. */
  push(bytes: Uint8Array, isAlone: boolean): void {
    this.#chunks.push(new HeldChunk(this.position, bytes, isAlone ? this.source : undefined));
    this.position += bytes.length;
  }

  /** The chunk in memory with the byte at `at`; undefined when it is not here. */
  chunkAt(at: number): HeldChunk | undefined {
    if (at < this.windowStart || at >= this.position) return undefined;
    let low = 0;
    let high = this.#chunks.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((this.#chunks[middle]?.start ?? 0) <= at) low = middle;
      else high = middle - 1;
    }
    return this.#chunks[low];
  }

  /** The oldest chunk in memory. */
  get oldest(): HeldChunk | undefined {
    return this.#chunks[0];
  }

  /** Forgets the oldest chunk, and answers it. */
  dropOldest(): HeldChunk | undefined {
    return this.#chunks.shift();
  }
}

/** A chunk in the window of a leg, and who looks at its memory. */
export class HeldChunk {
  readonly start: number;
  /** One past its last byte. */
  readonly end: number;
  readonly bytes: Uint8Array;
  /** Undefined: it is left to the collector. */
  #source: ByteSource | undefined;
  #lentCount = 0;
  #isSpare = false;

  constructor(start: number, bytes: Uint8Array, source: ByteSource | undefined) {
    this.start = start;
    this.end = start + bytes.length;
    this.bytes = bytes;
    this.#source = source;
  }

  /** The bytes from `at` on for one reader, who may give them back. */
  lend(at: number): Uint8Array {
    this.#lentCount += 1;
    return this.bytes.subarray(at - this.start);
  }

  /** A reader does not look at what it was lent any more. */
  giveBack(): void {
    this.#lentCount -= 1;
    this.#release();
  }

  /** It will be lent to nobody any more, and nobody uses its memory but those who were lent it. */
  spare(): void {
    this.#isSpare = true;
    this.#release();
  }

  /** Others are views of the same memory, and what is given back may be theirs. */
  leaveToCollector(): void {
    this.#source = undefined;
  }

  #release(): void {
    if (this.#isSpare && this.#lentCount === 0) this.#source?.release?.(this.bytes);
  }
}
