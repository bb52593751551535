/**
 * Taking in a request body: unframed, counted, hashed and checked against everything
 * the client said about it, on its way to a file or into memory.
 *
 * A body that is not what was announced is refused before anything of it becomes
 * visible. Memory stays at one chunk.
 */

import { GatewayError } from "../base/errors.ts";
import type { ByteSource } from "../base/byte-source.ts";
import { AwsChunkedError } from "../s3/aws-chunked.ts";
import {
  type ChecksumAlgorithm,
  checksumField,
  createChecksum,
  encodeChecksum,
} from "../s3/checksum.ts";
import { isS3Error, type S3Error, s3Error } from "../s3/error.ts";
import {
  type Announcement,
  announcedBody,
  type ChecksumAnnouncement,
  type ChecksumMeaning,
} from "./announcement.ts";
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
  const announcement = announcedBody(call, wanted);
  if (isS3Error(announcement)) return announcement;
  if (announcement.lengthBytes === undefined) return s3Error("MissingContentLength");
  if (announcement.lengthBytes > OBJECT_BYTES_MAX) return s3Error("EntityTooLarge");
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
export async function receiveText(
  call: ServiceCall,
  meaning: ChecksumMeaning = "body-checksum",
): Promise<string | S3Error> {
  const announcement = announcedBody(call, undefined, meaning);
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
