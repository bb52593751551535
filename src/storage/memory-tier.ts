/**
 * The memory tier: bodies of hot small objects, bounded in bytes.
 */

import type { CountedBytes } from "../base/counted-bytes.ts";
import { LruMap } from "../base/lru.ts";

/** What a body weighs besides its bytes: array and map node (measured). */
const ENTRY_BYTES = 700;

export class MemoryTier {
  readonly #bodies: LruMap<number, CountedBytes>;
  /** Larger bodies are not taken. */
  readonly #bodyMax: number;

  /** `limitBytes`: of memory that bodies take together; 0 turns the tier off. */
  constructor(limitBytes: number, bodyMax: number) {
    this.#bodies = new LruMap(limitBytes, (_version, body) => body.release());
    this.#bodyMax = bodyMax;
  }

  /** The body of a version, now the most recently used. */
  get(version: number): CountedBytes | undefined {
    return this.#bodies.get(version);
  }

  /** Takes a body if it is small enough; holds it besides whoever does already. */
  keep(version: number, body: CountedBytes): void {
    if (body.bytes.length > this.#bodyMax) return;
    this.forget(version);
    this.#bodies.set(version, body.hold(), allocatedBytes(body.bytes.length) + ENTRY_BYTES);
  }

  forget(version: number): void {
    const body = this.#bodies.peek(version);
    if (body === undefined) return;
    this.#bodies.delete(version);
    body.release();
  }
}

/**
 * What the allocator takes for `sizeBytes`: it has four sizes between a power of two and the next, so
 * a body of 100 KiB takes 112.
 */
export function allocatedBytes(sizeBytes: number): number {
  if (sizeBytes <= 64) return 64;
  const step = 2 ** (Math.floor(Math.log2(sizeBytes - 1)) - 2);
  return Math.ceil(sizeBytes / step) * step;
}
