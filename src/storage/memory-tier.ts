/**
 * The memory tier: bodies of hot small objects, bounded in bytes.
 */

import type { CountedBytes } from "../base/counted-bytes.ts";
import { LruMap } from "../base/lru.ts";
import { SendableMemory } from "../base/sendable-memory.ts";

/** What a body weighs besides its bytes: array and map node (measured). */
const ENTRY_BYTES = 700;

/** Sent as they are, 16 KiB cost 19 µs of CPU where their copies took 24. */
const SENDABLE_BYTES_MIN = 16 * 1024;

export class MemoryTier {
  /** Of memory that bodies take together. */
  readonly limitBytes: number;
  readonly #bodies: LruMap<number, CountedBytes>;
  /** Larger bodies are not taken. */
  readonly #bodyMax: number;
  /** For those that are asked for again and again. */
  readonly #sendable: SendableMemory;

  /** `limitBytes`: 0 turns the tier off. */
  constructor(limitBytes: number, bodyMax: number) {
    this.limitBytes = limitBytes;
    this.#bodies = new LruMap(limitBytes, (_version, body) => body.release());
    this.#bodyMax = bodyMax;
    this.#sendable = new SendableMemory(limitBytes, SENDABLE_BYTES_MIN, bodyMax);
  }

  /** Of the memory that bodies take, what is in use. */
  get heldBytes(): number {
    return this.#bodies.weight;
  }

  /** The body of a version, now the most recently used. */
  get(version: number): CountedBytes | undefined {
    const body = this.#bodies.get(version);
    if (body === undefined || body.bytes.length < SENDABLE_BYTES_MIN) return body;
    // Moving it takes as long as two hits: not for one that nobody may read a second time.
    return body.isSendable || !body.wasLent ? body : this.#move(version, body);
  }

  /** Takes a body if it is small enough; holds it besides whoever does already. */
  keep(version: number, body: CountedBytes): void {
    if (body.bytes.length > this.#bodyMax) return;
    this.forget(version);
    this.#bodies.set(version, body.hold(), weightOf(body));
  }

  forget(version: number): void {
    const body = this.#bodies.peek(version);
    if (body === undefined) return;
    this.#bodies.delete(version);
    body.release();
  }

  /** Forgets everything, for good. */
  close(): void {
    for (const [, body] of this.#bodies.entries()) body.release();
    this.#bodies.clear();
    this.#sendable.close();
  }

  /** To where it can be sent from; as it is when there is no room. */
  #move(version: number, body: CountedBytes): CountedBytes {
    const moved = this.#sendable.copyOf(body.bytes);
    if (moved === undefined) return body;
    this.#bodies.set(version, moved, weightOf(moved));
    body.release();
    return moved;
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
