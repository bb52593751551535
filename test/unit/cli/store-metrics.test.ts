import { expect, test } from "bun:test";

import { totalsOf } from "../../../src/cli/cache-report.ts";
import { renderTextfile, STORE_METRICS } from "../../../src/cli/store-metrics.ts";

const STORE = {
  folder: "/cache",
  isPresent: true,
  entries: 3,
  logicalBytes: 300,
  physicalBytes: 4096,
  capacityBytes: 8192,
  tiers: [
    { tier: "inline", entries: 1, logicalBytes: 100, diskBytes: 150 },
    { tier: "segment", entries: 2, logicalBytes: 200, diskBytes: 512 },
  ],
  buckets: [
    {
      bucket: "b",
      entries: 3,
      logicalBytes: 300,
      diskBytes: 400,
      pinnedEntries: 1,
      pinnedBytes: 80,
      quotaBytes: 1000,
    },
    {
      bucket: "free",
      entries: 0,
      logicalBytes: 0,
      diskBytes: 0,
      pinnedEntries: 0,
      pinnedBytes: 0,
      quotaBytes: undefined,
    },
  ],
  pins: {
    prefixes: [{ bucket: "b", prefix: "p", origin: "operator" as const }],
    entries: 1,
    bytes: 80,
    maxBytes: 800,
  },
  evictedEntries: 7,
  evictedBytes: 700,
  evictionAgeMs: 90_000,
  storedBytes: 1000,
  movedBytes: 100,
  writeAmplification: 1.1,
  unreadableShards: 0,
};

test("the textfile has every family with its help and type while the server is up", () => {
  const live = {
    url: "",
    hits: 5,
    misses: 1,
    hitRatio: 5 / 6,
    hitBytes: 500,
    missBytes: 300,
    byteHitRatio: 5 / 8,
    inflightRequests: 0,
    evictedEntries: 0,
  };
  const text = renderTextfile({ store: STORE, live });
  for (const { name, type } of STORE_METRICS) expect(text).toContain(`# TYPE ${name} ${type}\n`);
  expect(text).toContain('tag_store_entries{tier="segment"} 2\n');
  expect(text).toContain("\ntag_store_pinned_bytes 80\n");
  expect(text).toContain('tag_store_bucket_bytes{bucket="b"} 400\n');
  expect(text).toContain('tag_store_bucket_quota_bytes{bucket="b"} 1000\n');
  expect(text).not.toContain("free");
  expect(text).toContain("tag_store_up 1\n");
  expect(text).toContain("tag_store_eviction_age_seconds 90\n");
  expect(totalsOf(text).get("tag_store_entries")).toBe(3);
});

test("the textfile leaves out what nobody can know while the server is down", () => {
  const text = renderTextfile({
    store: { ...STORE, capacityBytes: undefined, evictionAgeMs: undefined },
    live: undefined,
  });
  expect(text).not.toContain("tag_store_eviction_age_seconds");
  expect(text).toContain("tag_store_up 0\n");
  expect(text).not.toContain("tag_store_hits_total");
  expect(text).not.toContain("tag_store_capacity_bytes");
});

test("totals of a Prometheus text are summed over labels", () => {
  const text = '# HELP a b\na{x="1}"} 1\na{x="2"} 2.5\nb 3 1700000000000\nc NaN\n\nnot a sample\n';
  expect(Object.fromEntries(totalsOf(text))).toEqual({ a: 3.5, b: 3 });
});
