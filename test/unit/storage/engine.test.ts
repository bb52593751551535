// What the engine promises beyond the contract: survival, the lock, the cap, damage.

import { describe, expect, test } from "bun:test";
import { Database } from "bun:sqlite";
import {
  cpSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { errorCode } from "../../../src/base/errors.ts";
import type { Storage } from "../../../src/storage/storage.ts";
import { openCatalogReader } from "../../../src/storage/open.ts";
import { FaultyDisk } from "../../support/faulty-disk.ts";
import {
  bodyOf,
  metaOf,
  mustBegin,
  patternOf,
  store,
  writeAll,
} from "../../support/stored-objects.ts";
import { TempStore } from "../../support/temp-store.ts";

const MIB = 1024 * 1024;
const SIZES = [0, 500, 70_000, 300_000, 12 * MIB + 5];

const idOf = (sizeBytes: number) => ({ bucket: "b", key: `size-${sizeBytes}` });

/** Bytes the folder takes, as `du` counts. */
function diskUsage(folder: string): number {
  let sizeBytes = 0;
  for (const name of readdirSync(folder, { recursive: true, encoding: "utf8" })) {
    const status = statSync(join(folder, name), { throwIfNoEntry: false });
    if (status?.isFile() === true) sizeBytes += status.blocks * 512;
  }
  return sizeBytes;
}

function filesUnder(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .map((name) => join(folder, name))
    .filter((path) => statSync(path).isFile());
}

/** Changes what the control database says, checksum included. */
function editState(path: string, changes: Record<string, unknown>): void {
  const control = new Database(join(path, "control.db"));
  const row = control.query<{ value: string }, []>("SELECT value FROM meta").get();
  const text = row?.value ?? "";
  const state = JSON.parse(text.slice(0, text.lastIndexOf(" "))) as Record<string, unknown>;
  const changed = JSON.stringify({ ...state, ...changes });
  control.query("UPDATE meta SET value = ?").run(`${changed} ${Bun.hash.crc32(changed)}`);
  control.close();
}

describe("a segment being written", () => {
  test("takes its space in steps, so that a killed process leaves little in vain", async () => {
    await using temp = new TempStore();
    const storage = await temp.open({ capacityBytes: 64 * 1024 * MIB }); // segments of 256 MiB
    const segments = join(temp.path, "segments");
    await store(storage, metaOf({ bucket: "b", key: "k" }, 5000), patternOf("k", 5000));
    expect(diskUsage(segments)).toBeLessThan(2 * MIB);
    for (let n = 0; n < 30; n += 1) {
      await store(storage, metaOf({ bucket: "b", key: `${n}` }, MIB), patternOf(`${n}`, MIB));
    }
    expect(diskUsage(segments)).toBeGreaterThan(31 * MIB);
    expect(diskUsage(segments)).toBeLessThan(33 * MIB);
    await temp.close();
    expect(diskUsage(segments)).toBeLessThan(31 * MIB);
  });

  test("counts in full against the cap from its beginning", async () => {
    await using temp = new TempStore();
    const storage = await temp.open({ capacityBytes: 64 * 1024 * MIB });
    const before = storage.stats().physicalBytes;
    await store(storage, metaOf({ bucket: "b", key: "k" }, 5000), patternOf("k", 5000));
    expect(storage.stats().physicalBytes - before).toBeGreaterThanOrEqual(256 * MIB);
  });
});

describe("a large object that was renewed", () => {
  class WatchedDisk extends FaultyDisk {
    readonly removed: string[] = [];
    onRemove = (): void => undefined;

    override remove(path: string): Promise<void> {
      this.removed.push(path);
      this.onRemove();
      return super.remove(path);
    }
  }
  const id = { bucket: "b", key: "k" };
  const renewedIn = async (temp: TempStore, disk: WatchedDisk) => {
    const storage = await temp.open({ disk });
    const size = 12 * MIB;
    const stored = await store(storage, metaOf(id, size), patternOf("k", size));
    expect(storage.refresh(stored, { ...stored, freshUntilMs: 1 })).toBeDefined();
    return storage;
  };

  test("keeps its file for as long as its row names it, when another version replaces it", async () => {
    await using temp = new TempStore();
    const disk = new WatchedDisk();
    const storage = await renewedIn(temp, disk);
    const fill = mustBegin(storage, { meta: metaOf(id, 500) });
    await writeAll(fill, 0, patternOf("k2", 500));
    const committed = fill.commit(() => true);
    expect(storage.lookup(id)?.sizeBytes).toBe(500);
    // Killed here, the next process would find the old row.
    expect(disk.removed).toEqual([]);
    await committed;
    fill.release();
    expect(disk.removed).toHaveLength(1);
  });

  test("loses its row before its file when it is removed", async () => {
    await using temp = new TempStore();
    const disk = new WatchedDisk();
    const storage = await renewedIn(temp, disk);
    const reader = openCatalogReader(temp.path);
    const rowsWhenRemoved: unknown[] = [];
    disk.onRemove = () => void rowsWhenRemoved.push(reader?.inspect(id));
    storage.remove([id]);
    reader?.close();
    expect(rowsWhenRemoved).toEqual([undefined]);
  });
});

describe("restart", () => {
  test("after a clean stop every entry is there as it was", async () => {
    await using temp = new TempStore();
    const before = await temp.open();
    for (const size of SIZES) await store(before, metaOf(idOf(size), size), patternOf("x", size));
    const stats = before.stats();
    const after = await temp.open();
    expect(after.stats()).toMatchObject({
      entries: stats.entries,
      logicalBytes: stats.logicalBytes,
    });
    for (const size of SIZES) {
      const found = after.lookup(idOf(size));
      expect(found).toMatchObject(metaOf(idOf(size), size));
      expect(found && (await bodyOf(after, found))).toEqual(patternOf("x", size));
    }
  });

  test("a partly present object stays partly present", async () => {
    await using temp = new TempStore();
    const before = await temp.open();
    const size = 40 * MIB;
    const body = patternOf("part", size);
    const fill = mustBegin(before, { meta: metaOf(idOf(size), size) });
    await writeAll(fill, 16 * MIB, body.subarray(16 * MIB, 24 * MIB));
    expect((await fill.commit(() => true)).kind).toBe("committed");
    fill.release();
    const after = await temp.open();
    const found = after.lookup(idOf(size));
    if (found === undefined) throw new Error("lost");
    expect(after.missing(found, { start: 0, end: size })).toEqual([
      { start: 0, end: 16 * MIB },
      { start: 24 * MIB, end: size },
    ]);
  });

  test("versions are never used twice", async () => {
    await using temp = new TempStore();
    const versions = new Set<number>();
    for (let run = 0; run < 3; run += 1) {
      const storage = await temp.open();
      for (let n = 0; n < 3; n += 1) {
        const object = await store(storage, metaOf(idOf(1), 1), patternOf("v", 1));
        versions.add(object.version);
      }
    }
    expect(versions.size).toBe(9);
  });

  test("after power loss entries are kept but must be revalidated, also after the next start", async () => {
    await using temp = new TempStore();
    const before = await temp.open({ bootId: "one" });
    await store(before, metaOf(idOf(500), 500), patternOf("x", 500));
    // The machine went down: the store is never closed, and its lock died with the process.
    await temp.close();
    unclean(temp.path);
    const after = await temp.open({ bootId: "two" });
    const found = after.lookup(idOf(500));
    expect(found?.freshUntilMs).toBe(0);
    await temp.close();
    const again = await temp.open({ bootId: "two" });
    const still = again.lookup(idOf(500));
    expect(still?.freshUntilMs).toBe(0);
    if (still === undefined) return;
    again.refresh(still, { ...still, freshUntilMs: 99 });
    const confirmed = await temp.open({ bootId: "two" });
    expect(confirmed.lookup(idOf(500))?.freshUntilMs).toBe(99);
  });

  test("after a crash within the same boot entries are trusted", async () => {
    await using temp = new TempStore();
    const before = await temp.open({ bootId: "one" });
    await store(before, metaOf(idOf(500), 500), patternOf("x", 500));
    await temp.close();
    unclean(temp.path);
    const after = await temp.open({ bootId: "one" });
    expect(after.lookup(idOf(500))).toMatchObject(metaOf(idOf(500), 500));
  });

  function unclean(path: string): void {
    editState(path, { isClean: false });
  }

  test("what a killed process was about to overwrite hides nothing behind it", async () => {
    await using temp = new TempStore();
    await using found = new TempStore();
    const storage = await temp.open({ capacityBytes: 4096 * MIB });
    const put = (key: string, size: number) =>
      store(storage, metaOf({ bucket: "b", key }, size), patternOf(key, size));
    await Promise.all([1, 2, 3, 4].map((n) => put(`dead-${n}`, 3 * MIB)));
    storage.removePrefix("b", "dead-");
    // A complete record that is refused at the last moment, because a write came in between, …
    const refused = mustBegin(storage, { meta: metaOf({ bucket: "b", key: "old" }, 3 * MIB) });
    await writeAll(refused, 0, patternOf("old", 3 * MIB));
    expect((await refused.commit(() => false)).kind).toBe("refused");
    refused.release();
    // … one in its place that is never completed, and two behind that one.
    const half = mustBegin(storage, { meta: metaOf({ bucket: "b", key: "new" }, MIB) });
    await writeAll(half, 0, patternOf("new", MIB).subarray(0, MIB - 10));
    await put("inside", 1.5 * MIB);
    await put("astride", MIB);
    await put("behind", MIB);
    // As kill -9 leaves it.
    cpSync(temp.path, found.path, { recursive: true });
    half.release();
    const after = await found.open({ capacityBytes: 4096 * MIB });
    await after.compact(new AbortController().signal); // waits until everything was looked at
    for (const [key, size] of [
      ["inside", 1.5 * MIB],
      ["astride", MIB],
      ["behind", MIB],
    ] as const) {
      const object = after.lookup({ bucket: "b", key });
      const body = object === undefined ? undefined : await bodyOf(after, object);
      expect([key, body?.length]).toEqual([key, size]);
      expect(body).toEqual(patternOf(key, size));
    }
  });

  test("a store of a newer version is refused, not guessed at", async () => {
    await using temp = new TempStore();
    await temp.open();
    await temp.close();
    editState(temp.path, { format: 99 });
    const failure = await temp.open().catch((error: unknown) => error);
    expect(errorCode(failure)).toBe("storage_io");
    expect(String(failure)).toContain("newer");
  });
});

describe("lock", () => {
  test("a second opening is refused, naming pid and folder", async () => {
    await using temp = new TempStore();
    await temp.open();
    await using second = new TempStore();
    const failure = await second.open({ path: temp.path }).catch((error: unknown) => error);
    expect(errorCode(failure)).toBe("storage_locked");
    expect(String(failure)).toContain(String(process.pid));
    expect(String(failure)).toContain(temp.path);
  });

  test("a folder that cannot be made is an error that names it", async () => {
    await using temp = new TempStore();
    const path = join(temp.path, "file", "cache");
    writeFileSync(join(temp.path, "file"), "");
    const failure = await temp.open({ path }).catch((error: unknown) => error);
    expect(errorCode(failure)).toBe("storage_io");
    expect(String(failure)).toContain(path);
  });
});

describe("cap", () => {
  test.each(["lru", "fifo", "auto"] as const)(
    "what the folder takes stays under the cap at all times (%s)",
    async (policy) => {
      await using temp = new TempStore();
      const capacityBytes = 48 * MIB;
      const storage = await temp.open({ capacityBytes, policy });
      let highest = 0;
      for (let n = 0; n < 240; n += 1) {
        const size = [2000, 60_000, 400_000, 1_500_000][n % 4] ?? 0;
        const meta = metaOf({ bucket: "cap", key: `k${n}` }, size);
        const fill = storage.beginFill({ meta });
        if ("refused" in fill) continue;
        await writeAll(fill, 0, patternOf(`k${n}`, size));
        await fill.commit(() => true);
        fill.release();
        highest = Math.max(highest, diskUsage(temp.path), storage.stats().physicalBytes);
      }
      expect(highest).toBeLessThanOrEqual(capacityBytes);
      expect(storage.stats().evictedEntries).toBeGreaterThan(policy === "auto" ? 5 : 20);
      expect(storage.stats().logicalBytes).toBeGreaterThan(capacityBytes / 4);
      let checked = 0;
      for (const entry of storage.list("cap", "")) {
        expect(await bodyOf(storage, entry)).toEqual(patternOf(entry.id.key, entry.sizeBytes));
        checked += 1;
      }
      expect(checked).toBe(storage.stats().entries);
    },
    30_000,
  );

  test("an object larger than half the cap is turned away", async () => {
    await using temp = new TempStore();
    const storage = await temp.open({ capacityBytes: 48 * MIB });
    expect(storage.beginFill({ meta: metaOf(idOf(1), 40 * MIB) })).toEqual({
      refused: "too_large",
    });
  });

  test("fills beyond the configured number are turned away, and taken again later", async () => {
    await using temp = new TempStore();
    const storage = await temp.open({ fillsMax: 2 });
    const meta = metaOf(idOf(10), 10);
    const first = mustBegin(storage, { meta });
    mustBegin(storage, { meta }).release();
    const second = mustBegin(storage, { meta });
    expect(storage.beginFill({ meta })).toEqual({ refused: "too_many_fills" });
    first.release();
    second.release();
    mustBegin(storage, { meta }).release();
  });
});

describe("damage", () => {
  const size = 12 * MIB + 5;

  test.each([
    ["deleted", (path: string) => rmSync(path)],
    ["cut short", (path: string) => truncateSync(path, 100_000)],
    ["changed", (path: string) => flip(path, 1_000_000)],
  ])("a body file that was %s is a miss, counted and forgotten", async (_what, spoil) => {
    await using temp = new TempStore();
    const before = await temp.open();
    await store(before, metaOf(idOf(size), size), patternOf("x", size));
    await temp.close();
    for (const path of filesUnder(join(temp.path, "files"))) spoil(path);
    const after = await temp.open();
    const found = after.lookup(idOf(size));
    if (found === undefined) throw new Error("lost before it was read");
    expect(await bodyOf(after, found)).toBeUndefined();
    expect(after.lookup(idOf(size))).toBeUndefined();
    expect(after.stats()).toMatchObject({ damagedEntries: 1, entries: 0 });
    expect(temp.events.map((event) => event.kind)).toEqual(["damage"]);
  });

  test("a range that does not touch the changed block is still served", async () => {
    await using temp = new TempStore();
    const before = await temp.open();
    const body = patternOf("x", size);
    await store(before, metaOf(idOf(size), size), body);
    await temp.close();
    for (const path of filesUnder(join(temp.path, "files"))) flip(path, 1_000_000);
    const after = await temp.open();
    const found = after.lookup(idOf(size));
    if (found === undefined) throw new Error("lost");
    const read = await after.read(found, { start: 8 * MIB, end: 8 * MIB + 10 });
    expect(read).toMatchObject({ kind: "bytes", bytes: body.subarray(8 * MIB, 8 * MIB + 10) });
  });

  test("a catalog shard that is no database starts empty, the others are untouched", async () => {
    await using temp = new TempStore();
    const before = await temp.open();
    const ids = Array.from({ length: 40 }, (_, n) => ({ bucket: "b", key: `k${n}` }));
    for (const id of ids) await store(before, metaOf(id, 100), patternOf(id.key, 100));
    await temp.close();
    writeFileSync(join(temp.path, "catalog", "00.db"), "this was a database once");
    const after = await temp.open();
    const found = ids.filter((id) => after.lookup(id) !== undefined);
    expect(found.length).toBeGreaterThan(15);
    expect(found.length).toBeLessThan(40);
    for (const id of ids) await store(after, metaOf(id, 100), patternOf(id.key, 100));
    expect(ids.every((id) => after.lookup(id) !== undefined)).toBe(true);
  });

  test.each(["name", "object", "block"])(
    "a shard whose table of %ss is garbage is thrown away, and nobody notices but its entries",
    async (table) => {
      await using temp = new TempStore();
      const before = await temp.open({ fillsMax: 1000 });
      const ids = Array.from({ length: 400 }, (_, n) => ({ bucket: "b", key: `k${n}` }));
      const storeAll = (storage: Storage) =>
        Promise.all(ids.map((id) => store(storage, metaOf(id, 100), patternOf(id.key, 100))));
      await storeAll(before);
      await store(before, metaOf(idOf(70_000_000), 200), patternOf("x", 200));
      await temp.close();
      for (const name of ["00.db", "01.db"]) overwrite(join(temp.path, "catalog", name), table);

      const after = await temp.open({ fillsMax: 1000 });
      const listed = [...after.list("b", "")].map(({ id }) => id.key);
      expect(listed.length).toBeGreaterThan(150);
      for (const id of ids) {
        const found = after.lookup(id);
        if (found !== undefined) expect(await bodyOf(after, found)).toEqual(patternOf(id.key, 100));
      }
      await after.compact(new AbortController().signal); // waits for what is looked at after a start
      await store(after, metaOf(idOf(12 * MIB + 5), 12 * MIB + 5), patternOf("x", 12 * MIB + 5));
      after.removePrefix("b", "");
      expect([...after.list("b", "")]).toEqual([]);
      await storeAll(after);
      expect(ids.every((id) => after.lookup(id) !== undefined)).toBe(true);
      expect(temp.events.filter(({ kind }) => kind === "degraded")).toEqual([]);
    },
  );

  test.each([
    ["name", retypeKey],
    ["sum", retypeSum],
  ])("a %s in the catalog that is not even of its type is damage", async (_what, retype) => {
    await using temp = new TempStore();
    const before = await temp.open();
    const ids = Array.from({ length: 40 }, (_, n) => ({ bucket: "b", key: `k${10 + n}` }));
    const storeAll = (storage: Storage) =>
      Promise.all(ids.map((id) => store(storage, metaOf(id, 100), patternOf(id.key, 100))));
    await storeAll(before);
    await temp.close();
    retype(join(temp.path, "catalog", "00.db"));
    const after = await temp.open();
    for (const { id } of after.list(undefined, "")) expect(ids).toContainEqual(id);
    expect(after.stats().damagedEntries).toBe(1);
    expect(Number.isSafeInteger(after.stats().physicalBytes)).toBe(true);
    await storeAll(after);
    expect([...after.list("b", "")].length).toBe(ids.length);
  });

  /** Makes the key of a row of `name` a number: the header of a row is types, one byte each. */
  function retypeKey(path: string): void {
    const bytes = readFileSync(path);
    // Header length, bucket 1, a blob of three bytes, an integer of eight; then the blob.
    const at = bytes.indexOf(Buffer.from([4, 9, 18, 6, 0x6b]));
    expect(at).toBeGreaterThan(0);
    bytes[at + 2] = 3; // an integer of three
    writeFileSync(path, bytes);
  }

  /** Makes a sum a blob; the schema looks away meanwhile. */
  function retypeSum(path: string): void {
    const rewrite = (from: string, to: string): void => {
      const bytes = readFileSync(path);
      const start = bytes.indexOf("CREATE TABLE total(");
      bytes.write(to, bytes.indexOf(from, start), "latin1");
      writeFileSync(path, bytes);
    };
    rewrite("STRICT, WITHOUT", "      , WITHOUT");
    const database = new Database(path);
    database.run("UPDATE total SET disk = x'0102'");
    database.close();
    rewrite("      , WITHOUT", "STRICT, WITHOUT");
  }

  /** Overwrites the first page of a table. */
  function overwrite(path: string, table: string): void {
    const database = new Database(path, { readonly: true });
    const page = database
      .query<{ rootpage: number }, [string]>("SELECT rootpage FROM sqlite_schema WHERE name = ?")
      .get(table)?.rootpage;
    database.close();
    const bytes = readFileSync(path);
    bytes.fill(0x5a, ((page ?? 0) - 1) * 4096, (page ?? 0) * 4096);
    writeFileSync(path, bytes);
  }

  function flip(path: string, offset: number): void {
    const bytes = readFileSync(path);
    bytes[offset] = (bytes[offset] ?? 0) ^ 0x10;
    writeFileSync(path, bytes);
  }
});

describe("catalog reader", () => {
  test("reads beside the running store and when it is closed", async () => {
    await using temp = new TempStore();
    const storage = await temp.open();
    await store(storage, metaOf({ bucket: "one", key: "a/1" }, 500), patternOf("1", 500));
    await store(storage, metaOf({ bucket: "two", key: "b" }, 300_000), patternOf("b", 300_000));
    for (const isRunning of [true, false]) {
      if (!isRunning) await temp.close();
      const reader = openCatalogReader(temp.path);
      if (reader === undefined) throw new Error("no store there");
      const { tiers, buckets, physicalBytes, capacityBytes, owner } = reader.summary();
      expect(tiers.reduce((sum, { entries }) => sum + entries, 0)).toBe(2);
      expect(buckets.toSorted((a, b) => a.entries - b.entries)).toContainEqual({
        bucket: "one",
        entries: 1,
        logicalBytes: 500,
        diskBytes: 832,
        pinnedEntries: 0,
        pinnedBytes: 0,
      });
      expect(physicalBytes).toBeGreaterThan(300_000);
      expect(capacityBytes).toBe(1024 * MIB);
      expect(owner?.pid).toBe(isRunning ? process.pid : undefined);
      expect([...reader.list("one", "a/")]).toEqual([{ bucket: "one", key: "a/1" }]);
      expect(reader.inspect({ bucket: "two", key: "b" })).toMatchObject({
        isComplete: true,
        meta: { sizeBytes: 300_000 },
      });
      expect(reader.inspect({ bucket: "two", key: "c" })).toBeUndefined();
      reader.close();
    }
  });

  test("says when the control database is damaged in a place it needs later", async () => {
    await using temp = new TempStore();
    await temp.open();
    await temp.close();
    const path = join(temp.path, "control.db");
    const bytes = readFileSync(path);
    bytes.write("stade", bytes.indexOf("state  TEXT"), "latin1");
    writeFileSync(path, bytes);
    expect(() => openCatalogReader(temp.path)).toThrow("cannot read the cache");
  });

  test("says when there is no store", async () => {
    await using temp = new TempStore();
    expect(openCatalogReader(temp.path)).toBeUndefined();
  });
});
