// Goal: hot small bodies come from memory, and memory never shows what the store does not hold
// any more. Method: the bytes on disk are overwritten behind the store's back, so that whoever
// still reads the right ones has them from memory.

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { readdirSync, writeFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { CountedBytes } from "../../../src/base/counted-bytes.ts";
import { allocatedBytes, MemoryTier } from "../../../src/storage/memory-tier.ts";
import type { Storage } from "../../../src/storage/storage.ts";
import { bodyOf, metaOf, patternOf, store } from "../../support/stored-objects.ts";
import { TempStore } from "../../support/temp-store.ts";

setDefaultTimeout(30_000);

const MIB = 1024 * 1024;
const idOf = (n: number) => ({ bucket: "b", key: `k${n}` });

function wipeSegments(path: string): void {
  const folder = join(path, "segments");
  for (const name of readdirSync(folder)) {
    const file = join(folder, name);
    writeFileSync(file, new Uint8Array(statSync(file).size), { flag: "r+" });
  }
}

describe("the memory tier", () => {
  test.each([
    [256 * MIB, "serves what was just stored", true],
    [0, "is off at 0 bytes", false],
  ] as const)("of %d bytes %s", async (memoryBytes, _, isServed) => {
    await using temp = new TempStore();
    const storage = await temp.open({ memoryBytes });
    const object = await store(storage, metaOf(idOf(1), 5000), patternOf("1", 5000));
    wipeSegments(temp.path);
    const body = await bodyOf(storage, object);
    if (isServed) expect(body).toEqual(patternOf("1", 5000));
    else expect(body).toBeUndefined();
  });

  test("is filled by reads after a start", async () => {
    await using temp = new TempStore();
    const before = await temp.open();
    await store(before, metaOf(idOf(1), 5000), patternOf("1", 5000));
    const after = await temp.open();
    const object = after.lookup(idOf(1));
    if (object === undefined) throw new Error("not stored");
    expect(await bodyOf(after, object)).toEqual(patternOf("1", 5000));
    wipeSegments(temp.path);
    expect(await bodyOf(after, object)).toEqual(patternOf("1", 5000));
  });

  test.each([
    [4, "comes from memory", true],
    [100, "comes from disk: more than the tier holds lies between its reads", false],
  ])("after a start, one of %d files that are read in turn %s", async (count, _, isServed) => {
    await using temp = new TempStore();
    const size = 100_000;
    const put = (storage: Storage, n: number) =>
      store(storage, metaOf(idOf(n), size), patternOf(`${n}`, size));
    const before = await temp.open();
    for (let n = 0; n < count; n += 1) await put(before, n);
    // A tier for 64 of them.
    const after = await temp.open({ memoryBytes: 7 * MIB });
    const readAll = async (): Promise<(Uint8Array | undefined)[]> => {
      const bodies: (Uint8Array | undefined)[] = [];
      for (let n = 0; n < count; n += 1) {
        const object = after.lookup(idOf(n));
        bodies.push(object && (await bodyOf(after, object)));
      }
      return bodies;
    };
    const expected = Array.from({ length: count }, (__, n) => patternOf(`${n}`, size));
    for (let epoch = 0; epoch < 3; epoch += 1) expect(await readAll()).toEqual(expected);
    expect(after.resources().memoryTierBytes > 0).toBe(isServed);
    wipeSegments(temp.path);
    expect(await readAll()).toEqual(isServed ? expected : expected.map(() => undefined));
  });

  test("forgets what is removed and what is replaced", async () => {
    await using temp = new TempStore();
    const storage = await temp.open();
    const first = await store(storage, metaOf(idOf(1), 5000), patternOf("1", 5000));
    const second = await store(storage, metaOf(idOf(1), 5000), patternOf("2", 5000));
    expect(await bodyOf(storage, first)).toBeUndefined();
    expect(await bodyOf(storage, second)).toEqual(patternOf("2", 5000));
    storage.remove([second.id]);
    expect(storage.lookup(second.id)).toBeUndefined();
    expect(await bodyOf(storage, second)).toBeUndefined();
  });

  test("keeps to its bound: what does not fit comes from disk", async () => {
    await using temp = new TempStore();
    const storage = await temp.open({ memoryBytes: MIB });
    const stores = Array.from({ length: 200 }, (_, n) =>
      store(storage, metaOf(idOf(n), 10_000), patternOf(`${n}`, 10_000)),
    );
    await Promise.all(stores);
    wipeSegments(temp.path);
    let fromMemory = 0;
    for (let n = 0; n < 200; n += 1) {
      const object = storage.lookup(idOf(n));
      const body = object && (await bodyOf(storage, object));
      if (body === undefined) continue;
      expect(body).toEqual(patternOf(`${n}`, 10_000));
      fromMemory += 1;
    }
    expect(fromMemory).toBeGreaterThan(50);
    expect(fromMemory).toBeLessThanOrEqual(105);
  });
});

describe("a body that is read from its file would still be here", () => {
  const SIZE = 100 * 1024;

  /** A tier for ten, with so many in it. */
  function tierOf(count: number): MemoryTier {
    const tier = new MemoryTier(10.5 * allocatedBytes(SIZE), SIZE);
    for (let version = 0; version < count; version += 1) {
      tier.keep(version, new CountedBytes(new Uint8Array(SIZE)));
    }
    return tier;
  }

  /** So many others are read from their files. */
  const pass = (tier: MemoryTier, count: number) => {
    for (let n = 0; n < count; n += 1) tier.passed(SIZE);
  };

  test("not when it was never read", () => {
    expect(tierOf(0).wouldHold(SIZE, undefined)).toBe(false);
  });

  test.each([
    [5, true],
    [11, false],
  ])("with room, when %d others were read since: %p", (others, isHeld) => {
    const tier = tierOf(0);
    const readAt = tier.passed(SIZE);
    pass(tier, others);
    expect(tier.wouldHold(SIZE, readAt)).toBe(isHeld);
  });

  test("not in place of what is asked for as often", () => {
    const tier = tierOf(10);
    const readAt = tier.passed(SIZE);
    pass(tier, 4);
    for (let version = 0; version < 10; version += 1) tier.get(version);
    pass(tier, 4);
    expect(tier.wouldHold(SIZE, readAt)).toBe(false);
  });

  test("in place of what nobody asked for since", () => {
    const tier = tierOf(10);
    pass(tier, 4);
    const readAt = tier.passed(SIZE);
    for (let version = 1; version < 10; version += 1) tier.get(version);
    pass(tier, 4);
    expect(tier.wouldHold(SIZE, readAt)).toBe(true);
  });
});

describe("the memory of a body", () => {
  const SIZE = 100 * 1024;
  const isFreed = ({ bytes }: CountedBytes) => bytes.buffer.byteLength === 0;
  const body = () => new CountedBytes(new Uint8Array(SIZE));

  /** Three bodies in a tier with room for two; their makers are done with them. */
  function full() {
    const tier = new MemoryTier(2.5 * allocatedBytes(SIZE), SIZE);
    const bodies = [body(), body(), body()];
    for (const [version, one] of bodies.entries()) {
      tier.keep(version, one);
      one.release();
    }
    return { tier, bodies };
  }

  test("is free at once when the body is pushed out, forgotten or replaced", () => {
    const { tier, bodies } = full();
    expect(bodies.map(isFreed)).toEqual([true, false, false]);
    tier.forget(1);
    expect(bodies.map(isFreed)).toEqual([true, true, false]);
    tier.keep(2, body());
    expect(bodies.map(isFreed)).toEqual([true, true, true]);
    expect(tier.get(2)?.bytes).toHaveLength(SIZE);
  });

  test("moves to where the kernel can send it from, with the second read, and keeps its bytes", () => {
    const tier = new MemoryTier(10 * SIZE, SIZE);
    const first = new CountedBytes(patternOf("1", SIZE).slice());
    tier.keep(1, first);
    first.release();
    const lent = tier.get(1)?.lend(0, SIZE);
    expect(lent?.inFile).toBeUndefined();
    const moved = tier.get(1);
    expect(moved?.isSendable).toBe(process.platform === "linux");
    expect(moved?.bytes).toEqual(patternOf("1", SIZE));
    expect(tier.get(1)).toBe(moved as CountedBytes);
    expect(lent?.bytes).toEqual(patternOf("1", SIZE));
    lent?.release?.();
    expect(isFreed(first)).toBe(true);
    tier.forget(1);
    expect(moved === undefined || isFreed(moved)).toBe(true);
    tier.close();
  });

  test("stays where it is when it is small", () => {
    const tier = new MemoryTier(10 * SIZE, SIZE);
    const small = new CountedBytes(new Uint8Array(16 * 1024 - 1));
    tier.keep(1, small);
    for (let read = 0; read < 3; read += 1) tier.get(1)?.lend(0, 10).release?.();
    expect(tier.get(1)).toBe(small);
    tier.close();
  });

  test("is free when the tier is closed", () => {
    const { tier, bodies } = full();
    for (const one of bodies) tier.get(bodies.indexOf(one))?.lend(0, 1).release?.();
    const moved = tier.get(2);
    tier.close();
    expect(bodies.map(isFreed)).toEqual([true, true, true]);
    expect(moved === undefined || isFreed(moved)).toBe(true);
    expect(tier.heldBytes).toBe(0);
  });

  test("waits for a reply that is sent from it", () => {
    const { tier, bodies } = full();
    const lent = tier.get(1)?.lend(0, SIZE);
    tier.forget(1);
    expect(bodies.map(isFreed)).toEqual([true, false, false]);
    lent?.release?.();
    expect(bodies.map(isFreed)).toEqual([true, true, false]);
  });

  test("a body that is too large is not taken", () => {
    const tier = new MemoryTier(10 * SIZE, SIZE - 1);
    const large = body();
    expect([tier.takes(SIZE - 1), tier.takes(SIZE)]).toEqual([true, false]);
    tier.keep(1, large);
    expect(tier.get(1)).toBeUndefined();
    large.release();
    expect(isFreed(large)).toBe(true);
  });

  test.each([
    [1, 64],
    [64, 64],
    [65, 80],
    [1024, 1024],
    [1025, 1280],
    [102_400, 114_688],
    [131_072, 131_072],
    [131_073, 163_840],
  ])("%d bytes take %d", (sizeBytes, expected) => {
    expect(allocatedBytes(sizeBytes)).toBe(expected);
  });
});
