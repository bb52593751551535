/**
 * The door of the store: what the cache can ask of a disk.
 *
 * A store maps object ids to complete or partly present bodies with the headers
 * they arrived with. It knows nothing of HTTP freshness, of who may read, or of
 * writes that race with fills: cache/ decides that and hands the store plain
 * orders. Damage and vanished files are never errors to the caller of a read:
 * they are a miss, counted and forgotten.
 */

import type { ByteSource } from "../base/byte-source.ts";
import type { LentBytes } from "../base/counted-bytes.ts";
import type { FileSlice } from "../http/exchange.ts";
import type { RawHeaders } from "../http/fields.ts";
import type { ByteRange } from "../http/range.ts";
import type { ObjectId } from "../s3/object-id.ts";

/** What is known of an object before its body is fetched; kept unchanged until replaced. */
export interface ObjectMeta {
  readonly id: ObjectId;
  /** Complete length of the object, in bytes. */
  readonly sizeBytes: number;
  /** The ETag exactly as upstream sent it, quotes and `W/` included. */
  readonly etag: string;
  /** `Last-Modified` exactly as sent; undefined when upstream sent none. */
  readonly lastModified: string | undefined;
  /** End-to-end headers of the 200 answer, to be replayed: order, case and repeats kept. */
  readonly headers: RawHeaders;
  /** When the answer was received, Unix milliseconds. */
  readonly storedAtMs: number;
  /** From then on the entry must be revalidated before use, Unix milliseconds. */
  readonly freshUntilMs: number;
  /** True when an unsigned request was answered 200: anybody may read it. */
  readonly isPublic: boolean;
}

/** An entry as the catalog holds it. One instance per `version`, safe to use as a WeakMap key. */
export interface StoredObject extends ObjectMeta {
  /** Names this body among all the store ever held; never reused. */
  readonly version: number;
  readonly tier: Tier;
}

export type Tier = "inline" | "segment" | "file";

/** Body bytes ready to be sent: checked, and held until released. */
export type StoredBody =
  | LentBytes
  | { readonly kind: "file"; readonly file: FileSlice }
  | { readonly kind: "stream"; readonly source: ByteSource };

/** Why bytes are not stored. The labels of `tag_cache_populate_skipped_total{reason}`. */
export type FillRefusal =
  | "too_large"
  | "disk_full"
  | "store_failed"
  | "too_many_fills"
  | "fill_memory"
  /** The eviction policy keeps what is there rather than take this. */
  | "not_admitted"
  /** Its bucket has no room left of its own. */
  | "quota"
  | "closing";

export interface FillRequest {
  readonly meta: ObjectMeta;
  /**
   * The partly present entry this fill completes; `meta` must carry its ETag and
   * size. What is stored already is read back like what the fill brings. Undefined: a new
   * body, which replaces whatever the object had.
   */
  readonly extend?: StoredObject | undefined;
  /**
   * How much of the body the fill is going to bring, where only a part of a large object is
   * wanted. Undefined: all of it.
   */
  readonly expectedBytes?: number | undefined;
}

export type CommitOutcome =
  | { readonly kind: "committed"; readonly object: StoredObject }
  /** `stillPermitted` answered false: a write came in between. */
  | { readonly kind: "refused" }
  /** Wrong length, disk trouble, or the store is closing. */
  | { readonly kind: "failed"; readonly reason: string };

/**
 * A write of one body into the store, in any order of its parts. Invisible to
 * `lookup` until committed, but readable by its holder while it grows: that is what
 * lets late readers, slow readers and ranges share one running fetch.
 */
export interface Fill {
  /** True after a write failed or `abandon`; nothing more will be stored. */
  readonly isBroken: boolean;
  /**
   * Writes bytes at `offset`. Parts written never overlap. The chunk is kept by
   * reference and must not change before `isDoneWith` says so. Returns a promise only when the writer is behind:
   * waiting for it is the back-pressure. Never throws; disk trouble breaks the fill.
   */
  write(offset: number, chunk: Uint8Array): void | Promise<void>;
  /** How many bytes from `start` on, without a gap, `readBack` can return now; 0 when none. */
  readableFrom(start: number): number;
  /**
   * Bytes from `start`, at least one and at most `limitBytes`, of what was written; they stay as they are.
   * Rejects with `storage_io` when they cannot be read.
   */
  readBack(start: number, limitBytes: number): Promise<Uint8Array>;
  /** True when the chunks with the bytes `[start, end)` may change: they were copied to where they belong. */
  isDoneWith(start: number, end: number): boolean;
  /**
   * Publishes the entry when `stillPermitted` answers true in the very moment it
   * becomes visible; earlier bodies of the object stop being visible in that moment
   * too. A fill with gaps is published only where the tier holds objects in blocks
   * (whole blocks count), and fails otherwise.
   */
  commit(stillPermitted: () => boolean): Promise<CommitOutcome>;
  /** Ends the fill without publishing. What was written stays readable until `release`. */
  abandon(): void;
  /** Gives up read-back. Call once, after commit or abandon; space of unpublished bytes returns. */
  release(): void;
}

/** What a 304 renews. */
export interface Refreshment {
  readonly headers: RawHeaders;
  readonly storedAtMs: number;
  readonly freshUntilMs: number;
  readonly isPublic: boolean;
}

export interface StorageStats {
  readonly entries: number;
  /** Body bytes of all entries. */
  readonly logicalBytes: number;
  /** Bytes on disk: bodies, catalog and everything else under the cache folder. */
  readonly physicalBytes: number;
  /** The cap on `physicalBytes`. */
  readonly capacityBytes: number;
  readonly evictedEntries: number;
  readonly evictedBytes: number;
  /** Entries dropped because their bytes were damaged or gone. */
  readonly damagedEntries: number;
  /** Fills running now. */
  readonly activeFills: number;
  /** Undefined while the disk works; else why the store only passes through. */
  readonly degradedBecause: string | undefined;
}

/** A prefix whose objects are not evicted. */
export interface Pin {
  readonly bucket: string;
  /** The beginning of a key; "" for the whole bucket. */
  readonly prefix: string;
  /** Who asked for it: `tag cache pin`, or a rule of the configuration. */
  readonly origin: "operator" | "config";
}

/** What is stored under a prefix once it was pinned or unpinned. */
export interface PinReport {
  /** Objects that are pinned now. */
  readonly entries: number;
  /** Bytes they take on disk. */
  readonly bytes: number;
  /** Objects that would be, but for the bound on pinned bytes. */
  readonly refusedEntries: number;
}

/** All that is pinned, together. */
export interface PinFigures {
  readonly pins: readonly Pin[];
  readonly entries: number;
  readonly bytes: number;
  /** The bound on `bytes`: what would go beyond it is stored and evicted like anything else. */
  readonly maxBytes: number;
  /** Objects under a pinned prefix that were stored without protection since the start. */
  readonly refusedEntries: number;
}

/**
 * Protection from eviction, and from nothing else: what is pinned expires, is confirmed,
 * replaced, removed and, when damaged, dropped as ever.
 */
export interface Pinning {
  /** Pins what is and what will be stored under a prefix; resolves when all of it is. */
  pin(bucket: string, prefix: string): Promise<PinReport>;
  /**
   * Ends the operator's pin of exactly this prefix. Undefined when there is none. What another
   * pin covers stays pinned.
   */
  unpin(bucket: string, prefix: string): Promise<PinReport | undefined>;
  pinFigures(): PinFigures;
}

export interface Storage {
  /** Synchronous and cheap: the hit path calls it once. */
  lookup(id: ObjectId): StoredObject | undefined;
  /**
   * The bytes `[start, end)` of an entry, or undefined when they are not all there or
   * not what was written (the entry is then forgotten, or for a partly present
   * object just incomplete). Synchronous whenever no disk check is due.
   * A body of no bytes is `{ kind: "bytes" }` of length 0.
   */
  read(
    object: StoredObject,
    range: ByteRange,
  ): StoredBody | undefined | Promise<StoredBody | undefined>;
  /** The parts of `range` that are not stored; empty for a complete entry. In order, not adjacent. */
  missing(object: StoredObject, range: ByteRange): readonly ByteRange[];
  /** Notes a use for eviction order. Cheap; called once per hit. */
  touch(object: StoredObject): void;
  beginFill(request: FillRequest): Fill | { readonly refused: FillRefusal };
  /** Renews headers and freshness of exactly this version; undefined when it is gone. */
  refresh(object: StoredObject, news: Refreshment): StoredObject | undefined;
  /** Makes the objects invisible, in one step. Running reads keep their bytes. Returns how many there were. */
  remove(ids: readonly ObjectId[]): number;
  /** `remove` for everything in a bucket whose key starts with `prefix`. */
  removePrefix(bucket: string, prefix: string): number;
  /** Every visible entry of a bucket (or of all), by prefix, in no particular order. */
  list(bucket: string | undefined, prefix: string): Iterable<StoredObject>;
  stats(): StorageStats;
  /** Waits for running fills to settle, checkpoints and unlocks. */
  close(): Promise<void>;
}
