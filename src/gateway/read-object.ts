/**
 * GET and HEAD of an object: look up, decide, and serve, revalidate or fetch.
 *
 * Sharing starts after authorization (decision A5). Only a proven signature with a live
 * grant, or an anonymous read of what is proven public, may touch an entry or a flight;
 * everybody else goes upstream alone, on their own signature, and the answer teaches.
 */

import { unreachable } from "../base/assert.ts";
import { type Doubt, readWishes, type ReadWishes } from "../cache/decision.ts";
import type { Reply } from "../http/exchange.ts";
import { s3Error } from "../s3/error.ts";
import { objectIdString } from "../s3/object-id.ts";
import type { StoredObject } from "../storage/storage.ts";
import { fetchMissingParts } from "./fetch-missing.ts";
import type { ReadState, XCache } from "./exchange-state.ts";
import { fetchShared } from "./fetch-and-fill.ts";
import type { Parts } from "./parts.ts";
import { readAlone } from "./read-alone.ts";
import { revalidate } from "./revalidate.ts";
import { mayShare, serveEntry } from "./serve-entry.ts";

/** Synchronous on a hit that needs no disk check. */
export function readObject(state: ReadState, parts: Parts): Reply | Promise<Reply> {
  const { operation, inbound } = state;
  if (!operation.isPlain) return readAlone(state, parts, "MISS", "variant", { mayStore: false });

  const wishes = readWishes(inbound.fields);
  if (operation.overrides.length > 0 && state.who.kind !== "valid") {
    // S3 refuses overrides on unsigned requests; whether this one is signed upstream knows.
    return readAlone(state, parts, missLabel(wishes, parts), "overrides", { mayStore: false });
  }
  if (!parts.cache.admits(operation.id)) {
    return readAlone(state, parts, "BYPASS", "excluded", { mayStore: false });
  }
  const entry = parts.cache.lookup(operation.id, inbound.fields);
  if (entry === undefined && inbound.fields.has("origin")) {
    // What a page of another origin may see is upstream's to say, and no flight for others says it.
    const mayStore = !wishes.noStore;
    return readAlone(state, parts, missLabel(wishes, parts), "variant", { mayStore });
  }
  const isAllowed = mayShare(state, parts, entry);
  parts.observer.validated(state.who, isAllowed);
  if (!isAllowed) return learnFirst(state, parts, wishes);
  return readAuthorized(state, parts, wishes, entry);
}

/** For a reader that may have the object: whatever is fastest. */
function readAuthorized(
  state: ReadState,
  parts: Parts,
  wishes: ReadWishes,
  entry: StoredObject | undefined,
): Reply | Promise<Reply> {
  const decision = parts.cache.decide(entry, wishes);
  switch (decision.kind) {
    case "hit": {
      const reply = serveEntry(state, parts, decision.entry);
      return reply instanceof Promise
        ? servedOrFetched(state, parts, decision.entry, reply)
        : (reply ?? fetchAbsent(state, parts, decision.entry));
    }
    case "revalidate":
      return confirmed(state, parts, wishes, decision.entry, decision.because);
    case "miss":
      if (wishes.onlyIfCached) return parts.respond.error(state, s3Error("GatewayTimeout"));
      return fetchMissing(state, parts, "cold");
    case "bypass":
      return readAlone(state, parts, "BYPASS", "no_store", { mayStore: false });
    case "disabled":
      return fetchShared(state, parts, "DISABLED", "disabled");
    default:
      return unreachable(decision);
  }
}

async function servedOrFetched(
  state: ReadState,
  parts: Parts,
  entry: StoredObject,
  reply: Promise<Reply | undefined>,
): Promise<Reply> {
  return (await reply) ?? fetchAbsent(state, parts, entry);
}

/** Somebody else may be confirming the same entry; then its outcome is looked at like any entry. */
async function confirmed(
  state: ReadState,
  parts: Parts,
  wishes: ReadWishes,
  entry: StoredObject,
  because: Doubt,
): Promise<Reply> {
  const reply = await revalidate(state, parts, entry, because);
  if (reply !== "look-again") return reply;
  // What is stored now may have been fetched for somebody else: a public entry may be private,
  // and a grant may have ended during the wait.
  const now = parts.cache.lookup(state.operation.id, state.inbound.fields);
  if (mayShare(state, parts, now)) return readAuthorized(state, parts, wishes, now);
  return learnFirst(state, parts, wishes);
}

/** A flight can end between two looks, but not for ever. */
const LOOKS_MAX = 3;

/** The body of an entry is not all there: blocks of it were never fetched, or it is gone. */
async function fetchAbsent(state: ReadState, parts: Parts, entry: StoredObject): Promise<Reply> {
  const { cache, respond } = parts;
  let now: StoredObject | undefined = entry;
  for (let look = 0; look < LOOKS_MAX && now !== undefined; look += 1) {
    const wanted = respond.wantedFrom(state, now, now.sizeBytes);
    if (wanted === undefined || cache.missing(now, wanted).length === 0) {
      if (look === 0) break; // every part was stored, and yet it could not be read
      const served = await serveEntry(state, parts, now);
      if (served !== undefined) return served;
      break;
    }
    const reply = await fetchMissingParts(state, parts, now, wanted);
    if (reply === undefined) break;
    if (reply !== "look-again") return reply;
    now = cache.lookup(entry.id, state.inbound.fields);
  }
  return fetchMissing(state, parts, "body_gone");
}

function fetchMissing(state: ReadState, parts: Parts, reason: string): Promise<Reply> {
  return fetchShared(state, parts, "MISS", reason);
}

/**
 * Nothing proves yet that this asker may read. One request per key and bucket goes
 * upstream and teaches; the others wait for its answer and are judged again.
 */
async function learnFirst(state: ReadState, parts: Parts, wishes: ReadWishes): Promise<Reply> {
  const { auth, lessons, cache } = parts;
  const { operation, inbound } = state;
  const xCache = missLabel(wishes, parts);
  const topic = lessonTopic(state, parts);
  if (topic === undefined || wishes.noStore || !cache.isEnabled) {
    return readAlone(state, parts, xCache, "authz", { mayStore: !wishes.noStore });
  }
  const running = lessons.running(topic);
  if (running === undefined) {
    const lesson = lessons.begin(topic);
    parts.observer.lesson("taught");
    return readAlone(state, parts, xCache, "authz", { mayStore: true, lesson });
  }
  parts.observer.lesson(await running);
  const again = auth.authenticate(inbound, state.target);
  if (again.kind === "s3-error") return parts.respond.error(state, again);
  state.who = again;
  const entry = cache.lookup(operation.id, inbound.fields);
  if (mayShare(state, parts, entry)) return readAuthorized(state, parts, wishes, entry);
  return readAlone(state, parts, xCache, "authz", { mayStore: true });
}

/** What the lesson is about; undefined when no answer to another request could teach it. */
function lessonTopic(state: ReadState, parts: Parts): string | undefined {
  const { who, operation } = state;
  if (who.kind === "anonymous") return `anonymous ${objectIdString(operation.id)}`;
  if (parts.auth.lesson(who, operation.id.bucket) === "known") return undefined;
  return `${who.accessKeyId} ${operation.id.bucket}`;
}

function missLabel(wishes: ReadWishes, parts: Parts): XCache {
  if (!parts.cache.isEnabled) return "DISABLED";
  return wishes.noStore ? "BYPASS" : "MISS";
}
