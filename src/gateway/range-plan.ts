/**
 * What to ask upstream for when a range of an object is missing.
 *
 * The store keeps large objects in blocks, and only whole blocks, so a little more than
 * the range is asked for: to the borders of the blocks it touches. And whether the rest
 * of a smaller object is worth fetching too is a question of account: WarmCredit.
 */

import type { RangeSpec } from "../http/range.ts";
import { LruMap } from "../base/lru.ts";
import type { ObjectId } from "../s3/object-id.ts";

/** The `Range` value that covers `spec` in whole blocks; undefined for the whole object. */
export function alignedRange(spec: RangeSpec, blockBytes: number): string | undefined {
  switch (spec.kind) {
    case "whole":
      return undefined;
    case "span": {
      const start = Math.floor(spec.start / blockBytes) * blockBytes;
      if (spec.end === undefined) return `bytes=${start}-`;
      return `bytes=${start}-${Math.ceil(spec.end / blockBytes) * blockBytes - 1}`;
    }
    case "suffix":
      // Where the object ends is not known yet: one block more holds a border for certain.
      return `bytes=-${spec.lengthBytes === 0 ? 0 : spec.lengthBytes + blockBytes}`;
  }
}

const FIRST_CREDIT_BYTES = 64 * 1024 * 1024;
const CREDIT_BYTES_MAX = 1024 * 1024 * 1024;
const GROUPS_MAX = 10_000;

/**
 * How much may be fetched that nobody asked for, by group of objects (bucket and first
 * part of the key): as much as was asked for in ranges so far, and a little to begin with.
 *
 * A reader of many small tails (Parquet footers, archive indexes) would otherwise pull
 * whole objects, hundreds of times what it reads; with the account upstream never sends
 * more than twice what was asked for in the long run, and readers that come back for more
 * of an object soon have all of it local.
 */
export class WarmCredit {
  readonly #credits = new LruMap<string, number>(GROUPS_MAX);

  /** Books a range of `readBytes` and, when the account allows it, `restBytes` to be fetched with it. */
  mayFetchRest(id: ObjectId, readBytes: number, restBytes: number): boolean {
    const group = groupOf(id);
    const credit = Math.min(
      CREDIT_BYTES_MAX,
      (this.#credits.get(group) ?? FIRST_CREDIT_BYTES) + readBytes,
    );
    const isAllowed = restBytes <= credit;
    this.#credits.set(group, isAllowed ? credit - restBytes : credit, 1);
    return isAllowed;
  }
}

function groupOf({ bucket, key }: ObjectId): string {
  const slash = key.indexOf("/");
  return slash === -1 ? bucket : `${bucket}/${key.slice(0, slash)}`;
}
