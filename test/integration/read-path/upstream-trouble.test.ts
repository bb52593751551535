// Issue B, "Upstream trouble": whatever upstream does, the client gets an S3 error before headers or
// a cut connection after them, nothing is cached, no request hangs, no place leaks, and hits go
// on being served meanwhile.

import { describe, expect, test } from "bun:test";
import { systemClock } from "../../../src/base/clock.ts";
import {
  answer,
  brokenBody,
  endBeforeHeaders,
  hangBeforeHeaders,
  interim,
  Pattern,
  raw,
  resetBeforeHeaders,
  trickle,
  type Script,
} from "../../support/scripted-upstream.ts";
import { eventually } from "../../support/eventually.ts";
import { BUCKET, MIB, targetOf, World } from "./world.ts";

const ENV = {
  TAG_UPSTREAM_CONNECT_TIMEOUT: "300ms",
  TAG_UPSTREAM_HEADER_TIMEOUT: "300ms",
  TAG_UPSTREAM_STALL_TIMEOUT: "300ms",
};
/** Every phase that can run out one after the other, retries and a slow machine included. */
const LIMIT_MS = 4_000;

const ETAG = ["ETag", '"broken"'];
const OK = "HTTP/1.1 200 OK\r\n";

/** What the client sees: a status with an S3 code, or a body that is cut. */
type Seen = readonly [status: number, code: string] | "cut";

const TROUBLES: readonly (readonly [string, Script, Seen])[] = [
  ["resets before headers", resetBeforeHeaders, [502, "BadGateway"]],
  ["closes before headers", endBeforeHeaders, [502, "BadGateway"]],
  ["hangs before headers", hangBeforeHeaders, [504, "GatewayTimeout"]],
  ["hangs inside the headers", raw(`${OK}ETag: "x"\r\nContent-`), [504, "GatewayTimeout"]],
  ["speaks no HTTP", raw("220 mail.example ESMTP\r\n\r\n"), [502, "BadGateway"]],
  [
    "declares two lengths",
    raw(`${OK}Content-Length: 3\r\nContent-Length: 5\r\n\r\nabcde`),
    [502, "BadGateway"],
  ],
  [
    "declares a length and a coding",
    raw(`${OK}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`),
    [502, "BadGateway"],
  ],
  [
    "sends a short body",
    brokenBody({ sizeBytes: 100_000, sentBytes: 70_000, ending: "close", headers: ETAG }),
    "cut",
  ],
  [
    "sends no body",
    brokenBody({ sizeBytes: 100_000, sentBytes: 0, ending: "close", headers: ETAG }),
    "cut",
  ],
  [
    "resets in the body",
    brokenBody({ sizeBytes: 100_000, sentBytes: 70_000, ending: "reset", headers: ETAG }),
    "cut",
  ],
  [
    "stalls in the body",
    brokenBody({ sizeBytes: 100_000, sentBytes: 70_000, ending: "stall", headers: ETAG }),
    "cut",
  ],
  ["sends a long body", raw(`${OK}ETag: "x"\r\nContent-Length: 3\r\n\r\nabcdef`), "cut"],
  [
    "breaks its chunks",
    raw(`${OK}ETag: "x"\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nnonsense\r\n`),
    "cut",
  ],
];

describe.each(TROUBLES)("an upstream that %s", (_what, script, seen) => {
  test("gives the client an error or a cut, caches nothing, hangs nobody, and hits go on", async () => {
    await using w = await World.open(ENV);
    w.s3.put(BUCKET, "cached", "hello");
    w.s3.put(BUCKET, "k", "the real one");
    await w.teach(w.alice);
    await w.warm("cached");
    const openBefore = await w.metric("tag_inflight_requests");
    w.upstream.on("*", targetOf("k"), script);

    const startMs = systemClock.monotonicMs();
    const troubled = w.alice.get("k").then(
      (got) => got,
      () => "closed without an answer" as const,
    );
    const meanwhile = await w.alice.get("cached");
    expect([meanwhile.xCache, meanwhile.body.toString()]).toEqual(["HIT", "hello"]);
    const got = await troubled;
    expect(systemClock.monotonicMs() - startMs).toBeLessThan(LIMIT_MS);

    if (seen === "cut") {
      // Cut inside the body, before a byte of the reply, or told in time: never a whole body.
      if (typeof got !== "string" && got.status === 200) expect(got.isTruncated).toBe(true);
    } else {
      if (typeof got === "string") throw new Error(got);
      expect(got.status).toBe(seen[0]);
      expect(got.body.toString()).toContain(`<Code>${seen[1]}</Code>`);
      expect(got.fields.get("content-type")).toBe("application/xml");
      expect(got.isTruncated).toBe(false);
    }
    w.upstream.on("*", targetOf("k"), w.s3.script);
    const after = await w.alice.get("k");
    expect([after.status, after.xCache, after.body.toString()]).toEqual([
      200,
      "MISS",
      "the real one",
    ]);
    await eventually(async () => (await w.metric("tag_inflight_requests")) === openBefore);
  });
});

test("a refused connection is a 502, and service resumes with upstream", async () => {
  await using w = await World.open(ENV);
  w.s3.put(BUCKET, "cached", "hello");
  w.s3.put(BUCKET, "k", "cold");
  await w.teach(w.alice);
  await w.warm("cached");
  await w.upstream.refuse();
  const refused = await w.alice.get("k");
  expect([refused.status, refused.body.toString().includes("<Code>BadGateway</Code>")]).toEqual([
    502,
    true,
  ]);
  expect((await w.alice.head("k")).status).toBe(502);
  expect((await w.alice.get("k", ["Range", "bytes=0-1"])).status).toBe(502);
  expect((await w.alice.get("cached")).xCache).toBe("HIT");
  await w.upstream.listen();
  expect((await w.alice.get("k")).body.toString()).toBe("cold");
});

test("an error body under a 200 is relayed and not cached", async () => {
  await using w = await World.open(ENV);
  w.s3.put(BUCKET, "k", "the real one");
  await w.teach(w.alice);
  const body = '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>InternalError</Code></Error>';
  const headers = ["Content-Type", "application/xml"];
  w.upstream.once("GET", targetOf("k"), answer({ body, headers }));
  const odd = await w.alice.get("k");
  expect([odd.status, odd.body.toString()]).toEqual([200, body]);
  expect((await w.alice.get("k")).body.toString()).toBe("the real one");
});

test("a redirect is relayed, not followed and not cached", async () => {
  await using w = await World.open(ENV);
  w.s3.put(BUCKET, "k", "the real one");
  await w.teach(w.alice);
  const headers = ["Location", `http://127.0.0.1:${w.upstream.port}/elsewhere`];
  w.upstream.once("GET", targetOf("k"), answer({ status: 307, headers }));
  const moved = await w.alice.get("k");
  expect([moved.status, moved.fields.get("location")]).toEqual([307, headers[1]]);
  expect(w.upstream.requestsFor("*", "/elsewhere")).toHaveLength(0);
  expect((await w.alice.get("k")).body.toString()).toBe("the real one");
});

test("interim responses are consumed", async () => {
  await using w = await World.open(ENV);
  w.s3.put(BUCKET, "k", "hello");
  await w.teach(w.alice);
  w.upstream.once("GET", targetOf("k"), interim("HTTP/1.1 100 Continue\r\n\r\n", w.s3.script));
  const got = await w.alice.get("k");
  expect([got.status, got.body.toString()]).toEqual([200, "hello"]);
});

test("a slow trickle is served whole, far beyond every timeout together", async () => {
  await using w = await World.open(ENV);
  await w.teach(w.alice);
  const body = "x".repeat(20);
  w.upstream.once(
    "GET",
    targetOf("k"),
    trickle({ body, pieceBytes: 1, everyMs: 60, headers: ETAG }),
  );
  const got = await w.alice.get("k");
  expect([got.body.toString(), got.isTruncated]).toEqual([body, false]);
});

test("a read lost twice is repeated, and the client notices nothing", async () => {
  await using w = await World.open(ENV);
  w.s3.put(BUCKET, "k", "hello");
  await w.teach(w.alice);
  // On a kept connection, which its server may have closed, and on a fresh one.
  w.upstream.once("GET", targetOf("k"), resetBeforeHeaders);
  w.upstream.once("GET", targetOf("k"), resetBeforeHeaders);
  expect((await w.alice.get("k")).body.toString()).toBe("hello");
  expect(w.asked("k")).toHaveLength(3);
  expect(await w.metric("tag_upstream_retries_total")).toBe(1);
});

test("joiners of a flight that fails before headers all get the error at once", async () => {
  await using w = await World.open(ENV);
  await w.teach(w.alice);
  w.upstream.on("GET", targetOf("k"), hangBeforeHeaders);
  const startMs = systemClock.monotonicMs();
  const all = await Promise.all(Array.from({ length: 30 }, () => w.alice.get("k")));
  expect(systemClock.monotonicMs() - startMs).toBeLessThan(LIMIT_MS);
  expect(new Set(all.map(({ status }) => status))).toEqual(new Set([504]));
  await eventually(async () => (await w.metric("tag_inflight_requests")) === 0);
});

test("upstream dies during 100 mixed reads: each ends in time with the right outcome", async () => {
  await using w = await World.open(ENV);
  const pattern = new Pattern(9);
  const sizeBytes = 8 * MIB;
  for (let index = 0; index < 10; index += 1)
    w.s3.putPattern(BUCKET, `big${index}`, pattern, sizeBytes);
  for (let index = 0; index < 10; index += 1) w.s3.put(BUCKET, `hot${index}`, `hot ${index}`);
  await w.teach(w.alice);
  for (let index = 0; index < 10; index += 1) await w.warm(`hot${index}`);
  w.s3.beforePiece = (index) => systemClock.sleep(index % 4);

  const startMs = systemClock.monotonicMs();
  const reads = Array.from({ length: 100 }, async (_, index) => {
    const number = index % 10;
    await systemClock.sleep(index * 2);
    switch (Math.floor(index / 10) % 4) {
      case 0: {
        const hot = await w.alice.get(`hot${number}`);
        return hot.status === 200 && hot.body.toString() === `hot ${number}`;
      }
      case 1: {
        const start = number * 700_000;
        const range = ["Range", `bytes=${start}-${start + 99_999}`];
        return isRightOrRefused(await settle(w.alice.get(`big${number}`, range)), start, 100_000);
      }
      case 2: {
        const head = await w.alice.head(`big${number}`);
        return [200, 502, 504].includes(head.status);
      }
      default:
        return isRightOrRefused(await settle(w.alice.get(`big${number}`)), 0, sizeBytes);
    }
  });
  await systemClock.sleep(120);
  await w.upstream.refuse();
  const outcomes = await Promise.all(reads);
  expect(systemClock.monotonicMs() - startMs).toBeLessThan(LIMIT_MS + 2_000);
  expect(outcomes.filter((isRight) => !isRight)).toHaveLength(0);
  await eventually(async () => (await w.metric("tag_inflight_requests")) === 0);
  await w.upstream.listen();
  w.s3.beforePiece = undefined;
  const after = await w.alice.get("big0");
  expect([after.status, after.body.length, pattern.matches(0, after.body)]).toEqual([
    200,
    sizeBytes,
    true,
  ]);

  function isRightOrRefused(
    got: Awaited<ReturnType<typeof w.alice.get>> | undefined,
    start: number,
    lengthBytes: number,
  ): boolean {
    if (got === undefined) return true; // closed before its head was sent
    if (got.status >= 500) return got.status === 502 || got.status === 504;
    const isPrefix = pattern.matches(start, got.body);
    return isPrefix && (got.isTruncated || got.body.length === lengthBytes);
  }
}, 20_000);

/** The answer, or undefined when the connection was closed before one. */
async function settle<T>(promise: Promise<T>): Promise<T | undefined> {
  return promise.catch(() => undefined);
}
