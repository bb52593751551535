// Issue B, "What is never confused": versions, parts, overrides, sub-resources and keys that look
// like queries each have an answer of their own; the plain key is never filled or answered
// from them.

import { describe, expect, test } from "bun:test";
import { answer, type Script } from "../../support/scripted-upstream.ts";
import { BUCKET, targetOf, World } from "./world.ts";

/** Answers each distinct query with its own body, as an object that could be cached. */
const byQuery: Script = (call) => {
  const query = call.request.target.split("?")[1] ?? "";
  const plain = query
    .split("&")
    .filter((pair) => !pair.startsWith("X-Amz-"))
    .join("&");
  const body = plain === "" ? "the plain object" : `variant ${plain}`;
  return answer({ body, headers: ["ETag", `"tag of ${plain}"`, "Content-Type", "text/plain"] })(
    call,
  );
};

const VARIANTS: readonly (readonly [query: string, what: string])[] = [
  ["versionId=abc", "a version"],
  ["partNumber=2", "a part"],
  ["attributes", "attributes"],
  ["acl", "a sub-resource"],
  ["tagging=", "a sub-resource with an empty value"],
  ["torrent", "another"],
  ["x-unknown=1", "a parameter nobody knows"],
  ["versionId=abc&partNumber=1", "both"],
];

describe.each(VARIANTS)("?%s (%s)", (query) => {
  test("is not answered from the plain entry", async () => {
    await using w = await World.open();
    await w.teach(w.alice);
    w.upstream.on("GET", targetOf("k"), byQuery);
    await w.warm("k");
    for (const headers of [[], ["Range", "bytes=0-6"], ["If-None-Match", '"tag of "']]) {
      const variant = await w.alice.ask({ target: `${targetOf("k")}?${query}`, headers });
      expect(variant.body.toString()).not.toContain("plain");
    }
    expect((await w.alice.get("k")).body.toString()).toBe("the plain object");
  });

  test("never fills the plain entry, nor does a presigned one", async () => {
    await using w = await World.open();
    await w.teach(w.alice);
    w.upstream.on("GET", targetOf("k"), byQuery);
    for (const isPresigned of [false, true]) {
      const target = `${targetOf("k")}?${query}`;
      expect((await w.alice.ask({ target, isPresigned })).body.toString()).toBe(`variant ${query}`);
    }
    const plain = await w.alice.get("k");
    expect([plain.xCache, plain.body.toString()]).toEqual(["MISS", "the plain object"]);
  });

  test("shares no flight with the plain object", async () => {
    await using w = await World.open();
    await w.teach(w.alice);
    w.upstream.on("GET", targetOf("k"), byQuery);
    const target = `${targetOf("k")}?${query}`;
    const both = Array.from({ length: 10 }, (_, index) =>
      index % 2 === 0 ? w.alice.get("k") : w.alice.ask({ target }),
    );
    for (const [index, one] of (await Promise.all(both)).entries()) {
      expect(one.body.toString()).toBe(index % 2 === 0 ? "the plain object" : `variant ${query}`);
    }
  });
});

test("keys that look like queries are keys", async () => {
  await using w = await World.open();
  await w.teach(w.alice);
  const keys = [
    "k",
    "k?versionId=1",
    "k?",
    "k&a=b",
    "k#x",
    "k%3Fa",
    "k+a",
    "k a",
    "k/../k",
    "k//a",
    "é?ü",
  ];
  for (const key of keys) w.s3.put(BUCKET, key, `body of ${key}`);
  for (const round of ["MISS", "HIT"]) {
    for (const key of keys) {
      const got = await w.alice.get(key);
      expect([key, got.status, got.xCache, got.body.toString()]).toEqual([
        key,
        200,
        round,
        `body of ${key}`,
      ]);
    }
  }
  expect(w.upstream.requests).toHaveLength(keys.length);
  expect(w.s3.refusals).toEqual([]);
});

describe("response overrides", () => {
  const query = "response-content-type=text%2Fhtml&response-cache-control=no-transform";

  test("on a hit are applied when the request is signed, and the entry stays as it was", async () => {
    await using w = await World.open();
    w.s3.put(BUCKET, "k", "hello", {
      headers: ["Content-Type", "text/plain", "Cache-Control", "public"],
    });
    await w.teach(w.alice);
    await w.warm("k");
    for (const isPresigned of [false, true]) {
      const got = await w.alice.ask({ target: `${targetOf("k")}?${query}`, isPresigned });
      expect([got.status, got.body.toString()]).toEqual([200, "hello"]);
      expect(got.fields.all("content-type")).toEqual(["text/html"]);
      expect(got.fields.all("cache-control")).toEqual(["no-transform"]);
    }
    const plain = await w.alice.get("k");
    expect(plain.xCache).toBe("HIT");
    expect(plain.fields.get("content-type")).toBe("text/plain");
    expect(plain.fields.get("cache-control")).toBe("public");
  });

  test("on a miss do not colour what is stored", async () => {
    await using w = await World.open();
    w.s3.put(BUCKET, "k", "hello", { headers: ["Content-Type", "text/plain"] });
    await w.teach(w.alice);
    const overridden = await w.alice.ask({ target: `${targetOf("k")}?${query}` });
    expect(overridden.fields.get("content-type")).toBe("text/html");
    for (let round = 0; round < 2; round += 1) {
      const plain = await w.alice.get("k");
      expect(plain.fields.get("content-type")).toBe("text/plain");
      expect(plain.fields.has("cache-control")).toBe(false);
    }
  });

  test("of an unsigned request are upstream's to judge, even on a public entry", async () => {
    await using w = await World.open();
    w.s3.put(BUCKET, "k", "news", { isPublic: true, headers: ["Content-Type", "text/plain"] });
    await w.anonymous.get("k");
    expect((await w.anonymous.get("k")).xCache).toBe("HIT");
    const refusal = "<Error><Code>InvalidRequest</Code></Error>";
    w.upstream.on("GET", /response-content-type/, answer({ status: 400, body: refusal }));
    const judged = await w.anonymous.ask({ target: `${targetOf("k")}?${query}` });
    expect([judged.status, judged.body.toString()]).toEqual([400, refusal]);
    expect((await w.anonymous.get("k")).fields.get("content-type")).toBe("text/plain");
  });
});

test("a list of the bucket is not an object and not cached", async () => {
  await using w = await World.open();
  await w.teach(w.alice);
  for (let round = 0; round < 2; round += 1) {
    const list = await w.alice.ask({ target: `/${BUCKET}?list-type=2` });
    expect(list.body.toString()).toContain("ListBucketResult");
  }
  expect(w.upstream.requests).toHaveLength(2);
});
