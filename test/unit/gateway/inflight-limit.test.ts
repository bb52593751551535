// Admission: how many requests run at a time, and how many of them may need upstream.

import { describe, expect, test } from "bun:test";
import { InflightLimit, type InflightSlot } from "../../../src/gateway/inflight-limit.ts";

function enter(limit: InflightLimit, count: number): InflightSlot[] {
  return Array.from({ length: count }, () => {
    const slot = limit.tryEnter();
    if (slot === undefined) throw new Error("full");
    return slot;
  });
}

test("as many as the limit get a place; the next one does not until one is given back", () => {
  const limit = new InflightLimit(3);
  const [first] = enter(limit, 3);
  expect(limit.tryEnter()).toBeUndefined();
  expect(limit.activeCount).toBe(3);
  first?.release();
  expect(limit.activeCount).toBe(2);
  expect(limit.tryEnter()).toBeDefined();
});

test("a place is given back once, however often release is called", () => {
  const limit = new InflightLimit(2);
  const [first] = enter(limit, 2);
  for (let again = 0; again < 3; again += 1) first?.release();
  expect(limit.activeCount).toBe(1);
});

test.each([
  [1, 1],
  [2, 2],
  [4, 4],
  [8, 7],
  [16, 14],
  [100, 88],
])("of %d places %d may wait for upstream", (max, upstreamMax) => {
  const limit = new InflightLimit(max);
  const waiting = enter(limit, max).filter((slot) => slot.enterUpstream());
  expect(waiting).toHaveLength(upstreamMax);
});

test("one request takes one upstream place, however often it asks", () => {
  const limit = new InflightLimit(16);
  const [first, ...others] = enter(limit, 16);
  for (let again = 0; again < 5; again += 1) expect(first?.enterUpstream()).toBe(true);
  expect(others.filter((slot) => slot.enterUpstream())).toHaveLength(13);
});

test("an upstream place comes back with the request that held it, and only then", () => {
  const limit = new InflightLimit(8);
  const slots = enter(limit, 8);
  const refused = slots.filter((slot) => !slot.enterUpstream());
  expect(refused).toHaveLength(1);
  refused[0]?.release(); // it never had one
  const late = limit.tryEnter();
  expect(late?.enterUpstream()).toBe(false);
  slots[0]?.release();
  expect(late?.enterUpstream()).toBe(true);
});

test("hits still get places while every upstream place is taken", () => {
  const limit = new InflightLimit(8);
  for (const slot of enter(limit, 7)) slot.enterUpstream();
  expect(limit.tryEnter()).toBeDefined();
});

test("a request that is over neither takes nor is refused an upstream place", () => {
  const limit = new InflightLimit(1);
  const [slot] = enter(limit, 1);
  slot?.release();
  expect(slot?.enterUpstream()).toBe(true);
  expect(limit.tryEnter()?.enterUpstream()).toBe(true);
});

describe("a limit below 0", () => {
  test("is none", () => {
    const limit = new InflightLimit(-1);
    const slots = enter(limit, 10_000);
    expect(slots.every((slot) => slot.enterUpstream())).toBe(true);
    expect(limit.activeCount).toBe(10_000);
  });
});
