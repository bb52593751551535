/**
 * What a client's request keeps when the gateway signs it anew (signing mode).
 *
 * - Headers: an allow list of what S3 acts on. The rest may be the client's network's
 *   business (cookies, forwarding, encodings) and is not ours to put our signature near.
 * - Query: everything but a presigned URL's own parameters. `x-amz-*` headers that a
 *   presigner moved into the query go back to being headers, since S3 honours them
 *   there only under a presigned signature.
 * - Body: as it is, when its hash is signed or waived. aws-chunked framing is signed
 *   with the client's key, so it is checked and taken off; a body with a trailing
 *   checksum gets new, unsigned framing, because the checksum is known only at its end.
 */

import type { ByteSource } from "../base/byte-source.ts";
import type { Inbound } from "../http/exchange.ts";
import type { Fields, RawHeaders } from "../http/fields.ts";
import { decodePercent, encodeQueryComponent } from "../http/raw-target.ts";
import type { RawTarget } from "../http/raw-target.ts";
import {
  STREAMING_UNSIGNED_PAYLOAD_TRAILER,
  announcedLength,
  awsChunkedVariant,
  decodeAwsChunked,
  encodeAwsChunked,
  encodedLengthBytes,
  parseTrailerNames,
} from "../s3/aws-chunked.ts";
import type { AwsChunkedVariant } from "../s3/aws-chunked.ts";
import { s3Error } from "../s3/error.ts";
import type { S3Error } from "../s3/error.ts";
import { EMPTY_SHA256, PRESIGNED_PARAMETERS, UNSIGNED_PAYLOAD } from "../s3/sigv4.ts";
import type { SignatureClaim } from "../s3/sigv4.ts";
import type { Principal } from "./principal.ts";
import { isProxyField } from "./proxy-headers.ts";

const FORWARDED: ReadonlySet<string> = new Set([
  "content-type",
  "content-disposition",
  "content-language",
  "content-md5",
  "cache-control",
  "expires",
  "range",
  "if-match",
  "if-none-match",
  "if-modified-since",
  "if-unmodified-since",
  "if-range",
  // Cross-origin rules are the bucket's: upstream answers to these.
  "origin",
  "access-control-request-method",
  "access-control-request-headers",
]);

/** `x-amz-*` fields that describe the client's signature or framing rather than the request. */
const REPLACED: ReadonlySet<string> = new Set([
  "x-amz-date",
  "x-amz-content-sha256",
  "x-amz-security-token",
  "x-amz-decoded-content-length",
  "x-amz-trailer",
]);

/**
 * The client's fields that go upstream, in their order and spelling, with what a
 * presigned URL had in its query. Fields of the body's framing come from `payloadFor`.
 */
export function forwardableHeaders(
  fields: Fields,
  claim: SignatureClaim | undefined,
  hoisted: RawHeaders,
): string[] {
  const { raw } = fields;
  const headers: string[] = [];
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const name = raw[at] ?? "";
    const lower = name.toLowerCase();
    if (isForwarded(lower) && !isAddedByHolder(lower, claim)) headers.push(name, raw[at + 1] ?? "");
  }
  for (let at = 0; at + 1 < hoisted.length; at += 2) {
    const name = hoisted[at] ?? "";
    if (isForwarded(name) && !fields.has(name)) headers.push(name, hoisted[at + 1] ?? "");
  }
  return headers;
}

/**
 * Whoever was handed a presigned URL must not turn it into something else: under our
 * signature a Tigris field (a rename, a region) would look like the signer's wish.
 * Unsigned `x-amz-*` were refused already.
 */
function isAddedByHolder(lowerName: string, claim: SignatureClaim | undefined): boolean {
  if (claim?.form !== "presigned" || claim.signedHeaders.includes(lowerName)) return false;
  return lowerName.startsWith("x-tigris-") || lowerName.startsWith("tigris-");
}

function isForwarded(lowerName: string): boolean {
  if (FORWARDED.has(lowerName)) return true;
  if (lowerName.startsWith("x-amz-")) return !REPLACED.has(lowerName);
  if (lowerName.startsWith("x-tigris-")) return !isProxyField(lowerName);
  return lowerName.startsWith("tigris-");
}

export interface QueryToForward {
  /** Encoded by the S3 rule, so that whoever checks the signature over it sees one spelling. */
  readonly rawQuery: string;
  /** `[lower-case name, value, …]` of headers found in the query. */
  readonly hoisted: RawHeaders;
}

// A header value that came in through a query must not be able to end the header.
const PRINTABLE = /^[\t\x20-\x7e]*$/;

/**
 * The query without the client's signature.
 *
 * @param isPreflight it asks about a presigned request: what belongs to that one's signature
 *                    is nobody's proof here, and goes
 */
export function queryWithoutSignature(
  target: RawTarget,
  claim: SignatureClaim | undefined,
  isPreflight = false,
): QueryToForward {
  const isPresigned = claim?.form === "presigned" || isPreflight;
  const pairs: string[] = [];
  const hoisted: string[] = [];
  for (const { name, value, hasEquals } of target.query) {
    if (isPresigned && PRESIGNED_PARAMETERS.includes(name)) continue;
    const lower = name.toLowerCase();
    if (isPresigned && lower.startsWith("x-amz-") && PRINTABLE.test(value)) {
      hoisted.push(lower, value);
      continue;
    }
    const encoded = encodeQueryComponent(name);
    pairs.push(hasEquals ? `${encoded}=${encodeQueryComponent(value)}` : encoded);
  }
  return { rawQuery: pairs.join("&"), hoisted };
}

/**
 * The buckets a copy reads from, named in headers or hoisted into the query; empty when
 * the request copies nothing. More than one is nonsense, but whichever upstream would
 * pick, the client must be allowed to read it.
 */
export function copySourceBuckets(fields: Fields, target: RawTarget): string[] {
  const sources = [...fields.all("x-amz-copy-source")];
  for (const { name, value } of target.query) {
    if (name.toLowerCase() === "x-amz-copy-source") sources.push(value);
  }
  return sources
    .filter((source) => source !== "")
    .map((source) => /^\/?([^/]*)/.exec(decodePercent(source) ?? source)?.[1] ?? "");
}

export interface Payload {
  /** Framing and content coding of the body as it goes upstream. */
  readonly headers: RawHeaders;
  readonly payloadHash: string;
  readonly body: ByteSource | null;
}

/** The body to send and how it is announced. An error: it cannot be sent at all. */
export function payloadFor(inbound: Inbound, who: Principal): Payload | S3Error {
  const { fields, body } = inbound;
  const payloadHash = who.kind === "valid" ? who.claim.payloadHash : UNSIGNED_PAYLOAD;
  const variant =
    awsChunkedVariant(fields.get("x-amz-content-sha256")) ?? awsChunkedVariant(payloadHash);
  if (variant !== undefined) return streamingPayload(inbound, who, variant);
  if (payloadHash !== UNSIGNED_PAYLOAD && !/^[0-9a-f]{64}$/.test(payloadHash)) {
    return s3Error("InvalidArgument", {
      message:
        "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, a STREAMING- constant or a SHA-256 in hex",
      details: { ArgumentName: "x-amz-content-sha256", ArgumentValue: payloadHash },
    });
  }
  const headers: string[] = [];
  const length = fields.get("content-length");
  if (length !== undefined) headers.push("Content-Length", length);
  for (const coding of fields.all("content-encoding")) headers.push("Content-Encoding", coding);
  return { headers, payloadHash, body };
}

function streamingPayload(
  inbound: Inbound,
  who: Principal,
  variant: AwsChunkedVariant,
): Payload | S3Error {
  const { fields, body } = inbound;
  if (variant.signature === "ecdsa") {
    return s3Error("NotImplemented", { message: "SigV4A chunk signatures are not supported" });
  }
  const decodedLengthBytes = announcedLength(fields);
  if (typeof decodedLengthBytes !== "number") return decodedLengthBytes;
  const claim = who.kind === "valid" ? who.claim : undefined;
  // Chunks are signed from the request's own signature on, which a presigned URL does not have.
  if (variant.signature === "hmac" && claim?.form !== "header")
    return s3Error("SignatureDoesNotMatch");

  const trailerNames = variant.hasTrailer ? parseTrailerNames(fields.list("x-amz-trailer")) : [];
  const codings = otherCodings(fields);
  if (body === null) {
    if (decodedLengthBytes > 0) return s3Error("IncompleteBody");
    return { headers: ["Content-Length", "0", ...codings], payloadHash: EMPTY_SHA256, body };
  }
  const decoded = decodeAwsChunked(body, {
    variant,
    decodedLengthBytes,
    trailerNames,
    signing:
      claim === undefined || who.kind !== "valid"
        ? undefined
        : {
            key: who.key,
            seedSignature: claim.signature,
            timestamp: claim.timestamp,
            scope: claim.scope,
          },
  });
  if (trailerNames.length === 0) {
    return {
      headers: ["Content-Length", String(decodedLengthBytes), ...codings],
      payloadHash: UNSIGNED_PAYLOAD,
      body: decoded,
    };
  }
  const lengthBytes = encodedLengthBytes(decodedLengthBytes, trailerNames);
  const [, coding] = codings;
  return {
    headers: [
      "Content-Encoding",
      coding === undefined ? "aws-chunked" : `aws-chunked,${coding}`,
      ...(lengthBytes === undefined ? [] : ["Content-Length", String(lengthBytes)]),
      "X-Amz-Decoded-Content-Length",
      String(decodedLengthBytes),
      "X-Amz-Trailer",
      trailerNames.join(","),
    ],
    payloadHash: STREAMING_UNSIGNED_PAYLOAD_TRAILER,
    body: encodeAwsChunked(decoded, { decodedLengthBytes, trailers: () => decoded.trailers }),
  };
}

/** Content-Encoding without the token `aws-chunked`: what the object itself is encoded with. */
function otherCodings(fields: Fields): string[] {
  const codings = fields
    .all("content-encoding")
    .flatMap((value) => value.split(","))
    .map((coding) => coding.trim())
    .filter((coding) => coding !== "" && coding.toLowerCase() !== "aws-chunked");
  return codings.length === 0 ? [] : ["Content-Encoding", codings.join(",")];
}
