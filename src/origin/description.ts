/**
 * What a request says about the object it creates: the headers that come back with
 * every read, tags, ACL and storage class; and the fields a reply shows of them.
 */

import type { Fields } from "../http/fields.ts";
import { decodePercent } from "../http/raw-target.ts";
import { checksumField } from "../s3/checksum.ts";
import { isS3Error, type S3Error, s3Error } from "../s3/error.ts";
import { requestedAcl } from "./acl.ts";
import type { BucketCall } from "./call.ts";
import type { ObjectDescription, StoredChecksum, TagSet } from "./records.ts";
import { OBJECT_TAGS_MAX, tagSetOf } from "./tags.ts";

const DEFAULT_CONTENT_TYPE = "binary/octet-stream";

/** Kept and replayed, in this order, in the spelling S3 sends them. */
const SYSTEM_FIELDS = [
  "Content-Type",
  "Cache-Control",
  "Content-Disposition",
  "Content-Encoding",
  "Content-Language",
  "Expires",
  "x-amz-website-redirect-location",
] as const;

const METADATA_PREFIX = "x-amz-meta-";

/** Names and values of user metadata together, as in S3. */
const METADATA_BYTES_MAX = 2048;

const STORAGE_CLASSES: ReadonlySet<string> = new Set([
  "STANDARD",
  "REDUCED_REDUNDANCY",
  "STANDARD_IA",
  "ONEZONE_IA",
  "INTELLIGENT_TIERING",
  "GLACIER",
  "DEEP_ARCHIVE",
  "GLACIER_IR",
]);

/** Asked for and not there: better refused than silently stored without. */
const UNSUPPORTED_PREFIXES = ["x-amz-server-side-encryption", "x-amz-object-lock-"];

/** Describes the object this request creates in `call.bucket`. */
export function describe(call: BucketCall): ObjectDescription | S3Error {
  const { fields } = call.inbound;
  for (const name of fields.names()) {
    if (UNSUPPORTED_PREFIXES.some((prefix) => name.startsWith(prefix))) {
      return s3Error("NotImplemented", { details: { Header: name } });
    }
  }
  const replayed = describedFields(fields);
  if (isS3Error(replayed)) return replayed;
  const ownerId = call.caller.accessKeyId ?? call.bucket.ownerId;
  const acl = requestedAcl(fields, { ownerId, bucketOwnerId: call.bucket.ownerId });
  if (isS3Error(acl)) return acl;
  const tags = parseTagHeader(fields.get("x-amz-tagging"));
  if (isS3Error(tags)) return tags;
  const storageClass = fields.get("x-amz-storage-class") ?? "STANDARD";
  if (!STORAGE_CLASSES.has(storageClass)) return s3Error("InvalidStorageClass");
  return { fields: replayed, tags, acl, ownerId, storageClass };
}

/** The headers to replay: system fields, then user metadata with lower-case names. */
function describedFields(fields: Fields): string[] | S3Error {
  const replayed: string[] = [];
  for (const name of SYSTEM_FIELDS) {
    const sent = fields.list(name.toLowerCase()) ?? "";
    const value = name === "Content-Encoding" ? withoutAwsChunked(sent) : sent;
    if (value !== "") replayed.push(name, value);
    else if (name === "Content-Type") replayed.push(name, DEFAULT_CONTENT_TYPE);
  }
  let metadataBytes = 0;
  for (const name of fields.names()) {
    if (!name.startsWith(METADATA_PREFIX)) continue;
    // Header strings hold one character per byte, so their length is their size.
    const value = fields.all(name).join(",");
    metadataBytes += name.length - METADATA_PREFIX.length + value.length;
    replayed.push(name, value);
  }
  if (metadataBytes > METADATA_BYTES_MAX) {
    return s3Error("MetadataTooLarge", {
      details: { Size: String(metadataBytes), MaxSizeAllowed: String(METADATA_BYTES_MAX) },
    });
  }
  return replayed;
}

/** `aws-chunked` describes the transfer and not the object. */
function withoutAwsChunked(contentEncoding: string): string {
  return contentEncoding
    .split(",")
    .map((coding) => coding.trim())
    .filter((coding) => coding !== "" && coding.toLowerCase() !== "aws-chunked")
    .join(", ");
}

/** `x-amz-tagging` is a query string: `a=1&b=2`, with "+" for a space. */
export function parseTagHeader(header: string | undefined): TagSet | S3Error {
  if (header === undefined || header === "") return [];
  const tags = [];
  for (const pair of header.replaceAll("+", " ").split("&")) {
    const [rawKey = "", ...rest] = pair.split("=");
    const key = decodePercent(rawKey);
    const value = decodePercent(rest.join("="));
    if (key === undefined || value === undefined) {
      return s3Error("InvalidArgument", {
        message:
          "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.",
        details: { ArgumentName: "x-amz-tagging", ArgumentValue: header },
      });
    }
    tags.push({ key, value });
  }
  return tagSetOf(tags, OBJECT_TAGS_MAX);
}

/** The fields that say which checksum an object or part has. */
export function checksumFields(checksum: StoredChecksum | undefined): string[] {
  if (checksum === undefined) return [];
  return [checksumField(checksum.algorithm), checksum.value, "x-amz-checksum-type", checksum.type];
}

/** The XML elements of a checksum: `ChecksumCRC32` and `ChecksumType`. */
export function checksumElements(checksum: StoredChecksum | undefined): Record<string, string> {
  if (checksum === undefined) return {};
  return { [`Checksum${checksum.algorithm}`]: checksum.value, ChecksumType: checksum.type };
}
