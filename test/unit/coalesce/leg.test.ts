// A leg: the window of chunks over one upstream response.

import { describe, expect, test } from "bun:test";
import { bytesSource } from "../../../src/base/byte-source.ts";
import { Leg } from "../../../src/coalesce/leg.ts";

/** Bytes that tell their own offset, modulo 256. */
function chunk(start: number, end: number): Uint8Array {
  return Uint8Array.from({ length: end - start }, (_, index) => (start + index) & 255);
}

function legOf(start: number, ...ends: readonly number[]): Leg {
  const leg = new Leg(start, 1_000, bytesSource());
  let at = start;
  for (const end of ends) {
    leg.push(chunk(at, end), true);
    at = end;
  }
  return leg;
}

test("a new leg holds nothing and stands at its start", () => {
  const leg = legOf(100);
  expect([leg.position, leg.windowStart, leg.isActive]).toEqual([100, 100, true]);
  expect(leg.chunkAt(100)).toBeUndefined();
  expect(leg.oldest).toBeUndefined();
  expect(leg.dropOldest()).toBeUndefined();
});

test.each([
  ["before the window", 99, undefined],
  ["at the start of the first chunk", 100, [100, 110]],
  ["inside the first chunk", 105, [105, 110]],
  ["the last byte of a chunk", 109, [109, 110]],
  ["at the start of the middle chunk", 110, [110, 111]],
  ["inside the last chunk", 115, [115, 130]],
  ["the last byte", 129, [129, 130]],
  ["behind the window", 130, undefined],
])("bytes from an offset %s", (_why, at, expected) => {
  const bytes = legOf(100, 110, 111, 130).chunkAt(at)?.lend(at);
  if (expected === undefined) expect(bytes).toBeUndefined();
  else {
    const [start = 0, end = 0] = expected;
    expect([...(bytes ?? [])]).toEqual([...chunk(start, end)]);
  }
});

test("every offset of a long window is found", () => {
  const ends = Array.from({ length: 97 }, (_, index) => 7 * (index + 1));
  const leg = legOf(0, ...ends);
  for (let at = 0; at < 679; at += 1) expect(leg.chunkAt(at)?.lend(at)[0]).toBe(at & 255);
});

test("chunks are forgotten from the oldest on, and the window begins behind them", () => {
  const leg = legOf(100, 110, 111, 130);
  expect(leg.oldest).toMatchObject({ start: 100, end: 110 });
  expect(leg.dropOldest()?.bytes).toHaveLength(10);
  expect(leg.oldest).toMatchObject({ start: 110, end: 111 });
  expect(leg.windowStart).toBe(110);
  expect(leg.chunkAt(105)).toBeUndefined();
  expect(leg.chunkAt(111)?.lend(111).length).toBe(19);
  expect(leg.position).toBe(130);
});

test("chunks are handed out as views: no byte is copied for a reader", () => {
  const leg = new Leg(0, 10, bytesSource());
  const whole = chunk(0, 10);
  leg.push(whole, true);
  expect(leg.chunkAt(4)?.lend(4).buffer).toBe(whole.buffer);
});

describe("the memory of a chunk", () => {
  /** A leg with one chunk, and what its source was told to release. */
  function watched() {
    const released: Uint8Array[] = [];
    const source = { ...bytesSource(), release: (bytes: Uint8Array) => released.push(bytes) };
    const leg = new Leg(0, 10, source);
    const bytes = chunk(0, 10);
    leg.push(bytes, true);
    const held = leg.oldest;
    if (held === undefined) throw new Error("a chunk that was pushed is there");
    return { held, bytes, released };
  }

  test("goes back when nobody looks at it", () => {
    const { held, bytes, released } = watched();
    held.spare();
    expect(released).toEqual([bytes]);
  });

  test("waits for every reader that was lent it", () => {
    const { held, bytes, released } = watched();
    held.lend(0);
    held.lend(4);
    held.spare();
    held.giveBack();
    expect(released).toEqual([]);
    held.giveBack();
    expect(released).toEqual([bytes]);
  });

  test("stays while it may be lent again, however often it was given back", () => {
    const { held, released } = watched();
    held.lend(0);
    held.giveBack();
    expect(released).toEqual([]);
  });
});
