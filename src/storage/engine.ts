/**
 * The engine behind the door: puts the parts together and answers the calls of the
 * hit path. Where the rest is:
 *
 *   entries.ts     what is visible            publisher.ts   from bytes to a visible entry
 *   intake.ts      what is taken, as a fill   evictor.ts     what goes, and what is moved on
 *   catalog.ts     rows                       segments.ts    files of many records
 *   block-files.ts files of one body          recovery.ts    after the start
 *   pins.ts        what stays                 quotas.ts      what one bucket may take
 *
 * Nothing in here throws into a read. What is doubtful is a miss: a row, head or block
 * that does not match its checksum is counted, forgotten and never served. A failing disk
 * turns fills away (health.ts) and leaves what is readable readable.
 */

import { join } from "node:path";
import { BufferPool } from "../base/buffer-pool.ts";
import type { Clock } from "../base/clock.ts";
import { errnoOf, type Disk } from "../base/disk.ts";
import { LruMap } from "../base/lru.ts";
import type { Random } from "../base/random.ts";
import { Tasks } from "../base/tasks.ts";
import type { ByteRange } from "../http/range.ts";
import type { ObjectId } from "../s3/object-id.ts";
import { BlockFiles, FileBody, type FileLayout } from "./block-files.ts";
import { FileReader, type FileRead } from "./block-reader.ts";
import { BackgroundBudget } from "./budget.ts";
import {
  Catalog,
  FLAG_COMPLETE,
  FLAG_PINNED,
  TIERS,
  type CatalogRow,
  type PlacedRow,
} from "./catalog.ts";
import { LocalCommitter, type Committer } from "./committer.ts";
import type { Control } from "./control.ts";
import { Entries } from "./entries.ts";
import { Entry, type EntryParts } from "./entry.ts";
import { Evictor, type CompactReport } from "./evictor.ts";
import { FileUnits } from "./file-units.ts";
import { FillMemory } from "./fill.ts";
import { decodeHead } from "./head.ts";
import { DiskHealth, isOutOfResources } from "./health.ts";
import { Heat, heatSlotsFor } from "./heat.ts";
import { Housekeeping } from "./housekeeping.ts";
import type { Identity } from "./identity.ts";
import { Intake } from "./intake.ts";
import type { StoreLock } from "./lock.ts";
import { MemoryTier } from "./memory-tier.ts";
import { OpenFiles } from "./open-files.ts";
import { Pins } from "./pins.ts";
import { createPolicy, type EvictionPolicy, type PolicyName } from "./policy.ts";
import { Publisher } from "./publisher.ts";
import { Quotas, type QuotaFigures } from "./quotas.ts";
import { recover } from "./recovery.ts";
import { SegmentReader } from "./segment-reader.ts";
import { RecordWriter } from "./segment-writer.ts";
import { nameOf, type Segment, Segments } from "./segments.ts";
import { Space } from "./space.ts";
import type {
  Fill,
  FillRefusal,
  FillRequest,
  ObjectMeta,
  PinFigures,
  Pinning,
  PinReport,
  Refreshment,
  Storage,
  StorageStats,
  StoredBody,
  StoredObject,
} from "./storage.ts";
import { WritePace } from "./write-pace.ts";

/** What happens in a store that an operator may want to know. */
export type StorageEvent =
  | { readonly kind: "damage"; readonly what: string; readonly cause: unknown }
  | { readonly kind: "degraded"; readonly because: string }
  | { readonly kind: "recovered" }
  /** Pinned bodies have reached their bound; more are stored without protection. */
  | { readonly kind: "pins-full"; readonly maxBytes: number };

/** A store on disk: what it can be told besides the orders of the cache. */
export interface DiskStorage extends Storage, Pinning {
  /**
   * Gives dead space back now, where eviction would do so when it is needed. Resolves to
   * what was done, also when `signal` or `close` ended it early.
   */
  compact(signal: AbortSignal): Promise<CompactReport>;
  /** The stored buckets that have a bound of their own. */
  quotaFigures(): readonly QuotaFigures[];
  resources(): StoreResources;
}

/** What the store holds of the process just now. */
export interface StoreResources {
  /** Files kept open for reading. */
  readonly openFiles: number;
  /** Body bytes in memory that wait for the disk. */
  readonly fillMemoryBytes: number;
  /** Memory in which bodies are checked and lent, in use or not. */
  readonly readBufferBytes: number;
  /** What the bodies of the memory tier take. */
  readonly memoryTierBytes: number;
}

export interface EngineOptions {
  readonly folder: string;
  readonly capacityBytes: number;
  readonly policy: PolicyName;
  /** What the configuration keeps from eviction. */
  readonly pins: readonly { readonly bucket: string; readonly prefix: string }[];
  /** Share of the cap that pinned bodies may take. */
  readonly pinnedShareMax: number;
  /** What a bucket may take on disk; undefined: what there is. */
  readonly quotaBytes: (bucket: string) => number | undefined;
  /** Bound of the memory tier. */
  readonly memoryBytes: number;
  /** Bound of the index of parsed entries. */
  readonly indexBytes: number;
  readonly fillsMax: number;
  readonly fillMemoryBytes: number;
  readonly blockThresholdBytes: number;
  readonly backgroundBytesPerSecond: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly disk: Disk;
  readonly report: (event: StorageEvent) => void;
}

export class Engine implements DiskStorage {
  readonly #options: EngineOptions;
  readonly #control: Control;
  readonly #lock: StoreLock;
  readonly #catalog: Catalog;
  readonly #committer: Committer;
  readonly #openFiles: OpenFiles;
  readonly #files: BlockFiles;
  readonly #checking: BufferPool;
  readonly #fileReader: FileReader;
  readonly #memory: MemoryTier;
  readonly #space: Space;
  readonly #segments: Segments;
  readonly #segmentReader: SegmentReader;
  readonly #units = new FileUnits();
  readonly #heat: Heat;
  readonly #policy: EvictionPolicy;
  readonly #health: DiskHealth;
  readonly #tasks: Tasks;
  readonly #pins: Pins;
  readonly #entries: Entries;
  readonly #publisher: Publisher;
  readonly #evictor: Evictor;
  readonly #quotas: Quotas;
  readonly #fillMemory: FillMemory;
  readonly #intake: Intake;
  readonly #housekeeping: Housekeeping;
  readonly #unlinks = new Set<Promise<void>>();
  readonly #recovered = Promise.withResolvers<void>();
  #evictedEntries: number;
  #evictedBytes: number;
  #storedBytes: number;
  #movedBytes: number;
  #damagedEntries = 0;
  #isClosing = false;

  constructor(options: EngineOptions, control: Control, lock: StoreLock) {
    this.#options = options;
    this.#control = control;
    this.#lock = lock;
    const { folder, capacityBytes, clock, random, disk } = options;
    const shardCount = control.state.shardCount;
    const nextStamp = (): number => control.nextStamp();
    const onFailure = (error: unknown): void => this.#diskFailed(error);
    const firstStamp = nextStamp();

    const walLimitBytes = walLimitFor(capacityBytes);
    this.#catalog = new Catalog({
      folder: join(folder, "catalog"),
      shardCount,
      walLimitBytes,
      pageCacheBytes: 4 * MIB,
      onDamage: (what, cause) => this.#damage(what, cause),
    });
    this.#committer = new LocalCommitter(this.#catalog, clock, (rows) =>
      this.#housekeeping.noteRows(rows),
    );
    this.#space = new Space({
      capacityBytes,
      logReserveBytes: shardCount * walLimitBytes + MIB,
      fileBytes: () => this.#catalog.totals().file.disk,
    });
    this.#openFiles = new OpenFiles(disk, OPEN_FILES_MAX);
    this.#files = new BlockFiles(disk, join(folder, "files"), this.#openFiles);
    this.#checking = new BufferPool(CHECK_BYTES, CHECK_BUFFERS_MAX);
    this.#fileReader = new FileReader(this.#files, this.#checking);
    this.#memory = new MemoryTier(
      options.memoryBytes,
      Math.min(MEMORY_BODY_MAX, options.memoryBytes / 64),
    );
    this.#segmentReader = new SegmentReader(this.#openFiles, this.#memory, this.#checking);
    this.#segments = new Segments({
      disk,
      folder: join(folder, "segments"),
      segmentBytes: segmentBytesFor(capacityBytes),
      shardCount,
      space: this.#space,
      files: this.#openFiles,
      random,
      nextStamp,
      onFailure,
    });
    this.#heat = new Heat(heatSlotsFor(capacityBytes));
    this.#policy = createPolicy(options.policy, { capacityBytes, random });
    this.#health = new DiskHealth({
      clock,
      probe: () => this.#probe(),
      onChange: (because) => this.#healthChanged(because),
    });
    this.#tasks = new Tasks({
      onFailure: (task, cause) =>
        options.report({ kind: "damage", what: `the background task ${task} ended early`, cause }),
    });
    this.#entries = new Entries({
      catalog: this.#catalog,
      index: new LruMap(options.indexBytes),
      load: (id, identity, row) => this.#load(id, identity, row),
      releaseRow: (row, identity) => this.#releaseRow(row, identity),
      releaseEntry: (entry) => this.#releaseEntry(entry),
      nextStamp,
      onFailure,
    });
    const pace = new WritePace(clock);
    const writer = new RecordWriter(this.#segments, pace);
    const budget = new BackgroundBudget(clock, options.backgroundBytesPerSecond);
    this.#pins = new Pins({
      catalog: this.#catalog,
      table: control,
      configured: options.pins,
      maxBytes: Math.floor(options.pinnedShareMax * capacityBytes),
      budget,
      isCounted: this.#recovered.promise,
      onMarked: (row, isPinned) => this.#pinMarked(row, isPinned),
      onFull: () => options.report({ kind: "pins-full", maxBytes: this.#pins.figures().maxBytes }),
    });
    this.#reserveForPins();
    this.#publisher = new Publisher({
      holds: (entry, diskBytes) => this.#pins.holds(entry.id, diskBytes),
      entries: this.#entries,
      committer: this.#committer,
      segments: this.#segments,
      writer,
      files: this.#files,
      units: this.#units,
      nextStamp,
      sleep: (ms) => clock.sleep(ms),
      releaseRow: (row, entry) => this.#releaseRow(row, entry.identity),
      onStored: (sizeBytes) => {
        this.#storedBytes += sizeBytes;
      },
      onFailure,
    });
    this.#evictor = new Evictor({
      segments: this.#segments,
      files: this.#openFiles,
      writer,
      units: this.#units,
      catalog: this.#catalog,
      policy: this.#policy,
      heat: this.#heat,
      space: this.#space,
      budget,
      areTherePins: () => this.#pins.areThereAny,
      nextStamp,
      spawn: (name, run) => this.#tasks.spawn(name, run),
      onMove: (record, to) => {
        this.#movedBytes += record.length;
        const entry = this.#entries.inMemory(nameOf(record));
        if (entry?.version === record.version && entry.place.kind === "segment") {
          entry.place.written(to);
        }
      },
      evictFile: ({ version, shard, h, h2 }) => this.#evictFile(version, { shard, h, h2 }),
      onEvicted: (entries, bodyBytes) => {
        this.#evictedEntries += entries;
        this.#evictedBytes += bodyBytes;
      },
      onDamage: (what, cause) => this.#damage(what, cause),
      onFailure,
    });
    this.#quotas = new Quotas({
      catalog: this.#catalog,
      quotaBytes: options.quotaBytes,
      heat: this.#heat,
      sparesUsed: this.#policy.evacuatedShareMax > 0,
      isGrowing: (version) => this.#intake.growing(version) !== undefined,
      budget,
      spawn: (name, run) => this.#tasks.spawn(name, run),
      remove: (ids) => this.#entries.remove(ids),
      onEvicted: (entries, bodyBytes) => {
        this.#evictedEntries += entries;
        this.#evictedBytes += bodyBytes;
      },
    });
    this.#fillMemory = new FillMemory(options.fillMemoryBytes);
    this.#intake = new Intake(
      {
        entries: this.#entries,
        publisher: this.#publisher,
        segments: this.#segments,
        memoryTier: this.#memory,
        fileReader: this.#fileReader,
        openFiles: this.#openFiles,
        files: this.#files,
        space: this.#space,
        evictor: this.#evictor,
        policy: this.#policy,
        pins: this.#pins,
        quotas: this.#quotas,
        health: this.#health,
        memory: this.#fillMemory,
        pace,
        fillsMax: options.fillsMax,
        blockThresholdBytes: options.blockThresholdBytes,
        chunkBytes: (blockBytes) => chunkBytesFor(capacityBytes, blockBytes),
        shardCount,
        nextStamp,
        removeFiles: (layout, sizeBytes) => this.#unlink(layout, sizeBytes),
      },
      (ms) => clock.sleep(ms),
    );
    const counters = control.counters();
    this.#evictedEntries = counters.get("evicted_entries") ?? 0;
    this.#evictedBytes = counters.get("evicted_bytes") ?? 0;
    this.#storedBytes = counters.get("stored_bytes") ?? 0;
    this.#movedBytes = counters.get("moved_bytes") ?? 0;
    this.#housekeeping = new Housekeeping({
      folder,
      clock,
      disk,
      catalog: this.#catalog,
      control,
      space: this.#space,
      counters: () => this.#counters(),
      isDegraded: () => this.#health.degradedBecause !== undefined,
      onMeasured: () => this.#evictor.poke(),
      onFailure,
    });
    this.#tasks.spawn("recover", (signal) => {
      const recovery = recover(
        {
          catalog: this.#catalog,
          segments: this.#segments,
          files: this.#files,
          units: this.#units,
          budget,
          wasUnclean: control.previousEnd === "crash" || control.previousEnd === "power-loss",
          firstStamp,
        },
        signal,
      );
      return recovery
        .finally(() => this.#recovered.resolve())
        .then(() => this.#pins.settle(signal))
        .then(() => this.#quotas.enforce(this.#catalog.bucketNames()));
    });
    this.#evictor.poke();
  }

  lookup(id: ObjectId): StoredObject | undefined {
    return this.#entries.find(id);
  }

  read(
    object: StoredObject,
    range: ByteRange,
  ): StoredBody | undefined | Promise<StoredBody | undefined> {
    const entry = this.#entries.current(object);
    if (entry === undefined) return undefined;
    if (range.start < 0 || range.end > entry.sizeBytes || range.start > range.end) return undefined;
    if (range.start === range.end) return NO_BYTES;
    const read = this.#readFrom(entry, range);
    return read instanceof Promise ? this.#judgeLate(entry, read) : this.#judge(entry, read);
  }

  missing(object: StoredObject, range: ByteRange): readonly ByteRange[] {
    const entry = this.#entries.current(object);
    if (entry === undefined) return range.end > range.start ? [range] : [];
    return entry.place.kind === "file" ? entry.place.body.missing(range) : [];
  }

  touch(object: StoredObject): void {
    if (!(object instanceof Entry)) return;
    this.#heat.touch(object.identity.h);
    this.#policy.noteRequest(object.group, object.identity.h, object.sizeBytes);
  }

  beginFill(request: FillRequest): Fill | { readonly refused: FillRefusal } {
    try {
      return this.#intake.begin(request);
    } catch (error) {
      this.#diskFailed(error);
      return { refused: "store_failed" };
    }
  }

  refresh(object: StoredObject, news: Refreshment): StoredObject | undefined {
    const entry = this.#entries.current(object);
    if (entry === undefined) return undefined;
    const renewed = new Entry(
      { ...entry.meta, ...news },
      { ...partsOf(entry), hasHeadInRow: true },
    );
    void this.#publisher.renew(renewed);
    return renewed;
  }

  remove(ids: readonly ObjectId[]): number {
    return this.#entries.remove(ids).length;
  }

  removePrefix(bucket: string, prefix: string): number {
    return this.#entries.removePrefix(bucket, prefix);
  }

  list(bucket: string | undefined, prefix: string): Iterable<StoredObject> {
    return this.#entries.list(bucket, prefix);
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
      physicalBytes: this.#space.physicalBytes,
      capacityBytes: this.#options.capacityBytes,
      evictedEntries: this.#evictedEntries,
      evictedBytes: this.#evictedBytes,
      damagedEntries: this.#damagedEntries,
      activeFills: this.#intake.runningCount,
      degradedBecause: this.#health.degradedBecause,
    };
  }

  async pin(bucket: string, prefix: string): Promise<PinReport> {
    const report = this.#pins.pin(bucket, prefix, this.#tasks.signal);
    this.#reserveForPins();
    return report;
  }

  async unpin(bucket: string, prefix: string): Promise<PinReport | undefined> {
    const report = await this.#pins.unpin(bucket, prefix, this.#tasks.signal);
    this.#reserveForPins();
    return report;
  }

  pinFigures(): PinFigures {
    return this.#pins.figures();
  }

  quotaFigures(): QuotaFigures[] {
    return this.#quotas.figures(this.#catalog.bucketNames());
  }

  resources(): StoreResources {
    return {
      openFiles: this.#openFiles.count,
      fillMemoryBytes: this.#fillMemory.usedBytes,
      readBufferBytes: this.#segmentReader.lentBytes + this.#checking.heldBytes,
      memoryTierBytes: this.#memory.heldBytes,
    };
  }

  async compact(signal: AbortSignal): Promise<CompactReport> {
    await this.#recovered.promise; // until then nobody knows what is live
    let report: CompactReport = { segments: 0, movedRecords: 0, movedBytes: 0, freedBytes: 0 };
    const done = Promise.withResolvers<void>();
    this.#tasks.spawn("compact", async (stopped) => {
      try {
        report = await this.#evictor.compact(AbortSignal.any([signal, stopped]));
      } finally {
        done.resolve();
      }
    });
    if (this.#tasks.signal.aborted) return report;
    await done.promise;
    return report;
  }

  async close(): Promise<void> {
    if (this.#isClosing) return;
    this.#isClosing = true;
    const { clock } = this.#options;
    this.#intake.close();
    const deadlineMs = clock.monotonicMs() + CLOSE_LIMIT_MS;
    while (this.#intake.runningCount > 0 && clock.monotonicMs() < deadlineMs) await clock.sleep(10);
    this.#intake.breakAll("the store is closing");
    await this.#tasks.stop();
    while (this.#entries.pendingCount > 0 && clock.monotonicMs() < deadlineMs) {
      this.#committer.flush();
      await clock.sleep(1);
    }
    this.#health.close();
    this.#housekeeping.close();
    await this.#segments.close();
    await Promise.all(this.#unlinks);
    this.#openFiles.close();
    this.#memory.close();
    const isClean = this.#health.degradedBecause === undefined && this.#entries.isSettled;
    this.#catalog.close();
    this.#control.close(isClean);
    this.#lock.release();
  }

  // --- Reading ----------------------------------------------------------------------------

  #readFrom(entry: Entry, range: ByteRange): FileRead | Promise<FileRead> {
    const { place } = entry;
    switch (place.kind) {
      case "inline":
        return { kind: "bytes", bytes: place.body.subarray(range.start, range.end) };
      case "segment":
        return this.#segmentReader.read(place, range);
      case "file":
        return this.#fileReader.read(place.body, range);
    }
  }

  async #judgeLate(entry: Entry, read: Promise<FileRead>): Promise<StoredBody | undefined> {
    return this.#judge(entry, await read);
  }

  /** What a read means for its entry: bytes, or a miss, or a miss that is somebody's fault. */
  #judge(entry: Entry, read: FileRead): StoredBody | undefined {
    if (typeof read !== "string" && read.kind !== "unreadable") return read;
    const isIncomplete = entry.place.kind === "file" && !entry.place.body.isComplete;
    if (read === "missing" && isIncomplete) return undefined;
    // An evicted or removed entry lost its file under the read: a plain miss.
    if (entry.isGone || this.#entries.current(entry) === undefined) return undefined;
    if (typeof read !== "string") {
      const { place } = entry;
      const segment = place.kind === "segment" ? place.location?.segment : undefined;
      if (this.#mayBeReadLater(read.error, segment)) return undefined;
    }
    this.#damage(`the body of ${entry.name} is not what was written`, undefined);
    this.#entries.remove([entry.id]);
    return undefined;
  }

  #load(id: ObjectId, identity: Identity, row: CatalogRow): Entry | undefined {
    const loaded = this.#loadParts(identity, row);
    if (loaded === "gone") return undefined;
    if (loaded === undefined || loaded.meta.sizeBytes !== row.size) {
      this.#damage(`the entry of ${id.bucket}/${id.key} does not check`, undefined);
      this.#entries.remove([id]);
      return undefined;
    }
    const { meta, parts } = loaded;
    // 100 equal bits and another key: another object, which is not damage but bad luck.
    if (meta.id.key !== id.key || meta.id.bucket !== id.bucket) return undefined;
    const isTrusted = row.written >= this.#control.state.distrustBelow;
    return new Entry(isTrusted ? meta : { ...meta, freshUntilMs: 0, isPublic: false }, parts);
  }

  /** Head and place of a row; "gone" when its segment was evicted, undefined when it does not check. */
  #loadParts(
    identity: Identity,
    row: CatalogRow,
  ): { meta: ObjectMeta; parts: EntryParts } | "gone" | undefined {
    const { version, grp: group } = row;
    const inRow = row.head === null ? undefined : decodeHead(row.head);
    if (row.head !== null && inRow === undefined) return undefined;
    const common = { version, identity, group, hasHeadInRow: inRow !== undefined };
    const tier = TIERS[row.tier];
    if (tier === "segment") {
      const segment = this.#segments.get(row.place);
      if (segment === undefined) return "gone";
      const record = this.#openRecord({ segment, offset: row.offset }, row);
      if (record === undefined || record === "gone") return record;
      return { meta: inRow ?? record.meta, parts: { ...common, place: record.place } };
    }
    if (tier === undefined || inRow === undefined) return undefined;
    if (tier === "file") {
      const body = this.#intake.growing(version) ?? this.#fileBodyOf(row, identity);
      return { meta: inRow, parts: { ...common, place: { kind: "file", body } } };
    }
    const body = row.body ?? new Uint8Array(0);
    if (body.length !== row.size) return undefined;
    return { meta: inRow, parts: { ...common, place: { kind: "inline", body } } };
  }

  #openRecord(
    location: Parameters<SegmentReader["open"]>[0],
    row: CatalogRow,
  ): ReturnType<SegmentReader["open"]> | "gone" {
    try {
      return this.#segmentReader.open(location, row, row.disk);
    } catch (error) {
      return this.#mayBeReadLater(error, location.segment) ? "gone" : undefined;
    }
  }

  /**
   * What a failed read says of more than its entry: a process out of descriptors leaves the
   * entry as it is, true; of a segment that somebody deleted every entry is gone.
   */
  #mayBeReadLater(error: unknown, segment: Segment | undefined): boolean {
    if (isOutOfResources(error)) {
      this.#diskFailed(error);
      return true;
    }
    if (segment !== undefined && errnoOf(error) === "ENOENT" && !segment.isDead) {
      this.#damage(`the segment ${segment.path} was deleted by somebody else`, error);
      this.#segments.lose(segment);
    }
    return false;
  }

  #fileBodyOf(row: CatalogRow, identity: Identity): FileBody {
    return new FileBody(layoutOf(row, identity), {
      isComplete: (row.flags & FLAG_COMPLETE) !== 0,
      load: (part) => this.#catalog.block(identity.shard, row.version, part),
    });
  }

  // --- Pins -------------------------------------------------------------------------------

  #pinMarked(row: PlacedRow, isPinned: boolean): void {
    const tier = TIERS[row.tier];
    if (tier === "segment") {
      const segment = this.#segments.get(row.place);
      if (segment !== undefined) segment.pinnedBytes += isPinned ? row.disk : -row.disk;
    } else if (tier === "file") {
      const unit = this.#units.get(row.version);
      if (unit !== undefined) unit.isPinned = isPinned;
    }
  }

  #reserveForPins(): void {
    this.#space.keptReserveBytes = this.#pins.areThereAny ? this.#segments.segmentBytes : 0;
  }

  // --- Freeing ----------------------------------------------------------------------------

  /** Frees what a row that is gone pointed at. */
  #releaseRow(row: CatalogRow, identity: Identity): void {
    const tier = TIERS[row.tier];
    if (tier === "segment") {
      const isPinned = (row.flags & FLAG_PINNED) !== 0;
      this.#segments.get(row.place)?.noteLive(-row.disk, row.grp, isPinned);
      this.#memory.forget(row.version);
    } else if (tier === "file") {
      this.#units.delete(row.version);
      this.#unlink(layoutOf(row, identity), row.disk);
    }
  }

  /** Frees the body of an entry whose row was never written. */
  #releaseEntry(entry: Entry): void {
    this.#memory.forget(entry.version);
    if (entry.place.kind !== "file") return;
    const { layout } = entry.place.body;
    this.#units.delete(entry.version);
    this.#unlink(layout, this.#files.allocatedBytes(layout));
  }

  #unlink(layout: FileLayout, sizeBytes: number): void {
    this.#space.unlinkingBytes += sizeBytes;
    const unlink = this.#files
      .remove(layout)
      .catch((error: unknown) => this.#diskFailed(error))
      .finally(() => {
        this.#space.unlinkingBytes -= sizeBytes;
        this.#unlinks.delete(unlink);
      });
    this.#unlinks.add(unlink);
  }

  #evictFile(version: number, identity: Identity): boolean {
    if (this.#intake.growing(version) !== undefined) return false;
    const row = this.#catalog.find(identity);
    const meta = row?.head === undefined || row.head === null ? undefined : decodeHead(row.head);
    if (row?.version !== version || meta === undefined) {
      this.#units.delete(version);
      return true;
    }
    if ((row.flags & FLAG_PINNED) !== 0) return false;
    const sizes = this.#entries.remove([meta.id]);
    this.#evictedEntries += sizes.length;
    for (const size of sizes) this.#evictedBytes += size;
    return true;
  }

  // --- Trouble ----------------------------------------------------------------------------

  #damage(what: string, cause: unknown): void {
    this.#damagedEntries += 1;
    this.#options.report({ kind: "damage", what, cause });
  }

  #diskFailed(error: unknown): void {
    this.#health.fail(error);
    if (this.#health.isFull) void this.#housekeeping.giveBallast();
  }

  #healthChanged(because: string | undefined): void {
    if (because !== undefined) {
      this.#options.report({ kind: "degraded", because });
      return;
    }
    this.#options.report({ kind: "recovered" });
    this.#entries.retryRemovals();
  }

  /** Writes, syncs and removes a small file, and the control database. */
  async #probe(): Promise<void> {
    const { disk, folder } = this.#options;
    this.#evictor.poke();
    const path = join(folder, "probe");
    const file = disk.open(path, "create");
    try {
      await file.write([new Uint8Array(PROBE_BYTES)], 0);
      await file.sync();
    } finally {
      file.close();
      await disk.remove(path);
    }
    this.#control.probe();
  }

  #counters(): Iterable<readonly [string, number]> {
    return [
      ["evicted_entries", this.#evictedEntries],
      ["evicted_bytes", this.#evictedBytes],
      ["stored_bytes", this.#storedBytes],
      ["moved_bytes", this.#movedBytes],
    ];
  }
}

const MIB = 1024 * 1024;
const NO_BYTES: StoredBody = { kind: "bytes", bytes: new Uint8Array(0) };
const OPEN_FILES_MAX = 1024;
/** Checks read so much at a time, */
const CHECK_BYTES = MIB;
/** and so many at the same time; further ones wait for a buffer. */
const CHECK_BUFFERS_MAX = 8;
const CLOSE_LIMIT_MS = 10_000;
const PROBE_BYTES = 256 * 1024;
/** Larger bodies are not worth a place in the memory tier: the page cache serves them well. */
const MEMORY_BODY_MAX = 256 * 1024;

/** 1/128 of the cap as a power of two, between 1 and 256 MiB. */
function segmentBytesFor(capacityBytes: number): number {
  let segmentBytes = 256 * MIB;
  while (segmentBytes > MIB && segmentBytes > capacityBytes / 128) segmentBytes /= 2;
  return segmentBytes;
}

function walLimitFor(capacityBytes: number): number {
  return Math.min(4 * MIB, Math.max(128 * 1024, Math.floor(capacityBytes / 2048)));
}

/** Large enough for one `sendfile` per answer, small enough to be a fraction of the cache. */
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

function partsOf({ version, identity, group, place, hasHeadInRow }: Entry): EntryParts {
  return { version, identity, group, place, hasHeadInRow };
}
