/**
 * Replays epochs of training and skewed traffic on the real engine: what docs/eviction.md
 * shows beside the simulation.
 *
 *     bun test/bench/storage-epochs.ts [OBJECTS] [OBJECT_BYTES]
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { seededRandom } from "../../src/base/random.ts";
import { openStorage, type PolicyName } from "../../src/storage/open.ts";
import type { Storage } from "../../src/storage/storage.ts";

const OBJECTS = Number(process.argv[2] ?? 10_000);
const OBJECT_BYTES = Number(process.argv[3] ?? 32 * 1024);
const only = process.argv[4];

const body = new Uint8Array(OBJECT_BYTES).fill(7);
const random = seededRandom(7);

const idOf = (set: number, object: number) => ({
  bucket: "bench",
  key: `set${set}/train/${object}.bin`,
});

/** One request as the gateway would make it; true for a hit. */
async function request(storage: Storage, set: number, object: number): Promise<boolean> {
  const id = idOf(set, object);
  const found = storage.lookup(id);
  if (found !== undefined) {
    storage.touch(found);
    return true;
  }
  await systemClock.sleep(1); // upstream answers: eviction has this long to make room
  const fill = storage.beginFill({
    meta: {
      id,
      sizeBytes: OBJECT_BYTES,
      etag: '"e"',
      lastModified: undefined,
      headers: ["Content-Type", "application/octet-stream"],
      storedAtMs: 0,
      freshUntilMs: 1e15,
      isPublic: false,
    },
  });
  if ("refused" in fill) return false;
  await fill.write(0, body);
  await fill.commit(() => true);
  fill.release();
  return false;
}

/** Sixteen readers share the requests of one epoch. */
async function epoch(storage: Storage, set: number, order: readonly number[]): Promise<number> {
  let next = 0;
  let hits = 0;
  await Promise.all(
    Array.from({ length: 16 }, async () => {
      while (next < order.length) {
        const object = order[next] ?? 0;
        next += 1;
        if (await request(storage, set, object)) hits += 1;
      }
    }),
  );
  return hits / order.length;
}

function shuffled(count: number): number[] {
  const order = Array.from({ length: count }, (_, object) => object);
  for (let at = count - 1; at > 0; at -= 1) {
    const other = random.below(at + 1);
    [order[at], order[other]] = [order[other] ?? 0, order[at] ?? 0];
  }
  return order;
}

function zipf(count: number): number[] {
  const sums: number[] = [];
  let sum = 0;
  for (let rank = 1; rank <= OBJECTS; rank += 1) sums.push((sum += rank ** -0.9));
  return Array.from({ length: count }, () => {
    const at = random.float() * sum;
    let low = 0;
    let high = OBJECTS - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((sums[middle] ?? 0) < at) low = middle + 1;
      else high = middle;
    }
    return (low * 7919) % OBJECTS;
  });
}

async function run(policy: PolicyName, share: number, what: "shuffled" | "cyclic" | "zipf") {
  const path = mkdtempSync(join(tmpdir(), "tag-epochs-"));
  const storage = await openStorage({
    path,
    capacityBytes: Math.floor(OBJECTS * OBJECT_BYTES * share),
    policy,
    shardCount: 4,
    clock: systemClock,
    random,
    report: (event) => console.error(event),
  });
  const ratios: string[] = [];
  for (let number = 0; number < 11; number += 1) {
    const set = what !== "zipf" && number >= 8 ? 1 : 0;
    const order =
      what === "zipf"
        ? zipf(2 * OBJECTS)
        : what === "shuffled"
          ? shuffled(OBJECTS)
          : Array.from({ length: OBJECTS }, (_, object) => object);
    ratios.push((await epoch(storage, set, order)).toFixed(3));
  }
  console.log(`${share} ${policy.padEnd(5)} ${what.padEnd(8)} ${ratios.join(" ")}`);
  await storage.close();
  rmSync(path, { recursive: true, force: true });
}

for (const share of [0.25, 0.5, 0.75, 0.9]) {
  if (only !== undefined && Number(only) !== share) continue;
  for (const policy of ["auto", "lru", "fifo"] as const) {
    for (const what of ["shuffled", "cyclic", "zipf"] as const) await run(policy, share, what);
  }
}
