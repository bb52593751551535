// Issue B, "Ranges": every form of a single range, on a hit and on a miss; what a range miss
// fetches besides; how ranges share a fetch that is running.

import { describe, expect, test } from "bun:test";
import { Gate, Pattern } from "../../support/scripted-upstream.ts";
import { eventually } from "../../support/eventually.ts";
import { BUCKET, MIB, targetOf, World } from "./world.ts";

const BODY = "0123456789";

/** Range, status, body (416: undefined), Content-Range. */
const ROWS: readonly (readonly [string, number, string | undefined, string | undefined])[] = [
  ["bytes=0-0", 206, "0", "bytes 0-0/10"],
  ["bytes=2-5", 206, "2345", "bytes 2-5/10"],
  ["bytes=7-", 206, "789", "bytes 7-9/10"],
  ["bytes=-3", 206, "789", "bytes 7-9/10"],
  ["bytes=-99", 206, BODY, "bytes 0-9/10"],
  ["bytes=5-99", 206, "56789", "bytes 5-9/10"],
  ["bytes=9-9", 206, "9", "bytes 9-9/10"],
  ["bytes=0-", 206, BODY, "bytes 0-9/10"],
  ["bytes=10-", 416, undefined, "bytes */10"],
  ["bytes=10-20", 416, undefined, "bytes */10"],
  ["bytes=-0", 416, undefined, "bytes */10"],
  ["bytes=5-2", 200, BODY, undefined],
  ["bytes=x-y", 200, BODY, undefined],
  ["bytes=-", 200, BODY, undefined],
  ["lines=0-1", 200, BODY, undefined],
  ["bytes=0-1,4-5", 200, BODY, undefined],
];

describe("every form of a range", () => {
  test("on a hit", async () => {
    await using w = await World.open();
    w.s3.put(BUCKET, "k", BODY);
    await w.teach(w.alice);
    await w.warm("k");
    for (const row of ROWS) await expectRow(w, "k", row, "HIT");
    expect(w.upstream.requests).toHaveLength(0);
  });

  test("on a miss: the same answers", async () => {
    await using w = await World.open();
    await w.teach(w.alice);
    for (const [index, row] of ROWS.entries()) {
      w.s3.put(BUCKET, `k${index}`, BODY);
      await expectRow(w, `k${index}`, row, "MISS");
    }
  });

  test("on an empty object no range can be satisfied", async () => {
    await using w = await World.open();
    w.s3.put(BUCKET, "k", "");
    await w.teach(w.alice);
    await w.warm("k");
    for (const range of ["bytes=0-0", "bytes=0-", "bytes=-1"]) {
      const answer = await w.alice.get("k", ["Range", range]);
      expect([range, answer.status, answer.fields.get("content-range")]).toEqual([
        range,
        416,
        "bytes */0",
      ]);
    }
    expect((await w.alice.get("k")).fields.get("content-length")).toBe("0");
  });

  test("a HEAD with a range on a hit promises the whole or the part, and brings no body", async () => {
    await using w = await World.open();
    w.s3.put(BUCKET, "k", BODY);
    await w.teach(w.alice);
    await w.warm("k");
    const answer = await w.alice.head("k", ["Range", "bytes=0-1"]);
    expect([200, 206]).toContain(answer.status);
    expect(answer.fields.get("content-length")).toBe(answer.status === 206 ? "2" : "10");
  });
});

async function expectRow(
  w: World,
  key: string,
  [range, status, body, contentRange]: (typeof ROWS)[number],
  xCache: string,
): Promise<void> {
  const answer = await w.alice.get(key, ["Range", range]);
  expect([range, answer.status, answer.xCache]).toEqual([range, status, xCache]);
  expect([range, answer.fields.get("content-range")]).toEqual([range, contentRange]);
  if (body === undefined) expect(answer.body.toString()).toContain("<Code>InvalidRange</Code>");
  else {
    expect(answer.body.toString()).toBe(body);
    expect(answer.fields.get("content-length")).toBe(String(body.length));
  }
}

describe("a range miss", () => {
  test("is served at once and warms the whole object once", async () => {
    await using w = await World.open();
    const pattern = new Pattern(2);
    const sizeBytes = 24 * MIB;
    w.s3.putPattern(BUCKET, "k", pattern, sizeBytes);
    await w.teach(w.alice);
    const part = await w.alice.get("k", ["Range", `bytes=${10 * MIB}-${10 * MIB + 99}`]);
    expect([part.status, part.xCache]).toEqual([206, "MISS"]);
    expect(pattern.matches(10 * MIB, part.body)).toBe(true);
    await eventually(async () => (await w.alice.head("k")).xCache === "HIT");
    const whole = await w.alice.get("k");
    expect(whole.xCache).toBe("HIT");
    expect(pattern.matches(0, whole.body) && whole.body.length === sizeBytes).toBe(true);
    expect(w.upstream.bodyBytesSent).toBeLessThanOrEqual(sizeBytes * 1.02);
  });

  test("does not wait for the rest of the object", async () => {
    await using w = await World.open();
    const pattern = new Pattern(3);
    w.s3.putPattern(BUCKET, "k", pattern, 24 * MIB);
    await w.teach(w.alice);
    const gate = new Gate();
    let isFirst = true;
    w.s3.beforeHead = () => {
      const wait = isFirst ? undefined : gate.opened;
      isFirst = false;
      return wait;
    };
    const part = await w.alice.get("k", ["Range", "bytes=100-199"]);
    expect(part.body.equals(pattern.bytes(100, 200))).toBe(true);
    gate.open();
  });

  test("beyond the threshold is served and warms nothing", async () => {
    await using w = await World.open({ TAG_CACHE_SIZE_THRESHOLD: String(MIB) });
    w.s3.putPattern(BUCKET, "k", new Pattern(4), 8 * MIB);
    await w.teach(w.alice);
    for (let round = 1; round <= 3; round += 1) {
      const part = await w.alice.get("k", ["Range", "bytes=0-99"]);
      expect([part.status, part.xCache, part.body.length]).toEqual([206, "MISS", 100]);
    }
    // Whole blocks around the ranges at most, never the object.
    expect(w.upstream.bodyBytesSent).toBeLessThan(MIB);
  });

  test("of many at once warms once", async () => {
    await using w = await World.open();
    const pattern = new Pattern(5);
    const sizeBytes = 16 * MIB;
    w.s3.putPattern(BUCKET, "k", pattern, sizeBytes);
    await w.teach(w.alice);
    const parts = await Promise.all(
      Array.from({ length: 40 }, async (_, index) => {
        const start = (index * 397_000) % (sizeBytes - 1_000);
        const part = await w.alice.get("k", ["Range", `bytes=${start}-${start + 999}`]);
        return (
          part.status === 206 && part.body.length === 1_000 && pattern.matches(start, part.body)
        );
      }),
    );
    expect(parts).not.toContain(false);
    await eventually(async () => (await w.alice.head("k")).xCache === "HIT");
    expect(w.upstream.bodyBytesSent).toBeLessThanOrEqual(sizeBytes * 1.02);
  });
});

describe("a range while the whole is being fetched", () => {
  test("is cut from what came already, without another request", async () => {
    await using w = await World.open();
    const pattern = new Pattern(6);
    const gate = new Gate();
    w.s3.putPattern(BUCKET, "k", pattern, 4 * MIB);
    await w.teach(w.alice);
    w.s3.beforePiece = (_index, offset) => (offset >= 2 * MIB ? gate.opened : undefined);
    const whole = w.alice.get("k");
    await eventually(() => w.upstream.bodyBytesSent >= 2 * MIB);
    const part = await w.alice.get("k", ["Range", `bytes=${MIB}-${MIB + 9}`]);
    expect(part.status).toBe(206);
    expect(part.body.equals(pattern.bytes(MIB, MIB + 10))).toBe(true);
    expect(w.asked("k")).toHaveLength(1);
    gate.open();
    expect(pattern.matches(0, (await whole).body)).toBe(true);
  });

  test("waits for bytes that are about to come rather than going upstream again", async () => {
    await using w = await World.open();
    const pattern = new Pattern(7);
    const gate = new Gate();
    w.s3.putPattern(BUCKET, "k", pattern, 4 * MIB);
    await w.teach(w.alice);
    w.s3.beforePiece = (_index, offset) => (offset >= 2 * MIB ? gate.opened : undefined);
    const whole = w.alice.get("k");
    await eventually(() => w.upstream.bodyBytesSent >= 2 * MIB);
    const part = w.alice.get("k", ["Range", `bytes=${3 * MIB}-${3 * MIB + 9}`]);
    await eventually(async () => (await w.metric("tag_inflight_requests")) === 2);
    gate.open();
    expect((await part).body.equals(pattern.bytes(3 * MIB, 3 * MIB + 10))).toBe(true);
    expect(pattern.matches(0, (await whole).body)).toBe(true);
    expect(w.asked("k")).toHaveLength(1);
  });
});

test("a presigned range hits too", async () => {
  await using w = await World.open();
  w.s3.put(BUCKET, "k", BODY);
  await w.teach(w.alice);
  await w.warm("k");
  const headers = ["Range", "bytes=1-2"];
  const answer = await w.alice.ask({ target: targetOf("k"), headers, isPresigned: true });
  expect([answer.status, answer.xCache, answer.body.toString()]).toEqual([206, "HIT", "12"]);
});
