/**
 * The head of an entry: everything known of the object except its body, as bytes.
 *
 * A JSON array: readable with any tool at three in the morning, and parsed once per
 * entry that comes into memory, so its cost does not show. Order of the elements is the
 * format (docs/storage-format.md, "Head"); new ones are appended.
 */

import type { ObjectMeta } from "./storage.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export function encodeHead(meta: ObjectMeta): Uint8Array {
  return encoder.encode(
    JSON.stringify([
      meta.id.bucket,
      meta.id.key,
      meta.sizeBytes,
      meta.etag,
      meta.lastModified ?? null,
      meta.headers,
      meta.storedAtMs,
      meta.freshUntilMs,
      meta.isPublic ? 1 : 0,
    ]),
  );
}

/** The head in `bytes`, or undefined when they are not a head. Never throws. */
export function decodeHead(bytes: Uint8Array): ObjectMeta | undefined {
  let parsed: unknown;
  try {
    parsed = JSON.parse(decoder.decode(bytes));
  } catch {
    return undefined;
  }
  if (!Array.isArray(parsed)) return undefined;
  const [bucket, key, sizeBytes, etag, lastModified, headers, storedAtMs, freshUntilMs, isPublic] =
    parsed as unknown[];
  if (
    typeof bucket !== "string" ||
    typeof key !== "string" ||
    typeof sizeBytes !== "number" ||
    typeof etag !== "string" ||
    (lastModified !== null && typeof lastModified !== "string") ||
    !isStrings(headers) ||
    typeof storedAtMs !== "number" ||
    typeof freshUntilMs !== "number"
  ) {
    return undefined;
  }
  return {
    id: { bucket, key },
    sizeBytes,
    etag,
    lastModified: lastModified ?? undefined,
    headers,
    storedAtMs,
    freshUntilMs,
    isPublic: isPublic === 1,
  };
}

function isStrings(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((item) => typeof item === "string");
}
