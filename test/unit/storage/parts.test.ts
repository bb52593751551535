// The small parts of the engine, each on its own.

import { describe, expect, test } from "bun:test";
import { SimClock } from "../../support/sim-clock.ts";
import { seededRandom } from "../../../src/base/random.ts";
import { blockBytesFor, FileBody } from "../../../src/storage/block-files.ts";
import { BackgroundBudget } from "../../../src/storage/budget.ts";
import { Burials } from "../../../src/storage/burials.ts";
import { FileUnit, FileUnits } from "../../../src/storage/file-units.ts";
import { DiskHealth } from "../../../src/storage/health.ts";
import { Heat, heatSlotsFor } from "../../../src/storage/heat.ts";
import { groupOf } from "../../../src/storage/policy.ts";
import { Space } from "../../../src/storage/space.ts";

const MIB = 1024 * 1024;

describe("block sizes", () => {
  test.each([
    [1, 16 * 1024, "small"],
    [16 * 1024 * MIB, 16 * 1024, "16 GiB"],
    [16 * 1024 * MIB + 1, 32 * 1024, "a byte more"],
    [1024 * 1024 * MIB, MIB, "1 TiB"],
  ])("an object of %d bytes has blocks of %d (%s)", (sizeBytes, blockBytes) => {
    expect(blockBytesFor(sizeBytes)).toBe(blockBytes);
  });
});

describe("heat", () => {
  test("counts to three and cools down again", () => {
    const heat = new Heat(16);
    for (let n = 0; n < 10; n += 1) heat.touch(5);
    expect(heat.of(5)).toBe(3);
    for (let n = 0; n < 10; n += 1) heat.cool(5);
    expect(heat.of(5)).toBe(0);
    heat.touch(2 ** 52 - 1);
    expect(heat.of(2 ** 52 - 1)).toBe(1);
  });

  test("has slots in proportion to the cache, within bounds", () => {
    expect(heatSlotsFor(1)).toBe(2 ** 16);
    expect(heatSlotsFor(32 * 1024 * 2 ** 20)).toBe(2 ** 20);
    expect(heatSlotsFor(Number.MAX_SAFE_INTEGER)).toBe(2 ** 24);
  });
});

describe("groups", () => {
  test("are the bucket and up to three leading folders", () => {
    const group = (key: string, bucket = "b") => groupOf({ bucket, key });
    expect(group("a/b/c/1")).toBe(group("a/b/c/2"));
    expect(group("a/b/c/d/1")).toBe(group("a/b/c/e/2"));
    expect(group("a/b/1")).not.toBe(group("a/c/1"));
    expect(group("x")).toBe(group("y"));
    expect(group("x")).not.toBe(group("x", "other"));
  });
});

describe("burials", () => {
  test("hide older entries only, by key or by prefix", () => {
    const burials = new Burials();
    expect(burials.hides({ bucket: "b", key: "k" }, 1)).toBe(false);
    burials.add({ bucket: "b", key: "k", isPrefix: false, before: 10 });
    burials.add({ bucket: "b", key: "dir/", isPrefix: true, before: 10 });
    expect(burials.hides({ bucket: "b", key: "k" }, 9)).toBe(true);
    expect(burials.hides({ bucket: "b", key: "k" }, 10)).toBe(false);
    expect(burials.hides({ bucket: "b", key: "k2" }, 9)).toBe(false);
    expect(burials.hides({ bucket: "c", key: "k" }, 9)).toBe(false);
    expect(burials.hides({ bucket: "b", key: "dir/x" }, 9)).toBe(true);
    expect(burials.take()).toHaveLength(2);
    expect(burials.isEmpty).toBe(true);
  });
});

describe("file units", () => {
  const unit = (version: number) =>
    new FileUnit({
      version,
      shard: 0,
      h: version,
      h2: 0,
      group: 1,
      sizeBytes: 10,
      isPinned: false,
    });
  const versions = (units: FileUnits) => [...units.oldestFirst()].map(({ version }) => version);

  test("stay in order of age, and what is spared goes to the end", () => {
    const units = new FileUnits();
    const first = unit(1);
    for (const one of [first, unit(2), unit(3)]) units.set(one);
    units.spare(first, 4);
    expect(versions(units)).toEqual([2, 3, 1]);
    units.set(unit(1)); // completed meanwhile: keeps its turn
    expect(versions(units)).toEqual([2, 3, 1]);
  });

  test("of earlier runs come before those of this one, without what was removed since", () => {
    const units = new FileUnits();
    units.set(unit(10));
    units.delete(2);
    units.addOlder([unit(3), unit(2), unit(1)]);
    expect(versions(units)).toEqual([1, 3, 10]);
  });
});

describe("space", () => {
  test("is the smaller of cap and volume, less what is there and reserved", () => {
    let fileBytes = 5;
    const space = new Space({
      capacityBytes: 100,
      logReserveBytes: 10,
      fileBytes: () => fileBytes,
    });
    space.segmentBytes = 20;
    space.unlinkingBytes = 7;
    expect(space.physicalBytes).toBe(32);
    expect(space.freeBytes).toBe(58);
    expect(space.freeSoonBytes).toBe(65);
    space.volumeLimitBytes = 40;
    fileBytes = 6;
    expect(space.freeBytes).toBe(-3);
  });
});

describe("background budget", () => {
  test("spreads work over time", async () => {
    const clock = new SimClock();
    const budget = new BackgroundBudget(clock, 1000);
    await clock.run(
      (async () => {
        for (let n = 0; n < 10; n += 1) await budget.spend(100);
      })(),
    );
    expect(clock.monotonicMs()).toBeGreaterThanOrEqual(1000);
    expect(clock.monotonicMs()).toBeLessThan(1200);
  });

  test("without a limit only lets others run in between", async () => {
    const clock = new SimClock();
    const budget = new BackgroundBudget(clock, 0);
    await clock.run(budget.spend(1e12));
    expect(clock.monotonicMs()).toBeLessThan(10);
  });
});

describe("disk health", () => {
  test("stays degraded until a probe succeeds, trying less and less often", async () => {
    const clock = new SimClock();
    const changes: (string | undefined)[] = [];
    const probes: number[] = [];
    let isBroken = true;
    const health = new DiskHealth({
      clock,
      async probe() {
        probes.push(clock.monotonicMs());
        if (isBroken) throw Object.assign(new Error("no space"), { code: "ENOSPC" });
      },
      onChange: (because) => changes.push(because),
    });
    health.fail(new Error("write failed"));
    health.fail(new Error("again"));
    expect(health.isFull).toBe(false);
    await clock.run(clock.sleep(20_000));
    expect(health.isFull).toBe(true);
    expect(probes.length).toBeGreaterThan(2);
    expect(probes.length).toBeLessThan(7);
    isBroken = false;
    await clock.run(clock.sleep(40_000));
    expect(health.degradedBecause).toBeUndefined();
    expect(changes).toEqual(["write failed", undefined]);
    health.close();
  });
});

describe("the blocks of a large body", () => {
  const BLOCK = 16 * 1024;
  const COUNT = 1700; // four parts, the last not full

  test.each([1, 2, 3, 4, 5, 6])("that are there are told as runs (seed %d)", (seed) => {
    const random = seededRandom(seed);
    const sizeBytes = COUNT * BLOCK - 5;
    const layout = { version: 1, shard: 0, sizeBytes, blockBytes: BLOCK, chunkBytes: 2 ** 30 };
    const body = new FileBody(layout, { isComplete: false, load: () => undefined });
    const there = new Set<number>();
    const add = (first: number, count: number) => {
      for (let block = first; block < Math.min(COUNT, first + count); block += 1) {
        body.add(block, block);
        there.add(block);
      }
    };
    const naive = (isThere: boolean, first: number, end: number) => {
      const runs: { start: number; end: number }[] = [];
      for (let block = first; block < end; block += 1) {
        if (there.has(block) !== isThere) continue;
        const stop = Math.min(sizeBytes, (block + 1) * BLOCK);
        const last = runs.at(-1);
        if (last?.end === block * BLOCK) last.end = stop;
        else runs.push({ start: block * BLOCK, end: stop });
      }
      return runs;
    };
    for (let round = 0; round < 40; round += 1) {
      add(random.below(COUNT), 1 + random.below(round % 10 === 0 ? 700 : 20));
      const first = random.below(COUNT);
      const end = first + 1 + random.below(COUNT - first);
      const range = { start: first * BLOCK + 3, end: Math.min(sizeBytes, end * BLOCK - 3) };
      expect(body.missing(range)).toEqual(naive(false, first, end));
      expect(body.present()).toEqual(naive(true, 0, COUNT));
      body.updateCompleteness();
      expect(body.isComplete).toBe(there.size === COUNT);
    }
    add(0, COUNT);
    expect(body.missing({ start: 0, end: sizeBytes })).toEqual([]);
    body.updateCompleteness();
    expect(body.isComplete).toBe(true);
  });
});
