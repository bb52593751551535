/**
 * Byte ranges: which part of a stored object a `Range` header asks for.
 *
 * Pure grammar and arithmetic, so that the cache, the upstream client and the
 * peer protocol agree on one meaning of "the bytes the client wants". Nothing
 * here reads the body or builds a response.
 *
 * A single range is honoured. S3 documents that GetObject does not support
 * several ranges per request, and RFC 9110 §14.2 lets a server ignore any `Range`
 * header it does not want to serve, so a multi-range header means "the whole
 * object" rather than an error.
 */

import { unreachable } from "../base/assert.ts";

/** A half-open interval `[start, end)`, in bytes from the start of the object. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

/** What a `Range` header says before the size of the object is known. */
export type RangeSpec =
  | { readonly kind: "whole" }
  /** `[start, end)`, to the end of the object when `end` is undefined. */
  | { readonly kind: "span"; readonly start: number; readonly end: number | undefined }
  /** The last `lengthBytes` bytes. */
  | { readonly kind: "suffix"; readonly lengthBytes: number };

/** What it says about an object of known size. */
export type RangeRequest =
  | { readonly kind: "whole" }
  | { readonly kind: "partial"; readonly range: ByteRange }
  | { readonly kind: "unsatisfiable" };

const WHOLE = { kind: "whole" } as const;
const UNSATISFIABLE: RangeRequest = { kind: "unsatisfiable" };

// int-range ("0-499", "500-") or suffix-range ("-500"), RFC 9110 §14.1.1. The blanks and
// commas around it are the empty list members that §5.6.1 tells recipients to ignore.
const SINGLE_RANGE = /^bytes=[ \t,]*(\d*)-(\d*)[ \t,]*$/i;

/**
 * Reads a `Range` header, with all its values joined when it was repeated.
 *
 * Absent, malformed (first byte behind the last one included, §14.1.1) and multi-range
 * headers, and units other than bytes, all read as `whole`. Never throws.
 */
export function parseRangeHeader(header: string | undefined): RangeSpec {
  if (header === undefined) return WHOLE;
  const match = SINGLE_RANGE.exec(header);
  if (match === null) return WHOLE;
  const [, first = "", last = ""] = match;
  if (first === "") {
    if (last === "") return WHOLE; // "bytes=-" names no range at all
    return { kind: "suffix", lengthBytes: offsetOf(last) };
  }
  const start = offsetOf(first);
  if (last === "") return { kind: "span", start, end: undefined };
  const lastInclusive = offsetOf(last);
  return lastInclusive < start ? WHOLE : { kind: "span", start, end: lastInclusive + 1 };
}

// "bytes=0-9223372036854775807" is what Java clients send for "all of it". Offsets beyond
// 2^53 are no longer exact, but no object reaches them, so the cap only has to be higher
// than any size (and leave room for the +1).
function offsetOf(digits: string): number {
  return Math.min(Number(digits), Number.MAX_SAFE_INTEGER - 1);
}

/**
 * Applies a `RangeSpec` to an object of `sizeBytes` bytes.
 *
 * `unsatisfiable` means the caller answers 416 (§15.5.17) with the object size in
 * `Content-Range`; S3 calls it `InvalidRange`. An empty object satisfies no range,
 * because `Content-Range` cannot name zero bytes.
 */
export function resolveRangeSpec(spec: RangeSpec, sizeBytes: number): RangeRequest {
  switch (spec.kind) {
    case "whole":
      return WHOLE;
    case "suffix": {
      if (spec.lengthBytes === 0 || sizeBytes === 0) return UNSATISFIABLE;
      const start = Math.max(0, sizeBytes - spec.lengthBytes);
      return { kind: "partial", range: { start, end: sizeBytes } };
    }
    case "span": {
      if (spec.start >= sizeBytes) return UNSATISFIABLE;
      const end = Math.min(spec.end ?? sizeBytes, sizeBytes);
      return { kind: "partial", range: { start: spec.start, end } };
    }
    default:
      return unreachable(spec);
  }
}

/**
 * Resolves a `Range` header against an object of `sizeBytes` bytes; the two steps above
 * in one. Never throws.
 */
export function resolveRange(header: string | undefined, sizeBytes: number): RangeRequest {
  return header === undefined ? WHOLE : resolveRangeSpec(parseRangeHeader(header), sizeBytes);
}

/** The `Range` value that asks for exactly `range`, which must not be empty. */
export function formatRange(range: ByteRange): string {
  return `bytes=${range.start}-${range.end - 1}`;
}

/** `Content-Range` of a 206 (RFC 9110 §14.4): `bytes 0-9/100`. */
export function formatContentRange(range: ByteRange, sizeBytes: number): string {
  return `bytes ${range.start}-${range.end - 1}/${sizeBytes}`;
}

/** `Content-Range` of a 416: names only the size. */
export function formatUnsatisfiedRange(sizeBytes: number): string {
  return `bytes */${sizeBytes}`;
}

/** What a `Content-Range` value says. */
export interface ContentRange {
  /** The bytes that follow; undefined in a 416. */
  readonly range: ByteRange | undefined;
  /** Complete length of the object; undefined when the sender did not know it (`/*`). */
  readonly sizeBytes: number | undefined;
}

// Fifteen digits keep every offset below 2^53, where numbers are still exact: here the
// numbers describe bytes that are stored, so an inexact one is worse than none.
const CONTENT_RANGE = /^bytes (?:(\d{1,15})-(\d{1,15})|\*)\/(\d{1,15}|\*)$/i;

/**
 * Reads a `Content-Range` value. Undefined when it is not one, names bytes beyond the
 * size, is empty, or says nothing at all; a part that cannot be placed is not to be stored.
 */
export function parseContentRange(value: string): ContentRange | undefined {
  const match = CONTENT_RANGE.exec(value.trim());
  if (match === null) return undefined;
  const [, first, last, size] = match;
  const sizeBytes = size === undefined || size === "*" ? undefined : Number(size);
  if (first === undefined || last === undefined) {
    return sizeBytes === undefined ? undefined : { range: undefined, sizeBytes };
  }
  const range = { start: Number(first), end: Number(last) + 1 };
  if (range.end <= range.start) return undefined;
  if (sizeBytes !== undefined && range.end > sizeBytes) return undefined;
  return { range, sizeBytes };
}
