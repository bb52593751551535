// Goal: after power loss the store serves nothing that was never stored, and nothing at
// all without asking upstream first.
// Method: bodies are on a disk in memory that loses any subset of what was not synced; the
// catalogs are real SQLite files whose logs lose a random tail, which is what WAL with
// synchronous=NORMAL may lose. The store is opened again in another "boot", read through
// completely, worked on and cut off again. SIM_SEEDS=1000 for a long run.

import { expect, test } from "bun:test";
import { cpSync, mkdtempSync, readdirSync, rmSync, statSync, truncateSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readAll } from "../../src/base/byte-source.ts";
import { systemClock } from "../../src/base/clock.ts";
import { seededRandom, type Random } from "../../src/base/random.ts";
import { openStorage } from "../../src/storage/open.ts";
import type { Storage, StoredBody } from "../../src/storage/storage.ts";
import { MemDisk } from "../support/mem-disk.ts";
import { seeds } from "../support/seeds.ts";
import { metaOf, patternOf, writeAll } from "../support/stored-objects.ts";

const MIB = 1024 * 1024;
const KEYS = 20;
const OUTAGES = 3;

/** SQLite files as they would be found: the logs of the catalogs have lost a random tail. */
function copyDatabases(from: string, to: string, random: Random): void {
  cpSync(from, to, { recursive: true, filter: (path) => !path.endsWith("-shm") });
  const catalog = join(to, "catalog");
  for (const name of readdirSync(catalog).filter((file) => file.endsWith("-wal"))) {
    const path = join(catalog, name);
    truncateSync(path, random.below(statSync(path).size + 1));
  }
}

async function bytesFrom(disk: MemDisk, body: StoredBody | undefined) {
  if (body?.kind === "bytes") return body.bytes;
  if (body?.kind === "stream") {
    try {
      return await readAll(body.source, 2 ** 30);
    } finally {
      body.source.close();
    }
  }
  if (body === undefined) return undefined;
  const { descriptor, offsetBytes, lengthBytes } = body.file;
  const bytes = disk.readDescriptor(descriptor, offsetBytes, lengthBytes);
  body.file.release();
  return bytes;
}

function someSize(random: Random): number {
  const draw = random.float();
  if (draw < 0.2) return random.below(250);
  if (draw < 0.5) return random.below(40_000);
  if (draw < 0.8) return random.below(400_000);
  return random.below(2 * MIB);
}

test.each(seeds(12))(
  "power loss serves nothing wrong and nothing unasked (seed %d)",
  async (seed) => {
    const random = seededRandom(seed);
    const root = mkdtempSync(join(tmpdir(), "tag-power-"));
    let disk = new MemDisk();
    let path = join(root, "0");
    /** Every generation ever committed or begun: its body, by key and etag. */
    const bodies = new Map<string, Uint8Array>();
    let generation = 0;

    const open = (outage: number): Promise<Storage> =>
      openStorage({
        path,
        capacityBytes: 64 * MIB,
        policy: (["lru", "auto", "fifo"] as const)[seed % 3] ?? "lru",
        shardCount: 2,
        blockThresholdBytes: MIB,
        bootId: `boot ${outage}`,
        disk,
        clock: systemClock,
        random,
      });

    async function work(storage: Storage): Promise<void> {
      for (let step = 0; step < 40; step += 1) {
        const id = { bucket: "power", key: `k${random.below(KEYS)}` };
        const draw = random.float();
        if (draw < 0.15) {
          storage.remove([id]);
        } else if (draw < 0.3) {
          const found = storage.lookup(id);
          // Upstream confirms what it has: the newest generation only.
          if (found !== undefined) storage.refresh(found, { ...found, freshUntilMs: 1e15 });
        } else {
          generation += 1;
          const size = someSize(random);
          const body = patternOf(`${id.key}#${generation}`, size);
          bodies.set(`${id.key}#"${generation}"`, body);
          const meta = metaOf(id, size, { etag: `"${generation}"`, freshUntilMs: 1e15 });
          const fill = storage.beginFill({ meta });
          if ("refused" in fill) continue;
          await writeAll(fill, 0, body);
          const committing = fill.commit(() => true);
          if (random.float() < 0.8) await committing;
          fill.release();
        }
      }
    }

    async function readThrough(storage: Storage): Promise<void> {
      for (let key = 0; key < KEYS; key += 1) {
        const found = storage.lookup({ bucket: "power", key: `k${key}` });
        if (found === undefined) continue;
        expect(found.freshUntilMs).toBe(0);
        expect(found.isPublic).toBe(false);
        const expected = bodies.get(`k${key}#${found.etag}`);
        if (expected === undefined) throw new Error(`k${key} shows an etag nobody stored`);
        expect(found.sizeBytes).toBe(expected.length);
        const range = { start: 0, end: found.sizeBytes };
        const read = await bytesFrom(disk, await storage.read(found, range));
        if (read !== undefined) expect(Buffer.compare(read, expected)).toBe(0);
      }
    }

    try {
      let storage = await open(0);
      for (let outage = 1; outage <= OUTAGES; outage += 1) {
        await work(storage);
        const next = join(root, String(outage));
        copyDatabases(path, next, random);
        const before = disk;
        disk = before.crash(random, path, next);
        await storage.close(); // the old machine: whatever it does touches its own disk only
        path = next;
        storage = await open(outage);
        await readThrough(storage);
      }
      await storage.close();
      expect(disk.openCount).toBe(0);
    } finally {
      rmSync(root, { recursive: true, force: true });
    }
  },
  60_000,
);
