// Goal: what is pinned is never evicted, by no policy and from no tier; a cache that is
// pinned to the brim neither grows nor spins; and pins outlive restarts and kills.
// Method: seeded traffic of several times the cap through the real engine, in segments of
// one MiB. Pinned objects are strewn among the others, so that most segments hold some
// and have to be evacuated. Every byte is compared in the end.

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "bun:test";
import { systemClock } from "../../src/base/clock.ts";
import { type Random, seededRandom } from "../../src/base/random.ts";
import { openCatalogReader, type DiskStorage, type PolicyName } from "../../src/storage/open.ts";
import { seeds } from "../support/seeds.ts";
import { bodyOf, metaOf, patternOf, writeAll } from "../support/stored-objects.ts";
import { TempStore } from "../support/temp-store.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const CAP_BYTES = 32 * MIB;
const KILLS = Number(process.env["CRASHES"] ?? 5);
const POLICIES: readonly PolicyName[] = ["lru", "fifo", "auto"];

const idOf = (key: string) => ({ bucket: "b", key });

/** Inline, segment and file tier alike. */
function sizeFrom(random: Random): number {
  const kind = random.below(10);
  if (kind === 0) return random.below(257);
  return kind < 9 ? 1 + random.below(100 * KIB) : 150 * KIB + random.below(MIB);
}

/** Stores an object, waiting for eviction when there is no room; false when there is none for long. */
async function put(
  storage: DiskStorage,
  key: string,
  sizeBytes: number,
  tries = 400,
): Promise<boolean> {
  for (let attempt = 0; attempt < tries; attempt += 1) {
    const fill = storage.beginFill({ meta: metaOf(idOf(key), sizeBytes) });
    if (!("refused" in fill)) {
      await writeAll(fill, 0, patternOf(key, sizeBytes));
      const outcome = await fill.commit(() => true);
      fill.release();
      if (outcome.kind === "committed") return true;
    } else if (fill.refused === "not_admitted") {
      continue; // bimodal admission rolls its dice
    }
    await systemClock.sleep(2);
  }
  return false;
}

async function lostOf(
  storage: DiskStorage,
  objects: ReadonlyMap<string, number>,
): Promise<string[]> {
  const lost: string[] = [];
  for (const [key, sizeBytes] of objects) {
    const found = storage.lookup(idOf(key));
    const body = found && (await bodyOf(storage, found));
    if (body === undefined || Buffer.compare(body, patternOf(key, sizeBytes)) !== 0) lost.push(key);
  }
  return lost;
}

describe.each(POLICIES)("%s", (policy) => {
  test.each(seeds(2))(
    "keeps what is pinned through five times the cap (seed %d)",
    async (seed) => {
      const random = seededRandom(seed);
      await using temp = new TempStore();
      let storage = await temp.open({ capacityBytes: CAP_BYTES, policy });
      await storage.pin("b", "pinned/");
      /** Stored before it was pinned. */
      const late = new Map<string, number>();
      const pinned = new Map<string, number>();
      let pinnedBytes = 0;
      let writtenBytes = 0;
      for (let round = 0; round < 64; round += 1) {
        const batch = Array.from({ length: 32 }, async (_, n) => {
          const sizeBytes = sizeFrom(random);
          writtenBytes += sizeBytes;
          const isPinned = random.below(4) === 0 && pinnedBytes + sizeBytes < 0.4 * CAP_BYTES;
          if (!isPinned) return put(storage, `other/${round}/${n}`, sizeBytes, 60);
          pinnedBytes += sizeBytes;
          const key = `${round === 0 ? "late" : "pinned"}/${round}/${n}`;
          (round === 0 ? late : pinned).set(key, sizeBytes);
          const isStored = await put(storage, key, sizeBytes);
          expect(isStored).toBe(true);
          return isStored;
        });
        await Promise.all(batch);
        if (round === 0) await storage.pin("b", "late/");
        if (round % 40 === 39) storage = await temp.open({ capacityBytes: CAP_BYTES, policy });
      }
      expect(writtenBytes).toBeGreaterThan(5 * CAP_BYTES);
      expect(storage.stats().physicalBytes).toBeLessThanOrEqual(CAP_BYTES);
      expect(storage.stats().evictedEntries).toBeGreaterThan(100);
      expect(await lostOf(storage, pinned)).toEqual([]);
      expect(await lostOf(storage, late)).toEqual([]);
      expect(storage.pinFigures()).toMatchObject({
        entries: pinned.size + late.size,
        refusedEntries: 0,
      });
      expect(storage.stats().damagedEntries).toBe(0);
    },
    120_000,
  );

  test("a cache pinned to the brim keeps its bound, and does not write in circles", async () => {
    const random = seededRandom(5);
    await using temp = new TempStore();
    const storage = await temp.open({ capacityBytes: CAP_BYTES, policy });
    await storage.pin("b", "");
    let writtenBytes = 0;
    for (let round = 0; round < 32; round += 1) {
      const batch = Array.from({ length: 32 }, (_, n) => {
        const sizeBytes = sizeFrom(random);
        writtenBytes += sizeBytes;
        return put(storage, `${round}/${n}`, sizeBytes, 3);
      });
      await Promise.all(batch);
      const { bytes, maxBytes } = storage.pinFigures();
      expect(bytes).toBeLessThanOrEqual(maxBytes);
    }
    const { maxBytes, refusedEntries, bytes } = storage.pinFigures();
    expect(maxBytes).toBe(Math.floor(0.8 * CAP_BYTES));
    expect(bytes).toBeGreaterThan(0.6 * CAP_BYTES);
    expect(refusedEntries).toBeGreaterThan(0);
    expect(temp.events.filter(({ kind }) => kind === "pins-full")).toHaveLength(1);
    expect(storage.stats().physicalBytes).toBeLessThanOrEqual(CAP_BYTES);
    await temp.close();
    const reader = openCatalogReader(temp.path);
    try {
      const { counters, buckets } = reader?.summary() ?? {};
      expect(buckets?.[0]?.pinnedBytes).toBe(bytes);
      const movedBytes = counters?.get("moved_bytes") ?? 0;
      // What is moved to make room is bounded by what came in.
      expect(movedBytes).toBeLessThan(3 * writtenBytes);
    } finally {
      reader?.close();
    }
  }, 60_000);
});

test("what is pinned outlives kills in the middle of eviction", async () => {
  await using temp = new TempStore();
  const log = join(temp.path, "pinned.log");
  const writer = join(import.meta.dir, "../support/pinned-store-writer.ts");
  const linesOf = (): string[] =>
    existsSync(log) ? readFileSync(log, "utf8").split("\n").slice(0, -1) : [];
  for (let round = 0; round < KILLS; round += 1) {
    const before = linesOf().length;
    const child = Bun.spawn(
      [process.execPath, writer, temp.path, String(CAP_BYTES), String(round), log],
      { stdout: "ignore", stderr: "inherit" },
    );
    // Past the first eviction, and each time somewhere else.
    while (linesOf().length < before + 30 + 5 * round) await systemClock.sleep(5);
    child.kill("SIGKILL");
    await child.exited;
    const storage = await temp.open({ capacityBytes: CAP_BYTES, policy: "lru" });
    const pinned = new Map(
      linesOf().map((line) => {
        const [key = "", size = "0"] = line.split(" ");
        return [key, Number(size)] as const;
      }),
    );
    expect(await lostOf(storage, pinned)).toEqual([]);
    expect(storage.pinFigures().entries).toBeGreaterThanOrEqual(pinned.size);
    expect(storage.stats().damagedEntries).toBe(0);
    // What was stored first and not pinned had to go.
    if (round === KILLS - 1) expect(storage.lookup(idOf("other/0/1"))).toBeUndefined();
    await temp.close();
  }
}, 120_000);
