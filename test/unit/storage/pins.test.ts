// What pins promise beyond the contract: they outlive restarts, cut short or not, and follow the
// configuration and the cap.

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { Database } from "bun:sqlite";
import { closeSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { openCatalogReader, type DiskStorage } from "../../../src/storage/open.ts";
import { mayEvict } from "../../../src/storage/policy.ts";
import { bodyOf, metaOf, patternOf, store, writeAll } from "../../support/stored-objects.ts";
import { TempStore } from "../../support/temp-store.ts";
import { systemClock } from "../../../src/base/clock.ts";

setDefaultTimeout(30_000);

const MIB = 1024 * 1024;

async function storeSome(storage: DiskStorage, prefix: string, sizeBytes = 5000): Promise<void> {
  const stores = Array.from({ length: 10 }, (_, n) => {
    const key = `${prefix}${n}`;
    return store(storage, metaOf({ bucket: "b", key }, sizeBytes), patternOf(key, sizeBytes));
  });
  await Promise.all(stores);
}

/** What a start has to catch up with happens in the background. */
async function untilPinned(storage: DiskStorage, entries: number): Promise<void> {
  while (storage.pinFigures().entries !== entries) await systemClock.sleep(2);
}

/** Stores an object; eviction makes room in the background, every other refusal is for the test to see. */
async function storeOnceThereIsRoom(storage: DiskStorage, key: string): Promise<void> {
  const meta = metaOf({ bucket: "b", key }, 5000);
  for (;;) {
    const fill = storage.beginFill({ meta });
    if (!("refused" in fill)) {
      await writeAll(fill, 0, patternOf(key, 5000));
      const outcome = await fill.commit(() => true);
      fill.release();
      if (outcome.kind === "committed") return;
    } else if (fill.refused !== "disk_full") {
      throw new Error(`the fill was refused: ${fill.refused}`);
    }
    await systemClock.sleep(2);
  }
}

async function untilWalked(path: string): Promise<void> {
  const control = new Database(join(path, "control.db"), { readonly: true });
  const unsettled = control.query("SELECT * FROM pin WHERE state != 'pinned'");
  while (unsettled.get() !== null) await systemClock.sleep(2);
  unsettled.finalize();
  control.close();
}

function changeControl(path: string, ...statements: string[]): void {
  const control = new Database(join(path, "control.db"));
  for (const sql of statements) control.run(sql);
  control.close();
}

describe("restart", () => {
  test("pins, marks and sums are as they were", async () => {
    await using temp = new TempStore();
    const before = await temp.open();
    await storeSome(before, "p/");
    await before.pin("b", "p/");
    const { pins, entries, bytes } = before.pinFigures();
    const after = await temp.open();
    expect(after.pinFigures()).toMatchObject({ pins, entries, bytes });
    await storeSome(after, "p/later/");
    expect(after.pinFigures().entries).toBe(20);
  });

  test("a walk that a crash cut short is taken up", async () => {
    await using temp = new TempStore();
    const before = await temp.open();
    await storeSome(before, "p/");
    await storeSome(before, "p/more/");
    await storeSome(before, "q/");
    await before.pin("b", "q/");
    await temp.close();
    changeControl(
      temp.path,
      "INSERT INTO pin VALUES ('b', 'p/', 'operator', 'pinning')",
      "UPDATE pin SET state = 'unpinning' WHERE prefix = 'q/'",
    );
    const after = await temp.open();
    await untilWalked(temp.path);
    expect(after.pinFigures().pins).toEqual([{ bucket: "b", prefix: "p/", origin: "operator" }]);
    await temp.close();
    const reader = openCatalogReader(temp.path);
    const marked = [...(reader?.entries("b", "") ?? [])].filter(({ isPinned }) => isPinned);
    reader?.close();
    expect(marked.map(({ key }) => key.slice(0, 2))).toEqual(
      Array.from({ length: 20 }, () => "p/"),
    );
  });

  test("pins of the configuration come and go with it; an operator's stay", async () => {
    await using temp = new TempStore();
    const pins = [{ bucket: "b", prefix: "p/" }];
    const first = await temp.open({ pins });
    await storeSome(first, "p/");
    expect(first.pinFigures()).toMatchObject({
      pins: [{ prefix: "p/", origin: "config" }],
      entries: 10,
    });
    expect(await first.unpin("b", "p/")).toBeUndefined();
    await first.pin("b", "p/1");
    const second = await temp.open({ pins: [] });
    await untilPinned(second, 1);
    expect(second.pinFigures().pins).toEqual([{ bucket: "b", prefix: "p/1", origin: "operator" }]);
    const third = await temp.open({ pins });
    await untilPinned(third, 10);
  });

  test("a smaller bound lets some of it go", async () => {
    await using temp = new TempStore();
    const before = await temp.open({ capacityBytes: 64 * MIB });
    await storeSome(before, "p/", MIB);
    await before.pin("b", "p/");
    expect(before.pinFigures().entries).toBe(10);
    const after = await temp.open({ capacityBytes: 64 * MIB, pinnedShareMax: 0.1 });
    await untilPinned(after, 6);
    expect(after.pinFigures().bytes).toBeLessThanOrEqual(0.1 * 64 * MIB);
  });

  test("a store of format 1, which knew no pins, is taken over", async () => {
    await using temp = new TempStore();
    const before = await temp.open();
    await storeSome(before, "p/");
    await temp.close();
    changeControl(temp.path, "DROP TABLE pin", "PRAGMA user_version = 1");
    const reader = openCatalogReader(temp.path);
    expect(reader?.summary().pins).toEqual([]);
    reader?.close();
    const after = await temp.open();
    expect(after.stats().entries).toBe(10);
    expect(await after.pin("b", "p/")).toMatchObject({ entries: 10 });
  });
});

test("a control database whose pins cannot be read is a store that starts empty", async () => {
  await using temp = new TempStore();
  const before = await temp.open();
  await storeSome(before, "p/");
  await before.pin("b", "p/");
  await temp.close();
  const path = join(temp.path, "control.db");
  const control = new Database(path);
  const { rootpage = 0 } =
    control
      .query<{ rootpage: number }, []>("SELECT rootpage FROM sqlite_schema WHERE name = 'pin'")
      .get() ?? {};
  control.run("PRAGMA wal_checkpoint(TRUNCATE)");
  control.close();
  const file = openSync(path, "r+");
  writeSync(file, new Uint8Array(4096).fill(0xee), 0, 4096, (rootpage - 1) * 4096);
  closeSync(file);
  const after = await temp.open();
  expect(after.stats().entries).toBe(0);
  expect(after.pinFigures().pins).toEqual([]);
  expect(temp.events).toMatchObject([{ kind: "damage" }]);
});

test("room that comes back goes to what was refused", async () => {
  await using temp = new TempStore();
  const storage = await temp.open({ capacityBytes: 64 * MIB, pinnedShareMax: 0.2 });
  await storeSome(storage, "p/", MIB);
  await storeSome(storage, "q/", MIB);
  await storage.pin("b", "p/");
  expect(await storage.pin("b", "q/")).toMatchObject({ entries: 2, refusedEntries: 8 });
  expect(temp.events).toMatchObject([{ kind: "pins-full" }]);
  await storage.unpin("b", "p/");
  expect(storage.pinFigures().entries).toBe(10);
});

test("what is pinned is taken although the policy is choosy", async () => {
  await using temp = new TempStore();
  const storage = await temp.open({ capacityBytes: 32 * MIB, policy: "auto" });
  await storage.pin("b", "p/");
  for (let round = 0; round < 8; round += 1) {
    await storeSome(storage, `other/${round}/`, 400_000).catch(() => undefined);
  }
  for (let n = 0; n < 20; n += 1) {
    await storeOnceThereIsRoom(storage, `p/${n}`);
  }
  expect(storage.pinFigures().entries).toBe(20);
});

test.each([
  ["nothing pinned", 0, 0, 0, true],
  ["a hint that went below zero", -5, 0, 0, true],
  ["three quarters pinned, with room to move it", 75, 1000, 0, true],
  ["more than that", 76, 1000, 0, false],
  ["more than that, when nothing else is left", 95, 1000, 1, true],
  ["all of it", 100, 1000, 1, false],
  ["little pinned, but no room to move it", 10, 9, 1, false],
  ["a file, which cannot be moved", 100, 0, 1, false],
] as const)("a unit may go or not: %s", (_, pinnedBytes, movableBytes, effort, may) => {
  expect(mayEvict({ fileBytes: 100, pinnedBytes }, movableBytes, effort)).toBe(may);
});

test("compacting moves what is pinned, and it stays pinned", async () => {
  await using temp = new TempStore();
  const storage = await temp.open();
  await storeSome(storage, "p/");
  await storage.pin("b", "p/");
  await storeSome(storage, "other/", 200_000);
  const before = storage.pinFigures();
  const reopened = await temp.open(); // seals the segment
  reopened.removePrefix("b", "other/");
  const { movedRecords } = await reopened.compact(new AbortController().signal);
  expect(movedRecords).toBe(10);
  expect(reopened.pinFigures()).toMatchObject({ entries: before.entries, bytes: before.bytes });
  const moved = [...reopened.list("b", "p/")];
  expect(moved).toHaveLength(10);
  for (const object of moved) {
    expect(await bodyOf(reopened, object)).toEqual(patternOf(object.id.key, object.sizeBytes));
  }
  // A pinned record that is moved counts where it lies now: what is unpinned leaves nothing behind.
  await reopened.unpin("b", "p/");
  expect(reopened.pinFigures()).toMatchObject({ entries: 0, bytes: 0 });
});
