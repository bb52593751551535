/** ListMultipartUploads and ListParts: what is under way. */

import { isS3Error } from "../s3/error.ts";
import {
  type Answer,
  type BucketCall,
  integerParameter,
  type ObjectCall,
  type OriginParts,
  parameter,
  quoted,
  xmlReply,
  xmlTime,
} from "./call.ts";
import { encodingOf } from "./key-encoding.ts";
import { PAGE_MAX } from "./limits.ts";
import { commonPrefixOf } from "./listing.ts";
import { openUpload, partChecksumElements } from "./multipart.ts";
import type { UploadRecord } from "./records.ts";

export function listUploads(call: BucketCall, { store }: OriginParts): Answer {
  const bounds = { min: 1, max: 2 ** 31 - 1, fallback: PAGE_MAX };
  const asked = integerParameter(call, "max-uploads", bounds);
  if (isS3Error(asked)) return asked;
  const encoding = encodingOf(call);
  if (isS3Error(encoding)) return encoding;
  const maxUploads = Math.min(asked, PAGE_MAX);
  const prefix = parameter(call, "prefix");
  const delimiter = parameter(call, "delimiter");
  const keyMarker = parameter(call, "key-marker");
  // S3 ignores this one without the other.
  const uploadIdMarker = keyMarker === "" ? "" : parameter(call, "upload-id-marker");

  const matching = store.catalog.uploads(call.bucket.name).filter((upload) => {
    return upload.key.startsWith(prefix);
  });
  const behind = matching.slice(
    indexBehind(matching, keyMarker, uploadIdMarker, (upload) =>
      commonPrefixOf(upload.key, prefix, delimiter),
    ),
  );
  const uploads: UploadRecord[] = [];
  const prefixes: string[] = [];
  let last: UploadRecord | undefined;
  let isTruncated = false;
  for (const upload of behind) {
    const group = commonPrefixOf(upload.key, prefix, delimiter);
    if (group !== undefined && group === prefixes.at(-1)) {
      last = upload;
      continue;
    }
    if (uploads.length + prefixes.length === maxUploads) {
      isTruncated = true;
      break;
    }
    if (group === undefined) uploads.push(upload);
    else prefixes.push(group);
    last = upload;
  }
  return xmlReply("ListMultipartUploadsResult", {
    Bucket: call.bucket.name,
    KeyMarker: encoding.encode(keyMarker),
    UploadIdMarker: uploadIdMarker,
    NextKeyMarker: isTruncated ? encoding.encode(last?.key ?? "") : undefined,
    NextUploadIdMarker: isTruncated ? last?.id : undefined,
    Prefix: prefix === "" ? undefined : encoding.encode(prefix),
    Delimiter: delimiter === "" ? undefined : encoding.encode(delimiter),
    EncodingType: encoding.name,
    MaxUploads: maxUploads,
    IsTruncated: isTruncated,
    Upload: uploads.map((upload) => ({
      Key: encoding.encode(upload.key),
      UploadId: upload.id,
      ...ownersOf(upload),
      StorageClass: upload.storageClass,
      Initiated: xmlTime(upload.initiatedAtMs),
      ChecksumAlgorithm: upload.checksum?.algorithm,
      ChecksumType: upload.checksum?.type,
    })),
    CommonPrefixes: prefixes.map((group) => ({ Prefix: encoding.encode(group) })),
  });
}

/**
 * Where the page starts. Uploads are sorted by key, then by age: behind the marked
 * upload of the marked key, or behind all uploads of that key when none is marked.
 */
function indexBehind(
  uploads: readonly UploadRecord[],
  keyMarker: string,
  uploadIdMarker: string,
  groupOf: (upload: UploadRecord) => string | undefined,
): number {
  if (keyMarker === "") return 0;
  const marked = uploads.findIndex(
    (upload) => upload.key === keyMarker && upload.id === uploadIdMarker,
  );
  if (marked !== -1) return marked + 1;
  const index = uploads.findIndex(
    (upload) =>
      Buffer.compare(Buffer.from(upload.key), Buffer.from(keyMarker)) > 0 &&
      groupOf(upload) !== keyMarker,
  );
  return index === -1 ? uploads.length : index;
}

export function listParts(call: ObjectCall, parts: OriginParts): Answer {
  const upload = openUpload(call, parts);
  if (isS3Error(upload)) return upload;
  const bounds = { min: 0, max: 2 ** 31 - 1, fallback: PAGE_MAX };
  const asked = integerParameter(call, "max-parts", bounds);
  if (isS3Error(asked)) return asked;
  const marker = integerParameter(call, "part-number-marker", { ...bounds, fallback: 0 });
  if (isS3Error(marker)) return marker;
  const maxParts = Math.min(asked, PAGE_MAX);
  const behind = parts.store.catalog.parts(upload.id).filter((part) => part.number > marker);
  const page = behind.slice(0, maxParts);
  return xmlReply("ListPartsResult", {
    Bucket: upload.bucket,
    Key: upload.key,
    UploadId: upload.id,
    ...ownersOf(upload),
    StorageClass: upload.storageClass,
    PartNumberMarker: marker,
    NextPartNumberMarker: page.at(-1)?.number ?? 0,
    MaxParts: maxParts,
    IsTruncated: maxParts > 0 && behind.length > page.length,
    ChecksumAlgorithm: upload.checksum?.algorithm,
    ChecksumType: upload.checksum?.type,
    Part: page.map((part) => ({
      PartNumber: part.number,
      LastModified: xmlTime(part.modifiedAtMs),
      ETag: quoted(part.etag),
      Size: part.sizeBytes,
      ...partChecksumElements(part.checksum),
    })),
  });
}

function ownersOf(upload: UploadRecord) {
  const owner = { ID: upload.ownerId, DisplayName: upload.ownerId };
  return { Initiator: owner, Owner: owner };
}
