// Goal: a full volume costs caching, never an answer: fills are refused or fail, what is
// stored stays readable, removals stay removed, and caching resumes without a restart.
// Method: a real, tiny file system (tmpfs) that somebody else fills up. Needs root to
// mount it; without, the test says that it was skipped and why.

import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { systemRandom } from "../../src/base/random.ts";
import { openStorage, type StorageEvent } from "../../src/storage/open.ts";
import type { Storage } from "../../src/storage/storage.ts";
import { bodyOf, metaOf, patternOf, writeAll } from "../support/stored-objects.ts";
import { hogAll, Volume } from "../support/volume.ts";

const MIB = 1024 * 1024;
const VOLUME_BYTES = 96 * MIB;

const root = mkdtempSync(join(tmpdir(), "tag-full-"));
const whyNot = Volume.whyNot(root);
if (whyNot !== undefined) {
  process.stderr.write(`skipped: tests on a full volume, because mount said: ${whyNot}\n`);
}
afterAll(() => rmSync(root, { recursive: true, force: true }));

const idOf = (n: number) => ({ bucket: "full", key: `k${n}` });
const sizeOf = (n: number): number => [100, 5000, 200_000, 700_000, 3_000_000][n % 5] ?? 0;

/** Stores one object; true when it was committed. Never throws, whatever the volume does. */
async function tryStore(storage: Storage, n: number): Promise<boolean> {
  const size = sizeOf(n);
  const fill = storage.beginFill({ meta: metaOf(idOf(n), size) });
  if ("refused" in fill) return false;
  await writeAll(fill, 0, patternOf(`k${n}`, size));
  const outcome = await fill.commit(() => true);
  fill.release();
  return outcome.kind === "committed";
}

/** Reads everything that is visible; every byte must be right. Returns how many there were. */
async function checkAll(storage: Storage, count: number): Promise<number> {
  let found = 0;
  for (let n = 0; n < count; n += 1) {
    const object = storage.lookup(idOf(n));
    if (object === undefined) continue;
    const body = await bodyOf(storage, object);
    if (body === undefined) continue;
    expect(Buffer.compare(body, patternOf(`k${n}`, sizeOf(n)))).toBe(0);
    found += 1;
  }
  return found;
}

test.skipIf(whyNot !== undefined)(
  "a full volume refuses fills, keeps serving, and recovers by itself",
  async () => {
    const events: StorageEvent[] = [];
    using volume = Volume.mount(root, "tmpfs", VOLUME_BYTES);
    const hog = join(volume.path, "hog");
    const storage = await openStorage({
      path: join(volume.path, "cache"),
      capacityBytes: 1024 * MIB, // more than the volume has
      policy: "lru",
      shardCount: 2,
      clock: systemClock,
      random: systemRandom,
      report: (event) => events.push(event),
    });
    // The volume is the limit, not the cap: eviction keeps the store within it.
    for (let n = 0; n < 150; n += 1) await tryStore(storage, n);
    expect(await checkAll(storage, 150)).toBeGreaterThan(10);
    expect(storage.stats().degradedBecause).toBeUndefined();

    hogAll(hog);
    for (let n = 150; n < 200; n += 1) await tryStore(storage, n);
    await checkAll(storage, 200);
    const victim = [...storage.list("full", "")][0];
    if (victim === undefined) throw new Error("nothing survived");
    storage.remove([victim.id]);
    expect(storage.lookup(victim.id)).toBeUndefined();

    rmSync(hog);
    const deadlineMs = systemClock.monotonicMs() + 20_000;
    let n = 1000;
    while (!(await tryStore(storage, (n += 5)))) {
      expect(systemClock.monotonicMs()).toBeLessThan(deadlineMs);
      await systemClock.sleep(50);
    }
    expect(storage.stats().degradedBecause).toBeUndefined();
    expect(storage.lookup(victim.id)).toBeUndefined();
    expect(await checkAll(storage, 200)).toBeGreaterThanOrEqual(0);
    // Trouble may have been foreseen (free space is watched) or met; damage it is not.
    expect(events.filter((event) => event.kind === "damage")).toEqual([]);
    await storage.close();
  },
  60_000,
);
