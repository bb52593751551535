/**
 * An entry that holds some blocks of a large object: what is missing of the range a
 * reader wants is fetched, and stays; the rest is left alone.
 *
 * Upstream is only asked for bytes of the very version that is stored (`If-Match`). The
 * first of them are awaited before the answer begins, so that an object which has changed
 * meanwhile is noticed in time and read anew.
 */

import { bytesSource } from "../base/byte-source.ts";
import { errorCode } from "../base/errors.ts";
import { fieldsOf } from "../cache/cache.ts";
import type { Flight } from "../coalesce/flight.ts";
import type { Reply } from "../http/exchange.ts";
import type { ByteRange } from "../http/range.ts";
import { s3Error } from "../s3/error.ts";
import type { StoredObject } from "../storage/storage.ts";
import { partFetcher } from "./departure.ts";
import type { ReadState } from "./exchange-state.ts";
import { withFirstByte } from "./first-byte.ts";
import type { Parts } from "./parts.ts";

/**
 * Undefined when the entry is of no use: it was dropped, and the object is to be fetched.
 * "look-again" when a flight of the object has just ended: what it brought is stored now.
 */
export async function fetchMissingParts(
  state: ReadState,
  parts: Parts,
  entry: StoredObject,
  range: ByteRange,
): Promise<Reply | "look-again" | undefined> {
  const { cache, flights, respond } = parts;
  if (!state.slot.enterUpstream()) return respond.error(state, s3Error("SlowDown"));
  state.reason = "missing_blocks";
  const flight = flights.find(entry.id) ?? extendingFlight(state, parts, entry);
  if (flight?.hasEnded === true) {
    await flight.settled;
    return "look-again";
  }
  if (flight === undefined) return undefined;
  const opening = await flight.opening;
  if (flight.hasEnded) {
    await flight.settled;
    return "look-again";
  }
  if (opening.kind !== "object" || opening.head.etag !== entry.etag) return undefined;
  if (!flight.canServe(range.start)) return undefined;
  try {
    const source = await withFirstByte(flight.reader(range));
    return respond.fromFlight(state, opening.head, entry.sizeBytes, "MISS", () => source);
  } catch (failure) {
    if (errorCode(failure) !== "upstream_changed") throw failure;
    cache.forget(entry);
    return undefined;
  }
}

/** A flight that begins with what is stored; undefined when the store takes nothing now. */
function extendingFlight(state: ReadState, parts: Parts, entry: StoredObject): Flight | undefined {
  const { cache, flights, observer, blocks } = parts;
  const permit = cache.permit(entry.id);
  // A write may have come since the entry was looked up; nothing may be built on it then.
  if (cache.lookup(entry.id, state.inbound.fields)?.version !== entry.version) return undefined;
  const fill = cache.beginFill({
    permit,
    status: 206,
    fields: fieldsOf(entry),
    headers: entry.headers,
    sizeBytes: entry.sizeBytes,
    requestFields: state.inbound.fields,
    isPublic: entry.isPublic,
    extend: entry,
  });
  const fetchPart = partFetcher(state, parts, entry.etag);
  if (fill === undefined || fetchPart === undefined) {
    fill?.abandon();
    fill?.release();
    return undefined;
  }
  const flight = flights.create();
  observer.flightBegan();
  flight.depart({
    head: {
      headers: entry.headers,
      sizeBytes: entry.sizeBytes,
      etag: entry.etag,
      lastModified: entry.lastModified,
      isPublic: entry.isPublic,
    },
    start: 0,
    end: 0,
    source: bytesSource(),
    fill,
    missing: (region) => cache.missing(entry, region),
    fetchesRest: false,
    alignBytes: blocks.alignBytes,
    stillPermitted: () => cache.isValid(permit),
    fetchPart,
  });
  void flight.settled.then((outcome) => observer.fillSettled(entry.id, outcome));
  flights.list(entry.id, flight);
  return flight;
}
