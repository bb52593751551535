/**
 * The checksums S3 keeps with an object: CRC32, CRC32C, CRC64NVME, SHA1, SHA256, on the
 * wire as base64 of the big-endian digest ("Checking object integrity", S3 User Guide).
 *
 * Incremental, so that a body of any size passes with flat memory. CRC32 and the SHAs
 * are native; the other two are table driven, eight bytes a step, because JavaScript
 * has no 64-bit integers that are fast. Which checksum a request must carry is decided
 * by whoever handles the request.
 */

import { crc32 } from "node:zlib";

export type ChecksumAlgorithm = "CRC32" | "CRC32C" | "CRC64NVME" | "SHA1" | "SHA256";

/** How the checksum of a multipart object relates to its parts. */
export type ChecksumType = "COMPOSITE" | "FULL_OBJECT";

/** A checksum being computed. `update` any number of times, then `digest` once. */
export interface Checksum {
  update(bytes: Uint8Array): void;
  /** Big-endian digest bytes. */
  digest(): Uint8Array;
}

interface AlgorithmFacts {
  /** Field or trailer that carries it, lower case. */
  readonly field: string;
  readonly digestBytes: number;
  /** The types S3 allows for multipart uploads; the first is its default. */
  readonly types: readonly ChecksumType[];
  readonly create: () => Checksum;
}

// Table "Using supported checksum algorithms" of the S3 User Guide.
const ALGORITHMS: Readonly<Record<ChecksumAlgorithm, AlgorithmFacts>> = {
  CRC32: {
    field: "x-amz-checksum-crc32",
    digestBytes: 4,
    types: ["COMPOSITE", "FULL_OBJECT"],
    create: nativeCrc32,
  },
  CRC32C: {
    field: "x-amz-checksum-crc32c",
    digestBytes: 4,
    types: ["COMPOSITE", "FULL_OBJECT"],
    create: crc32c,
  },
  CRC64NVME: {
    field: "x-amz-checksum-crc64nvme",
    digestBytes: 8,
    types: ["FULL_OBJECT"],
    create: crc64Nvme,
  },
  SHA1: {
    field: "x-amz-checksum-sha1",
    digestBytes: 20,
    types: ["COMPOSITE"],
    create: () => sha("sha1"),
  },
  SHA256: {
    field: "x-amz-checksum-sha256",
    digestBytes: 32,
    types: ["COMPOSITE"],
    create: () => sha("sha256"),
  },
};

export const CHECKSUM_ALGORITHMS = Object.keys(ALGORITHMS) as readonly ChecksumAlgorithm[];

/** The algorithm of that name as clients write it (`x-amz-checksum-algorithm`), any case. */
export function checksumAlgorithm(name: string): ChecksumAlgorithm | undefined {
  const upper = name.toUpperCase();
  return CHECKSUM_ALGORITHMS.find((algorithm) => algorithm === upper);
}

/** The algorithm whose value the field or trailer `lowerName` carries. */
export function checksumAlgorithmOfField(lowerName: string): ChecksumAlgorithm | undefined {
  return CHECKSUM_ALGORITHMS.find((algorithm) => ALGORITHMS[algorithm].field === lowerName);
}

/** The field (lower case) that carries values of `algorithm`. */
export function checksumField(algorithm: ChecksumAlgorithm): string {
  return ALGORITHMS[algorithm].field;
}

/** Characters of a value on the wire, padding included. */
export function checksumTextLength(algorithm: ChecksumAlgorithm): number {
  return Math.ceil(ALGORITHMS[algorithm].digestBytes / 3) * 4;
}

export function createChecksum(algorithm: ChecksumAlgorithm): Checksum {
  return ALGORITHMS[algorithm].create();
}

/** The value of a complete body, as on the wire. */
export function checksumOf(algorithm: ChecksumAlgorithm, bytes: Uint8Array): string {
  const checksum = createChecksum(algorithm);
  checksum.update(bytes);
  return encodeChecksum(checksum.digest());
}

/** Base64 of a digest, as on the wire. */
export function encodeChecksum(digest: Uint8Array): string {
  return Buffer.from(digest.buffer, digest.byteOffset, digest.length).toString("base64");
}

/** The digest of a wire value; undefined when it is not base64 of the algorithm's length. */
export function decodeChecksum(algorithm: ChecksumAlgorithm, text: string): Uint8Array | undefined {
  const digest = Buffer.from(text, "base64");
  if (digest.length !== ALGORITHMS[algorithm].digestBytes) return undefined;
  return digest.toString("base64") === text ? digest : undefined;
}

/**
 * The type of a multipart upload's checksum: the one asked for, or the algorithm's
 * default. Undefined when S3 does not offer that combination (SHA and FULL_OBJECT,
 * CRC64NVME and COMPOSITE).
 */
export function checksumTypeFor(
  algorithm: ChecksumAlgorithm,
  requested: string | undefined,
): ChecksumType | undefined {
  const { types } = ALGORITHMS[algorithm];
  if (requested === undefined) return types[0];
  return types.find((type) => type === requested);
}

/**
 * The COMPOSITE value of a multipart object: the checksum of its parts' digests in
 * order, with the number of parts (`<base64>-<count>`). Undefined when a part's value
 * cannot be read.
 */
export function compositeChecksum(
  algorithm: ChecksumAlgorithm,
  parts: readonly string[],
): string | undefined {
  const checksum = createChecksum(algorithm);
  for (const part of parts) {
    const digest = decodeChecksum(algorithm, part);
    if (digest === undefined) return undefined;
    checksum.update(digest);
  }
  return `${encodeChecksum(checksum.digest())}-${parts.length}`;
}

/**
 * The FULL_OBJECT value of a multipart object from its parts' values and sizes, without
 * reading a byte again: CRCs are linear. Undefined for SHA1 and SHA256, which are not,
 * and when a part's value cannot be read.
 */
export function fullObjectChecksum(
  algorithm: ChecksumAlgorithm,
  parts: readonly { readonly checksum: string; readonly sizeBytes: number }[],
): string | undefined {
  const polynomial = POLYNOMIALS[algorithm];
  if (polynomial === undefined) return undefined;
  const { digestBytes } = ALGORITHMS[algorithm];
  const width = BigInt(digestBytes * 8);
  let whole = 0n; // the CRC of no bytes
  for (const part of parts) {
    const digest = decodeChecksum(algorithm, part.checksum);
    if (digest === undefined) return undefined;
    const crc = BigInt(`0x${Buffer.from(digest).toString("hex")}`);
    whole = shiftedBy(whole, part.sizeBytes, polynomial, width) ^ crc;
  }
  return Buffer.from(whole.toString(16).padStart(digestBytes * 2, "0"), "hex").toString("base64");
}

// Reflected, as all three CRCs are computed. CRC-64/NVME: NVM Express NVM Command Set §5.2.1.3.4.
const CRC32_POLYNOMIAL = 0xedb88320;
const CRC32C_POLYNOMIAL = 0x82f63b78;
const CRC64_NVME_POLYNOMIAL = 0x9a6c9329ac4bc9b5n;

const POLYNOMIALS: Partial<Record<ChecksumAlgorithm, bigint>> = {
  CRC32: BigInt(CRC32_POLYNOMIAL),
  CRC32C: BigInt(CRC32C_POLYNOMIAL),
  CRC64NVME: CRC64_NVME_POLYNOMIAL,
};

/** `crc · x^(8·sizeBytes) mod polynomial`: the CRC's share after `sizeBytes` more bytes (zlib's crc32_combine). */
function shiftedBy(crc: bigint, sizeBytes: number, polynomial: bigint, width: bigint): bigint {
  const one = 1n << (width - 1n); // x^0, reflected
  let power = one;
  let square = one >> 8n; // x^8
  for (let left = sizeBytes; left > 0; left = Math.floor(left / 2)) {
    if (left % 2 === 1) power = product(power, square, polynomial, one);
    square = product(square, square, polynomial, one);
  }
  return product(power, crc, polynomial, one);
}

/** Product of two reflected polynomials modulo `polynomial`. */
function product(left: bigint, right: bigint, polynomial: bigint, one: bigint): bigint {
  let sum = 0n;
  let shifted = right;
  for (let bit = one; bit > 0n; bit >>= 1n) {
    if ((left & bit) !== 0n) sum ^= shifted;
    shifted = (shifted & 1n) === 1n ? (shifted >> 1n) ^ polynomial : shifted >> 1n;
  }
  return sum;
}

function sha(algorithm: "sha1" | "sha256"): Checksum {
  const hasher = new Bun.CryptoHasher(algorithm);
  return {
    update: (bytes) => void hasher.update(bytes),
    digest: () => hasher.digest(),
  };
}

function nativeCrc32(): Checksum {
  let crc = 0;
  return {
    update(bytes) {
      crc = crc32(bytes, crc);
    },
    digest: () => bigEndian(crc),
  };
}

function bigEndian(...words: readonly number[]): Uint8Array {
  const digest = new Uint8Array(words.length * 4);
  const view = new DataView(digest.buffer);
  words.forEach((value, index) => view.setUint32(index * 4, value >>> 0));
  return digest;
}

// Slicing-by-8: entry [k][b] at k*256+b is the CRC of byte b followed by k zero bytes.
// Built on first use: 8 and 16 KiB that most processes never need.
let crc32cTable: Uint32Array | undefined;
let crc64Tables: { readonly low: Uint32Array; readonly high: Uint32Array } | undefined;

function buildCrc32cTable(): Uint32Array {
  const table = new Uint32Array(8 * 256);
  for (let byte = 0; byte < 256; byte += 1) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit += 1) {
      crc = (crc & 1) === 1 ? (crc >>> 1) ^ CRC32C_POLYNOMIAL : crc >>> 1;
    }
    table[byte] = crc;
  }
  for (let at = 256; at < table.length; at += 1) {
    const before = table[at - 256] ?? 0;
    table[at] = (before >>> 8) ^ (table[before & 255] ?? 0);
  }
  return table;
}

function crc32c(): Checksum {
  crc32cTable ??= buildCrc32cTable();
  const table = crc32cTable;
  let crc = 0xffffffff;
  return {
    update(bytes) {
      crc = updateCrc32c(crc, bytes, table);
    },
    digest: () => bigEndian(~crc),
  };
}

function updateCrc32c(start: number, bytes: Uint8Array, table: Uint32Array): number {
  let crc = start;
  let at = 0;
  const eights = bytes.length - (bytes.length % 8);
  for (; at < eights; at += 8) {
    crc ^= word(bytes, at);
    crc =
      (table[1792 + (crc & 255)] ?? 0) ^
      (table[1536 + ((crc >>> 8) & 255)] ?? 0) ^
      (table[1280 + ((crc >>> 16) & 255)] ?? 0) ^
      (table[1024 + (crc >>> 24)] ?? 0) ^
      (table[768 + (bytes[at + 4] ?? 0)] ?? 0) ^
      (table[512 + (bytes[at + 5] ?? 0)] ?? 0) ^
      (table[256 + (bytes[at + 6] ?? 0)] ?? 0) ^
      (table[bytes[at + 7] ?? 0] ?? 0);
  }
  for (; at < bytes.length; at += 1) {
    crc = (crc >>> 8) ^ (table[(crc ^ (bytes[at] ?? 0)) & 255] ?? 0);
  }
  return crc;
}

/** Four bytes as a little-endian word. */
function word(bytes: Uint8Array, at: number): number {
  return (
    (bytes[at] ?? 0) |
    ((bytes[at + 1] ?? 0) << 8) |
    ((bytes[at + 2] ?? 0) << 16) |
    ((bytes[at + 3] ?? 0) << 24)
  );
}

function buildCrc64Tables(): { low: Uint32Array; high: Uint32Array } {
  const low = new Uint32Array(8 * 256);
  const high = new Uint32Array(8 * 256);
  const polynomialLow = Number(CRC64_NVME_POLYNOMIAL & 0xffffffffn);
  const polynomialHigh = Number(CRC64_NVME_POLYNOMIAL >> 32n);
  for (let byte = 0; byte < 256; byte += 1) {
    let crcLow = byte;
    let crcHigh = 0;
    for (let bit = 0; bit < 8; bit += 1) {
      const carry = crcLow & 1;
      crcLow = (crcLow >>> 1) | (crcHigh << 31);
      crcHigh >>>= 1;
      if (carry === 1) {
        crcLow ^= polynomialLow;
        crcHigh ^= polynomialHigh;
      }
    }
    low[byte] = crcLow;
    high[byte] = crcHigh;
  }
  for (let at = 256; at < low.length; at += 1) {
    const beforeLow = low[at - 256] ?? 0;
    const beforeHigh = high[at - 256] ?? 0;
    low[at] = ((beforeLow >>> 8) | (beforeHigh << 24)) ^ (low[beforeLow & 255] ?? 0);
    high[at] = (beforeHigh >>> 8) ^ (high[beforeLow & 255] ?? 0);
  }
  return { low, high };
}

function crc64Nvme(): Checksum {
  crc64Tables ??= buildCrc64Tables();
  const { low, high } = crc64Tables;
  const state = { low: 0xffffffff, high: 0xffffffff };
  return {
    update: (bytes) => updateCrc64(state, bytes, low, high),
    digest: () => bigEndian(~state.high, ~state.low),
  };
}

function updateCrc64(
  state: { low: number; high: number },
  bytes: Uint8Array,
  tableLow: Uint32Array,
  tableHigh: Uint32Array,
): void {
  let { low, high } = state;
  let at = 0;
  const eights = bytes.length - (bytes.length % 8);
  for (; at < eights; at += 8) {
    const first = low ^ word(bytes, at);
    const second = high ^ word(bytes, at + 4);
    const i0 = 1792 + (first & 255);
    const i1 = 1536 + ((first >>> 8) & 255);
    const i2 = 1280 + ((first >>> 16) & 255);
    const i3 = 1024 + (first >>> 24);
    const i4 = 768 + (second & 255);
    const i5 = 512 + ((second >>> 8) & 255);
    const i6 = 256 + ((second >>> 16) & 255);
    const i7 = second >>> 24;
    low =
      (tableLow[i0] ?? 0) ^
      (tableLow[i1] ?? 0) ^
      (tableLow[i2] ?? 0) ^
      (tableLow[i3] ?? 0) ^
      (tableLow[i4] ?? 0) ^
      (tableLow[i5] ?? 0) ^
      (tableLow[i6] ?? 0) ^
      (tableLow[i7] ?? 0);
    high =
      (tableHigh[i0] ?? 0) ^
      (tableHigh[i1] ?? 0) ^
      (tableHigh[i2] ?? 0) ^
      (tableHigh[i3] ?? 0) ^
      (tableHigh[i4] ?? 0) ^
      (tableHigh[i5] ?? 0) ^
      (tableHigh[i6] ?? 0) ^
      (tableHigh[i7] ?? 0);
  }
  for (; at < bytes.length; at += 1) {
    const index = (low ^ (bytes[at] ?? 0)) & 255;
    low = ((low >>> 8) | (high << 24)) ^ (tableLow[index] ?? 0);
    high = (high >>> 8) ^ (tableHigh[index] ?? 0);
  }
  state.low = low;
  state.high = high;
}
