// Goal: a flipped bit anywhere in a store is a miss and a counter, never a wrong byte, an
// exception or a store that does not open.
// Method: a small store with every tier in it is built once; each round flips one bit at a
// random place of a copy, opens it and reads everything. FLIPS=10000 for a long run.

import { expect, test } from "bun:test";
import {
  cpSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { seededRandom, systemRandom } from "../../src/base/random.ts";
import { openCatalogReader, openStorage } from "../../src/storage/open.ts";
import {
  bodyOf,
  metaOf,
  mustBegin,
  patternOf,
  store,
  writeAll,
} from "../support/stored-objects.ts";

const FLIPS = Number(process.env["FLIPS"] ?? 60);
const MIB = 1024 * 1024;
const SIZES = [0, 100, 250, 3000, 60_000, 100_000, 400_000, 1_500_000];

const options = {
  capacityBytes: 512 * MIB,
  shardCount: 2,
  clock: systemClock,
  random: systemRandom,
};

const idOf = (size: number, n: number) => ({ bucket: "flip", key: `${size}/${n}` });

async function build(path: string): Promise<void> {
  const storage = await openStorage({ ...options, path });
  for (const size of SIZES) {
    for (let n = 0; n < 3; n += 1) {
      const id = idOf(size, n);
      const object = await store(storage, metaOf(id, size), patternOf(id.key, size));
      if (n === 1) storage.refresh(object, { ...object, headers: ["X-Renewed", "1"] });
    }
  }
  const partial = { bucket: "flip", key: "partial" };
  const fill = mustBegin(storage, { meta: metaOf(partial, 40 * MIB) });
  await writeAll(fill, MIB, patternOf("partial", 2 * MIB).subarray(MIB));
  await fill.commit(() => true);
  fill.release();
  await storage.close();
}

/** Every regular file, each as likely as the others: small ones hold what matters most. */
function filesUnder(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .map((name) => join(folder, name))
    .filter((path) => statSync(path).isFile() && statSync(path).size > 0);
}

async function readEverything(path: string): Promise<{ found: number; damaged: number }> {
  const storage = await openStorage({ ...options, path });
  let found = 0;
  try {
    for (const size of SIZES) {
      for (let n = 0; n < 3; n += 1) {
        const id = idOf(size, n);
        const object = storage.lookup(id);
        if (object === undefined) continue;
        const headers = n === 1 ? ["X-Renewed", "1"] : metaOf(id, size).headers;
        expect(object.headers).toEqual(headers);
        expect(object.sizeBytes).toBe(size);
        const body = await bodyOf(storage, object);
        if (body === undefined) continue;
        expect(Buffer.compare(body, patternOf(id.key, size))).toBe(0);
        found += 1;
      }
    }
    const partial = storage.lookup({ bucket: "flip", key: "partial" });
    const range = { start: MIB + 5, end: MIB + 100_000 };
    if (partial !== undefined && storage.missing(partial, range).length === 0) {
      const read = await storage.read(partial, range);
      if (read?.kind === "bytes") {
        const expected = patternOf("partial", 2 * MIB).subarray(range.start, range.end);
        expect(Buffer.compare(read.bytes, expected)).toBe(0);
      }
    }
    for (const entry of storage.list("flip", "")) expect(entry.id.bucket).toBe("flip");
    return { found, damaged: storage.stats().damagedEntries };
  } finally {
    await storage.close();
  }
}

test(
  `${FLIPS} flipped bits serve no wrong byte`,
  async () => {
    const original = mkdtempSync(join(tmpdir(), "tag-flip-"));
    const copy = `${original}-copy`;
    const random = seededRandom(Number(process.env["SEED"] ?? 7));
    try {
      await build(original);
      expect(await readEverything(original)).toEqual({ found: 3 * SIZES.length, damaged: 0 });
      let noticed = 0;
      for (let flip = 0; flip < FLIPS; flip += 1) {
        rmSync(copy, { recursive: true, force: true });
        cpSync(original, copy, { recursive: true });
        const files = filesUnder(copy);
        const file = files[random.below(files.length)] ?? "";
        const bytes = readFileSync(file);
        const at = random.below(bytes.length);
        bytes[at] = (bytes[at] ?? 0) ^ (1 << random.below(8));
        writeFileSync(file, bytes);
        // The command line reads it too, or says that it cannot.
        try {
          const reader = openCatalogReader(copy);
          reader?.summary();
          reader?.close();
        } catch (error) {
          expect(String(error)).toContain("cannot read the cache");
        }
        const { damaged } = await readEverything(copy);
        if (damaged > 0) noticed += 1;
      }
      expect(noticed).toBeGreaterThan(0);
    } finally {
      rmSync(original, { recursive: true, force: true });
      rmSync(copy, { recursive: true, force: true });
    }
  },
  20_000 + FLIPS * 2000,
);
