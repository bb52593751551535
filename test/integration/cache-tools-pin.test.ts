// Goal: tag cache pin and unpin do what they say, on the running server and without one, the
// other tools show it, and what the configuration pins or leaves out is honoured by the server.
// Method: as in cache-tools.test.ts; CACHE_TOOLS=binary runs the same on dist/tag.

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";

import { systemClock } from "../../src/base/clock.ts";
import { CachePlayground, jsonLines } from "../support/cache-tools.ts";

setDefaultTimeout(300_000);

const SMALL = { TAG_CACHE_MAX_DISK_USAGE: "32MiB", TAG_CACHE_EVICTION_POLICY: "lru" };

async function metric(world: CachePlayground, sample: string): Promise<number> {
  const text = await (await fetch(`${world.program.endpoint}/metrics`)).text();
  const line = text.split("\n").find((one) => one.startsWith(`${sample} `));
  return Number(line?.slice(sample.length + 1));
}

/** Reads so much through a small cache that what is not kept goes. */
async function flood(world: CachePlayground, name: string): Promise<void> {
  await world.store("flood", "bucket-is-there", 1);
  for (let round = 0; round < 4; round += 1) {
    const batch = Array.from({ length: 10 }, (_, n) =>
      world.cache("flood", `${name}/${round}/${n}`, 1_000_000),
    );
    await Promise.all(batch);
  }
}

describe("tag cache pin", () => {
  test("keeps a prefix through a flood and a restart, until it is unpinned", async () => {
    await using world = await CachePlayground.start(SMALL);
    await world.cache("models", "llama/small", 5000);
    await world.cache("models", "llama/large", 2_000_000);
    await world.cache("models", "other", 5000);
    for (const key of ["llama/small", "llama/large"]) await world.untilListed("models", key);

    const pinned = await world.tag("cache pin models/llama/ --json", SMALL);
    expect(JSON.parse(pinned.stdout)).toMatchObject({
      bucket: "models",
      prefix: "llama/",
      entries: 2,
      refusedEntries: 0,
    });
    await world.cache("models", "llama/later", 7000);
    await flood(world, "first");
    expect(await world.xCacheOf("models", "llama/small")).toBe("HIT");
    expect(await world.xCacheOf("models", "llama/large")).toBe("HIT");
    expect(await world.xCacheOf("models", "llama/later")).toBe("HIT");
    expect(await metric(world, "tag_cache_pinned_bytes")).toBeGreaterThan(2_012_000);
    expect(await metric(world, "tag_cache_pinned_max_bytes")).toBe(
      Math.floor(0.8 * 32 * 1024 * 1024),
    );

    const { store } = JSON.parse((await world.tag("cache stats --json", SMALL)).stdout);
    expect(store.pins).toMatchObject({
      prefixes: [{ bucket: "models", prefix: "llama/", origin: "operator" }],
      entries: 3,
    });
    const screen = await world.tag("cache stats", SMALL);
    expect(screen.stdout).toMatch(/^Pinned {4}3 objects, 1\.9 MiB of at most 25\.6 MiB$/m);
    expect(screen.stdout).toContain("\n          models/llama/\n");
    const listed = await world.tag("cache ls models/llama/", SMALL);
    expect(listed.stdout).toMatch(/segment, pinned {2}llama\/later$/m);
    const inspected = await world.tag("cache inspect models/llama/later", SMALL);
    expect(inspected.stdout).toMatch(/^Pinned {4}yes: it is not evicted$/m);

    await world.program.stop();
    await world.restart(SMALL);
    await flood(world, "second");
    await world.cache("models", "lesson", 10); // the first read of a bucket always goes upstream
    expect(await world.xCacheOf("models", "llama/large")).toBe("HIT");

    const unpinned = await world.tag("cache unpin models/llama/", SMALL);
    expect(unpinned).toEqual({ exitCode: 0, stdout: "unpinned models/llama/\n", stderr: "" });
    expect((await world.tag("cache unpin models/llama/", SMALL)).exitCode).toBe(8);
    // What was in use is moved on once or twice before it goes; reading it would keep it in use.
    const isListed = async () =>
      (await world.tag("cache ls models/llama/", SMALL)).stdout.includes("llama/large");
    for (let count = 0; count < 10 && (await isListed()); count += 1)
      await flood(world, `unpinned-${count}`);
    expect(await world.xCacheOf("models", "llama/large")).toBe("MISS");
  });

  test("works on a stopped store, which the next server honours", async () => {
    await using world = await CachePlayground.start();
    await world.cache("models", "a", 5000);
    await world.program.stop();
    const pinned = await world.tag("cache pin models");
    expect(pinned).toEqual({
      exitCode: 0,
      stdout: expect.stringMatching(/^pinned models: 1 object cached, 5\.\d KiB on disk\n$/),
      stderr: "",
    });
    await world.restart();
    expect(await metric(world, "tag_cache_pinned_bytes")).toBeGreaterThan(5000);
    await world.program.stop();
    expect((await world.tag("cache unpin models")).stdout).toBe("unpinned models\n");
    expect((await world.tag("cache unpin models")).exitCode).toBe(8);
    const elsewhere = { TAG_CACHE_DISK_PATH: join(world.folder, "none") };
    expect((await world.tag("cache pin models", elsewhere)).exitCode).toBe(8);
  });

  test("says when there is no room for all of it", async () => {
    const tight = { ...SMALL, TAG_CACHE_PINNED_MAX_PERCENT: "5" };
    await using world = await CachePlayground.start(tight);
    for (const key of ["a", "b", "c"]) {
      await world.cache("models", key, 1_000_000);
      await world.untilListed("models", key);
    }
    const pinned = await world.tag("cache pin models", tight);
    expect(pinned.stdout).toMatch(/^pinned models: 1 object cached/);
    expect(pinned.stderr).toContain(
      "2 objects not protected: pinned objects may take 5 % of the cache (cache.pinned_max_percent)",
    );
    expect(await metric(world, "tag_cache_pins_refused_total")).toBeGreaterThanOrEqual(2);
    expect(world.program.output()).toContain("pinned objects take all they may");
  });
});

describe("cache.rules", () => {
  test("decide what is cached, for how long, how much of a bucket, and what stays", async () => {
    await using world = await CachePlayground.start();
    await world.program.stop();
    const file = join(world.folder, "rules.yaml");
    await writeFile(
      file,
      `cache:
  rules:
    - {bucket: data, exclude: ["tmp/**"]}
    - {bucket: live, ttl: 0s}
    - {bucket: scratch, quota: 3MiB}
    - {bucket: models, prefix: llama/, pin: true}
`,
    );
    const ruled = { ...SMALL, TAG_CONFIG: file };
    await world.restart(ruled);

    await world.cache("data", "tmp/x", 5000);
    await world.cache("data", "keep/x", 5000);
    for (let time = 0; time < 2; time += 1) {
      expect(await world.xCacheOf("data", "tmp/x")).toBe("BYPASS");
      expect(await world.xCacheOf("data", "keep/x")).toBe("HIT");
    }
    expect(jsonLines((await world.tag("cache ls data --json", ruled)).stdout)).toEqual([
      expect.objectContaining({ key: "keep/x" }),
    ]);

    await world.cache("live", "x", 5000);
    const confirmed = await metric(world, "tag_cache_revalidated_hits_total");
    for (let time = 0; time < 3; time += 1) expect(await world.xCacheOf("live", "x")).toBe("HIT");
    expect(await metric(world, "tag_cache_revalidated_hits_total")).toBe(confirmed + 3);

    await world.cache("models", "llama/x", 500_000);
    for (let n = 0; n < 40; n += 1) await world.cache("scratch", `${n}`, 200_000);
    await systemClock.sleep(100);
    expect(await metric(world, "tag_cache_quota_buckets")).toBe(1);
    expect(await metric(world, "tag_cache_quota_bytes")).toBeGreaterThan(1_000_000);
    expect(await metric(world, "tag_cache_quota_max_ratio")).toBeLessThanOrEqual(1);
    await flood(world, "rules");
    expect(await world.xCacheOf("models", "llama/x")).toBe("HIT");
    const screen = await world.tag("cache stats", ruled);
    expect(screen.stdout).toContain("\n          models/llama/ (a rule)\n");
    expect((await world.tag("cache unpin models/llama/", ruled)).exitCode).toBe(8);

    // Without its rule the pin ends with the next start.
    await world.program.stop();
    await world.restart(SMALL);
    while ((await metric(world, "tag_cache_pinned_bytes")) > 0) await systemClock.sleep(20);
    expect(await world.xCacheOf("data", "tmp/x")).toBe("MISS");
  });
});
