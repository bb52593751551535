// A leg: the window of chunks over one upstream response.

import { expect, test } from "bun:test";
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
    leg.push(chunk(at, end));
    at = end;
  }
  return leg;
}

test("a new leg holds nothing and stands at its start", () => {
  const leg = legOf(100);
  expect([leg.position, leg.windowStart, leg.isActive]).toEqual([100, 100, true]);
  expect(leg.bytesFrom(100)).toBeUndefined();
  expect(leg.oldest()).toBeUndefined();
  expect(leg.dropOldest()).toBe(0);
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
  const bytes = legOf(100, 110, 111, 130).bytesFrom(at);
  if (expected === undefined) expect(bytes).toBeUndefined();
  else {
    const [start = 0, end = 0] = expected;
    expect([...(bytes ?? [])]).toEqual([...chunk(start, end)]);
  }
});

test("every offset of a long window is found", () => {
  const ends = Array.from({ length: 97 }, (_, index) => 7 * (index + 1));
  const leg = legOf(0, ...ends);
  for (let at = 0; at < 679; at += 1) expect(leg.bytesFrom(at)?.[0]).toBe(at & 255);
});

test("chunks are forgotten from the oldest on, and the window begins behind them", () => {
  const leg = legOf(100, 110, 111, 130);
  expect(leg.oldest()).toEqual({ start: 100, end: 110 });
  expect(leg.dropOldest()).toBe(10);
  expect(leg.oldest()).toEqual({ start: 110, end: 111 });
  expect(leg.windowStart).toBe(110);
  expect(leg.bytesFrom(105)).toBeUndefined();
  expect(leg.bytesFrom(111)?.length).toBe(19);
  expect(leg.position).toBe(130);
});

test("forgetting everything tells how much it was and leaves the position", () => {
  const leg = legOf(100, 110, 111, 130);
  expect(leg.dropAll()).toBe(30);
  expect([leg.windowStart, leg.position]).toEqual([130, 130]);
  leg.push(chunk(130, 140));
  expect(leg.bytesFrom(133)?.length).toBe(7);
});

test("chunks are handed out as views: no byte is copied for a reader", () => {
  const leg = new Leg(0, 10, bytesSource());
  const whole = chunk(0, 10);
  leg.push(whole);
  expect(leg.bytesFrom(4)?.buffer).toBe(whole.buffer);
});
