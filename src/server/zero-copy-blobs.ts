/**
 * Hot bodies in the form in which Bun sends them without copying.
 *
 * A `Response` copies the bytes it is made of: 6.7 µs for 100 KiB, of a hit of 50. One made of a
 * `Blob` only refers to it (0.9 µs), so bodies that are sent again and again are kept as blobs beside
 * their bytes. A body is known by its memory, as bytes that were handed out never change (byte-source.ts).
 *
 * The memory of a blob comes free by garbage collection only, so blobs must not come and go with every
 * request: one is made for a body that was sent before, and once there is no room, rarely.
 */

import { LruMap } from "../base/lru.ts";

/** Copying less costs less than looking it up. */
const BODY_BYTES_MIN = 8 * 1024;
/** What a hit of a file of this size is sent from by the kernel. */
const BODY_BYTES_MAX = 1024 * 1024;
/** When there is no room, one body in so many that ask for it gets some. */
const ADMITTED_EVERY = 256;

interface Kept {
  readonly byteOffset: number;
  readonly byteLength: number;
  readonly blob: Blob;
}

export class HotBlobs {
  readonly #limitBytes: number;
  readonly #kept: LruMap<ArrayBufferLike, Kept>;
  readonly #seen = new WeakSet<ArrayBufferLike>();
  #refusedCount = 0;

  /** `limitBytes`: of all blobs together. */
  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
    this.#kept = new LruMap(limitBytes);
  }

  /** Of all blobs together. */
  get heldBytes(): number {
    return this.#kept.weight;
  }

  /** `bytes`, or the same bytes to be sent without a copy. They must never change. */
  bodyOf(bytes: Uint8Array): Uint8Array | Blob {
    const { byteLength, byteOffset, buffer } = bytes;
    if (byteLength < BODY_BYTES_MIN || byteLength >= BODY_BYTES_MAX) return bytes;
    const kept = this.#kept.get(buffer);
    if (kept?.byteLength === byteLength && kept.byteOffset === byteOffset) return kept.blob;
    // Of a body that is read in parts, the part that came first is enough.
    if (kept !== undefined || !this.#admits(buffer, byteLength)) return bytes;
    const blob = new Blob([bytes]);
    this.#kept.set(buffer, { byteOffset, byteLength, blob }, byteLength);
    return blob;
  }

  #admits(buffer: ArrayBufferLike, byteLength: number): boolean {
    if (!this.#seen.has(buffer)) {
      this.#seen.add(buffer);
      return false;
    }
    if (this.#kept.weight + byteLength <= this.#limitBytes) return true;
    this.#refusedCount += 1;
    return this.#refusedCount % ADMITTED_EVERY === 0;
  }
}
