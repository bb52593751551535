/**
 * ListObjects, ListObjectsV2 and ListObjectVersions: three documents over one listing.
 */

import { queryValue } from "../http/raw-target.ts";
import { isS3Error, type S3Error, s3Error } from "../s3/error.ts";
import type { XmlContent } from "../s3/xml.ts";
import {
  type Answer,
  type BucketCall,
  integerParameter,
  type OriginParts,
  parameter,
  quoted,
  xmlReply,
  xmlTime,
} from "./call.ts";
import { encodingOf, type KeyEncoding } from "./key-encoding.ts";
import { PAGE_MAX } from "./limits.ts";
import { listKeys, type ListPage, type ListRequest } from "./listing.ts";
import type { ObjectRecord } from "./records.ts";

interface Listing {
  readonly request: ListRequest;
  readonly encoding: KeyEncoding;
  readonly page: ListPage<ObjectRecord>;
}

export function listObjects(call: BucketCall, parts: OriginParts): Answer {
  const marker = parameter(call, "marker");
  const listing = list(call, parts, marker);
  if (isS3Error(listing)) return listing;
  const { encoding, page, request } = listing;
  // S3 names the next marker only for grouped listings; otherwise it is the last key.
  const nextMarker = request.delimiter === "" ? undefined : page.nextAfter;
  return xmlReply("ListBucketResult", {
    ...commonElements(call, listing),
    // Version 1 alone leaves the prefix as it is; botocore relies on it and does not decode it.
    Prefix: request.prefix,
    Marker: encoding.encode(marker),
    NextMarker: nextMarker === undefined ? undefined : encoding.encode(nextMarker),
    Contents: page.entries.map((object) => entryOf(object, encoding, true)),
    CommonPrefixes: prefixesOf(listing),
  });
}

export function listObjectsV2(call: BucketCall, parts: OriginParts): Answer {
  if (parameter(call, "list-type") !== "2") return s3Error("InvalidArgument");
  const sentToken = queryValue(call.target, "continuation-token");
  const token = sentToken ?? "";
  const startAfter = parameter(call, "start-after");
  const continued = token === "" ? undefined : decodeToken(token);
  if (token !== "" && continued === undefined) {
    return s3Error("InvalidArgument", {
      message: "The continuation token provided is incorrect",
      details: { ArgumentName: "continuation-token" },
    });
  }
  const listing = list(call, parts, continued ?? startAfter);
  if (isS3Error(listing)) return listing;
  const { encoding, page } = listing;
  const withOwner = parameter(call, "fetch-owner") === "true";
  return xmlReply("ListBucketResult", {
    ...commonElements(call, listing),
    KeyCount: page.entries.length + page.commonPrefixes.length,
    ContinuationToken: sentToken,
    NextContinuationToken: page.nextAfter === undefined ? undefined : encodeToken(page.nextAfter),
    StartAfter: startAfter === "" ? undefined : encoding.encode(startAfter),
    Contents: page.entries.map((object) => entryOf(object, encoding, withOwner)),
    CommonPrefixes: prefixesOf(listing),
  });
}

/** Every object is its one version, called `null`; there are no delete markers. */
export function listObjectVersions(call: BucketCall, parts: OriginParts): Answer {
  const keyMarker = parameter(call, "key-marker");
  const listing = list(call, parts, keyMarker);
  if (isS3Error(listing)) return listing;
  const { encoding, page } = listing;
  return xmlReply("ListVersionsResult", {
    ...commonElements(call, listing),
    KeyMarker: encoding.encode(keyMarker),
    VersionIdMarker: parameter(call, "version-id-marker"),
    NextKeyMarker: page.nextAfter === undefined ? undefined : encoding.encode(page.nextAfter),
    NextVersionIdMarker: page.nextAfter === undefined ? undefined : "null",
    Version: page.entries.map((object) => ({
      ...entryOf(object, encoding, true),
      VersionId: "null",
      IsLatest: true,
    })),
    CommonPrefixes: prefixesOf(listing),
  });
}

function list(call: BucketCall, { store }: OriginParts, after: string): Listing | S3Error {
  const bounds = { min: 0, max: 2 ** 31 - 1, fallback: PAGE_MAX };
  const maxKeys = integerParameter(call, "max-keys", bounds);
  if (isS3Error(maxKeys)) return maxKeys;
  const encoding = encodingOf(call);
  if (isS3Error(encoding)) return encoding;
  const request: ListRequest = {
    prefix: parameter(call, "prefix"),
    delimiter: parameter(call, "delimiter"),
    after,
    maxKeys: Math.min(maxKeys, PAGE_MAX),
  };
  const page = listKeys(store.catalog.scanObjects(call.bucket.name), request);
  return { request, encoding, page };
}

function commonElements(call: BucketCall, { request, encoding, page }: Listing): XmlContent {
  return {
    Name: call.bucket.name,
    Prefix: encoding.encode(request.prefix),
    MaxKeys: request.maxKeys,
    Delimiter: request.delimiter === "" ? undefined : encoding.encode(request.delimiter),
    EncodingType: encoding.name,
    IsTruncated: page.isTruncated,
  };
}

function prefixesOf({ page, encoding }: Listing): XmlContent[] {
  return page.commonPrefixes.map((prefix) => ({ Prefix: encoding.encode(prefix) }));
}

function entryOf(object: ObjectRecord, encoding: KeyEncoding, withOwner: boolean): XmlContent {
  return {
    Key: encoding.encode(object.key),
    LastModified: xmlTime(object.modifiedAtMs),
    ETag: quoted(object.etag),
    ChecksumAlgorithm: object.checksum?.algorithm,
    ChecksumType: object.checksum?.type,
    Size: object.sizeBytes,
    StorageClass: object.storageClass,
    Owner: withOwner ? { ID: object.ownerId, DisplayName: object.ownerId } : undefined,
  };
}

/** Opaque to clients, so that they cannot come to rely on what is in it. */
function encodeToken(after: string): string {
  return Buffer.from(`1${after}`).toString("base64url");
}

function decodeToken(token: string): string | undefined {
  const text = Buffer.from(token, "base64url").toString();
  return text.startsWith("1") ? text.slice(1) : undefined;
}
