/**
 * The memory tier: bodies of hot small objects, bounded in bytes.
 */

import type { CountedBytes } from "../base/counted-bytes.ts";
import { LruMap } from "../base/lru.ts";
import { SENDABLE_BYTES_MIN, SendableMemory } from "../base/sendable-memory.ts";

/** What a body weighs besides its bytes: array and map node (measured). */
const ENTRY_BYTES = 700;

/** A body in the tier. */
interface Kept {
  body: CountedBytes;
  /** When it was last asked for: what had passed the tier by then. */
  usedAt: number;
}

export class MemoryTier {
  readonly #limitBytes: number;
  readonly #bodies: LruMap<number, Kept>;
  /** Larger bodies are not taken. */
  readonly #bodyMax: number;
  /** For those that are asked for again and again. */
  readonly #sendable: SendableMemory;
  /** Of bodies that were read from their files although the tier takes such. */
  #passedBytes = 0;

  /** `limitBytes`: of memory that bodies take together; 0 turns the tier off. */
  constructor(limitBytes: number, bodyMax: number) {
    this.#limitBytes = limitBytes;
    this.#bodies = new LruMap(limitBytes, (_version, { body }) => body.release());
    this.#bodyMax = bodyMax;
    this.#sendable = new SendableMemory(limitBytes, SENDABLE_BYTES_MIN, bodyMax);
  }

  /** Of the memory that bodies take, what is in use. */
  get heldBytes(): number {
    return this.#bodies.weight;
  }

  /** The body of a version, now the most recently used. */
  get(version: number): CountedBytes | undefined {
    const kept = this.#bodies.get(version);
    if (kept === undefined) return undefined;
    kept.usedAt = this.#passedBytes;
    const { body } = kept;
    // Moving it takes as long as two hits: not for one that nobody may read a second time.
    if (body.bytes.length >= SENDABLE_BYTES_MIN && !body.isSendable && body.wasLent) {
      this.#move(kept);
    }
    return kept.body;
  }

  /** Whether a body is small enough. */
  takes(sizeBytes: number): boolean {
    return sizeBytes <= this.#bodyMax;
  }

  /** A body that the tier takes was read from its file. Answers when that was, for `wouldHold`. */
  passed(sizeBytes: number): number {
    this.#passedBytes += sizeBytes;
    return this.#passedBytes;
  }

  /**
   * Whether a body would still be here, had it been kept when it was last read from its file. Of files that are all
   * read in turn, and are more than there is room for, none would: they would only push each other out, and
   * what is asked for more often.
   *
   * @param readAt what `passed` said of that read; undefined when there was none
   */
  wouldHold(sizeBytes: number, readAt: number | undefined): boolean {
    if (readAt === undefined) return false;
    if (this.#passedBytes + sizeBytes - readAt > this.#limitBytes) return false;
    const { oldest } = this.#bodies;
    const isFull = this.#bodies.weight + sizeBytes > this.#limitBytes;
    return !isFull || oldest === undefined || readAt >= oldest.usedAt;
  }

  /** Takes a body if it is small enough; holds it besides whoever does already. */
  keep(version: number, body: CountedBytes): void {
    if (!this.takes(body.bytes.length)) return;
    this.forget(version);
    const kept = { body: body.hold(), usedAt: this.#passedBytes };
    this.#bodies.set(version, kept, weightOf(body));
  }

  forget(version: number): void {
    const kept = this.#bodies.peek(version);
    if (kept === undefined) return;
    this.#bodies.delete(version);
    kept.body.release();
  }

  /** Forgets everything, for good. */
  close(): void {
    for (const [, { body }] of this.#bodies.entries()) body.release();
    this.#bodies.clear();
    this.#sendable.close();
  }

  /** To where it can be sent from; it stays where it is when there is no room. */
  #move(kept: Kept): void {
    const moved = this.#sendable.copyOf(kept.body.bytes);
    if (moved === undefined) return;
    kept.body.release();
    kept.body = moved;
  }
}

function weightOf({ bytes }: CountedBytes): number {
  return allocatedBytes(bytes.length) + ENTRY_BYTES;
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
