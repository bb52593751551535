/**
 * Multipart uploads up to the moment of completion: creating and aborting them, and
 * adding parts from a body or from another object.
 */

import type { ByteRange } from "../http/range.ts";
import {
  type ChecksumAlgorithm,
  checksumAlgorithm,
  checksumField,
  checksumTypeFor,
} from "../s3/checksum.ts";
import { isS3Error, type S3Error, s3Error } from "../s3/error.ts";
import {
  type Answer,
  emptyReply,
  integerParameter,
  type ObjectCall,
  type OriginParts,
  parameter,
  quoted,
  xmlReply,
  xmlTime,
} from "./call.ts";
import { copyBytes, findSource, unknownAlgorithm } from "./copy.ts";
import { describe } from "./description.ts";
import { PARTS_MAX } from "./limits.ts";
import { type ReceivedBody, receiveFile } from "./receive-body.ts";
import type { PartRecord, UploadRecord } from "./records.ts";

export function createUpload(call: ObjectCall, { store, clock, random }: OriginParts): Answer {
  const description = describe(call);
  if (isS3Error(description)) return description;
  const checksum = wantedChecksum(call);
  if (isS3Error(checksum)) return checksum;
  const id = Buffer.from(random.bytes(24)).toString("base64url");
  store.catalog.putUpload({
    ...description,
    id,
    bucket: call.bucket.name,
    key: call.key,
    initiatedAtMs: clock.nowMs(),
    checksum,
    completedEtag: undefined,
  });
  return xmlReply(
    "InitiateMultipartUploadResult",
    { Bucket: call.bucket.name, Key: call.key, UploadId: id },
    checksum === undefined
      ? []
      : ["x-amz-checksum-algorithm", checksum.algorithm, "x-amz-checksum-type", checksum.type],
  );
}

function wantedChecksum(call: ObjectCall): UploadRecord["checksum"] | S3Error {
  const { fields } = call.inbound;
  const name = fields.get("x-amz-checksum-algorithm");
  const requestedType = fields.get("x-amz-checksum-type");
  if (name === undefined) {
    return requestedType === undefined
      ? undefined
      : s3Error("InvalidRequest", {
          message:
            "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.",
        });
  }
  const algorithm = checksumAlgorithm(name);
  if (algorithm === undefined) return unknownAlgorithm();
  const type = checksumTypeFor(algorithm, requestedType?.toUpperCase());
  if (type === undefined) {
    return s3Error("InvalidRequest", {
      message: `The ${requestedType ?? ""} checksum type cannot be used with the ${algorithm} checksum algorithm.`,
    });
  }
  return { algorithm, type };
}

/** The upload a call names, as long as it is neither completed nor aborted. */
export function openUpload(call: ObjectCall, { store }: OriginParts): UploadRecord | S3Error {
  const id = parameter(call, "uploadId");
  const upload = store.catalog.upload(id);
  const isThis = upload?.bucket === call.bucket.name && upload.key === call.key;
  return upload === undefined || !isThis || upload.completedEtag !== undefined
    ? s3Error("NoSuchUpload", { details: { UploadId: id } })
    : upload;
}

export async function uploadPart(call: ObjectCall, parts: OriginParts): Promise<Answer> {
  const upload = openUpload(call, parts);
  if (isS3Error(upload)) return upload;
  const number = partNumber(call);
  if (isS3Error(number)) return number;
  const received = await receiveFile(call, parts, upload.checksum?.algorithm);
  if (isS3Error(received)) return received;
  const part = keepPart(call, parts, number, received);
  if (isS3Error(part)) return part;
  return emptyReply(200, [
    "ETag",
    quoted(part.etag),
    ...(part.checksum === undefined
      ? []
      : [checksumField(part.checksum.algorithm), part.checksum.value]),
  ]);
}

export async function uploadPartCopy(call: ObjectCall, parts: OriginParts): Promise<Answer> {
  const upload = openUpload(call, parts);
  if (isS3Error(upload)) return upload;
  const number = partNumber(call);
  if (isS3Error(number)) return number;
  const source = findSource(call, parts);
  if (isS3Error(source)) return source;
  const { object } = source;
  const range = copyRange(call.inbound.fields.get("x-amz-copy-source-range"), object.sizeBytes);
  if (isS3Error(range)) return range;
  const copied = await copyBytes(parts, object, range, upload.checksum?.algorithm);
  if (isS3Error(copied)) return copied;
  const part = keepPart(call, parts, number, copied);
  if (isS3Error(part)) return part;
  return xmlReply("CopyPartResult", {
    LastModified: xmlTime(part.modifiedAtMs),
    ETag: quoted(part.etag),
    ...partChecksumElements(part.checksum),
  });
}

/** `ChecksumCRC32` and its kin, without a type: parts have none. */
export function partChecksumElements(
  checksum: { readonly algorithm: ChecksumAlgorithm; readonly value: string } | undefined,
): Record<string, string> {
  return checksum === undefined ? {} : { [`Checksum${checksum.algorithm}`]: checksum.value };
}

/** Adds the part, unless the upload ended while its body was under way. */
function keepPart(
  call: ObjectCall,
  parts: OriginParts,
  number: number,
  received: ReceivedBody,
): PartRecord | S3Error {
  const { store, clock } = parts;
  const upload = openUpload(call, parts);
  if (isS3Error(upload)) {
    store.bodies.remove(received.body);
    return upload;
  }
  const expected = upload.checksum?.algorithm;
  if (expected !== undefined && received.checksum?.algorithm !== expected) {
    store.bodies.remove(received.body);
    return s3Error("InvalidRequest", {
      message: `Checksum Type mismatch occurred, expected checksum Type: ${expected.toLowerCase()}, actual checksum Type: ${received.checksum?.algorithm.toLowerCase() ?? "null"}`,
    });
  }
  const part: PartRecord = {
    number,
    sizeBytes: received.sizeBytes,
    etag: received.md5,
    modifiedAtMs: clock.nowMs(),
    body: received.body,
    checksum: received.checksum,
  };
  store.discard(store.catalog.putPart(upload.id, part));
  return part;
}

export function abortUpload(call: ObjectCall, parts: OriginParts): Answer {
  const upload = openUpload(call, parts);
  if (isS3Error(upload)) return upload;
  parts.store.discard(parts.store.catalog.deleteUpload(upload.id));
  return emptyReply(204);
}

function partNumber(call: ObjectCall): number | S3Error {
  const number = integerParameter(call, "partNumber", { min: 1, max: PARTS_MAX, fallback: 0 });
  return number === 0
    ? s3Error("InvalidArgument", {
        message: "Part number must be an integer between 1 and 10000, inclusive",
      })
    : number;
}

/** `bytes=first-last`, both given and both inside the source: S3 clamps nothing here. */
function copyRange(header: string | undefined, sizeBytes: number): ByteRange | S3Error {
  if (header === undefined) return { start: 0, end: sizeBytes };
  const match = /^bytes=(\d{1,15})-(\d{1,15})$/.exec(header);
  const start = Number(match?.[1]);
  const end = Number(match?.[2]) + 1;
  if (match === null || start >= end) {
    return s3Error("InvalidArgument", {
      message:
        "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy",
      details: { ArgumentName: "x-amz-copy-source-range", ArgumentValue: header },
    });
  }
  if (end > sizeBytes) {
    return s3Error("InvalidRange", {
      message: `Range specified is not valid for source object of size: ${sizeBytes}`,
    });
  }
  return { start, end };
}
