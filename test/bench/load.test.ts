// Goal: the load generator counts, times and checks what it should, so that its figures can be believed.
// Method: its parts against known bytes and numbers, then the real process against a small server.

import { describe, expect, test } from "bun:test";
import { join } from "node:path";

import { AnswerReader } from "../../scripts/bench/load/answer.ts";
import { prepareHeads } from "../../scripts/bench/load/heads.ts";
import { LatencyHistogram } from "../../scripts/bench/load/histogram.ts";
import type { LoadPlan, LoadResult, PlannedRequest } from "../../scripts/bench/load/plan.ts";
import { seededRandom } from "../../src/base/random.ts";
import { Fields } from "../../src/http/fields.ts";
import { parseRawTarget } from "../../src/http/raw-target.ts";
import {
  deriveSigningKey,
  parseAuthorization,
  SigningKey,
  verifySignature,
} from "../../src/s3/sigv4.ts";

const NAMES = ["/a", "/b", "/c", "/d", "/e", "/f", "/g", "/h"];
const CREDENTIALS = { accessKeyId: "key", secretAccessKey: "secret", region: "auto" };

describe("the histogram", () => {
  test("tells quantiles to within one percent of the sorted list", () => {
    const random = seededRandom(1);
    const histogram = new LatencyHistogram();
    const values: number[] = [];
    for (let count = 0; count < 20_000; count += 1) {
      const ns = Math.floor(10 ** (2 + 6 * random.float()));
      values.push(ns);
      histogram.record(ns);
    }
    values.sort((left, right) => left - right);
    for (const q of [0.01, 0.5, 0.9, 0.99, 0.999]) {
      const exact = values[Math.ceil(q * values.length) - 1] ?? 0;
      expect(Math.abs(histogram.quantileNs(q) - exact) / exact).toBeLessThan(0.01);
    }
    expect(histogram.summary().maxUs).toBe((values.at(-1) ?? 0) / 1000);
  });

  test("is exact below 128 ns, takes the longest times, and starts again when reset", () => {
    const histogram = new LatencyHistogram();
    histogram.record(100);
    expect(histogram.quantileNs(1)).toBe(100);
    histogram.record(1e15);
    expect(histogram.summary().maxUs).toBe(1e12);
    histogram.reset();
    expect(histogram.summary()).toMatchObject({ count: 0, meanUs: 0, maxUs: 0 });
  });
});

describe("the reader of answers", () => {
  const whole = "HTTP/1.1 200 OK\r\nX-Cache: HIT\r\nContent-Length: 5\r\n\r\nhello";
  const chunked =
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\nA\r\n0123456789\r\n0\r\n\r\n";

  function readInPieces(text: string, pieceBytes: number, isHead = false): AnswerReader {
    const reader = new AnswerReader();
    reader.begin();
    const bytes = Buffer.from(text);
    for (let at = 0; at < bytes.length; at += pieceBytes) {
      const isLast = at + pieceBytes >= bytes.length;
      expect(reader.push(bytes.subarray(at, at + pieceBytes), isHead)).toBe(isLast);
    }
    return reader;
  }

  test.each([1, 2, 7, 30, 1000])("finds the same end in pieces of %d bytes", (pieceBytes) => {
    expect(readInPieces(whole, pieceBytes)).toMatchObject({
      status: 200,
      isHit: true,
      bodyBytes: 5,
    });
    expect(readInPieces(chunked, pieceBytes)).toMatchObject({ isHit: false, bodyBytes: 15 });
  });

  test("expects no body behind a HEAD", () => {
    const head = whole.slice(0, -"hello".length);
    expect(readInPieces(head, 1000, true)).toMatchObject({ status: 200, bodyBytes: 0 });
  });

  test("refuses more bytes than were announced", () => {
    const reader = new AnswerReader();
    reader.begin();
    expect(() => reader.push(Buffer.from(`${whole}!`), false)).toThrow("more bytes");
  });

  test("sees at a glance a whole answer of the right status and size, and nothing else", () => {
    const glance = (text: string, status: number, sizeBytes: number) => {
      const reader = new AnswerReader();
      reader.begin();
      return reader.isWholeAnswer(Buffer.from(text), status, sizeBytes);
    };
    expect(glance(whole, 200, 5)).toBe(true);
    expect(glance(whole, 206, 5)).toBe(false);
    expect(glance(whole, 200, 4)).toBe(false);
    expect(glance(whole, 200, 6)).toBe(false);
    expect(glance(whole.slice(0, -1), 200, 5)).toBe(false);
    expect(glance("hello", 200, 5)).toBe(false);
  });
});

describe("prepared headers", () => {
  const requests: PlannedRequest[] = [
    { method: "GET", rawTarget: "/bench/a%20b", sizeBytes: 1, group: "all" },
    { method: "GET", rawTarget: "/bench/c", range: "bytes=0-9", sizeBytes: 10, group: "all" },
    { method: "HEAD", rawTarget: "/bench/d", sizeBytes: 1, group: "all" },
  ];

  function headOf(prepared: ReturnType<typeof prepareHeads>, index: number) {
    const text = prepared.bytes.toString(
      "latin1",
      prepared.offsets[index],
      prepared.offsets[index + 1],
    );
    expect(text.endsWith("\r\n\r\n")).toBe(true);
    const [first = "", ...lines] = text.trimEnd().split("\r\n");
    const [method = "", rawTarget = ""] = first.split(" ");
    const raw = lines.flatMap((line) => {
      const colon = line.indexOf(": ");
      return [line.slice(0, colon), line.slice(colon + 2)];
    });
    return { method, rawTarget, fields: new Fields(raw) };
  }

  test("carry a valid signature each", () => {
    const prepared = prepareHeads(
      { requests, hostField: "127.0.0.1:8080", credentials: CREDENTIALS },
      Date.UTC(2026, 0, 2),
    );
    const key = new SigningKey(deriveSigningKey("secret", "20260102", "auto"));
    for (const [index, request] of requests.entries()) {
      const { method, rawTarget, fields } = headOf(prepared, index);
      expect({ method, rawTarget }).toEqual({
        method: request.method,
        rawTarget: request.rawTarget,
      });
      expect(fields.get("range")).toBe(request.range);
      const target = parseRawTarget(rawTarget);
      if (target === undefined) throw new Error("no target");
      const authorization = parseAuthorization(fields, target);
      if (authorization.kind !== "signed") throw new Error(authorization.kind);
      expect(verifySignature(authorization.claim, { method, target, fields }, key)).toBe(true);
    }
  });

  test("carry none for those who would not check it", () => {
    const prepared = prepareHeads({ requests, hostField: "h", credentials: undefined }, 0);
    expect(headOf(prepared, 0).fields.has("authorization")).toBe(false);
  });
});

describe("the process", () => {
  const WORKER = join(import.meta.dir, "../../scripts/bench/load/worker.ts");

  async function runPlan(changes: Partial<LoadPlan> & Pick<LoadPlan, "port" | "requests">) {
    const plan: LoadPlan = {
      host: "127.0.0.1",
      hostField: "127.0.0.1",
      credentials: undefined,
      connections: 3,
      batch: 1,
      pace: { kind: "closed" },
      end: { kind: "list" },
      readEvery: 1,
      watchedPids: [process.pid],
      ...changes,
    };
    const child = Bun.spawn([process.execPath, WORKER], {
      stdin: new Blob([JSON.stringify(plan)]),
      stdout: "pipe",
      stderr: "pipe",
    });
    const text = await child.stdout.text();
    if ((await child.exited) !== 0) throw new Error(await child.stderr.text());
    return JSON.parse(text) as LoadResult;
  }

  function startServer() {
    const seen: string[] = [];
    const server = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      fetch(request) {
        const { pathname } = new URL(request.url);
        seen.push(pathname);
        if (pathname === "/wrong") return new Response("gone", { status: 404 });
        const headers = { "X-Cache": pathname === "/miss" ? "MISS" : "HIT" };
        return new Response("x".repeat(1000), { headers });
      },
    });
    return { seen, port: server.port ?? 0, [Symbol.asyncDispose]: () => server.stop(true) };
  }

  const request = (rawTarget: string, group = "all"): PlannedRequest => ({
    method: "GET",
    rawTarget,
    sizeBytes: 1000,
    group,
  });

  test("asks for a list once, in batches, and counts hits and bytes", async () => {
    await using server = startServer();
    const requests = NAMES.map((name) => request(name));
    const { port, seen } = server;
    const result = await runPlan({ port, batch: 3, requests: [...requests, request("/miss")] });
    expect(seen.toSorted()).toEqual([...NAMES, "/miss"]);
    expect(result).toMatchObject({ requests: 9, bodyBytes: 9000, errors: 0, hitShare: 8 / 9 });
  });

  test("repeats a list until the time is over, and keeps groups apart", async () => {
    await using server = startServer();
    const result = await runPlan({
      port: server.port,
      requests: [request("/a", "small"), request("/b", "large")],
      end: { kind: "time", warmupMs: 20, durationMs: 100 },
    });
    expect(result.seconds).toBeGreaterThan(0.05);
    const { small, large } = result.groups;
    expect((small?.requests ?? 0) + (large?.requests ?? 0)).toBe(result.requests);
    expect(small?.latency.p50Us).toBeGreaterThan(0);
  });

  test("keeps an open pace", async () => {
    await using server = startServer();
    const result = await runPlan({
      port: server.port,
      requests: [request("/a")],
      pace: { kind: "open", perSecond: 200 },
      end: { kind: "time", warmupMs: 0, durationMs: 300 },
    });
    expect(result.requests).toBeLessThanOrEqual(62);
    expect(result.errors).toBe(0);
  });

  test("reports answers that are not what was planned", async () => {
    await using server = startServer();
    const result = await runPlan({ port: server.port, requests: [request("/wrong")] });
    expect(result).toMatchObject({ errors: 1, errorSamples: ["/wrong: 404 with 4 bytes"] });
  });
});
