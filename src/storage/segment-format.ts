/**
 * The bytes of a segment: record headers, checksum tables, the footer and the file name.
 * docs/storage-format.md, section 5, is the same in words and with an example.
 *
 * Pure encoding and decoding. Decoders answer undefined for anything that does not
 * check; they never throw.
 */

/** Everything in a segment starts at a multiple of this. */
export const ALIGN_BYTES = 64;
export const HEADER_BYTES = 64;
/** Bodies larger than this are checked in blocks of this size. */
export const BLOCK_BYTES = 64 * 1024;

const RECORD_MAGIC = 0x43455254; // "TREC", little-endian

export interface RecordHeader {
  readonly headLength: number;
  readonly version: number;
  readonly h: number;
  readonly h2: number;
  readonly bodyLength: number;
  /** CRC of the body when it is one block, else of the table of block CRCs. */
  readonly bodyCrc: number;
  readonly headCrc: number;
}

export function blockCountOf(bodyLength: number): number {
  return bodyLength <= BLOCK_BYTES ? 1 : Math.ceil(bodyLength / BLOCK_BYTES);
}

/** Bytes of the checksum table behind a body; none when the header holds the only CRC. */
export function tableBytes(bodyLength: number): number {
  return bodyLength <= BLOCK_BYTES ? 0 : 4 * blockCountOf(bodyLength);
}

/** Bytes a record takes in the segment, padding included. */
export function recordBytes(headLength: number, bodyLength: number): number {
  return aligned(HEADER_BYTES + headLength + bodyLength + tableBytes(bodyLength));
}

export function aligned(sizeBytes: number): number {
  return Math.ceil(sizeBytes / ALIGN_BYTES) * ALIGN_BYTES;
}

export function encodeHeader(header: RecordHeader, nonce: number): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, RECORD_MAGIC, true);
  view.setUint32(4, header.headLength, true);
  setNumber(view, 8, header.version);
  setNumber(view, 16, header.h);
  setNumber(view, 24, header.h2);
  setNumber(view, 32, header.bodyLength);
  view.setUint32(40, header.bodyLength <= BLOCK_BYTES ? 0 : BLOCK_BYTES, true);
  view.setUint32(44, header.bodyCrc, true);
  view.setUint32(48, header.headCrc, true);
  setNumber(view, 52, nonce);
  view.setUint32(60, Bun.hash.crc32(bytes.subarray(0, 60)), true);
  return bytes;
}

/** The header at `offset` of `bytes`, when there is a valid one of the segment with `nonce`. */
export function decodeHeader(
  bytes: Uint8Array,
  offset: number,
  nonce: number,
): RecordHeader | undefined {
  if (bytes.length - offset < HEADER_BYTES) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset + offset, HEADER_BYTES);
  if (view.getUint32(0, true) !== RECORD_MAGIC) return undefined;
  const crc = Bun.hash.crc32(bytes.subarray(offset, offset + 60));
  if (view.getUint32(60, true) !== crc || getNumber(view, 52) !== nonce) return undefined;
  return {
    headLength: view.getUint32(4, true),
    version: getNumber(view, 8),
    h: getNumber(view, 16),
    h2: getNumber(view, 24),
    bodyLength: getNumber(view, 32),
    bodyCrc: view.getUint32(44, true),
    headCrc: view.getUint32(48, true),
  };
}

/** Block CRCs as they are stored. */
export function encodeTable(crcs: readonly number[]): Uint8Array {
  const table = new Uint8Array(4 * crcs.length);
  const view = new DataView(table.buffer);
  for (const [index, crc] of crcs.entries()) view.setUint32(4 * index, crc, true);
  return table;
}

/** The table behind a body that is complete in memory: the CRC of each block. Undefined: one block is all. */
export function tableOf(body: Uint8Array): Uint8Array | undefined {
  if (body.length <= BLOCK_BYTES) return undefined;
  const crcs: number[] = [];
  for (let at = 0; at < body.length; at += BLOCK_BYTES) {
    crcs.push(Bun.hash.crc32(body.subarray(at, at + BLOCK_BYTES)));
  }
  return encodeTable(crcs);
}

export function decodeTable(table: Uint8Array): Uint32Array {
  const view = new DataView(table.buffer, table.byteOffset, table.length);
  const crcs = new Uint32Array(table.length / 4);
  for (let index = 0; index < crcs.length; index += 1)
    crcs[index] = view.getUint32(4 * index, true);
  return crcs;
}

/** What the footer says of one record: all its row needs. */
export interface FooterEntry {
  readonly h: number;
  readonly h2: number;
  readonly version: number;
  readonly offset: number;
  /** Bytes of the record, padding included. */
  readonly length: number;
  readonly bodyLength: number;
  readonly group: number;
  readonly shard: number;
  readonly bucket: string;
  readonly key: string;
}

const ENTRY_BYTES = 52;
const TRAILER_BYTES = 24;
const FOOTER_MAGIC = Buffer.from("TAGFOOT1");

/** Collects the footer of a segment while it is written: a growing buffer, not objects. */
export class FooterBuilder {
  #bytes = Buffer.alloc(4096);
  #length = 0;
  #count = 0;

  get count(): number {
    return this.#count;
  }

  /** Bytes of the entries so far. */
  get sizeBytes(): number {
    return this.#length;
  }

  add(entry: FooterEntry): void {
    const name = Buffer.from(`${entry.bucket}\0${entry.key}`);
    const need = this.#length + ENTRY_BYTES + name.length;
    if (need > this.#bytes.length) {
      const larger = Buffer.alloc(Math.max(need, 2 * this.#bytes.length));
      this.#bytes.copy(larger, 0, 0, this.#length);
      this.#bytes = larger;
    }
    const view = new DataView(
      this.#bytes.buffer,
      this.#bytes.byteOffset + this.#length,
      ENTRY_BYTES,
    );
    setNumber(view, 0, entry.h);
    setNumber(view, 8, entry.h2);
    setNumber(view, 16, entry.version);
    view.setUint32(24, entry.offset / ALIGN_BYTES, true);
    view.setUint32(28, entry.length / ALIGN_BYTES, true);
    setNumber(view, 32, entry.bodyLength);
    view.setUint32(40, entry.group, true);
    view.setUint32(44, entry.shard, true);
    view.setUint32(48, name.length, true);
    name.copy(this.#bytes, this.#length + ENTRY_BYTES);
    this.#length = need;
    this.#count += 1;
  }

  /** What was added so far. */
  entries(): FooterEntry[] {
    return decodeEntries(this.#bytes.subarray(0, this.#length)) ?? [];
  }

  /** The footer in its stored form. */
  encode(nonce: number): Uint8Array {
    const footer = Buffer.alloc(this.#length + TRAILER_BYTES);
    this.#bytes.copy(footer, 0, 0, this.#length);
    const view = new DataView(footer.buffer, footer.byteOffset + this.#length, TRAILER_BYTES);
    view.setUint32(0, this.#length, true);
    setNumber(view, 4, nonce);
    view.setUint32(12, Bun.hash.crc32(footer.subarray(0, this.#length + 12)), true);
    FOOTER_MAGIC.copy(footer, this.#length + 16);
    return footer;
  }
}

/** Reads the last bytes of a segment to find its footer. */
export const FOOTER_TRAILER_BYTES = TRAILER_BYTES;

/** Bytes of the footer that ends with `trailer`, trailer included; undefined when it is none. */
export function footerBytes(trailer: Uint8Array, nonce: number): number | undefined {
  if (trailer.length !== TRAILER_BYTES) return undefined;
  if (!FOOTER_MAGIC.equals(trailer.subarray(16))) return undefined;
  const view = new DataView(trailer.buffer, trailer.byteOffset, TRAILER_BYTES);
  return getNumber(view, 4) === nonce ? view.getUint32(0, true) + TRAILER_BYTES : undefined;
}

/** The entries of a footer, undefined when it does not check. */
export function decodeFooter(footer: Uint8Array): FooterEntry[] | undefined {
  const length = footer.length - TRAILER_BYTES;
  if (length < 0) return undefined;
  const view = new DataView(footer.buffer, footer.byteOffset, footer.length);
  if (view.getUint32(length + 12, true) !== Bun.hash.crc32(footer.subarray(0, length + 12))) {
    return undefined;
  }
  return decodeEntries(footer.subarray(0, length));
}

function decodeEntries(bytes: Uint8Array): FooterEntry[] | undefined {
  const entries: FooterEntry[] = [];
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  let at = 0;
  while (at < bytes.length) {
    if (bytes.length - at < ENTRY_BYTES) return undefined;
    const view = new DataView(bytes.buffer, bytes.byteOffset + at, ENTRY_BYTES);
    const nameEnd = at + ENTRY_BYTES + view.getUint32(48, true);
    const name = text.toString("utf8", at + ENTRY_BYTES, nameEnd);
    const nul = name.indexOf("\0");
    if (nul === -1 || nameEnd > bytes.length) return undefined;
    entries.push({
      h: getNumber(view, 0),
      h2: getNumber(view, 8),
      version: getNumber(view, 16),
      offset: view.getUint32(24, true) * ALIGN_BYTES,
      length: view.getUint32(28, true) * ALIGN_BYTES,
      bodyLength: getNumber(view, 32),
      group: view.getUint32(40, true),
      shard: view.getUint32(44, true),
      bucket: name.slice(0, nul),
      key: name.slice(nul + 1),
    });
    at = nameEnd;
  }
  return entries;
}

export interface SegmentName {
  /** A stamp: larger is younger, never reused. */
  readonly id: number;
  /** A random number that every record of the segment repeats. */
  readonly nonce: number;
  /** Made of records that were moved on. */
  readonly isKept: boolean;
}

export function formatSegmentName({ id, nonce, isKept }: SegmentName): string {
  return `${id.toString(36)}-${nonce.toString(36)}-${isKept ? "k" : "f"}.seg`;
}

/** Undefined for a file that is no segment. */
export function parseSegmentName(name: string): SegmentName | undefined {
  const match = /^([0-9a-z]+)-([0-9a-z]+)-([kf])\.seg$/.exec(name);
  if (match === null) return undefined;
  const [, id = "", nonce = "", kind] = match;
  return {
    id: Number.parseInt(id, 36),
    nonce: Number.parseInt(nonce, 36),
    isKept: kind === "k",
  };
}

/** A number below 2^53 as two little-endian words. */
function setNumber(view: DataView, offset: number, value: number): void {
  view.setUint32(offset, value >>> 0, true);
  view.setUint32(offset + 4, Math.floor(value / 2 ** 32), true);
}

function getNumber(view: DataView, offset: number): number {
  return view.getUint32(offset, true) + view.getUint32(offset + 4, true) * 2 ** 32;
}
