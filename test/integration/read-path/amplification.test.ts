// Issue D, "Read amplification": what upstream sends, against what was asked for. The large objects
// exist only as a pattern, so the sizes are the real ones. HEAVY=1 reads as often as the issue says.

import { expect, test } from "bun:test";
import { seededRandom } from "../../../src/base/random.ts";
import { Pattern } from "../../support/scripted-upstream.ts";
import { BUCKET, MIB, World } from "./world.ts";

const KIB = 1024;
const GIB = 1024 * MIB;
const IS_HEAVY = process.env["HEAVY"] === "1";
const RANGES = IS_HEAVY ? 1000 : 150;
const FOOTERS = IS_HEAVY ? 300 : 60;

/** Bytes upstream sent for each that was read; a long look shows it. */
function amplification(what: string, pulledBytes: number, readBytes: number): number {
  const ratio = pulledBytes / readBytes;
  if (IS_HEAVY) console.log(`${what}: ${ratio.toFixed(3)}`);
  return ratio;
}

/** Reads `[start, end)` of `key` and checks every byte; answers X-Cache. */
async function readRange(w: World, pattern: Pattern, key: string, start: number, end: number) {
  const answer = await w.alice.get(key, ["Range", `bytes=${start}-${end - 1}`]);
  expect(answer.status).toBe(206);
  expect([key, start, pattern.matches(start, answer.body)]).toEqual([key, start, true]);
  expect(answer.body.length).toBe(end - start);
  return answer.xCache;
}

test("random 64 KiB ranges of a cold 8 GiB object pull at most twice what is read", async () => {
  await using w = await World.open({ TAG_CACHE_SIZE_THRESHOLD: String(16 * GIB) });
  const pattern = new Pattern(7);
  w.s3.putPattern(BUCKET, "big", pattern, 8 * GIB);
  await w.teach(w.alice);
  const random = seededRandom(7);
  const before = w.upstream.bodyBytesSent;
  const starts = Array.from({ length: RANGES }, () => random.below(8 * GIB - 64 * KIB));
  for (const start of starts) await readRange(w, pattern, "big", start, start + 64 * KIB);
  const pulled = w.upstream.bodyBytesSent - before;
  const useful = RANGES * 64 * KIB;
  expect(amplification("random ranges", pulled, useful)).toBeLessThanOrEqual(2);

  // And they are kept: the same ranges again come from disk.
  const again = await Promise.all(
    starts.slice(0, 50).map((start) => readRange(w, pattern, "big", start, start + 64 * KIB)),
  );
  expect(again.filter((xCache) => xCache === "HIT").length).toBeGreaterThanOrEqual(45);
}, 600_000);

test("100 KiB footers of many objects of 88 MiB pull at most twice what is read", async () => {
  await using w = await World.open({});
  const pattern = new Pattern(9);
  await w.teach(w.alice);
  const before = w.upstream.bodyBytesSent;
  for (let index = 0; index < FOOTERS; index += 1) {
    const key = `set/part-${index}`;
    w.s3.putPattern(BUCKET, key, pattern, 88 * MIB);
    const answer = await w.alice.get(key, ["Range", `bytes=-${100 * KIB}`]);
    expect(answer.status).toBe(206);
    expect(answer.body.length).toBe(100 * KIB);
    expect(pattern.matches(88 * MIB - 100 * KIB, answer.body)).toBe(true);
  }
  const pulled = w.upstream.bodyBytesSent - before;
  expect(amplification("footers", pulled, FOOTERS * 100 * KIB)).toBeLessThanOrEqual(2);
}, 600_000);

test("a large object read from beginning to end in ranges costs its bytes once", async () => {
  await using w = await World.open({});
  const pattern = new Pattern(11);
  const sizeBytes = 96 * MIB;
  w.s3.putPattern(BUCKET, "seq", pattern, sizeBytes);
  await w.teach(w.alice);
  const before = w.upstream.bodyBytesSent;
  for (let start = 0; start < sizeBytes; start += MIB) {
    await readRange(w, pattern, "seq", start, start + MIB);
  }
  const pulled = w.upstream.bodyBytesSent - before;
  expect(amplification("sequential", pulled, sizeBytes)).toBeLessThanOrEqual(1.05);
}, 600_000);
