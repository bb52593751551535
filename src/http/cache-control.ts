/**
 * `Cache-Control` (RFC 9111 §5.2), of requests and of responses.
 *
 * Directives are matched by name, in any case, quoted arguments included; a substring
 * search would take `max-age=0` out of `s-maxage=0`. What a directive means for a
 * read is decided in cache/.
 */

import type { Fields } from "./fields.ts";

export interface CacheControl {
  readonly noStore: boolean;
  /** Also for the qualified form `no-cache="field"`, which a cache may read as the plain one. */
  readonly noCache: boolean;
  /** Undefined when absent; 0 when present but unreadable, so that in doubt it is stale (§4.2.1). */
  readonly maxAgeSeconds: number | undefined;
  readonly sMaxAgeSeconds: number | undefined;
  readonly isPrivate: boolean;
  /** `must-revalidate` or, the same to a shared cache, `proxy-revalidate`. */
  readonly mustRevalidate: boolean;
  readonly onlyIfCached: boolean;
}

const NONE: CacheControl = {
  noStore: false,
  noCache: false,
  maxAgeSeconds: undefined,
  sMaxAgeSeconds: undefined,
  isPrivate: false,
  mustRevalidate: false,
  onlyIfCached: false,
};

// token [ "=" ( token / quoted-string ) ]; a quoted comma does not end a directive.
const DIRECTIVE = /([^\s,;="]+)(?:[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s,;"]*)))?/g;

// RFC 9111 §1.2.2: a recipient may cap delta-seconds, at no less than 2^31.
const LONGEST_SECONDS = 2 ** 31;

/** Reads every `Cache-Control` field of a message; the first of repeated directives counts. */
export function parseCacheControl(fields: Fields): CacheControl {
  const value = fields.list("cache-control");
  if (value === undefined) return NONE;
  const directives = new Map<string, string>();
  for (const [, name = "", quoted, bare] of value.matchAll(DIRECTIVE)) {
    const lowerName = name.toLowerCase();
    if (!directives.has(lowerName)) directives.set(lowerName, quoted ?? bare ?? "");
  }
  return {
    noStore: directives.has("no-store"),
    noCache: directives.has("no-cache"),
    maxAgeSeconds: secondsOf(directives.get("max-age")),
    sMaxAgeSeconds: secondsOf(directives.get("s-maxage")),
    isPrivate: directives.has("private"),
    mustRevalidate: directives.has("must-revalidate") || directives.has("proxy-revalidate"),
    onlyIfCached: directives.has("only-if-cached"),
  };
}

function secondsOf(argument: string | undefined): number | undefined {
  if (argument === undefined) return undefined;
  return /^\d+$/.test(argument) ? Math.min(Number(argument), LONGEST_SECONDS) : 0;
}
