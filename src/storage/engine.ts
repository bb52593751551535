/**
 * The engine behind the door: catalog, body files, memory index and eviction put
 * together. It holds the order of things:
 *
 * - An entry becomes visible in one synchronous step (`stillPermitted` is asked in it),
 *   after its bytes were handed to the kernel and their checksums are known.
 * - It becomes durable with the next group commit; only then does `commit` resolve.
 * - A removal is invisible and durable at once, and takes back a commit that waits.
 * - What is doubtful is a miss: a row, head or block that does not match its checksum is
 *   counted, forgotten and never served.
 *
 * Nothing in here throws into a read. A failing disk turns fills away (health.ts) and
 * leaves what is readable readable.
 */

import { join } from "node:path";
import type { Clock, Timer } from "../base/clock.ts";
import type { Disk } from "../base/disk.ts";
import { LruMap } from "../base/lru.ts";
import type { ByteRange } from "../http/range.ts";
import { objectIdString, type ObjectId } from "../s3/object-id.ts";
import { blockBytesFor, BlockFiles, FileBody, type FileLayout } from "./block-files.ts";
import { FileReader, type FileRead } from "./block-reader.ts";
import { Burials } from "./burials.ts";
import { Catalog, FLAG_COMPLETE, TIERS, type CatalogRow } from "./catalog.ts";
import { LocalCommitter, type Committer, type QueuedChange } from "./committer.ts";
import type { Control } from "./control.ts";
import { Entry, type Place } from "./entry.ts";
import { FillMemory, MemoryFill, StreamFill } from "./fill.ts";
import { decodeHead, encodeHead } from "./head.ts";
import { DiskHealth } from "./health.ts";
import { identityOf, type Identity } from "./identity.ts";
import type { StoreLock } from "./lock.ts";
import type {
  CommitOutcome,
  Fill,
  FillRefusal,
  FillRequest,
  ObjectMeta,
  Refreshment,
  Storage,
  StorageStats,
  StoredBody,
  StoredObject,
} from "./storage.ts";

/** What happens in a store that an operator may want to know. */
export type StorageEvent =
  | { readonly kind: "damage"; readonly what: string; readonly cause: unknown }
  | { readonly kind: "degraded"; readonly because: string }
  | { readonly kind: "recovered" };

export interface EngineOptions {
  readonly folder: string;
  readonly capacityBytes: number;
  /** Bound of the index of parsed entries. */
  readonly indexBytes: number;
  readonly fillsMax: number;
  readonly fillMemoryBytes: number;
  readonly clock: Clock;
  readonly disk: Disk;
  readonly report: (event: StorageEvent) => void;
}

/** Bodies up to this live in their catalog row. */
const INLINE_BYTES = 4096;

/** What one fill waits for and holds, for `stats` and `close`. */
type RunningFill = MemoryFill | StreamFill;

export class Engine implements Storage {
  readonly #options: EngineOptions;
  readonly #control: Control;
  readonly #lock: StoreLock;
  readonly #catalog: Catalog;
  readonly #committer: Committer;
  readonly #files: BlockFiles;
  readonly #reader: FileReader;
  readonly #health: DiskHealth;
  readonly #burials = new Burials();
  readonly #fillMemory: FillMemory;
  readonly #index: LruMap<string, Entry>;
  /** Visible entries whose row waits for the next group commit. */
  readonly #pending = new Map<string, Pending>();
  /** Bodies that a running fill extends, by version: never two instances of one. */
  readonly #growing = new Map<number, FileBody>();
  readonly #fills = new Set<RunningFill>();
  readonly #unlinks = new Set<Promise<void>>();
  /** Used since the eviction hand last passed. */
  readonly #seen = new Set<string>();
  readonly #hand = { shard: 0, h: -1 };
  /** Kept free under the cap, for files that are unlinked but not gone yet and for logs. */
  readonly #headroomBytes: number;
  #unlinkingBytes = 0;
  /** Bytes written by fills that are not published yet. */
  #growingBytes = 0;
  #catalogBytes = 0;
  #evictedEntries = 0;
  #evictedBytes = 0;
  #damagedEntries = 0;
  #tick: Timer | undefined;
  #isClosing = false;

  constructor(options: EngineOptions, control: Control, lock: StoreLock) {
    this.#options = options;
    this.#headroomBytes = options.capacityBytes / 12;
    this.#control = control;
    this.#lock = lock;
    this.#catalog = new Catalog({
      folder: join(options.folder, "catalog"),
      shardCount: control.shardCount,
      walLimitBytes: walLimitFor(options.capacityBytes),
      pageCacheBytes: 4 * MIB,
      onDamage: (what, cause) => this.#damage(what, cause),
    });
    this.#committer = new LocalCommitter(this.#catalog, options.clock);
    this.#files = new BlockFiles(options.disk, join(options.folder, "files"), OPEN_FILES_MAX);
    this.#reader = new FileReader(this.#files);
    this.#fillMemory = new FillMemory(options.fillMemoryBytes);
    this.#index = new LruMap(options.indexBytes);
    this.#health = new DiskHealth({
      clock: options.clock,
      probe: () => this.#probe(),
      onChange: (because) => this.#healthChanged(because),
    });
    this.#catalogBytes = this.#catalog.fileBytes();
    if (control.previousEnd !== "clean" && control.previousEnd !== "fresh") this.#removeOrphans();
    this.#keepHouse();
  }

  lookup(id: ObjectId): StoredObject | undefined {
    return this.#entryOf(id);
  }

  read(
    object: StoredObject,
    range: ByteRange,
  ): StoredBody | undefined | Promise<StoredBody | undefined> {
    const entry = this.#current(object);
    if (entry === undefined) return undefined;
    if (range.start < 0 || range.end > entry.sizeBytes || range.start > range.end) return undefined;
    if (range.start === range.end) return NO_BYTES;
    const { place } = entry;
    if (place.kind === "inline") {
      return { kind: "bytes", bytes: place.body.subarray(range.start, range.end) };
    }
    const read = this.#reader.read(place.body, range);
    return read instanceof Promise
      ? read.then((late) => this.#judge(entry, late))
      : this.#judge(entry, read);
  }

  missing(object: StoredObject, range: ByteRange): readonly ByteRange[] {
    const entry = this.#current(object);
    if (entry === undefined) return range.end > range.start ? [range] : [];
    return entry.place.kind === "file" ? entry.place.body.missing(range) : [];
  }

  touch(object: StoredObject): void {
    if (object instanceof Entry) this.#seen.add(object.name);
  }

  beginFill(request: FillRequest): Fill | { readonly refused: FillRefusal } {
    const { meta } = request;
    const refused = this.#refusalFor(meta.sizeBytes);
    if (refused !== undefined) return { refused };
    const extended = request.extend === undefined ? undefined : this.#current(request.extend);
    if (extended?.place.kind === "file" && isSameBody(extended, meta)) {
      return this.#extend(meta, extended.place.body);
    }
    return meta.sizeBytes <= INLINE_BYTES ? this.#fillInline(meta) : this.#fillFile(meta);
  }

  refresh(object: StoredObject, news: Refreshment): StoredObject | undefined {
    const entry = this.#current(object);
    if (entry === undefined) return undefined;
    const renewed = new Entry({ ...metaOf(entry), ...news }, entry);
    void this.#show(renewed);
    return renewed;
  }

  remove(ids: readonly ObjectId[]): number {
    return this.#removeAll(ids, "removed").length;
  }

  removePrefix(bucket: string, prefix: string): number {
    this.#committer.flush();
    let count = 0;
    try {
      for (const ids of this.#namesOf(bucket, prefix)) count += this.remove(ids);
    } catch (error) {
      // Not even readable: hide whatever is there until the disk answers again.
      this.#bury({ bucket, key: prefix, isPrefix: true });
      this.#health.fail(error);
    }
    return count;
  }

  *list(bucket: string | undefined, prefix: string): Iterable<StoredObject> {
    this.#committer.flush();
    const buckets = bucket === undefined ? this.#bucketNames() : [bucket];
    for (const name of buckets) {
      for (const ids of this.#namesOf(name, prefix)) {
        for (const id of ids) {
          const entry = this.#index.peek(objectIdString(id)) ?? this.#load(id);
          if (entry !== undefined) yield entry;
        }
      }
    }
  }

  stats(): StorageStats {
    const totals = this.#catalog.totals();
    let entries = 0;
    let logicalBytes = 0;
    for (const tier of TIERS) {
      entries += totals[tier].entries;
      logicalBytes += totals[tier].bytes;
    }
    return {
      entries,
      logicalBytes,
      physicalBytes: this.#physicalBytes(),
      capacityBytes: this.#options.capacityBytes,
      evictedEntries: this.#evictedEntries,
      evictedBytes: this.#evictedBytes,
      damagedEntries: this.#damagedEntries,
      activeFills: this.#fills.size,
      degradedBecause: this.#health.degradedBecause,
    };
  }

  async close(): Promise<void> {
    if (this.#isClosing) return;
    this.#isClosing = true;
    this.#tick?.cancel();
    this.#health.close();
    const deadlineMs = this.#options.clock.monotonicMs() + CLOSE_LIMIT_MS;
    while (this.#fills.size > 0 && this.#options.clock.monotonicMs() < deadlineMs) {
      await this.#options.clock.sleep(10);
    }
    for (const fill of this.#fills) fill.break("the store is closing");
    this.#committer.flush();
    await Promise.all(this.#unlinks);
    this.#files.close();
    const isClean = this.#health.degradedBecause === undefined && this.#burials.isEmpty;
    this.#catalog.close();
    this.#control.close(isClean);
    this.#lock.release();
  }

  // --- Looking up -------------------------------------------------------------------------

  #entryOf(id: ObjectId): Entry | undefined {
    const name = objectIdString(id);
    const known = this.#index.get(name) ?? this.#pending.get(name)?.entry;
    if (known !== undefined) return known;
    const entry = this.#load(id);
    if (entry !== undefined) this.#index.set(name, entry, entry.memoryBytes);
    return entry;
  }

  /** The entry of this very version as it is now; undefined when it is not visible any more. */
  #current(object: StoredObject): Entry | undefined {
    const entry = this.#entryOf(object.id);
    return entry?.version === object.version ? entry : undefined;
  }

  #load(id: ObjectId): Entry | undefined {
    const identity = identityOf(id, this.#catalog.shardCount);
    const row = this.#catalog.find(identity);
    if (row === undefined || this.#burials.hides(id, row.version)) return undefined;
    const stored = row.head === null ? undefined : decodeHead(row.head);
    if (stored === undefined || stored.sizeBytes !== row.size) {
      this.#damage("the head of an entry cannot be read", undefined);
      this.#removeAll([id], "removed");
      return undefined;
    }
    // 100 equal bits and another key: another object, which is not damage but bad luck.
    if (stored.id.key !== id.key || stored.id.bucket !== id.bucket) return undefined;
    const isTrusted = row.written >= this.#control.distrustBelow;
    const meta = isTrusted ? stored : { ...stored, freshUntilMs: 0 };
    return new Entry(meta, { version: row.version, identity, place: this.#placeOf(row, identity) });
  }

  #placeOf(row: CatalogRow, identity: Identity): Place {
    if (TIERS[row.tier] === "inline") {
      return { kind: "inline", body: row.body ?? new Uint8Array(0) };
    }
    const growing = this.#growing.get(row.version);
    if (growing !== undefined) return { kind: "file", body: growing };
    const layout = layoutOf(row, identity);
    return {
      kind: "file",
      body: new FileBody(layout, {
        isComplete: (row.flags & FLAG_COMPLETE) !== 0,
        load: (part) => this.#catalog.block(identity.shard, row.version, part),
      }),
    };
  }

  #judge(entry: Entry, read: FileRead): StoredBody | undefined {
    if (typeof read !== "string") return read;
    const isComplete = entry.place.kind === "file" && entry.place.body.isComplete;
    if (read === "damaged" || isComplete) {
      this.#damage(`the body of ${entry.name} is not what was written`, undefined);
      if (this.#current(entry) !== undefined) this.#removeAll([entry.id], "removed");
    }
    return undefined;
  }

  // --- Filling ----------------------------------------------------------------------------

  #refusalFor(sizeBytes: number): FillRefusal | undefined {
    if (this.#isClosing) return "closing";
    if (this.#health.degradedBecause !== undefined) {
      return this.#health.isFull ? "disk_full" : "store_failed";
    }
    if (this.#fills.size >= this.#options.fillsMax) return "too_many_fills";
    if (this.#fillMemory.isFull) return "fill_memory";
    if (sizeBytes > this.#options.capacityBytes * LARGEST_SHARE) return "too_large";
    return this.#makeRoom(Math.min(sizeBytes, ROOM_BYTES)) ? undefined : "disk_full";
  }

  #fillInline(meta: ObjectMeta): Fill {
    const fill = new MemoryFill(meta.sizeBytes, this.#fillMemory, {
      publish: (self, stillPermitted) => {
        if (!stillPermitted()) return { kind: "refused" };
        const body = self.bytes();
        return this.#show(this.#newEntry(meta, { kind: "inline", body }));
      },
      finished: (self) => this.#fills.delete(self),
      failed: (error) => this.#health.fail(error),
    });
    this.#fills.add(fill);
    return fill;
  }

  #fillFile(meta: ObjectMeta): Fill {
    const identity = identityOf(meta.id, this.#catalog.shardCount);
    const version = this.#control.nextStamp();
    const blockBytes = blockBytesFor(meta.sizeBytes);
    const layout: FileLayout = {
      version,
      shard: identity.shard,
      sizeBytes: meta.sizeBytes,
      blockBytes,
      chunkBytes: chunkBytesFor(this.#options.capacityBytes, blockBytes),
    };
    const body = new FileBody(layout, { isComplete: false, load: () => undefined });
    return this.#fillBody(body, true, (stillPermitted, fill) => {
      if (!stillPermitted()) return { kind: "refused" };
      for (const [block, crc] of fill.blockCrcs) body.add(block, crc);
      if (fill.blockCrcs.size === 0) return { kind: "failed", reason: "no whole block came" };
      body.isComplete = fill.isWhole;
      return this.#show(new Entry(meta, { version, identity, place: { kind: "file", body } }));
    });
  }

  #extend(meta: ObjectMeta, body: FileBody): Fill {
    this.#growing.set(body.layout.version, body);
    return this.#fillBody(body, false, (stillPermitted, fill) => {
      if (!stillPermitted()) return { kind: "refused" };
      const entry = this.#entryOf(meta.id);
      if (entry?.place.kind !== "file" || entry.place.body !== body) {
        return { kind: "failed", reason: "the entry to extend is gone" };
      }
      for (const [block, crc] of fill.blockCrcs) body.add(block, crc);
      body.updateCompleteness();
      return this.#show(new Entry(meta, entry));
    });
  }

  #fillBody(
    body: FileBody,
    isNew: boolean,
    publish: (
      stillPermitted: () => boolean,
      fill: StreamFill,
    ) => CommitOutcome | Promise<CommitOutcome>,
  ): Fill {
    const { layout } = body;
    let writtenBytes = 0;
    const reserve = (sizeBytes: number): void => {
      if (!this.#makeRoom(sizeBytes)) throw new CacheFull();
      writtenBytes += sizeBytes;
      this.#growingBytes += sizeBytes;
    };
    body.writers += 1;
    const options = {
      sizeBytes: layout.sizeBytes,
      blockBytes: layout.blockBytes,
      mayHaveGaps: true,
      target: this.#files.target(layout, isNew, reserve),
      memory: this.#fillMemory,
    };
    const fill = new StreamFill(options, {
      publish: (self, stillPermitted) => publish(stillPermitted, self),
      finished: (self, isPublished) => {
        this.#fills.delete(self);
        this.#growingBytes -= writtenBytes;
        body.writers -= 1;
        if (body.writers === 0) this.#growing.delete(layout.version);
        if (isNew && !isPublished) this.#unlink(layout, writtenBytes);
      },
      failed: (error) => {
        if (!(error instanceof CacheFull)) this.#health.fail(error);
      },
    });
    this.#fills.add(fill);
    return fill;
  }

  #newEntry(meta: ObjectMeta, place: Place): Entry {
    const identity = identityOf(meta.id, this.#catalog.shardCount);
    return new Entry(meta, { version: this.#control.nextStamp(), identity, place });
  }

  /**
   * Makes `entry` the visible one of its object, now, and durable soon. Whatever was
   * visible before is not any more, even if the disk then refuses the new row.
   */
  async #show(entry: Entry): Promise<CommitOutcome> {
    const { name, identity } = entry;
    const before = this.#pending.get(name);
    if (before !== undefined && before.entry.version !== entry.version) {
      // Its row was never written; the transaction below replaces the one before it.
      for (const change of before.changes) change.cancel();
      this.#releasePlace(before.entry);
    }
    const parts = entry.place.kind === "file" ? entry.place.body.takeChanges() : [];
    const row = this.#rowOf(entry);
    let replaced: CatalogRow | undefined;
    const change = this.#committer.enqueue(identity, (shard) => {
      replaced = shard.put(entry.id, row);
      for (const { part, data } of parts) shard.putBlock(entry.version, part, data);
    });
    const changes =
      before?.entry.version === entry.version ? [...before.changes, change] : [change];
    this.#pending.set(name, { entry, changes });
    this.#index.set(name, entry, entry.memoryBytes);
    const settled = await change.settled;
    const isLatest = this.#pending.get(name)?.entry === entry;
    if (isLatest) this.#pending.delete(name);
    if (settled === "written") {
      if (replaced !== undefined && replaced.version !== entry.version) {
        this.#releaseRow(replaced, identity);
      }
      return { kind: "committed", object: entry };
    }
    // Cancelled: it was visible, and was removed or replaced since. Its bytes went then.
    if (settled === "cancelled") return { kind: "committed", object: entry };
    this.#health.fail(settled.error);
    if (entry.place.kind === "file") {
      entry.place.body.restoreChanges(parts.map(({ part }) => part));
    }
    if (isLatest) {
      this.#index.delete(name);
      this.#bury({ bucket: entry.id.bucket, key: entry.id.key, isPrefix: false });
      this.#releasePlace(entry);
    }
    return { kind: "failed", reason: "the catalog refused the entry" };
  }

  #rowOf(entry: Entry): CatalogRow {
    const { place } = entry;
    const head = encodeHead(entry);
    const common = {
      h: entry.identity.h,
      h2: entry.identity.h2,
      version: entry.version,
      written: this.#control.nextStamp(),
      tier: TIERS.indexOf(entry.tier),
      size: entry.sizeBytes,
      head,
    };
    if (place.kind === "inline") {
      const disk = ROW_BYTES + head.length + place.body.length;
      return { ...common, place: 0, offset: 0, disk, flags: FLAG_COMPLETE, body: place.body };
    }
    const { layout, isComplete } = place.body;
    return {
      ...common,
      place: layout.chunkBytes,
      offset: layout.blockBytes,
      disk: this.#files.allocatedBytes(layout),
      flags: isComplete ? FLAG_COMPLETE : 0,
      body: null,
    };
  }

  // --- Removing ---------------------------------------------------------------------------

  /** Makes entries invisible at once. Returns the body sizes of those there were. */
  #removeAll(ids: readonly ObjectId[], because: "removed" | "evicted"): number[] {
    const sizes: number[] = [];
    const byShard = Map.groupBy(
      ids.map((id) => ({ id, identity: identityOf(id, this.#catalog.shardCount) })),
      ({ identity }) => identity.shard,
    );
    for (const [shard, targets] of byShard) {
      const waiting = new Map<string, number>();
      for (const { id } of targets) {
        const name = objectIdString(id);
        const pending = this.#pending.get(name);
        if (pending !== undefined) {
          for (const change of pending.changes) change.cancel();
          this.#pending.delete(name);
          this.#releasePlace(pending.entry);
          waiting.set(name, pending.entry.sizeBytes);
        }
        this.#index.delete(name);
      }
      let removed: { name: string; row: CatalogRow; identity: Identity }[] = [];
      try {
        removed = this.#deleteRows(shard, targets);
      } catch (error) {
        for (const { id } of targets) {
          this.#bury({ bucket: id.bucket, key: id.key, isPrefix: false });
        }
        this.#health.fail(error);
      }
      for (const { name, row, identity } of removed) {
        this.#releaseRow(row, identity);
        waiting.set(name, row.size);
      }
      sizes.push(...waiting.values());
    }
    if (because === "evicted") {
      this.#evictedEntries += sizes.length;
      for (const size of sizes) this.#evictedBytes += size;
    }
    return sizes;
  }

  #deleteRows(
    shard: number,
    targets: readonly { id: ObjectId; identity: Identity }[],
  ): { name: string; row: CatalogRow; identity: Identity }[] {
    // A transaction for nothing would cost a write on every PUT of an uncached object.
    if (!targets.some(({ identity }) => this.#catalog.shard(shard).has(identity))) return [];
    return this.#catalog.transact(shard, (rows) =>
      targets.flatMap(({ id, identity }) => {
        const row = rows.remove(identity, id);
        if (row === undefined || this.#burials.hides(id, row.version)) return [];
        return [{ name: objectIdString(id), row, identity }];
      }),
    );
  }

  #bury(what: { bucket: string; key: string; isPrefix: boolean }): void {
    this.#burials.add({ ...what, before: this.#control.nextStamp() });
  }

  /** Frees what a row that is gone pointed at. */
  #releaseRow(row: CatalogRow, identity: Identity): void {
    if (TIERS[row.tier] !== "file") return;
    this.#unlink(layoutOf(row, identity), row.disk);
  }

  #releasePlace(entry: Entry): void {
    if (entry.place.kind !== "file") return;
    this.#unlink(entry.place.body.layout, entry.place.body.layout.sizeBytes);
  }

  #unlink(layout: FileLayout, sizeBytes: number): void {
    this.#unlinkingBytes += sizeBytes;
    const unlink = this.#files
      .remove(layout)
      .catch((error: unknown) => this.#health.fail(error))
      .finally(() => {
        this.#unlinkingBytes -= sizeBytes;
        this.#unlinks.delete(unlink);
      });
    this.#unlinks.add(unlink);
  }

  *#namesOf(bucket: string, prefix: string): Generator<ObjectId[]> {
    const bytes = Buffer.from(prefix);
    for (let index = 0; index < this.#catalog.shardCount; index += 1) {
      let after: Uint8Array | undefined;
      for (;;) {
        const names = this.#catalog.shard(index).names(bucket, bytes, after, NAMES_PER_PAGE);
        yield names.map(({ key }) => ({ bucket, key: Buffer.from(key).toString() }));
        after = names.at(-1)?.key;
        if (names.length < NAMES_PER_PAGE) break;
      }
    }
  }

  #bucketNames(): Set<string> {
    const names = new Set<string>();
    for (let index = 0; index < this.#catalog.shardCount; index += 1) {
      for (const name of this.#catalog.shard(index).bucketNames()) names.add(name);
    }
    return names;
  }

  // --- Space ------------------------------------------------------------------------------

  #physicalBytes(): number {
    return (
      this.#catalog.totals().file.disk +
      this.#growingBytes +
      this.#unlinkingBytes +
      this.#catalogBytes
    );
  }

  /** Evicts until `sizeBytes` more fit under the cap; false when that is not possible now. */
  #makeRoom(sizeBytes: number): boolean {
    for (let round = 0; round < EVICTION_ROUNDS_MAX; round += 1) {
      const wanted = this.#physicalBytes() - this.#unlinkingBytes + sizeBytes + this.#headroomBytes;
      const free = this.#catalog.freeBytes();
      if (wanted - free <= this.#options.capacityBytes) return true;
      if (!this.#evictSome()) return false;
    }
    return false;
  }

  /** Moves the hand over some rows and evicts those not used since it last passed. */
  #evictSome(): boolean {
    const rows = this.#nextRows();
    const victims: ObjectId[] = [];
    for (const row of rows) {
      const meta = row.head === null ? undefined : decodeHead(row.head);
      if (meta === undefined) continue;
      const isSpared = this.#seen.delete(objectIdString(meta.id)) || this.#growing.has(row.version);
      if (!isSpared) victims.push(meta.id);
    }
    this.#removeAll(victims, "evicted");
    return rows.length > 0;
  }

  #nextRows(): CatalogRow[] {
    const hand = this.#hand;
    for (let tried = 0; tried <= this.#catalog.shardCount; tried += 1) {
      const rows = this.#catalog.shard(hand.shard).rowsAfter(hand.h, ROWS_PER_SWEEP);
      const last = rows.at(-1);
      if (last !== undefined) {
        hand.h = last.h;
        return rows;
      }
      hand.shard = (hand.shard + 1) % this.#catalog.shardCount;
      hand.h = -1;
    }
    return [];
  }

  /** Once a second: log sizes, the free space of the volume, removals that wait. */
  #keepHouse(): void {
    this.#tick = this.#options.clock.after(HOUSEKEEPING_MS, () => {
      for (let index = 0; index < this.#catalog.shardCount; index += 1) {
        this.#catalog.checkpointIfLong(index);
      }
      this.#catalogBytes = this.#catalog.fileBytes();
      this.#keepHouse();
    });
  }

  /** After an unclean end: files that no row names are left over from fills. */
  #removeOrphans(): void {
    for (let shard = 0; shard < this.#catalog.shardCount; shard += 1) {
      const known = new Set(this.#catalog.shard(shard).fileVersions());
      for (const { version, name } of this.#files.versionsIn(shard)) {
        if (known.has(version)) continue;
        const removal = this.#files
          .removeNamed(shard, name)
          .catch((error: unknown) => this.#health.fail(error))
          .finally(() => this.#unlinks.delete(removal));
        this.#unlinks.add(removal);
      }
    }
  }

  // --- Trouble ----------------------------------------------------------------------------

  #damage(what: string, cause: unknown): void {
    this.#damagedEntries += 1;
    this.#options.report({ kind: "damage", what, cause });
  }

  #healthChanged(because: string | undefined): void {
    if (because !== undefined) {
      this.#options.report({ kind: "degraded", because });
      return;
    }
    this.#options.report({ kind: "recovered" });
    for (const burial of this.#burials.take()) {
      // Hidden again at once if the disk refuses once more.
      if (burial.isPrefix) this.removePrefix(burial.bucket, burial.key);
      else this.remove([burial]);
    }
  }

  async #probe(): Promise<void> {
    const { disk, folder } = this.#options;
    const path = join(folder, "probe");
    const file = disk.open(path, "create");
    try {
      await file.write([new Uint8Array(64 * 1024)], 0);
      await file.sync();
    } finally {
      file.close();
      await disk.remove(path);
    }
    this.#control.set("probed_at", String(this.#options.clock.nowMs()));
  }
}

interface Pending {
  readonly entry: Entry;
  readonly changes: readonly QueuedChange[];
}

const MIB = 1024 * 1024;
const NO_BYTES: StoredBody = { kind: "bytes", bytes: new Uint8Array(0) };
const OPEN_FILES_MAX = 512;
const HOUSEKEEPING_MS = 1000;
const CLOSE_LIMIT_MS = 10_000;
const NAMES_PER_PAGE = 256;
const ROWS_PER_SWEEP = 16;
const EVICTION_ROUNDS_MAX = 10_000;
/** What a fill is promised when it begins; it reserves more as it grows. */
const ROOM_BYTES = 1 * MIB;
/** An object larger than this share of the cap would throw out everything else. */
const LARGEST_SHARE = 0.5;
/** What a row costs besides head and body. */
const ROW_BYTES = 150;

/** The cache is full and nothing can be evicted: not a failure of the disk. */
class CacheFull extends Error {}

function walLimitFor(capacityBytes: number): number {
  return Math.min(4 * MIB, Math.max(64 * 1024, capacityBytes / 1024));
}

/** Large enough for one `sendfile` per answer, small enough to be evicted one at a time. */
function chunkBytesFor(capacityBytes: number, blockBytes: number): number {
  let chunkBytes = 1024 * MIB;
  while (chunkBytes > blockBytes && chunkBytes > capacityBytes / 32) chunkBytes /= 2;
  return chunkBytes;
}

function layoutOf(row: CatalogRow, identity: Identity): FileLayout {
  return {
    version: row.version,
    shard: identity.shard,
    sizeBytes: row.size,
    chunkBytes: row.place,
    blockBytes: row.offset,
  };
}

function isSameBody(entry: Entry, meta: ObjectMeta): boolean {
  return entry.etag === meta.etag && entry.sizeBytes === meta.sizeBytes;
}

function metaOf(entry: Entry): ObjectMeta {
  return {
    id: entry.id,
    sizeBytes: entry.sizeBytes,
    etag: entry.etag,
    lastModified: entry.lastModified,
    headers: entry.headers,
    storedAtMs: entry.storedAtMs,
    freshUntilMs: entry.freshUntilMs,
    isPublic: entry.isPublic,
  };
}
