// Goal: the decoder gives back exactly what a second, simple encoder framed, however the
// input is cut, and refuses everything that was changed on the way before its last byte
// is handed out.
import { describe, expect, test } from "bun:test";
import { bytesSource, chunksOf, readAll } from "../../../src/base/byte-source.ts";
import type { ByteSource } from "../../../src/base/byte-source.ts";
import { seededRandom } from "../../../src/base/random.ts";
import { Fields } from "../../../src/http/fields.ts";
import {
  AwsChunkedError,
  announcedLength,
  awsChunkedVariant,
  decodeAwsChunked,
  encodeAwsChunked,
  encodedLengthBytes,
  parseTrailerNames,
} from "../../../src/s3/aws-chunked.ts";
import type { AwsChunkedVariant, DecodeOptions } from "../../../src/s3/aws-chunked.ts";
import { checksumOf } from "../../../src/s3/checksum.ts";
import { SigningKey, deriveSigningKey } from "../../../src/s3/sigv4.ts";
import { chunkedBody, piecesOf } from "../../support/aws-chunked.ts";

const KEY = deriveSigningKey("client_secret", "20260724", "auto");
const CHAIN = {
  seedSignature: "0".repeat(64),
  timestamp: "20260724T000000Z",
  scope: "20260724/auto/s3/aws4_request",
};
const SIGNING = { key: new SigningKey(KEY), ...CHAIN };
const SLOW_SIGNING = { key: KEY, ...CHAIN };
const TEXT = "Hello, aws-chunked world";
const CRC = ["x-amz-checksum-crc32c", checksumOf("CRC32C", Buffer.from(TEXT))] as const;

function variant(signature: "none" | "hmac", hasTrailer: boolean): AwsChunkedVariant {
  return { signature, hasTrailer };
}

async function decode(body: Uint8Array, options: DecodeOptions, pieceBytes = 7): Promise<string> {
  const source = decodeAwsChunked(bytesSource(...piecesOf(body, pieceBytes)), options);
  return Buffer.from(await readAll(source, 1 << 20)).toString("latin1");
}

async function problemOf(body: Uint8Array | string, options: DecodeOptions): Promise<string> {
  const source = decodeAwsChunked(bytesSource(...piecesOf(Buffer.from(body), 5)), options);
  try {
    await readAll(source, 1 << 20);
  } catch (error) {
    expect(error).toBeInstanceOf(AwsChunkedError);
    return (error as AwsChunkedError).s3Code;
  }
  return "accepted";
}

async function failureOf(work: Promise<unknown>): Promise<unknown> {
  try {
    await work;
  } catch (error) {
    return error;
  }
  return undefined;
}

const VARIANTS: [string, Uint8Array, DecodeOptions][] = [
  [
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
    chunkedBody({ chunks: [TEXT.slice(0, 9), TEXT.slice(9)], signing: SLOW_SIGNING }),
    { variant: variant("hmac", false), signing: SIGNING },
  ],
  [
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
    chunkedBody({ chunks: [TEXT], signing: SLOW_SIGNING, trailers: [CRC] }),
    { variant: variant("hmac", true), signing: SIGNING, trailerNames: [CRC[0]] },
  ],
  [
    "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
    chunkedBody({ chunks: [TEXT.slice(0, 1), TEXT.slice(1)], trailers: [CRC] }),
    { variant: variant("none", true), trailerNames: [CRC[0]] },
  ],
];

describe.each(VARIANTS)("%s", (name, body, options) => {
  const exact = { ...options, decodedLengthBytes: TEXT.length };

  test("is told by its payload hash", () => {
    expect(awsChunkedVariant(name)).toEqual(options.variant);
  });

  test.each([1, 2, 7, 64, 4096])("is decoded from pieces of %d bytes", async (pieceBytes) => {
    expect(await decode(body, exact, pieceBytes)).toBe(TEXT);
  });

  test("hands out its trailer after the end", async () => {
    const source = decodeAwsChunked(bytesSource(body), exact);
    expect(source.trailers).toEqual([]);
    await readAll(source, 1000);
    expect(source.trailers).toEqual(options.variant.hasTrailer ? CRC : []);
    expect(await source.read()).toBeNull();
  });

  test("is refused when it is cut anywhere before its closing chunk", async () => {
    const closing = Buffer.from(body).lastIndexOf("\r\n0");
    for (let length = 0; length < closing + 4; length += 1) {
      expect(await problemOf(body.subarray(0, length), exact)).not.toBe("accepted");
    }
  });

  test("is refused when a byte of its data is changed, before the last byte went out", async () => {
    const changed = Uint8Array.from(body);
    const at = Buffer.from(body).indexOf("world");
    changed[at] = (changed[at] ?? 0) ^ 1;
    const source = decodeAwsChunked(bytesSource(...piecesOf(changed, 3)), exact);
    let receivedBytes = 0;
    const reading = (async () => {
      for await (const chunk of chunksOf(source)) receivedBytes += chunk.length;
    })();
    expect(await failureOf(reading)).toBeInstanceOf(AwsChunkedError);
    expect(receivedBytes).toBeLessThan(TEXT.length);
    expect(await failureOf(source.read())).toBeInstanceOf(AwsChunkedError);
  });

  test("is refused when its length is not the announced one", async () => {
    const length = TEXT.length;
    expect(await problemOf(body, { ...options, decodedLengthBytes: length - 1 })).toBe(
      "IncompleteBody",
    );
    expect(await problemOf(body, { ...options, decodedLengthBytes: length + 1 })).toBe(
      "IncompleteBody",
    );
  });
});

test("an empty body is a closing chunk alone, signed or not", async () => {
  const signed = chunkedBody({ chunks: [], signing: SLOW_SIGNING });
  expect(await decode(signed, { variant: variant("hmac", false), signing: SIGNING })).toBe("");
  expect(await decode(Buffer.from("0\r\n\r\n"), { variant: variant("none", false) })).toBe("");
});

test("a signed body cannot lose, swap or gain chunks", async () => {
  const options = { variant: variant("hmac", false), signing: SIGNING };
  const body = Buffer.from(chunkedBody({ chunks: ["aaaa", "bbbb"], signing: SLOW_SIGNING }));
  const second = body.indexOf("4;chunk", 5);
  const closing = body.indexOf("0;chunk", second + 80);
  const [a, b, end] = [
    body.subarray(0, second),
    body.subarray(second, closing),
    body.subarray(closing),
  ];
  expect(await problemOf(Buffer.concat([a, b, end]), options)).toBe("accepted");
  expect(await problemOf(Buffer.concat([b, a, end]), options)).toBe("SignatureDoesNotMatch");
  expect(await problemOf(Buffer.concat([a, end]), options)).toBe("SignatureDoesNotMatch");
  expect(await problemOf(Buffer.concat([a, a, b, end]), options)).toBe("SignatureDoesNotMatch");
  expect(await problemOf("4\r\naaaa\r\n0\r\n\r\n", options)).toBe("SignatureDoesNotMatch");
});

test("a signed trailer is refused when it, its signature or its key differs", async () => {
  const options = { variant: variant("hmac", true), signing: SIGNING, trailerNames: ["x-note"] };
  const make = (value: string): Buffer =>
    Buffer.from(
      chunkedBody({ chunks: ["a"], signing: SLOW_SIGNING, trailers: [["x-note", value]] }),
    );
  const good = make("one").toString("latin1");
  expect(await problemOf(good, options)).toBe("accepted");
  expect(await problemOf(good.replace("one", "two"), options)).toBe("SignatureDoesNotMatch");
  const unsigned = good.replace(/x-amz-trailer-signature.*\r\n/, "");
  expect(await problemOf(unsigned, options)).toBe("SignatureDoesNotMatch");
});

test("Amazon's published example of signed chunks with a trailer verifies", async () => {
  // S3 API Reference, "Signature calculations for trailing headers", its numbers and line ends.
  const body = [
    "10000;chunk-signature=b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2\r\n",
    "a".repeat(65_536),
    "\r\n400;chunk-signature=1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7\r\n",
    "a".repeat(1024),
    "\r\n0;chunk-signature=2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992\r\n",
    "x-amz-checksum-crc32c:sOO8/Q==\n\r\n",
    "x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n",
  ].join("");
  const key = deriveSigningKey("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "20130524", "us-east-1");
  const decoded = await decode(
    Buffer.from(body),
    {
      variant: variant("hmac", true),
      decodedLengthBytes: 66_560,
      trailerNames: ["x-amz-checksum-crc32c"],
      signing: {
        key: new SigningKey(key),
        seedSignature: "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
        timestamp: "20130524T000000Z",
        scope: "20130524/us-east-1/s3/aws4_request",
      },
    },
    1000,
  );
  expect(decoded).toBe("a".repeat(66_560));
});

const PLAIN = { variant: variant("none", true) };
test.each([
  ["nothing at all", "", "IncompleteBody"],
  ["a negative size", "-1\r\n\r\n", "InvalidRequest"],
  ["a size beyond 2^52", "fffffffffffffff\r\n", "InvalidRequest"],
  ["a size that is no number", "xyz\r\n", "InvalidRequest"],
  ["an empty header line", "\r\n", "InvalidRequest"],
  ["a bare LF", "1\na\r\n0\r\n\r\n", "InvalidRequest"],
  ["a chunk longer than its size", "1\r\nab\r\n0\r\n\r\n", "InvalidRequest"],
  ["a header line without end", "1".repeat(5000), "InvalidRequest"],
  ["a trailer line without a colon", "0\r\nnonsense\r\n\r\n", "MalformedTrailerError"],
  ["a trailer that is too long", `0\r\nx:${"y".repeat(20_000)}\r\n`, "MalformedTrailerError"],
  ["a closing chunk and the end of input", "0\r\n", "accepted"],
  ["an unknown chunk extension", "1;foo=bar\r\na\r\n0\r\n\r\n", "accepted"],
])("%s: %p is %s", async (_why, body, problem) => {
  expect(await problemOf(body, PLAIN)).toBe(problem);
});

test("a trailer has to be the announced one, and right", async () => {
  const announced = { ...PLAIN, trailerNames: ["x-amz-checksum-crc32"] };
  const right = checksumOf("CRC32", Buffer.from("a"));
  const body = (trailer: string): string => `1\r\na\r\n0\r\n${trailer}\r\n`;
  expect(await problemOf(body(`x-amz-checksum-crc32:${right}\r\n`), announced)).toBe("accepted");
  expect(await problemOf(body(`X-Amz-Checksum-CRC32: ${right} \r\n`), announced)).toBe("accepted");
  expect(await problemOf(body("x-amz-checksum-crc32:AAAAAA==\r\n"), announced)).toBe("BadDigest");
  expect(await problemOf(body(""), announced)).toBe("MalformedTrailerError");
  expect(await problemOf(body("x-amz-checksum-sha1:abc\r\n"), announced)).toBe(
    "MalformedTrailerError",
  );
  const none = { variant: variant("none", false) };
  expect(await problemOf(body("x:y\r\n"), none)).toBe("MalformedTrailerError");
});

test("names in x-amz-trailer are separated by commas and lower-cased", () => {
  expect(parseTrailerNames(" X-Amz-Checksum-CRC32 ,x-b,")).toEqual(["x-amz-checksum-crc32", "x-b"]);
  expect(parseTrailerNames(undefined)).toEqual([]);
});

test("a payload hash that is no streaming constant is not aws-chunked", () => {
  expect(awsChunkedVariant("UNSIGNED-PAYLOAD")).toBeUndefined();
  expect(awsChunkedVariant(undefined)).toBeUndefined();
  expect(awsChunkedVariant("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER")).toEqual({
    signature: "ecdsa",
    hasTrailer: true,
  });
});

test("a failing or closed source fails or ends the body, and closing reaches it", async () => {
  let isClosed = false;
  const failing: ByteSource = {
    read: async () => {
      throw new Error("socket gone");
    },
    close: () => {
      isClosed = true;
    },
  };
  const source = decodeAwsChunked(failing, PLAIN);
  expect(await failureOf(source.read())).toEqual(new Error("socket gone"));
  expect(isClosed).toBe(true);

  const closed = decodeAwsChunked(bytesSource(Buffer.from("1\r\na\r\n0\r\n\r\n")), PLAIN);
  closed.close();
  expect(await closed.read()).toBeNull();
});

describe("the encoder", () => {
  test.each([0, 1, 1000, 1 << 20, (1 << 20) + 1, 3_000_000])(
    "frames %d bytes so that they decode again, with the length it promised",
    async (sizeBytes) => {
      const body = seededRandom(sizeBytes).bytes(sizeBytes);
      const crc = checksumOf("CRC64NVME", body);
      const names = ["x-amz-checksum-crc64nvme"];
      const encoded = await readAll(
        encodeAwsChunked(bytesSource(...piecesOf(body, 70_000)), {
          decodedLengthBytes: sizeBytes,
          trailers: () => ["x-amz-checksum-crc64nvme", crc],
        }),
        1 << 23,
      );
      expect(encodedLengthBytes(sizeBytes, names)).toBe(encoded.length);
      const decoded = decodeAwsChunked(bytesSource(encoded), {
        ...PLAIN,
        decodedLengthBytes: sizeBytes,
        trailerNames: names,
      });
      expect(Buffer.compare(await readAll(decoded, 1 << 23), body)).toBe(0);
    },
  );

  test.each([3, 5])("refuses a body of 4 bytes announced as %d", async (decodedLengthBytes) => {
    const source = encodeAwsChunked(bytesSource(Buffer.from("abcd")), {
      decodedLengthBytes,
      trailers: () => [],
    });
    expect(await failureOf(readAll(source, 1000))).toBeInstanceOf(AwsChunkedError);
  });

  test("cannot promise a length for a trailer that is no checksum", () => {
    expect(encodedLengthBytes(10, ["x-note"])).toBeUndefined();
  });
});

test.each([
  ["a plain length", ["Content-Length", "12"], 12],
  ["zero", ["Content-Length", "0"], 0],
  ["nothing, as in a chunked transfer", ["Transfer-Encoding", "chunked"], "MissingContentLength"],
  ["a negative length", ["Content-Length", "-1"], "BadContentLength"],
  [
    "the decoded length of a framed body",
    [
      "x-amz-content-sha256",
      "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
      "x-amz-decoded-content-length",
      "5",
      "Content-Length",
      "60",
    ],
    5,
  ],
  [
    "a framed body without its decoded length",
    ["x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "Content-Length", "60"],
    "MissingContentLength",
  ],
])("the object's length is announced by %s", (_why, headers, expected) => {
  const length = announcedLength(new Fields(headers));
  expect(typeof length === "number" ? length : length.code).toBe(expected as never);
});
