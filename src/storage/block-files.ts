/**
 * The file tier: large bodies in files of their own, known block by block.
 *
 * A body is cut into chunk files (so that no file is larger than a share of the cache)
 * and accounted in blocks: each has a presence bit and a CRC-32, so that part of a huge
 * object can be stored, and every range can be checked on its own. 512 blocks make a
 * "part", one row of the catalog. The block size grows with the object so that even
 * 1 TiB has at most 2^20 blocks.
 *
 * Files hold body bytes only and are written in place, at the offset the bytes have in
 * the object. They become meaningful through the catalog row alone.
 */

import { join } from "node:path";
import type { Disk, DiskFile } from "../base/disk.ts";
import type { ByteRange } from "../http/range.ts";
import type { BodyTarget } from "./fill.ts";
import type { OpenFile, OpenFiles } from "./open-files.ts";
import type { WritePace } from "./write-pace.ts";

export const BLOCKS_PER_PART = 512;

/** The smallest block: ranges fetched from and to multiples of it are kept whole. */
export const BLOCK_BYTES_MIN = 16 * 1024;
const BLOCKS_MAX = 2 ** 20;
const BITMAP_BYTES = BLOCKS_PER_PART / 8;
const PART_BYTES = BITMAP_BYTES + 4 * BLOCKS_PER_PART + 4;

/**
 * Bytes per block for an object of `sizeBytes`: 16 KiB up to 16 GiB, 1 MiB at 1 TiB.
 * Small, because a range that misses has to fetch whole blocks.
 */
export function blockBytesFor(sizeBytes: number): number {
  let blockBytes = BLOCK_BYTES_MIN;
  while (blockBytes * BLOCKS_MAX < sizeBytes) blockBytes *= 2;
  return blockBytes;
}

export interface FileLayout {
  readonly version: number;
  readonly shard: number;
  readonly sizeBytes: number;
  readonly blockBytes: number;
  /** A multiple of `blockBytes`. */
  readonly chunkBytes: number;
}

/** Presence and checksums of 512 blocks. */
class Part {
  readonly present: Uint8Array;
  readonly crcs: Uint32Array;
  /** Blocks whose bytes were compared with their checksum since the process started. */
  readonly checked = new Uint8Array(BITMAP_BYTES);

  constructor(present: Uint8Array, crcs: Uint32Array) {
    this.present = present;
    this.crcs = crcs;
  }

  static empty(): Part {
    return new Part(new Uint8Array(BITMAP_BYTES), new Uint32Array(BLOCKS_PER_PART));
  }

  isEmpty(): boolean {
    for (const bits of this.present) if (bits !== 0) return false;
    return true;
  }

  /** The stored form: bitmap, little-endian CRCs, CRC of both. */
  encode(): Uint8Array {
    const data = new Uint8Array(PART_BYTES);
    data.set(this.present, 0);
    data.set(
      new Uint8Array(this.crcs.buffer, this.crcs.byteOffset, 4 * BLOCKS_PER_PART),
      BITMAP_BYTES,
    );
    const view = new DataView(data.buffer);
    view.setUint32(PART_BYTES - 4, Bun.hash.crc32(data.subarray(0, PART_BYTES - 4)), true);
    return data;
  }

  /** Undefined when `data` is not what `encode` made. */
  static decode(data: Uint8Array): Part | undefined {
    if (data.length !== PART_BYTES) return undefined;
    const view = new DataView(data.buffer, data.byteOffset, PART_BYTES);
    const crc = Bun.hash.crc32(data.subarray(0, PART_BYTES - 4));
    if (crc !== view.getUint32(PART_BYTES - 4, true)) return undefined;
    const crcs = new Uint32Array(BLOCKS_PER_PART);
    new Uint8Array(crcs.buffer).set(data.subarray(BITMAP_BYTES, PART_BYTES - 4));
    return new Part(data.slice(0, BITMAP_BYTES), crcs);
  }
}

/** What loads stored parts; undefined when there is none. */
export type PartLoader = (part: number) => Uint8Array | undefined;

/**
 * The body of one version: which blocks are stored, shared by its entry and by every
 * fill that adds to it.
 */
export class FileBody {
  readonly layout: FileLayout;
  /** True when every block is stored; then `missing` needs no look at the parts. */
  isComplete: boolean;
  /** Fills that write into the files right now; they keep eviction away. */
  writers = 0;
  readonly #load: PartLoader;
  readonly #parts = new Map<number, Part>();
  readonly #changed = new Set<number>();

  constructor(
    layout: FileLayout,
    state: { readonly isComplete: boolean; readonly load: PartLoader },
  ) {
    this.layout = layout;
    this.isComplete = state.isComplete;
    this.#load = state.load;
  }

  get blockCount(): number {
    return Math.ceil(this.layout.sizeBytes / this.layout.blockBytes);
  }

  /** Ranges of whole blocks, in order and not adjacent, that must be fetched to have all of `range`. */
  missing(range: ByteRange): ByteRange[] {
    if (this.isComplete || range.end <= range.start) return [];
    const { blockBytes, sizeBytes } = this.layout;
    const gaps: { start: number; end: number }[] = [];
    const stop = Math.floor((range.end - 1) / blockBytes) + 1;
    let block = Math.floor(range.start / blockBytes);
    while (block < stop) {
      const part = this.#part(block);
      const partEnd = nextPart(block);
      // A large object has a million blocks, and most of them have neighbours like themselves.
      if (part.isEmpty()) {
        addGap(gaps, block * blockBytes, Math.min(sizeBytes, Math.min(partEnd, stop) * blockBytes));
        block = partEnd;
      }
      while (block < partEnd && block < stop) {
        const index = block % BLOCKS_PER_PART;
        const next = block + alikeFrom(part.present, index);
        if (!hasBit(part.present, index)) {
          addGap(gaps, block * blockBytes, Math.min(sizeBytes, Math.min(next, stop) * blockBytes));
        }
        block = next;
      }
    }
    return gaps;
  }

  /** Ranges of whole blocks that are stored, in order and not adjacent. */
  present(): ByteRange[] {
    const ranges: ByteRange[] = [];
    let start = 0;
    for (const gap of this.missing({ start: 0, end: this.layout.sizeBytes })) {
      if (gap.start > start) ranges.push({ start, end: gap.start });
      start = gap.end;
    }
    if (start < this.layout.sizeBytes) ranges.push({ start, end: this.layout.sizeBytes });
    return ranges;
  }

  isPresent(block: number): boolean {
    return hasBit(this.#part(block).present, block % BLOCKS_PER_PART);
  }

  isChecked(block: number): boolean {
    return hasBit(this.#part(block).checked, block % BLOCKS_PER_PART);
  }

  markChecked(block: number): void {
    setBit(this.#part(block).checked, block % BLOCKS_PER_PART);
  }

  crcOf(block: number): number {
    return this.#part(block).crcs[block % BLOCKS_PER_PART] ?? 0;
  }

  /** Notes a block as stored and checked, unless it is already. */
  add(block: number, crc: number): void {
    const part = this.#part(block);
    const index = block % BLOCKS_PER_PART;
    if (hasBit(part.present, index)) return;
    setBit(part.present, index);
    setBit(part.checked, index);
    part.crcs[index] = crc;
    this.#changed.add(Math.floor(block / BLOCKS_PER_PART));
  }

  /** Parts changed since the last call, in their stored form. */
  takeChanges(): { part: number; data: Uint8Array }[] {
    const changes = [...this.#changed].map((part) => ({
      part,
      data: (this.#parts.get(part) ?? Part.empty()).encode(),
    }));
    this.#changed.clear();
    return changes;
  }

  /** Puts changes back that could not be stored, for the next attempt. */
  restoreChanges(parts: Iterable<number>): void {
    for (const part of parts) this.#changed.add(part);
  }

  /** Recomputes `isComplete` from the parts. */
  updateCompleteness(): void {
    if (this.isComplete) return;
    const { blockBytes, sizeBytes } = this.layout;
    for (let block = 0; block < this.blockCount; block = nextPart(block)) {
      const end = Math.min(sizeBytes, nextPart(block) * blockBytes);
      if (this.missing({ start: block * blockBytes, end }).length > 0) return;
    }
    this.isComplete = true;
  }

  #part(block: number): Part {
    const index = Math.floor(block / BLOCKS_PER_PART);
    let part = this.#parts.get(index);
    if (part === undefined) {
      const data = this.#load(index);
      // A part that cannot be read says nothing is there: those blocks are fetched again.
      part = (data === undefined ? undefined : Part.decode(data)) ?? Part.empty();
      this.#parts.set(index, part);
    }
    return part;
  }
}

/** The first block of the part after the one `block` is in. */
function nextPart(block: number): number {
  return (Math.floor(block / BLOCKS_PER_PART) + 1) * BLOCKS_PER_PART;
}

/** How many blocks from `index` on can be told at one look to be there, or not, like the first. */
function alikeFrom(bitmap: Uint8Array, index: number): number {
  const bits = bitmap[index >> 3];
  return (index & 7) === 0 && (bits === 0 || bits === 0xff) ? 8 : 1;
}

function addGap(gaps: { start: number; end: number }[], start: number, end: number): void {
  const gap = gaps.at(-1);
  if (gap !== undefined && gap.end === start) gap.end = end;
  else gaps.push({ start, end });
}

function hasBit(bitmap: Uint8Array, index: number): boolean {
  return ((bitmap[index >> 3] ?? 0) & (1 << (index & 7))) !== 0;
}

function setBit(bitmap: Uint8Array, index: number): void {
  bitmap[index >> 3] = (bitmap[index >> 3] ?? 0) | (1 << (index & 7));
}

/** Where a chunk file is, below the folder of the file tier. */
export function chunkPath(folder: string, shard: number, version: number, chunk: number): string {
  return join(folder, shardName(shard), `${version.toString(36)}-${chunk}`);
}

/** Names of chunk files, and what the store keeps open of them. */
export class BlockFiles {
  readonly #disk: Disk;
  readonly #folder: string;
  readonly #open: OpenFiles;

  constructor(disk: Disk, folder: string, open: OpenFiles) {
    this.#disk = disk;
    this.#folder = folder;
    this.#open = open;
  }

  /** Files of one version all begin with its name, so that a listing can be matched with the catalog. */
  pathOf(layout: FileLayout, chunk: number): string {
    return chunkPath(this.#folder, layout.shard, layout.version, chunk);
  }

  /** Where a fill of this body writes. */
  target(layout: FileLayout, { isNew, reserve, pace }: TargetOptions): FileTarget {
    // Each time, because somebody may have deleted it; next to the body it costs nothing.
    this.#disk.makeFolder(join(this.#folder, shardName(layout.shard)));
    return new FileTarget(layout, { reserve, pace }, (chunk) => {
      const path = this.pathOf(layout, chunk);
      const exists = !isNew && this.#disk.exists(path);
      return this.#disk.open(path, exists ? "update" : "create");
    });
  }

  /** Reads of a body over its chunk files. */
  source(layout: FileLayout): FileTarget {
    return new FileTarget(layout, undefined, (chunk) =>
      this.#disk.open(this.pathOf(layout, chunk), "read"),
    );
  }

  /** Bytes all chunk files of a body take on the volume. */
  allocatedBytes(layout: FileLayout): number {
    let sizeBytes = 0;
    for (let chunk = 0; chunk < chunkCountOf(layout); chunk += 1) {
      sizeBytes += this.#disk.allocatedBytes(this.pathOf(layout, chunk));
    }
    return sizeBytes;
  }

  /** The chunk file, open for reading and counted as used until `release`. Throws `storage_io`. */
  acquire(layout: FileLayout, chunk: number): OpenFile {
    return this.#open.acquire(this.pathOf(layout, chunk));
  }

  /** Unlinks every file of a body. Readers that hold one keep its bytes. */
  async remove(layout: FileLayout): Promise<void> {
    for (let chunk = 0; chunk < chunkCountOf(layout); chunk += 1) {
      const path = this.pathOf(layout, chunk);
      this.#open.forget(path);
      await this.#disk.remove(path);
    }
  }

  /** Every version that has files in a shard's folder. */
  versionsIn(shard: number): { version: number; name: string }[] {
    return this.#disk.list(join(this.#folder, shardName(shard))).map((name) => ({
      name,
      version: Number.parseInt(name.split("-")[0] ?? "", 36),
    }));
  }

  removeNamed(shard: number, name: string): Promise<void> {
    return this.#disk.remove(join(this.#folder, shardName(shard), name));
  }
}

/**
 * Accounts for bytes about to be written; undefined when there is room for them. Else a promise that
 * rejects when there is none.
 */
export type Reserve = (sizeBytes: number) => Promise<void> | undefined;

export interface WriteOptions {
  readonly reserve: Reserve;
  readonly pace: WritePace;
}

export interface TargetOptions extends WriteOptions {
  /** Files are made; else existing ones are added to. */
  readonly isNew: boolean;
}

/** Writes and reads a body at the offsets of the object, over its chunk files. */
export class FileTarget implements BodyTarget {
  readonly layout: FileLayout;
  /** Undefined: for reading only. */
  readonly #options: WriteOptions | undefined;
  readonly #openChunk: (chunk: number) => DiskFile;
  readonly #files = new Map<number, DiskFile>();

  constructor(
    layout: FileLayout,
    options: WriteOptions | undefined,
    openChunk: (chunk: number) => DiskFile,
  ) {
    this.layout = layout;
    this.#options = options;
    this.#openChunk = openChunk;
  }

  write(chunks: readonly Uint8Array[], position: number): Promise<void> | undefined {
    const options = this.#options;
    if (options === undefined) throw new Error("a body opened for reading was written to");
    let sizeBytes = 0;
    for (const chunk of chunks) sizeBytes += chunk.length;
    const end = position + sizeBytes;
    const isInOne = this.#chunkAt(position) === this.#chunkAt(end - 1);
    const write = () =>
      isInOne
        ? this.#writeWithin(options.pace, chunks, position)
        : this.#writeAcross(options.pace, chunks, position);
    const reserved = options.reserve(sizeBytes);
    return reserved === undefined ? write() : reserved.then(write);
  }

  /** One chunk file at a time: a write across their border is cut in two. */
  async #writeAcross(
    pace: WritePace,
    chunks: readonly Uint8Array[],
    position: number,
  ): Promise<void> {
    const { chunkBytes } = this.layout;
    let at = position;
    let batch: Uint8Array[] = [];
    let batchStart = at;
    for (const whole of chunks) {
      let rest = whole;
      while (rest.length > 0) {
        const fileEnd = (this.#chunkAt(at) + 1) * chunkBytes;
        const piece = rest.subarray(0, fileEnd - at);
        batch.push(piece);
        at += piece.length;
        rest = rest.subarray(piece.length);
        if (at === fileEnd) {
          await this.#writeWithin(pace, batch, batchStart);
          batch = [];
          batchStart = at;
        }
      }
    }
    if (batch.length > 0) await this.#writeWithin(pace, batch, batchStart);
  }

  async read(target: Uint8Array, position: number): Promise<number> {
    const { chunkBytes } = this.layout;
    let done = 0;
    while (done < target.length) {
      const at = position + done;
      const chunk = this.#chunkAt(at);
      const length = Math.min(target.length - done, (chunk + 1) * chunkBytes - at);
      const count = await this.#file(chunk).read(
        target.subarray(done, done + length),
        at - chunk * chunkBytes,
      );
      done += count;
      if (count < length) break;
    }
    return done;
  }

  close(): void {
    for (const file of this.#files.values()) file.close();
    this.#files.clear();
  }

  #writeWithin(
    pace: WritePace,
    chunks: readonly Uint8Array[],
    position: number,
  ): Promise<void> | undefined {
    const chunk = this.#chunkAt(position);
    return pace.write(this.#file(chunk), chunks, position - chunk * this.layout.chunkBytes);
  }

  #chunkAt(position: number): number {
    return Math.floor(position / this.layout.chunkBytes);
  }

  #file(chunk: number): DiskFile {
    let file = this.#files.get(chunk);
    if (file === undefined) {
      file = this.#openChunk(chunk);
      this.#files.set(chunk, file);
    }
    return file;
  }
}

function chunkCountOf(layout: FileLayout): number {
  return Math.ceil(layout.sizeBytes / layout.chunkBytes);
}

function shardName(shard: number): string {
  return shard.toString(16).padStart(2, "0");
}
