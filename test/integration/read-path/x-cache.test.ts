// Issue B, "X-Cache": all five values exactly as documented, counters in lockstep with the header.

import { expect, test } from "bun:test";
import { BUCKET, IS_BINARY, timed, World } from "./world.ts";

const HOUR_MS = 3_600_000;
const LONG_GRANTS = { TAG_AUTHZ_CACHE_TTL: "48h" };

test("MISS is what upstream sent, HIT what the cache did", async () => {
  await using w = await World.open();
  w.s3.put(BUCKET, "k", "hello");
  await w.teach(w.alice);
  expect((await w.alice.get("k")).xCache).toBe("MISS");
  expect((await w.alice.get("k")).xCache).toBe("HIT");
  expect((await w.alice.head("k")).xCache).toBe("HIT");
  expect((await w.alice.get("k", ["Range", "bytes=0-1"])).xCache).toBe("HIT");
  expect((await w.alice.get("k", ["If-None-Match", "*"])).xCache).toBe("HIT");
  expect((await w.alice.get("k", ["Range", "bytes=9-"])).xCache).toBe("HIT");
  expect(w.asked("k")).toHaveLength(1);
});

test("BYPASS is a client's no-store: not read from the cache and not written to it", async () => {
  await using w = await World.open();
  w.s3.put(BUCKET, "k", "hello");
  await w.teach(w.alice);
  const noStore = ["Cache-Control", "no-store"];
  expect((await w.alice.get("k", noStore)).xCache).toBe("BYPASS");
  expect((await w.alice.get("k")).xCache).toBe("MISS");
  expect((await w.alice.get("k", noStore)).xCache).toBe("BYPASS");
  expect((await w.alice.get("k", ["cache-control", "No-Cache, NO-STORE"])).xCache).toBe("BYPASS");
  expect((await w.alice.get("k")).xCache).toBe("HIT");
});

test.each([
  ["a client's no-cache", ["Cache-Control", "no-cache"], 0],
  ["a client's max-age=0", ["Cache-Control", "max-age=0"], 0],
  ...(IS_BINARY ? [] : ([["the end of its time", [], 2 * HOUR_MS]] as const)),
] as const)("REVALIDATED is a changed object found by %s", async (_what, headers, laterMs) => {
  await using w = await World.open(LONG_GRANTS);
  w.s3.put(BUCKET, "k", "old");
  await w.teach(w.alice);
  await w.warm("k");
  w.clock.shift(laterMs);
  w.s3.put(BUCKET, "k", "new");
  const changed = await w.alice.get("k", headers);
  expect([changed.xCache, changed.body.toString()]).toEqual(["REVALIDATED", "new"]);
  const hit = await w.alice.get("k");
  expect([hit.xCache, hit.body.toString()]).toEqual(["HIT", "new"]);
  expect(await w.metric("tag_revalidations_updated_total")).toBe(1);
});

test("HIT is also an object that upstream confirmed, and metrics tell the two apart", async () => {
  await using w = await World.open();
  w.s3.put(BUCKET, "k", "hello");
  await w.teach(w.alice);
  await w.warm("k");
  const before = await w.metric("tag_cache_revalidated_hits_total");
  expect((await w.alice.get("k")).xCache).toBe("HIT");
  expect(await w.metric("tag_cache_revalidated_hits_total")).toBe(before);
  expect((await w.alice.get("k", ["Cache-Control", "no-cache"])).xCache).toBe("HIT");
  expect(await w.metric("tag_cache_revalidated_hits_total")).toBe(before + 1);
  expect(await w.metric("tag_revalidations_not_modified_total")).toBe(1);
});

test("DISABLED is a gateway without a cache", async () => {
  await using w = await World.open({ TAG_CACHE_DISABLED: "true" });
  w.s3.put(BUCKET, "k", "hello");
  for (let round = 0; round < 3; round += 1) {
    const answer = await w.alice.get("k");
    expect([answer.xCache, answer.body.toString()]).toEqual(["DISABLED", "hello"]);
  }
  expect((await w.alice.head("k")).xCache).toBe("DISABLED");
  expect(w.asked("k")).toHaveLength(4);
});

timed("every object reply counts once, as its header says", async () => {
  await using w = await World.open(LONG_GRANTS);
  w.s3.put(BUCKET, "a", "hello");
  w.s3.put(BUCKET, "b", "world");
  const said: Record<string, number> = { HIT: 0, MISS: 0 };
  const note = (answer: { readonly xCache: string | undefined }) => {
    const value = answer.xCache ?? "none";
    said[value] = (said[value] ?? 0) + 1;
  };
  for (const key of ["a", "b", "gone"]) {
    note(await w.alice.get(key));
    note(await w.alice.get(key));
    note(await w.alice.head(key));
    note(await w.alice.get(key, ["Cache-Control", "no-cache"]));
    note(await w.alice.get(key, ["Cache-Control", "no-store"]));
    note(await w.alice.get(key, ["If-None-Match", "*"]));
    note(await w.alice.get(key, ["Range", "bytes=99-"]));
  }
  w.clock.shift(2 * HOUR_MS);
  for (const key of ["a", "b"]) note(await w.alice.get(key));
  expect(await w.metric("tag_cache_hits_total")).toBe(said["HIT"] ?? 0);
  expect(await w.metric("tag_cache_misses_total")).toBe(said["MISS"] ?? 0);
  const operations = (result: string) =>
    w.metric("tag_cache_operations_total", { operation: "get", result });
  expect(await operations("hit")).toBe(said["HIT"] ?? 0);
  expect(await operations("miss")).toBe(said["MISS"] ?? 0);
  expect(said["none"]).toBeUndefined();
});
