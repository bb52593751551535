/**
 * The segment files: which there are, which take records, and how they begin and end.
 *
 * A segment takes records until one does not fit, is sealed with a footer once the last
 * of its writers is through, and never changes again. The folder is the list: names
 * carry id and nonce, and no table exists that could disagree with it.
 *
 * Places are handed out here; what is written there is the business of the writers.
 */

import { join } from "node:path";
import type { Disk, DiskFile } from "../base/disk.ts";
import type { Random } from "../base/random.ts";
import { objectIdString } from "../s3/object-id.ts";
import { decodeHead } from "./head.ts";
import { identityOf } from "./identity.ts";
import type { OpenFiles } from "./open-files.ts";
import { groupOf, type EvictionUnit } from "./policy.ts";
import {
  ALIGN_BYTES,
  decodeFooter,
  decodeHeader,
  FOOTER_TRAILER_BYTES,
  footerBytes,
  FooterBuilder,
  formatSegmentName,
  HEADER_BYTES,
  parseSegmentName,
  recordBytes,
  type FooterEntry,
} from "./segment-format.ts";
import type { Space } from "./space.ts";

export class Segment implements EvictionUnit {
  readonly id: number;
  readonly nonce: number;
  readonly isKept: boolean;
  readonly path: string;
  /** Bytes the file takes on the volume, or will have taken when it is full. */
  fileBytes: number;
  /** Of these, what it does not take yet: it grows in steps while it is written. */
  promisedBytes = 0;
  /** Where the next record goes; undefined when nothing is added any more. */
  cursor: number | undefined;
  /** Places handed out and not settled yet. They keep the segment from being sealed. */
  writers = 0;
  /** True once evicted: every row that names it is a miss. */
  isDead = false;
  /** True while its eviction is under way. */
  isVictim = false;
  /** Bytes of records that rows point at. A hint: exact only after the recount at start. */
  liveBytes = 0;
  /** Of these, what may not be evicted. A hint as well. */
  pinnedBytes = 0;
  readonly groups = new Map<number, number>();
  /** What was recorded so far; undefined once sealed, and for one found unsealed at start. */
  footer: FooterBuilder | undefined;
  /** Open for writing; undefined once sealed. */
  file: DiskFile | undefined;

  constructor(name: { id: number; nonce: number; isKept: boolean }, path: string) {
    this.id = name.id;
    this.nonce = name.nonce;
    this.isKept = name.isKept;
    this.path = path;
    this.fileBytes = 0;
  }

  get order(): number {
    return this.id;
  }

  get isSealed(): boolean {
    return this.file === undefined;
  }

  /** A row points at `sizeBytes` more of it, or at fewer when negative. */
  noteLive(sizeBytes: number, group: number, isPinned: boolean): void {
    this.liveBytes += sizeBytes;
    if (isPinned) this.pinnedBytes += sizeBytes;
    const ofGroup = (this.groups.get(group) ?? 0) + sizeBytes;
    if (ofGroup > 0) this.groups.set(group, ofGroup);
    else this.groups.delete(group);
  }
}

/** A place for one record. */
export interface Extent {
  readonly segment: Segment;
  readonly offset: number;
  readonly length: number;
}

export interface SegmentsOptions {
  readonly disk: Disk;
  readonly folder: string;
  /** Length of a segment; a power of two. */
  readonly segmentBytes: number;
  readonly shardCount: number;
  readonly space: Space;
  readonly files: OpenFiles;
  readonly random: Random;
  readonly nextStamp: () => number;
  /** The disk failed under a segment; what it holds may be lost. */
  readonly onFailure: (error: unknown) => void;
}

/** Room for the footer entry of a record with the longest key. */
const FOOTER_ENTRY_MAX = 52 + 1024 + 64;

export class Segments {
  readonly #options: SegmentsOptions;
  /** By id, oldest first. */
  readonly #segments = new Map<number, Segment>();
  #fresh: Segment | undefined;
  #kept: Segment | undefined;
  readonly #sealing = new Set<Promise<void>>();

  /** Finds the segments of earlier runs. Throws `storage_io` when the folder cannot be listed. */
  constructor(options: SegmentsOptions) {
    this.#options = options;
    const { disk, folder, space } = options;
    disk.makeFolder(folder);
    const names = disk.list(folder).flatMap((file) => {
      const name = parseSegmentName(file);
      return name === undefined ? [] : [{ ...name, file }];
    });
    for (const name of names.toSorted((left, right) => left.id - right.id)) {
      const segment = new Segment(name, join(folder, name.file));
      segment.fileBytes = disk.allocatedBytes(segment.path);
      space.segmentBytes += segment.fileBytes;
      this.#segments.set(segment.id, segment);
    }
  }

  get count(): number {
    return this.#segments.size;
  }

  /** The largest record that is put into a segment; beyond, its tail would often stay empty. */
  get recordBytesMax(): number {
    return this.#options.segmentBytes / 8;
  }

  get segmentBytes(): number {
    return this.#options.segmentBytes;
  }

  get(id: number): Segment | undefined {
    return this.#segments.get(id);
  }

  /** What can be evicted, oldest first. */
  *sealed(): Iterable<Segment> {
    for (const segment of this.#segments.values()) {
      if (segment.isSealed && !segment.isVictim) yield segment;
    }
  }

  /** True when a record of `length` bytes has a place without anything being evicted first. */
  hasRoom(length: number): boolean {
    return fits(this.#fresh, length, this.#options.segmentBytes) || this.#canOpen(false);
  }

  /** Bytes of records that can be moved on before something is evicted. */
  get keptRoomBytes(): number {
    const { segmentBytes } = this.#options;
    const begunBytes = this.#kept?.cursor === undefined ? 0 : segmentBytes - this.#kept.cursor;
    return begunBytes + (this.#canOpen(true) ? segmentBytes : 0);
  }

  /** A place for a record; undefined when there is no room. Throws `storage_io` when the disk refuses. */
  allocate(length: number, isKept: boolean): Extent | undefined {
    let segment = isKept ? this.#kept : this.#fresh;
    if (!fits(segment, length, this.#options.segmentBytes)) {
      if (!this.#canOpen(isKept)) return undefined;
      const full = segment;
      segment = this.#open(isKept);
      if (isKept) this.#kept = segment;
      else this.#fresh = segment;
      if (full !== undefined) this.#sealWhenIdle(full);
    }
    if (segment?.cursor === undefined) return undefined;
    this.#reserve(segment, segment.cursor + length);
    const extent = { segment, offset: segment.cursor, length };
    segment.cursor += length;
    segment.writers += 1;
    return extent;
  }

  /**
   * Ends the writing of a place. With an entry, a row points at it now; without, it is
   * skipped for ever: its record is complete, and a scan would believe it.
   */
  settle(extent: Extent, entry: FooterEntry | undefined, isPinned = false): void {
    const { segment } = extent;
    segment.writers -= 1;
    if (entry !== undefined) {
      segment.footer?.add(entry);
      segment.noteLive(extent.length, entry.group, isPinned);
    }
    if (segment !== this.#fresh && segment !== this.#kept) this.#sealWhenIdle(segment);
  }

  /**
   * Ends the writing of a place that never got the header of a record. It is used again if
   * it is the last of the segment, and otherwise skipped.
   */
  giveBack(extent: Extent): void {
    const { segment, offset, length } = extent;
    if (segment.cursor === offset + length) segment.cursor = offset;
    this.settle(extent, undefined);
  }

  /** Forgets a segment: its rows are misses from here on. Its file goes, readers keep their bytes. */
  async drop(segment: Segment): Promise<void> {
    const { space, files, disk } = this.#options;
    if (segment.isDead) return;
    segment.isDead = true;
    this.#segments.delete(segment.id);
    this.#forgetPromise(segment);
    space.segmentBytes -= segment.fileBytes;
    space.unlinkingBytes += segment.fileBytes;
    files.forget(segment.path);
    try {
      await disk.remove(segment.path);
    } finally {
      space.unlinkingBytes -= segment.fileBytes;
    }
  }

  /** Forgets a segment whose file somebody else deleted; nothing is added to it any more. */
  lose(segment: Segment): void {
    if (segment === this.#fresh) this.#fresh = undefined;
    if (segment === this.#kept) this.#kept = undefined;
    void this.drop(segment).catch(this.#options.onFailure);
    this.#sealWhenIdle(segment);
  }

  /** The records of a sealed segment, from its footer or, without a good one, by looking for them. */
  async records(segment: Segment): Promise<FooterEntry[]> {
    const { files } = this.#options;
    const open = files.acquire(segment.path);
    try {
      return (await readFooter(open.file, segment)) ?? (await this.#scan(open.file, segment));
    } finally {
      open.release();
    }
  }

  /** Segments of earlier runs that were never sealed. */
  async unsealed(): Promise<Segment[]> {
    const found: Segment[] = [];
    for (const segment of this.#segments.values()) {
      if (segment.file !== undefined) continue;
      const open = this.#options.files.acquire(segment.path);
      try {
        const footer = await readTrailer(open.file, segment);
        if (footer === undefined) found.push(segment);
      } finally {
        open.release();
      }
    }
    return found;
  }

  /** Gives a segment of a killed process its footer and cuts off what was never used. */
  async sealLeftover(segment: Segment): Promise<void> {
    const file = this.#options.disk.open(segment.path, "update");
    const entries = await this.#scan(file, segment);
    if (segment.isDead || segment.isVictim) {
      file.close();
      return;
    }
    segment.footer = new FooterBuilder();
    let end = 0;
    for (const entry of entries) {
      segment.footer.add(entry);
      end = Math.max(end, entry.offset + entry.length);
    }
    segment.file = file;
    segment.cursor = end;
    await this.#seal(segment);
  }

  /** Seals what is open, so that the next start has nothing to repair. */
  async close(): Promise<void> {
    const open = [this.#fresh, this.#kept];
    this.#fresh = undefined;
    this.#kept = undefined;
    for (const segment of open) if (segment !== undefined) this.#sealWhenIdle(segment);
    while (this.#sealing.size > 0) await Promise.all(this.#sealing);
  }

  /** What has to be moved on finds a place even when nothing new does. */
  #canOpen(isKept: boolean): boolean {
    const { space, segmentBytes } = this.#options;
    return space.freeBytes >= segmentBytes + (isKept ? 0 : space.keptReserveBytes);
  }

  #open(isKept: boolean): Segment {
    const { disk, folder, space, segmentBytes, random, nextStamp } = this.#options;
    const nonce = random.bytes(6).reduce((number, byte) => number * 256 + byte, 0);
    const name = { id: nextStamp(), nonce, isKept };
    const segment = new Segment(name, join(folder, formatSegmentName(name)));
    disk.makeFolder(folder); // somebody may have deleted it
    const file = disk.open(segment.path, "create");
    try {
      file.preallocate(FIRST_STEP_BYTES);
    } catch (error) {
      file.close();
      void disk.remove(segment.path).catch(() => undefined);
      throw error;
    }
    segment.file = file;
    segment.cursor = 0;
    segment.footer = new FooterBuilder();
    segment.fileBytes = segmentBytes;
    segment.promisedBytes = segmentBytes - FIRST_STEP_BYTES;
    space.segmentBytes += segmentBytes;
    space.promisedBytes += segment.promisedBytes;
    this.#segments.set(segment.id, segment);
    return segment;
  }

  /**
   * Makes sure of the space up to `end`, in steps that grow with the segment: a killed process
   * leaves little in vain, and a full volume is met before a record and not within. Throws
   * `storage_io` when the volume has none.
   */
  #reserve(segment: Segment, end: number): void {
    const { space, segmentBytes } = this.#options;
    const reservedBytes = segmentBytes - segment.promisedBytes;
    if (end <= reservedBytes || segment.file === undefined) return;
    const stepBytes = Math.min(reservedBytes, segmentBytes / STEPS_MIN);
    const steps = Math.ceil((end - reservedBytes) / stepBytes);
    const addedBytes = Math.min(segment.promisedBytes, steps * stepBytes);
    segment.file.preallocate(reservedBytes + addedBytes, reservedBytes);
    segment.promisedBytes -= addedBytes;
    space.promisedBytes -= addedBytes;
  }

  #forgetPromise(segment: Segment): void {
    this.#options.space.promisedBytes -= segment.promisedBytes;
    segment.promisedBytes = 0;
  }

  #sealWhenIdle(segment: Segment): void {
    if (segment.writers > 0 || segment.isSealed) return;
    const sealing = this.#seal(segment)
      .catch((error: unknown) => this.#options.onFailure(error))
      .finally(() => this.#sealing.delete(sealing));
    this.#sealing.add(sealing);
  }

  async #seal(segment: Segment): Promise<void> {
    const { file, footer, cursor } = segment;
    if (file === undefined || footer === undefined || cursor === undefined) return;
    segment.cursor = undefined;
    if (segment.isDead) {
      segment.file = undefined;
      file.close();
      return;
    }
    try {
      if (footer.count === 0) {
        // Nothing was ever published here.
        segment.file = undefined;
        file.close();
        await this.drop(segment);
        return;
      }
      const bytes = footer.encode(segment.nonce);
      this.#reserve(segment, cursor + bytes.length);
      await file.write([bytes], cursor);
      file.truncate(cursor + bytes.length);
    } finally {
      if (!segment.isDead) {
        this.#options.space.segmentBytes -= segment.fileBytes;
        segment.fileBytes = file.allocatedBytes();
        this.#forgetPromise(segment);
        this.#options.space.segmentBytes += segment.fileBytes;
        file.close();
        segment.file = undefined;
        segment.footer = undefined;
      }
    }
  }

  /** Every valid record, by trying each place one could begin at. */
  async #scan(file: DiskFile, segment: Segment): Promise<FooterEntry[]> {
    const entries: FooterEntry[] = [];
    const sizeBytes = file.sizeBytes();
    const window = new Uint8Array(SCAN_BYTES);
    let at = 0;
    while (at + HEADER_BYTES <= sizeBytes) {
      const length = await file.read(window, at);
      let offset = 0;
      while (offset + HEADER_BYTES <= length) {
        const entry = await this.#recordAt(file, segment, window.subarray(0, length), at, offset);
        if (entry !== undefined) entries.push(entry);
        offset += entry?.length ?? ALIGN_BYTES;
      }
      at += Math.max(offset, ALIGN_BYTES);
    }
    return entries;
  }

  async #recordAt(
    file: DiskFile,
    segment: Segment,
    window: Uint8Array,
    windowStart: number,
    offset: number,
  ): Promise<FooterEntry | undefined> {
    const header = decodeHeader(window, offset, segment.nonce);
    if (header === undefined) return undefined;
    let head = window.subarray(offset + HEADER_BYTES, offset + HEADER_BYTES + header.headLength);
    if (head.length < header.headLength) {
      head = new Uint8Array(header.headLength);
      await file.read(head, windowStart + offset + HEADER_BYTES);
    }
    const meta = Bun.hash.crc32(head) === header.headCrc ? decodeHead(head) : undefined;
    if (meta === undefined) return undefined;
    return {
      h: header.h,
      h2: header.h2,
      version: header.version,
      offset: windowStart + offset,
      length: recordBytes(header.headLength, header.bodyLength),
      bodyLength: header.bodyLength,
      group: groupOf(meta.id),
      shard: identityOf(meta.id, this.#options.shardCount).shard,
      bucket: meta.id.bucket,
      key: meta.id.key,
    };
  }
}

const SCAN_BYTES = 1024 * 1024;
/** What a segment takes on the volume at first; no segment is smaller. */
const FIRST_STEP_BYTES = 1024 * 1024;
/** It doubles what it takes, but never takes more than this part of itself at once. */
const STEPS_MIN = 16;

function fits(segment: Segment | undefined, length: number, segmentBytes: number): boolean {
  if (segment?.cursor === undefined || segment.footer === undefined) return false;
  const footerLength = segment.footer.sizeBytes + FOOTER_ENTRY_MAX + FOOTER_TRAILER_BYTES;
  return segment.cursor + length + footerLength <= segmentBytes;
}

async function readTrailer(file: DiskFile, segment: Segment): Promise<number | undefined> {
  const trailer = new Uint8Array(FOOTER_TRAILER_BYTES);
  const start = file.sizeBytes() - trailer.length;
  if (start < 0 || (await file.read(trailer, start)) !== trailer.length) return undefined;
  return footerBytes(trailer, segment.nonce);
}

async function readFooter(file: DiskFile, segment: Segment): Promise<FooterEntry[] | undefined> {
  const length = await readTrailer(file, segment);
  if (length === undefined || length > file.sizeBytes()) return undefined;
  const footer = new Uint8Array(length);
  if ((await file.read(footer, file.sizeBytes() - length)) !== length) return undefined;
  return decodeFooter(footer);
}

/** The name under which an entry of a footer is known in memory. */
export function nameOf(entry: FooterEntry): string {
  return objectIdString({ bucket: entry.bucket, key: entry.key });
}
