/** Serving what is stored, and who may have it. */

import type { Reply } from "../http/exchange.ts";
import type { StoredObject } from "../storage/storage.ts";
import type { ReadState } from "./exchange-state.ts";
import type { Parts } from "./parts.ts";

/** Whether this asker may use entries and flights of the object. */
export function mayShare(
  state: ReadState,
  parts: Parts,
  entry: { readonly isPublic: boolean } | undefined,
): boolean {
  const { who, operation } = state;
  if (who.kind === "anonymous") {
    return (entry ?? parts.flights.find(operation.id)?.head)?.isPublic === true;
  }
  return parts.auth.mayRead(who, operation.id.bucket);
}

/** Answers with the stored entry; undefined when its body turns out to be gone. */
export function serveEntry(
  state: ReadState,
  parts: Parts,
  entry: StoredObject,
  more: readonly string[] = [],
): Reply | undefined | Promise<Reply | undefined> {
  const { cache, respond } = parts;
  cache.touch(entry);
  return respond.fromEntry(state, entry, "HIT", cache.ageSeconds(entry), cache, more);
}
