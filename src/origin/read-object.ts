/**
 * GetObject, HeadObject and GetObjectAttributes: preconditions first, then the part
 * or range asked for, then the headers. GET and HEAD differ in the body alone.
 */

import { assert, unreachable } from "../base/assert.ts";
import { evaluatePreconditions, ifRangeMatches } from "../http/conditional.ts";
import { formatHttpDate } from "../http/date.ts";
import { NO_BODY, type ReplyBody } from "../http/exchange.ts";
import { withField } from "../http/fields.ts";
import {
  type ByteRange,
  formatContentRange,
  formatUnsatisfiedRange,
  resolveRange,
} from "../http/range.ts";
import { queryValue } from "../http/raw-target.ts";
import { isS3Error, type S3Error, s3Error } from "../s3/error.ts";
import type { ResponseOverride } from "../s3/operation.ts";
import type { XmlContent } from "../s3/xml.ts";
import type { BodyFiles } from "./body-files.ts";
import {
  type Answer,
  emptyReply,
  integerParameter,
  noSuchKey,
  type ObjectCall,
  type OriginParts,
  quoted,
  xmlReply,
} from "./call.ts";
import { validatorOf } from "./conditions.ts";
import { checksumElements, checksumFields } from "./description.ts";
import { PAGE_MAX, PARTS_MAX } from "./limits.ts";
import type { ObjectPart, ObjectRecord, StoredChecksum } from "./records.ts";

/** A read that wants to know how the answer's headers are to be changed (`response-…`). */
export interface ReadCall extends ObjectCall {
  readonly overrides: readonly ResponseOverride[];
}

export function getObject(call: ReadCall, { store }: OriginParts): Answer {
  return readObject(call, store.catalog.object(call.bucket.name, call.key), store.bodies);
}

/** The same answer without a body: no file is opened. */
export function headObject(call: ReadCall, { store }: OriginParts): Answer {
  return readObject(call, store.catalog.object(call.bucket.name, call.key), undefined);
}

function readObject(
  call: ReadCall,
  object: ObjectRecord | undefined,
  bodies: BodyFiles | undefined,
): Answer {
  const { fields } = call.inbound;
  if (object === undefined) return noSuchKey(call);
  const validator = validatorOf(object);
  const description = describedHeaders(call, object);
  if (isS3Error(description)) return description;
  switch (evaluatePreconditions(fields, validator, "GET")) {
    case "not-modified":
      return emptyReply(304, description.filter(isPairOf304));
    case "precondition-failed":
      return s3Error("PreconditionFailed");
    case "proceed":
  }

  const selected = selectBytes(call, object, ifRangeMatches(fields, validator));
  if (isS3Error(selected)) return selected;
  const { range, isPartial, checksum, partsCount } = selected;
  const headers = [...description];
  if (partsCount !== undefined) headers.push("x-amz-mp-parts-count", String(partsCount));
  if (fields.get("x-amz-checksum-mode")?.toUpperCase() === "ENABLED") {
    headers.push(...checksumFields(checksum));
  }
  if (isPartial) headers.push("Content-Range", formatContentRange(range, object.sizeBytes));
  headers.push("Content-Length", String(range.end - range.start));
  return {
    status: isPartial ? 206 : 200,
    headers,
    body: bodies === undefined ? NO_BODY : bodyOf(bodies, object, range),
  };
}

function bodyOf(bodies: BodyFiles, object: ObjectRecord, range: ByteRange): ReplyBody {
  if (range.start === range.end) return { kind: "bytes", bytes: new Uint8Array(0) };
  // Row and file are read in one step, so nobody can have removed the file in between.
  const file = bodies.open(object.body, range);
  assert(file !== undefined, `the body of ${object.key} is there`);
  return { kind: "file", file };
}

interface Selection {
  readonly range: ByteRange;
  readonly isPartial: boolean;
  /** Of exactly these bytes; undefined when there is none. */
  readonly checksum: StoredChecksum | undefined;
  /** Of a multipart object read by part number. */
  readonly partsCount: number | undefined;
}

/** The bytes a `Range` header or a `partNumber` asks for. */
function selectBytes(
  call: ObjectCall,
  object: ObjectRecord,
  isRangeWanted: boolean,
): Selection | S3Error {
  const { sizeBytes } = object;
  const rangeHeader = call.inbound.fields.list("range");
  const whole = { start: 0, end: sizeBytes };
  if (queryValue(call.target, "partNumber") !== undefined) {
    if (rangeHeader !== undefined) {
      return s3Error("InvalidRequest", {
        message: "Cannot specify both Range header and partNumber query parameter.",
      });
    }
    return selectPart(call, object);
  }
  const request = resolveRange(isRangeWanted ? rangeHeader : undefined, sizeBytes);
  switch (request.kind) {
    case "whole":
      return {
        range: whole,
        isPartial: false,
        checksum: object.checksum,
        partsCount: undefined,
      };
    case "partial":
      return {
        range: request.range,
        isPartial: true,
        checksum: undefined,
        partsCount: undefined,
      };
    case "unsatisfiable":
      return s3Error("InvalidRange", {
        headers: ["Content-Range", formatUnsatisfiedRange(sizeBytes)],
        details: { RangeRequested: rangeHeader ?? "", ActualObjectSize: String(sizeBytes) },
      });
    default:
      return unreachable(request);
  }
}

function selectPart(call: ObjectCall, object: ObjectRecord): Selection | S3Error {
  const number = integerParameter(call, "partNumber", { min: 1, max: PARTS_MAX, fallback: 1 });
  if (isS3Error(number)) return number;
  const parts = object.parts ?? [{ sizeBytes: object.sizeBytes, checksum: object.checksum?.value }];
  const part = parts[number - 1];
  if (part === undefined) {
    return s3Error("InvalidPartNumber", {
      details: { PartNumberRequested: String(number), ActualPartCount: String(parts.length) },
    });
  }
  const start = parts.slice(0, number - 1).reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  return {
    range: { start, end: start + part.sizeBytes },
    // Content-Range cannot name zero bytes, so an empty part is a plain 200.
    isPartial: part.sizeBytes > 0,
    checksum:
      object.checksum === undefined || part.checksum === undefined
        ? undefined
        : { ...object.checksum, value: part.checksum },
    partsCount: object.parts?.length,
  };
}

/** Headers that are the same for the whole object and for a part of it. */
function describedHeaders(call: ReadCall, object: ObjectRecord): readonly string[] | S3Error {
  let headers: readonly string[] = [
    "Last-Modified",
    formatHttpDate(object.modifiedAtMs),
    "ETag",
    quoted(object.etag),
    "Accept-Ranges",
    "bytes",
    ...object.fields,
  ];
  if (object.storageClass !== "STANDARD") {
    headers = [...headers, "x-amz-storage-class", object.storageClass];
  }
  if (object.tags.length > 0) {
    headers = [...headers, "x-amz-tagging-count", String(object.tags.length)];
  }
  if (call.overrides.length > 0 && call.caller.accessKeyId === undefined) {
    return s3Error("InvalidRequest", {
      message: "Request specific response headers cannot be used for anonymous GET requests.",
    });
  }
  for (const { header, value } of call.overrides) headers = withField(headers, header, value);
  return headers;
}

/** RFC 9110 §15.4.5: what a 304 carries is what the client may have to renew. */
const FIELDS_OF_304 = new Set(["etag", "last-modified", "cache-control", "expires"]);

/** Keeps both halves of the pairs that belong into a 304. */
function isPairOf304(_: string, index: number, headers: readonly string[]): boolean {
  return FIELDS_OF_304.has((headers[index - (index % 2)] ?? "").toLowerCase());
}

export function getObjectAttributes(call: ObjectCall, { store }: OriginParts): Answer {
  const object = store.catalog.object(call.bucket.name, call.key);
  if (object === undefined) return noSuchKey(call);
  const asked = new Set(
    (call.inbound.fields.list("x-amz-object-attributes") ?? "")
      .split(",")
      .map((name) => name.trim()),
  );
  const { checksum, parts } = object;
  return xmlReply(
    "GetObjectAttributesResponse",
    {
      ETag: asked.has("ETag") ? object.etag : undefined,
      Checksum:
        asked.has("Checksum") && checksum !== undefined ? checksumElements(checksum) : undefined,
      ObjectParts:
        asked.has("ObjectParts") && parts !== undefined
          ? partsElement(call, object, parts)
          : undefined,
      StorageClass: asked.has("StorageClass") ? object.storageClass : undefined,
      ObjectSize: asked.has("ObjectSize") ? object.sizeBytes : undefined,
    },
    ["Last-Modified", formatHttpDate(object.modifiedAtMs)],
  );
}

/** One page of the parts an object was made of; the parameters are headers here. */
function partsElement(
  call: ObjectCall,
  object: ObjectRecord,
  parts: readonly ObjectPart[],
): XmlContent {
  const { fields } = call.inbound;
  const marker = Number(fields.get("x-amz-part-number-marker") ?? 0) || 0;
  const maxParts = Math.min(Number(fields.get("x-amz-max-parts") ?? PAGE_MAX) || 0, PAGE_MAX);
  const page = parts.slice(marker, marker + maxParts);
  const next = marker + page.length;
  return {
    PartsCount: parts.length,
    PartNumberMarker: marker,
    NextPartNumberMarker: next,
    MaxParts: maxParts,
    IsTruncated: next < parts.length,
    Part: page.map(({ sizeBytes, checksum }, index) => ({
      PartNumber: marker + index + 1,
      Size: sizeBytes,
      ...(object.checksum === undefined
        ? {}
        : { [`Checksum${object.checksum.algorithm}`]: checksum }),
    })),
  };
}
