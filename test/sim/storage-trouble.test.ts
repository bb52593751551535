// Goal: whatever the disk refuses, the store throws at nobody, serves what it can still read,
// says that it is degraded, and works again by itself once the disk does.
// Method: a store on the real disk whose operations fail by switch with the error codes of a
// read-only remount, a broken device, a full volume, and a process out of descriptors; and
// one whose files somebody deletes. The same with real file systems and the compiled
// binary: test/integration/disk-trouble.test.ts.

import { describe, expect, test } from "bun:test";
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Storage } from "../../src/storage/storage.ts";
import { eventually } from "../support/eventually.ts";
import { FaultyDisk, type Fault } from "../support/faulty-disk.ts";
import { bodyOf, metaOf, patternOf, writeAll } from "../support/stored-objects.ts";
import { TempStore } from "../support/temp-store.ts";

const MIB = 1024 * 1024;
/** One per tier, and sizes that are read in different ways. */
const SIZES = [100, 5000, 200_000, 2 * MIB, 12 * MIB];

const idOf = (name: string, size: number) => ({ bucket: "trouble", key: `${name}/${size}` });

/** Stores an object; what became of it. Never throws, whatever the disk does. */
async function tryStore(storage: Storage, name: string, size: number): Promise<string> {
  const id = idOf(name, size);
  const fill = storage.beginFill({ meta: metaOf(id, size) });
  if ("refused" in fill) return fill.refused;
  await writeAll(fill, 0, patternOf(id.key, size));
  const outcome = await fill.commit(() => true);
  fill.release();
  return outcome.kind;
}

/** How many of the objects are hits; those that are have their own bytes. */
async function hits(storage: Storage, name: string, sizes = SIZES): Promise<number> {
  let count = 0;
  for (const size of sizes) {
    const object = storage.lookup(idOf(name, size));
    const body = object === undefined ? undefined : await bodyOf(storage, object);
    if (body === undefined) continue;
    expect(Buffer.compare(body, patternOf(idOf(name, size).key, size))).toBe(0);
    count += 1;
  }
  return count;
}

async function storeAll(storage: Storage, name: string): Promise<void> {
  for (const size of SIZES) expect(await tryStore(storage, name, size)).toBe("committed");
}

describe("a disk that refuses writes", () => {
  test.each(["EROFS", "EIO", "ENOSPC", "EDQUOT"])(
    "(%s) costs fills, not hits, and is over when it is over",
    async (errno) => {
      await using temp = new TempStore();
      const disk = new FaultyDisk();
      const storage = await temp.open({ disk });
      await storeAll(storage, "before");

      disk.fault = { errno, operations: ["create", "write"] };
      for (const size of SIZES.slice(1)) {
        expect(await tryStore(storage, "during", size)).not.toBe("committed");
      }
      expect(disk.strikes).toBeGreaterThan(0);
      expect(storage.stats().degradedBecause).toContain(errno);
      expect(await hits(storage, "before")).toBe(SIZES.length);
      expect(await tryStore(storage, "during", 100)).toBe(
        errno === "EROFS" || errno === "EIO" ? "store_failed" : "disk_full",
      );
      storage.remove([idOf("before", 5000)]);
      expect(storage.lookup(idOf("before", 5000))).toBeUndefined();

      disk.fault = undefined;
      await eventually(() => storage.stats().degradedBecause === undefined);
      await storeAll(storage, "after");
      expect(await hits(storage, "after")).toBe(SIZES.length);
      expect(storage.lookup(idOf("before", 5000))).toBeUndefined();
      expect(temp.events.map(({ kind }) => kind)).toEqual(["degraded", "recovered"]);
    },
    30_000,
  );
});

describe("a process out of descriptors", () => {
  test("keeps what it has stored for when it can open files again", async () => {
    await using temp = new TempStore();
    const disk = new FaultyDisk();
    const before = await temp.open({ disk });
    await storeAll(before, "before");
    // Nothing is in memory and no file is open after a restart.
    const storage = await temp.open({ disk });
    disk.fault = { errno: "EMFILE", operations: ["open", "create"] };
    expect(await hits(storage, "before", SIZES.slice(1))).toBe(0);
    expect(storage.stats().degradedBecause).toContain("EMFILE");
    expect(await tryStore(storage, "during", 5000)).toBe("store_failed");

    disk.fault = undefined;
    await eventually(() => storage.stats().degradedBecause === undefined);
    expect(await hits(storage, "before")).toBe(SIZES.length);
    expect(storage.stats().damagedEntries).toBe(0);
    await storeAll(storage, "after");
  }, 30_000);
});

describe("a disk that cannot be read", () => {
  test.each<Fault["operations"]>([["read"], ["open"]])(
    "(%s) makes misses, which can be stored again",
    async (operation) => {
      await using temp = new TempStore();
      const disk = new FaultyDisk();
      const before = await temp.open({ disk });
      await storeAll(before, "before");
      const storage = await temp.open({ disk });
      disk.fault = { errno: "EIO", operations: [operation] };
      // What is in a catalog row needs no other file.
      expect(await hits(storage, "before")).toBe(1);
      expect(storage.stats().damagedEntries).toBeGreaterThan(0);
      disk.fault = undefined;
      await eventually(() => storage.stats().degradedBecause === undefined);
      await storeAll(storage, "before");
      expect(await hits(storage, "before")).toBe(SIZES.length);
    },
    30_000,
  );
});

describe("files that somebody deletes", () => {
  test.each([
    ["bodies", ["segments/*", "files/*"]],
    ["folders", ["segments", "files", "catalog", "ballast"]],
    ["everything", ["*"]],
  ])(
    "(%s) are misses, and what is stored afterwards stays",
    async (_what, patterns) => {
      await using temp = new TempStore();
      const before = await temp.open();
      await storeAll(before, "before");
      const storage = await temp.open();
      for (const pattern of patterns) {
        const folder = join(temp.path, pattern.replace("*", ""));
        if (pattern.endsWith("*")) {
          for (const name of readdirSync(folder)) rmSync(join(folder, name), { recursive: true });
        } else {
          rmSync(folder, { recursive: true, force: true });
        }
      }
      await hits(storage, "before");
      // The first fills may find out that the folders are gone; then the store makes new ones.
      await eventually(async () => {
        let stored = 0;
        for (const size of SIZES) {
          if ((await tryStore(storage, "after", size)) === "committed") stored += 1;
        }
        return stored === SIZES.length;
      });
      expect(await hits(storage, "after")).toBe(SIZES.length);
      expect(storage.stats().degradedBecause).toBeUndefined();
    },
    60_000,
  );
});
