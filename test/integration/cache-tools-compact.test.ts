// Goal: compacting gives dead space back and loses nothing, beside a running server and without one.
// Method: the real program with a cache of small segments; most of what was cached is purged before.

import { expect, setDefaultTimeout, test } from "bun:test";
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";

import { bodyOf, CachePlayground } from "../support/cache-tools.ts";

// Every command is a process of its own, on a machine that may be busy.
setDefaultTimeout(60_000);

const SMALL_SEGMENTS = { TAG_CACHE_MAX_DISK_USAGE: "64MiB" };
const OBJECT_BYTES = 100_000;

function segmentBytes(world: CachePlayground): number {
  const folder = join(world.cacheFolder, "segments");
  return readdirSync(folder).reduce(
    (sum, name) => sum + statSync(join(folder, name)).blocks * 512,
    0,
  );
}

test.each([
  ["running", true],
  ["stopped", false],
])("compact on a %s server frees dead space and keeps every live object", async (_, isRunning) => {
  await using world = await CachePlayground.start(SMALL_SEGMENTS);
  // Every fifth stays, in every segment.
  for (let index = 0; index < 40; index += 1) {
    await world.cache("bucket", `${index % 5 === 0 ? "keep" : "drop"}/${index}`, OBJECT_BYTES);
  }
  if (!isRunning) await world.program.stop();
  expect((await world.tag("cache purge bucket/drop/ --yes", SMALL_SEGMENTS)).exitCode).toBe(0);
  const before = segmentBytes(world);
  expect(before).toBeGreaterThan(40 * OBJECT_BYTES - 1);

  const compacted = await world.tag("cache compact --json", SMALL_SEGMENTS);
  expect([compacted.exitCode, compacted.stderr]).toEqual([0, ""]);
  const report = JSON.parse(compacted.stdout);
  expect(report.segments).toBeGreaterThanOrEqual(3);
  expect(report.freedBytes).toBeGreaterThan(2_000_000);
  expect(segmentBytes(world)).toBeLessThan(before - 1_000_000);

  if (!isRunning) await world.restart(SMALL_SEGMENTS);
  expect(await world.tag("cache verify")).toEqual({
    exitCode: 0,
    stdout: "8 objects checked, all as they were stored\n",
    stderr: "",
  });
  await world.client.get("bucket", "keep/0"); // teaches a new server that we may read
  for (let index = 0; index < 40; index += 5) {
    const answer = await world.client.get("bucket", `keep/${index}`);
    expect(answer.fields.get("x-cache")).toBe("HIT");
    expect(Bun.hash.crc32(answer.body)).toBe(Bun.hash.crc32(bodyOf(`keep/${index}`, OBJECT_BYTES)));
  }
});
