/**
 * Tag sets of buckets and objects: get, put and delete, and the limits S3 sets
 * ("Categorizing your objects using tags", S3 User Guide).
 */

import { isS3Error, type S3Error, s3Error } from "../s3/error.ts";
import { parseTagging } from "../s3/xml.ts";
import {
  type Answer,
  type BucketCall,
  emptyReply,
  noSuchKey,
  type ObjectCall,
  type OriginParts,
  xmlReply,
} from "./call.ts";
import { receiveText } from "./receive-body.ts";
import type { ObjectRecord, TagSet } from "./records.ts";

export const OBJECT_TAGS_MAX = 10;
const BUCKET_TAGS_MAX = 50;
const KEY_CHARACTERS_MAX = 128;
const VALUE_CHARACTERS_MAX = 256;

/** The tags in the order of their keys, or what is wrong with them. */
export function tagSetOf(tags: TagSet, countMax: number): TagSet | S3Error {
  if (tags.length > countMax) {
    return s3Error("InvalidTag", { message: `There cannot be more than ${countMax} tags.` });
  }
  const seen = new Set<string>();
  for (const { key, value } of tags) {
    if (key === "" || Array.from(key).length > KEY_CHARACTERS_MAX) {
      return s3Error("InvalidTag", { message: "The TagKey you have provided is invalid" });
    }
    if (Array.from(value).length > VALUE_CHARACTERS_MAX) {
      return s3Error("InvalidTag", { message: "The TagValue you have provided is invalid" });
    }
    if (seen.has(key)) {
      return s3Error("InvalidTag", {
        message: "Cannot provide multiple Tags with the same key",
      });
    }
    seen.add(key);
  }
  return tags.toSorted((left, right) => (left.key < right.key ? -1 : 1));
}

export function getBucketTagging(call: BucketCall): Answer {
  const { name, tags } = call.bucket;
  return tags === undefined
    ? s3Error("NoSuchTagSet", { details: { BucketName: name } })
    : taggingReply(tags);
}

export async function putBucketTagging(call: BucketCall, parts: OriginParts): Promise<Answer> {
  const tags = await receiveTags(call, BUCKET_TAGS_MAX);
  if (isS3Error(tags)) return tags;
  const bucket = parts.store.catalog.bucket(call.bucket.name);
  if (bucket === undefined) return s3Error("NoSuchBucket");
  parts.store.catalog.putBucket({ ...bucket, tags });
  return emptyReply(204);
}

export function deleteBucketTagging(call: BucketCall, parts: OriginParts): Answer {
  parts.store.catalog.putBucket({ ...call.bucket, tags: undefined });
  return emptyReply(204);
}

export function getObjectTagging(call: ObjectCall, parts: OriginParts): Answer {
  const object = parts.store.catalog.object(call.bucket.name, call.key);
  return object === undefined ? noSuchKey(call) : taggingReply(object.tags);
}

export async function putObjectTagging(call: ObjectCall, parts: OriginParts): Promise<Answer> {
  const tags = await receiveTags(call, OBJECT_TAGS_MAX);
  if (isS3Error(tags)) return tags;
  return changeObject(call, parts, 200, (object) => ({ ...object, tags }));
}

export function deleteObjectTagging(call: ObjectCall, parts: OriginParts): Answer {
  return changeObject(call, parts, 204, (object) => ({ ...object, tags: [] }));
}

function changeObject(
  call: ObjectCall,
  { store }: OriginParts,
  status: number,
  change: (object: ObjectRecord) => ObjectRecord,
): Answer {
  const object = store.catalog.object(call.bucket.name, call.key);
  if (object === undefined) return noSuchKey(call);
  store.catalog.putObject(call.bucket.name, change(object));
  return emptyReply(status);
}

async function receiveTags(call: BucketCall, countMax: number): Promise<TagSet | S3Error> {
  const text = await receiveText(call);
  if (isS3Error(text)) return text;
  const tags = parseTagging(text);
  if (tags === undefined) return s3Error("MalformedXML");
  return tagSetOf(tags, countMax);
}

function taggingReply(tags: TagSet): Answer {
  const list = tags.map(({ key, value }) => ({ Key: key, Value: value }));
  return xmlReply("Tagging", { TagSet: { Tag: list } });
}
