// The memory all flights share: a window each, a limit together, and a floor nobody falls below.

import { expect, test } from "bun:test";
import { FlightMemory } from "../../../src/coalesce/flight-memory.ts";

const LIMIT = 1_000;
const FLOOR = 100;

test.each([
  ["nothing held, nothing used", 0, 0, 400, true],
  ["below its window", 399, 399, 400, true],
  ["at its window", 400, 400, 400, false],
  ["below the floor although all is used", 99, 1_000, 400, true],
  ["at the floor while all is used", 100, 1_000, 400, false],
  ["above the floor with one byte left", 100, 999, 400, true],
  ["more is used than the limit", 100, 5_000, 400, false],
  ["a window smaller than the floor bounds it", 50, 0, 50, false],
  ["below a window smaller than the floor", 49, 5_000, 50, true],
])("a flight %s", (_why, heldBytes, usedBytes, windowBytes, mayGrow) => {
  const memory = new FlightMemory(LIMIT, FLOOR);
  memory.take(usedBytes);
  expect(memory.mayGrow(heldBytes, windowBytes)).toBe(mayGrow);
});

test("what is given back can be taken again", () => {
  const memory = new FlightMemory(LIMIT, FLOOR);
  memory.take(700);
  memory.take(300);
  expect(memory.usedBytes).toBe(1_000);
  expect(memory.mayGrow(300, 400)).toBe(false);
  memory.give(700);
  expect(memory.usedBytes).toBe(300);
  expect(memory.mayGrow(300, 400)).toBe(true);
});
