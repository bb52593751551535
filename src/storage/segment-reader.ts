/**
 * Reads of records: finds the head of one, and hands out checked bytes of its body.
 *
 * Four ways, by size: bodies of one block are read whole and stay in the memory tier; up to 256 KiB
 * they are lent in the buffer they were checked in; larger ones are handed out as slices of the
 * segment, checked every time up to 1 MiB and block by block on first touch above. Of bodies of more than
 * one block those are in the memory tier that were just stored, and those that are read again so soon that
 * they would still have been there.
 *
 * What is in the page cache is read at once, which takes a tenth of the way through the thread pool.
 */

import { BufferPool } from "../base/buffer-pool.ts";
import { CountedBytes } from "../base/counted-bytes.ts";
import { nextTurn } from "../base/next-turn.ts";
import type { ByteRange } from "../http/range.ts";
import type { FileRead } from "./block-reader.ts";
import { decodeHead } from "./head.ts";
import type { MemoryTier } from "./memory-tier.ts";
import type { OpenFile, OpenFiles } from "./open-files.ts";
import {
  BLOCK_BYTES,
  blockCountOf,
  decodeHeader,
  decodeTable,
  HEADER_BYTES,
  tableBytes,
  type RecordHeader,
} from "./segment-format.ts";
import type { Segment } from "./segments.ts";
import type { ObjectMeta, StoredBody } from "./storage.ts";

/** Where a record is. Moves when the record is evacuated, so it is asked for each time. */
export interface Location {
  readonly segment: Segment;
  readonly offset: number;
}

/** The body of an entry in the segment tier. */
export class SegmentPlace {
  readonly kind = "segment";
  /** Undefined until the record is written. */
  location: Location | undefined;
  /** The body, held as long as it is not on disk. */
  #unwritten: CountedBytes | undefined;
  readonly header: RecordHeader;
  /** CRCs of the blocks of a body of several; undefined until they are read, or known from the fill. */
  crcs: Uint32Array | undefined;
  /** When the body was last read from its file, as the memory tier tells the time; undefined: it was not. */
  readAt: number | undefined;
  /** Blocks of a body from `ALWAYS_CHECKED_BYTES` on that were checked since the start; one byte each. */
  checked: Uint8Array | undefined;

  constructor(
    header: RecordHeader,
    where: { readonly location: Location } | { readonly unwritten: CountedBytes },
    crcs?: Uint32Array,
  ) {
    this.header = header;
    this.crcs = crcs;
    this.location = "location" in where ? where.location : undefined;
    this.#unwritten = "unwritten" in where ? where.unwritten.hold() : undefined;
  }

  get unwritten(): CountedBytes | undefined {
    return this.#unwritten;
  }

  get isGone(): boolean {
    return this.location?.segment.isDead === true;
  }

  /** The record is on disk now, or was moved. */
  written(location: Location): void {
    this.location = location;
    this.#unwritten?.release();
    this.#unwritten = undefined;
  }
}

/** Reads up to this length block the event loop less than a trip to the thread pool costs. */
const SYNC_BYTES = 64 * 1024;
/** Bodies below this are checked on every read from disk; larger ones on first touch. */
const ALWAYS_CHECKED_BYTES = 1024 * 1024;
/** What was checked is lent up to this length; above, a slice of the file is less copying. */
const LENT_BYTES_MAX = 256 * 1024;
/** Slow clients hold what they are lent; when all of it is, slices go out instead. */
const LENT_BUFFERS_MAX = 64;
/** The first read of a record hopes to get header, head and a small body at once. */
const FIRST_READ_BYTES = 8 * 1024;

/** Whole blocks of a body that have to be checked for the sake of a range in them. */
interface Stretch {
  readonly open: OpenFile;
  readonly place: SegmentPlace;
  /** Where the body begins in the file. */
  readonly bodyStart: number;
  readonly range: ByteRange;
  /** Of the blocks, in the body. */
  readonly start: number;
  readonly end: number;
  readonly crcs: Uint32Array;
}

export class SegmentReader {
  readonly #files: OpenFiles;
  readonly #memory: MemoryTier;
  readonly #scratch = new Uint8Array(FIRST_READ_BYTES);
  readonly #lent = new BufferPool(LENT_BYTES_MAX, LENT_BUFFERS_MAX);
  readonly #checking: BufferPool;

  /** `checking`: buffers for stretches that are only checked, a piece of their length in each turn. */
  constructor(files: OpenFiles, memory: MemoryTier, checking: BufferPool) {
    this.#files = files;
    this.#memory = memory;
    this.#checking = checking;
  }

  /** Memory of the buffers that are lent, in use or not. */
  get lentBytes(): number {
    return this.#lent.heldBytes;
  }

  /**
   * The record at a location, when it is the one a row of `length` bytes promises; its head and
   * the place of its body. A small body comes along into the memory tier. Undefined when
   * anything does not check. Throws `storage_io` when the file cannot be read.
   */
  open(
    location: Location,
    row: {
      readonly h: number;
      readonly h2: number;
      readonly version: number;
      readonly size: number;
    },
    length: number,
  ): { meta: ObjectMeta; place: SegmentPlace } | undefined {
    const open = this.#files.acquire(location.segment.path);
    try {
      const first = this.#scratch.subarray(0, Math.min(length, FIRST_READ_BYTES));
      if (open.file.readSync(first, location.offset) !== first.length) return undefined;
      const header = decodeHeader(first, 0, location.segment.nonce);
      if (
        header === undefined ||
        header.h !== row.h ||
        header.h2 !== row.h2 ||
        header.version !== row.version ||
        header.bodyLength !== row.size
      ) {
        return undefined;
      }
      const bodyStart = HEADER_BYTES + header.headLength;
      let head = first.subarray(HEADER_BYTES, bodyStart);
      if (head.length < header.headLength) {
        head = new Uint8Array(header.headLength);
        open.file.readSync(head, location.offset + HEADER_BYTES);
      }
      if (Bun.hash.crc32(head) !== header.headCrc) return undefined;
      const meta = decodeHead(head);
      if (meta === undefined) return undefined;
      const body = first.subarray(bodyStart, bodyStart + header.bodyLength);
      if (body.length === header.bodyLength && body.length <= BLOCK_BYTES) {
        if (Bun.hash.crc32(body) !== header.bodyCrc) return undefined;
        const kept = new CountedBytes(body.slice());
        this.#memory.keep(header.version, kept);
        kept.release();
      }
      return { meta, place: new SegmentPlace(header, { location }) };
    } finally {
      open.release();
    }
  }

  /** The bytes `[start, end)` of a body, not empty. Rejects never. */
  read(place: SegmentPlace, range: ByteRange): FileRead | Promise<FileRead> {
    const inMemory = place.unwritten ?? this.#memory.get(place.header.version);
    if (inMemory !== undefined) return inMemory.lend(range.start, range.end);
    const { location, header } = place;
    if (location === undefined) return "damaged";
    let open: OpenFile;
    try {
      open = this.#files.acquire(location.segment.path);
    } catch (error) {
      return { kind: "unreadable", error };
    }
    const bodyStart = location.offset + HEADER_BYTES + header.headLength;
    if (header.bodyLength <= SYNC_BYTES) return this.#readSmall(open, place, bodyStart, range);
    return this.#readBlocks(open, place, bodyStart, range);
  }

  #readSmall(open: OpenFile, place: SegmentPlace, bodyStart: number, range: ByteRange): FileRead {
    const { header } = place;
    const body = new CountedBytes(new Uint8Array(header.bodyLength));
    try {
      if (open.file.readSync(body.bytes, bodyStart) !== header.bodyLength) return "damaged";
      if (Bun.hash.crc32(body.bytes) !== header.bodyCrc) return "damaged";
      this.#memory.keep(header.version, body);
      return body.lend(range.start, range.end);
    } catch (error) {
      return { kind: "unreadable", error };
    } finally {
      open.release();
      body.release();
    }
  }

  /** A body of several blocks. Takes over `open`. */
  #readBlocks(
    open: OpenFile,
    place: SegmentPlace,
    bodyStart: number,
    range: ByteRange,
  ): FileRead | Promise<FileRead> {
    const { header } = place;
    try {
      const crcs = this.#crcsOf(open, place, bodyStart);
      if (crcs === undefined) {
        open.release();
        return "damaged";
      }
      if (header.bodyLength >= ALWAYS_CHECKED_BYTES && isChecked(place, range)) {
        return slice(open, bodyStart, range);
      }
      const start = Math.floor(range.start / BLOCK_BYTES) * BLOCK_BYTES;
      const end = Math.min(header.bodyLength, Math.ceil(range.end / BLOCK_BYTES) * BLOCK_BYTES);
      const buffer = end - start <= LENT_BYTES_MAX ? this.#lent.take() : undefined;
      const stretch = { open, place, bodyStart, range, start, end, crcs };
      return buffer === undefined ? this.#check(stretch) : this.#lend(stretch, buffer);
    } catch (error) {
      open.release();
      return { kind: "unreadable", error };
    }
  }

  /** Reads and checks whole blocks in a buffer that is lent with them. Takes over `open`. */
  #lend(stretch: Stretch, buffer: Uint8Array): FileRead | Promise<FileRead> {
    const { open, place, bodyStart, range, start, end } = stretch;
    const span = buffer.subarray(0, end - start);
    const giveBack = (): void => {
      open.release();
      this.#lent.give(buffer);
    };
    const judge = (count: number): FileRead => {
      if (count !== span.length || !isIntact(stretch, span, start)) {
        giveBack();
        return "damaged";
      }
      const isWhole = span.length === place.header.bodyLength;
      if (isWhole && this.#memory.takes(span.length)) this.#noteRead(place, span);
      return {
        kind: "bytes",
        bytes: span.subarray(range.start - start, range.end - start),
        inFile: {
          descriptor: open.file.descriptor,
          offsetBytes: bodyStart + range.start,
          isMemory: false,
        },
        release: giveBack,
      };
    };
    if (open.file.readResident(span, bodyStart + start) === span.length) return judge(span.length);
    return open.file.read(span, bodyStart + start).then(judge, (error: unknown) => {
      giveBack();
      return { kind: "unreadable", error };
    });
  }

  /** A whole body was read that the memory tier takes: it gets there when it is read again soon. */
  #noteRead(place: SegmentPlace, body: Uint8Array): void {
    const isReadAgain = this.#memory.wouldHold(body.length, place.readAt);
    place.readAt = this.#memory.passed(body.length);
    if (!isReadAgain) return;
    const kept = new CountedBytes(body.slice());
    this.#memory.keep(place.header.version, kept);
    kept.release();
  }

  /** Checks whole blocks, then hands out a slice of the range in them. Takes over `open`. */
  async #check(stretch: Stretch): Promise<FileRead> {
    const { open, bodyStart, range, start, end } = stretch;
    const pieceBytes = this.#checking.bufferBytes;
    let isHandedOn = false;
    try {
      for (let at = start; at < end; at += pieceBytes) {
        if (at > start) await nextTurn();
        const buffer = await this.#checking.borrow();
        try {
          const span = buffer.subarray(0, Math.min(pieceBytes, end - at));
          let count = open.file.readResident(span, bodyStart + at);
          if (count < span.length) count = await open.file.read(span, bodyStart + at);
          if (count !== span.length || !isIntact(stretch, span, at)) return "damaged";
        } finally {
          this.#checking.give(buffer);
        }
      }
      const body = slice(open, bodyStart, range);
      isHandedOn = true;
      return body;
    } catch (error) {
      return { kind: "unreadable", error };
    } finally {
      if (!isHandedOn) open.release();
    }
  }

  /** The CRCs of the blocks, read once and checked themselves. */
  #crcsOf(open: OpenFile, place: SegmentPlace, bodyStart: number): Uint32Array | undefined {
    if (place.crcs === undefined) {
      const { bodyLength, bodyCrc } = place.header;
      const table = new Uint8Array(tableBytes(bodyLength));
      const count = open.file.readSync(table, bodyStart + bodyLength);
      if (count !== table.length || Bun.hash.crc32(table) !== bodyCrc) return undefined;
      place.crcs = decodeTable(table);
    }
    return place.crcs;
  }
}

function isChecked(place: SegmentPlace, range: ByteRange): boolean {
  const { checked } = place;
  if (checked === undefined) return false;
  const last = Math.floor((range.end - 1) / BLOCK_BYTES);
  for (let block = Math.floor(range.start / BLOCK_BYTES); block <= last; block += 1) {
    if (checked[block] !== 1) return false;
  }
  return true;
}

/** Compares whole blocks of a stretch, the first of which begins at `at`, with their CRCs, and notes those of large bodies. */
function isIntact({ place, crcs }: Stretch, span: Uint8Array, at: number): boolean {
  const { bodyLength } = place.header;
  if (bodyLength >= ALWAYS_CHECKED_BYTES)
    place.checked ??= new Uint8Array(blockCountOf(bodyLength));
  for (let offset = 0; offset < span.length; offset += BLOCK_BYTES) {
    const block = (at + offset) / BLOCK_BYTES;
    if (Bun.hash.crc32(span.subarray(offset, offset + BLOCK_BYTES)) !== crcs[block]) return false;
    if (place.checked !== undefined) place.checked[block] = 1;
  }
  return true;
}

/** Hands `open` on to the slice, which releases it. Throws when the file was cut. */
function slice(open: OpenFile, bodyStart: number, range: ByteRange): StoredBody {
  const offsetBytes = bodyStart + range.start;
  const lengthBytes = range.end - range.start;
  if (open.file.sizeBytes() < offsetBytes + lengthBytes) {
    throw new RangeError("the segment is shorter than its records");
  }
  return {
    kind: "file",
    file: {
      descriptor: open.file.descriptor,
      path: open.file.path,
      offsetBytes,
      lengthBytes,
      release: () => open.release(),
    },
  };
}
