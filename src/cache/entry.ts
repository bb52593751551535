/**
 * From an upstream answer to what is kept of it, and back.
 *
 * A hit must look like the miss it came from, so every end-to-end field is kept, in
 * order, in its case, repeats included. Left out is only what belongs to one
 * exchange: hop-by-hop fields, dates of sending, request ids, and marks of caches.
 */

import { Fields, type RawHeaders, withoutFields } from "../http/fields.ts";
import { stripHopByHop } from "../http/hop-by-hop.ts";
import type { ObjectId } from "../s3/object-id.ts";
import type { ObjectMeta } from "../storage/storage.ts";
import { freshUntilMs } from "./freshness.ts";

/** Fields that describe one exchange and not the object. */
const OF_ONE_EXCHANGE = new Set([
  "age",
  "date",
  "warning",
  "x-cache",
  "x-amz-request-id",
  "x-amz-id-2",
  "x-request-id",
  "server-timing",
]);

/** The part of an answer's headers that is replayed on hits. */
export function replayableHeaders(headers: RawHeaders): string[] {
  return withoutFields(stripHopByHop(headers), (name) => OF_ONE_EXCHANGE.has(name));
}

export interface EntrySource {
  readonly id: ObjectId;
  readonly headers: RawHeaders;
  readonly sizeBytes: number;
  readonly receivedAtMs: number;
  readonly ttlMs: number;
  readonly isPublic: boolean;
}

/** The entry's metadata; the answer must carry an ETag (admission sees to that). */
export function metaOf(source: EntrySource): ObjectMeta {
  const fields = new Fields(source.headers);
  return {
    id: source.id,
    sizeBytes: source.sizeBytes,
    etag: fields.get("etag") ?? "",
    lastModified: fields.get("last-modified"),
    headers: replayableHeaders(source.headers),
    storedAtMs: source.receivedAtMs,
    freshUntilMs: freshUntilMs(fields, source.receivedAtMs, source.ttlMs),
    isPublic: source.isPublic,
  };
}

/** Fields a 304 must not replace, since they describe the stored bytes (RFC 9111 §3.2). */
const OF_THE_BODY = new Set([
  "content-length",
  "content-encoding",
  "content-type",
  "content-range",
  "etag",
]);

/** Stored headers renewed by those of a 304 (RFC 9111 §4.3.4): same order, new fields at the end. */
export function refreshedHeaders(stored: RawHeaders, notModified: RawHeaders): RawHeaders {
  const news = new Fields(
    withoutFields(replayableHeaders(notModified), (name) => OF_THE_BODY.has(name)),
  );
  const written = new Set<string>();
  const result: string[] = [];
  for (let at = 0; at + 1 < stored.length; at += 2) {
    const name = stored[at] ?? "";
    const lower = name.toLowerCase();
    if (!news.has(lower)) result.push(name, stored[at + 1] ?? "");
    else if (!written.has(lower)) {
      written.add(lower);
      for (const value of news.all(lower)) result.push(name, value);
    }
  }
  for (let at = 0; at + 1 < news.raw.length; at += 2) {
    const name = news.raw[at] ?? "";
    if (!written.has(name.toLowerCase())) result.push(name, news.raw[at + 1] ?? "");
  }
  return result;
}

/**
 * Headers of the whole object, from those of a 206 with a part of it. `Content-Range`
 * goes, `Content-Length` becomes the size; everything else is the same on both.
 */
export function wholeFromPartial(headers: RawHeaders, sizeBytes: number): string[] {
  const whole: string[] = [];
  for (let at = 0; at + 1 < headers.length; at += 2) {
    const name = headers[at] ?? "";
    const lower = name.toLowerCase();
    if (lower === "content-range") continue;
    whole.push(name, lower === "content-length" ? String(sizeBytes) : (headers[at + 1] ?? ""));
  }
  return whole;
}
