/**
 * Tombstones: marks that fills begun before a write may not commit (decision A6).
 *
 * Order instead of clocks. One counter numbers everything: a fill takes a permit with
 * the current number before it asks upstream, a write leaves its own later number as a
 * tombstone, and a permit older than a tombstone is void. The interleaving it prevents:
 *
 *   1. reader: permit 7, asks upstream, upstream reads version A
 *   2. writer: tombstone 8, forwards version B, upstream stores it, tombstone 9
 *   3. reader: the last byte of A arrives, commit: 7 < 9, refused
 *
 * The number of tombstones is bounded. When the oldest is dropped its number becomes
 * the floor, below which no permit is valid, so forgetting is always on the safe side
 * and no tombstone can expire before a slow fill.
 */

import { type ObjectId, objectIdString } from "../s3/object-id.ts";

/** Taken before the upstream request of a fill; valid until a write names the object. */
export interface FillPermit {
  readonly id: ObjectId;
  readonly sequence: number;
}

export class Tombstones {
  readonly #max: number;
  #sequence = 0;
  #floor = 0;
  /** In order of age: a Map iterates in insertion order, and a renewed mark is re-inserted. */
  readonly #objects = new Map<string, number>();
  readonly #buckets = new Map<string, number>();

  /** `max` is the most tombstones kept, objects and buckets each. */
  constructor(max: number) {
    this.#max = max;
  }

  get count(): number {
    return this.#objects.size + this.#buckets.size;
  }

  permit(id: ObjectId): FillPermit {
    return { id, sequence: this.#sequence };
  }

  /** A number above those of all permits so far, and not above those of later ones. */
  advance(): number {
    this.#sequence += 1;
    return this.#sequence;
  }

  markObject(id: ObjectId): void {
    this.#mark(this.#objects, objectIdString(id));
  }

  markBucket(bucket: string): void {
    this.#mark(this.#buckets, bucket);
  }

  isValid(permit: FillPermit): boolean {
    const { id, sequence } = permit;
    return (
      sequence >= this.#floor &&
      sequence >= (this.#buckets.get(id.bucket) ?? 0) &&
      sequence >= (this.#objects.get(objectIdString(id)) ?? 0)
    );
  }

  #mark(marks: Map<string, number>, name: string): void {
    this.#sequence += 1;
    marks.delete(name);
    marks.set(name, this.#sequence);
    if (marks.size <= this.#max) return;
    for (const [oldest, sequence] of marks) {
      marks.delete(oldest);
      this.#floor = Math.max(this.#floor, sequence);
      break;
    }
  }
}
