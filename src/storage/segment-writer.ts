/**
 * Writes of records: small ones gathered into one write, large ones streamed into their
 * place with the header last.
 */

import type { DiskFile } from "../base/disk.ts";
import type { BodyTarget } from "./fill.ts";
import type { Identity } from "./identity.ts";
import type { OpenFile, OpenFiles } from "./open-files.ts";
import {
  ALIGN_BYTES,
  encodeHeader,
  encodeTable,
  HEADER_BYTES,
  recordBytes,
  tableOf,
  type RecordHeader,
} from "./segment-format.ts";
import type { Extent, Segments } from "./segments.ts";
import type { WritePace } from "./write-pace.ts";

/** The cache has no room and nothing could be evicted in time: not a failure of the disk. */
export class CacheFull extends Error {
  constructor() {
    super("the cache is full");
  }
}

/** A complete record in memory. */
export interface SmallRecord {
  readonly header: RecordHeader;
  readonly head: Uint8Array;
  readonly body: Uint8Array;
  /** Of the CRCs of its blocks; undefined when it is one block. */
  readonly table: Uint8Array | undefined;
}

/** Makes the record of a body that is complete in memory. */
export function smallRecord(
  identity: Identity,
  version: number,
  head: Uint8Array,
  body: Uint8Array,
): SmallRecord {
  const table = tableOf(body);
  const header = {
    headLength: head.length,
    version,
    h: identity.h,
    h2: identity.h2,
    bodyLength: body.length,
    bodyCrc: Bun.hash.crc32(table ?? body),
    headCrc: Bun.hash.crc32(head),
  };
  return { header, head, body, table };
}

/** Chunks up to this are put together: cheaper to copy than to write on their own. */
const SMALL_CHUNK_BYTES = 16 * 1024;
/** One write gathers about this much. */
const BATCH_BYTES = 512 * 1024;

interface Waiting {
  readonly record: SmallRecord;
  readonly isKept: boolean;
  readonly resolve: (extent: Extent) => void;
  readonly reject: (error: unknown) => void;
}

/** Gathers small records that are ready at about the same time into one write. */
export class RecordWriter {
  readonly #segments: Segments;
  readonly #pace: WritePace;
  #waiting: Waiting[] = [];
  #isWriting = false;

  constructor(segments: Segments, pace: WritePace) {
    this.#segments = segments;
    this.#pace = pace;
  }

  /**
   * Resolves with the place of the record once its bytes were handed to the kernel. The
   * caller settles the place. Rejects with `CacheFull` or `storage_io`.
   */
  append(record: SmallRecord, isKept: boolean): Promise<Extent> {
    const { promise, resolve, reject } = Promise.withResolvers<Extent>();
    this.#waiting.push({ record, isKept, resolve, reject });
    if (!this.#isWriting) {
      this.#isWriting = true;
      // What is appended within this turn of the event loop is written together.
      queueMicrotask(() => void this.#drain());
    }
    return promise;
  }

  async #drain(): Promise<void> {
    while (this.#waiting.length > 0) await this.#writeBatch();
    this.#isWriting = false;
  }

  /** Takes records from the queue as long as their places follow each other. */
  async #writeBatch(): Promise<void> {
    const batch: { waiting: Waiting; extent: Extent }[] = [];
    const chunks: Uint8Array[] = [];
    let sizeBytes = 0;
    while (sizeBytes < BATCH_BYTES) {
      const waiting = this.#waiting[0];
      if (waiting === undefined) break;
      const previous = batch.at(-1);
      if (previous !== undefined && previous.waiting.isKept !== waiting.isKept) break;
      const extent = this.#place(waiting);
      if (extent === undefined) continue;
      if (previous !== undefined && !follows(previous.extent, extent)) {
        // A new segment began: its records are the next batch. Give the place back for now.
        this.#segments.giveBack(extent);
        break;
      }
      this.#waiting.shift();
      batch.push({ waiting, extent });
      chunks.push(...recordChunks(waiting.record, extent));
      sizeBytes += extent.length;
    }
    const first = batch[0];
    if (first === undefined) return;
    const { segment, offset } = first.extent;
    try {
      if (segment.file === undefined) throw new Error("a sealed segment was written to");
      await this.#pace.write(segment.file, withSmallJoined(chunks), offset);
    } catch (error) {
      for (const { waiting, extent } of batch) {
        this.#segments.settle(extent, undefined);
        waiting.reject(error);
      }
      return;
    }
    for (const { waiting, extent } of batch) waiting.resolve(extent);
  }

  /** A place for the first in the queue; undefined after taking it out, rejected. */
  #place(waiting: Waiting): Extent | undefined {
    const { head, body } = waiting.record;
    try {
      const extent = this.#segments.allocate(recordBytes(head.length, body.length), waiting.isKept);
      if (extent !== undefined) return extent;
      throw new CacheFull();
    } catch (error) {
      this.#waiting.shift();
      waiting.reject(error);
      return undefined;
    }
  }
}

function follows(before: Extent, after: Extent): boolean {
  return before.segment === after.segment && before.offset + before.length === after.offset;
}

/** The same bytes with small chunks that follow each other in one. */
function withSmallJoined(chunks: readonly Uint8Array[]): Uint8Array[] {
  const joined: Uint8Array[] = [];
  let small: Uint8Array[] = [];
  const flush = (): void => {
    const only = small[0];
    if (only !== undefined) joined.push(small.length === 1 ? only : Buffer.concat(small));
    small = [];
  };
  for (const chunk of chunks) {
    if (chunk.length <= SMALL_CHUNK_BYTES) small.push(chunk);
    else {
      flush();
      joined.push(chunk);
    }
  }
  flush();
  return joined;
}

const PADDING = new Uint8Array(ALIGN_BYTES);

/** The bytes of a record, padding included, as they are written at its place. */
function recordChunks({ header, head, body, table }: SmallRecord, extent: Extent): Uint8Array[] {
  const chunks = [encodeHeader(header, extent.segment.nonce), head, body];
  let length = HEADER_BYTES + head.length + body.length;
  if (table !== undefined) {
    chunks.push(table);
    length += table.length;
  }
  if (length < extent.length) chunks.push(PADDING.subarray(0, extent.length - length));
  return chunks.filter((chunk) => chunk.length > 0);
}

/** The place of a large body that is written while it arrives. */
export class RecordTarget implements BodyTarget {
  readonly #segments: Segments;
  readonly #files: OpenFiles;
  readonly #pace: WritePace;
  readonly #head: Uint8Array;
  readonly #bodyLength: number;
  #extent: Extent | undefined;
  /** Whether a scan would take it for a record. */
  #hasHeader = false;
  #reading: OpenFile | undefined;

  constructor(
    segments: Segments,
    files: OpenFiles,
    pace: WritePace,
    { head, bodyLength }: { readonly head: Uint8Array; readonly bodyLength: number },
  ) {
    this.#segments = segments;
    this.#files = files;
    this.#pace = pace;
    this.#head = head;
    this.#bodyLength = bodyLength;
  }

  /** Where the record is; undefined before the first byte came. */
  get extent(): Extent | undefined {
    return this.#extent;
  }

  /** Gives the place up, because it will not be published. */
  abandon(): void {
    if (this.#extent === undefined) return;
    if (this.#hasHeader) this.#segments.settle(this.#extent, undefined);
    else this.#segments.giveBack(this.#extent);
  }

  write(chunks: readonly Uint8Array[], position: number): Promise<void> | undefined {
    this.#extent ??= this.#segments.allocate(
      recordBytes(this.#head.length, this.#bodyLength),
      false,
    );
    if (this.#extent === undefined) throw new CacheFull();
    const at = this.#bodyStart(this.#extent) + position;
    return this.#pace.write(fileOf(this.#extent), chunks, at);
  }

  async read(target: Uint8Array, position: number): Promise<number> {
    if (this.#extent === undefined) return 0;
    // A descriptor of its own: the segment may be sealed while the fill is still read back.
    this.#reading ??= this.#files.acquire(this.#extent.segment.path);
    return this.#reading.file.read(target, this.#bodyStart(this.#extent) + position);
  }

  /** Writes what makes the bytes a record; its header last, so that half of one is never found. */
  async complete(
    identity: Identity,
    version: number,
    blockCrcs: readonly number[],
  ): Promise<RecordHeader> {
    const extent = this.#extent;
    if (extent === undefined) throw new Error("a record without body was completed");
    const table = encodeTable(blockCrcs);
    const header = {
      headLength: this.#head.length,
      version,
      h: identity.h,
      h2: identity.h2,
      bodyLength: this.#bodyLength,
      bodyCrc: Bun.hash.crc32(table),
      headCrc: Bun.hash.crc32(this.#head),
    };
    const file = fileOf(extent);
    await this.#pace.write(file, [table], this.#bodyStart(extent) + this.#bodyLength);
    this.#hasHeader = true;
    const first = Buffer.concat([encodeHeader(header, extent.segment.nonce), this.#head]);
    await this.#pace.write(file, [first], extent.offset);
    return header;
  }

  /** The place itself is settled by whoever knows whether it was published. */
  close(): void {
    this.#reading?.release();
    this.#reading = undefined;
  }

  #bodyStart(extent: Extent): number {
    return extent.offset + HEADER_BYTES + this.#head.length;
  }
}

function fileOf(extent: Extent): DiskFile {
  const { file } = extent.segment;
  if (file === undefined) throw new Error("a sealed segment was written to");
  return file;
}
