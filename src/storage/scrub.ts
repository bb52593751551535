/**
 * Reads everything a store holds and compares it with its checksums: rows, heads, bodies,
 * tables of block checksums. It looks from outside (catalog-reader.ts), so it takes
 * nothing from a running server but disk bandwidth, and it finds what no client has asked
 * for since it went bad.
 *
 * A server that runs meanwhile moves and replaces bodies. Whatever does not check is
 * therefore judged against its row once more: a row that is gone or names another place by
 * then is no finding. Nothing is changed here; dropping what is damaged is the owner's.
 */

import type { Database } from "bun:sqlite";
import { join } from "node:path";
import { systemDisk } from "../base/disk.ts";
import type { ObjectId } from "../s3/object-id.ts";
import { BlockFiles, FileBody, type FileLayout } from "./block-files.ts";
import { FLAG_COMPLETE, rowCrc, TIERS, type RawRow } from "./catalog.ts";
import { readRecord } from "./evictor.ts";
import { decodeHead } from "./head.ts";
import { OpenFiles } from "./open-files.ts";
import { BLOCK_BYTES, parseSegmentName, tableBytes } from "./segment-format.ts";
import { Segment } from "./segments.ts";

/** What the scrub says of one row. */
export interface CheckedEntry {
  /** Undefined when the row does not even tell whose it is. */
  readonly id: ObjectId | undefined;
  readonly version: number;
  /** Bytes it takes on the volume outside of the catalog. */
  readonly diskBytes: number;
  /** Undefined: good, or gone before it could be looked at. Else what is wrong, for people. */
  readonly damage: string | undefined;
}

export interface ScrubSource {
  /** The cache folder. */
  readonly folder: string;
  /** The catalog shards, by index, open for reading. */
  readonly shards: readonly Database[];
  /** The file of a segment; undefined when it was evicted. */
  readonly segmentPath: (id: number) => string | undefined;
}

/** Rows put into the order of their places at a time. */
const ROWS_PER_SLICE = 8192;
const OPEN_FILES_MAX = 16;
/** Blocks of large bodies are read this much at a time, or one by one when they are larger. */
const READ_BYTES = 1024 * 1024;

type RowPlace = Pick<RawRow, "h" | "tier" | "place" | "offset">;

export class Scrub {
  readonly #source: ScrubSource;
  readonly #openFiles = new OpenFiles(systemDisk, OPEN_FILES_MAX);
  readonly #files: BlockFiles;

  constructor(source: ScrubSource) {
    this.#source = source;
    this.#files = new BlockFiles(systemDisk, join(source.folder, "files"), this.#openFiles);
  }

  /** Every entry of the store, in no useful order. Never throws for what is damaged. */
  async *all(): AsyncGenerator<CheckedEntry, void, undefined> {
    for (const [index, shard] of this.#source.shards.entries()) {
      let afterH = -1;
      for (;;) {
        let rows: RowPlace[];
        try {
          rows = shard
            .query<RowPlace, [number, number]>(
              "SELECT h, tier, place, offset FROM object WHERE h > ? ORDER BY h LIMIT ?",
            )
            .all(afterH, ROWS_PER_SLICE);
        } catch (error) {
          const reason = error instanceof Error ? error.message : String(error);
          const damage = `catalog shard ${index} cannot be read: ${reason}`;
          yield { id: undefined, version: 0, diskBytes: 0, damage };
          break;
        }
        // A disk likes to be read from the front.
        for (const { h } of rows.toSorted((a, b) => a.place - b.place || a.offset - b.offset)) {
          const checked = await this.check(index, h);
          if (checked !== undefined) yield checked;
        }
        const last = rows.at(-1);
        if (last === undefined || rows.length < ROWS_PER_SLICE) break;
        afterH = last.h;
      }
    }
  }

  /** One entry by shard and row id; undefined when there is none. */
  async check(index: number, h: number): Promise<CheckedEntry | undefined> {
    const row = this.#row(index, h);
    if (row === undefined) return undefined;
    const { id, damage } = await this.#judge(index, row);
    const common = { version: row.version, diskBytes: row.disk };
    if (damage === undefined) return { ...common, id, damage };
    const now = this.#row(index, h);
    const isSame =
      now?.version === row.version && now.place === row.place && now.offset === row.offset;
    if (!isSame) return { ...common, id, damage: undefined };
    return { ...common, id: id ?? this.#nameOf(index, h), damage };
  }

  /** Which bytes of a body in blocks are stored; undefined for the other tiers. */
  present(
    index: number,
    h: number,
  ): { readonly start: number; readonly end: number }[] | undefined {
    const row = this.#row(index, h);
    if (row === undefined || TIERS[row.tier] !== "file") return undefined;
    return this.#fileBody(index, row, () => undefined).present();
  }

  close(): void {
    this.#openFiles.close();
  }

  async #judge(
    index: number,
    row: RawRow,
  ): Promise<{ id: ObjectId | undefined; damage: string | undefined }> {
    if (row.crc !== rowCrc(row)) {
      return { id: undefined, damage: "the catalog row does not match its checksum" };
    }
    const meta = row.head === null ? undefined : decodeHead(row.head);
    if (row.head !== null && meta === undefined) {
      return { id: undefined, damage: "the headers cannot be read" };
    }
    try {
      const tier = TIERS[row.tier];
      if (tier === undefined) return { id: meta?.id, damage: "the row names no tier" };
      switch (tier) {
        case "segment":
          return await this.#judgeRecord(row, meta?.id);
        case "file":
          return { id: meta?.id, damage: await this.#judgeBlocks(index, row) };
        case "inline":
          return {
            id: meta?.id,
            damage: row.body?.length === row.size ? undefined : "the body has another length",
          };
      }
    } catch (error) {
      return { id: meta?.id, damage: error instanceof Error ? error.message : String(error) };
    }
  }

  async #judgeRecord(
    row: RawRow,
    known: ObjectId | undefined,
  ): Promise<{ id: ObjectId | undefined; damage: string | undefined }> {
    const path = this.#source.segmentPath(row.place);
    const name =
      path === undefined ? undefined : parseSegmentName(path.slice(path.lastIndexOf("/") + 1));
    // Evicted, and not swept yet.
    if (path === undefined || name === undefined) return { id: known, damage: undefined };
    const open = this.#openFiles.acquire(path);
    try {
      const place = { version: row.version, offset: row.offset, length: row.disk };
      const record = await readRecord(open, new Segment(name, path), place);
      const isRight =
        record !== undefined &&
        record.header.h === row.h &&
        record.header.h2 === row.h2 &&
        record.body.length === row.size &&
        isTableRight(record.body, record.header.bodyCrc);
      if (!isRight) return { id: known, damage: "the record does not match its checksums" };
      const id = known ?? decodeHead(record.head)?.id;
      return { id, damage: id === undefined ? "the headers cannot be read" : undefined };
    } finally {
      open.release();
    }
  }

  async #judgeBlocks(index: number, row: RawRow): Promise<string | undefined> {
    let damage: string | undefined;
    const body = this.#fileBody(index, row, () => {
      damage = "a table of block checksums does not match its own";
    });
    const { blockBytes, sizeBytes } = body.layout;
    const ranges = body.present();
    if (damage !== undefined) return damage;
    const isWhole = ranges.length === 1 && ranges[0]?.start === 0 && ranges[0].end === sizeBytes;
    const isSaidComplete = (row.flags & FLAG_COMPLETE) !== 0;
    if (isSaidComplete && !isWhole) return "blocks of a complete body are missing";
    const file = this.#files.source(body.layout);
    try {
      const window = new Uint8Array(Math.max(blockBytes, READ_BYTES));
      for (const { start, end } of ranges) {
        for (let at = start; at < end; at += window.length) {
          const bytes = window.subarray(0, Math.min(window.length, end - at));
          if ((await file.read(bytes, at)) !== bytes.length)
            return "a file is shorter than its blocks";
          for (let offset = 0; offset < bytes.length; offset += blockBytes) {
            const block = (at + offset) / blockBytes;
            const crc = Bun.hash.crc32(bytes.subarray(offset, offset + blockBytes));
            if (crc !== body.crcOf(block)) return `block ${block} does not match its checksum`;
          }
        }
      }
    } finally {
      file.close();
    }
    return undefined;
  }

  #fileBody(index: number, row: RawRow, onBadPart: () => void): FileBody {
    const layout: FileLayout = {
      version: row.version,
      shard: index,
      sizeBytes: row.size,
      chunkBytes: row.place,
      blockBytes: row.offset,
    };
    return new FileBody(layout, {
      // Asked block by block: a row that says "complete" has to prove it.
      isComplete: false,
      load: (part) => {
        const data = this.#source.shards[index]
          ?.query<{ data: Uint8Array }, [number, number]>(
            "SELECT data FROM block WHERE version = ? AND part = ?",
          )
          .get(row.version, part)?.data;
        if (data !== undefined && !isPartRight(data)) onBadPart();
        return data;
      },
    });
  }

  #row(index: number, h: number): RawRow | undefined {
    try {
      const shard = this.#source.shards[index];
      return shard?.query<RawRow, [number]>("SELECT * FROM object WHERE h = ?").get(h) ?? undefined;
    } catch {
      return undefined; // `all` says so when it comes to these pages
    }
  }

  /** The long way to a name: only for rows that are damaged. */
  #nameOf(index: number, h: number): ObjectId | undefined {
    try {
      const found = this.#source.shards[index]
        ?.query<{ bucket: string; key: Uint8Array }, [number]>(
          "SELECT bucket.name AS bucket, key FROM name JOIN bucket ON bucket.id = name.bucket WHERE h = ?",
        )
        .get(h);
      if (found === undefined || found === null) return undefined;
      return { bucket: found.bucket, key: Buffer.from(found.key).toString() };
    } catch {
      return undefined;
    }
  }
}

/** Whether the checksums behind a large body are those its header vouches for. */
function isTableRight(body: Uint8Array, bodyCrc: number): boolean {
  if (body.length <= BLOCK_BYTES) return true;
  const start = body.byteOffset + body.length;
  const table = new Uint8Array(body.buffer, start, tableBytes(body.length));
  return Bun.hash.crc32(table) === bodyCrc;
}

/** Whether presence and checksums of 512 blocks are what was stored; see `Part` in block-files.ts. */
function isPartRight(data: Uint8Array): boolean {
  if (data.length < 4) return false;
  const view = new DataView(data.buffer, data.byteOffset, data.length);
  return Bun.hash.crc32(data.subarray(0, -4)) === view.getUint32(data.length - 4, true);
}
