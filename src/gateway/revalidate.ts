/**
 * Revalidation: an entry that is stale, or that the client distrusts, is confirmed by
 * upstream before it is used (RFC 9111 §4.3), with the rights of the asker and no wider.
 *
 *   304              the entry is renewed and served: HIT
 *   200              another version: it replaces the entry while it streams: REVALIDATED
 *   404              the object is gone, and so is the entry
 *   403              this asker lost the right; auth has learned it, the answer is relayed
 *   5xx, no answer   the stale copy is served, marked, for `cache.stale_if_error`
 */

import type { Doubt } from "../cache/decision.ts";
import type { Reply } from "../http/exchange.ts";
import { Fields } from "../http/fields.ts";
import { objectIdString } from "../s3/object-id.ts";
import { s3Error } from "../s3/error.ts";
import type { StoredObject } from "../storage/storage.ts";
import type { UpstreamResponse } from "../upstream/transport.ts";
import type { ReadState } from "./exchange-state.ts";
import { departOrRelay, forgetWhenGone, sendOnBehalf } from "./departure.ts";
import { fetchShared } from "./fetch-and-fill.ts";
import { relayAnswer } from "./forward.ts";
import type { Parts } from "./parts.ts";
import type { StaleReason } from "./accounting.ts";
import { overriddenHeaders } from "./representation.ts";
import { errorOfFailure } from "./respond.ts";
import { readAlone } from "./read-alone.ts";
import { serveEntry } from "./serve-entry.ts";

/** RFC 9111 §5.5 (of RFC 7234): the copy could not be confirmed. */
const STALE_WARNING = ["Warning", '111 - "Revalidation Failed"'];

/** Entries being confirmed that nobody may use before: the others wait and look again. By parts, so that tests share nothing. */
const confirming = new WeakMap<Parts, Map<string, Promise<void>>>();

/** Confirms `entry`; "look-again" when somebody else has just done so, with whatever result. */
export async function revalidate(
  state: ReadState,
  parts: Parts,
  entry: StoredObject,
  because: Doubt,
): Promise<Reply | "look-again"> {
  state.reason = because;
  if (because === "client") return confirm(state, parts, entry);

  const running = confirming.get(parts) ?? new Map<string, Promise<void>>();
  confirming.set(parts, running);
  const name = `${state.who.kind === "anonymous" ? "anonymous" : "signed"} ${objectIdString(entry.id)}`;
  const earlier = running.get(name);
  if (earlier !== undefined) {
    await earlier;
    const now = parts.cache.lookup(entry.id, state.inbound.fields);
    const isConfirmed = now !== undefined && now.storedAtMs !== entry.storedAtMs;
    if (isConfirmed || now === undefined) return "look-again";
    return confirm(state, parts, entry);
  }
  const { promise, resolve } = Promise.withResolvers<void>();
  running.set(name, promise);
  try {
    return await confirm(state, parts, entry);
  } finally {
    running.delete(name);
    resolve();
  }
}

async function confirm(state: ReadState, parts: Parts, entry: StoredObject): Promise<Reply> {
  const { cache, observer, flights } = parts;
  const permit = cache.permit(entry.id);
  if (!state.slot.enterUpstream()) return parts.respond.error(state, s3Error("SlowDown"));
  observer.revalidation("triggered");

  const method = state.inbound.method === "HEAD" ? "HEAD" : "GET";
  const validators = ["If-None-Match", entry.etag];
  if (entry.lastModified !== undefined) validators.push("If-Modified-Since", entry.lastModified);
  let answer: UpstreamResponse | undefined;
  try {
    answer = await sendOnBehalf(state, parts, validators, method);
  } catch (failure) {
    const stale = await serveStale(state, parts, entry, staleReason(failure));
    if (stale === undefined) throw failure;
    return stale;
  }
  if (answer === undefined) {
    // The asker's key for today is not learned: its own request has to do.
    return readAlone(state, parts, "MISS", "authz", { mayStore: true });
  }
  if (answer.status === 304) {
    answer.body.close();
    observer.revalidation("not_modified");
    if (isRewritten(entry, answer)) {
      cache.forget(entry);
      return fetchShared(state, parts, "REVALIDATED", "rewritten");
    }
    const renewed = cache.isValid(permit)
      ? cache.refresh(entry, answer.headers, state.who.kind === "anonymous")
      : undefined;
    // A write came in between, or the entry was evicted: what upstream confirmed is not here.
    if (renewed === undefined) return fetchShared(state, parts, "MISS", "expired");
    state.isRevalidated = true;
    return (
      (await serveEntry(state, parts, renewed)) ?? fetchShared(state, parts, "MISS", "body_gone")
    );
  }
  if (answer.status >= 500) {
    const stale = await serveStale(state, parts, entry, "server_error");
    if (stale === undefined) return relayAnswer(state, parts, answer, "MISS");
    answer.body.close();
    return stale;
  }
  if (answer.status === 200) {
    observer.revalidation("updated");
    cache.forget(entry);
    // A flight that is known to bring another version is joined by nobody any more.
    const running = flights.find(entry.id);
    const isOther = running?.head !== undefined && running.head.etag !== etagOf(answer);
    if (isOther) flights.detach(entry.id, running);
    if (method === "HEAD") {
      const headers = overriddenHeaders(answer.headers, state.operation.overrides);
      return relayAnswer(state, parts, { ...answer, headers }, "REVALIDATED");
    }
    // The new version, in the representation the client asked for, and into the cache.
    const flight = flights.create();
    return departOrRelay(state, parts, flight, permit, answer, "REVALIDATED", "as-requested");
  }
  observer.revalidation("failed");
  forgetWhenGone(state, parts, answer);
  return relayAnswer(state, parts, answer, "MISS");
}

/**
 * The same bytes were stored anew, perhaps with other metadata: a 304 does not bring those,
 * but it tells the later date.
 */
function isRewritten(entry: StoredObject, notModified: UpstreamResponse): boolean {
  const date = new Fields(notModified.headers).get("last-modified");
  return date !== undefined && entry.lastModified !== undefined && date !== entry.lastModified;
}

function etagOf(answer: UpstreamResponse): string | undefined {
  return new Fields(answer.headers).get("etag");
}

/** Timeouts are told apart: they point to a slow upstream, the others to one that is gone. */
function staleReason(failure: unknown): StaleReason {
  return errorOfFailure(failure).code === "GatewayTimeout" ? "timeout" : "unreachable";
}

/** The copy that could not be confirmed, marked; undefined when it is too old, or gone. */
async function serveStale(
  state: ReadState,
  parts: Parts,
  entry: StoredObject,
  because: StaleReason,
): Promise<Reply | undefined> {
  const { cache, observer } = parts;
  observer.revalidation("failed");
  if (!cache.mayServeStale(entry)) return undefined;
  const reply = await serveEntry(state, parts, entry, STALE_WARNING);
  if (reply === undefined) return undefined;
  state.reason = "stale_if_error";
  observer.staleServed(entry, because, cache.ageSeconds(entry));
  return reply;
}
