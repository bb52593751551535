// Goal: a simulation may trust its clock: order, cancellation, deadlock, two clocks in one.

import { describe, expect, test } from "bun:test";
import { SimClock } from "../../support/sim-clock.ts";
import { seeds } from "../../support/seeds.ts";
import { seededRandom } from "../../../src/base/random.ts";

/** Awaits the failure of `promise`, as something `toThrow` can look at. */
async function failureOf(promise: Promise<unknown>): Promise<() => never> {
  const error: unknown = await promise.then(
    () => new Error("it did not fail"),
    (cause: unknown) => cause,
  );
  return () => {
    // oxlint-disable-next-line typescript/only-throw-error -- whatever it was, as it was
    throw error;
  };
}

describe("SimClock", () => {
  test("jumps over hours without waiting", async () => {
    const clock = new SimClock();
    const realStart = Bun.nanoseconds();
    await clock.run(clock.sleep(24 * 3_600_000));
    expect(clock.monotonicMs()).toBe(24 * 3_600_000);
    expect((Bun.nanoseconds() - realStart) / 1e6).toBeLessThan(1_000);
  });

  test.each(seeds(20))(
    "fires timers by time and then by order of setting (seed %d)",
    async (seed) => {
      const clock = new SimClock();
      const random = seededRandom(seed);
      const fired: { atMs: number; index: number }[] = [];
      const set: { atMs: number; index: number }[] = [];
      for (let index = 0; index < 200; index += 1) {
        const atMs = random.below(50);
        const timer = clock.after(atMs, () => fired.push({ atMs: clock.monotonicMs(), index }));
        if (random.below(4) === 0) timer.cancel();
        else set.push({ atMs, index });
      }
      await clock.advance(50);
      expect(fired).toEqual(set.toSorted((a, b) => a.atMs - b.atMs || a.index - b.index));
      expect(clock.pendingTimers).toBe(0);
    },
  );

  test("runs every ready continuation before it moves time", async () => {
    const clock = new SimClock();
    const events: string[] = [];
    const worker = async (name: string) => {
      for (let step = 0; step < 3; step += 1) {
        await clock.sleep(10);
        await Promise.resolve();
        events.push(`${name}@${clock.monotonicMs()}`);
      }
    };
    await clock.run(Promise.all([worker("a"), worker("b")]));
    expect(events).toEqual(["a@10", "b@10", "a@20", "b@20", "a@30", "b@30"]);
  });

  test("reports a deadlock instead of hanging", async () => {
    const clock = new SimClock();
    const never = new Promise<void>(() => undefined);
    expect(await failureOf(clock.run(never))).toThrow("deadlock at 0 ms");
  });

  test("hands a rejection on", async () => {
    const clock = new SimClock();
    const failing = clock.sleep(5).then(() => Promise.reject(new Error("as planned")));
    expect(await failureOf(clock.run(failing))).toThrow("as planned");
  });

  test("ends a sleep as soon as its signal aborts, and forgets the timer", async () => {
    const clock = new SimClock();
    const controller = new AbortController();
    clock.after(10, () => controller.abort(new Error("enough")));
    expect(await failureOf(clock.run(clock.sleep(1_000, controller.signal)))).toThrow("enough");
    await clock.settle();
    expect(clock.pendingTimers).toBe(0);
  });

  test("moves the wall clock without moving durations", () => {
    const clock = new SimClock({ startMs: 1_000 });
    clock.jumpWallClock(-500);
    expect(clock.nowMs()).toBe(500);
    expect(clock.monotonicMs()).toBe(0);
  });
});
