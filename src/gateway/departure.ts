/**
 * What becomes of upstream's answer to a read: an object takes off as a flight into the
 * client's connection and the cache at once; anything else is relayed.
 *
 * The bytes of one flight are of one version: every part after the first answer is asked
 * for with `If-Match`, on behalf of the asker whose request opened it.
 */

import { readAll, type ByteSource } from "../base/byte-source.ts";
import { GatewayError } from "../base/errors.ts";
import { replayableHeaders, wholeFromPartial } from "../cache/entry.ts";
import type { FillPermit } from "../cache/cache.ts";
import type { Flight, FlightHead } from "../coalesce/flight.ts";
import type { Reply } from "../http/exchange.ts";
import { Fields, type RawHeaders } from "../http/fields.ts";
import { type ByteRange, formatRange, parseContentRange } from "../http/range.ts";
import type { ObjectId } from "../s3/object-id.ts";
import type { UpstreamResponse } from "../upstream/transport.ts";
import type { ReadState, XCache } from "./exchange-state.ts";
import { withFirstByte } from "./first-byte.ts";
import { bufferedAnswer, declaredLength, learned, relayAnswer, streamBody } from "./forward.ts";
import type { Parts } from "./parts.ts";
import { overriddenHeaders } from "./representation.ts";

/** Error bodies up to this size are shared among those who waited for them. */
const SHARED_ANSWER_BYTES = 64 * 1024;
/** A shorter body is read to its end: a new connection costs more than it. */
const WORTH_CLOSING_BYTES = 256 * 1024;

/** A read by the gateway with exactly the asker's rights; undefined when it cannot be signed. */
export async function sendOnBehalf(
  state: ReadState,
  parts: Parts,
  headers: RawHeaders,
  method: "GET" | "HEAD" = "GET",
): Promise<UpstreamResponse | undefined> {
  const call = parts.auth.onBehalf(state.who, { method, id: state.operation.id, headers });
  if (call === undefined) return undefined;
  return learned(state, parts, await parts.upstream.send(call));
}

/**
 * Whether the client gets upstream's answer as it is, because it is the answer to its own
 * request, or the representation it asked for, made from an answer to a request of ours.
 */
export type AnswerForm = "as-sent" | "as-requested";

/**
 * Turns upstream's answer to a read into a reply: an object takes off as a flight, whose
 * first reader is this client; anything else is relayed, and shared where that is right.
 */
export async function departOrRelay(
  state: ReadState,
  parts: Parts,
  flight: Flight,
  permit: FillPermit,
  answer: UpstreamResponse,
  xCache: XCache,
  form: AnswerForm = "as-sent",
): Promise<Reply> {
  const { flights, observer } = parts;
  const { id } = state.operation;
  const departure = state.inbound.method === "GET" ? partOf(answer) : undefined;
  if (departure === undefined) return relayOrShare(state, parts, flight, answer, xCache);

  // What is kept and shared is the plain answer; only this client asked for other headers.
  const dressed = overriddenHeaders(answer.headers, state.operation.overrides);
  const asker = reauthenticated(state, parts);
  const head: FlightHead = {
    ...departure.head,
    isPublic: asker.who.kind === "anonymous",
  };
  const fields = new Fields(answer.headers);
  const known = parts.cache.lookup(id, state.inbound.fields);
  const isKnown = known !== undefined && isSame(known, head) && parts.cache.isComplete(known);
  if (isKnown && parts.cache.isValid(permit)) {
    // Upstream sent what is stored already: renew the entry rather than write it again.
    parts.cache.refresh(known, departure.head.headers, head.isPublic);
  }
  const reply = await fromElsewhere(state, parts, head, permit, xCache);
  if (reply !== undefined) {
    flight.decline();
    flights.detach(id, flight);
    answer.body.close();
    return reply;
  }
  const fetchesRest = mayFetchRest(parts, id, departure);
  const isWorthStoring = fetchesRest || (head.sizeBytes ?? 0) >= parts.blocks.thresholdBytes;
  const fill =
    isKnown || !isWorthStoring
      ? undefined
      : parts.cache.beginFill({
          permit,
          status: answer.status,
          fields,
          headers: departure.head.headers,
          sizeBytes: departure.head.sizeBytes,
          requestFields: state.inbound.fields,
          isPublic: head.isPublic,
          expectedBytes:
            fetchesRest || departure.end === undefined
              ? undefined
              : departure.end - departure.start,
        });
  if (answer.status === 206 && fill === undefined && form === "as-sent") {
    flight.decline();
    return relayAnswer(state, parts, { ...answer, headers: dressed }, xCache);
  }
  // Once upstream is known to have another version, this one is for its readers only.
  let isOutdated = false;
  const outdated = () => {
    isOutdated = true;
    flights.detach(id, flight);
  };
  observer.flightBegan();
  flight.depart({
    head,
    start: departure.start,
    end: departure.end,
    source: answer.body,
    // What is only stored in the parts somebody reads is not waited for.
    fill: fill !== undefined && fetchesRest ? parts.landings.watch(flight, fill) : fill,
    missing: undefined,
    fetchesRest: fetchesRest && fill !== undefined,
    alignBytes: parts.blocks.alignBytes,
    stillPermitted: () => !isOutdated && parts.cache.isValid(permit),
    fetchPart: head.etag === undefined ? undefined : partFetcher(asker, parts, head.etag, outdated),
  });
  void flight.settled.then((outcome) => observer.fillSettled(id, outcome));
  const mayBeJoined = head.isPublic || parts.auth.mayRead(asker.who, id.bucket);
  // Without a place to keep them, the bytes of a part are of no use to anybody else.
  const isShareable = fill !== undefined || answer.status === 200;
  if (!isShareable) flights.detach(id, flight);
  else if (mayBeJoined && parts.cache.isValid(permit)) flights.list(id, flight);

  if (form === "as-requested" && head.sizeBytes !== undefined) {
    return parts.respond.fromFlight(
      state,
      head,
      head.sizeBytes,
      xCache,
      (range) => flight.reader(range),
      () => parts.landings.file(flight),
    );
  }
  const range =
    answer.status === 206 ? { start: departure.start, end: departure.end ?? 0 } : undefined;
  return parts.respond.relay(
    state,
    answer.status,
    dressed,
    {
      kind: "stream",
      source: flight.reader(range),
      lengthBytes: declaredLength(answer.headers),
      stored: range === undefined ? () => parts.landings.file(flight) : undefined,
    },
    xCache,
  );
}

/** One version, bytes and headers. The same bytes stored anew may have others; only the date tells. */
function isSame(one: Version, other: Version): boolean {
  return (
    one.etag === other.etag &&
    one.lastModified === other.lastModified &&
    one.sizeBytes === other.sizeBytes
  );
}

type Version = Pick<FlightHead, "etag" | "lastModified" | "sizeBytes">;

/**
 * The version upstream is about to send may be stored, or on its way for others, already:
 * its answer has just proven that this asker may read it, so the bytes need not be sent
 * again. That is what a herd of many keys, each to be learned, would make upstream do.
 */
async function fromElsewhere(
  state: ReadState,
  parts: Parts,
  head: FlightHead,
  permit: FillPermit,
  xCache: XCache,
): Promise<Reply | undefined> {
  const { cache, flights, respond, observer } = parts;
  const { sizeBytes } = head;
  if (sizeBytes === undefined || sizeBytes < WORTH_CLOSING_BYTES || head.etag === undefined) {
    return undefined;
  }
  if (!cache.isValid(permit)) return undefined; // what is here may be another version by now
  const entry = cache.lookup(state.operation.id, state.inbound.fields);
  if (entry !== undefined && isSame(entry, head)) {
    const age = cache.ageSeconds(entry);
    const served = await respond.fromEntry(state, entry, xCache, age, cache);
    if (served !== undefined) return served;
  }
  const running = flights.find(state.operation.id);
  if (running?.head === undefined || !isSame(running.head, head)) return undefined;
  const range = respond.wantedFrom(state, head, sizeBytes);
  if (running.hasEnded || !running.canServe(range?.start ?? 0)) return undefined;
  try {
    const source = range === undefined ? undefined : await withFirstByte(running.reader(range));
    observer.flightShared();
    return respond.fromFlight(
      state,
      running.head,
      sizeBytes,
      xCache,
      (wanted) => source ?? running.reader(wanted),
      () => parts.landings.file(running),
    );
  } catch {
    return undefined; // upstream's own answer is still there
  }
}

/** Whether bytes of the object that nobody asked for are fetched along with those of the answer. */
function mayFetchRest({ blocks, warmCredit }: Parts, id: ObjectId, part: Part): boolean {
  const { sizeBytes } = part.head;
  if (sizeBytes === undefined || part.end === undefined) return true;
  const readBytes = part.end - part.start;
  if (readBytes === sizeBytes) return true;
  if (sizeBytes >= blocks.thresholdBytes) return false;
  return warmCredit.mayFetchRest(id, readBytes, sizeBytes - readBytes);
}

/** The same request judged again, now that its answer may have taught its key and grant. */
function reauthenticated(state: ReadState, parts: Parts): ReadState {
  if (state.who.kind === "valid") return state;
  const who = parts.auth.authenticate(state.inbound, state.target);
  if (who.kind === "s3-error") return state;
  state.who = who;
  return state;
}

interface Part {
  readonly head: Omit<FlightHead, "isPublic">;
  readonly start: number;
  readonly end: number | undefined;
}

/** Which bytes of which object an answer brings; undefined when it is no part of an object. */
function partOf(answer: UpstreamResponse): Part | undefined {
  const fields = new Fields(answer.headers);
  const validator = { etag: fields.get("etag"), lastModified: fields.get("last-modified") };
  const headers = replayableHeaders(answer.headers);
  if (answer.status === 200) {
    const sizeBytes = declaredLength(answer.headers);
    return { head: { ...validator, headers, sizeBytes }, start: 0, end: sizeBytes };
  }
  if (answer.status !== 206) return undefined;
  const { range, sizeBytes } = parseContentRange(fields.get("content-range") ?? "") ?? {};
  if (range === undefined || sizeBytes === undefined) return undefined;
  if (declaredLength(answer.headers) !== range.end - range.start) return undefined;
  const whole = wholeFromPartial(headers, sizeBytes);
  return { head: { ...validator, headers: whole, sizeBytes }, ...range };
}

/**
 * Fetches further parts of the version with this ETag, as the asker that opened the flight.
 * `onChanged` is told when upstream has another one by now.
 */
export function partFetcher(
  state: ReadState,
  parts: Parts,
  etag: string,
  onChanged: () => void = () => undefined,
): ((range: ByteRange) => Promise<ByteSource>) | undefined {
  const asker = { ...state };
  if (asker.who.kind === "unproven") return undefined;
  return async (range) => {
    const headers = ["Range", formatRange(range), "If-Match", etag];
    const answer = await sendOnBehalf(asker, parts, headers);
    if (answer === undefined)
      throw new GatewayError("upstream_protocol", "the part cannot be signed");
    const part = partOf(answer);
    if (part !== undefined && part.head.etag === etag && answer.status === 206) {
      if (part.start === range.start && part.end === range.end) return answer.body;
    }
    answer.body.close();
    const isGone = answer.status === 404 || answer.status === 412;
    if (isGone || (part !== undefined && part.head.etag !== etag)) {
      onChanged();
      throw new GatewayError(
        "upstream_changed",
        "the object changed while it was fetched in parts",
      );
    }
    throw new GatewayError("upstream_protocol", `a part was answered with status ${answer.status}`);
  };
}

/** Not an object: a 404 or an upstream failure is the same for all who wait, anything else is private. */
async function relayOrShare(
  state: ReadState,
  parts: Parts,
  flight: Flight,
  answer: UpstreamResponse,
  xCache: XCache,
): Promise<Reply> {
  forgetWhenGone(state, parts, answer);
  const sizeBytes = declaredLength(answer.headers);
  const isForAll = answer.status === 404 || answer.status >= 500;
  if (!isForAll || sizeBytes === undefined || sizeBytes > SHARED_ANSWER_BYTES) {
    flight.decline();
    return relayAnswer(state, parts, answer, xCache);
  }
  let bytes: Uint8Array;
  try {
    bytes = await readAll(answer.body, SHARED_ANSWER_BYTES);
  } catch (failure) {
    answer.body.close();
    flight.decline();
    throw failure;
  }
  flight.answer({ status: answer.status, headers: replayableHeaders(answer.headers), bytes });
  return parts.respond.relay(
    state,
    answer.status,
    answer.headers,
    streamBody(state.inbound.method, bufferedAnswer(answer, bytes)),
    xCache,
  );
}

/** Upstream says the object is not there: an entry of it must not outlive that. */
export function forgetWhenGone(state: ReadState, parts: Parts, answer: UpstreamResponse): void {
  if (answer.status !== 404 || !state.operation.isPlain) return;
  const entry = parts.cache.lookup(state.operation.id, state.inbound.fields);
  if (entry !== undefined) parts.cache.forget(entry);
}
