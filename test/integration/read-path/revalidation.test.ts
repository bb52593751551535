// Issue B, "Revalidation": by the client's wish and by expiry, what each answer of upstream does to
// the entry, stale copies while upstream fails, and whose rights are used.

import { describe, expect, test } from "bun:test";
import {
  answer,
  brokenBody,
  hangBeforeHeaders,
  resetBeforeHeaders,
  type Script,
} from "../../support/scripted-upstream.ts";
import { BUCKET, IS_BINARY, targetOf, timed, World } from "./world.ts";

const MINUTE_MS = 60_000;
const ENV = {
  TAG_CACHE_TTL: "10m",
  TAG_AUTHZ_CACHE_TTL: "48h",
  TAG_UPSTREAM_HEADER_TIMEOUT: "200ms",
  TAG_UPSTREAM_CONNECT_TIMEOUT: "200ms",
  TAG_UPSTREAM_STALL_TIMEOUT: "200ms",
};
const NO_CACHE = ["Cache-Control", "no-cache"];

async function warmWorld(): Promise<World> {
  const w = await World.open(ENV);
  w.s3.put(BUCKET, "k", "hello", { etag: '"v1"', headers: ["Content-Type", "text/plain"] });
  await w.teach(w.alice);
  await w.warm("k");
  return w;
}

describe.each([
  ["a client's no-cache", NO_CACHE, 0],
  ["a client's max-age=0", ["Cache-Control", "max-age=0"], 0],
  ...(IS_BINARY ? [] : ([["the end of its time", [], 11 * MINUTE_MS]] as const)),
] as const)("%s", (_cause, headers, laterMs) => {
  test("asks upstream with the validator and serves the confirmed copy", async () => {
    await using w = await warmWorld();
    w.clock.shift(laterMs);
    const confirmed = await w.alice.get("k", headers);
    expect([confirmed.status, confirmed.xCache, confirmed.body.toString()]).toEqual([
      200,
      "HIT",
      "hello",
    ]);
    const [question] = w.asked("k");
    expect(w.asked("k")).toHaveLength(1);
    expect(question?.field("if-none-match")).toBe('"v1"');
    expect(w.upstream.bodyBytesSent).toBe(0);
  });

  timed("a 304 renews the time and the stored headers", async () => {
    await using w = await warmWorld();
    w.clock.shift(Math.max(laterMs, 9 * MINUTE_MS));
    w.upstream.once("GET", targetOf("k"), async (call) => {
      await call.writeHead(304, ["ETag", '"v1"', "Cache-Control", "public", "x-amz-meta-a", "new"]);
    });
    await w.alice.get("k", headers);
    w.clock.shift(9 * MINUTE_MS);
    const hit = await w.alice.get("k");
    expect(hit.xCache).toBe("HIT");
    expect(w.asked("k")).toHaveLength(1);
    expect(hit.fields.get("cache-control")).toBe("public");
    expect(hit.fields.get("x-amz-meta-a")).toBe("new");
    expect(hit.fields.get("content-type")).toBe("text/plain");
    expect(hit.fields.get("content-length")).toBe("5");
  });

  test("a changed object replaces the entry", async () => {
    await using w = await warmWorld();
    w.clock.shift(laterMs);
    w.s3.put(BUCKET, "k", "changed");
    const changed = await w.alice.get("k", headers);
    expect([changed.xCache, changed.body.toString()]).toEqual(["REVALIDATED", "changed"]);
    const hit = await w.alice.get("k");
    expect([hit.xCache, hit.body.toString()]).toEqual(["HIT", "changed"]);
    expect(w.asked("k")).toHaveLength(1);
  });

  test("a 404 removes the entry", async () => {
    await using w = await warmWorld();
    w.clock.shift(laterMs);
    w.s3.delete(BUCKET, "k");
    expect((await w.alice.get("k", headers)).status).toBe(404);
    w.upstream.on("*", targetOf("k"), resetBeforeHeaders);
    expect((await w.alice.get("k")).status).toBe(502);
  });

  test("a 403 revokes the asker's grant and leaves others theirs", async () => {
    await using w = await warmWorld();
    await w.bob.get("k");
    w.clock.shift(laterMs);
    w.s3.deny("tid_alice", BUCKET);
    expect((await w.alice.get("k", headers)).status).toBe(403);
    const again = await w.alice.get("k");
    expect([again.status, again.xCache === "HIT"]).toEqual([403, false]);
    expect((await w.bob.get("k")).body.toString()).toBe("hello");
  });

  test("a HEAD is answered from the confirmed entry, and no body is fetched", async () => {
    await using w = await warmWorld();
    w.clock.shift(laterMs);
    const confirmed = await w.alice.head("k", headers);
    expect([confirmed.status, confirmed.xCache]).toEqual([200, "HIT"]);
    expect(w.upstream.bodyBytesSent).toBe(0);
  });

  test("a range is cut from the confirmed entry", async () => {
    await using w = await warmWorld();
    w.clock.shift(laterMs);
    const part = await w.alice.get("k", ["Range", "bytes=1-2", ...headers]);
    expect([part.status, part.xCache, part.body.toString()]).toEqual([206, "HIT", "el"]);
  });
});

const FAILURES: readonly (readonly [string, Script])[] = [
  ["resets", resetBeforeHeaders],
  ["hangs", hangBeforeHeaders],
  ["answers 500", answer({ status: 500, body: "<Error><Code>InternalError</Code></Error>" })],
  ["answers 503", answer({ status: 503, body: "<Error><Code>SlowDown</Code></Error>" })],
];

describe("while upstream fails", () => {
  timed.each(FAILURES)(
    "and %s, the stale copy is served, marked and counted",
    async (_how, script) => {
      await using w = await warmWorld();
      w.clock.shift(11 * MINUTE_MS);
      w.upstream.on("*", targetOf("k"), script);
      const stale = await w.alice.get("k");
      expect([stale.status, stale.body.toString(), stale.xCache]).toEqual([200, "hello", "HIT"]);
      expect(stale.fields.get("warning")).toMatch(/^11[01] /);
      expect(Number(stale.fields.get("age"))).toBeGreaterThanOrEqual(11 * 60);
      expect(await w.metric("tag_stale_served_total")).toBeGreaterThan(0);
      expect(await w.metric("tag_revalidations_stale_served_total")).toBe(1);
    },
  );

  timed("a refused connection serves the stale copy too", async () => {
    await using w = await warmWorld();
    w.clock.shift(11 * MINUTE_MS);
    await w.upstream.refuse();
    expect((await w.alice.get("k")).body.toString()).toBe("hello");
    expect((await w.alice.head("k")).status).toBe(200);
    expect((await w.alice.get("k", ["Range", "bytes=0-0"])).status).toBe(206);
    await w.upstream.listen();
    expect((await w.alice.get("k")).fields.has("warning")).toBe(false);
  });

  test("a client's own no-cache gets the stale copy as well", async () => {
    await using w = await warmWorld();
    w.upstream.on("*", targetOf("k"), resetBeforeHeaders);
    const stale = await w.alice.get("k", NO_CACHE);
    expect([stale.status, stale.body.toString()]).toEqual([200, "hello"]);
    expect(stale.fields.has("warning")).toBe(true);
  });

  timed("the stale copy ends with cache.stale_if_error, one hour by default", async () => {
    await using w = await warmWorld();
    w.upstream.on("*", targetOf("k"), resetBeforeHeaders);
    w.clock.shift(10 * MINUTE_MS + 59 * MINUTE_MS);
    expect((await w.alice.get("k")).status).toBe(200);
    w.clock.shift(2 * MINUTE_MS);
    expect((await w.alice.get("k")).status).toBe(502);
  });

  timed(
    "a changed object whose body breaks off is cut, and the old copy is not lost to it",
    async () => {
      await using w = await warmWorld();
      w.clock.shift(11 * MINUTE_MS);
      w.upstream.once(
        "GET",
        targetOf("k"),
        brokenBody({ sizeBytes: 100, sentBytes: 10, ending: "close", headers: ["ETag", '"v2"'] }),
      );
      const cut = await w.alice.get("k");
      expect(cut.isTruncated).toBe(true);
      const after = await w.alice.get("k");
      expect([after.status, after.body.toString()]).toEqual([200, "hello"]);
    },
  );
});

describe("the asker's rights are used and no wider", () => {
  timed("a signed reader's question is signed with its own key", async () => {
    await using w = await warmWorld();
    w.clock.shift(11 * MINUTE_MS);
    await w.alice.get("k");
    expect(w.asked("k")[0]?.field("authorization")).toContain("Credential=tid_alice/");
    expect(w.s3.refusals).toEqual([]);
  });

  timed("an anonymous reader's question is unsigned", async () => {
    await using w = await World.open(ENV);
    w.s3.put(BUCKET, "k", "news", { isPublic: true });
    await w.anonymous.get("k");
    w.clock.shift(11 * MINUTE_MS);
    expect((await w.anonymous.get("k")).xCache).toBe("HIT");
    expect(w.asked("k")).toHaveLength(2);
    for (const question of w.asked("k")) expect(question.field("authorization")).toBeUndefined();
  });

  timed(
    "an object that became private is refused to anonymous readers, and stays cached for others",
    async () => {
      await using w = await World.open(ENV);
      w.s3.put(BUCKET, "k", "news", { isPublic: true, etag: '"v1"' });
      await w.teach(w.alice);
      await w.anonymous.get("k");
      w.s3.put(BUCKET, "k", "news", { isPublic: false, etag: '"v1"' });
      w.clock.shift(11 * MINUTE_MS);
      expect((await w.anonymous.get("k")).status).toBe(403);
      expect((await w.anonymous.get("k")).status).toBe(403);
      expect((await w.alice.get("k")).body.toString()).toBe("news");
    },
  );
});

timed("many readers of one expired entry ask upstream once", async () => {
  await using w = await warmWorld();
  w.clock.shift(11 * MINUTE_MS);
  const answers = await Promise.all(Array.from({ length: 30 }, () => w.alice.get("k")));
  for (const one of answers) expect([one.status, one.body.toString()]).toEqual([200, "hello"]);
  expect(w.asked("k")).toHaveLength(1);
});
