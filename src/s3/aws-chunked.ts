/**
 * `aws-chunked`: the framing S3 clients put around a body whose hash they do not know
 * yet, with a signature per chunk, a trailing checksum, or both (S3 API Reference,
 * "Signature Calculations … Transferring Payload in Multiple Chunks" and "… Including
 * Trailing Headers").
 *
 *     body     = *( size [";chunk-signature=" hex] CRLF data CRLF )
 *                "0" [";chunk-signature=" hex] CRLF  *( name ":" value CRLF )  CRLF
 *
 * The decoder streams: a byte is handed out as soon as another one follows it, and
 * nothing is copied. The last piece is held until the last signature, the trailer, its
 * checksum and the announced length were checked, because a receiver that counts to
 * `Content-Length` would otherwise take a forged body for complete. Memory is one piece
 * of input plus a bounded line.
 *
 * SigV4A bodies (`STREAMING-AWS4-ECDSA-…`) are unframed without checking their
 * signatures; whoever accepts such a request has to refuse it first.
 */

import type { ByteSource } from "../base/byte-source.ts";
import { GatewayError } from "../base/errors.ts";
import type { Fields, RawHeaders } from "../http/fields.ts";
import {
  checksumAlgorithmOfField,
  checksumTextLength,
  createChecksum,
  encodeChecksum,
} from "./checksum.ts";
import type { Checksum, ChecksumAlgorithm } from "./checksum.ts";
import { s3Error } from "./error.ts";
import type { S3Error, S3ErrorCode } from "./error.ts";
import { ALGORITHM, EMPTY_SHA256, isSame } from "./sigv4.ts";
import type { SigningKey } from "./sigv4.ts";

/** What an `x-amz-content-sha256` of the streaming kind says about the body. */
export interface AwsChunkedVariant {
  readonly signature: "none" | "hmac" | "ecdsa";
  readonly hasTrailer: boolean;
}

/** Payload hash of an upload with unsigned chunks and a trailer: the one we produce. */
export const STREAMING_UNSIGNED_PAYLOAD_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";

const VARIANTS: ReadonlyMap<string, AwsChunkedVariant> = new Map([
  ["STREAMING-AWS4-HMAC-SHA256-PAYLOAD", { signature: "hmac", hasTrailer: false }],
  ["STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", { signature: "hmac", hasTrailer: true }],
  ["STREAMING-UNSIGNED-PAYLOAD-TRAILER", { signature: "none", hasTrailer: true }],
  ["STREAMING-UNSIGNED-PAYLOAD", { signature: "none", hasTrailer: false }],
  ["STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", { signature: "ecdsa", hasTrailer: false }],
  ["STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER", { signature: "ecdsa", hasTrailer: true }],
]);

/** The variant a payload hash announces; undefined when the body is not aws-chunked. */
export function awsChunkedVariant(payloadHash: string | undefined): AwsChunkedVariant | undefined {
  return payloadHash === undefined ? undefined : VARIANTS.get(payloadHash);
}

/** An aws-chunked body is not what it claims. Fails the body, hence the request it feeds. */
export class AwsChunkedError extends GatewayError {
  /** What to answer when nothing was sent yet. */
  readonly s3Code: S3ErrorCode;

  constructor(s3Code: S3ErrorCode, message: string) {
    super("client_body_invalid", message);
    this.name = "AwsChunkedError";
    this.s3Code = s3Code;
  }
}

/** What is needed to check chunk signatures. */
export interface ChunkSigning {
  readonly key: SigningKey;
  /** Signature of the request's header: the first link of the chain. */
  readonly seedSignature: string;
  readonly timestamp: string;
  /** `date/region/service/aws4_request`. */
  readonly scope: string;
}

export interface DecodeOptions {
  readonly variant: AwsChunkedVariant;
  /** `x-amz-decoded-content-length`; undefined accepts any length. */
  readonly decodedLengthBytes?: number | undefined;
  /** Undefined: chunk signatures are read past. Needed for `signature: "hmac"` to mean anything. */
  readonly signing?: ChunkSigning | undefined;
  /** Lower-case names announced by `x-amz-trailer`; all must arrive and no others may. */
  readonly trailerNames?: readonly string[] | undefined;
}

/** The decoded body, and the trailer once it has been read to its end. */
export interface AwsChunkedSource extends ByteSource {
  /** `[name, value, …]` as sent, without the trailer's signature; empty until `read` answered null. */
  readonly trailers: RawHeaders;
}

/** Names in an `x-amz-trailer` field, lower case. */
export function parseTrailerNames(header: string | undefined): string[] {
  if (header === undefined) return [];
  return header
    .toLowerCase()
    .split(",")
    .map((name) => name.trim())
    .filter((name) => name !== "");
}

/**
 * Length of the object a PutObject brings, in bytes, framing not counted: what S3 insists
 * on knowing beforehand. `MissingContentLength` (411) when it is not announced, as in a
 * chunked transfer; `BadContentLength` (400) when it is not a length.
 */
export function announcedLength(fields: Fields): number | S3Error {
  const isFramed = awsChunkedVariant(fields.get("x-amz-content-sha256")) !== undefined;
  const text = fields.get(isFramed ? "x-amz-decoded-content-length" : "content-length");
  if (text === undefined) return s3Error("MissingContentLength");
  return /^\d{1,15}$/.test(text) ? Number(text) : s3Error("BadContentLength");
}

// A size of 13 hex digits stays below 2^53; an extension is at most a signature.
const CHUNK_LINE =
  /^([0-9a-fA-F]{1,13})[ \t]*(?:;[ \t]*chunk-signature=([0-9a-fA-F]+)|;[!-~]*)?[ \t]*$/;
const MAX_LINE_BYTES = 1024;
const MAX_TRAILER_BYTES = 16_384;
const TRAILER_SIGNATURE = "x-amz-trailer-signature";

const NOTHING = new Uint8Array(0);

/**
 * Takes the framing off `source`. `read` rejects with `AwsChunkedError` when framing,
 * length, a signature or a trailing checksum is wrong, and then always does.
 */
export function decodeAwsChunked(source: ByteSource, options: DecodeOptions): AwsChunkedSource {
  return new Decoder(source, options);
}

class Decoder implements AwsChunkedSource {
  readonly #source: ByteSource;
  readonly #options: DecodeOptions;
  readonly #chain: SignatureChain | undefined;
  readonly #checksums = new Map<string, Checksum>();
  #trailers: RawHeaders = [];
  #input: Uint8Array = NOTHING;
  #at = 0;
  /** Data bytes of the current chunk still to come; undefined between chunks. */
  #leftInChunk: number | undefined;
  #decodedBytes = 0;
  #held: Uint8Array | undefined;
  #outcome: { readonly failure: unknown } | "complete" | undefined;

  constructor(source: ByteSource, options: DecodeOptions) {
    this.#source = source;
    this.#options = options;
    if (options.signing !== undefined && options.variant.signature === "hmac") {
      this.#chain = new SignatureChain(options.signing);
    }
    for (const name of options.trailerNames ?? []) {
      const algorithm = checksumAlgorithmOfField(name);
      if (algorithm !== undefined) this.#checksums.set(name, createChecksum(algorithm));
    }
  }

  get trailers(): RawHeaders {
    return this.#trailers;
  }

  async read(): Promise<Uint8Array | null> {
    while (this.#outcome === undefined) {
      let piece: Uint8Array | null;
      try {
        piece = await this.#nextPiece();
      } catch (failure) {
        this.#held = undefined;
        this.#outcome = { failure };
        this.#source.close();
        break;
      }
      if (piece === null) {
        this.#outcome = "complete";
        break;
      }
      const released = this.#held;
      this.#held = piece;
      if (released !== undefined) return released;
    }
    if (typeof this.#outcome === "object") throw this.#outcome.failure;
    const last = this.#held;
    this.#held = undefined;
    return last ?? null;
  }

  close(): void {
    this.#outcome ??= "complete";
    this.#held = undefined;
    this.#input = NOTHING;
    this.#source.close();
  }

  /** The next run of data as it lies in the input; null when the end was reached and checked. */
  async #nextPiece(): Promise<Uint8Array | null> {
    for (;;) {
      if (this.#leftInChunk === undefined) {
        const sizeBytes = await this.#chunkHeader();
        if (sizeBytes === 0) {
          await this.#finish();
          return null;
        }
        this.#leftInChunk = sizeBytes;
      }
      if (this.#leftInChunk > 0) return this.#dataPiece(this.#leftInChunk);
      this.#leftInChunk = undefined;
      if ((await this.#line()) !== "") {
        throw new AwsChunkedError("InvalidRequest", "a chunk is longer than its size");
      }
      this.#chain?.endChunk();
    }
  }

  async #chunkHeader(): Promise<number> {
    const match = CHUNK_LINE.exec(await this.#line());
    if (match === null) throw new AwsChunkedError("InvalidRequest", "a chunk header is malformed");
    const sizeBytes = Number.parseInt(match[1] ?? "", 16);
    this.#decodedBytes += sizeBytes;
    const limitBytes = this.#options.decodedLengthBytes ?? Number.MAX_SAFE_INTEGER;
    if (this.#decodedBytes > limitBytes) {
      throw new AwsChunkedError("IncompleteBody", "the body is longer than its decoded length");
    }
    this.#chain?.beginChunk(match[2]);
    return sizeBytes;
  }

  async #dataPiece(left: number): Promise<Uint8Array> {
    if (this.#at === this.#input.length && !(await this.#refill())) {
      throw new AwsChunkedError("IncompleteBody", "the body ends inside a chunk");
    }
    const piece = this.#input.subarray(this.#at, this.#at + left);
    this.#at += piece.length;
    this.#leftInChunk = left - piece.length;
    this.#chain?.update(piece);
    for (const checksum of this.#checksums.values()) checksum.update(piece);
    return piece;
  }

  /** Behind the chunk of size 0: its signature, then whatever HTTP still frames is the trailer. */
  async #finish(): Promise<void> {
    this.#chain?.endChunk();
    const announced = this.#options.decodedLengthBytes;
    if (announced !== undefined && this.#decodedBytes !== announced) {
      throw new AwsChunkedError("IncompleteBody", "the body is shorter than its decoded length");
    }
    const trailers = parseTrailerLines(await this.#rest());
    const { hasTrailer } = this.#options.variant;
    if (!hasTrailer && trailers.length > 0) {
      throw new AwsChunkedError(
        "MalformedTrailerError",
        "a trailer follows a body announced without one",
      );
    }
    const signatures = trailers.filter(([name]) => name === TRAILER_SIGNATURE);
    const values = trailers.filter(([name]) => name !== TRAILER_SIGNATURE);
    this.#checkAnnounced(values.map(([name]) => name));
    if (hasTrailer) this.#chain?.checkTrailer(values, signatures[0]?.[1]);
    for (const [name, value] of values) {
      const checksum = this.#checksums.get(name);
      if (checksum !== undefined && encodeChecksum(checksum.digest()) !== value) {
        throw new AwsChunkedError("BadDigest", `the ${name} you specified did not match the body`);
      }
    }
    this.#trailers = values.flat();
  }

  #checkAnnounced(names: readonly string[]): void {
    const announced = this.#options.trailerNames;
    if (announced === undefined) return;
    const isExact =
      names.length === announced.length && announced.every((name) => names.includes(name));
    if (!isExact) {
      throw new AwsChunkedError(
        "MalformedTrailerError",
        "the trailer is not the one x-amz-trailer names",
      );
    }
  }

  /** A line of framing without its CRLF. */
  async #line(): Promise<string> {
    let line = "";
    for (;;) {
      const newline = this.#input.indexOf(0x0a, this.#at);
      const end = newline === -1 ? this.#input.length : newline;
      if (line.length + end - this.#at > MAX_LINE_BYTES) {
        throw new AwsChunkedError("InvalidRequest", "a chunk header is too long");
      }
      line += asText(this.#input.subarray(this.#at, end));
      if (newline !== -1) {
        this.#at = newline + 1;
        if (line.endsWith("\r")) return line.slice(0, -1);
        throw new AwsChunkedError("InvalidRequest", "a chunk does not end with CRLF");
      }
      this.#at = end;
      if (!(await this.#refill())) {
        throw new AwsChunkedError("IncompleteBody", "the body ends before its last chunk");
      }
    }
  }

  /** Everything up to the end of the input, bounded. */
  async #rest(): Promise<string> {
    let text = "";
    for (;;) {
      if (text.length + this.#input.length - this.#at > MAX_TRAILER_BYTES) {
        throw new AwsChunkedError("MalformedTrailerError", "the trailer is too long");
      }
      text += asText(this.#input.subarray(this.#at));
      this.#at = this.#input.length;
      if (!(await this.#refill())) return text;
    }
  }

  async #refill(): Promise<boolean> {
    const input = await this.#source.read();
    this.#input = input ?? NOTHING;
    this.#at = 0;
    return input !== null;
  }
}

function asText(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1");
}

/**
 * `name:value` lines, names in lower case. Empty lines mean nothing: Amazon's own
 * example ends a trailer with `\n\r\n` and puts one before its signature.
 */
function parseTrailerLines(text: string): [string, string][] {
  const trailers: [string, string][] = [];
  for (const line of text.split(/\r?\n|\r/)) {
    if (line === "") continue;
    const colon = line.indexOf(":");
    if (colon < 1)
      throw new AwsChunkedError("MalformedTrailerError", "a trailer line is malformed");
    trailers.push([line.slice(0, colon).trim().toLowerCase(), line.slice(colon + 1).trim()]);
  }
  return trailers;
}

/** Each chunk's signature covers the one before, so chunks cannot be dropped or swapped. */
class SignatureChain {
  readonly #signing: ChunkSigning;
  #previous: string;
  #claimed = "";
  #hash: Bun.CryptoHasher | undefined;

  constructor(signing: ChunkSigning) {
    this.#signing = signing;
    this.#previous = signing.seedSignature;
  }

  beginChunk(signature: string | undefined): void {
    if (signature === undefined) {
      throw new AwsChunkedError("SignatureDoesNotMatch", "a chunk is not signed");
    }
    this.#claimed = signature.toLowerCase();
    this.#hash = new Bun.CryptoHasher("sha256");
  }

  update(bytes: Uint8Array): void {
    this.#hash?.update(bytes);
  }

  endChunk(): void {
    const hash = this.#hash?.digest("hex") ?? EMPTY_SHA256;
    this.#check(`${ALGORITHM}-PAYLOAD`, `${EMPTY_SHA256}\n${hash}`, this.#claimed);
  }

  checkTrailer(trailers: readonly (readonly [string, string])[], signature?: string): void {
    const text = trailers.map(([name, value]) => `${name}:${value}\n`).join("");
    const hash = Bun.SHA256.hash(Buffer.from(text, "latin1"), "hex");
    this.#check("AWS4-HMAC-SHA256-TRAILER", hash, signature?.toLowerCase() ?? "");
  }

  #check(kind: string, hashes: string, claimed: string): void {
    const { key, timestamp, scope } = this.#signing;
    const expected = key.sign(`${kind}\n${timestamp}\n${scope}\n${this.#previous}\n${hashes}`);
    if (!isSame(expected, claimed)) {
      throw new AwsChunkedError("SignatureDoesNotMatch", "a chunk signature does not match");
    }
    this.#previous = expected;
  }
}

export interface EncodeOptions {
  /** Exact length of the body to come. */
  readonly decodedLengthBytes: number;
  /** Asked once, after the last byte of the body was read. */
  readonly trailers: () => RawHeaders;
}

/**
 * Data bytes per chunk we write. Receivers buffer or bound chunks (MinIO: 16 MiB), and
 * S3 wants at least 8 KiB in all but the last.
 */
const CHUNK_BYTES = 1 << 20;

/**
 * Puts unsigned framing with a trailer around `source`, without buffering: the length
 * is known, so every chunk's size is too. Rejects with `AwsChunkedError` when the
 * source has another length than announced.
 */
export function encodeAwsChunked(source: ByteSource, options: EncodeOptions): ByteSource {
  const pieces = framed(source, options);
  return {
    async read() {
      const next = await pieces.next();
      return next.done === true ? null : next.value;
    },
    close() {
      source.close();
    },
  };
}

async function* framed(
  source: ByteSource,
  options: EncodeOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  let left = options.decodedLengthBytes;
  let leftInChunk = 0;
  let rest: Uint8Array = NOTHING;
  while (left > 0) {
    if (rest.length === 0) {
      const input = await source.read();
      if (input === null) throw new AwsChunkedError("IncompleteBody", "the body is too short");
      rest = input;
    }
    if (leftInChunk === 0) {
      leftInChunk = Math.min(left, CHUNK_BYTES);
      yield Buffer.from(`${leftInChunk.toString(16)}\r\n`, "latin1");
    }
    const piece = rest.subarray(0, leftInChunk);
    rest = rest.subarray(piece.length);
    leftInChunk -= piece.length;
    left -= piece.length;
    yield piece;
    if (leftInChunk === 0) yield CRLF;
  }
  if (rest.length > 0 || (await source.read()) !== null) {
    throw new AwsChunkedError("IncompleteBody", "the body is too long");
  }
  const trailers = options.trailers();
  let end = "0\r\n";
  for (let at = 0; at + 1 < trailers.length; at += 2)
    end += `${trailers[at]}:${trailers[at + 1]}\r\n`;
  yield Buffer.from(`${end}\r\n`, "latin1");
}

const CRLF = Buffer.from("\r\n", "latin1");

/**
 * Length of what `encodeAwsChunked` writes for a body with checksum trailers of these
 * names; undefined when a name is no checksum, so that its value's length is unknown.
 */
export function encodedLengthBytes(
  decodedLengthBytes: number,
  trailerNames: readonly string[],
): number | undefined {
  const fullChunks = Math.floor(decodedLengthBytes / CHUNK_BYTES);
  const lastBytes = decodedLengthBytes % CHUNK_BYTES;
  let lengthBytes = fullChunks * (CHUNK_BYTES + CHUNK_BYTES.toString(16).length + 4);
  if (lastBytes > 0) lengthBytes += lastBytes + lastBytes.toString(16).length + 4;
  lengthBytes += "0\r\n\r\n".length;
  for (const name of trailerNames) {
    const algorithm: ChecksumAlgorithm | undefined = checksumAlgorithmOfField(name);
    if (algorithm === undefined) return undefined;
    lengthBytes += name.length + checksumTextLength(algorithm) + ":\r\n".length;
  }
  return lengthBytes;
}
