// Goal: the cache tools tell the truth and change what they say, beside a running server and without one.
// Method: the real program from source with the dev origin behind it; every command is a process.

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { Database } from "bun:sqlite";
import { closeSync, existsSync, openSync, readFileSync, statSync, writeSync } from "node:fs";
import { join } from "node:path";

import { Glob } from "bun";

import { systemClock } from "../../src/base/clock.ts";
import { bodyOf, CachePlayground, jsonLines } from "../support/cache-tools.ts";

// Every command is a process of its own, on a machine that may be busy.
setDefaultTimeout(60_000);

describe("tag cache ls", () => {
  test("lists buckets, and objects in key order, while the server runs and when it is down", async () => {
    await using world = await CachePlayground.start();
    await world.cache("alpha", "z/tiny", 10);
    await world.cache("alpha", "a/medium", 20_000);
    await world.cache("alpha", "b/odd\nkey", 3);
    await world.cache("beta", "large", 3_000_000);

    const expected = async () => {
      const buckets = await world.tag("cache ls --json");
      expect(jsonLines(buckets.stdout)).toEqual([
        expect.objectContaining({ bucket: "alpha", entries: 3, logicalBytes: 20_013 }),
        expect.objectContaining({ bucket: "beta", entries: 1, logicalBytes: 3_000_000 }),
      ]);
      const objects = await world.tag("cache ls s3://alpha --json");
      expect(jsonLines<{ key: string }>(objects.stdout).map(({ key }) => key)).toEqual([
        "a/medium",
        "b/odd\nkey",
        "z/tiny",
      ]);
      expect(jsonLines(objects.stdout)[0]).toMatchObject({
        bucket: "alpha",
        sizeBytes: 20_000,
        tier: "segment",
        isComplete: true,
      });
      const below = await world.tag("cache ls alpha/b");
      expect(below.stdout).toMatch(/^ +3 B {2}inline +b\/odd\\x0akey\n$/);
    };
    await expected();
    await world.program.stop();
    await expected();
  });

  test("an unknown bucket and an empty cache are empty lists", async () => {
    await using world = await CachePlayground.start();
    expect(await world.tag("cache ls nothing/here")).toEqual({
      exitCode: 0,
      stdout: "",
      stderr: "",
    });
    const elsewhere = { TAG_CACHE_DISK_PATH: join(world.folder, "none") };
    expect((await world.tag("cache ls", elsewhere)).exitCode).toBe(0);
    expect(existsSync(join(world.folder, "none"))).toBe(false);
  });
});

describe("tag cache purge", () => {
  test("drops a prefix on the running server at once, and nothing beside it", async () => {
    await using world = await CachePlayground.start();
    for (const key of ["in/a", "in/b", "out"]) await world.cache("bucket", key, 5000);
    expect(await world.xCacheOf("bucket", "in/a")).toBe("HIT");

    // No proxy is meant for this; it would get to see the token.
    const proxy = { HTTP_PROXY: "http://127.0.0.1:9", http_proxy: "http://127.0.0.1:9" };
    const purged = await world.tag("cache purge bucket/in/ --yes --json", proxy);
    expect(purged.exitCode).toBe(0);
    expect(JSON.parse(purged.stdout)).toEqual({ bucket: "bucket", prefix: "in/", entries: 2 });
    expect(await world.xCacheOf("bucket", "in/a")).toBe("MISS");
    expect(await world.xCacheOf("bucket", "out")).toBe("HIT");
  });

  test("works on a stopped store, which the next server opens", async () => {
    await using world = await CachePlayground.start();
    await world.cache("bucket", "a", 5000);
    await world.cache("other", "b", 5000);
    await world.program.stop();
    const purged = await world.tag("cache purge bucket --yes");
    expect(purged).toEqual({ exitCode: 0, stdout: "dropped 1 object of bucket\n", stderr: "" });
    await world.restart();
    expect(jsonLines((await world.tag("cache ls --json")).stdout)).toEqual([
      expect.objectContaining({ bucket: "other", entries: 1, logicalBytes: 5000 }),
    ]);
  });

  test("a fill that is under way does not bring the purged object back", async () => {
    await using world = await CachePlayground.start();
    await world.store("bucket", "slow", 2_000_000);
    await world.program.stop();
    await world.restart({ TAG_ORIGIN_BANDWIDTH_BYTES: "1MiB" });
    const reading = world.client.get("bucket", "slow");
    while (!/^tag_active_fills 1$/m.test(await metricsOf(world))) await systemClock.sleep(10);
    expect((await world.tag("cache purge bucket --yes")).exitCode).toBe(0);
    expect((await reading).body.length).toBe(2_000_000); // its reader began before and may finish
    expect((await world.tag("cache ls bucket")).stdout).toBe("");
  });

  test("asks, and without anybody to answer refuses and changes nothing", async () => {
    await using world = await CachePlayground.start();
    await world.cache("bucket", "a", 5000);
    const refused = await world.tag("cache purge bucket");
    expect(refused.exitCode).toBe(2);
    expect(refused.stderr).toContain(
      "Drop 1 object (4.9 KiB) of bucket from the cache? Nobody is here to be asked: say --yes",
    );
    expect(await world.xCacheOf("bucket", "a")).toBe("HIT");
    expect((await world.tag("cache purge --yes")).exitCode).toBe(2);
    expect((await world.tag("cache purge / --yes")).exitCode).toBe(2);
  });
});

describe("tag cache stats", () => {
  test("knows hits by requests and by bytes, tiers, buckets, evictions and what was written", async () => {
    const small = { TAG_CACHE_MAX_DISK_USAGE: "32MiB", TAG_CACHE_EVICTION_POLICY: "fifo" };
    await using world = await CachePlayground.start(small);
    for (let index = 0; index < 40; index += 1) await world.cache("big", `k${index}`, 1_000_000);
    await world.cache("tiny", "k", 10);
    for (let time = 0; time < 3; time += 1) expect(await world.xCacheOf("tiny", "k")).toBe("HIT");
    await systemClock.sleep(6000); // counters are saved every five seconds

    const { store, live } = JSON.parse((await world.tag("cache stats --json", small)).stdout);
    expect(live).toMatchObject({ hits: 3, hitBytes: 30, missBytes: 40_000_010 });
    expect(live.byteHitRatio).toBeCloseTo(30 / 40_000_040, 9);
    expect(store.evictedEntries).toBeGreaterThan(5);
    expect(store.evictionAgeMs).toBeGreaterThan(0);
    expect(store.storedBytes).toBeGreaterThan(40_000_000);
    expect(store.writeAmplification).toBe(1); // fifo moves nothing on
    expect(store.tiers.map(({ tier }: { tier: string }) => tier)).toEqual([
      "inline",
      "segment",
      "file",
    ]);
    expect(store.buckets).toHaveLength(2);
    expect(store.buckets[0].diskBytes).toBeGreaterThanOrEqual(store.buckets[0].logicalBytes);

    const textfile = (await world.tag("cache stats --prometheus", small)).stdout;
    expect(textfile).toContain("tag_store_hit_bytes_total 30\n");
    expect(textfile).toMatch(/^tag_store_eviction_age_seconds \d/m);
    const screen = (await world.tag("cache stats", small)).stdout;
    expect(screen).toMatch(/^Evicted {3}\d+ objects, .*; the oldest body is from \S+ ago$/m);
    expect(screen).toMatch(/^Written {3}.*, 1\.00 times what was stored$/m);
  });
});

describe("tag cache inspect", () => {
  test("shows what is stored of an object, whole or in parts", async () => {
    await using world = await CachePlayground.start({ TAG_CACHE_BLOCK_THRESHOLD: "1MiB" });
    await world.cache("bucket", "whole", 20_000);
    await world.store("bucket", "parts", 3_000_000);
    await world.client.get("bucket", "parts"); // teaches the gateway that we may read
    await world.tag("cache purge bucket/parts --yes");
    await world.client.get("bucket", "parts", ["Range", "bytes=1000000-1000009"]);
    await world.untilListed("bucket", "parts");

    const whole = await world.tag("cache inspect bucket/whole");
    expect([whole.exitCode, whole.stderr]).toEqual([0, ""]);
    expect(whole.stdout).toContain("Size      19.5 KiB (20000 bytes)");
    expect(whole.stdout).toContain("Present   all of it");
    expect(whole.stdout).toContain("Checksums ok");
    expect(whole.stdout).toMatch(/Headers\n(?: {2}.*\n)* {2}ETag: "/);

    const parts = JSON.parse((await world.tag("cache inspect bucket/parts --json")).stdout);
    expect(parts).toMatchObject({
      tier: "file",
      sizeBytes: 3_000_000,
      isComplete: false,
      isIntact: true,
    });
    expect(parts.present[0].start).toBeLessThanOrEqual(1_000_000);
    expect(parts.present[0].end).toBeGreaterThan(1_000_009);
    expect(parts.presentBytes).toBeLessThan(3_000_000);
  });

  test("says what is not cached, with an exit of its own", async () => {
    await using world = await CachePlayground.start();
    const missing = await world.tag("cache inspect bucket/nothing");
    expect(missing.exitCode).toBe(8);
    expect(missing.stderr).toContain("bucket/nothing is not cached");
    expect((await world.tag("cache inspect bucket")).exitCode).toBe(2);
  });
});

describe("tag cache verify", () => {
  const OBJECTS = [
    ["inline", 10],
    ["segment", 20_000],
    ["streamed", 700_000],
    ["file", 3_000_000],
  ] as const;

  test("finds a flipped bit in every tier, and drops it from the running server", async () => {
    await using world = await CachePlayground.start({ TAG_CACHE_BLOCK_THRESHOLD: "1MiB" });
    for (const [key, sizeBytes] of OBJECTS) await world.cache("bucket", key, sizeBytes);
    for (const [key] of OBJECTS) await world.untilListed("bucket", key);
    const clean = await world.tag("cache verify");
    expect(clean).toEqual({
      exitCode: 0,
      stdout: "4 objects checked, all as they were stored\n",
      stderr: "",
    });

    for (const [key, sizeBytes] of OBJECTS.slice(1)) flipBit(world.cacheFolder, sizeBytes, key);
    const found = await world.tag("cache verify --json");
    expect(found.exitCode).toBe(9);
    const report = JSON.parse(found.stdout);
    expect(report).toMatchObject({ entries: 4, dropped: 0 });
    expect(report.damaged.map(({ key }: { key: string }) => key).toSorted()).toEqual([
      "file",
      "segment",
      "streamed",
    ]);
    expect((await world.tag("cache inspect bucket/segment")).exitCode).toBe(9);

    const repaired = await world.tag("cache verify --repair");
    expect(repaired.exitCode).toBe(9);
    expect(repaired.stdout).toEndWith("4 objects checked, 3 damaged, 3 dropped\n");
    expect((await world.tag("cache verify")).stdout).toBe(
      "1 object checked, all as they were stored\n",
    );
    for (const [key, sizeBytes] of OBJECTS) {
      const answer = await world.client.get("bucket", key);
      expect(Bun.hash.crc32(answer.body)).toBe(Bun.hash.crc32(bodyOf(key, sizeBytes)));
    }
  });

  test("repairs a stopped store, down to a row of the catalog", async () => {
    await using world = await CachePlayground.start();
    await world.cache("bucket", "inline", 10);
    await world.cache("bucket", "segment", 20_000);
    await world.program.stop();
    flipBit(world.cacheFolder, 20_000, "segment");
    flipBitInRow(world.cacheFolder, 10);
    const repaired = await world.tag("cache verify --repair --json");
    expect(repaired.exitCode).toBe(9);
    expect(JSON.parse(repaired.stdout)).toMatchObject({ entries: 2, dropped: 2 });
    expect((await world.tag("cache verify")).exitCode).toBe(0);
  });

  test("survives a catalog file that is none any more, and sets it up anew", async () => {
    await using world = await CachePlayground.start();
    await world.cache("bucket", "a", 20_000);
    await world.program.stop();
    await Bun.write(join(world.cacheFolder, "catalog/00.db"), "no database".repeat(1000));
    const listed = await world.tag("cache ls bucket");
    expect(listed.exitCode).toBe(3);
    expect(listed.stderr).toContain("file is not a database");
    expect((await world.tag("cache stats")).stdout).toContain(
      "1 of the catalog's files cannot be read",
    );
    const repaired = await world.tag("cache verify --repair");
    expect(repaired.exitCode).toBe(9);
    expect(repaired.stdout).toContain("catalog shard 0 cannot be read: file is not a database\n");
    expect((await world.tag("cache verify")).exitCode).toBe(0);
  });
});

/** Flips a bit in the middle of the stored body, wherever it lies below the folder. */
function flipBit(folder: string, sizeBytes: number, key: string): void {
  const probe = Buffer.from(bodyOf(key, sizeBytes).subarray(sizeBytes - 64));
  for (const name of new Glob("{segments,files}/**").scanSync({ cwd: folder, onlyFiles: true })) {
    const path = join(folder, name);
    const bytes = readFileSync(path);
    const at = bytes.indexOf(probe);
    if (at === -1) continue;
    const file = openSync(path, "r+");
    writeSync(file, Uint8Array.of((bytes[at] ?? 0) ^ 1), 0, 1, at);
    closeSync(file);
    return;
  }
  throw new Error(`the body of ${key} is in no file`);
}

/** Flips a bit in a body that lies in the catalog. */
function flipBitInRow(folder: string, sizeBytes: number): void {
  for (const name of new Glob("catalog/*.db").scanSync({ cwd: folder })) {
    const shard = new Database(join(folder, name));
    const { changes } = shard.run("UPDATE object SET body = zeroblob(size) WHERE size = ?", [
      sizeBytes,
    ]);
    shard.close();
    if (changes > 0) return;
  }
  throw new Error("no shard has the row");
}

describe("the administrative routes", () => {
  test("answer 401 without the token, which only its owner can read and a stop takes away", async () => {
    await using world = await CachePlayground.start();
    const file = join(world.cacheFolder, "admin.json");
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const { token, port } = JSON.parse(readFileSync(file, "utf8")) as Record<
      string,
      string | number
    >;
    expect(Number(port)).toBe(world.program.port);
    expect(String(token)).toMatch(/^[\w-]{43}$/);

    const call = async (path: string, bearer: string, init: RequestInit = {}) => {
      const answer = await fetch(`${world.program.endpoint}/_/api/admin/cache/${path}`, {
        method: "POST",
        headers: { Authorization: bearer },
        ...init,
      });
      return answer.status;
    };
    expect(await call("purge", "")).toBe(401);
    expect(await call("purge", "Bearer")).toBe(401);
    expect(await call("purge", `Bearer ${String(token)}x`)).toBe(401);
    expect(await call("nothing", "Bearer wrong")).toBe(401);
    const right = `Bearer ${String(token)}`;
    expect(await call("nothing", right)).toBe(404);
    expect(await call("purge", right, { method: "GET" })).toBe(405);
    expect(await call("purge", right, { body: "no json" })).toBe(400);
    expect(await call("purge", right, { body: '{"bucket": 7}' })).toBe(400);
    expect(await call("purge", right, { body: '{"bucket": "b"}' })).toBe(200);

    await world.program.stop();
    expect(existsSync(file)).toBe(false);
    await world.restart();
    expect(readFileSync(file, "utf8")).not.toContain(String(token));
  });

  test("a token left by a killed server does not keep the tools from the store", async () => {
    await using world = await CachePlayground.start();
    await world.cache("bucket", "a", 5000);
    await world.untilListed("bucket", "a");
    process.kill(world.program.pid, "SIGKILL");
    await world.program.stop();
    expect(existsSync(join(world.cacheFolder, "admin.json"))).toBe(true);
    expect((await world.tag("cache purge bucket --yes")).stdout).toBe(
      "dropped 1 object of bucket\n",
    );
  });
});

async function metricsOf(world: CachePlayground): Promise<string> {
  return (await fetch(`${world.program.endpoint}/metrics`)).text();
}
