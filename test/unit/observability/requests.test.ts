// A finished request, told to the log and counted: one record, and every number in step with it.

import { describe, expect, test } from "bun:test";
import {
  createAccessLog,
  maskAccessKey,
  type RequestRecord,
} from "../../../src/observability/access-log.ts";
import { createLog } from "../../../src/observability/log.ts";
import { createMetrics } from "../../../src/observability/metrics.ts";
import { createRequestMeter } from "../../../src/observability/request-meter.ts";
import { SimClock } from "../../support/sim-clock.ts";

const HIT: RequestRecord = {
  id: "REQ1",
  remoteAddress: "10.0.0.1",
  method: "GET",
  operation: "GetObject",
  bucket: "bkt",
  key: 'a "b"\n',
  accessKeyId: "tid_client_key_1234",
  status: 200,
  errorCode: undefined,
  xCache: "HIT",
  source: "cache",
  reason: undefined,
  bytesIn: 0,
  bytesOut: 1024,
  isComplete: true,
  ttfbMs: 0.12345,
  durationMs: 0.56789,
  upstreamRequestId: undefined,
};

function accessLines(level: string, ...records: readonly RequestRecord[]) {
  const lines: string[] = [];
  const write = (line: string) => void lines.push(line);
  const access = createAccessLog(
    createLog({ level, format: "json", clock: new SimClock(), write }),
  );
  for (const record of records) access(record);
  return lines.map((line) => JSON.parse(line));
}

describe("the access line", () => {
  test("says who wanted what and how it was answered", () => {
    const [line] = accessLines("info", HIT);
    delete line.time;
    expect(line).toEqual({
      level: "info",
      message: "request",
      module: "http",
      id: "REQ1",
      remote: "10.0.0.1",
      method: "GET",
      operation: "GetObject",
      bucket: "bkt",
      key: 'a "b"\n',
      access_key: "…1234",
      status: 200,
      x_cache: "HIT",
      source: "cache",
      bytes: 1024,
      ttfb_ms: 0.123,
      ms: 0.568,
    });
  });

  test("adds what is out of the ordinary", () => {
    const [line] = accessLines("info", {
      ...HIT,
      status: 503,
      errorCode: "SlowDown",
      reason: "shed",
      source: "gateway",
      isComplete: false,
      bytesIn: 7,
      ttfbMs: undefined,
      upstreamRequestId: "UP1",
    });
    expect(line).toMatchObject({
      s3_code: "SlowDown",
      reason: "shed",
      complete: false,
      bytes_in: 7,
      upstream_id: "UP1",
    });
    expect(line).not.toHaveProperty("ttfb_ms");
  });

  test("is off below level info, and for the module http alone when so wished", () => {
    expect(accessLines("warn", HIT)).toEqual([]);
    expect(accessLines("info,http=warn", HIT)).toEqual([]);
    expect(accessLines("warn,http=info", HIT)).toHaveLength(1);
  });

  test("never shows an access key in full", () => {
    expect(maskAccessKey("tid_client_key_1234")).toBe("…1234");
    expect(maskAccessKey("short")).toBe("…");
    expect(maskAccessKey(undefined)).toBeUndefined();
  });
});

describe("the request meter", () => {
  async function textAfter(...records: readonly Partial<RequestRecord>[]): Promise<string> {
    const metrics = createMetrics();
    const meter = createRequestMeter(metrics);
    for (const record of records) meter({ ...HIT, ...record });
    return metrics.text();
  }

  test("counts every answer once by operation and status", async () => {
    const text = await textAfter(
      {},
      {},
      { status: 404, xCache: "MISS" },
      { operation: "Unknown", status: 400 },
    );
    expect(text).toContain('tag_http_requests_total{operation="GetObject",code="200"} 2\n');
    expect(text).toContain('tag_http_requests_total{operation="GetObject",code="404"} 1\n');
    expect(text).toContain('tag_http_requests_total{operation="Unknown",code="400"} 1\n');
  });

  test("does not count twice when the text is made twice", async () => {
    const metrics = createMetrics();
    createRequestMeter(metrics)(HIT);
    await metrics.text();
    const text = await metrics.text();
    expect(text).toContain('tag_http_requests_total{operation="GetObject",code="200"} 1\n');
    expect(text).toContain('tag_bytes_transferred_total{direction="out"} 1024\n');
  });

  test("times by X-Cache in lower case, or none", async () => {
    const text = await textAfter({}, { xCache: undefined, operation: "PutObject" });
    expect(text).toContain('tag_http_ttfb_seconds_count{operation="GetObject",cache="hit"} 1\n');
    expect(text).toContain(
      'tag_http_request_duration_seconds_count{operation="PutObject",cache="none"} 1\n',
    );
  });

  test("counts bytes both ways, and sizes of complete answers only", async () => {
    const text = await textAfter({ bytesIn: 10 }, { isComplete: false, bytesOut: 5 });
    expect(text).toContain('tag_bytes_transferred_total{direction="in"} 10\n');
    expect(text).toContain('tag_bytes_transferred_total{direction="out"} 1029\n');
    expect(text).toContain('tag_http_response_size_bytes_count{operation="GetObject"} 1\n');
    expect(text).toContain("tag_client_aborts_total 1\n");
  });

  test.each([
    [{ status: 200 }, "success"],
    [{ status: 304 }, "success"],
    [{ status: 404, source: "upstream" }, "success"],
    [{ status: 403, source: "upstream" }, "success"],
    [{ status: 412, source: "cache" }, "success"],
    [{ status: 416, source: "cache" }, "range_not_satisfiable"],
    [{ status: 403, source: "gateway", errorCode: "SignatureDoesNotMatch" }, "auth_error"],
    [{ status: 400, source: "gateway", errorCode: "AuthorizationHeaderMalformed" }, "auth_error"],
    [{ status: 400, source: "gateway", errorCode: "InvalidBucketName" }, "success"],
    [{ status: 502, source: "gateway" }, "error"],
    [{ status: 500, source: "upstream" }, "error"],
    [{ status: 200, isComplete: false }, "error"],
  ] as const)("takes %j for %s", async (record, status) => {
    const text = await textAfter(record);
    expect(text).toContain(`tag_requests_total{operation="GetObject",status="${status}"} 1\n`);
    expect(text.match(/^tag_requests_total\{/gm)).toHaveLength(1);
  });

  test("keeps to the original's five operations in its two families", async () => {
    const text = await textAfter({ operation: "ListObjectsV2" });
    expect(text).not.toMatch(/^tag_requests_total\{/m);
    expect(text).not.toMatch(/^tag_request_duration_seconds_count/m);
  });

  test("stays under 2000 series with everything a busy gateway sees", async () => {
    const operations = [
      "GetObject",
      "HeadObject",
      "PutObject",
      "DeleteObject",
      "DeleteObjects",
      "ListObjectsV2",
      "CreateMultipartUpload",
      "UploadPart",
      "CompleteMultipartUpload",
      "HeadBucket",
    ];
    const records = operations.flatMap((operation) => {
      const isRead = operation === "GetObject" || operation === "HeadObject";
      const outcomes = isRead ? ["HIT", "MISS", "REVALIDATED", "BYPASS"] : [undefined];
      return outcomes.flatMap((xCache) =>
        [200, 404, 403, 503].map((status) => ({ operation, xCache, status })),
      );
    });
    const text = await textAfter(...records);
    const series = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
    expect(series.length).toBeLessThan(2000);
  });
});
