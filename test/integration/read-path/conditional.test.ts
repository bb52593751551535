// Issue B, "Conditional requests": RFC 9110 §13 on hits, on revalidated entries and on misses
// alike, for GET and HEAD. One table; the last column says why.

import { describe, expect, test } from "bun:test";
import { BUCKET, IS_BINARY, targetOf, World } from "./world.ts";

const ETAG = '"v1"';
const LAST_MODIFIED = "Thu, 01 Jan 2026 08:00:00 GMT";
const EARLIER = "Thu, 01 Jan 2026 07:59:59 GMT";
const LATER = "Thu, 01 Jan 2026 08:00:01 GMT";
const TTL_MS = 60_000;

const ROWS: readonly (readonly [readonly string[], number, string])[] = [
  [["If-Match", ETAG], 200, "the tag is current"],
  [["If-Match", `"v0", ${ETAG}`], 200, "one of the list is"],
  [["If-Match", "*"], 200, "it exists"],
  [["If-Match", '"v0"'], 412, "none is"],
  [["If-Match", `W/${ETAG}`], 412, "If-Match compares strongly (§13.1.1)"],
  [["If-None-Match", ETAG], 304, "the client has it"],
  [["If-None-Match", `"v0" , ${ETAG}`], 304, "in a list"],
  [["If-None-Match", `W/${ETAG}`], 304, "If-None-Match compares weakly (§13.1.2)"],
  [["If-None-Match", "*"], 304, "it exists"],
  [["If-None-Match", '"v0"'], 200, "the client has another"],
  [["If-Modified-Since", LAST_MODIFIED], 304, "not since that very second"],
  [["If-Modified-Since", LATER], 304, "nor since a later one"],
  [["If-Modified-Since", EARLIER], 200, "modified"],
  [["If-Modified-Since", "yesterday"], 200, "no date, no condition"],
  [
    ["If-None-Match", '"v0"', "If-Modified-Since", LATER],
    200,
    "a tag makes the date void (§13.1.3)",
  ],
  [["If-None-Match", ETAG, "If-Modified-Since", EARLIER], 304, "either way"],
  [["If-Unmodified-Since", LAST_MODIFIED], 200, "not modified since"],
  [["If-Unmodified-Since", EARLIER], 412, "modified since"],
  [["If-Match", ETAG, "If-Unmodified-Since", EARLIER], 200, "a tag makes the date void (§13.1.4)"],
  [["If-Match", '"v0"', "If-None-Match", ETAG], 412, "If-Match comes first (§13.2.2)"],
  [["Range", "bytes=0-1", "If-Range", ETAG], 206, "the part belongs to what the client has"],
  [["Range", "bytes=0-1", "If-Range", '"v0"'], 200, "it does not: the whole"],
  [["Range", "bytes=0-1", "If-Range", `W/${ETAG}`], 200, "If-Range compares strongly (§13.1.5)"],
  [["Range", "bytes=0-1", "If-Range", LAST_MODIFIED], 206, "the exact date does too"],
  [["Range", "bytes=0-1", "If-Range", LATER], 200, "another date does not"],
  [["Range", "bytes=0-1", "If-None-Match", ETAG], 304, "the condition comes before the range"],
  [["Range", "bytes=99-", "If-Match", '"v0"'], 412, "even before one that cannot be served"],
];

async function warmWorld(): Promise<World> {
  const w = await World.open({ TAG_CACHE_TTL: "1m", TAG_AUTHZ_CACHE_TTL: "48h" });
  w.s3.put(BUCKET, "k", "hello", {
    etag: ETAG,
    lastModified: LAST_MODIFIED,
    headers: ["Content-Type", "text/plain", "Cache-Control", "public", "Vary", "Origin"],
  });
  await w.teach(w.alice);
  await w.warm("k");
  return w;
}

describe.each([
  ["on a hit", 0, []],
  ...(IS_BINARY ? [] : ([["on an expired entry that upstream confirms", TTL_MS + 1, []]] as const)),
  ["on an entry the client wants confirmed", 0, ["Cache-Control", "no-cache"]],
] as const)("%s", (_state, laterMs, wishes) => {
  test("every condition is judged by the table, for GET and HEAD", async () => {
    await using w = await warmWorld();
    for (const [conditions, status, why] of ROWS) {
      for (const method of ["GET", "HEAD"]) {
        if (method === "HEAD" && conditions.includes("Range")) continue;
        w.clock.shift(laterMs);
        const headers = [...conditions, ...wishes];
        const answer = await w.alice.ask({ method, target: targetOf("k"), headers });
        const row = `${method} ${conditions.join(" ")}: ${why}`;
        expect([row, answer.status]).toEqual([row, status]);
        if (status === 304) {
          expect([row, answer.body.length, answer.fields.get("etag")]).toEqual([row, 0, ETAG]);
          // RFC 9110 §15.4.5: what a 200 would have carried of these.
          expect(answer.fields.get("cache-control")).toBe("public");
          expect(answer.fields.get("vary")).toBe("Origin");
          expect(answer.fields.has("date")).toBe(true);
        }
        if (status === 412) {
          if (method === "GET")
            expect(answer.body.toString()).toContain("<Code>PreconditionFailed</Code>");
          else expect(answer.body.length).toBe(0);
        }
        if (status === 200 && method === "GET") expect(answer.body.toString()).toBe("hello");
        if (status === 206) expect(answer.body.toString()).toBe("he");
      }
    }
  }, 20_000);
});

test("on a miss upstream is asked with the client's own conditions and the answer relayed", async () => {
  await using w = await World.open();
  await w.teach(w.alice);
  w.s3.put(BUCKET, "k", "hello", { etag: ETAG, lastModified: LAST_MODIFIED });
  const notModified = await w.alice.get("k", ["If-None-Match", ETAG]);
  expect(notModified.status).toBe(304);
  expect(notModified.fields.get("etag")).toBe(ETAG);
  const failed = await w.alice.get("k", ["If-Match", '"v0"']);
  expect(failed.status).toBe(412);
  const whole = await w.alice.get("k");
  expect([whole.status, whole.body.toString()]).toEqual([200, "hello"]);
});

test("a conditional answer is never given to a reader without conditions", async () => {
  await using w = await World.open();
  await w.teach(w.alice);
  w.s3.put(BUCKET, "k", "hello", { etag: ETAG });
  const answers = await Promise.all([
    w.alice.get("k", ["If-None-Match", ETAG]),
    w.alice.get("k"),
    w.alice.get("k", ["If-None-Match", ETAG]),
    w.alice.get("k", ["If-Match", '"v0"']),
    w.alice.get("k"),
  ]);
  expect(answers.map(({ status }) => status)).toEqual([304, 200, 304, 412, 200]);
});
