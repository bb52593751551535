// The list of flights: who is found, who is taken off, and how many may go on without readers.

import { describe, expect, test } from "bun:test";
import { bytesSource } from "../../../src/base/byte-source.ts";
import { GatewayError } from "../../../src/base/errors.ts";
import { Coalescer } from "../../../src/coalesce/coalescer.ts";
import type { Flight } from "../../../src/coalesce/flight.ts";
import { MemoryFill } from "../../support/memory-fill.ts";
import { SimClock } from "../../support/sim-clock.ts";

const A = { bucket: "b", key: "a" };
const B = { bucket: "b", key: "b" };
const ELSEWHERE = { bucket: "bb", key: "a" };

function createCoalescer(orphansMax = 2) {
  const clock = new SimClock();
  const events: string[] = [];
  const coalescer = new Coalescer(
    {
      windowBytes: 1024,
      windowWithFillBytes: 1024,
      slowConsumerMs: 1_000,
      pieceBytes: 1024,
      legsMax: 2,
      parallelLegs: 1,
      parallelAfterMs: 1_000,
      crowdReaders: 16,
      memoryBytes: 4096,
      orphansMax,
    },
    clock,
    {
      slowConsumer: () => events.push("slow"),
      continuesAlone: () => events.push("alone"),
      endedAlone: (isStored) => events.push(isStored ? "stored" : "not stored"),
    },
  );
  return { clock, coalescer, events };
}

/** A flight of an object of four bytes that does not come before `arrive`. */
function departing(flight: Flight, fill?: MemoryFill): { arrive(): void } {
  const arrived = Promise.withResolvers<void>();
  const bytes = bytesSource(new Uint8Array(4));
  flight.depart({
    head: { headers: [], sizeBytes: 4, etag: '"e"', lastModified: undefined, isPublic: false },
    start: 0,
    end: 4,
    source: {
      async read() {
        await arrived.promise;
        return bytes.read();
      },
      close: () => bytes.close(),
    },
    fill,
    fetchesRest: true,
    alignBytes: 1,
    missing: (region) => [region],
    stillPermitted: () => true,
    fetchPart: undefined,
  });
  return { arrive: () => arrived.resolve() };
}

describe("a flight", () => {
  test("is found by nobody before it is listed", () => {
    const { coalescer } = createCoalescer();
    const flight = coalescer.create();
    expect(coalescer.find(A)).toBeUndefined();
    expect(coalescer.activeCount).toBe(1);
    expect(coalescer.list(A, flight)).toBe(true);
    expect(coalescer.find(A)).toBe(flight);
    expect(coalescer.find(B)).toBeUndefined();
    expect(coalescer.find(ELSEWHERE)).toBeUndefined();
  });

  test("listed again stays; a second one for the object is not listed", () => {
    const { coalescer } = createCoalescer();
    const [first, second] = [coalescer.create(), coalescer.create()];
    coalescer.list(A, first);
    expect(coalescer.list(A, first)).toBe(true);
    expect(coalescer.list(A, second)).toBe(false);
    expect(coalescer.find(A)).toBe(first);
    expect(coalescer.list(B, second)).toBe(true);
  });

  test("that has ended is not listed", () => {
    const { coalescer } = createCoalescer();
    const flight = coalescer.create();
    flight.decline();
    expect(coalescer.list(A, flight)).toBe(false);
  });

  test("leaves the list and the count when it settles", async () => {
    const { clock, coalescer } = createCoalescer();
    const flight = coalescer.create();
    coalescer.list(A, flight);
    flight.answer({ status: 404, headers: [], bytes: new Uint8Array(0) });
    await clock.settle();
    expect(coalescer.find(A)).toBeUndefined();
    expect(coalescer.activeCount).toBe(0);
  });
});

describe("taken off the list", () => {
  test("a flight goes on, and another takes its place", async () => {
    const { clock, coalescer } = createCoalescer();
    const old = coalescer.create();
    coalescer.list(A, old);
    coalescer.detach(A);
    expect(coalescer.find(A)).toBeUndefined();
    expect(old.hasEnded).toBe(false);
    const next = coalescer.create();
    expect(coalescer.list(A, next)).toBe(true);
    old.decline();
    await clock.settle();
    expect(coalescer.find(A)).toBe(next);
  });

  test("is exactly the flight that is named", () => {
    const { coalescer } = createCoalescer();
    const [listed, other] = [coalescer.create(), coalescer.create()];
    coalescer.list(A, listed);
    coalescer.detach(A, other);
    expect(coalescer.find(A)).toBe(listed);
    coalescer.detach(A, listed);
    expect(coalescer.find(A)).toBeUndefined();
  });

  test("is every flight of a bucket, and of no other whose name begins alike", () => {
    const { coalescer } = createCoalescer();
    for (const id of [A, B, ELSEWHERE]) coalescer.list(id, coalescer.create());
    coalescer.detachBucket("b");
    expect(coalescer.find(A)).toBeUndefined();
    expect(coalescer.find(B)).toBeUndefined();
    expect(coalescer.find(ELSEWHERE)).toBeDefined();
  });
});

describe("fills that nobody reads any more", () => {
  test("go on up to the bound and are given up beyond it", async () => {
    const { clock, coalescer, events } = createCoalescer(2);
    const fills = Array.from({ length: 3 }, () => new MemoryFill({ sizeBytes: 4 }));
    const arrivals = fills.map((fill) => {
      const flight = coalescer.create();
      const arrival = departing(flight, fill);
      const reader = flight.reader(undefined);
      return { ...arrival, leave: () => reader.close() };
    });
    expect([coalescer.readerCount, coalescer.orphanCount]).toEqual([3, 0]);
    for (const arrival of arrivals) arrival.leave();
    expect([coalescer.readerCount, events]).toEqual([0, ["alone", "alone"]]);
    for (const arrival of arrivals) arrival.arrive();
    await clock.settle();
    expect(fills.map((fill) => fill.outcome?.kind)).toEqual(["committed", "committed", undefined]);
    expect(events).toEqual(["alone", "alone", "stored", "stored"]);
    expect([coalescer.activeCount, coalescer.heldBytes]).toEqual([0, 0]);
  });

  test("are no reason to keep what is not stored", async () => {
    const { clock, coalescer, events } = createCoalescer();
    const flight = coalescer.create();
    departing(flight);
    flight.reader(undefined).close();
    await clock.settle();
    expect([coalescer.activeCount, events]).toEqual([0, []]);
  });
});

test("at the end of the process every flight fails, and its readers are told", async () => {
  const { clock, coalescer } = createCoalescer();
  const waiting = coalescer.create();
  const opened = waiting.opening.catch((error: unknown) => error);
  const running = coalescer.create();
  departing(running);
  const read = running
    .reader(undefined)
    .read()
    .catch((error: unknown) => error);
  const reason = new GatewayError("shutting_down", "the gateway is stopping");
  coalescer.failAll(reason);
  await clock.settle();
  expect(await opened).toBe(reason);
  expect(await read).toBe(reason);
  expect(coalescer.activeCount).toBe(0);
});
