/**
 * A miss of somebody who may read: one upstream fetch per object, streamed to everybody
 * who asks meanwhile and into the cache at the same time.
 *
 * Opening a flight: the first reader's own request goes upstream when it asks for the plain
 * object. A range is asked for on its behalf, in whole blocks, and so is every further
 * byte: with the rights it has proven, guarded by `If-Match` so that one body never mixes
 * two versions.
 */

import type { ByteSource } from "../base/byte-source.ts";
import { errorCode } from "../base/errors.ts";
import { readWishes } from "../cache/decision.ts";
import type { Flight, FlightHead } from "../coalesce/flight.ts";
import { hasPreconditions } from "../http/conditional.ts";
import type { Reply } from "../http/exchange.ts";
import { parseRangeHeader, type RangeSpec } from "../http/range.ts";
import { s3Error } from "../s3/error.ts";
import type { UpstreamResponse } from "../upstream/transport.ts";
import { departOrRelay, sendOnBehalf } from "./departure.ts";
import type { ReadState, XCache } from "./exchange-state.ts";
import { withFirstByte } from "./first-byte.ts";
import { isReply, sendOwn } from "./forward.ts";
import type { Parts } from "./parts.ts";
import { alignedRange } from "./range-plan.ts";
import { readAlone } from "./read-alone.ts";
import { mayShare, serveEntry } from "./serve-entry.ts";

/** A flight may end without a usable answer; after so many tries the reader goes alone. */
const JOINS_MAX = 3;

/** Reads through a flight: joins the running one, or opens it. */
export async function fetchShared(
  state: ReadState,
  parts: Parts,
  xCache: XCache,
  reason: string,
): Promise<Reply> {
  state.reason = reason;
  const { flights, cache } = parts;
  const { id } = state.operation;
  if (state.inbound.method === "HEAD") {
    return readAlone(state, parts, xCache, reason, { mayStore: false });
  }
  for (let attempt = 0; attempt < JOINS_MAX; attempt += 1) {
    const flight = flights.find(id);
    if (flight === undefined) return open(state, parts, xCache);
    if (attempt === 0 && readWishes(state.inbound.fields).revalidate) {
      // The client distrusts what is older than its request, and this flight is.
      return readAlone(state, parts, xCache, "client", { mayStore: true });
    }
    const joined = await join(state, parts, flight, xCache);
    if (joined !== undefined) return joined;
    // The flight is over: what it brought is in the cache by now, if anywhere. It may have brought
    // nothing, and what is there is what was there before and has expired.
    const entry = cache.lookup(id, state.inbound.fields);
    const decision = cache.decide(entry, readWishes(state.inbound.fields));
    const isExpired = decision.kind === "revalidate" && decision.because === "expired";
    if (entry !== undefined && !isExpired && mayShare(state, parts, entry)) {
      const reply = await serveEntry(state, parts, entry);
      if (reply !== undefined) return reply;
    }
  }
  return readAlone(state, parts, xCache, reason, { mayStore: false });
}

/** A reply from a flight somebody else opened; undefined when it had nothing for this reader. */
async function join(
  state: ReadState,
  parts: Parts,
  flight: Flight,
  xCache: XCache,
): Promise<Reply | undefined> {
  if (!state.slot.enterUpstream()) return parts.respond.error(state, s3Error("SlowDown"));
  if (flight.hasEnded) {
    await flight.settled;
    return undefined;
  }
  const opening = await flight.opening;
  switch (opening.kind) {
    case "not-shared":
      return undefined;
    case "answer":
      parts.observer.flightShared();
      return parts.respond.shared(state, opening.answer, xCache);
    case "object":
      break;
  }
  const { head } = opening;
  if (state.who.kind === "anonymous" && !head.isPublic) {
    return readAlone(state, parts, xCache, "authz", { mayStore: true });
  }
  if (flight.hasEnded) {
    await flight.settled;
    return undefined;
  }
  if (head.sizeBytes === undefined) {
    return readAlone(state, parts, xCache, "late", { mayStore: false });
  }
  const start = parts.respond.wantedFrom(state, head, head.sizeBytes)?.start ?? 0;
  if (!flight.canServe(start)) {
    // Too late for this one: those who are share the next, unless the object is stored by now.
    parts.flights.detach(state.operation.id, flight);
    return undefined;
  }
  return fromBegun(state, parts, flight, head, xCache);
}

/** A reply with bytes of the flight; undefined when it turns out to have none for this reader after all. */
async function fromBegun(
  state: ReadState,
  parts: Parts,
  flight: Flight,
  head: FlightHead,
  xCache: XCache,
): Promise<Reply | undefined> {
  const { respond, observer } = parts;
  const { sizeBytes = 0 } = head;
  const range = respond.wantedFrom(state, head, sizeBytes);
  let source: ByteSource | undefined;
  try {
    if (range !== undefined) source = await withFirstByte(flight.reader(range));
  } catch (failure) {
    if (errorCode(failure) !== "upstream_changed") {
      // Somebody else's request failed, which says little about this one.
      return readAlone(state, parts, xCache, "late", { mayStore: false });
    }
    // Written or deleted since the flight began: nobody else is to meet it.
    if (parts.flights.find(state.operation.id) === flight) parts.flights.detach(state.operation.id);
    return undefined;
  }
  observer.flightShared();
  return respond.fromFlight(
    state,
    head,
    sizeBytes,
    xCache,
    (wanted) => source ?? flight.reader(wanted),
    () => parts.landings.file(flight),
  );
}

/** Opens a flight with this reader's request. */
async function open(state: ReadState, parts: Parts, xCache: XCache): Promise<Reply> {
  const { flights, cache, respond } = parts;
  if (!state.slot.enterUpstream()) return respond.error(state, s3Error("SlowDown"));
  const { fields } = state.inbound;
  const { id } = state.operation;
  const isConditional = hasPreconditions(fields) || fields.has("if-range");
  const range = parseRangeHeader(fields.get("range"));
  const isRanged = range.kind !== "whole";
  if (isConditional || (isRanged && !cache.isEnabled)) {
    // The answer may be a 304 or a part, which is nobody else's business; a 200 is shared.
    return readAlone(state, parts, xCache, state.reason ?? "cold", { mayStore: true });
  }
  const permit = cache.permit(id);
  const flight = flights.create();
  flights.list(id, flight);
  try {
    const isDressed = state.operation.overrides.length > 0;
    if (isDressed || isRanged) {
      const answer = await sendPlain(state, parts, range);
      if (answer?.status === 416) {
        // In whole blocks there is nothing either; S3's own words are about the range as asked.
        answer.body.close();
        flight.decline();
        return await readAlone(state, parts, xCache, state.reason ?? "cold", { mayStore: false });
      }
      if (answer !== undefined) {
        return await departOrRelay(state, parts, flight, permit, answer, xCache, "as-requested");
      }
      if (isDressed) {
        flight.decline();
        return await readAlone(state, parts, xCache, "overrides", { mayStore: false });
      }
    }
    const answer = await sendOwn(state, parts);
    if (isReply(answer)) {
      flight.decline();
      return answer;
    }
    return await departOrRelay(state, parts, flight, permit, answer, xCache);
  } catch (failure) {
    flight.fail(failure instanceof Error ? failure : new Error("fetch failed", { cause: failure }));
    throw failure;
  }
}

/**
 * The object on the asker's behalf, in whole blocks around the range it wants: for a request
 * whose own answer would have other borders, or be dressed up in other headers. Undefined
 * when that cannot be signed.
 */
function sendPlain(
  state: ReadState,
  parts: Parts,
  range: RangeSpec,
): Promise<UpstreamResponse | undefined> {
  const value = alignedRange(range, parts.blocks.alignBytes);
  return sendOnBehalf(state, parts, value === undefined ? [] : ["Range", value]);
}
