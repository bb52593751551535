/**
 * PutObject, DeleteObject and DeleteObjects, and the one way an object is published.
 *
 * Conditions are judged twice: before the body is received, to refuse early, and
 * again in the step that publishes, because another write may have come in between.
 * That step is synchronous, so nothing can come between judging and publishing.
 */

import { isS3Error, type S3Error, s3Error } from "../s3/error.ts";
import { parseDeleteRequest } from "../s3/xml.ts";
import {
  type Answer,
  type BucketCall,
  emptyReply,
  type ObjectCall,
  type OriginParts,
  quoted,
  xmlReply,
} from "./call.ts";
import { judgeDelete, judgeWrite } from "./conditions.ts";
import { checksumFields, describe } from "./description.ts";
import { receiveFile, receiveText } from "./receive-body.ts";
import type { ObjectRecord, StoredChecksum } from "./records.ts";

const DELETE_KEYS_MAX = 1000;

export async function putObject(call: ObjectCall, parts: OriginParts): Promise<Answer> {
  const { catalog } = parts.store;
  const description = describe(call);
  if (isS3Error(description)) return description;
  const refused = judgeWrite(call, catalog.object(call.bucket.name, call.key));
  if (refused !== undefined) return refused;

  const received = await receiveFile(call, parts);
  if (isS3Error(received)) return received;
  const checksum: StoredChecksum | undefined =
    received.checksum === undefined ? undefined : { ...received.checksum, type: "FULL_OBJECT" };
  const published = publish(call, parts, {
    ...description,
    key: call.key,
    sizeBytes: received.sizeBytes,
    etag: received.md5,
    modifiedAtMs: parts.clock.nowMs(),
    body: received.body,
    checksum,
    parts: undefined,
  });
  if (isS3Error(published)) return published;
  return emptyReply(200, ["ETag", quoted(received.md5), ...checksumFields(checksum)]);
}

/**
 * Makes an object whose body file is complete the current one of its key, if the
 * call's conditions still hold and the bucket is still there. The file is removed
 * when it is not published.
 *
 * @param commit writes the rows; answers the bodies nobody needs any more
 */
export function publish(
  call: ObjectCall,
  { store }: OriginParts,
  object: ObjectRecord,
  commit = (published: ObjectRecord): readonly string[] =>
    store.catalog.putObject(call.bucket.name, published),
): ObjectRecord | S3Error {
  const { name } = call.bucket;
  const refused =
    store.catalog.bucket(name) === undefined
      ? s3Error("NoSuchBucket", { details: { BucketName: name } })
      : judgeWrite(call, store.catalog.object(name, object.key));
  if (refused !== undefined) {
    store.bodies.remove(object.body);
    return refused;
  }
  store.discard(commit(object));
  return object;
}

export function deleteObject(call: ObjectCall, { store }: OriginParts): Answer {
  const { name } = call.bucket;
  const refused = judgeDelete(call, store.catalog.object(name, call.key));
  if (refused !== undefined) return refused;
  store.discard(store.catalog.deleteObject(name, call.key));
  return emptyReply(204);
}

export async function deleteObjects(call: BucketCall, { store }: OriginParts): Promise<Answer> {
  const text = await receiveText(call);
  if (isS3Error(text)) return text;
  const request = parseDeleteRequest(text);
  if (request === undefined || request.objects.length > DELETE_KEYS_MAX) {
    return s3Error("MalformedXML");
  }
  const deleted: { Key: string; VersionId: string | undefined }[] = [];
  const errors: { Key: string; VersionId: string | undefined; Code: string; Message: string }[] =
    [];
  for (const { key, versionId, etag } of request.objects) {
    const refused = judgeMember(store.catalog.object(call.bucket.name, key), versionId, etag);
    if (refused === undefined) {
      store.discard(store.catalog.deleteObject(call.bucket.name, key));
      deleted.push({ Key: key, VersionId: versionId });
    } else {
      const { code, message } = refused;
      errors.push({ Key: key, VersionId: versionId, Code: code, Message: message });
    }
  }
  return xmlReply("DeleteResult", { Deleted: request.quiet ? [] : deleted, Error: errors });
}

function judgeMember(
  object: ObjectRecord | undefined,
  versionId: string | undefined,
  etag: string | undefined,
): S3Error | undefined {
  if (versionId !== undefined && versionId !== "null") return s3Error("NoSuchVersion");
  if (object === undefined || etag === undefined || etag === "*") return undefined;
  return etag.replaceAll('"', "") === object.etag ? undefined : s3Error("PreconditionFailed");
}

/**
 * What to answer to a `versionId`: nothing here is versioned, so the only version there
 * ever is has the id `null`.
 */
export function judgeVersion(call: ObjectCall, versionId: string | undefined): S3Error | undefined {
  if (versionId === undefined || versionId === "null") return undefined;
  return versionId === ""
    ? s3Error("InvalidArgument", { message: "Version id cannot be the empty string" })
    : s3Error("NoSuchVersion", { details: { Key: call.key, VersionId: versionId } });
}
