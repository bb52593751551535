/**
 * Taking in a request body: unframed, counted, hashed and checked against everything
 * the client said about it, on its way to a file or into memory.
 *
 * A body that is not what was announced is refused before anything of it becomes
 * visible. Memory stays at one chunk.
 */

import { GatewayError } from "../base/errors.ts";
import { type ByteSource, bytesSource } from "../base/byte-source.ts";
import {
  type AwsChunkedSource,
  AwsChunkedError,
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
  createChecksum,
  decodeChecksum,
  encodeChecksum,
} from "../s3/checksum.ts";
import { isS3Error, type S3Error, s3Error } from "../s3/error.ts";
import { scopeText } from "../s3/sigv4.ts";
import type { OriginParts, ServiceCall } from "./call.ts";
import type { FolderStore } from "./folder-store.ts";

/** Most bytes of one PutObject or UploadPart, as in S3. */
const OBJECT_BYTES_MAX = 5 * 2 ** 30;

/** Most bytes of an XML document: DeleteObjects with 1000 keys of 1024 escaped bytes fits. */
const DOCUMENT_BYTES_MAX = 8 * 2 ** 20;

/** What a received body turned out to be. */
export interface BodyDigests {
  readonly sizeBytes: number;
  /** Hex. */
  readonly md5: string;
  /** The checksum the client sent or asked for, verified; base64. */
  readonly checksum: ChecksumValue | undefined;
}

export interface ChecksumValue {
  readonly algorithm: ChecksumAlgorithm;
  readonly value: string;
}

/** A body in a published file that no row names yet: give it to a row or discard it. */
export interface ReceivedBody extends BodyDigests {
  /** Name of the body file. */
  readonly body: string;
}

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

interface AnnouncedBody extends Announcement {
  readonly source: ByteSource;
}

type ChecksumAnnouncement =
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
 * Receives the body of an object or part into a durable file.
 *
 * @param wanted algorithm to compute when the client sends no checksum of its own
 */
export async function receiveFile(
  call: ServiceCall,
  parts: OriginParts,
  wanted?: ChecksumAlgorithm,
): Promise<ReceivedBody | S3Error> {
  const announcement = announced(call, wanted);
  if (isS3Error(announcement)) return announcement;
  if (announcement.lengthBytes === undefined && !isChunked(call)) {
    return s3Error("MissingContentLength");
  }
  if ((announcement.lengthBytes ?? 0) > OBJECT_BYTES_MAX) return s3Error("EntityTooLarge");
  return receiveSource(parts.store, announcement.source, announcement);
}

/** Receives any source into a durable file; nothing is left of one that is not as announced. */
export async function receiveSource(
  store: FolderStore,
  source: ByteSource,
  announcement: Announcement,
): Promise<ReceivedBody | S3Error> {
  const draft = await store.bodies.begin();
  let isPublished = false;
  try {
    const digests = await receive(source, announcement, OBJECT_BYTES_MAX, (chunk) =>
      draft.write(chunk),
    );
    if (isS3Error(digests)) return digests;
    const body = await draft.publish();
    isPublished = true;
    return { ...digests, body };
  } finally {
    if (!isPublished) await draft.discard();
  }
}

/** Receives a document, such as a list of parts, as text. */
export async function receiveText(call: ServiceCall): Promise<string | S3Error> {
  const announcement = announced(call, undefined);
  if (isS3Error(announcement)) return announcement;
  const chunks: Uint8Array[] = [];
  const { source } = announcement;
  const digests = await receive(source, announcement, DOCUMENT_BYTES_MAX, (chunk) => {
    chunks.push(chunk);
  });
  if (isS3Error(digests)) {
    return digests.code === "EntityTooLarge" ? s3Error("MaxMessageLengthExceeded") : digests;
  }
  return Buffer.concat(chunks).toString("utf8");
}

async function receive(
  source: ByteSource,
  announcement: Announcement,
  limitBytes: number,
  sink: (chunk: Uint8Array) => void | Promise<void>,
): Promise<BodyDigests | S3Error> {
  const { checksum } = announcement;
  const md5 = new Bun.CryptoHasher("md5");
  const sha256 = announcement.sha256 === undefined ? undefined : new Bun.CryptoHasher("sha256");
  const computed =
    checksum === undefined || checksum.kind === "trailer"
      ? undefined
      : createChecksum(checksum.algorithm);
  let sizeBytes = 0;
  try {
    for (;;) {
      const chunk = await source.read();
      if (chunk === null) break;
      sizeBytes += chunk.length;
      if (sizeBytes > limitBytes) return s3Error("EntityTooLarge");
      const writing = sink(chunk);
      md5.update(chunk);
      sha256?.update(chunk);
      computed?.update(chunk);
      await writing;
    }
  } catch (error) {
    if (error instanceof AwsChunkedError) return s3Error(error.s3Code, { message: error.message });
    if (error instanceof GatewayError && error.code === "client_body_invalid") {
      return s3Error("IncompleteBody");
    }
    throw error;
  } finally {
    source.close();
  }
  if (announcement.lengthBytes !== undefined && sizeBytes !== announcement.lengthBytes) {
    return s3Error("IncompleteBody");
  }
  const md5Bytes = md5.digest();
  if (announcement.md5 !== undefined && announcement.md5 !== encodeChecksum(md5Bytes)) {
    return s3Error("BadDigest", {
      message: "The Content-MD5 you specified did not match what we received.",
    });
  }
  if (sha256 !== undefined && sha256.digest("hex") !== announcement.sha256) {
    return s3Error("XAmzContentSHA256Mismatch");
  }
  const value = computed === undefined ? undefined : encodeChecksum(computed.digest());
  if (checksum?.kind === "header" && checksum.value !== value) {
    const name = checksum.algorithm;
    return s3Error("BadDigest", {
      message: `The ${name} you specified did not match the calculated checksum.`,
    });
  }
  return {
    sizeBytes,
    md5: Buffer.from(md5Bytes).toString("hex"),
    checksum: checksum === undefined ? undefined : verified(checksum, value),
  };
}

function verified(
  checksum: ChecksumAnnouncement,
  computed: string | undefined,
): ChecksumValue | undefined {
  const { algorithm } = checksum;
  if (computed !== undefined) return { algorithm, value: computed };
  if (checksum.kind !== "trailer") return undefined;
  const { trailers } = checksum.source;
  const value = trailers[trailers.indexOf(checksumField(algorithm)) + 1];
  return value === undefined ? undefined : { algorithm, value };
}

/** Reads the headers that describe the body. Nothing of the body is read yet. */
function announced(
  call: ServiceCall,
  wanted: ChecksumAlgorithm | undefined,
): AnnouncedBody | S3Error {
  const { fields, body } = call.inbound;
  const md5 = fields.get("content-md5");
  if (md5 !== undefined && !/^[A-Za-z0-9+/]{22}==$/.test(md5)) return s3Error("InvalidDigest");
  const inHeader = checksumInHeader(call);
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
            scope: scopeText(proof.claim),
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

function isChunked(call: ServiceCall): boolean {
  return call.inbound.fields.has("transfer-encoding");
}
