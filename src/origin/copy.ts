/**
 * CopyObject, and what UploadPartCopy shares with it: finding the source, asking
 * whether the caller may read it, and reading its bytes again.
 *
 * The bytes are really copied, because the copy has an MD5 of its own (the source may
 * be a multipart object) and may be given another checksum.
 */

import { assert } from "../base/assert.ts";
import type { ByteRange } from "../http/range.ts";
import { decodePercent } from "../http/raw-target.ts";
import { type ChecksumAlgorithm, checksumAlgorithm } from "../s3/checksum.ts";
import { isS3Error, type S3Error, s3Error } from "../s3/error.ts";
import {
  type Answer,
  type ObjectCall,
  type OriginParts,
  quoted,
  xmlReply,
  xmlTime,
} from "./call.ts";
import { judgeCopySource, judgeWrite } from "./conditions.ts";
import { checksumElements, describe } from "./description.ts";
import { type ReceivedBody, receiveSource } from "./receive-body.ts";
import type { ObjectDescription, ObjectRecord, StoredChecksum } from "./records.ts";
import { fileSource } from "./reply-stream.ts";
import { publish } from "./write-object.ts";

export interface CopySource {
  readonly bucket: string;
  readonly object: ObjectRecord;
}

export async function copyObject(call: ObjectCall, parts: OriginParts): Promise<Answer> {
  const { fields } = call.inbound;
  const source = findSource(call, parts);
  if (isS3Error(source)) return source;
  const description = describeCopy(call, source);
  if (isS3Error(description)) return description;
  const refused = judgeWrite(call, parts.store.catalog.object(call.bucket.name, call.key));
  if (refused !== undefined) return refused;

  const asked = fields.get("x-amz-checksum-algorithm");
  const algorithm =
    asked === undefined ? source.object.checksum?.algorithm : checksumAlgorithm(asked);
  if (asked !== undefined && algorithm === undefined) return unknownAlgorithm();
  const whole = { start: 0, end: source.object.sizeBytes };
  const copied = await copyBytes(parts, source.object, whole, algorithm);
  if (isS3Error(copied)) return copied;
  const checksum: StoredChecksum | undefined =
    copied.checksum === undefined ? undefined : { ...copied.checksum, type: "FULL_OBJECT" };
  const published = publish(call, parts, {
    ...description,
    key: call.key,
    sizeBytes: copied.sizeBytes,
    etag: copied.md5,
    modifiedAtMs: parts.clock.nowMs(),
    body: copied.body,
    checksum,
    parts: undefined,
  });
  if (isS3Error(published)) return published;
  return xmlReply("CopyObjectResult", {
    LastModified: xmlTime(published.modifiedAtMs),
    ETag: quoted(published.etag),
    ...checksumElements(checksum),
  });
}

export function unknownAlgorithm(): S3Error {
  return s3Error("InvalidRequest", {
    message:
      "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]",
  });
}

/** The object of `x-amz-copy-source`, if it exists, may be read, and is what the client expects. */
export function findSource(call: ObjectCall, { store, access }: OriginParts): CopySource | S3Error {
  const { fields } = call.inbound;
  const id = parseCopySource(fields.get("x-amz-copy-source") ?? "");
  if (isS3Error(id)) return id;
  const bucket = store.catalog.bucket(id.bucket);
  if (bucket === undefined) {
    return s3Error("NoSuchBucket", { details: { BucketName: id.bucket } });
  }
  const object = store.catalog.object(id.bucket, id.key);
  const expectedOwner = fields.get("x-amz-source-expected-bucket-owner") ?? bucket.ownerId;
  if (expectedOwner !== bucket.ownerId || !access.may(call.caller, "READ", bucket, object)) {
    return s3Error("AccessDenied");
  }
  if (object === undefined) return s3Error("NoSuchKey", { details: { Key: id.key } });
  return judgeCopySource(fields, object) ?? { bucket: id.bucket, object };
}

/** `[/]bucket/key[?versionId=null]`, percent-encoded. */
export function parseCopySource(
  header: string,
): { readonly bucket: string; readonly key: string } | S3Error {
  const [name = "", version] = header.split(/\?versionId=/);
  const path = decodePercent(name.replace(/^\//, ""));
  const slash = path?.indexOf("/") ?? -1;
  if (path === undefined || slash < 1 || slash === path.length - 1) {
    return s3Error("InvalidArgument", {
      message: "Copy Source must mention the source bucket and key: sourcebucket/sourcekey",
      details: { ArgumentName: "x-amz-copy-source", ArgumentValue: header },
    });
  }
  if (version !== undefined && version !== "null") return s3Error("NoSuchVersion");
  return { bucket: path.slice(0, slash), key: path.slice(slash + 1) };
}

/** What the copy is described by: the source or the request, metadata and tags each as directed. */
function describeCopy(call: ObjectCall, source: CopySource): ObjectDescription | S3Error {
  const { fields } = call.inbound;
  const metadata = directive(fields.get("x-amz-metadata-directive"));
  const tagging = directive(fields.get("x-amz-tagging-directive"));
  if (metadata === undefined || tagging === undefined) {
    return s3Error("InvalidArgument", { message: "Unknown metadata or tagging directive." });
  }
  const requested = describe(call);
  if (isS3Error(requested)) return requested;
  const { object } = source;
  const isItself = source.bucket === call.bucket.name && object.key === call.key;
  const changesClass =
    fields.has("x-amz-storage-class") && requested.storageClass !== object.storageClass;
  if (isItself && metadata === "COPY" && tagging === "COPY" && !changesClass) {
    return s3Error("InvalidRequest", {
      message:
        "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.",
    });
  }
  return {
    ...requested,
    fields: metadata === "REPLACE" ? requested.fields : object.fields,
    tags: tagging === "REPLACE" ? requested.tags : object.tags,
  };
}

function directive(header: string | undefined): "COPY" | "REPLACE" | undefined {
  switch (header?.toUpperCase()) {
    case undefined:
    case "COPY":
      return "COPY";
    case "REPLACE":
      return "REPLACE";
    default:
      return undefined;
  }
}

/** Copies part of an object's bytes into a new body file that no row names yet. */
export function copyBytes(
  { store }: OriginParts,
  object: ObjectRecord,
  range: ByteRange,
  algorithm: ChecksumAlgorithm | undefined,
): Promise<ReceivedBody | S3Error> {
  // Opened before the first await: an overwrite from here on cannot take the bytes away.
  const file = store.bodies.open(object.body, range);
  assert(file !== undefined, `the body of ${object.key} is there`);
  const source = fileSource(file);
  const checksum = algorithm === undefined ? undefined : { kind: "wanted" as const, algorithm };
  return receiveSource(store, source, { checksum });
}
