// The bytes on disk: what is encoded comes back, and nothing that was changed is taken for
// valid. docs/storage-format.md describes the same formats.

import { describe, expect, test } from "bun:test";
import { seededRandom } from "../../../src/base/random.ts";
import { decodeHead, encodeHead } from "../../../src/storage/head.ts";
import { identityOf } from "../../../src/storage/identity.ts";
import {
  aligned,
  decodeFooter,
  decodeHeader,
  decodeTable,
  encodeHeader,
  encodeTable,
  FOOTER_TRAILER_BYTES,
  footerBytes,
  FooterBuilder,
  formatSegmentName,
  HEADER_BYTES,
  parseSegmentName,
  recordBytes,
  type FooterEntry,
} from "../../../src/storage/segment-format.ts";
import { metaOf } from "../../support/stored-objects.ts";

const LARGE = 2 ** 53 - 1;

const header = {
  headLength: 40,
  version: 4294967297,
  h: 2 ** 52 - 1,
  h2: 2 ** 48 - 1,
  bodyLength: 2,
  bodyCrc: 0xffffffff,
  headCrc: 1,
};

const entry: FooterEntry = {
  h: 2 ** 52 - 3,
  h2: 77,
  version: LARGE,
  offset: 64 * 1024,
  length: 128,
  bodyLength: 33,
  group: 0xfffffffe,
  shard: 255,
  bucket: "b",
  key: "ä/\0/\u{1F600}",
};

describe("record header", () => {
  test("comes back, and starts with the bytes the document shows", () => {
    const bytes = encodeHeader(header, 0x112233445566);
    expect(bytes.length).toBe(HEADER_BYTES);
    expect(Buffer.from(bytes.subarray(0, 16)).toString("hex")).toBe(
      "54524543280000000100000001000000",
    );
    expect(decodeHeader(bytes, 0, 0x112233445566)).toEqual(header);
  });

  test("of another segment, or with any bit changed, is none", () => {
    const bytes = encodeHeader(header, 5);
    expect(decodeHeader(bytes, 0, 6)).toBeUndefined();
    expect(decodeHeader(bytes.subarray(0, 60), 0, 5)).toBeUndefined();
    for (let bit = 0; bit < 8 * HEADER_BYTES; bit += 1) {
      const changed = bytes.slice();
      changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      expect(decodeHeader(changed, 0, 5)).toBeUndefined();
    }
  });

  test("lengths add up to a multiple of 64, with a checksum table for large bodies", () => {
    expect(recordBytes(40, 2)).toBe(128);
    expect(recordBytes(40, 64 * 1024)).toBe(aligned(64 + 40 + 65536));
    expect(recordBytes(40, 64 * 1024 + 1)).toBe(aligned(64 + 40 + 65537 + 8));
  });

  test("checksum tables come back", () => {
    expect([...decodeTable(encodeTable([1, 0xffffffff, 3]))]).toEqual([1, 0xffffffff, 3]);
  });
});

describe("footer", () => {
  test("comes back through its trailer", () => {
    const builder = new FooterBuilder();
    const entries = Array.from({ length: 500 }, (_, n) => ({ ...entry, h: n, key: `k${n}` }));
    for (const one of [entry, ...entries]) builder.add(one);
    expect(builder.entries()).toEqual([entry, ...entries]);
    const footer = builder.encode(99);
    const trailer = footer.slice(-FOOTER_TRAILER_BYTES);
    expect(footerBytes(trailer, 99)).toBe(footer.length);
    expect(footerBytes(trailer, 98)).toBeUndefined();
    expect(decodeFooter(footer)).toEqual([entry, ...entries]);
  });

  test("with any bit changed is none", () => {
    const builder = new FooterBuilder();
    builder.add(entry);
    const footer = builder.encode(99);
    for (let bit = 0; bit < 8 * footer.length; bit += 1) {
      const changed = footer.slice();
      changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      const found = footerBytes(changed.slice(-FOOTER_TRAILER_BYTES), 99);
      const isFound = found === footer.length && decodeFooter(changed) !== undefined;
      expect(isFound).toBe(false);
    }
  });

  test("of random bytes is none, and never an exception", () => {
    const random = seededRandom(1);
    for (let round = 0; round < 200; round += 1) {
      expect(decodeFooter(random.bytes(random.below(300)))).toBeUndefined();
    }
  });
});

describe("segment names", () => {
  test("carry id, nonce and kind", () => {
    for (const isKept of [true, false]) {
      const name = { id: LARGE, nonce: 2 ** 48 - 1, isKept };
      expect(parseSegmentName(formatSegmentName(name))).toEqual(name);
    }
    for (const other of ["", "a.seg", "a-b.seg", "probe", "a-b-x.seg", "a-b-k.seg.tmp"]) {
      expect(parseSegmentName(other)).toBeUndefined();
    }
  });
});

describe("head", () => {
  test("comes back whatever the key and the headers are", () => {
    for (const key of ["k", "", "ä\0\n", "\u{10FFFF}", '"\\', "x".repeat(1024)]) {
      const meta = metaOf({ bucket: "b", key }, 5, { lastModified: undefined, isPublic: true });
      expect(decodeHead(encodeHead(meta))).toEqual(meta);
    }
  });

  test("is nothing when it is something else", () => {
    for (const text of ["", "{}", "[]", "[1]", '["b","k","5","e",null,[],1,2,0]', "null", "["]) {
      expect(decodeHead(Buffer.from(text))).toBeUndefined();
    }
  });
});

describe("identity", () => {
  test("is exact in plain numbers and spreads over the shards", () => {
    const shards = new Set<number>();
    for (let n = 0; n < 2000; n += 1) {
      const identity = identityOf({ bucket: "b", key: `k${n}` }, 16);
      expect(Number.isSafeInteger(identity.h) && identity.h < 2 ** 52).toBe(true);
      expect(Number.isSafeInteger(identity.h2) && identity.h2 < 2 ** 48).toBe(true);
      shards.add(identity.shard);
    }
    expect(shards.size).toBe(16);
  });

  test("does not confuse the border between bucket and key", () => {
    expect(identityOf({ bucket: "a", key: "b/c" }, 16)).not.toEqual(
      identityOf({ bucket: "a/b", key: "c" }, 16),
    );
  });
});
