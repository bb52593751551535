// The dev origin as a bad upstream: distance, bandwidth and faults, as its clients see them; and
// what survives a restart.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { CreateBucketCommand, GetObjectCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { bytesOf, patternedBytes, TAGDEV, TestOrigin } from "../support/test-origin.ts";
import { headerOf, requestText, WireClient } from "../support/wire-client.ts";

const Bucket = "bad";
const SIZE_BYTES = 2 ** 20;
let server: TestOrigin;

beforeAll(async () => {
  server = await TestOrigin.start();
  await server.raw().call({ method: "PUT", rawTarget: `/${Bucket}` });
  await server.s3().send(
    new PutObjectCommand({
      Bucket,
      Key: "open",
      Body: patternedBytes(SIZE_BYTES),
      ACL: "public-read",
    }),
  );
});

afterAll(async () => {
  expect(server.errors).toEqual([]);
  await server[Symbol.asyncDispose]();
});

async function withFault<T>(rule: string, run: () => Promise<T>): Promise<T> {
  server.origin.addFault(rule);
  try {
    return await run();
  } finally {
    server.origin.clearFaults();
  }
}

async function readOpen(client: WireClient) {
  await client.send(requestText("GET", `/${Bucket}/open`));
  return client.response();
}

describe("a fault", () => {
  test("of a status is an S3 error, as often as its count says", async () => {
    await withFault("status=503,key=op*,count=1", async () => {
      const first = await server.anonymous().get(Bucket, "open");
      expect(first.status).toBe(503);
      expect(Buffer.from(first.body).toString()).toContain("<Code>SlowDown</Code>");
      expect((await server.anonymous().get(Bucket, "open")).status).toBe(200);
    });
  });

  test.each([
    ["reset-after=100KiB", 100 * 1024],
    ["short-body", SIZE_BYTES / 2],
  ])("%s cuts the connection before the declared length", async (rule, sizeBytes) => {
    await withFault(rule, async () => {
      await using client = await WireClient.connect(server.port);
      const answer = await readOpen(client);
      expect(headerOf(answer, "content-length")).toBe(String(SIZE_BYTES));
      expect(answer.isTruncated).toBe(true);
      expect(answer.body.length).toBeLessThanOrEqual(sizeBytes);
    });
  });

  test("of a stall sends the header and some bytes, and then nothing", async () => {
    await withFault("stall-after=64KiB", async () => {
      await using client = await WireClient.connect(server.port);
      await client.send(requestText("GET", `/${Bucket}/open`));
      expect((await client.head()).status).toBe(200);
      expect(await client.skip(64 * 1024)).toBe(64 * 1024);
      const more = client.bytes(1).then(() => "more");
      const pause = systemClock.sleep(100).then(() => "nothing");
      expect(await Promise.race([more, pause])).toBe("nothing");
    });
  });

  test("of a hang answers nothing until the client leaves", async () => {
    await withFault("hang", async () => {
      await using client = await WireClient.connect(server.port);
      await client.send(requestText("GET", `/${Bucket}/open`));
      const head = client.head().then(
        () => "answer",
        () => "ended",
      );
      const pause = systemClock.sleep(100).then(() => "nothing");
      expect(await Promise.race([head, pause])).toBe("nothing");
      client.destroy();
      expect(await head).toBe("ended");
    });
    expect((await server.anonymous().get(Bucket, "open")).status).toBe(200);
  });

  test("inside a 200 fails a copy under a good status, and copies nothing", async () => {
    await withFault("error-in-200", async () => {
      const answer = await server.raw().call({
        method: "PUT",
        rawTarget: `/${Bucket}/copy`,
        headers: ["x-amz-copy-source", `/${Bucket}/open`],
      });
      expect(answer.status).toBe(200);
      expect(Buffer.from(answer.body).toString()).toContain("<Error><Code>InternalError</Code>");
    });
    expect((await server.raw().get(Bucket, "copy")).status).toBe(404);
  });

  test("that cannot be read is refused when it is added", () => {
    expect(() => server.origin.addFault("explode")).toThrow(RangeError);
  });
});

describe("distance", () => {
  test("makes every answer start later", async () => {
    await using far = await TestOrigin.start({ latencyMs: 60 });
    const startMs = systemClock.monotonicMs();
    expect((await far.raw().call({ method: "GET", rawTarget: "/" })).status).toBe(200);
    expect(systemClock.monotonicMs() - startMs).toBeGreaterThanOrEqual(59);
  });

  test("lets only so many bytes through in a second", async () => {
    await using narrow = await TestOrigin.start({ bandwidthBytesPerSecond: 1_000_000 });
    await narrow.raw().call({ method: "PUT", rawTarget: `/${Bucket}` });
    const body = patternedBytes(200_000);
    await narrow.raw().put(Bucket, "k", body);
    const startMs = systemClock.monotonicMs();
    const answer = await narrow.raw().get(Bucket, "k");
    expect(Buffer.compare(answer.body, body)).toBe(0);
    expect(systemClock.monotonicMs() - startMs).toBeGreaterThanOrEqual(195);
  });
});

describe("the request log", () => {
  test("counts by operation and adds up the bytes sent", async () => {
    await using own = await TestOrigin.start();
    const { requests } = own.origin;
    await own.raw().call({ method: "PUT", rawTarget: `/${Bucket}` });
    await own.raw().put(Bucket, "k", bytesOf("12345"));
    await own.raw().get(Bucket, "k");
    await own.raw().get(Bucket, "k", ["Range", "bytes=1-2"]);
    expect(requests.count("GetObject")).toBe(2);
    expect(requests.count()).toBe(4);
    expect(requests.bytesSent).toBe(7);
    expect(requests.records.at(-1)).toMatchObject({
      status: 206,
      range: "bytes=1-2",
      bytesSent: 2,
    });
    requests.clear();
    expect([requests.count(), requests.records.length]).toEqual([0, 0]);
  });
});

test("what was acknowledged is there after a restart", async () => {
  const root = mkdtempSync(join(tmpdir(), "tag-origin-restart-"));
  try {
    {
      await using first = await TestOrigin.start({ root });
      const s3 = first.s3();
      await s3.send(new CreateBucketCommand({ Bucket }));
      await s3.send(new PutObjectCommand({ Bucket, Key: "k", Body: "kept", Metadata: { m: "1" } }));
    }
    await using second = await TestOrigin.start({ root });
    const read = await second.s3(TAGDEV).send(new GetObjectCommand({ Bucket, Key: "k" }));
    expect(await read.Body?.transformToString()).toBe("kept");
    expect(read.Metadata).toEqual({ m: "1" });
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
});
