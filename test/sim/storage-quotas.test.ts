// Goal: a bucket never takes more than its quota, at any speed and in any tier; what goes for
// it is its own; what is pinned or in use stays; and other buckets feel nothing.
// Method: seeded traffic of several times the quota through the real engine, many fills at
// once, with a second bucket beside it that has room for all it stores.

import { expect, setDefaultTimeout, test } from "bun:test";
import { systemClock } from "../../src/base/clock.ts";
import { type Random, seededRandom } from "../../src/base/random.ts";
import type { DiskStorage, PolicyName } from "../../src/storage/open.ts";
import { seeds } from "../support/seeds.ts";
import {
  bodyOf,
  metaOf,
  mustBegin,
  patternOf,
  store,
  writeAll,
} from "../support/stored-objects.ts";
import { TempStore } from "../support/temp-store.ts";

setDefaultTimeout(60_000);

const KIB = 1024;
const MIB = 1024 * KIB;
const CAP_BYTES = 64 * MIB;
const QUOTA_BYTES = 6 * MIB;
const POLICIES: readonly PolicyName[] = ["lru", "fifo", "auto"];
const quotaBytes = (bucket: string) => (bucket === "small" ? QUOTA_BYTES : undefined);

function sizeFrom(random: Random): number {
  const kind = random.below(10);
  if (kind < 3) return random.below(257);
  return kind < 9 ? 1 + random.below(60 * KIB) : 600 * KIB + random.below(MIB);
}

/** Tries for a moment; why it was refused at last, undefined when it is stored. */
async function put(
  storage: DiskStorage,
  bucket: string,
  key: string,
  size: number,
): Promise<string | undefined> {
  let refused = "";
  for (let attempt = 0; attempt < 100; attempt += 1) {
    const fill = storage.beginFill({ meta: metaOf({ bucket, key }, size) });
    if ("refused" in fill) {
      refused = fill.refused;
    } else {
      await writeAll(fill, 0, patternOf(key, size));
      const outcome = await fill.commit(() => true);
      fill.release();
      if (outcome.kind === "committed") return undefined;
      refused = outcome.kind;
    }
    await systemClock.sleep(2);
  }
  return refused;
}

async function isIntact(storage: DiskStorage, bucket: string, key: string, size: number) {
  const found = storage.lookup({ bucket, key });
  const body = found && (await bodyOf(storage, found));
  return body !== undefined && Buffer.compare(body, patternOf(key, size)) === 0;
}

const usedBytes = (storage: DiskStorage): number =>
  storage.quotaFigures().find(({ bucket }) => bucket === "small")?.bytes ?? 0;

test.each(seeds(3))(
  "a bucket stays within its quota (seed %d)",
  async (seed) => {
    const random = seededRandom(seed);
    const policy = POLICIES[seed % POLICIES.length] ?? "lru";
    await using temp = new TempStore();
    const storage = await temp.open({ capacityBytes: CAP_BYTES, policy, quotaBytes });
    await storage.pin("small", "pinned/");
    const pinned = new Map<string, number>();
    const others = new Map<string, number>();
    let stored = 0;
    for (let round = 0; round < 30; round += 1) {
      const batch = Array.from({ length: 24 }, async (_, n) => {
        const size = sizeFrom(random);
        if (n === 0 && round < 20) {
          const key = `pinned/${round}`;
          pinned.set(key, size % (100 * KIB));
          expect(await put(storage, "small", key, size % (100 * KIB))).toBeUndefined();
        } else if (n < 8 && round < 20) {
          others.set(`${round}/${n}`, size);
          expect(await put(storage, "large", `${round}/${n}`, size)).toBeUndefined();
        } else if ((await put(storage, "small", `${round}/${n}`, size)) === undefined) {
          stored += 1;
        }
        expect(usedBytes(storage)).toBeLessThanOrEqual(QUOTA_BYTES);
      });
      await Promise.all(batch);
    }
    expect(stored).toBeGreaterThan(100);
    expect(usedBytes(storage)).toBeGreaterThan(0.5 * QUOTA_BYTES);
    for (const [key, size] of pinned) {
      expect([key, await isIntact(storage, "small", key, size)]).toEqual([key, true]);
    }
    for (const [key, size] of others) {
      expect([key, await isIntact(storage, "large", key, size)]).toEqual([key, true]);
    }
    expect(storage.stats().damagedEntries).toBe(0);
  },
  60_000,
);

test("what is in use is spared, unless the policy is fifo", async () => {
  for (const policy of ["lru", "fifo"] as const) {
    await using temp = new TempStore();
    const storage = await temp.open({ capacityBytes: CAP_BYTES, policy, quotaBytes });
    for (let n = 0; n < 10; n += 1) {
      const key = `hot/${n}`;
      await store(storage, metaOf({ bucket: "small", key }, 1000), patternOf(key, 1000));
    }
    let present = 10;
    for (let round = 0; round < 40; round += 1) {
      present = 0;
      for (let n = 0; n < 10; n += 1) {
        const found = storage.lookup({ bucket: "small", key: `hot/${n}` });
        if (found === undefined) continue;
        storage.touch(found);
        present += 1;
      }
      const batch = Array.from({ length: 24 }, (_, n) =>
        put(storage, "small", `${round}/${n}`, 30 * KIB),
      );
      await Promise.all(batch);
    }
    if (policy === "lru") expect(present).toBe(10);
    else expect(present).toBeLessThan(10);
  }
});

test("a smaller quota is enforced at the next start", async () => {
  await using temp = new TempStore();
  const before = await temp.open({ capacityBytes: CAP_BYTES });
  for (let n = 0; n < 100; n += 1) await put(before, "small", `${n}`, 100 * KIB);
  expect(before.stats().logicalBytes).toBe(10_000 * KIB);
  const after = await temp.open({ capacityBytes: CAP_BYTES, quotaBytes });
  while (usedBytes(after) > QUOTA_BYTES) await systemClock.sleep(5);
  expect(after.stats().evictedEntries).toBeGreaterThan(30);
});

test("what can never fit is refused, and evicts nothing", async () => {
  await using temp = new TempStore();
  const storage = await temp.open({ capacityBytes: CAP_BYTES, quotaBytes });
  for (let n = 0; n < 50; n += 1) await put(storage, "small", `${n}`, 100 * KIB);
  const meta = metaOf({ bucket: "small", key: "huge" }, QUOTA_BYTES + 1);
  expect(storage.beginFill({ meta })).toEqual({ refused: "quota" });
  await systemClock.sleep(20);
  expect(storage.stats().evictedEntries).toBe(0);
});

test("of an object that is read in parts, only the parts count", async () => {
  await using temp = new TempStore();
  const storage = await temp.open({ capacityBytes: CAP_BYTES, quotaBytes });
  const size = 1024 * MIB;
  const meta = metaOf({ bucket: "small", key: "huge" }, size);
  expect(storage.beginFill({ meta })).toEqual({ refused: "too_large" });
  const fill = mustBegin(storage, { meta, expectedBytes: MIB });
  await writeAll(fill, 512 * MIB, patternOf("huge", MIB));
  expect(await fill.commit(() => true)).toMatchObject({ kind: "committed" });
  fill.release();
  expect(usedBytes(storage)).toBe(MIB);
  const found = storage.lookup(meta.id);
  if (found === undefined) throw new Error("not stored");
  // More of it, until the bucket is full: the fill breaks, what is there stays.
  const more = mustBegin(storage, { meta, extend: found, expectedBytes: 8 * MIB });
  await writeAll(more, 0, patternOf("more", 8 * MIB));
  expect(await more.commit(() => true)).toMatchObject({ kind: "failed" });
  more.release();
  expect(storage.missing(found, { start: 512 * MIB, end: 513 * MIB })).toEqual([]);
});
