/**
 * A store seen from outside: what `tag cache stats`, `ls` and `inspect` read, beside a
 * running server or without one. Opens the SQLite files read-only, takes no lock, loads
 * nothing heavy, and shows a state at most one group commit (10 ms) old.
 */

import { Database } from "bun:sqlite";
import { closeSync, existsSync, openSync, readdirSync, readSync, statSync } from "node:fs";
import { join } from "node:path";
import { GatewayError } from "../base/errors.ts";
import type { ByteRange } from "../http/range.ts";
import type { ObjectId } from "../s3/object-id.ts";
import { chunkPath } from "./block-files.ts";
import { FLAG_COMPLETE, FLAG_PINNED, PINNED_TOTAL, TIERS } from "./catalog.ts";
import { databaseBytes, readPinsOf, readStateOf, type StoreState } from "./control.ts";
import { decodeHead } from "./head.ts";
import { identityOf } from "./identity.ts";
import { readOwner, type Owner } from "./lock.ts";
import { Scrub, type CheckedEntry } from "./scrub.ts";
import { decodeHeader, HEADER_BYTES, parseSegmentName } from "./segment-format.ts";
import type { ObjectMeta, Pin, Tier } from "./storage.ts";

export interface TierSummary {
  readonly tier: Tier;
  readonly entries: number;
  /** Body bytes of the objects. */
  readonly logicalBytes: number;
  /** Bytes on the volume outside of the catalog; of `inline`, the payload of the rows. */
  readonly diskBytes: number;
}

export interface BucketSummary {
  readonly bucket: string;
  readonly entries: number;
  readonly logicalBytes: number;
  readonly diskBytes: number;
  /** Of these, what is pinned. */
  readonly pinnedEntries: number;
  readonly pinnedBytes: number;
}

export interface StoreSummary {
  readonly tiers: readonly TierSummary[];
  readonly buckets: readonly BucketSummary[];
  /** What is not to be evicted, by bucket and prefix. */
  readonly pins: readonly Pin[];
  /** Bytes on disk: bodies and catalog. */
  readonly physicalBytes: number;
  /** The cap the store was last opened with; undefined when it never was. */
  readonly capacityBytes: number | undefined;
  /** Counters that go on over restarts, as saved within the last seconds. */
  readonly counters: ReadonlyMap<string, number>;
  /**
   * When the oldest segment or file of a body was last written, Unix milliseconds: what is in
   * it was stored, or found in use and moved on, by then. Undefined when there is none.
   */
  readonly oldestAtMs: number | undefined;
  /** The process that has the store open, as far as it said. */
  readonly owner: Owner | undefined;
  /** Catalog shards that could not be read and are not counted. */
  readonly unreadableShards: number;
}

/** One entry, as the catalog has it. */
export interface InspectedEntry {
  readonly meta: ObjectMeta;
  readonly tier: Tier;
  readonly version: number;
  readonly isComplete: boolean;
  /** Eviction passes it by. */
  readonly isPinned: boolean;
  /** Bytes it takes on the volume outside of the catalog. */
  readonly diskBytes: number;
  /** The parts of the body that are stored, in order and not adjacent. */
  readonly present: readonly ByteRange[];
}

/** One entry as a listing shows it. */
export interface ListedEntry {
  readonly key: string;
  readonly sizeBytes: number;
  readonly tier: Tier;
  readonly version: number;
  readonly isComplete: boolean;
  /** Eviction passes it by. */
  readonly isPinned: boolean;
  /** Bytes it takes on the volume outside of the catalog. */
  readonly diskBytes: number;
}

export interface CatalogReader {
  /** Counts and sizes; costs a few milliseconds however large the store is. */
  summary(): StoreSummary;
  /** Ids in a bucket whose key starts with `prefix`, in key order within a shard. */
  list(bucket: string, prefix: string): Iterable<ObjectId>;
  /** What is stored of a bucket under keys that start with `prefix`, by key (as bytes). */
  entries(bucket: string, prefix: string): Iterable<ListedEntry>;
  inspect(id: ObjectId): InspectedEntry | undefined;
  /** Compares the bytes of one entry with their checksums; undefined when it is not stored. */
  check(id: ObjectId): Promise<CheckedEntry | undefined>;
  /** Compares the bytes of every entry with their checksums. Reads the whole store. */
  scrub(): AsyncIterable<CheckedEntry>;
  close(): void;
}

/**
 * Opens the store in `folder` for reading; undefined when there is none.
 * Throws `storage_io` when there is one that cannot be read.
 */
export function openCatalogReader(folder: string): CatalogReader | undefined {
  const controlPath = join(folder, "control.db");
  if (!existsSync(controlPath)) return undefined;
  const opened: Database[] = [];
  try {
    const control = openReadOnly(controlPath);
    opened.push(control);
    const state = readStateOf(control);
    if (state === undefined) throw new Error("its control database does not check");
    readPinsOf(control); // rather now than in the middle of an answer
    const shards: Database[] = [];
    for (let index = 0; index < state.shardCount; index += 1) {
      const path = join(folder, "catalog", `${index.toString(16).padStart(2, "0")}.db`);
      const shard = openReadOnly(path);
      shards.push(shard);
      opened.push(shard);
    }
    return new Reader(folder, control, state, shards);
  } catch (error) {
    for (const database of opened) database.close();
    throw new GatewayError("storage_io", `cannot read the cache at ${folder}`, { cause: error });
  }
}

class Reader implements CatalogReader {
  readonly #folder: string;
  readonly #control: Database;
  readonly #state: StoreState;
  readonly #shards: readonly Database[];
  readonly #scrub: Scrub;

  constructor(folder: string, control: Database, state: StoreState, shards: readonly Database[]) {
    this.#folder = folder;
    this.#control = control;
    this.#state = state;
    this.#shards = shards;
    const segments = new SegmentFolder(folder);
    this.#scrub = new Scrub({ folder, shards, segmentPath: (id) => segments.pathOf(id) });
  }

  summary(): StoreSummary {
    const tiers = new Map<Tier, Sums>(
      TIERS.map((tier) => [tier, { entries: 0, logicalBytes: 0, diskBytes: 0 }]),
    );
    const buckets = new Map<string, Sums>();
    const pinned = new Map<string, Sums>();
    const segments = this.#segmentFiles();
    let physicalBytes = databaseBytes(join(this.#folder, "control.db")) + segments.sizeBytes;
    let unreadableShards = 0;
    for (const shard of this.#shards) {
      physicalBytes += databaseBytes(shard.filename);
      try {
        for (const { name, tier: index, entries, bytes, disk } of totalsOf(shard)) {
          if (index === PINNED_TOTAL) {
            addTo(pinned, name, entries, bytes, disk);
            continue;
          }
          const tier = TIERS[index] ?? "inline";
          if (tier === "file") physicalBytes += disk;
          addTo(tiers, tier, entries, bytes, disk);
          if (entries > 0) addTo(buckets, name, entries, bytes, disk);
        }
      } catch {
        unreadableShards += 1; // the server will set it up anew; the rest is worth showing
      }
    }
    return {
      tiers: [...tiers].map(([tier, sums]) => ({ tier, ...sums })),
      buckets: [...buckets].map(([bucket, sums]) => ({
        bucket,
        ...sums,
        pinnedEntries: pinned.get(bucket)?.entries ?? 0,
        pinnedBytes: pinned.get(bucket)?.diskBytes ?? 0,
      })),
      pins: this.#pins(),
      physicalBytes,
      capacityBytes: this.#state.capacityBytes > 0 ? this.#state.capacityBytes : undefined,
      counters: this.#counters(),
      oldestAtMs: earliest([segments.oldestAtMs, ...this.#oldestFilesAtMs()]),
      owner: readOwner(this.#folder),
      unreadableShards,
    };
  }

  #pins(): Pin[] {
    return readPinsOf(this.#control)
      .filter(({ state }) => state !== "unpinning")
      .map(({ bucket, prefix, origin }) => ({ bucket, prefix, origin }));
  }

  #counters(): Map<string, number> {
    try {
      const rows = this.#control
        .query<{ name: string; value: number }, []>("SELECT name, value FROM counter")
        .all();
      return new Map(rows.map(({ name, value }) => [name, value]));
    } catch {
      return new Map();
    }
  }

  #segmentFiles(): { sizeBytes: number; oldestAtMs: number | undefined } {
    const folder = join(this.#folder, "segments");
    let sizeBytes = 0;
    let oldestAtMs: number | undefined;
    for (const name of existsSync(folder) ? readdirSync(folder) : []) {
      const status = statSync(join(folder, name), { throwIfNoEntry: false });
      if (status === undefined) continue;
      sizeBytes += status.blocks * 512;
      oldestAtMs = earliest([oldestAtMs, status.mtimeMs]);
    }
    return { sizeBytes, oldestAtMs };
  }

  /** When the oldest body in files was last written, by shard. */
  #oldestFilesAtMs(): (number | undefined)[] {
    return this.#shards.map((shard, index) => {
      const version = oldestFileVersion(shard);
      if (version === undefined) return undefined;
      const path = chunkPath(join(this.#folder, "files"), index, version, 0);
      return statSync(path, { throwIfNoEntry: false })?.mtimeMs;
    });
  }

  *list(bucket: string, prefix: string): Iterable<ObjectId> {
    const wanted = Buffer.from(prefix);
    for (const shard of this.#shards) {
      const rows = shard
        .query<{ key: Uint8Array }, [string, Uint8Array]>(
          "SELECT name.key FROM name JOIN object ON object.h = name.h " +
            "WHERE name.bucket = (SELECT id FROM bucket WHERE name = ?) AND key >= ? ORDER BY key",
        )
        .iterate(bucket, wanted);
      for (const { key } of rows) {
        if (!wanted.equals(key.subarray(0, wanted.length))) break;
        yield { bucket, key: Buffer.from(key).toString() };
      }
    }
  }

  *entries(bucket: string, prefix: string): Iterable<ListedEntry> {
    const wanted = Buffer.from(prefix);
    const streams = this.#shards.map((shard) =>
      shard
        .query<ListedRow, [string, Uint8Array]>(
          "SELECT name.key, size, tier, version, flags, disk, place FROM name " +
            "JOIN object ON object.h = name.h AND object.bucket = name.bucket " +
            "WHERE name.bucket = (SELECT id FROM bucket WHERE name = ?) AND key >= ? ORDER BY key",
        )
        .iterate(bucket, wanted),
    );
    const segments = new SegmentFolder(this.#folder);
    for (const row of inKeyOrder(streams)) {
      if (!wanted.equals(row.key.subarray(0, wanted.length))) break;
      const tier = TIERS[row.tier] ?? "inline";
      // Evicted, and not swept yet: a miss.
      if (tier === "segment" && segments.pathOf(row.place) === undefined) continue;
      yield {
        key: Buffer.from(row.key).toString(),
        sizeBytes: row.size,
        tier,
        version: row.version,
        isComplete: (row.flags & FLAG_COMPLETE) !== 0,
        isPinned: (row.flags & FLAG_PINNED) !== 0,
        diskBytes: row.disk,
      };
    }
  }

  inspect(id: ObjectId): InspectedEntry | undefined {
    const identity = identityOf(id, this.#state.shardCount);
    const row = this.#shards[identity.shard]
      ?.query<InspectedRow, [number, number]>(
        "SELECT tier, version, place, offset, flags, disk, head FROM object WHERE h = ? AND h2 = ?",
      )
      .get(identity.h, identity.h2);
    if (row === undefined || row === null) return undefined;
    const meta = row.head === null ? this.#headInSegment(row) : decodeHead(row.head);
    if (meta === undefined) return undefined;
    return {
      meta,
      tier: TIERS[row.tier] ?? "inline",
      version: row.version,
      isComplete: (row.flags & FLAG_COMPLETE) !== 0,
      isPinned: (row.flags & FLAG_PINNED) !== 0,
      diskBytes: row.disk,
      present: this.#scrub.present(identity.shard, identity.h) ?? [
        { start: 0, end: meta.sizeBytes },
      ],
    };
  }

  check(id: ObjectId): Promise<CheckedEntry | undefined> {
    const { shard, h } = identityOf(id, this.#state.shardCount);
    return this.#scrub.check(shard, h);
  }

  scrub(): AsyncIterable<CheckedEntry> {
    return this.#scrub.all();
  }

  #headInSegment(row: InspectedRow): ObjectMeta | undefined {
    const folder = join(this.#folder, "segments");
    for (const file of existsSync(folder) ? readdirSync(folder) : []) {
      const name = parseSegmentName(file);
      if (name?.id !== row.place) continue;
      const descriptor = openSync(join(folder, file), "r");
      try {
        const header = Buffer.alloc(HEADER_BYTES);
        readSync(descriptor, header, 0, HEADER_BYTES, row.offset);
        const decoded = decodeHeader(header, 0, name.nonce);
        if (decoded?.version !== row.version) return undefined;
        const head = Buffer.alloc(decoded.headLength);
        readSync(descriptor, head, 0, head.length, row.offset + HEADER_BYTES);
        return Bun.hash.crc32(head) === decoded.headCrc ? decodeHead(head) : undefined;
      } finally {
        closeSync(descriptor);
      }
    }
    return undefined;
  }

  close(): void {
    this.#scrub.close();
    this.#control.close();
    for (const shard of this.#shards) shard.close();
  }
}

interface TotalRow {
  readonly name: string;
  readonly tier: number;
  readonly entries: number;
  readonly bytes: number;
  readonly disk: number;
}

function totalsOf(shard: Database): TotalRow[] {
  return shard
    .query<TotalRow, []>(
      "SELECT name, tier, entries, bytes, disk FROM total JOIN bucket ON bucket.id = total.bucket",
    )
    .all();
}

/** The segment files of a store that may be in use: the list is made again when an id is unknown. */
class SegmentFolder {
  readonly #folder: string;
  #paths = new Map<number, string>();
  readonly #gone = new Set<number>();

  constructor(folder: string) {
    this.#folder = join(folder, "segments");
  }

  pathOf(id: number): string | undefined {
    if (!this.#paths.has(id) && !this.#gone.has(id)) {
      this.#list();
      if (!this.#paths.has(id)) this.#gone.add(id); // ids are never given out twice
    }
    return this.#paths.get(id);
  }

  #list(): void {
    this.#paths = new Map();
    for (const file of existsSync(this.#folder) ? readdirSync(this.#folder) : []) {
      const name = parseSegmentName(file);
      if (name !== undefined) this.#paths.set(name.id, join(this.#folder, file));
    }
  }
}

/** Merges rows that come in key order from every shard. */
function* inKeyOrder(streams: readonly Iterable<ListedRow>[]): Generator<ListedRow> {
  const sources = streams.map((stream) => stream[Symbol.iterator]());
  const heads = sources.map((source) => source.next());
  for (;;) {
    let first: number | undefined;
    let firstRow: ListedRow | undefined;
    for (const [index, head] of heads.entries()) {
      if (head.done === true) continue;
      if (firstRow === undefined || Buffer.compare(head.value.key, firstRow.key) < 0) {
        first = index;
        firstRow = head.value;
      }
    }
    if (first === undefined || firstRow === undefined) return;
    yield firstRow;
    const source = sources[first];
    if (source !== undefined) heads[first] = source.next();
  }
}

interface ListedRow {
  readonly key: Uint8Array;
  readonly size: number;
  readonly tier: number;
  readonly version: number;
  readonly flags: number;
  readonly disk: number;
  readonly place: number;
}

interface InspectedRow {
  readonly tier: number;
  readonly version: number;
  readonly place: number;
  readonly offset: number;
  readonly flags: number;
  readonly disk: number;
  readonly head: Uint8Array | null;
}

/** The oldest body in files of a shard; undefined when there is none, or the shard cannot be read. */
function oldestFileVersion(shard: Database): number | undefined {
  try {
    const oldest = shard
      .query<{ version: number | null }, []>(
        "SELECT min(version) AS version FROM object INDEXED BY file_object WHERE tier = 2",
      )
      .get();
    return oldest?.version ?? undefined;
  } catch {
    return undefined; // `summary` counts it
  }
}

function earliest(times: readonly (number | undefined)[]): number | undefined {
  const known = times.filter((time) => time !== undefined);
  return known.length === 0 ? undefined : Math.min(...known);
}

interface Sums {
  entries: number;
  logicalBytes: number;
  diskBytes: number;
}

function addTo<K>(
  sums: Map<K, Sums>,
  key: K,
  entries: number,
  logicalBytes: number,
  diskBytes: number,
): void {
  const sum = sums.get(key) ?? { entries: 0, logicalBytes: 0, diskBytes: 0 };
  sum.entries += entries;
  sum.logicalBytes += logicalBytes;
  sum.diskBytes += diskBytes;
  sums.set(key, sum);
}

function openReadOnly(path: string): Database {
  const database = new Database(path, { readonly: true });
  database.run("PRAGMA busy_timeout = 1000");
  return database;
}
