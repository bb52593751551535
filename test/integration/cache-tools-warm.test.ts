// Goal: warming brings what was asked for into the cache, says what it would cost, and goes on where it was stopped.
// Method: the real program from source with the dev origin behind it; warming is a process beside it.

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { systemClock } from "../../src/base/clock.ts";
import { CachePlayground } from "../support/cache-tools.ts";

// Every command is a process of its own, on a machine that may be busy.
setDefaultTimeout(60_000);

const CREDENTIALS = { AWS_ACCESS_KEY_ID: "tagdev", AWS_SECRET_ACCESS_KEY: "tagdevsecret" };

const stateFilesOf = (world: CachePlayground): string[] =>
  readdirSync(world.folder).filter((name) => name.startsWith(".tag-warm-"));

async function upstreamBytes(world: CachePlayground): Promise<number> {
  const text = await (await fetch(`${world.program.endpoint}/metrics`)).text();
  return Number(/^tag_upstream_received_bytes_total (\S+)$/m.exec(text)?.[1] ?? Number.NaN);
}

describe("tag cache warm", () => {
  test("a dry run counts objects and bytes and caches nothing; a run caches them all", async () => {
    await using world = await CachePlayground.start();
    const keys = ["in/a b+c", "in/ä/ö", "in/x%2Fy", "in/z\u0001"];
    for (const key of keys) await world.store("bucket", key, 5000);
    await world.store("bucket", "out", 5000);

    const dry = await world.tag("cache warm s3://bucket/in/ --dry-run", CREDENTIALS);
    expect(dry).toEqual({ exitCode: 0, stdout: "would warm 4 objects (19.5 KiB)\n", stderr: "" });
    expect((await world.tag("cache ls")).stdout).toBe("");

    const run = await world.tag("cache warm s3://bucket/in/", CREDENTIALS);
    expect(run).toEqual({ exitCode: 0, stdout: "warmed 4 objects (19.5 KiB)\n", stderr: "" });
    for (const key of keys) expect(await world.xCacheOf("bucket", key)).toBe("HIT");
    expect(await world.xCacheOf("bucket", "out")).toBe("MISS");
    expect(stateFilesOf(world)).toEqual([]);

    const again = await world.tag("cache warm bucket/in/ --json", CREDENTIALS);
    expect(JSON.parse(again.stdout)).toMatchObject({ objects: 4, hits: 4, failed: [] });
  });

  test("what the cache would not keep is left out, and said", async () => {
    await using world = await CachePlayground.start();
    await world.program.stop();
    const rules = join(world.folder, "rules.yaml");
    await Bun.write(rules, 'cache: {rules: [{bucket: bucket, exclude: "tmp/**"}]}\n');
    const ruled = { TAG_CONFIG: rules, TAG_CACHE_SIZE_THRESHOLD: "6KiB" };
    await world.restart(ruled);
    for (const [key, size] of [
      ["a", 5000],
      ["large", 7000],
      ["tmp/b", 3000],
    ] as const) {
      await world.store("bucket", key, size);
    }
    const before = await upstreamBytes(world);
    const env = { ...CREDENTIALS, ...ruled };
    for (const command of ["cache warm bucket --dry-run", "cache warm bucket"]) {
      const run = await world.tag(command, env);
      expect(run.stdout).toMatch(/warm(ed)? 1 object \(4\.9 KiB\)\n$/);
      expect(run.stderr).toContain(
        "left out 1 object (6.8 KiB) above cache.size_threshold (6.0 KiB): the cache keeps none of them",
      );
      expect(run.stderr).toContain("left out 1 object (2.9 KiB) that cache.rules exclude");
    }
    expect((await upstreamBytes(world)) - before).toBeLessThan(5000 + 4000); // and two listings
    await Bun.write(join(world.folder, "list.txt"), "bucket/a\nbucket/large\nbucket/tmp/b\n");
    const named = await world.tag("cache warm --manifest list.txt --json", env);
    expect(JSON.parse(named.stdout)).toMatchObject({
      objects: 1,
      hits: 1,
      leftOut: { too_large: { objects: 1, bytes: 7000 }, excluded: { objects: 1 } },
    });
  });

  test("a manifest names objects; what failed is named and tried again by the next run", async () => {
    await using world = await CachePlayground.start();
    await world.store("bucket", "a", 5000);
    await world.store("bucket", "b", 7000);
    await Bun.write(
      join(world.folder, "list.txt"),
      "# epoch 1\ns3://bucket/a\n\nbucket/late\ns3://bucket/b\n",
    );
    const first = await world.tag("cache warm --manifest list.txt", CREDENTIALS);
    expect(first.exitCode).toBe(10);
    expect(first.stdout).toBe("warmed 2 objects (11.7 KiB), 1 failed\n");
    expect(first.stderr).toContain("bucket/late: not found");
    expect(stateFilesOf(world)).toHaveLength(1);

    await world.store("bucket", "late", 3000);
    const second = await world.tag("cache warm --manifest list.txt", CREDENTIALS);
    expect([second.exitCode, second.stdout]).toEqual([0, "warmed 3 objects (14.6 KiB)\n"]);
    expect(second.stderr).toContain("going on after 2 objects");
    expect(await world.xCacheOf("bucket", "late")).toBe("HIT");
    expect(stateFilesOf(world)).toEqual([]);
  });

  test("an interrupted run goes on where it was, and counts nothing twice", async () => {
    await using world = await CachePlayground.start();
    for (let index = 0; index < 8; index += 1) await world.store("bucket", `k${index}`, 400_000);
    await world.program.stop();
    await world.restart({ TAG_ORIGIN_BANDWIDTH_BYTES: "1MiB" });

    const words = "cache warm s3://bucket --concurrency 2 --state warm.json";
    const running = world.spawnTag(words, CREDENTIALS);
    const state = join(world.folder, "warm.json");
    while (!existsSync(state)) await systemClock.sleep(20);
    process.kill(running.pid, "SIGINT");
    const stopped = await running.outcome;
    expect(stopped.exitCode).toBe(10);
    expect(stopped.stdout).toContain("interrupted");
    const { objects } = JSON.parse(readFileSync(state, "utf8")) as { objects: number };
    expect(objects).toBeGreaterThan(0);
    expect(objects).toBeLessThan(8);

    const rest = await world.tag(`${words} --json`, CREDENTIALS);
    expect(rest.exitCode).toBe(0);
    expect(JSON.parse(rest.stdout)).toMatchObject({
      objects: 8,
      bytes: 3_200_000,
      isFinished: true,
    });
    expect(existsSync(state)).toBe(false);
    for (let index = 0; index < 8; index += 1) {
      expect(await world.xCacheOf("bucket", `k${index}`)).toBe("HIT");
    }
  });

  test("missing and refused credentials, and a wrong source, have their own exits", async () => {
    await using world = await CachePlayground.start();
    await world.store("bucket", "a", 10);
    expect((await world.tag("cache warm s3://bucket")).exitCode).toBe(7);
    const refused = await world.tag("cache warm s3://bucket", {
      ...CREDENTIALS,
      AWS_SECRET_ACCESS_KEY: "wrong",
    });
    expect(refused.exitCode).toBe(7);
    expect(refused.stderr).toContain("cannot list bucket: 403 SignatureDoesNotMatch");
    expect((await world.tag("cache warm s3://nowhere", CREDENTIALS)).exitCode).toBe(8);
    expect((await world.tag("cache warm", CREDENTIALS)).exitCode).toBe(2);
    expect((await world.tag("cache warm s3://bucket --concurrency 0", CREDENTIALS)).exitCode).toBe(
      2,
    );
    expect((await world.tag("cache warm --manifest none.txt", CREDENTIALS)).exitCode).toBe(3);
    await world.program.stop();
    expect((await world.tag("cache warm s3://bucket", CREDENTIALS)).exitCode).toBe(5);
  });
});
