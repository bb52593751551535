// Lessons: one request goes upstream and teaches, the others wait for it, but not for ever.

import { describe, expect, test } from "bun:test";
import { Lessons } from "../../../src/gateway/lessons.ts";
import { SimClock } from "../../support/sim-clock.ts";

const TIMEOUT_MS = 1_000;

/** How the wait ended, or "waiting" while it lasts. */
function outcomeOf(lesson: Promise<string> | undefined): { now: string } {
  const outcome = { now: "waiting" };
  void lesson?.then((how) => (outcome.now = how));
  return outcome;
}

test("nobody waits when no lesson is running", () => {
  const lessons = new Lessons(new SimClock(), TIMEOUT_MS, 10);
  expect(lessons.running("alice bucket")).toBeUndefined();
});

test("whoever comes while a lesson runs waits until it ends, and everybody looks again at once", async () => {
  const clock = new SimClock();
  const lessons = new Lessons(clock, TIMEOUT_MS, 10);
  const lesson = lessons.begin("alice bucket");
  const first = outcomeOf(lessons.running("alice bucket"));
  await clock.advance(400);
  const second = outcomeOf(lessons.running("alice bucket"));
  await clock.settle();
  expect([first.now, second.now]).toEqual(["waiting", "waiting"]);
  lesson.end();
  await clock.settle();
  expect([first.now, second.now]).toEqual(["waited", "waited"]);
  expect(lessons.running("alice bucket")).toBeUndefined();
  expect(clock.pendingTimers).toBe(0);
});

test("a lesson that takes too long lets the others go, counted from its beginning", async () => {
  const clock = new SimClock();
  const lessons = new Lessons(clock, TIMEOUT_MS, 10);
  lessons.begin("alice bucket");
  await clock.advance(TIMEOUT_MS - 1);
  const late = outcomeOf(lessons.running("alice bucket"));
  await clock.advance(1);
  expect(late.now).toBe("timed_out");
  expect(lessons.running("alice bucket")).toBeUndefined();
});

test("lessons of other keys and buckets are other lessons", async () => {
  const clock = new SimClock();
  const lessons = new Lessons(clock, TIMEOUT_MS, 10);
  const alice = lessons.begin("alice bucket");
  lessons.begin("bob bucket");
  alice.end();
  await clock.settle();
  expect(lessons.running("alice bucket")).toBeUndefined();
  expect(lessons.running("bob bucket")).toBeDefined();
  expect(lessons.running("alice other")).toBeUndefined();
});

test("ending twice, or after the time is up, does not end the next lesson of the name", async () => {
  const clock = new SimClock();
  const lessons = new Lessons(clock, TIMEOUT_MS, 10);
  const first = lessons.begin("alice bucket");
  first.end();
  const second = lessons.begin("alice bucket");
  first.end();
  expect(lessons.running("alice bucket")).toBeDefined();
  second.end();
  expect(lessons.running("alice bucket")).toBeUndefined();
  const third = lessons.begin("alice bucket");
  await clock.advance(TIMEOUT_MS);
  const fourth = lessons.begin("alice bucket");
  third.end();
  expect(lessons.running("alice bucket")).toBeDefined();
  fourth.end();
});

describe("at the bound", () => {
  test("a further lesson is nobody else's business, and costs no timer", () => {
    const clock = new SimClock();
    const lessons = new Lessons(clock, TIMEOUT_MS, 2);
    lessons.begin("a");
    lessons.begin("b");
    const third = lessons.begin("c");
    expect(lessons.running("c")).toBeUndefined();
    expect(clock.pendingTimers).toBe(2);
    third.end();
    expect(lessons.running("a")).toBeDefined();
  });
});
