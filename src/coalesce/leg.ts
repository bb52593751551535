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
  /** Time spent waiting for upstream to send, after the first byte: what the line itself takes. */
  waitedMs = 0;
  /** Monotonic time of the first byte, for the rate. */
  firstByteAtMs: number | undefined;

  readonly #chunks: Uint8Array[] = [];
  readonly #offsets: number[] = [];

  constructor(start: number, end: number, source: ByteSource) {
    this.start = start;
    this.end = end;
    this.position = start;
    this.source = source;
  }

  /** Start of the oldest chunk in memory; `position` when there is none. */
  get windowStart(): number {
    return this.#offsets[0] ?? this.position;
  }

  push(chunk: Uint8Array): void {
    this.#offsets.push(this.position);
    this.#chunks.push(chunk);
    this.position += chunk.length;
  }

  /** The bytes in memory from `at` on, up to the end of their chunk; undefined when not here. */
  bytesFrom(at: number): Uint8Array | undefined {
    if (at < this.windowStart || at >= this.position) return undefined;
    let low = 0;
    let high = this.#offsets.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((this.#offsets[middle] ?? 0) <= at) low = middle;
      else high = middle - 1;
    }
    const chunk = this.#chunks[low];
    const offset = this.#offsets[low];
    return chunk === undefined || offset === undefined ? undefined : chunk.subarray(at - offset);
  }

  /** The oldest chunk's interval, or undefined when nothing is in memory. */
  oldest(): { start: number; end: number } | undefined {
    const start = this.#offsets[0];
    const chunk = this.#chunks[0];
    return start === undefined || chunk === undefined
      ? undefined
      : { start, end: start + chunk.length };
  }

  /** Forgets the oldest chunk; answers its size in bytes. */
  dropOldest(): number {
    this.#offsets.shift();
    return this.#chunks.shift()?.length ?? 0;
  }

  /** Forgets every chunk; answers their size in bytes. */
  dropAll(): number {
    let sizeBytes = 0;
    while (this.#chunks.length > 0) sizeBytes += this.dropOldest();
    return sizeBytes;
  }
}
