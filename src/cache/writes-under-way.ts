/**
 * Writes under way: what may be done with their objects until upstream has answered.
 *
 * Between forwarding a write and its answer nobody knows which version is the current one.
 * An entry from before is not thrown away, because upstream may refuse the write (403, 412)
 * and the entry is then as good as it was. Until that is known
 *
 * - the entry is *doubted*: used only after upstream has confirmed it, and what upstream
 *   confirms or sends meanwhile is used until the write succeeds, when all of it goes;
 * - fills that began before the write may not commit;
 * - a note on disk keeps a killed process from forgetting the write:
 *
 *     1. writer: the write of B is noted, the entry of version A doubted, B forwarded
 *     2. reader: fetches A once more and stores it, fresh; upstream stores B
 *     3. kill -9; the next process finds the note and invalidates, or A would be served
 *
 * Without an answer, or when the process that waited for it was killed, a write stays under
 * way for a while, since upstream may still carry it out: everything of its objects is
 * doubted until then.
 */

import { type ObjectId, objectIdString } from "../s3/object-id.ts";
import type { StoredObject } from "../storage/storage.ts";
import type { FillPermit } from "./tombstones.ts";
import type { WriteNote } from "./write-notes.ts";
import type { WriteTargets } from "./write-targets.ts";

export interface WriteUnderWay {
  readonly targets: WriteTargets;
  readonly beganAtMs: number;
  /** Permits with a lower number are void while the write is under way. */
  readonly voidsBelow: number;
  /** Undefined when nothing outlives the process, or the disk refused. */
  readonly note: WriteNote | undefined;
  /** No answer came, and none will: nothing of the objects is certain. */
  isUncertain: boolean;
}

export class WritesUnderWay {
  readonly #byObject = new Map<string, Set<WriteUnderWay>>();
  readonly #byBucket = new Map<string, Set<WriteUnderWay>>();

  /** Writes that were not ended yet. */
  get count(): number {
    const writes = new Set<WriteUnderWay>();
    for (const some of [...this.#byObject.values(), ...this.#byBucket.values()]) {
      for (const write of some) writes.add(write);
    }
    return writes.size;
  }

  begin(write: WriteUnderWay): void {
    for (const [index, name] of this.#placesOf(write.targets)) {
      const writes = index.get(name);
      if (writes === undefined) index.set(name, new Set([write]));
      else writes.add(write);
    }
  }

  end(write: WriteUnderWay): void {
    for (const [index, name] of this.#placesOf(write.targets)) {
      const writes = index.get(name);
      if (writes?.delete(write) === true && writes.size === 0) index.delete(name);
    }
    write.note?.erase();
  }

  /** Whether `object` may be used only after upstream confirmed it. Asked on every hit. */
  doubts(object: StoredObject): boolean {
    if (this.#byObject.size === 0 && this.#byBucket.size === 0) return false;
    for (const write of this.#covering(object.id)) {
      if (write.isUncertain || object.storedAtMs <= write.beganAtMs) return true;
    }
    return false;
  }

  /** Whether a write keeps a fill with this permit from committing. */
  voids({ id, sequence }: FillPermit): boolean {
    for (const write of this.#covering(id)) if (sequence < write.voidsBelow) return true;
    return false;
  }

  *#covering(id: ObjectId): Generator<WriteUnderWay, void, undefined> {
    if (this.#byObject.size > 0) yield* this.#byObject.get(objectIdString(id)) ?? [];
    if (this.#byBucket.size > 0) yield* this.#byBucket.get(id.bucket) ?? [];
  }

  *#placesOf(
    targets: WriteTargets,
  ): Generator<readonly [Map<string, Set<WriteUnderWay>>, string], void, undefined> {
    if (targets.kind === "bucket") yield [this.#byBucket, targets.bucket];
    else for (const id of targets.ids) yield [this.#byObject, objectIdString(id)];
  }
}
