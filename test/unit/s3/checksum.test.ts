// Goal: every checksum equals its published check value however the bytes are cut, and
// the multipart rules equal a computation over the whole object.
import { describe, expect, test } from "bun:test";
import {
  CHECKSUM_ALGORITHMS,
  checksumAlgorithm,
  checksumAlgorithmOfField,
  checksumField,
  checksumOf,
  checksumTextLength,
  checksumTypeFor,
  compositeChecksum,
  createChecksum,
  decodeChecksum,
  encodeChecksum,
  fullObjectChecksum,
} from "../../../src/s3/checksum.ts";
import { seededRandom } from "../../../src/base/random.ts";

const CHECK = new TextEncoder().encode("123456789");
const BODY = seededRandom(1).bytes(70_001);

// The CRC "check" values are those of the catalogue of parametrised CRC algorithms.
test.each([
  ["CRC32", "cbf43926"],
  ["CRC32C", "e3069283"],
  ["CRC64NVME", "ae8b14860a799888"],
  ["SHA1", "f7c3bc1d808e04732adf679965ccc34ca7ae3441"],
  ["SHA256", "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"],
] as const)("%s of the check string is %s", (algorithm, hex) => {
  const value = checksumOf(algorithm, CHECK);
  expect(Buffer.from(value, "base64").toString("hex")).toBe(hex);
  expect(value).toHaveLength(checksumTextLength(algorithm));
  expect(decodeChecksum(algorithm, value)?.length).toBe(hex.length / 2);
});

describe.each(CHECKSUM_ALGORITHMS)("%s", (algorithm) => {
  test.each([1, 3, 7, 8, 9, 4096])("is the same when the body comes in pieces of %d", (size) => {
    const checksum = createChecksum(algorithm);
    for (let at = 0; at < BODY.length; at += size) checksum.update(BODY.subarray(at, at + size));
    expect(encodeChecksum(checksum.digest())).toBe(checksumOf(algorithm, BODY));
  });

  test("is found by its name in any case and by its field", () => {
    expect(checksumAlgorithm(algorithm.toLowerCase())).toBe(algorithm);
    expect(checksumAlgorithmOfField(checksumField(algorithm))).toBe(algorithm);
  });

  test("refuses a wire value that is not base64 of its length", () => {
    const value = checksumOf(algorithm, BODY);
    expect(decodeChecksum(algorithm, value.slice(0, -4))).toBeUndefined();
    expect(decodeChecksum(algorithm, `${value}AAAA`)).toBeUndefined();
    expect(decodeChecksum(algorithm, value.replace(/^./, "!"))).toBeUndefined();
  });
});

test.each(["CRC32", "CRC32C", "CRC64NVME"] as const)(
  "%s of a multipart object follows from its parts alone",
  (algorithm) => {
    const cuts = [0, 1, 1, 5000, 5008, 69_999, BODY.length];
    const parts = cuts.slice(1).map((end, index) => {
      const bytes = BODY.subarray(cuts[index], end);
      return { checksum: checksumOf(algorithm, bytes), sizeBytes: bytes.length };
    });
    expect(fullObjectChecksum(algorithm, parts)).toBe(checksumOf(algorithm, BODY));
    expect(fullObjectChecksum(algorithm, [])).toBe(checksumOf(algorithm, new Uint8Array(0)));
    expect(fullObjectChecksum(algorithm, [{ checksum: "?", sizeBytes: 1 }])).toBeUndefined();
  },
);

test("a SHA has no full-object value that could be combined", () => {
  expect(fullObjectChecksum("SHA256", [])).toBeUndefined();
});

test("a composite value hashes the parts' digests and counts the parts", () => {
  const parts = [checksumOf("SHA256", CHECK), checksumOf("SHA256", BODY)];
  const digests = Buffer.concat(parts.map((part) => Buffer.from(part, "base64")));
  expect(compositeChecksum("SHA256", parts)).toBe(`${checksumOf("SHA256", digests)}-2`);
  expect(compositeChecksum("SHA256", ["not base64"])).toBeUndefined();
});

test.each([
  ["CRC32", undefined, "COMPOSITE"],
  ["CRC32C", "FULL_OBJECT", "FULL_OBJECT"],
  ["CRC64NVME", undefined, "FULL_OBJECT"],
  ["CRC64NVME", "COMPOSITE", undefined],
  ["SHA1", undefined, "COMPOSITE"],
  ["SHA256", "FULL_OBJECT", undefined],
] as const)("a multipart upload with %s asked for as %s is %s", (algorithm, asked, type) => {
  expect(checksumTypeFor(algorithm, asked)).toBe(type);
});
