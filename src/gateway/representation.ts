/**
 * What of an object a request asks for: all of it, a part, or an answer without a body.
 *
 * Preconditions come first, then the range (RFC 9110 §13.2.2 and §14.2). Pure, and the
 * same for a hit, for an answer that is just arriving and for HEAD.
 */

import { evaluatePreconditions, ifRangeMatches, type Validator } from "../http/conditional.ts";
import { Fields, type RawHeaders } from "../http/fields.ts";
import { type ByteRange, formatContentRange, resolveRange } from "../http/range.ts";

export type Representation =
  | { readonly kind: "whole" }
  | { readonly kind: "partial"; readonly range: ByteRange }
  | { readonly kind: "not-modified" }
  | { readonly kind: "precondition-failed" }
  | { readonly kind: "unsatisfiable" };

const WHOLE: Representation = { kind: "whole" };

/** Decides which representation of an object of `sizeBytes` a GET or HEAD gets. Never throws. */
export function selectRepresentation(
  request: Fields,
  method: string,
  validator: Validator,
  sizeBytes: number,
): Representation {
  switch (evaluatePreconditions(request, validator, method)) {
    case "not-modified":
      return { kind: "not-modified" };
    case "precondition-failed":
      return { kind: "precondition-failed" };
    case "proceed":
      break;
  }
  const range = request.get("range");
  if (range === undefined || !ifRangeMatches(request, validator)) return WHOLE;
  return resolveRange(range, sizeBytes);
}

/**
 * Headers of a 206 from those of the 200: `Content-Length` and `Content-Range` tell the
 * part. Checksums go, since they are of the whole and clients verify what they are given
 * (S3 sends none with a range either).
 */
export function partialHeaders(whole: RawHeaders, range: ByteRange, sizeBytes: number): string[] {
  const headers: string[] = [];
  let saysAcceptRanges = false;
  for (let at = 0; at + 1 < whole.length; at += 2) {
    const name = whole[at] ?? "";
    const lower = name.toLowerCase();
    if (lower === "content-length" || lower.startsWith("x-amz-checksum-")) continue;
    if (lower === "accept-ranges") saysAcceptRanges = true;
    headers.push(name, whole[at + 1] ?? "");
  }
  if (!saysAcceptRanges) headers.push("Accept-Ranges", "bytes");
  headers.push("Content-Length", String(range.end - range.start));
  headers.push("Content-Range", formatContentRange(range, sizeBytes));
  return headers;
}

/** What a 304 must repeat of the 200 (RFC 9110 §15.4.5), and `Last-Modified`, which S3 adds. */
const OF_NOT_MODIFIED = new Set([
  "cache-control",
  "content-location",
  "etag",
  "expires",
  "last-modified",
  "vary",
]);

export function notModifiedHeaders(whole: RawHeaders): string[] {
  const headers: string[] = [];
  for (let at = 0; at + 1 < whole.length; at += 2) {
    const name = whole[at] ?? "";
    if (OF_NOT_MODIFIED.has(name.toLowerCase())) headers.push(name, whole[at + 1] ?? "");
  }
  return headers;
}

/** `headers` with the `response-…` parameters of a signed request applied (S3 GetObject). */
export function overriddenHeaders(
  headers: RawHeaders,
  overrides: readonly { readonly header: string; readonly value: string }[],
): RawHeaders {
  if (overrides.length === 0) return headers;
  const replaced = new Fields(overrides.flatMap(({ header, value }) => [header, value]));
  const result: string[] = [];
  for (let at = 0; at + 1 < headers.length; at += 2) {
    const name = headers[at] ?? "";
    if (!replaced.has(name.toLowerCase())) result.push(name, headers[at + 1] ?? "");
  }
  result.push(...replaced.raw);
  return result;
}
