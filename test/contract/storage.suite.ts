/**
 * What every store promises (src/storage/storage.ts), as tests. The memory fake and the
 * real engine run this file, so that tests above the store may trust the fake.
 *
 * Method: bodies are patterns of their object's name, so that a byte of another object,
 * another version or another offset never compares equal by accident.
 */

import { afterEach, describe, expect, test } from "bun:test";
import type { ObjectId } from "../../src/s3/object-id.ts";
import type { Pinning, Storage, StoredObject } from "../../src/storage/storage.ts";
import {
  bodyOf,
  bytesOf,
  metaOf,
  mustBegin,
  patternOf,
  store,
  writeAll,
} from "../support/stored-objects.ts";

export interface StorageTraits {
  readonly name: string;
  /** A new, empty store of at least 256 MiB. */
  readonly open: () => Promise<{ storage: Storage & Pinning; dispose: () => Promise<void> }>;
}

/** One size per tier of the engine, and the edges between blocks. */
const SIZES: readonly (readonly [sizeBytes: number, why: string])[] = [
  [0, "empty"],
  [1, "one byte"],
  [1000, "tiny"],
  [4096, "a page"],
  [70_000, "small"],
  [300_000, "streamed"],
  [1024 * 1024 + 1, "a block and a byte"],
  [12 * 1024 * 1024 + 5, "large"],
];

const LARGE_BYTES = 12 * 1024 * 1024 + 5;

export function storageContract(traits: StorageTraits): void {
  describe(`storage contract: ${traits.name}`, () => {
    const disposers: (() => Promise<void>)[] = [];
    const open = async (): Promise<Storage & Pinning> => {
      const { storage, dispose } = await traits.open();
      disposers.push(dispose);
      return storage;
    };
    afterEach(async () => {
      for (const dispose of disposers.splice(0)) await dispose();
    });

    const id: ObjectId = { bucket: "photos", key: "2026/März/a b+c%2F?.jpg" };

    test("an object that was never stored is not found", async () => {
      const storage = await open();
      expect(storage.lookup(id)).toBeUndefined();
      expect(storage.stats().entries).toBe(0);
    });

    test.each(SIZES)("an object of %d bytes (%s) comes back byte for byte", async (sizeBytes) => {
      const storage = await open();
      const body = patternOf("a", sizeBytes);
      const meta = metaOf(id, sizeBytes, { isPublic: true, lastModified: undefined });
      await store(storage, meta, body);
      const found = storage.lookup(id);
      expect(found).toMatchObject(meta);
      if (found === undefined) return;
      expect(storage.missing(found, { start: 0, end: sizeBytes })).toEqual([]);
      expect(await bodyOf(storage, found)).toEqual(body);
      expect(storage.stats()).toMatchObject({ entries: 1, logicalBytes: sizeBytes });
    });

    test.each(SIZES.filter(([size]) => size > 0))(
      "every kind of range of %d bytes (%s) is exact",
      async (sizeBytes) => {
        const storage = await open();
        const body = patternOf("r", sizeBytes);
        const object = await store(storage, metaOf(id, sizeBytes), body);
        const middle = Math.floor(sizeBytes / 2);
        const ranges = [
          [0, 1],
          [sizeBytes - 1, sizeBytes],
          [middle, sizeBytes],
          [0, middle],
          [Math.floor(middle / 2), middle],
          [middle, middle],
        ] as const;
        for (const [start, end] of ranges) {
          const bytes = await bytesOf(await storage.read(object, { start, end }));
          expect(bytes).toEqual(body.subarray(start, end));
        }
        expect(await storage.read(object, { start: 0, end: sizeBytes + 1 })).toBeUndefined();
      },
    );

    test("parts may come in any order", async () => {
      const storage = await open();
      for (const sizeBytes of [1000, 300_000, LARGE_BYTES]) {
        const body = patternOf("order", sizeBytes);
        const fill = mustBegin(storage, { meta: metaOf(id, sizeBytes) });
        const third = Math.floor(sizeBytes / 3);
        await writeAll(fill, 2 * third, body.subarray(2 * third));
        await writeAll(fill, 0, body.subarray(0, third));
        await writeAll(fill, third, body.subarray(third, 2 * third));
        const outcome = await fill.commit(() => true);
        fill.release();
        expect(outcome.kind).toBe("committed");
        const found = storage.lookup(id);
        expect(found && (await bodyOf(storage, found))).toEqual(body);
      }
    });

    test("nothing is visible before commit, everything in the moment it is permitted", async () => {
      const storage = await open();
      for (const sizeBytes of [500, 300_000, LARGE_BYTES]) {
        storage.remove([id]);
        const fill = mustBegin(storage, { meta: metaOf(id, sizeBytes) });
        await writeAll(fill, 0, patternOf("v", sizeBytes));
        expect(storage.lookup(id)).toBeUndefined();
        let wasVisibleWhenAsked = true;
        const committing = fill.commit(() => {
          wasVisibleWhenAsked = storage.lookup(id) !== undefined;
          return true;
        });
        const outcome = await committing;
        fill.release();
        expect(outcome.kind).toBe("committed");
        expect(wasVisibleWhenAsked).toBe(false);
        expect(storage.lookup(id)).toBeDefined();
      }
    });

    test("a fill that is not permitted any more publishes nothing and leaves the old entry", async () => {
      const storage = await open();
      const old = await store(storage, metaOf(id, 100), patternOf("old", 100));
      const fill = mustBegin(storage, { meta: metaOf(id, 200) });
      await writeAll(fill, 0, patternOf("new", 200));
      expect(await fill.commit(() => false)).toEqual({ kind: "refused" });
      fill.release();
      expect(storage.lookup(id)?.version).toBe(old.version);
    });

    test("a small body that is short is not published", async () => {
      const storage = await open();
      for (const sizeBytes of [1, 1000]) {
        const fill = mustBegin(storage, { meta: metaOf(id, sizeBytes) });
        await writeAll(fill, 0, patternOf("s", sizeBytes - 1));
        const outcome = await fill.commit(() => true);
        fill.release();
        expect(outcome.kind).toBe("failed");
        expect(storage.lookup(id)).toBeUndefined();
      }
    });

    test("a body that is longer than announced breaks its fill", async () => {
      const storage = await open();
      const fill = mustBegin(storage, { meta: metaOf(id, 10) });
      await fill.write(5, new Uint8Array(6));
      expect(fill.isBroken).toBe(true);
      expect((await fill.commit(() => true)).kind).toBe("failed");
      fill.release();
      expect(storage.lookup(id)).toBeUndefined();
    });

    test("an abandoned fill leaves nothing, and stays readable until it is released", async () => {
      const storage = await open();
      for (const sizeBytes of [1000, LARGE_BYTES]) {
        const body = patternOf("x", sizeBytes);
        const fill = mustBegin(storage, { meta: metaOf(id, sizeBytes) });
        await writeAll(fill, 0, body);
        fill.abandon();
        expect(fill.isBroken).toBe(true);
        expect(await fill.readBack(10, 20)).toEqual(body.subarray(10, 30));
        expect((await fill.commit(() => true)).kind).toBe("failed");
        fill.release();
        expect(storage.lookup(id)).toBeUndefined();
      }
      await storage.close(); // waits for the last write, which nobody can call back
      expect(storage.stats().activeFills).toBe(0);
    });

    test("a growing fill is read back from any written byte, and says how far", async () => {
      const storage = await open();
      for (const sizeBytes of [1000, LARGE_BYTES]) {
        const body = patternOf("grow", sizeBytes);
        const fill = mustBegin(storage, { meta: metaOf(id, sizeBytes) });
        const half = Math.floor(sizeBytes / 2);
        expect(fill.readableFrom(0)).toBe(0);
        await writeAll(fill, half, body.subarray(half));
        expect(fill.readableFrom(0)).toBe(0);
        expect(fill.readableFrom(half + 1)).toBe(sizeBytes - half - 1);
        await writeAll(fill, 0, body.subarray(0, half));
        expect(fill.readableFrom(0)).toBe(sizeBytes);
        let at = 0;
        while (at < sizeBytes) {
          const bytes = await fill.readBack(at, 100_000);
          expect(bytes.length).toBeGreaterThan(0);
          expect(bytes.length).toBeLessThanOrEqual(100_000);
          expect(bytes).toEqual(body.subarray(at, at + bytes.length));
          at += bytes.length;
        }
        expect((await fill.commit(() => true)).kind).toBe("committed");
        expect(await fill.readBack(3, 5)).toEqual(body.subarray(3, 8));
        fill.release();
      }
    });

    test("a newer body replaces the older one, and the old version is not readable any more", async () => {
      const storage = await open();
      for (const [before, after] of [
        [100, 200],
        [100, LARGE_BYTES],
        [LARGE_BYTES, 300_000],
        [300_000, 100],
      ] as const) {
        const old = await store(storage, metaOf(id, before), patternOf("old", before));
        const body = patternOf("new", after);
        const young = await store(storage, metaOf(id, after), body);
        expect(young.version).toBeGreaterThan(old.version);
        expect(await storage.read(old, { start: 0, end: 1 })).toBeUndefined();
        expect(await bodyOf(storage, young)).toEqual(body);
        expect(storage.stats()).toMatchObject({ entries: 1, logicalBytes: after });
      }
    });

    test("of two fills of one object the later commit wins", async () => {
      const storage = await open();
      const first = mustBegin(storage, { meta: metaOf(id, 1000) });
      const second = mustBegin(storage, { meta: metaOf(id, 1000) });
      await writeAll(first, 0, patternOf("first", 1000));
      await writeAll(second, 0, patternOf("second", 1000));
      const outcomes = [second.commit(() => true), first.commit(() => true)];
      for (const outcome of await Promise.all(outcomes)) expect(outcome.kind).toBe("committed");
      first.release();
      second.release();
      const found = storage.lookup(id);
      expect(found && (await bodyOf(storage, found))).toEqual(patternOf("first", 1000));
      expect(storage.stats().entries).toBe(1);
    });

    test("blocks of a large object can be stored alone and completed later", async () => {
      const storage = await open();
      const body = patternOf("parts", LARGE_BYTES);
      const meta = metaOf(id, LARGE_BYTES);
      const fill = mustBegin(storage, { meta });
      await writeAll(fill, 1_000_000, body.subarray(1_000_000, 3_000_000));
      const outcome = await fill.commit(() => true);
      fill.release();
      if (outcome.kind !== "committed") throw new Error(outcome.kind);
      const part = outcome.object;

      const inside = { start: 1_100_000, end: 2_900_000 };
      expect(storage.missing(part, inside)).toEqual([]);
      expect(await bytesOf(await storage.read(part, inside))).toEqual(
        body.subarray(inside.start, inside.end),
      );
      expect(await storage.read(part, { start: 0, end: 100 })).toBeUndefined();

      const gaps = storage.missing(part, { start: 0, end: LARGE_BYTES });
      expect(gaps).toHaveLength(2);
      expect(gaps[0]?.start).toBe(0);
      expect(gaps[0]?.end).toBeGreaterThanOrEqual(1_000_000);
      expect(gaps[1]?.end).toBe(LARGE_BYTES);

      const rest = mustBegin(storage, { meta, extend: part });
      expect(rest.readableFrom(inside.start)).toBe((gaps[1]?.start ?? 0) - inside.start);
      const again = await rest.readBack(inside.start, 70_000);
      expect(again).toEqual(body.subarray(inside.start, inside.start + again.length));
      for (const gap of gaps) await writeAll(rest, gap.start, body.subarray(gap.start, gap.end));
      const completed = await rest.commit(() => true);
      rest.release();
      if (completed.kind !== "committed") throw new Error(completed.kind);
      expect(completed.object.version).toBe(part.version);
      expect(storage.missing(completed.object, { start: 0, end: LARGE_BYTES })).toEqual([]);
      expect(await bodyOf(storage, completed.object)).toEqual(body);
    });

    test("what is fetched for a range of missing blocks is little more than the range", async () => {
      const storage = await open();
      const fill = mustBegin(storage, { meta: metaOf(id, LARGE_BYTES) });
      await writeAll(fill, 0, patternOf("p", 100_000));
      const outcome = await fill.commit(() => true);
      fill.release();
      if (outcome.kind !== "committed") throw new Error(outcome.kind);
      const wanted = { start: 5_000_123, end: 5_065_659 };
      const [gap] = storage.missing(outcome.object, wanted);
      if (gap === undefined) throw new Error("nothing is missing");
      expect(gap.start).toBeLessThanOrEqual(wanted.start);
      expect(gap.end).toBeGreaterThanOrEqual(wanted.end);
      expect(gap.end - gap.start).toBeLessThanOrEqual(1.6 * 65_536);
    });

    test("extending an entry that was removed meanwhile publishes nothing", async () => {
      const storage = await open();
      const meta = metaOf(id, LARGE_BYTES);
      const body = patternOf("e", LARGE_BYTES);
      const fill = mustBegin(storage, { meta });
      await writeAll(fill, 0, body.subarray(0, 100_000));
      const outcome = await fill.commit(() => true);
      fill.release();
      if (outcome.kind !== "committed") throw new Error(outcome.kind);
      const more = mustBegin(storage, { meta, extend: outcome.object });
      await writeAll(more, 98_304, body.subarray(98_304, 1_000_000));
      storage.remove([id]);
      expect((await more.commit(() => true)).kind).toBe("failed");
      more.release();
      expect(storage.lookup(id)).toBeUndefined();
    });

    test("a 304 renews headers and times and keeps body and version", async () => {
      const storage = await open();
      for (const sizeBytes of [100, 70_000, LARGE_BYTES]) {
        const body = patternOf("304", sizeBytes);
        const object = await store(storage, metaOf(id, sizeBytes), body);
        const news = {
          headers: ["ETag", object.etag, "X-New", "1"],
          storedAtMs: 1_800_000_000_000,
          freshUntilMs: 1_800_000_060_000,
          isPublic: true,
        };
        const renewed = storage.refresh(object, news);
        expect(renewed).toMatchObject({ ...news, version: object.version, sizeBytes });
        expect(storage.lookup(id)).toMatchObject(news);
        expect(renewed && (await bodyOf(storage, renewed))).toEqual(body);
      }
    });

    test("a version that is gone cannot be renewed", async () => {
      const storage = await open();
      const object = await store(storage, metaOf(id, 100), patternOf("g", 100));
      storage.remove([id]);
      const news = { headers: [], storedAtMs: 0, freshUntilMs: 0, isPublic: false };
      expect(storage.refresh(object, news)).toBeUndefined();
      expect(storage.lookup(id)).toBeUndefined();
    });

    test("removing makes objects invisible at once and tells how many there were", async () => {
      const storage = await open();
      const ids = [1, 2, 3, 4].map((n) => ({ bucket: "b", key: `k${n}` }));
      for (const one of ids.slice(0, 3)) {
        await store(storage, metaOf(one, 50), patternOf(one.key, 50));
      }
      expect(storage.remove(ids)).toBe(3);
      expect(storage.remove(ids)).toBe(0);
      for (const one of ids) expect(storage.lookup(one)).toBeUndefined();
      expect(storage.stats()).toMatchObject({ entries: 0, logicalBytes: 0 });
    });

    test("an entry that is removed while its commit waits for the disk stays removed", async () => {
      const storage = await open();
      for (const sizeBytes of [100, LARGE_BYTES]) {
        const fill = mustBegin(storage, { meta: metaOf(id, sizeBytes) });
        await writeAll(fill, 0, patternOf("w", sizeBytes));
        const { promise: wasAsked, resolve: asked } = Promise.withResolvers<void>();
        const committing = fill.commit(() => {
          asked();
          return true;
        });
        await wasAsked;
        storage.remove([id]);
        await committing;
        fill.release();
        expect(storage.lookup(id)).toBeUndefined();
        expect(storage.stats().entries).toBe(0);
      }
    });

    test("a body in use stays readable after its entry is removed", async () => {
      const storage = await open();
      for (const sizeBytes of [100, 300_000, LARGE_BYTES]) {
        const body = patternOf("u", sizeBytes);
        const object = await store(storage, metaOf(id, sizeBytes), body);
        const open_ = await storage.read(object, { start: 0, end: sizeBytes });
        storage.remove([id]);
        expect(await bytesOf(open_)).toEqual(body);
      }
    });

    test("a prefix is removed within its bucket only", async () => {
      const storage = await open();
      const put = (bucket: string, key: string) =>
        store(storage, metaOf({ bucket, key }, 10), patternOf(key, 10));
      for (const key of ["a/1", "a/2", "a0", "b", "a/ÿ", "a"]) await put("one", key);
      await put("two", "a/1");
      expect(storage.removePrefix("one", "a/")).toBe(3);
      expect([...storage.list("one", "")].map((entry) => entry.id.key).toSorted()).toEqual([
        "a",
        "a0",
        "b",
      ]);
      expect(storage.lookup({ bucket: "two", key: "a/1" })).toBeDefined();
      expect(storage.removePrefix("one", "")).toBe(3);
      expect(storage.removePrefix("none", "")).toBe(0);
      expect(storage.stats().entries).toBe(1);
    });

    test("listing finds every visible entry by bucket and prefix", async () => {
      const storage = await open();
      const expected = new Set<string>();
      const stores: Promise<StoredObject>[] = [];
      for (let n = 0; n < 600; n += 1) {
        const one = { bucket: n % 2 === 0 ? "even" : "odd", key: `dir${n % 3}/${n}` };
        stores.push(store(storage, metaOf(one, 5), patternOf(one.key, 5)));
        if (stores.length % 100 === 0) await Promise.all(stores);
        if (one.bucket === "even" && n % 3 === 0) expected.add(one.key);
      }
      await Promise.all(stores);
      const found = [...storage.list("even", "dir0/")].map((entry) => entry.id.key);
      expect(new Set(found)).toEqual(expected);
      expect(found).toHaveLength(expected.size);
      expect([...storage.list(undefined, "")]).toHaveLength(600);
    });

    test("keys that differ only in odd characters are different objects", async () => {
      const storage = await open();
      const keys = [
        "a",
        "a/",
        "/a",
        "a\0b",
        "a\nb",
        "A",
        "ä",
        "a\u0308",
        "..",
        "%2E",
        "\u{10FFFF}",
      ];
      for (const key of keys) {
        await store(storage, metaOf({ bucket: "odd", key }, 20), patternOf(key, 20));
      }
      for (const key of keys) {
        const found = storage.lookup({ bucket: "odd", key });
        expect(found && (await bodyOf(storage, found))).toEqual(patternOf(key, 20));
      }
      expect(new Set([...storage.list("odd", "")].map((entry) => entry.id.key))).toEqual(
        new Set(keys),
      );
    });

    test("lookup hands out one instance as long as nothing changes", async () => {
      const storage = await open();
      await store(storage, metaOf(id, 100), patternOf("i", 100));
      const found = storage.lookup(id);
      if (found !== undefined) storage.touch(found);
      expect(storage.lookup(id)).toBe(found as StoredObject);
    });

    describe("pins", () => {
      const PIN_SIZES = [100, 5000, 12 * 1024 * 1024 + 5];
      const storeAll = async (storage: Storage, prefix: string): Promise<void> => {
        for (const sizeBytes of PIN_SIZES) {
          const key = `${prefix}${sizeBytes}`;
          await store(storage, metaOf({ bucket: "b", key }, sizeBytes), patternOf(key, sizeBytes));
        }
      };

      test("a pin counts what is stored under its prefix, in every tier", async () => {
        const storage = await open();
        await storeAll(storage, "models/");
        await storeAll(storage, "other/");
        expect(storage.pinFigures()).toMatchObject({ pins: [], entries: 0, bytes: 0 });
        const report = await storage.pin("b", "models/");
        expect(report).toMatchObject({ entries: 3, refusedEntries: 0 });
        expect(report.bytes).toBeGreaterThanOrEqual(12 * 1024 * 1024 + 5105);
        expect(storage.pinFigures()).toMatchObject({
          pins: [{ bucket: "b", prefix: "models/", origin: "operator" }],
          entries: 3,
          bytes: report.bytes,
        });
      });

      test("a pin holds for what is stored later, and for a newer version", async () => {
        const storage = await open();
        expect(await storage.pin("b", "")).toMatchObject({ entries: 0, bytes: 0 });
        await storeAll(storage, "models/");
        await storeAll(storage, "models/");
        expect(storage.pinFigures().entries).toBe(3);
      });

      test("pinned objects are renewed and removed as ever", async () => {
        const storage = await open();
        await storeAll(storage, "models/");
        await storage.pin("b", "models/");
        const found = storage.lookup({ bucket: "b", key: "models/5000" });
        if (found === undefined) throw new Error("not stored");
        const news = { headers: [], storedAtMs: 5, freshUntilMs: 6, isPublic: true };
        expect(storage.refresh(found, news)).toMatchObject({ freshUntilMs: 6 });
        expect(storage.remove([found.id])).toBe(1);
        expect(storage.removePrefix("b", "models/")).toBe(2);
        expect(storage.pinFigures()).toMatchObject({ entries: 0, bytes: 0 });
      });

      test("unpinning ends it, but for what another pin covers", async () => {
        const storage = await open();
        await storeAll(storage, "models/a/");
        await storeAll(storage, "models/b/");
        await storage.pin("b", "models/");
        await storage.pin("b", "models/a/");
        expect(await storage.unpin("b", "models")).toBeUndefined();
        expect(await storage.unpin("b", "models/")).toMatchObject({ entries: 3 });
        expect(storage.pinFigures()).toMatchObject({
          pins: [{ prefix: "models/a/" }],
          entries: 3,
        });
        expect(await storage.unpin("b", "models/a/")).toMatchObject({ entries: 0, bytes: 0 });
        expect(storage.pinFigures()).toMatchObject({ pins: [], entries: 0, bytes: 0 });
        expect(await storage.unpin("b", "models/a/")).toBeUndefined();
      });

      test("pinning twice is pinning once", async () => {
        const storage = await open();
        await storeAll(storage, "x");
        const first = await storage.pin("b", "x");
        expect(await storage.pin("b", "x")).toEqual(first);
        expect(storage.pinFigures().pins).toHaveLength(1);
      });

      test("a prefix is the beginning of a key, whatever characters it has", async () => {
        const storage = await open();
        for (const key of ["ä/1", "ä2", "a/1", "%", "%%", "_"]) {
          await store(storage, metaOf({ bucket: "b", key }, 10), patternOf(key, 10));
        }
        expect(await storage.pin("b", "ä")).toMatchObject({ entries: 2 });
        expect(await storage.pin("b", "%")).toMatchObject({ entries: 2 });
        expect(await storage.pin("c", "")).toMatchObject({ entries: 0 });
      });
    });

    test("a closed store takes no fills", async () => {
      const storage = await open();
      await storage.close();
      expect(storage.beginFill({ meta: metaOf(id, 10) })).toEqual({ refused: "closing" });
    });
  });
}
