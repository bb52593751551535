/**
 * What the headers of a request say about its body: framing, length, and the hashes
 * and checksums it has to have. Nothing of the body is read here.
 */

import { type ByteSource, bytesSource } from "../base/byte-source.ts";
import {
  type AwsChunkedSource,
  awsChunkedVariant,
  decodeAwsChunked,
  parseTrailerNames,
} from "../s3/aws-chunked.ts";
import {
  CHECKSUM_ALGORITHMS,
  type ChecksumAlgorithm,
  checksumAlgorithm,
  checksumAlgorithmOfField,
  checksumField,
  decodeChecksum,
} from "../s3/checksum.ts";
import { isS3Error, type S3Error, s3Error } from "../s3/error.ts";
import type { ServiceCall } from "./call.ts";

/** What is known of a body before it comes. */
export interface Announcement {
  /** Undefined: the end of the source is the end of the body. */
  readonly lengthBytes?: number | undefined;
  /** Base64. */
  readonly md5?: string | undefined;
  /** Hex SHA-256 out of the signature. */
  readonly sha256?: string | undefined;
  readonly checksum?: ChecksumAnnouncement | undefined;
}

export interface AnnouncedBody extends Announcement {
  readonly source: ByteSource;
}

export type ChecksumAnnouncement =
  | { readonly kind: "header"; readonly algorithm: ChecksumAlgorithm; readonly value: string }
  /** The decoder verifies it and hands it out at the end. */
  | {
      readonly kind: "trailer";
      readonly algorithm: ChecksumAlgorithm;
      readonly source: AwsChunkedSource;
    }
  /** To be computed here. */
  | { readonly kind: "wanted"; readonly algorithm: ChecksumAlgorithm };

/**
 * What `x-amz-checksum-…` headers speak of: the body, or (with CompleteMultipartUpload,
 * whose body is a list) the object, and then they are none of the body's business.
 */
export type ChecksumMeaning = "body-checksum" | "object-checksum";

/**
 * Reads the headers that describe the body of this call.
 *
 * @param wanted algorithm to compute when the client sends no checksum of its own
 */
export function announcedBody(
  call: ServiceCall,
  wanted: ChecksumAlgorithm | undefined,
  meaning: ChecksumMeaning = "body-checksum",
): AnnouncedBody | S3Error {
  const { fields, body } = call.inbound;
  const md5 = fields.get("content-md5");
  if (md5 !== undefined && !/^[A-Za-z0-9+/]{22}==$/.test(md5)) return s3Error("InvalidDigest");
  const inHeader = meaning === "body-checksum" ? checksumInHeader(call) : undefined;
  if (isS3Error(inHeader)) return inHeader;

  const claim = call.caller.proof?.claim;
  // An unsigned request's hash is checked as well: it is a statement like any other.
  const payloadHash = claim?.payloadHash ?? fields.get("x-amz-content-sha256");
  const variant = awsChunkedVariant(payloadHash);
  const asked =
    checksumAlgorithm(fields.get("x-amz-sdk-checksum-algorithm") ?? "") ??
    checksumAlgorithm(fields.get("x-amz-checksum-algorithm") ?? "") ??
    wanted;
  const fallback = asked === undefined ? undefined : { kind: "wanted" as const, algorithm: asked };

  if (variant === undefined) {
    if (payloadHash?.startsWith("STREAMING-") === true) return s3Error("NotImplemented");
    return {
      source: body ?? bytesSource(),
      lengthBytes: contentLength(call, "content-length"),
      md5,
      sha256: /^[0-9a-f]{64}$/.test(payloadHash ?? "") ? payloadHash : undefined,
      checksum: inHeader ?? fallback,
    };
  }

  const lengthBytes = contentLength(call, "x-amz-decoded-content-length");
  if (lengthBytes === undefined) return s3Error("MissingContentLength");
  const trailerNames = parseTrailerNames(fields.list("x-amz-trailer"));
  const proof = call.caller.proof;
  const source = decodeAwsChunked(body ?? bytesSource(), {
    variant,
    decodedLengthBytes: lengthBytes,
    trailerNames,
    signing:
      proof === undefined
        ? undefined
        : {
            key: proof.key,
            seedSignature: proof.claim.signature,
            timestamp: proof.claim.timestamp,
            scope: proof.claim.scope,
          },
  });
  const inTrailer = trailerNames
    .map((name) => checksumAlgorithmOfField(name))
    .find((algorithm) => algorithm !== undefined);
  return {
    source,
    lengthBytes,
    md5,
    sha256: undefined,
    checksum:
      inHeader ??
      (inTrailer === undefined ? fallback : { kind: "trailer", algorithm: inTrailer, source }),
  };
}

function checksumInHeader(call: ServiceCall): ChecksumAnnouncement | S3Error | undefined {
  const { fields } = call.inbound;
  const present = CHECKSUM_ALGORITHMS.filter((algorithm) => fields.has(checksumField(algorithm)));
  const [algorithm] = present;
  if (algorithm === undefined) return undefined;
  if (present.length > 1) {
    return s3Error("InvalidRequest", {
      message:
        "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
    });
  }
  const value = fields.get(checksumField(algorithm)) ?? "";
  if (decodeChecksum(algorithm, value) === undefined) {
    return s3Error("InvalidRequest", {
      message: `Value for ${checksumField(algorithm)} header is invalid.`,
    });
  }
  return { kind: "header", algorithm, value };
}

function contentLength(call: ServiceCall, name: string): number | undefined {
  const text = call.inbound.fields.get(name) ?? "";
  return /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}
