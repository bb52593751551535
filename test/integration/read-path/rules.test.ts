// Goal: what a rule excludes goes past the cache in every way there is to read and write it; ttl
// of a rule holds for what it is for, and for nothing else.
// Method: the world of the read-path suite, with a configuration file.

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { afterAll, expect, setDefaultTimeout, test } from "bun:test";
import { eventually } from "../../support/eventually.ts";
import { BUCKET, IS_BINARY, World } from "./world.ts";

setDefaultTimeout(60_000);

const folders: string[] = [];
afterAll(async () => {
  for (const folder of folders) await rm(folder, { recursive: true, force: true });
});

async function openWith(rules: string, env: Readonly<Record<string, string>> = {}) {
  const folder = await mkdtemp(join(tmpdir(), "tag-rules-"));
  folders.push(folder);
  const file = join(folder, "tag.yaml");
  await writeFile(file, `cache:\n  rules: ${rules}\n`);
  return World.open({ TAG_CONFIG: file, ...env });
}

test("an excluded object passes through, whole, in part, as a header and unsigned", async () => {
  await using w = await openWith(`[{bucket: ${BUCKET}, exclude: "tmp/**"}]`, {
    TAG_CACHE_WARM_ON_WRITE: "true",
  });
  w.s3.put(BUCKET, "tmp/k", "hello");
  w.s3.put(BUCKET, "kept", "hello");
  await w.teach(w.alice);
  await eventually(async () => (await w.metric("tag_cache_entries")) === 1); // the lesson
  for (let time = 0; time < 2; time += 1) {
    expect((await w.alice.get("tmp/k")).xCache).toBe("BYPASS");
    expect((await w.alice.head("tmp/k")).xCache).toBe("BYPASS");
    const part = await w.alice.get("tmp/k", ["Range", "bytes=1-2"]);
    expect([part.status, part.xCache, part.body.toString()]).toEqual([206, "BYPASS", "el"]);
    expect((await w.alice.get("tmp/k", ["Cache-Control", "no-cache"])).xCache).toBe("BYPASS");
    expect((await w.anonymous.get("tmp/k")).status).toBe(403); // upstream's word, not the cache's
  }
  expect(w.asked("tmp/k", "GET")).toHaveLength(8);
  await w.alice.ask({ method: "PUT", target: `/${BUCKET}/tmp/k`, body: "newer" });
  const written = await w.alice.get("tmp/k");
  expect([written.xCache, written.body.toString()]).toEqual(["BYPASS", "newer"]);
  expect(await w.metric("tag_cache_entries")).toBe(1);

  expect((await w.alice.get("kept")).xCache).toBe("MISS");
  await w.warm("kept");
});

test("concurrent readers of an excluded object share nothing", async () => {
  await using w = await openWith(`[{bucket: "*", exclude: "**"}]`);
  w.s3.put(BUCKET, "k", "hello");
  await w.teach(w.alice);
  const answers = await Promise.all(Array.from({ length: 5 }, () => w.alice.get("k")));
  expect(answers.map(({ xCache }) => xCache)).toEqual(Array.from({ length: 5 }, () => "BYPASS"));
  expect(w.asked("k", "GET")).toHaveLength(5);
});

test("what was stored before a rule excludes it is not served any more", async () => {
  await using w = await openWith("[]");
  w.s3.put(BUCKET, "k", "hello");
  await w.teach(w.alice);
  await w.warm("k");
  expect((await w.alice.get("k")).xCache).toBe("HIT");
  const file = join(folders.at(-1) ?? "", "tag.yaml");
  await writeFile(file, `cache:\n  rules: [{bucket: ${BUCKET}, include: "other/**"}]\n`);
  await w.restart({ TAG_CONFIG: file });
  await w.teach(w.alice);
  expect((await w.alice.get("k")).xCache).toBe("BYPASS");
});

test.skipIf(IS_BINARY)("ttl of a rule, shorter and longer than cache.ttl", async () => {
  await using w = await openWith(
    `[{bucket: ${BUCKET}, prefix: live/, ttl: 1m}, {bucket: ${BUCKET}, prefix: still/, ttl: 48h}]`,
    { TAG_CACHE_TTL: "1h", TAG_AUTHZ_CACHE_TTL: "72h" },
  );
  const keys = ["live/k", "k", "still/k"];
  for (const key of keys) w.s3.put(BUCKET, key, "hello");
  await w.teach(w.alice);
  for (const key of keys) await w.warm(key);
  const asked = async (laterMs: number): Promise<number[]> => {
    const before = keys.map((key) => w.asked(key).length);
    w.clock.shift(laterMs);
    for (const key of keys) expect((await w.alice.get(key)).xCache).toBe("HIT");
    return keys.map((key, index) => w.asked(key).length - (before[index] ?? 0));
  };
  expect(await asked(0)).toEqual([0, 0, 0]);
  expect(await asked(2 * 60_000)).toEqual([1, 0, 0]);
  expect(await asked(2 * 3_600_000)).toEqual([1, 1, 0]);
});
