// Goal: no body of a stranger makes the decoder throw anything but its own error, hang, grow or
// hand out a complete body that is not the one that was signed.
// Method: random framing from the grammar's own pieces, valid bodies cut anywhere, and valid
// signed bodies with a byte changed.

import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { bytesSource } from "../../src/base/byte-source.ts";
import {
  AwsChunkedError,
  decodeAwsChunked,
  encodeAwsChunked,
  encodedLengthBytes,
} from "../../src/s3/aws-chunked.ts";
import type { DecodeOptions } from "../../src/s3/aws-chunked.ts";
import { checksumOf } from "../../src/s3/checksum.ts";
import { SigningKey, deriveSigningKey } from "../../src/s3/sigv4.ts";
import { chunkedBody } from "../support/aws-chunked.ts";
import { FUZZ_TIMEOUT_MS, effort } from "./effort.ts";

const KEY = deriveSigningKey("client_secret", "20260724", "auto");
const CHAIN = {
  seedSignature: "0".repeat(64),
  timestamp: "20260724T000000Z",
  scope: "20260724/auto/s3/aws4_request",
};
const SIGNED: DecodeOptions = {
  variant: { signature: "hmac", hasTrailer: true },
  signing: { key: new SigningKey(KEY), ...CHAIN },
};
const UNSIGNED: DecodeOptions = { variant: { signature: "none", hasTrailer: true } };

/** `bytes` cut at the given places. */
function cut(bytes: Uint8Array, places: readonly number[]): Uint8Array[] {
  const sorted = places.map((place) => place % (bytes.length + 1)).toSorted((a, b) => a - b);
  return [...sorted, bytes.length].map((end, index) => bytes.subarray(sorted[index - 1] ?? 0, end));
}

type Outcome =
  | { readonly kind: "complete"; readonly bytes: Buffer }
  | { readonly kind: "broken"; readonly receivedBytes: number };

async function decode(pieces: readonly Uint8Array[], options: DecodeOptions): Promise<Outcome> {
  const source = decodeAwsChunked(bytesSource(...pieces), options);
  const received: Uint8Array[] = [];
  try {
    for (;;) {
      const piece = await source.read();
      if (piece === null) return { kind: "complete", bytes: Buffer.concat(received) };
      expect(piece.length).toBeGreaterThan(0);
      received.push(piece);
    }
  } catch (error) {
    expect(error).toBeInstanceOf(AwsChunkedError);
    return { kind: "broken", receivedBytes: received.reduce((sum, one) => sum + one.length, 0) };
  } finally {
    source.close();
  }
}

const bodies = fc.array(fc.uint8Array({ minLength: 1, maxLength: 40 }), { maxLength: 6 });
const cuts = fc.array(fc.nat(2000), { maxLength: 8 });

test(
  "framing of a stranger ends in a body or in an error of ours, never longer than it was",
  async () => {
    const piece = fc.oneof(
      fc.constantFrom(
        "0",
        "1",
        "5",
        "a",
        "ffffffff",
        "fffffffffffff",
        "-1",
        "\r\n",
        "\n",
        "\r",
        ";",
        ";chunk-signature=",
        "0".repeat(64),
        "hello",
        "x-amz-checksum-crc32:",
        "AAAAAA==",
        "x-amz-trailer-signature:",
        ":",
        "0\r\n\r\n",
        "5\r\nhello\r\n",
      ),
      fc.string({ unit: "binary", maxLength: 4 }),
    );
    const framings = fc.array(piece, { maxLength: 20 }).map((parts) => Buffer.from(parts.join("")));
    const options = fc.constantFrom<DecodeOptions>(
      SIGNED,
      UNSIGNED,
      { ...UNSIGNED, decodedLengthBytes: 5 },
      { ...UNSIGNED, trailerNames: ["x-amz-checksum-crc32"] },
      { variant: { signature: "ecdsa", hasTrailer: false } },
    );
    await fc.assert(
      fc.asyncProperty(framings, cuts, options, async (framing, places, chosen) => {
        const outcome = await decode(cut(framing, places), chosen);
        if (outcome.kind === "broken") return;
        expect(outcome.bytes.length).toBeLessThan(framing.length);
        if (chosen.decodedLengthBytes !== undefined) expect(outcome.bytes.length).toBe(5);
      }),
      effort(),
    );
  },
  FUZZ_TIMEOUT_MS,
);

test(
  "a right body is decoded however it is chunked and cut, signed or not",
  async () => {
    await fc.assert(
      fc.asyncProperty(bodies, cuts, fc.boolean(), async (chunks, places, isSigned) => {
        const whole = Buffer.concat(chunks);
        const trailer = ["x-amz-checksum-crc32c", checksumOf("CRC32C", whole)] as const;
        const framed = chunkedBody({
          chunks,
          trailers: [trailer],
          ...(isSigned ? { signing: { key: KEY, ...CHAIN } } : {}),
        });
        const outcome = await decode(cut(framed, places), {
          ...(isSigned ? SIGNED : UNSIGNED),
          decodedLengthBytes: whole.length,
          trailerNames: [trailer[0]],
        });
        if (outcome.kind !== "complete") throw new Error("a right body was refused");
        expect(Buffer.compare(outcome.bytes, whole)).toBe(0);
      }),
      effort(0.25),
    );
  },
  FUZZ_TIMEOUT_MS,
);

test(
  "a signed body with any byte changed is refused before its last byte, or means the same",
  async () => {
    await fc.assert(
      fc.asyncProperty(
        bodies,
        cuts,
        fc.nat(),
        fc.integer({ min: 1, max: 255 }),
        async (chunks, places, at, flip) => {
          const whole = Buffer.concat(chunks);
          const framed = Uint8Array.from(
            chunkedBody({ chunks, signing: { key: KEY, ...CHAIN }, trailers: [] }),
          );
          const position = at % framed.length;
          framed[position] = (framed[position] ?? 0) ^ flip;
          const options = { ...SIGNED, decodedLengthBytes: whole.length };
          const outcome = await decode(cut(framed, places), options);
          if (outcome.kind === "complete") expect(Buffer.compare(outcome.bytes, whole)).toBe(0);
          else if (whole.length > 0) expect(outcome.receivedBytes).toBeLessThan(whole.length);
        },
      ),
      effort(0.5),
    );
  },
  FUZZ_TIMEOUT_MS,
);

test(
  "what we encode we decode, and its length is the one we promised",
  async () => {
    await fc.assert(
      fc.asyncProperty(bodies, cuts, async (chunks, places) => {
        const whole = Buffer.concat(chunks);
        const names = ["x-amz-checksum-sha1"];
        const trailers = ["x-amz-checksum-sha1", checksumOf("SHA1", whole)];
        const source = encodeAwsChunked(bytesSource(...chunks), {
          decodedLengthBytes: whole.length,
          trailers: () => trailers,
        });
        const encoded: Uint8Array[] = [];
        for (let piece = await source.read(); piece !== null; piece = await source.read()) {
          encoded.push(piece);
        }
        const framed = Buffer.concat(encoded);
        expect(encodedLengthBytes(whole.length, names)).toBe(framed.length);
        const outcome = await decode(cut(framed, places), { ...UNSIGNED, trailerNames: names });
        if (outcome.kind !== "complete") throw new Error("our own framing was refused");
        expect(Buffer.compare(outcome.bytes, whole)).toBe(0);
      }),
      effort(0.25),
    );
  },
  FUZZ_TIMEOUT_MS,
);
