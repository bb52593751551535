/**
 * Paging through sorted keys with prefix and delimiter: the part ListObjects,
 * ListObjectsV2 and ListObjectVersions have in common.
 *
 * Keys are ordered by their UTF-8 bytes, as S3 orders them. A common prefix counts
 * as one result, and the keys under it are skipped by seeking past them, so a
 * listing of "folders" costs one seek per folder and not one row per object.
 */

export interface ListRequest {
  readonly prefix: string;
  /** Empty: no grouping. */
  readonly delimiter: string;
  /** Results come strictly after this key or common prefix; empty: from the start. */
  readonly after: string;
  /** The most keys and common prefixes to answer. */
  readonly maxKeys: number;
}

export interface ListPage<Entry> {
  readonly entries: readonly Entry[];
  readonly commonPrefixes: readonly string[];
  readonly isTruncated: boolean;
  /** The last key or common prefix of a truncated page: `after` of the next one. */
  readonly nextAfter: string | undefined;
}

/**
 * Rows in key order starting at `from` (a UTF-8 key), at most `limit` of them.
 * Fewer than `limit` means the end was reached.
 */
export type ScanKeys<Entry> = (from: Uint8Array, limit: number) => readonly Entry[];

const SCAN_BATCH = 250;

/** Answers one page; asks `scan` only for what it needs. */
export function listKeys<Entry extends { readonly key: string }>(
  scan: ScanKeys<Entry>,
  request: ListRequest,
): ListPage<Entry> {
  const { prefix, delimiter, maxKeys } = request;
  const entries: Entry[] = [];
  const commonPrefixes: string[] = [];
  // S3 calls a page of nothing complete, even when there are keys.
  if (maxKeys === 0) return { entries, commonPrefixes, isTruncated: false, nextAfter: undefined };

  let from = startOf(request);
  let last = "";
  for (;;) {
    const remaining = maxKeys - entries.length - commonPrefixes.length;
    const batch = scan(from, Math.min(remaining + 1, SCAN_BATCH));
    let isSkipping = false;
    for (const entry of batch) {
      if (!entry.key.startsWith(prefix)) {
        return { entries, commonPrefixes, isTruncated: false, nextAfter: undefined };
      }
      if (entries.length + commonPrefixes.length === maxKeys) {
        return { entries, commonPrefixes, isTruncated: true, nextAfter: last };
      }
      const group = commonPrefixOf(entry.key, prefix, delimiter);
      if (group !== undefined) {
        commonPrefixes.push(group);
        last = group;
        from = afterPrefix(group);
        isSkipping = true;
        break;
      }
      entries.push(entry);
      last = entry.key;
      from = afterKey(entry.key);
    }
    if (!isSkipping && batch.length < Math.min(remaining + 1, SCAN_BATCH)) {
      return { entries, commonPrefixes, isTruncated: false, nextAfter: undefined };
    }
  }
}

/** The part of `key` up to and including the first delimiter after `prefix`, if there is one. */
export function commonPrefixOf(key: string, prefix: string, delimiter: string): string | undefined {
  if (delimiter === "" || !key.startsWith(prefix)) return undefined;
  const at = key.indexOf(delimiter, prefix.length);
  return at === -1 ? undefined : key.slice(0, at + delimiter.length);
}

function startOf({ prefix, delimiter, after }: ListRequest): Uint8Array {
  const first = encode(prefix);
  if (after === "") return first;
  // A page that ended with a common prefix goes on behind everything under it.
  const next =
    commonPrefixOf(after, prefix, delimiter) === after ? afterPrefix(after) : afterKey(after);
  return Buffer.compare(next, first) > 0 ? next : first;
}

/** The smallest key greater than `key`. */
function afterKey(key: string): Uint8Array {
  return encode(`${key}\0`);
}

/** The smallest key greater than every key that starts with `prefix`. */
function afterPrefix(prefix: string): Uint8Array {
  const bytes = encode(prefix);
  const last = bytes.length - 1;
  // No byte of UTF-8 is 0xff, so the last one can always be raised.
  bytes[last] = (bytes[last] ?? 0) + 1;
  return bytes;
}

function encode(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}
