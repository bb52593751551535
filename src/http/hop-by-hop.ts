/**
 * Hop-by-hop fields (RFC 9110 §7.6.1): they belong to one connection and are passed on
 * neither upstream nor to the client, nor stored.
 */

import { withoutFields } from "./fields.ts";
import type { RawHeaders } from "./fields.ts";

const HOP_BY_HOP: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "trailer", // we read HTTP trailers of nobody, so we announce none
  "transfer-encoding",
  "upgrade",
]);

// A sender must not name fields meant for all recipients in `Connection`. These are the ones
// whose removal would change who asks, what is asked, or where a message ends.
const NEVER_NOMINATED: ReadonlySet<string> = new Set([
  "authorization",
  "cache-control",
  "content-length",
  "host",
]);

const NONE: ReadonlySet<string> = new Set();

/** The lower-case field names that the message's own `Connection` field nominates. */
export function connectionTokens(raw: RawHeaders): ReadonlySet<string> {
  let tokens: Set<string> | undefined;
  for (let at = 0; at + 1 < raw.length; at += 2) {
    if ((raw[at] ?? "").toLowerCase() !== "connection") continue;
    for (const token of (raw[at + 1] ?? "").toLowerCase().split(",")) {
      tokens ??= new Set();
      tokens.add(token.trim());
    }
  }
  return tokens ?? NONE;
}

/** Whether a field ends at this hop: by its name, or because `Connection` nominates it. */
export function isHopByHop(lowerName: string, tokens: ReadonlySet<string> = NONE): boolean {
  if (HOP_BY_HOP.has(lowerName)) return true;
  return tokens.has(lowerName) && !NEVER_NOMINATED.has(lowerName);
}

/** `raw` without its hop-by-hop fields; order, case and repeats of the rest are kept. */
export function stripHopByHop(raw: RawHeaders): string[] {
  const tokens = connectionTokens(raw);
  return withoutFields(raw, (lowerName) => isHopByHop(lowerName, tokens));
}
