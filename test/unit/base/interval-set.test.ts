// Interval arithmetic against a set of numbers.
import { expect, test } from "bun:test";
import { IntervalSet } from "../../../src/base/interval-set.ts";
import { seededRandom } from "../../../src/base/random.ts";
import { seeds } from "../../support/seeds.ts";

test.each(seeds(50))("agrees with a plain set of numbers (seed %d)", (seed) => {
  const random = seededRandom(seed);
  const intervals = new IntervalSet();
  const numbers = new Set<number>();
  for (let step = 0; step < 60; step += 1) {
    const start = random.below(40);
    const end = start + random.below(12);
    const isAdding = random.float() < 0.6;
    if (isAdding) intervals.add(start, end);
    else intervals.remove(start, end);
    for (let at = start; at < end; at += 1) {
      if (isAdding) numbers.add(at);
      else numbers.delete(at);
    }
    expect(intervals.size).toBe(numbers.size);
    const from = random.below(40);
    let run = from;
    while (numbers.has(run)) run += 1;
    expect(intervals.endOfRun(from)).toBe(run);
    const later = [...numbers].filter((at) => at >= from);
    expect(intervals.firstFrom(from)).toBe(later.length === 0 ? undefined : Math.min(...later));
    const missing = intervals
      .gaps(from, 52)
      .flatMap((gap) =>
        Array.from({ length: gap.end - gap.start }, (_, index) => gap.start + index),
      );
    expect(missing).toEqual(
      Array.from({ length: 52 - from }, (_, index) => from + index).filter(
        (at) => !numbers.has(at),
      ),
    );
    expect(intervals.covers(from, run)).toBe(true);
    expect(intervals.covers(from, run + 1)).toBe(false);
  }
});
