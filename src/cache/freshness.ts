/**
 * How long an answer may be reused without asking again (RFC 9111 §4.2).
 *
 * The operator's `cache.ttl` is the bound on staleness; what the object itself says
 * can only shorten it. S3 objects often carry a `max-age` of a year meant for
 * browsers: taken literally it would hide overwrites made past this gateway.
 */

import { parseCacheControl } from "../http/cache-control.ts";
import { parseHttpDate } from "../http/date.ts";
import type { Fields } from "../http/fields.ts";

/** Unix milliseconds until which an answer received at `receivedAtMs` is fresh; not after `receivedAtMs + ttlMs`. */
export function freshUntilMs(fields: Fields, receivedAtMs: number, ttlMs: number): number {
  const directives = parseCacheControl(fields);
  if (directives.noCache) return receivedAtMs;
  const ageMs = secondsField(fields.get("age")) * 1000;
  const lifetimeMs = explicitLifetimeMs(fields, directives) ?? ttlMs;
  return receivedAtMs + Math.max(0, Math.min(ttlMs, lifetimeMs - ageMs));
}

/** `s-maxage`, else `max-age`, else `Expires` minus `Date` (RFC 9111 §4.2.1); undefined when none says. */
function explicitLifetimeMs(
  fields: Fields,
  directives: ReturnType<typeof parseCacheControl>,
): number | undefined {
  const seconds = directives.sMaxAgeSeconds ?? directives.maxAgeSeconds;
  if (seconds !== undefined) return seconds * 1000;
  const expires = fields.get("expires");
  if (expires === undefined) return undefined;
  const expiresAtMs = parseHttpDate(expires);
  // An unreadable date, "0" above all, means already expired (RFC 9111 §5.3).
  if (expiresAtMs === undefined) return 0;
  const date = fields.get("date");
  const sentAtMs = date === undefined ? undefined : parseHttpDate(date);
  return sentAtMs === undefined ? undefined : Math.max(0, expiresAtMs - sentAtMs);
}

function secondsField(value: string | undefined): number {
  return value !== undefined && /^\d{1,10}$/.test(value.trim()) ? Number(value) : 0;
}
