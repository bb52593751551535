/**
 * The catalog: which objects are stored and where, in SQLite files ("shards").
 *
 * Sharding by key hash keeps every file and its write-ahead log small, lets one damaged
 * file cool down a sixteenth of the cache instead of all of it, and is what several
 * writing processes will divide between them. Rows carry a CRC of their own, because
 * SQLite does not checksum its pages and a flipped bit in a length is a wrong answer.
 *
 * Synchronous by nature: a lookup is one prepared statement (about 5 us). WAL with
 * `synchronous = NORMAL` keeps every commit over the death of the process and a
 * consistent earlier state over power loss.
 */

import { Database, type Statement } from "bun:sqlite";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { GatewayError } from "../base/errors.ts";
import type { ObjectId } from "../s3/object-id.ts";
import { databaseBytes, isDamage, WrongType } from "./control.ts";
import type { Identity } from "./identity.ts";
import { CATALOG_MIGRATIONS, migrate, SchemaUnknown } from "./migrations.ts";
import type { Tier } from "./storage.ts";

/** One entry as it is stored. Columns are explained in migrations.ts. */
export interface CatalogRow {
  readonly h: number;
  readonly h2: number;
  readonly version: number;
  readonly written: number;
  readonly tier: number;
  readonly grp: number;
  readonly place: number;
  readonly offset: number;
  readonly size: number;
  readonly disk: number;
  readonly flags: number;
  readonly head: Uint8Array | null;
  readonly body: Uint8Array | null;
}

/** The row as SQLite returns it, with what only the catalog looks at. */
export interface RawRow extends CatalogRow {
  readonly bucket: number;
  readonly crc: number;
}

/** What finds a row and proves that it is the one meant. */
export interface RowKey {
  readonly h: number;
  readonly version: number;
}

export interface RowPlace {
  readonly place: number;
  readonly offset: number;
}

/** A row as far as its place needs it. */
type LocatedRow = RowPlace & Pick<CatalogRow, "version" | "disk" | "flags">;

/** A row as far as eviction needs it. */
export interface PlacedRow {
  readonly h: number;
  readonly h2: number;
  readonly version: number;
  readonly tier: number;
  readonly grp: number;
  readonly place: number;
  readonly disk: number;
  readonly flags: number;
}

/** Every byte of the body is stored. */
export const FLAG_COMPLETE = 1;
/** Eviction passes the body by, see pins.ts. */
export const FLAG_PINNED = 2;

const PAGE_BYTES = 4096;

export const TIERS: readonly Tier[] = ["inline", "segment", "file"];
/** Where `total` counts the pinned rows of all tiers once more. */
export const PINNED_TOTAL = 3;

export interface TierTotal {
  entries: number;
  /** Body bytes of the objects. */
  bytes: number;
  /** Bytes on the volume outside of the catalog files (for `inline`: row payload). */
  disk: number;
}

export interface CatalogOptions {
  readonly folder: string;
  readonly shardCount: number;
  /** The write-ahead log of one shard is folded back when it holds more than this. */
  readonly walLimitBytes: number;
  /** SQLite's page cache of one shard. */
  readonly pageCacheBytes: number;
  /** Told of rows and whole shards found damaged. Must not throw. */
  readonly onDamage: (what: string, cause: unknown) => void;
}

export class Catalog {
  readonly #options: CatalogOptions;
  readonly #shards: CatalogShard[] = [];

  /** Opens every shard, setting damaged ones up anew. Throws `storage_io` when the folder is unusable. */
  constructor(options: CatalogOptions) {
    this.#options = options;
    for (let index = 0; index < options.shardCount; index += 1) {
      this.#shards.push(this.#openShard(index));
    }
  }

  get shardCount(): number {
    return this.#shards.length;
  }

  shard(index: number): CatalogShard {
    const shard = this.#shards[index];
    if (shard === undefined) throw new RangeError(`no catalog shard ${index}`);
    return shard;
  }

  /** The row of an object, undefined when there is none or none that can be trusted. Never throws. */
  find(identity: Identity): CatalogRow | undefined {
    try {
      return this.shard(identity.shard).find(identity);
    } catch (error) {
      this.#judge(identity.shard, error);
      return undefined;
    }
  }

  /**
   * Runs `change` as one transaction of one shard. Throws `storage_io` with nothing
   * changed when the disk refuses; a shard that turns out damaged is set up anew first.
   */
  transact<T>(index: number, change: (shard: CatalogShard) => T): T {
    const shard = this.shard(index);
    try {
      return shard.transact(change);
    } catch (error) {
      this.#judge(index, error);
      throw new GatewayError("storage_io", `catalog shard ${index} refused a change`, {
        cause: error,
      });
    }
  }

  /**
   * Looks something up in one shard. One that turns out damaged is set up anew, and answers
   * with `nothing`. Throws `storage_io` when the disk refuses.
   */
  look<T>(index: number, look: (shard: CatalogShard) => T, nothing: T): T {
    try {
      return look(this.shard(index));
    } catch (error) {
      this.#judge(index, error);
      if (isDamage(error)) return nothing;
      throw new GatewayError("storage_io", `catalog shard ${index} cannot be read`, {
        cause: error,
      });
    }
  }

  /** Some presence and checksums of a large body; undefined when there are none. Never throws. */
  block(index: number, version: number, part: number): Uint8Array | undefined {
    try {
      return this.shard(index).block(version, part);
    } catch (error) {
      this.#judge(index, error);
      return undefined;
    }
  }

  /** Bytes within the shard files that new rows will take before the files grow. */
  freeBytes(): number {
    let sizeBytes = 0;
    for (const shard of this.#shards) sizeBytes += shard.freeBytes();
    return sizeBytes;
  }

  /** What is stored per tier, over all shards. */
  totals(): Record<Tier, TierTotal> {
    const sum = emptyTotals();
    for (const shard of this.#shards) {
      for (const tier of TIERS) addTotal(sum[tier], shard.totals[tier]);
    }
    return sum;
  }

  /** What is pinned, over all tiers and shards, a running transaction included. */
  pinned(): TierTotal {
    const sum = emptyTotal();
    for (const shard of this.#shards) addTotal(sum, shard.pinned());
    return sum;
  }

  /** Names of the buckets that ever had an entry. */
  bucketNames(): Set<string> {
    return new Set(this.#shards.flatMap((shard) => shard.bucketNames()));
  }

  /** Bytes a bucket takes: bodies on the volume, and rows of the inline tier. */
  bucketBytes(bucket: string): number {
    let sizeBytes = 0;
    for (const shard of this.#shards) sizeBytes += shard.bucketBytes(bucket);
    return sizeBytes;
  }

  /** Bytes the shard files and their logs take. */
  fileBytes(): number {
    let sizeBytes = 0;
    for (const shard of this.#shards) sizeBytes += shard.fileBytes();
    return sizeBytes;
  }

  close(): void {
    for (const shard of this.#shards) shard.close();
  }

  #openShard(index: number): CatalogShard {
    const path = join(this.#options.folder, `${index.toString(16).padStart(2, "0")}.db`);
    try {
      return new CatalogShard(path, this.#options);
    } catch (error) {
      if (!isDamage(error) && !(error instanceof SchemaUnknown)) {
        if (error instanceof GatewayError) throw error;
        throw new GatewayError("storage_io", `cannot open ${path}`, { cause: error });
      }
      this.#options.onDamage(`catalog shard ${index} was unreadable and starts empty`, error);
      removeDatabase(path);
      return new CatalogShard(path, this.#options);
    }
  }

  /** After an error: a damaged shard is thrown away, which costs a share of the cache and nothing else. */
  #judge(index: number, error: unknown): void {
    if (!isDamage(error)) return;
    const shard = this.shard(index);
    this.#options.onDamage(`catalog shard ${index} is damaged and starts empty`, error);
    try {
      shard.close();
      removeDatabase(shard.path);
      this.#shards[index] = new CatalogShard(shard.path, this.#options);
    } catch (again) {
      this.#options.onDamage(`catalog shard ${index} cannot be set up anew`, again);
    }
  }
}

export class CatalogShard {
  readonly path: string;
  /** Kept beside the `total` table, which changes in the same transactions. */
  readonly totals = emptyTotals();
  readonly #pinned = emptyTotal();
  /** Bytes by bucket id. */
  readonly #bucketBytes = new Map<number, number>();
  readonly #database: Database;
  readonly #onDamage: CatalogOptions["onDamage"];
  readonly #bucketIds = new Map<string, number>();
  readonly #select: Statement<RawRow, [number]>;
  readonly #locate: Statement<LocatedRow, [number]>;
  readonly #move: Statement;
  readonly #flag: Statement;
  readonly #insert: Statement;
  readonly #delete: Statement;
  readonly #insertName: Statement;
  readonly #deleteName: Statement;
  readonly #addTotal: Statement;
  readonly #selectBlock: Statement<{ data: Uint8Array }, [number, number]>;
  readonly #insertBlock: Statement;
  /** Changes of `total` within the running transaction, by `bucket * 4 + tier`. */
  readonly #deltas = new Map<number, TierTotal>();

  constructor(path: string, options: CatalogOptions) {
    this.path = path;
    this.#onDamage = options.onDamage;
    this.#database = new Database(path, { create: true });
    try {
      const run = (sql: string) => this.#database.run(sql);
      run("PRAGMA busy_timeout = 50"); // first: opening may have to recover the log
      run(`PRAGMA page_size = ${PAGE_BYTES}`);
      run("PRAGMA journal_mode = WAL");
      run("PRAGMA synchronous = NORMAL");
      // Passive, after a commit: folds the log back without waiting for readers. The stronger
      // forms wait (64 MiB: 270 ms and more), and a longer log makes a longer pause.
      run(`PRAGMA wal_autocheckpoint = ${Math.ceil(options.walLimitBytes / PAGE_BYTES)}`);
      run("PRAGMA mmap_size = 0"); // an I/O error must be an error code, not SIGBUS
      run("PRAGMA temp_store = MEMORY");
      run(`PRAGMA cache_size = -${Math.ceil(options.pageCacheBytes / 1024)}`);
      run(`PRAGMA journal_size_limit = ${options.walLimitBytes}`);
      migrate(this.#database, CATALOG_MIGRATIONS);
      const prepare = (sql: string): Statement => this.#database.prepare(sql);
      this.#select = this.#database.prepare("SELECT * FROM object WHERE h = ?");
      this.#locate = this.#database.prepare(
        "SELECT version, place, offset, disk, flags FROM object WHERE h = ?",
      );
      this.#move = prepare("UPDATE object SET place = ?, offset = ?, crc = ? WHERE h = ?");
      this.#flag = prepare("UPDATE object SET flags = ?, crc = ? WHERE h = ?");
      this.#insert = prepare(
        "INSERT OR REPLACE INTO object VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
      );
      this.#delete = prepare("DELETE FROM object WHERE h = ?");
      this.#insertName = prepare("INSERT OR REPLACE INTO name VALUES (?, ?, ?)");
      this.#deleteName = prepare("DELETE FROM name WHERE bucket = ? AND key = ? AND h = ?");
      this.#addTotal = prepare(
        "INSERT INTO total VALUES (?, ?, ?, ?, ?) ON CONFLICT(bucket, tier) DO UPDATE SET " +
          "entries = entries + excluded.entries, bytes = bytes + excluded.bytes, disk = disk + excluded.disk",
      );
      this.#selectBlock = this.#database.prepare(
        "SELECT data FROM block WHERE version = ? AND part = ?",
      );
      this.#insertBlock = prepare("INSERT OR REPLACE INTO block VALUES (?, ?, ?)");
      this.#load();
    } catch (error) {
      this.#database.close();
      throw error;
    }
  }

  find(identity: Identity): CatalogRow | undefined {
    const row = this.#select.get(identity.h);
    if (row === null || row.h2 !== identity.h2) return undefined;
    if (row.crc === rowCrc(row)) return row;
    this.#onDamage(`a row of ${this.path} does not match its checksum`, undefined);
    this.transact(() => this.#removeRow(row, undefined));
    return undefined;
  }

  /** True when there is a row for `identity`, trusted or not. */
  has(identity: Identity): boolean {
    return this.#select.get(identity.h)?.h2 === identity.h2;
  }

  transact<T>(change: (shard: this) => T): T {
    this.#deltas.clear();
    let result: T;
    try {
      result = this.#database
        .transaction(() => {
          const changed = change(this);
          for (const [slot, delta] of this.#deltas) {
            const bucket = Math.floor(slot / 4);
            this.#addTotal.run(bucket, slot % 4, delta.entries, delta.bytes, delta.disk);
          }
          return changed;
        })
        .immediate();
    } catch (error) {
      this.#deltas.clear();
      this.#loadBuckets(); // an id given out in the failed transaction names nothing
      throw error;
    }
    // Only now is it true: a rolled-back transaction leaves the sums alone.
    for (const [slot, delta] of this.#deltas) this.#book(slot, delta);
    this.#deltas.clear();
    return result;
  }

  /** What is pinned here, a running transaction included. */
  pinned(): TierTotal {
    const sum = { ...this.#pinned };
    for (const [slot, delta] of this.#deltas) {
      if (slot % 4 === PINNED_TOTAL) addTotal(sum, delta);
    }
    return sum;
  }

  bucketBytes(bucket: string): number {
    const id = this.#bucketIds.get(bucket);
    return id === undefined ? 0 : (this.#bucketBytes.get(id) ?? 0);
  }

  /** Makes `row` the row of `id`; call within `transact`. Returns the one it replaces. */
  put(id: ObjectId, row: CatalogRow): CatalogRow | undefined {
    const bucket = this.#bucketId(id.bucket);
    const replaced = this.#select.get(row.h) ?? undefined;
    if (replaced !== undefined) this.#count(replaced, -1);
    const raw: RawRow = { ...row, bucket, crc: 0 };
    this.#insert.run(
      row.h,
      row.h2,
      row.version,
      row.written,
      bucket,
      row.tier,
      row.grp,
      row.place,
      row.offset,
      row.size,
      row.disk,
      row.flags,
      rowCrc(raw),
      row.head,
      row.body,
    );
    // The name is there already when the same object is replaced.
    if (replaced === undefined || replaced.h2 !== row.h2) {
      this.#insertName.run(bucket, Buffer.from(id.key), row.h);
    }
    this.#count(raw, 1);
    if (replaced !== undefined && replaced.version !== row.version) this.#dropBlocks(replaced);
    return replaced;
  }

  /** Deletes the row of `id`; call within `transact`. Returns it, or undefined when there was none. */
  remove(identity: Identity, id: ObjectId | undefined): CatalogRow | undefined {
    const row = this.#select.get(identity.h);
    if (row === null || row.h2 !== identity.h2) return undefined;
    this.#removeRow(row, id);
    return row;
  }

  /** Presence and checksums of some blocks of a large body, undefined when none are stored. */
  block(version: number, part: number): Uint8Array | undefined {
    return this.#selectBlock.get(version, part)?.data;
  }

  /** Call within `transact`. */
  putBlock(version: number, part: number, data: Uint8Array): void {
    this.#insertBlock.run(version, part, data);
  }

  /** Rows of a bucket (of all when undefined) whose key starts with `prefix`, by key; at most `limit` after `after`. */
  names(
    bucket: string,
    prefix: Uint8Array,
    after: Uint8Array | undefined,
    limit: number,
  ): { key: Uint8Array; h: number }[] {
    const id = this.#bucketIds.get(bucket);
    if (id === undefined) return [];
    const end = prefixEnd(prefix);
    const from = after ?? prefix;
    const comparison = after === undefined ? ">=" : ">";
    const names =
      end === undefined
        ? this.#database
            .query<{ key: Uint8Array; h: number }, [number, Uint8Array, number]>(
              `SELECT key, h FROM name WHERE bucket = ? AND key ${comparison} ? ORDER BY key LIMIT ?`,
            )
            .all(id, from, limit)
        : this.#database
            .query<{ key: Uint8Array; h: number }, [number, Uint8Array, Uint8Array, number]>(
              `SELECT key, h FROM name WHERE bucket = ? AND key ${comparison} ? AND key < ? ORDER BY key LIMIT ?`,
            )
            .all(id, from, end, limit);
    const isRight = names.every(
      ({ key, h }) => key instanceof Uint8Array && Number.isSafeInteger(h),
    );
    if (!isRight) throw new WrongType(`a name of ${this.path} is none`);
    return names;
  }

  /** Names of the buckets that ever had an entry here. */
  bucketNames(): string[] {
    return [...this.#bucketIds.keys()];
  }

  /** True when the row of `entry` names exactly this place. */
  pointsAt(entry: RowKey, place: number, offset: number): boolean {
    const row = this.#locate.get(entry.h);
    return row?.version === entry.version && row.place === place && row.offset === offset;
  }

  /** What the row `h` takes and how it is marked, unchecked; undefined when there is none. */
  peek(h: number): LocatedRow | undefined {
    return this.#locate.get(h) ?? undefined;
  }

  /** True when the row of `entry` names exactly this place and is pinned. */
  isPinnedAt(entry: RowKey, place: number, offset: number): boolean {
    const row = this.#locate.get(entry.h);
    return (
      row?.version === entry.version &&
      row.place === place &&
      row.offset === offset &&
      (row.flags & FLAG_PINNED) !== 0
    );
  }

  /**
   * Pins the row `h` of a bucket or not, as `judge` says; call within `transact`. Returns the row
   * as it is then, or undefined when there is none.
   */
  judgePin(
    bucket: string,
    h: number,
    judge: (row: CatalogRow) => boolean,
  ): { row: PlacedRow; isPinned: boolean; hasChanged: boolean } | undefined {
    const row = this.#select.get(h);
    if (row === null || row.bucket !== this.#bucketIds.get(bucket)) return undefined;
    if (row.crc !== rowCrc(row)) return undefined; // a reader will find it, and drop it
    const isPinned = judge(row);
    const hasChanged = isPinned !== ((row.flags & FLAG_PINNED) !== 0);
    if (!hasChanged) return { row, isPinned, hasChanged };
    const judged = { ...row, flags: row.flags ^ FLAG_PINNED };
    this.#flag.run(judged.flags, rowCrc(judged), h);
    this.#count(row, -1);
    this.#count(judged, 1);
    return { row: judged, isPinned, hasChanged };
  }

  /** Lets the row of `entry` name another place, if it names `from`; call within `transact`. */
  move(entry: RowKey, from: RowPlace, to: RowPlace): boolean {
    const row = this.#select.get(entry.h);
    if (row === null || row.version !== entry.version) return false;
    if (row.place !== from.place || row.offset !== from.offset || row.crc !== rowCrc(row)) {
      return false;
    }
    const moved = { ...row, ...to };
    this.#move.run(to.place, to.offset, rowCrc(moved), row.h);
    return true;
  }

  /**
   * Deletes the row of `entry` if it names `place`; call within `transact`. Returns the body
   * bytes of the entry that is gone, undefined when its row names something else.
   */
  removeAt(entry: RowKey & ObjectId, place: number): number | undefined {
    const row = this.#select.get(entry.h);
    if (row === null || row.version !== entry.version || row.place !== place) return undefined;
    this.#removeRow(row, entry);
    return row.size;
  }

  /** Deletes a row that names a place which is gone; its name is swept separately. Within `transact`. */
  removeDangling(entry: RowKey, place: number): void {
    const row = this.#select.get(entry.h);
    if (row !== null && row.version === entry.version && row.place === place) {
      this.#removeRow(row, undefined);
    }
  }

  /** Up to `limit` rows of the segment and file tiers with a row id above `afterH`, by row id. */
  placesAfter(afterH: number, limit: number): PlacedRow[] {
    return this.#database
      .query<PlacedRow, [number, number]>(
        "SELECT h, h2, version, tier, grp, place, disk, flags FROM object WHERE h > ? ORDER BY h LIMIT ?",
      )
      .all(afterH, limit);
  }

  /** Deletes names that no object bears any more, up to `limit` after one; returns where to go on. */
  removeStrayNames(
    after: { bucket: number; key: Uint8Array },
    limit: number,
  ): { bucket: number; key: Uint8Array } | undefined {
    const names = this.#database
      .query<{ bucket: number; key: Uint8Array; isStray: number }, [number, Uint8Array, number]>(
        "SELECT bucket, key, NOT EXISTS (SELECT 1 FROM object WHERE object.h = name.h " +
          "AND object.bucket = name.bucket) AS isStray " +
          "FROM name WHERE (bucket, key) > (?, ?) ORDER BY bucket, key LIMIT ?",
      )
      .all(after.bucket, after.key, limit);
    const drop = this.#database.query("DELETE FROM name WHERE bucket = ? AND key = ?");
    for (const { bucket, key, isStray } of names) if (isStray === 1) drop.run(bucket, key);
    return names.length < limit ? undefined : names.at(-1);
  }

  /** The versions of all bodies in the file tier. */
  fileVersions(): number[] {
    return this.#database
      .query<{ version: number }, []>(
        "SELECT version FROM object INDEXED BY file_object WHERE tier = 2",
      )
      .all()
      .map((row) => row.version);
  }

  /** Bytes of pages that hold nothing and will be used before the file grows. */
  freeBytes(): number {
    const row = this.#database.query<{ freelist_count: number }, []>("PRAGMA freelist_count").get();
    return (row?.freelist_count ?? 0) * PAGE_BYTES;
  }

  fileBytes(): number {
    return databaseBytes(this.path);
  }

  close(): void {
    try {
      this.#database.run("PRAGMA wal_checkpoint(TRUNCATE)");
    } catch {
      // The log is replayed at the next start instead.
    }
    // A statement that is not finalized keeps the files open, deleted ones included.
    for (const statement of this.#statements()) statement.finalize();
    this.#database.close();
  }

  #statements(): readonly Statement[] {
    return [
      this.#select,
      this.#locate,
      this.#move,
      this.#flag,
      this.#insert,
      this.#delete,
      this.#insertName,
      this.#deleteName,
      this.#addTotal,
      this.#selectBlock,
      this.#insertBlock,
    ];
  }

  #removeRow(row: RawRow, id: ObjectId | undefined): void {
    this.#delete.run(row.h);
    if (id !== undefined) this.#deleteName.run(row.bucket, Buffer.from(id.key), row.h);
    this.#count(row, -1);
    this.#dropBlocks(row);
  }

  #dropBlocks(row: CatalogRow): void {
    if (TIERS[row.tier] === "file") {
      this.#database.query("DELETE FROM block WHERE version = ?").run(row.version);
    }
  }

  #count(row: RawRow, sign: 1 | -1): void {
    this.#countAs(row.tier, row, sign);
    if ((row.flags & FLAG_PINNED) !== 0) this.#countAs(PINNED_TOTAL, row, sign);
  }

  #countAs(tier: number, row: RawRow, sign: 1 | -1): void {
    const slot = row.bucket * 4 + tier;
    let delta = this.#deltas.get(slot);
    if (delta === undefined) {
      delta = { entries: 0, bytes: 0, disk: 0 };
      this.#deltas.set(slot, delta);
    }
    delta.entries += sign;
    delta.bytes += sign * row.size;
    delta.disk += sign * row.disk;
  }

  #book(slot: number, delta: TierTotal): void {
    const bucket = Math.floor(slot / 4);
    const tier = slot % 4;
    if (tier === PINNED_TOTAL) {
      addTotal(this.#pinned, delta);
      return;
    }
    addTotal(this.totals[TIERS[tier] ?? "inline"], delta);
    this.#bucketBytes.set(bucket, (this.#bucketBytes.get(bucket) ?? 0) + delta.disk);
  }

  #bucketId(name: string): number {
    const known = this.#bucketIds.get(name);
    if (known !== undefined) return known;
    this.#database.query("INSERT INTO bucket(name) VALUES (?)").run(name);
    const row = this.#database
      .query<{ id: number }, [string]>("SELECT id FROM bucket WHERE name = ?")
      .get(name);
    if (row === null) throw new Error(`bucket ${name} vanished while it was inserted`);
    this.#bucketIds.set(name, row.id);
    return row.id;
  }

  #loadBuckets(): void {
    this.#bucketIds.clear();
    const buckets = this.#database
      .query<{ id: number; name: string }, []>("SELECT id, name FROM bucket")
      .all();
    for (const bucket of buckets) this.#bucketIds.set(bucket.name, bucket.id);
  }

  #load(): void {
    this.#loadBuckets();
    const totals = this.#database
      .query<TierTotal & { bucket: number; tier: number }, []>(
        "SELECT bucket, tier, entries, bytes, disk FROM total",
      )
      .all();
    for (const total of totals) {
      if (!Object.values(total).every(Number.isSafeInteger)) {
        throw new WrongType(`a sum of ${this.path} is none`);
      }
      this.#book(total.bucket * 4 + total.tier, total);
    }
  }
}

function emptyTotal(): TierTotal {
  return { entries: 0, bytes: 0, disk: 0 };
}

function emptyTotals(): Record<Tier, TierTotal> {
  return {
    inline: emptyTotal(),
    segment: emptyTotal(),
    file: emptyTotal(),
  };
}

function addTotal(sum: TierTotal, part: TierTotal): void {
  sum.entries += part.entries;
  sum.bytes += part.bytes;
  sum.disk += part.disk;
}

const crcFields = new Float64Array(13);
const crcBytes = new Uint8Array(crcFields.buffer);

/** CRC-32 over every column but `crc`; the order of the fields is part of the format. */
export function rowCrc(row: RawRow): number {
  crcFields[0] = row.h;
  crcFields[1] = row.h2;
  crcFields[2] = row.version;
  crcFields[3] = row.written;
  crcFields[4] = row.bucket;
  crcFields[5] = row.tier;
  crcFields[6] = row.place;
  crcFields[7] = row.offset;
  crcFields[8] = row.size;
  crcFields[9] = row.disk;
  crcFields[10] = row.flags;
  crcFields[11] = row.grp;
  crcFields[12] = row.head === null ? -1 : row.head.length;
  let crc = Bun.hash.crc32(crcBytes);
  if (row.head !== null) crc = Bun.hash.crc32(row.head, crc);
  if (row.body !== null) crc = Bun.hash.crc32(row.body, crc);
  return crc;
}

/** The first byte string after every string that starts with `prefix`; undefined when there is none. */
function prefixEnd(prefix: Uint8Array): Uint8Array | undefined {
  let length = prefix.length;
  while (length > 0 && prefix[length - 1] === 0xff) length -= 1;
  if (length === 0) return undefined;
  const end = new Uint8Array(prefix.subarray(0, length)); // a copy: `slice` of a Buffer is none
  end[length - 1] = (end[length - 1] ?? 0) + 1;
  return end;
}

function removeDatabase(path: string): void {
  for (const suffix of ["", "-wal", "-shm"]) rmSync(`${path}${suffix}`, { force: true });
}
