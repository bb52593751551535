// The legs of a flight: what came, what is on its way, what is in memory.

import { describe, expect, test } from "bun:test";
import { bytesSource } from "../../../src/base/byte-source.ts";
import { FlightMemory } from "../../../src/coalesce/flight-memory.ts";
import { Leg } from "../../../src/coalesce/leg.ts";
import { Legs } from "../../../src/coalesce/legs.ts";

type Span = readonly [start: number, end: number];
type LegSpan = readonly [start: number, position: number, end: number];

/** Legs in order of their beginning, each with what it is to bring and how far it has come. */
function legsOf(...spans: readonly LegSpan[]) {
  const memory = new FlightMemory(1 << 20);
  const legs = new Legs(memory);
  const all = spans.map(([start, position, end]) => {
    const leg = new Leg(start, end, bytesSource());
    legs.add(leg);
    if (position > start) legs.push(leg, new Uint8Array(position - start), true);
    return leg;
  });
  const [first = new Leg(0, 0, bytesSource())] = all;
  return { memory, legs, all, first };
}

test.each<[string, readonly LegSpan[], Span | undefined]>([
  ["nothing, when it is alone", [[0, 50, 100]], undefined],
  [
    "nothing, when the later one is behind it",
    [
      [50, 60, 100],
      [0, 10, 40],
    ],
    undefined,
  ],
  [
    "what a later one brought and is to bring",
    [
      [0, 10, 100],
      [40, 45, 60],
    ],
    [40, 60],
  ],
  [
    "what a later one is only to bring",
    [
      [0, 10, 100],
      [40, 40, 60],
    ],
    [40, 60],
  ],
  [
    "the nearest of several",
    [
      [0, 10, 100],
      [70, 75, 80],
      [40, 45, 60],
    ],
    [40, 60],
  ],
  [
    "stretches that touch as one",
    [
      [0, 10, 100],
      [40, 45, 60],
      [60, 60, 80],
    ],
    [40, 80],
  ],
])("ahead of the first leg lies %s", (_what, spans, expected) => {
  const { legs, first } = legsOf(...spans);
  const [start, end] = expected ?? [];
  expect(legs.takenAhead(first)).toEqual(
    start === undefined || end === undefined ? undefined : { start, end },
  );
});

test("a leg yields to those that began after it, and they do not to it", () => {
  const { legs, all } = legsOf([0, 10, 100], [40, 40, 60]);
  expect(legs.takenAhead(all[1] ?? new Leg(0, 0, bytesSource()))).toBeUndefined();
});

test("a leg that landed claims only what it brought", () => {
  const { legs, all, first } = legsOf([0, 10, 100], [40, 45, 60]);
  for (const leg of all.slice(1)) legs.land(leg);
  expect(legs.takenAhead(first)).toEqual({ start: 40, end: 45 });
  expect(legs.assigned(first).gaps(0, 100)).toEqual([
    { start: 10, end: 40 },
    { start: 45, end: 100 },
  ]);
  expect(legs.activeCount).toBe(1);
});

test("assigned is all a leg is to bring, claimed no more than its next piece", () => {
  const { legs } = legsOf([0, 10, 100], [200, 200, 210]);
  expect(legs.assigned().gaps(0, 300)).toEqual([
    { start: 100, end: 200 },
    { start: 210, end: 300 },
  ]);
  expect(legs.claimed(20).gaps(0, 300)).toEqual([
    { start: 30, end: 200 },
    { start: 210, end: 300 },
  ]);
});

test("the leg on its way to a byte is found, one that is past it or landed is not", () => {
  const { legs, first } = legsOf([0, 10, 100]);
  expect(legs.approaching(9)).toBeUndefined();
  expect(legs.approaching(10)).toBe(first);
  expect(legs.approaching(99)).toBe(first);
  expect(legs.approaching(100)).toBeUndefined();
  legs.land(first);
  expect(legs.approaching(50)).toBeUndefined();
});

describe("memory", () => {
  test("counts what is pushed, and is given back when chunks are dropped, skipped or cleared", () => {
    const { legs, memory, first } = legsOf([0, 0, 100]);
    for (const size of [10, 20, 30]) legs.push(first, new Uint8Array(size), true);
    expect([legs.heldBytes, memory.usedBytes, legs.receivedBytes]).toEqual([60, 60, 60]);
    legs.dropOldest(
      () => legs.heldBytes <= 50,
      () => true,
      () => true,
    );
    expect([legs.heldBytes, memory.usedBytes]).toEqual([50, 50]);
    expect(legs.holds(9)).toBe(false);
    expect(legs.lend(10)).toHaveLength(20);
    legs.skip(first, 5);
    expect([legs.heldBytes, legs.skippedBytes, first.position]).toEqual([0, 5, 65]);
    legs.push(first, new Uint8Array(7), true);
    legs.clear(() => true);
    expect([legs.heldBytes, memory.usedBytes, legs.receivedBytes]).toEqual([0, 0, 67]);
  });

  test("a chunk that must stay keeps those behind it, and another leg's go all the same", () => {
    const { legs, all } = legsOf([0, 0, 100], [200, 200, 300]);
    for (const leg of all) for (const size of [10, 10]) legs.push(leg, new Uint8Array(size), true);
    legs.dropOldest(
      () => false,
      ({ start }) => start !== 0,
      () => true,
    );
    expect(legs.heldBytes).toBe(20);
    expect(legs.lend(10)).toHaveLength(10);
    expect(legs.holds(200)).toBe(false);
  });

  test("a leg that landed goes with its last chunk", () => {
    const { legs, first } = legsOf([0, 10, 100]);
    legs.landAll();
    expect(legs.lend(0)).toHaveLength(10);
    legs.dropOldest(
      () => false,
      () => true,
      () => true,
    );
    expect(legs.furthest).toBe(Number.NEGATIVE_INFINITY);
    expect(legs.receivedBytes).toBe(10);
    expect(first.isActive).toBe(false);
  });

  /** A leg whose source says what it was told to release. */
  function releasing() {
    const { legs } = legsOf();
    const released: Uint8Array[] = [];
    const source = { ...bytesSource(), release: (bytes: Uint8Array) => released.push(bytes) };
    const leg = new Leg(0, 100, source);
    legs.add(leg);
    return { legs, leg, released };
  }

  test("what a reader gives back is found by its memory, also after the window moved on", () => {
    const { legs, leg, released } = releasing();
    const bytes = new Uint8Array(10);
    legs.push(leg, bytes, true);
    const lent = legs.lend(3)?.subarray(0, 2) ?? bytes;
    legs.clear(() => true);
    expect(released).toEqual([]);
    legs.giveBack(lent);
    expect(released).toEqual([bytes]);
  });

  test("chunks that share memory are left to the collector: what comes back may be of either", () => {
    const { legs, leg, released } = releasing();
    const shared = new Uint8Array(20);
    for (const at of [0, 10]) legs.push(leg, shared.subarray(at, at + 10), true);
    const lent = [0, 10].map((at) => legs.lend(at) ?? shared);
    legs.clear(() => true);
    for (const bytes of lent) legs.giveBack(bytes);
    expect(released).toEqual([]);
  });

  test("so is a part of what was received: the rest is still to be handed on", () => {
    const { legs, leg, released } = releasing();
    legs.push(leg, new Uint8Array(20).subarray(0, 10), false);
    legs.clear(() => true);
    expect(released).toEqual([]);
  });

  test("what the disk has not got yet waits for it", () => {
    const { legs, leg, released } = releasing();
    const onDisk = new Set<number>();
    const drop = () =>
      legs.dropOldest(
        () => false,
        () => true,
        ({ start }) => onDisk.has(start),
      );
    for (let count = 0; count < 3; count += 1) legs.push(leg, new Uint8Array(10), true);
    drop();
    expect([legs.heldBytes, released.length]).toEqual([0, 0]);
    onDisk.add(0).add(10);
    drop();
    expect(released).toHaveLength(2);
  });

  test("and is left to the collector when it never gets there", () => {
    const { legs, leg, released } = releasing();
    let isOnDisk = false;
    for (let count = 0; count < 40; count += 1) legs.push(leg, new Uint8Array(1), true);
    for (let times = 0; times < 2; times += 1) {
      legs.clear(() => isOnDisk);
      isOnDisk = true;
    }
    expect(released).toEqual([]);
  });
});
