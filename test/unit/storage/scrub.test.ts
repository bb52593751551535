// Goal: the scrub finds what is damaged, and nothing else, however busy the store is meanwhile.
// Method: a small store under random fills, overwrites, removals, evictions and compaction, scrubbed
// again and again from outside; then the same store with a bit flipped.

import { expect, test } from "bun:test";
import { Glob } from "bun";
import { closeSync, openSync, readFileSync, writeSync } from "node:fs";
import { join } from "node:path";

import { systemClock } from "../../../src/base/clock.ts";
import { seededRandom } from "../../../src/base/random.ts";
import { openCatalogReader, openStorage, type CheckedEntry } from "../../../src/storage/open.ts";
import { metaOf, mustBegin, patternOf, store, writeAll } from "../../support/stored-objects.ts";
import { TempStore } from "../../support/temp-store.ts";

const MIB = 1024 * 1024;

async function scrub(folder: string): Promise<CheckedEntry[]> {
  const reader = openCatalogReader(folder);
  if (reader === undefined) throw new Error("there is no store");
  try {
    return await Array.fromAsync(reader.scrub());
  } finally {
    reader.close();
  }
}

test("no change of a busy store is taken for damage", async () => {
  await using temp = new TempStore();
  const random = seededRandom(7);
  const storage = await openStorage({
    path: temp.path,
    capacityBytes: 24 * MIB,
    policy: "lru",
    blockThresholdBytes: 2 * MIB,
    shardCount: 4,
    clock: systemClock,
    random,
  });
  const stop = new AbortController();
  const load = (async () => {
    for (let turn = 0; !stop.signal.aborted; turn += 1) {
      const id = { bucket: "b", key: `k${random.below(200)}` };
      const sizeBytes = random.below(4) === 0 ? random.below(3 * MIB) : random.below(60_000);
      if (random.below(5) === 0) storage.remove([id]);
      const found = storage.lookup(id);
      if (found !== undefined) storage.touch(found);
      const fill = storage.beginFill({ meta: metaOf(id, sizeBytes, { etag: `"${turn}"` }) });
      if (!("refused" in fill)) {
        await writeAll(fill, 0, patternOf(`${turn}`, sizeBytes));
        await fill.commit(() => true);
        fill.release();
      }
      if (turn % 50 === 0) await storage.compact(new AbortController().signal);
      await systemClock.sleep(0);
    }
  })();
  try {
    let checked = 0;
    for (let round = 0; round < 10 || storage.stats().evictedEntries < 20; round += 1) {
      const entries = await scrub(temp.path);
      expect(entries.filter(({ damage }) => damage !== undefined)).toEqual([]);
      checked += entries.length;
      await systemClock.sleep(20);
    }
    expect(checked).toBeGreaterThan(50);
  } finally {
    stop.abort();
    await load;
    await storage.close();
  }
}, 60_000);

test("a flipped bit anywhere in a body, and in its last byte, is found and named", async () => {
  await using temp = new TempStore();
  const sizes = [300, 70_000, 900_000, 12 * MIB + 5];
  const storage = await temp.open();
  for (const size of sizes)
    await store(storage, metaOf({ bucket: "b", key: `${size}` }, size), patternOf(`${size}`, size));
  const fill = mustBegin(storage, { meta: metaOf({ bucket: "b", key: "part" }, 40 * MIB) });
  await writeAll(fill, 16 * MIB, patternOf("p", MIB));
  await fill.commit(() => true);
  fill.release();
  await temp.close();
  expect((await scrub(temp.path)).map(({ damage }) => damage)).toEqual(Array(5).fill(undefined));

  const bodies: [string, Uint8Array][] = sizes.map((size) => [
    `${size}`,
    patternOf(`${size}`, size),
  ]);
  bodies.push(["part", patternOf("p", MIB)]);
  for (const [key, body] of bodies) {
    for (const at of [body.length - 1, body.length >> 1]) {
      const undo = flip(temp.path, body, at, key);
      const damaged = (await scrub(temp.path)).filter(({ damage }) => damage !== undefined);
      expect(damaged.map(({ id }) => id)).toEqual([{ bucket: "b", key }]);
      undo();
    }
  }
}, 60_000);

/** Flips a bit of a stored body; what it returns puts it back. */
function flip(folder: string, body: Uint8Array, at: number, key: string): () => void {
  for (const name of new Glob("{segments,files}/**").scanSync({ cwd: folder, onlyFiles: true })) {
    const path = join(folder, name);
    const bytes = readFileSync(path);
    const start = bytes.indexOf(body);
    if (start !== -1) {
      const put = (byte: number) => {
        const file = openSync(path, "r+");
        writeSync(file, Uint8Array.of(byte), 0, 1, start + at);
        closeSync(file);
      };
      const byte = bytes[start + at] ?? 0;
      put(byte ^ 4);
      return () => put(byte);
    }
  }
  throw new Error(`the body of ${key} is nowhere`);
}
