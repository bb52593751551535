// Issue B, "Identity": a hit needs a proven signature and a live grant; whoever has neither shares
// nothing, and what was learned is bounded in time and survives a restart sealed.

import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "bun:test";
import { Gate, hangBeforeHeaders } from "../../support/scripted-upstream.ts";
import { eventually } from "../../support/eventually.ts";
import { BUCKET, MIB, targetOf, timed, World } from "./world.ts";

const MINUTE_MS = 60_000;

describe("a hit needs a proven signature and a live grant", () => {
  test("the first request of a key goes upstream and teaches, the second hits", async () => {
    await using w = await World.open();
    w.s3.put(BUCKET, "k", "hello");
    expect((await w.alice.get("k")).xCache).toBe("MISS");
    expect((await w.alice.get("k")).xCache).toBe("HIT");
    expect((await w.bob.get("k")).xCache).toBe("MISS");
    expect((await w.bob.get("k")).xCache).toBe("HIT");
    expect(w.asked("k")).toHaveLength(2);
    expect(w.s3.refusals).toEqual([]);
  });

  test.each([
    ["a signature that does not fit its key", "tid_alice", "wrong-secret"],
    ["a key upstream does not know", "tid_mallory", "any-secret"],
  ])("%s is judged by upstream, never by the cache", async (_what, accessKeyId, secret) => {
    await using w = await World.open();
    w.s3.put(BUCKET, "k", "private");
    await w.teach(w.alice);
    await w.warm("k");
    const refused = await w.client(accessKeyId, secret).get("k");
    expect(refused.status).toBe(403);
    expect(refused.xCache).not.toBe("HIT");
    expect(refused.body.toString()).not.toContain("private");
    expect(w.asked("k")).toHaveLength(1);
  });

  test("a proven key has no rights on another bucket", async () => {
    await using w = await World.open();
    w.s3.put("others", "k", "private");
    w.s3.allow("tid_owner", "owner-secret", "others");
    const owner = w.client("tid_owner", "owner-secret");
    await owner.ask({ target: "/others/k" });
    expect((await owner.ask({ target: "/others/k" })).xCache).toBe("HIT");
    await w.teach(w.alice);
    const refused = await w.alice.ask({ target: "/others/k" });
    expect(refused.status).toBe(403);
    expect(refused.xCache).not.toBe("HIT");
  });

  test("a presigned GET hits", async () => {
    await using w = await World.open();
    w.s3.put(BUCKET, "k", "hello");
    await w.teach(w.alice);
    await w.warm("k");
    const answer = await w.alice.ask({ target: targetOf("k"), isPresigned: true });
    expect(answer.xCache).toBe("HIT");
    expect(answer.body.toString()).toBe("hello");
    expect(w.upstream.requests).toHaveLength(0);
  });

  test("an expired presigned URL does not", async () => {
    await using w = await World.open();
    w.s3.put(BUCKET, "k", "hello");
    await w.teach(w.alice);
    await w.warm("k");
    const late = await w.alice.ask({
      target: targetOf("k"),
      isPresigned: true,
      signedAtMs: w.clock.nowMs() - 16 * MINUTE_MS,
    });
    expect(late.xCache).not.toBe("HIT");
    expect(w.asked("k").length + (late.status === 403 ? 1 : 0)).toBeGreaterThan(0);
  });
});

describe("a request without proof shares nothing", () => {
  test("it joins no flight", async () => {
    await using w = await World.open();
    const gate = new Gate();
    w.s3.put(BUCKET, "k", "x".repeat(MIB));
    await w.teach(w.alice);
    w.s3.beforePiece = (index) => (index === 2 ? gate.opened : undefined);
    const flying = w.alice.get("k");
    await eventually(() => w.upstream.bodyBytesSent > 0);
    for (const stranger of [w.anonymous, w.client("tid_mallory", "any-secret")]) {
      const refused = await stranger.get("k");
      expect(refused.status).toBe(403);
      expect(refused.body.toString()).not.toContain("xxx");
    }
    expect(w.asked("k")).toHaveLength(3);
    gate.open();
    expect((await flying).body.length).toBe(MIB);
  });

  test("its refusal reaches nobody else", async () => {
    await using w = await World.open();
    const gate = new Gate();
    w.s3.put(BUCKET, "k", "hello");
    await w.teach(w.alice);
    w.s3.beforeHead = (request) =>
      (request.field("authorization") ?? "").includes("tid_mallory") ? gate.opened : undefined;
    const refused = w.client("tid_mallory", "any-secret").get("k");
    await w.upstream.received(1);
    expect((await w.alice.get("k")).body.toString()).toBe("hello");
    gate.open();
    expect((await refused).status).toBe(403);
  });
});

describe("a cold herd", () => {
  test("of one key makes one teaching request, and the rest share", async () => {
    await using w = await World.open();
    const gate = new Gate();
    w.s3.put(BUCKET, "k", "x".repeat(100_000));
    w.s3.beforeHead = () => gate.opened;
    const herd = Array.from({ length: 100 }, () => w.alice.get("k"));
    await w.upstream.received(1);
    await eventually(async () => (await w.metric("tag_inflight_requests")) === 100);
    gate.open();
    for (const answer of await Promise.all(herd)) expect(answer.body.length).toBe(100_000);
    expect(w.asked("k")).toHaveLength(1);
  });

  test("over many objects asks for each once, after one lesson", async () => {
    await using w = await World.open();
    const gate = new Gate();
    const keys = Array.from({ length: 10 }, (_, index) => `k${index}`);
    for (const key of keys) w.s3.put(BUCKET, key, key.repeat(1_000));
    w.s3.beforeHead = () => gate.opened;
    const herd = keys.flatMap((key) =>
      Array.from({ length: 10 }, async () => ({ key, answer: await w.alice.get(key) })),
    );
    await w.upstream.received(1);
    await eventually(async () => (await w.metric("tag_inflight_requests")) === 100);
    expect(w.upstream.requests).toHaveLength(1);
    gate.open();
    for (const { key, answer } of await Promise.all(herd)) {
      expect(answer.body.toString()).toBe(key.repeat(1_000));
    }
    expect(w.upstream.requests).toHaveLength(10);
  });

  test("waits for its lesson within a bound, then each goes alone", async () => {
    await using w = await World.open({ TAG_CACHE_LESSON_TIMEOUT: "100ms" });
    w.s3.put(BUCKET, "k", "hello");
    w.upstream.once("GET", targetOf("k"), hangBeforeHeaders);
    const teacher = w.alice.open({ target: targetOf("k") });
    await w.upstream.received(1);
    const others = await Promise.all([w.alice.get("k"), w.alice.get("k")]);
    for (const answer of others) expect(answer.body.toString()).toBe("hello");
    await (await teacher)[Symbol.asyncDispose]();
  });
});

describe("rights end", () => {
  test("a 403 revokes the grant: what is cached is no longer served to that key", async () => {
    await using w = await World.open();
    w.s3.put(BUCKET, "cached", "hello");
    w.s3.put(BUCKET, "other", "hello");
    await w.teach(w.alice, w.bob);
    await w.warm("cached");
    w.s3.deny("tid_alice", BUCKET);
    expect((await w.alice.get("other")).status).toBe(403);
    const refused = await w.alice.get("cached");
    expect(refused.status).toBe(403);
    expect(refused.xCache).not.toBe("HIT");
    expect((await w.bob.get("cached")).xCache).toBe("HIT");
  });

  timed("a grant ends with its time and is renewed by upstream", async () => {
    await using w = await World.open({ TAG_AUTHZ_CACHE_TTL: "10m" });
    w.s3.put(BUCKET, "k", "hello");
    await w.teach(w.alice);
    await w.warm("k");
    w.clock.shift(9 * MINUTE_MS);
    expect((await w.alice.get("k")).xCache).toBe("HIT");
    w.clock.shift(2 * MINUTE_MS);
    expect((await w.alice.get("k")).status).toBe(200);
    expect(w.asked("k")).toHaveLength(1);
    expect((await w.alice.get("k")).xCache).toBe("HIT");
  });
});

describe("anonymous reads", () => {
  test("hit what an unsigned 200 proved public", async () => {
    await using w = await World.open();
    w.s3.put(BUCKET, "k", "news", { isPublic: true });
    expect((await w.anonymous.get("k")).xCache).toBe("MISS");
    const hit = await w.anonymous.get("k");
    expect(hit.xCache).toBe("HIT");
    expect(hit.body.toString()).toBe("news");
    expect(w.asked("k")).toHaveLength(1);
  });

  test("do not hit what only a signed fetch brought", async () => {
    await using w = await World.open();
    w.s3.put(BUCKET, "private", "secret");
    await w.teach(w.alice);
    await w.warm("private");
    const refused = await w.anonymous.get("private");
    expect(refused.status).toBe(403);
    expect((await w.alice.get("private")).xCache).toBe("HIT");
    expect((await w.anonymous.get("private")).status).toBe(403);
  });

  test("are sent unsigned, and do not share with signed ones in flight", async () => {
    await using w = await World.open();
    w.s3.put(BUCKET, "k", "news", { isPublic: true });
    await w.anonymous.get("k");
    expect(w.asked("k")[0]?.field("authorization")).toBeUndefined();
  });
});

describe("what was learned", () => {
  test("survives a restart, so that the next request hits without upstream", async () => {
    await using w = await World.open();
    w.s3.put(BUCKET, "k", "hello");
    await w.teach(w.alice);
    await w.warm("k");
    await w.restart();
    const answer = await w.alice.get("k");
    expect(answer.xCache).toBe("HIT");
    expect(w.upstream.requests).toHaveLength(0);
  });

  test("is sealed on disk: no access key, no derived key in clear", async () => {
    await using w = await World.open();
    await w.teach(w.alice);
    await w.stop();
    const files = (await readdir(w.folder, { recursive: true, withFileTypes: true })).filter(
      (entry) => entry.isFile(),
    );
    expect(files.map((file) => file.name)).toContain("learned.sealed");
    for (const file of files) {
      const bytes = Buffer.from(await Bun.file(join(file.parentPath, file.name)).arrayBuffer());
      expect(bytes.includes("tid_alice")).toBe(false);
      expect(bytes.includes("alice-secret")).toBe(false);
    }
  });

  test("is of no use under another secret", async () => {
    await using w = await World.open();
    w.s3.put(BUCKET, "k", "hello");
    await w.teach(w.alice);
    await w.warm("k");
    await w.restart({ AWS_SECRET_ACCESS_KEY: "another-secret" });
    expect((await w.alice.get("k")).xCache).not.toBe("HIT");
  });
});
