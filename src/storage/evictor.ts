/**
 * Makes room, ahead of need: evicts segments and files until a reserve is free, moves on
 * what is still in use, and sweeps the rows of what went.
 *
 * The order within one segment is what makes it safe at any moment (docs/storage-format.md,
 * section 7): records that are kept are copied and their rows switched one by one; then
 * the segment is forgotten, which makes every other row of it a miss in that instant;
 * then its file is unlinked; then, at leisure, its rows are deleted.
 */

import type { BackgroundBudget } from "./budget.ts";
import type { Catalog } from "./catalog.ts";
import type { FileUnit, FileUnits } from "./file-units.ts";
import type { Heat } from "./heat.ts";
import type { OpenFile, OpenFiles } from "./open-files.ts";
import { mayEvict, type EvictionPolicy } from "./policy.ts";
import { decodeHeader, HEADER_BYTES, tableOf, type FooterEntry } from "./segment-format.ts";
import { CacheFull, type RecordWriter, type SmallRecord } from "./segment-writer.ts";
import type { Location } from "./segment-reader.ts";
import { Segment, type Segments } from "./segments.ts";
import type { Space } from "./space.ts";

/** What `compact` did. */
export interface CompactReport {
  /** Segments given up. */
  readonly segments: number;
  readonly movedRecords: number;
  readonly movedBytes: number;
  /** Bytes on the volume less than before. */
  readonly freedBytes: number;
}

export interface EvictorOptions {
  readonly segments: Segments;
  readonly files: OpenFiles;
  readonly writer: RecordWriter;
  readonly units: FileUnits;
  readonly catalog: Catalog;
  readonly policy: EvictionPolicy;
  readonly heat: Heat;
  readonly space: Space;
  readonly budget: BackgroundBudget;
  /** False: no row is pinned, none need be asked. */
  readonly areTherePins: () => boolean;
  readonly nextStamp: () => number;
  /** Starts background work; see base/tasks.ts. */
  readonly spawn: (name: string, run: (signal: AbortSignal) => Promise<void>) => void;
  /** A row now names another place; whoever holds the entry in memory is told. */
  readonly onMove: (entry: FooterEntry, to: Location) => void;
  /** Removes a body of the file tier; false when a fill still adds to it. */
  readonly evictFile: (unit: FileUnit) => boolean;
  readonly onEvicted: (entries: number, bodyBytes: number) => void;
  /** Bytes that were thought to be there are not. */
  readonly onDamage: (what: string, cause: unknown) => void;
  /** The disk refused a change. */
  readonly onFailure: (error: unknown) => void;
}

/** Free space kept ahead, in segments. */
const SEGMENTS_AHEAD = 2;
/** With this share of the cap free again, the cache is not full any more. */
const NOT_FULL_SHARE = 0.1;
/** Compacting a segment that is fuller than this writes more than it gives back. */
const COMPACT_LIVE_SHARE_MAX = 0.5;
/** Rows deleted in one transaction. */
const SWEEP_ROWS = 256;
/** What deleting a row costs of the background budget, in bytes. */
const ROW_COST_BYTES = 512;
/** What became of records of a segment that is to go, by offset. */
type Done = Map<number, "moved" | "damaged">;

/** Files spared in a row before one goes in any case. */
const SPARED_MAX = 64;

export class Evictor {
  readonly #options: EvictorOptions;
  #isRunning = false;
  #isSweeping = false;
  #isFull = false;
  #wantedBytes = 0;
  readonly #toSweep: { segment: Segment; records: FooterEntry[] }[] = [];

  constructor(options: EvictorOptions) {
    this.#options = options;
  }

  /** True from the first eviction on, until much is free again: then admission is choosy. */
  get isFull(): boolean {
    const { space } = this.#options;
    if (this.#isFull && space.freeBytes > this.#notFullBytes) this.#isFull = false;
    return this.#isFull;
  }

  /** Whether `sizeBytes` are free now; asks for them when they are not. */
  hasRoom(sizeBytes: number): boolean {
    const { space } = this.#options;
    if (space.freeBytes < this.#aheadBytes + sizeBytes) {
      this.#wantedBytes = Math.max(this.#wantedBytes, sizeBytes);
      this.poke();
    }
    return space.freeBytes >= sizeBytes + space.keptReserveBytes;
  }

  /** Starts evicting when less than the reserve is free. */
  poke(): void {
    if (this.#isRunning || !this.#isShort()) return;
    this.#isFull = true;
    this.#isRunning = true;
    this.#options.spawn("evict", async (signal) => {
      try {
        while (this.#isShort() && !signal.aborted) {
          if (!(await this.#evictOne(signal))) break;
        }
        this.#wantedBytes = 0;
      } finally {
        this.#isRunning = false;
      }
    });
  }

  /**
   * Gives dead space back now: moves every live record out of the segments that hold few,
   * and drops these. Ends early, with what is done done, when `signal` aborts or when there
   * is no room to move into.
   */
  async compact(signal: AbortSignal): Promise<CompactReport> {
    const { segments, onFailure } = this.#options;
    const report = { segments: 0, movedRecords: 0, movedBytes: 0, freedBytes: 0 };
    const found = [...segments.sealed()]; // not those that are made by moving
    for (const segment of found) {
      if (signal.aborted) break;
      const isWorthIt = segment.liveBytes <= COMPACT_LIVE_SHARE_MAX * segment.fileBytes;
      if (!isWorthIt || segment.isVictim || segment.isDead) continue;
      segment.isVictim = true; // eviction passes it by
      try {
        const left = await this.#moveAll(segment, report, signal);
        if (left === undefined) break;
        report.segments += 1;
        report.freedBytes += segment.fileBytes;
        await segments.drop(segment);
        if (left.length > 0) this.sweep(segment, left);
      } catch (error) {
        if (!signal.aborted) onFailure(error);
        break;
      } finally {
        segment.isVictim = segment.isDead;
      }
    }
    return { ...report, freedBytes: report.freedBytes - report.movedBytes };
  }

  /** Moves every live record on; answers what is left, damaged, or undefined when there was no room. */
  async #moveAll(
    segment: Segment,
    report: { movedRecords: number; movedBytes: number },
    signal: AbortSignal,
  ): Promise<FooterEntry[] | undefined> {
    const { catalog, segments, files } = this.#options;
    const left: FooterEntry[] = [];
    const open = files.acquire(segment.path);
    try {
      for (const entry of await segments.records(segment)) {
        if (!catalog.shard(entry.shard).pointsAt(entry, segment.id, entry.offset)) continue;
        if (await this.#move(segment, entry, open, segment.isKept)) {
          report.movedRecords += 1;
          report.movedBytes += entry.length;
        } else {
          left.push(entry);
        }
        await this.#breathe(2 * entry.length, signal);
      }
      return left;
    } catch (error) {
      if (error instanceof CacheFull) return undefined;
      throw error;
    } finally {
      open.release();
    }
  }

  /** Deletes the rows of a segment that is gone. */
  sweep(segment: Segment, records: FooterEntry[]): void {
    this.#toSweep.push({ segment, records });
    if (this.#isSweeping) return;
    this.#isSweeping = true;
    this.#options.spawn("sweep", async (signal) => {
      try {
        for (;;) {
          const next = this.#toSweep.shift();
          if (next === undefined || signal.aborted) return;
          await this.#sweepSegment(next.segment, next.records, signal);
        }
      } finally {
        this.#isSweeping = false;
      }
    });
  }

  get #aheadBytes(): number {
    const { segments, space } = this.#options;
    return SEGMENTS_AHEAD * segments.segmentBytes + space.keptReserveBytes;
  }

  get #notFullBytes(): number {
    return Math.max(2 * this.#aheadBytes, NOT_FULL_SHARE * this.#options.space.capacityBytes);
  }

  #isShort(): boolean {
    return this.#options.space.freeSoonBytes < this.#aheadBytes + this.#wantedBytes;
  }

  async #evictOne(signal: AbortSignal): Promise<boolean> {
    const { policy, heat, units, nextStamp, evictFile } = this.#options;
    for (let spared = 0; spared <= SPARED_MAX; spared += 1) {
      const unit = policy.choose(this.#evictable(0)) ?? policy.choose(this.#evictable(1));
      if (unit === undefined) return false;
      if (unit instanceof Segment) return this.#evictSegment(unit, signal);
      const isHot = policy.evacuatedShareMax > 0 && heat.of(unit.h) > 0;
      if (isHot && spared < SPARED_MAX && ![...unit.groups.keys()].every((g) => policy.isIdle(g))) {
        heat.cool(unit.h);
        units.spare(unit, nextStamp());
      } else if (evictFile(unit)) {
        await this.#spend(ROW_COST_BYTES, signal);
        return true;
      } else {
        units.spare(unit, nextStamp());
      }
    }
    return false;
  }

  /** What may go, in order of age; see `mayEvict`. */
  *#evictable(effort: 0 | 1): Iterable<Segment | FileUnit> {
    if (!this.#options.areTherePins()) {
      if (effort === 0) yield* this.#oldestFirst();
      return;
    }
    const { keptRoomBytes } = this.#options.segments;
    for (const unit of this.#oldestFirst()) {
      const isSegment = unit instanceof Segment;
      const held = isSegment ? unit : { fileBytes: unit.liveBytes, pinnedBytes: unit.pinnedBytes };
      if (mayEvict(held, isSegment ? keptRoomBytes : 0, effort)) yield unit;
    }
  }

  /** Segments and files in one order of age. */
  *#oldestFirst(): Iterable<Segment | FileUnit> {
    const segments = this.#options.segments.sealed()[Symbol.iterator]();
    const files = this.#options.units.oldestFirst()[Symbol.iterator]();
    let segment = segments.next();
    let file = files.next();
    for (;;) {
      if (segment.done === true && file.done === true) return;
      if (file.done === true || (segment.done !== true && segment.value.order < file.value.order)) {
        yield segment.value as Segment;
        segment = segments.next();
      } else {
        yield file.value;
        file = files.next();
      }
    }
  }

  /** False when it has to stay, because there is no room for what is pinned in it. */
  async #evictSegment(segment: Segment, signal: AbortSignal): Promise<boolean> {
    const { files, segments, onDamage, onFailure } = this.#options;
    segment.isVictim = true;
    let records: FooterEntry[] = [];
    try {
      records = await segments.records(segment);
      const open = files.acquire(segment.path);
      const done: Done = new Map();
      try {
        await this.#movePinned(segment, records, open, done, signal);
        await this.#moveHot(segment, records, open, done, signal);
        // Something may have been pinned meanwhile; from the last look on, nothing can be.
        while (this.#pinnedIn(segment, records, done).length > 0) {
          await this.#movePinned(segment, records, open, done, signal);
        }
      } finally {
        open.release();
      }
      records = records.filter((entry) => done.get(entry.offset) !== "moved");
    } catch (error) {
      segment.isVictim = !signal.aborted && !(error instanceof CacheFull);
      if (!segment.isVictim) return false; // it stays: the store is closing, or pins have no room
      // A segment that cannot be read is no reason to keep it. Its rows are swept at start.
      onDamage(`the segment ${segment.path} could not be read to be evicted`, error);
    }
    await segments.drop(segment).catch(onFailure);
    this.sweep(segment, records);
    await this.#spend(0, signal);
    return true;
  }

  /** Records of a segment that may not go with it. */
  #pinnedIn(segment: Segment, records: readonly FooterEntry[], done: Done): FooterEntry[] {
    const { areTherePins, catalog } = this.#options;
    if (!areTherePins()) return [];
    return records.filter(
      (entry) =>
        !done.has(entry.offset) &&
        catalog.shard(entry.shard).isPinnedAt(entry, segment.id, entry.offset),
    );
  }

  /** Moves on all that is pinned. Throws `CacheFull` when there is no room for it. */
  async #movePinned(
    segment: Segment,
    records: readonly FooterEntry[],
    open: OpenFile,
    done: Done,
    signal: AbortSignal,
  ): Promise<void> {
    for (const entry of this.#pinnedIn(segment, records, done)) {
      const isMoved = await this.#move(segment, entry, open);
      // What still counts as there is damaged; it goes with the segment.
      if (isMoved) done.set(entry.offset, "moved");
      else if (this.#pinnedIn(segment, [entry], done).length > 0) done.set(entry.offset, "damaged");
      await this.#breathe(2 * entry.length, signal);
    }
  }

  /** Moves on what is in use, the hottest first, as far as the policy allows and there is room. */
  async #moveHot(
    segment: Segment,
    records: readonly FooterEntry[],
    open: OpenFile,
    done: Done,
    signal: AbortSignal,
  ): Promise<void> {
    const { policy, heat, segments } = this.#options;
    let allowedBytes = policy.evacuatedShareMax * segments.segmentBytes;
    if (allowedBytes === 0) return;
    const hot = records
      .filter((entry) => heat.of(entry.h) > 0 && !policy.isIdle(entry.group))
      .toSorted((left, right) => heat.of(right.h) - heat.of(left.h));
    try {
      for (const entry of hot) {
        if (entry.length > allowedBytes || done.has(entry.offset)) continue;
        if (!(await this.#move(segment, entry, open))) continue;
        heat.cool(entry.h);
        done.set(entry.offset, "moved");
        allowedBytes -= entry.length;
        await this.#breathe(2 * entry.length, signal);
      }
    } catch (error) {
      if (!(error instanceof CacheFull)) throw error;
    }
  }

  #unspentBytes = 0;

  /** Spends in larger sums: a pause per record of 1 KiB would make moving a segment last minutes. */
  async #breathe(sizeBytes: number, signal: AbortSignal): Promise<void> {
    this.#unspentBytes += sizeBytes;
    if (this.#unspentBytes < BREATHE_BYTES) return;
    const spent = this.#unspentBytes;
    this.#unspentBytes = 0;
    await this.#spend(spent, signal);
  }

  /** Stays within the budget, unless fills are being turned away for want of room. */
  async #spend(sizeBytes: number, signal: AbortSignal): Promise<void> {
    const { space, segments, budget } = this.#options;
    const isUrgent = space.freeBytes < segments.segmentBytes + this.#wantedBytes;
    await budget.spend(isUrgent ? 0 : sizeBytes, signal);
  }

  /** Copies one record and switches its row; false when the row names something else by now. */
  async #move(
    segment: Segment,
    entry: FooterEntry,
    open: OpenFile,
    isKept = true,
  ): Promise<boolean> {
    const { catalog, writer, segments, onMove } = this.#options;
    const isCurrent = (): boolean =>
      catalog.shard(entry.shard).pointsAt(entry, segment.id, entry.offset);
    if (!isCurrent()) return false;
    const record = await readRecord(open, segment, entry);
    if (record === undefined) return false; // damaged: it goes with the segment
    const extent = await writer.append(record, isKept);
    const to = { segment: extent.segment, offset: extent.offset };
    let isPinned = catalog.shard(entry.shard).isPinnedAt(entry, segment.id, entry.offset);
    let isMoved = false;
    try {
      isMoved = catalog.transact(entry.shard, (rows) =>
        rows.move(
          entry,
          { place: segment.id, offset: entry.offset },
          {
            place: to.segment.id,
            offset: to.offset,
          },
        ),
      );
    } finally {
      isPinned &&= isMoved;
      segments.settle(extent, isMoved ? { ...entry, offset: extent.offset } : undefined, isPinned);
    }
    if (isMoved) {
      segment.noteLive(-entry.length, entry.group, isPinned);
      onMove(entry, to);
    }
    return isMoved;
  }

  async #sweepSegment(
    segment: Segment,
    records: readonly FooterEntry[],
    signal: AbortSignal,
  ): Promise<void> {
    const { catalog, budget, onEvicted, onFailure } = this.#options;
    for (const [shard, ofShard] of Map.groupBy(records, (entry) => entry.shard)) {
      const sorted = ofShard.toSorted((left, right) => left.h - right.h);
      for (let at = 0; at < sorted.length; at += SWEEP_ROWS) {
        const batch = sorted.slice(at, at + SWEEP_ROWS);
        try {
          const bodyBytes = catalog.transact(shard, (rows) =>
            batch.flatMap((entry) => {
              const size = rows.removeAt(entry, segment.id);
              return size === undefined ? [] : [size];
            }),
          );
          onEvicted(
            bodyBytes.length,
            bodyBytes.reduce((sum, size) => sum + size, 0),
          );
        } catch (error) {
          onFailure(error); // the rows are misses anyway, and swept at the next start
        }
        await budget.spend(batch.length * ROW_COST_BYTES, signal);
      }
    }
  }
}

const BREATHE_BYTES = 1024 * 1024;

/** A whole record with every checksum verified; undefined when one fails. */
export async function readRecord(
  open: OpenFile,
  segment: Segment,
  entry: Pick<FooterEntry, "offset" | "length" | "version">,
): Promise<SmallRecord | undefined> {
  const bytes = new Uint8Array(entry.length);
  if ((await open.file.read(bytes, entry.offset)) !== bytes.length) return undefined;
  const header = decodeHeader(bytes, 0, segment.nonce);
  if (header === undefined || header.version !== entry.version) return undefined;
  const bodyStart = HEADER_BYTES + header.headLength;
  const head = bytes.subarray(HEADER_BYTES, bodyStart);
  const body = bytes.subarray(bodyStart, bodyStart + header.bodyLength);
  if (body.length !== header.bodyLength) return undefined;
  const table = tableOf(body);
  if (Bun.hash.crc32(head) !== header.headCrc) return undefined;
  if (Bun.hash.crc32(table ?? body) !== header.bodyCrc) return undefined;
  return { header, head, body, table };
}
