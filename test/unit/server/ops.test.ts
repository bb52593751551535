import { expect, test } from "bun:test";

import { readAll } from "../../../src/base/byte-source.ts";
import type { Handler, Inbound, Reply } from "../../../src/http/exchange.ts";
import { Fields } from "../../../src/http/fields.ts";
import { createOps, isOperational, opsFirst } from "../../../src/server/ops.ts";
import type { HealthReport, OpsSources, ReadinessReport } from "../../../src/server/ops.ts";
import { SimClock } from "../../support/sim-clock.ts";

const HEALTHY: HealthReport = {
  phase: "healthy",
  peakRssBytes: 50_000_000,
  cacheSizeBytes: 750,
  cacheMaxBytes: 1000,
  cacheEntries: 3,
  cacheUtilizationPct: 75,
};

function inbound(method: string, rawTarget: string, headers: readonly string[] = []): Inbound {
  return {
    id: "request-1",
    method,
    rawTarget,
    fields: new Fields(headers),
    body: null,
    signal: new AbortController().signal,
    remoteAddress: "127.0.0.1",
    isSecure: false,
    receivedAtMs: 0,
  };
}

function opsWith(
  changes: Partial<OpsSources> & {
    readonly report?: Partial<HealthReport>;
    readonly readinessReport?: Partial<ReadinessReport>;
  } = {},
): Handler {
  const { report, readinessReport, ...sources } = changes;
  return createOps({
    clock: new SimClock(),
    authMode: "transparent",
    health: () => ({ ...HEALTHY, ...report }),
    readiness: () => ({ diskProblem: undefined, isUpstreamReachable: true, ...readinessReport }),
    stats: () => ({ hits: 1 }),
    metricsText: () => "tag_up 1\n",
    ...sources,
  });
}

async function textOf(reply: Reply): Promise<string> {
  switch (reply.body.kind) {
    case "bytes":
      return Buffer.from(reply.body.bytes).toString();
    case "stream":
      return Buffer.from(await readAll(reply.body.source, 1e6)).toString();
    case "none":
    case "file":
      return "";
    default:
      return reply.body satisfies never;
  }
}

async function get(ops: Handler, target: string): Promise<{ reply: Reply; text: string }> {
  const reply = await ops(inbound("GET", target));
  return { reply, text: await textOf(reply) };
}

test.each([
  ["GET", "/health", [], true, "the plain probe"],
  ["HEAD", "/health", [], true, "wget --spider"],
  ["GET", "/metrics", [], true, "the plain scrape"],
  ["GET", "/health?list-type=2", [], false, "a listing of the bucket called health"],
  ["GET", "/health/", [], false, "the same bucket"],
  ["GET", "/health/key", [], false, "an object in it"],
  ["PUT", "/health", [], false, "creating it"],
  ["GET", "/metrics", ["Authorization", "AWS4-HMAC-SHA256 …"], false, "a signed listing"],
  ["GET", "/metrics?", [], false, "an empty query is a query"],
  ["GET", "/_/anything", [], true, "_ cannot be a bucket"],
  ["DELETE", "/_/anything", [], true, "whatever the method"],
  ["GET", "/_", [], true, "Safari drops the slash"],
  ["GET", "/_?x", [], true, "with a query too"],
  ["GET", "/_bucket/key", [], false, "S3 refuses that name itself"],
  ["GET", "/bucket/_/key", [], false, "only at the top"],
  ["GET", "/", [], false, "ListBuckets"],
] as const)("%s %s %p is operational: %p (%s)", (method, target, headers, expected) => {
  expect(isOperational(inbound(method, target, headers))).toBe(expected);
});

test("opsFirst sends only operational requests to the ops handler", () => {
  const s3: Reply = { status: 200, headers: [], body: { kind: "none" } };
  const ops: Reply = { status: 204, headers: [], body: { kind: "none" } };
  const handler = opsFirst(
    () => s3,
    () => ops,
  );
  expect(handler(inbound("GET", "/_/health"))).toBe(ops);
  expect(handler(inbound("GET", "/bucket/key"))).toBe(s3);
});

test("/health says OK, and the phase with 503 when it is another", async () => {
  const healthy = await get(opsWith(), "/health");
  expect([healthy.reply.status, healthy.text]).toEqual([200, "OK"]);
  const draining = await get(opsWith({ report: { phase: "draining" } }), "/health");
  expect([draining.reply.status, draining.text]).toEqual([503, "DRAINING"]);
});

test("/metrics and /_/metrics show the same text in Prometheus' content type", async () => {
  const ops = opsWith();
  for (const target of ["/metrics", "/_/metrics"]) {
    const { reply, text } = await get(ops, target);
    expect(text).toBe("tag_up 1\n");
    expect(new Fields(reply.headers).get("content-type")).toStartWith("text/plain; version=0.0.4");
  }
});

test("/_/health has exactly the six keys of the contract", async () => {
  const { reply, text } = await get(opsWith(), "/_/health");
  expect(reply.status).toBe(200);
  expect(JSON.parse(text)).toEqual({
    status: "healthy",
    peak_rss_bytes: 50_000_000,
    cache_size_bytes: 750,
    cache_max_bytes: 1000,
    cache_entries: 3,
    cache_utilization_pct: 75,
  });
});

test.each([
  ["ready", {}, {}, "", 200],
  ["starting", { phase: "starting" }, {}, "", 503],
  ["draining", { phase: "draining" }, {}, "", 503],
  ["disk_failed", {}, { diskProblem: "read-only file system" }, "", 503],
  ["degraded", {}, { isUpstreamReachable: false }, "", 200],
  ["degraded", {}, { isUpstreamReachable: false }, "?upstream=required", 503],
] as const)("/_/ready can be %s", async (status, report, readiness, query, code) => {
  const ops = opsWith({ report, readinessReport: readiness });
  const { reply, text } = await get(ops, `/_/ready${query}`);
  expect(reply.status).toBe(code);
  expect(JSON.parse(text)).toMatchObject({ status });
});

test("/_/stats is computed once for ten seconds, however many ask", async () => {
  const clock = new SimClock();
  let computations = 0;
  const ops = opsWith({
    clock,
    stats: async () => {
      computations += 1;
      await clock.sleep(100);
      return { computations };
    },
  });
  await clock.run(
    (async () => {
      const answers = await Promise.all([get(ops, "/_/stats"), get(ops, "/_/stats")]);
      expect(computations).toBe(1);
      expect(answers[0].text).toBe(answers[1].text);
      await clock.sleep(5000);
      const later = await get(ops, "/_/stats");
      expect(later.text).toBe(answers[0].text);
      expect(new Fields(later.reply.headers).get("age")).toBe("5");
      await clock.sleep(6000);
      await get(ops, "/_/stats");
      expect(computations).toBe(2);
    })(),
  );
});

test("a failed computation of the statistics is not remembered", async () => {
  let attempts = 0;
  const ops = opsWith({
    stats: () => {
      attempts += 1;
      if (attempts === 1) throw new Error("catalog is busy");
      return { hits: 2 };
    },
  });
  const failure: unknown = await get(ops, "/_/stats").catch((error: unknown) => error);
  expect(String(failure)).toContain("catalog is busy");
  expect((await get(ops, "/_/stats")).reply.status).toBe(200);
});

test("strangers are told the mode and no version", async () => {
  const { reply, text } = await get(opsWith(), "/_/api/whoami");
  expect(reply.status).toBe(401);
  expect(JSON.parse(text)).toEqual({ authenticated: false, mode: "transparent" });
});

test.each(["/_/nothing", "/_/health/x", "/_/../bucket/key"])(
  "%s is a 404 of ours",
  async (target) => {
    const { reply, text } = await get(opsWith(), target);
    expect(reply.status).toBe(404);
    expect(JSON.parse(text)).toEqual({ error: "not_found" });
  },
);

test("other methods are refused", async () => {
  const reply = await opsWith()(inbound("POST", "/_/health"));
  expect(reply.status).toBe(405);
  expect(new Fields(reply.headers).get("allow")).toBe("GET, HEAD");
});

test("pages below /_/ carry security headers, /health does not", async () => {
  const below = new Fields((await get(opsWith(), "/_/health")).reply.headers);
  expect(below.get("x-content-type-options")).toBe("nosniff");
  expect(below.get("x-frame-options")).toBe("DENY");
  expect(below.get("content-security-policy")).toBe("default-src 'self'");
  expect(below.get("x-amz-request-id")).toBe("request-1");
  expect(below.has("server")).toBe(false);
  const root = new Fields((await get(opsWith(), "/health")).reply.headers);
  expect(root.has("x-frame-options")).toBe(false);
});
