import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { Glob } from "bun";
import {
  CacheOutcomes,
  showDiskFigures,
  showStoreFigures,
} from "../../../src/observability/cache-figures.ts";
import { createMetrics, METRIC_FAMILIES, setTotal } from "../../../src/observability/metrics.ts";
import { LoopLag, showProcess } from "../../../src/observability/process-figures.ts";
import { SimClock } from "../../support/sim-clock.ts";

/** The dashboard contract: names, types and labels of the original (tag-behaviour section 9). */
const CONTRACT: Readonly<Record<string, readonly string[]>> = {
  tag_requests_total: ["operation", "status"],
  tag_request_duration_seconds: ["operation"],
  tag_cache_hits_total: [],
  tag_cache_misses_total: [],
  tag_cache_operations_total: ["operation", "result"],
  tag_cache_size_bytes: [],
  tag_cache_serve_locality_total: ["locality"],
  tag_range_from_cache_hits_total: [],
  tag_upstream_request_duration_seconds: ["method"],
  tag_upstream_errors_total: ["method"],
  tag_auth_failures_total: ["reason"],
  tag_local_auth_validations_total: ["result"],
  tag_derived_key_store_size: [],
  tag_authz_cache_size: [],
  tag_proxy_signing_keys_received_total: [],
  tag_active_connections: [],
  tag_inflight_requests: [],
  tag_admission_shed_total: [],
  tag_bytes_transferred_total: ["direction"],
  tag_broadcast_shared_total: [],
  tag_broadcast_fetches_total: [],
  tag_broadcast_slow_consumers_total: [],
  tag_active_broadcasts: [],
  tag_background_fetches_triggered_total: [],
  tag_background_fetches_succeeded_total: [],
  tag_background_fetches_failed_total: [],
  tag_active_background_fetches: [],
  tag_warm_on_write_triggered_total: [],
  tag_revalidations_triggered_total: [],
  tag_revalidations_not_modified_total: [],
  tag_revalidations_updated_total: [],
  tag_revalidations_failed_total: [],
  tag_revalidations_stale_served_total: [],
  // One label more than the original; sums over it are what the original counted.
  tag_cache_populate_skipped_total: ["reason"],
};

/** Value of a series in the text; undefined when it is not there. */
function valueIn(text: string, series: string): number | undefined {
  const line = text.split("\n").find((candidate) => candidate.startsWith(`${series} `));
  return line === undefined ? undefined : Number(line.slice(series.length + 1));
}

describe("the table of families", () => {
  test.each(Object.entries(CONTRACT))("keeps %s with its labels", (name, labels) => {
    const family = METRIC_FAMILIES.find((candidate) => candidate.name === name);
    expect(family?.labels as readonly string[] | undefined).toEqual(labels);
  });

  test("keeps the bounds of the original's histograms among the finer ones", () => {
    const family = METRIC_FAMILIES.find(({ name }) => name === "tag_request_duration_seconds");
    const buckets: readonly number[] =
      family !== undefined && "buckets" in family ? family.buckets : [];
    for (const bound of [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]) {
      expect(buckets).toContain(bound);
    }
    expect(buckets[0]).toBeLessThan(0.001);
  });

  test("follows the naming rules of Prometheus, and nobody is labelled by bucket or key", () => {
    expect(new Set(METRIC_FAMILIES.map(({ name }) => name)).size).toBe(METRIC_FAMILIES.length);
    for (const { name, type, labels, help } of METRIC_FAMILIES) {
      expect(name).toMatch(/^tag_[a-z0-9_]+$/);
      expect(help).toMatch(/^[A-Z0-9].*\.$/);
      expect(type === "counter").toBe(name.endsWith("_total"));
      expect(labels).not.toContain("bucket" as never);
      expect(labels).not.toContain("key" as never);
    }
  });
});

test("every family is set somewhere in the program", async () => {
  const root = join(import.meta.dir, "../../../src");
  let source = "";
  for await (const path of new Glob("**/*.ts").scan(root)) {
    if (!path.endsWith("metrics.ts")) source += await Bun.file(join(root, path)).text();
  }
  const unset = METRIC_FAMILIES.map(({ name }) =>
    name.slice("tag_".length).replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase()),
  ).filter((property) => !new RegExp(`etrics\\.${property}\\b`).test(source));
  expect(unset).toEqual([]);
});

test("pins, quotas and resources of the store are shown", async () => {
  const metrics = createMetrics();
  const figures = {
    pinnedBytes: 80,
    pinnedMaxBytes: 800,
    refusedPins: 3,
    quotas: [
      { bytes: 10, quotaBytes: 100 },
      { bytes: 90, quotaBytes: 100 },
    ],
    openFiles: 7,
    fillMemoryBytes: 11,
    readBufferBytes: 8192,
    memoryTierBytes: 700,
  };
  showDiskFigures(metrics, figures);
  const text = await metrics.text();
  expect(valueIn(text, "tag_cache_pinned_bytes")).toBe(80);
  expect(valueIn(text, "tag_cache_pinned_max_bytes")).toBe(800);
  expect(valueIn(text, "tag_cache_pins_refused_total")).toBe(3);
  expect(valueIn(text, "tag_cache_quota_buckets")).toBe(2);
  expect(valueIn(text, "tag_cache_quota_bytes")).toBe(100);
  expect(valueIn(text, "tag_cache_quota_max_ratio")).toBe(0.9);
  expect(valueIn(text, "tag_open_files")).toBe(7);
  expect(valueIn(text, "tag_fill_memory_bytes")).toBe(11);
  expect(valueIn(text, "tag_read_buffer_bytes")).toBe(8192);
  expect(valueIn(text, "tag_memory_tier_bytes")).toBe(700);
  showDiskFigures(metrics, { ...figures, quotas: [] });
  expect(valueIn(await metrics.text(), "tag_cache_quota_max_ratio")).toBe(0);
});

describe("metrics", () => {
  test("have one property per family and appear in the text", async () => {
    const metrics = createMetrics();
    metrics.cacheHitsTotal.inc();
    metrics.requestsTotal.inc({ operation: "GetObject", status: "success" }, 2);
    metrics.activeBroadcasts.set(3);
    const text = await metrics.text();
    expect(valueIn(text, "tag_cache_hits_total")).toBe(1);
    expect(valueIn(text, 'tag_requests_total{operation="GetObject",status="success"}')).toBe(2);
    expect(valueIn(text, "tag_active_broadcasts")).toBe(3);
    for (const { name, type } of METRIC_FAMILIES) {
      expect(text).toContain(`# TYPE ${name} ${type}\n`);
    }
  });

  test("of two gateways in one process do not mix", async () => {
    const one = createMetrics();
    const other = createMetrics();
    one.cacheHitsTotal.inc();
    expect(valueIn(await other.text(), "tag_cache_hits_total")).toBe(0);
  });

  test("read what others keep just before the text is made", async () => {
    const metrics = createMetrics();
    let total = 5;
    metrics.beforeText(() => setTotal(metrics.cacheEvictionsTotal, total));
    expect(valueIn(await metrics.text(), "tag_cache_evictions_total")).toBe(5);
    total = 7;
    expect(valueIn(await metrics.text(), "tag_cache_evictions_total")).toBe(7);
  });

  test("quote label values, so that no value can forge a line", async () => {
    const metrics = createMetrics();
    metrics.errorsTotal.inc({ code: 'a"b\\c\nd' });
    const text = await metrics.text();
    expect(valueIn(text, 'tag_errors_total{code="a\\"b\\\\c\\nd"}')).toBe(1);
  });
});

describe("a histogram", () => {
  test("puts a value into the first bucket that is not below it", async () => {
    const metrics = createMetrics();
    for (const seconds of [0, 0.0001, 0.00011, 0.3, 60, 61]) {
      metrics.httpTtfbSeconds.observe({ operation: "GetObject", cache: "hit" }, seconds);
    }
    const text = await metrics.text();
    const bucket = (le: string) =>
      valueIn(text, `tag_http_ttfb_seconds_bucket{operation="GetObject",cache="hit",le="${le}"}`);
    expect(bucket("0.0001")).toBe(2);
    expect(bucket("0.00025")).toBe(3);
    expect(bucket("0.25")).toBe(3);
    expect(bucket("0.5")).toBe(4);
    expect(bucket("60")).toBe(5);
    expect(bucket("+Inf")).toBe(6);
    const series = '{operation="GetObject",cache="hit"}';
    expect(valueIn(text, `tag_http_ttfb_seconds_count${series}`)).toBe(6);
    expect(valueIn(text, `tag_http_ttfb_seconds_sum${series}`)).toBeCloseTo(121.30021, 9);
  });

  test("keeps series apart by their label values, and finds them again", () => {
    const { httpTtfbSeconds } = createMetrics();
    const hits = httpTtfbSeconds.labels({ operation: "GetObject", cache: "hit" });
    const misses = httpTtfbSeconds.labels({ operation: "GetObject", cache: "miss" });
    hits.observe(1);
    expect(httpTtfbSeconds.labels({ cache: "hit", operation: "GetObject" })).toBe(hits);
    expect(hits.count).toBe(1);
    expect(misses.count).toBe(0);
  });
});

describe("figures of the store", () => {
  const figures = {
    entries: 3,
    logicalBytes: 100,
    physicalBytes: 250,
    capacityBytes: 1000,
    evictedEntries: 7,
    evictedBytes: 70,
    damagedEntries: 1,
    activeFills: 2,
    degradedBecause: undefined,
  };

  test("are shown as they are", async () => {
    const metrics = createMetrics();
    showStoreFigures(metrics, figures);
    const text = await metrics.text();
    expect(valueIn(text, "tag_cache_entries")).toBe(3);
    expect(valueIn(text, "tag_cache_size_bytes")).toBe(100);
    expect(valueIn(text, "tag_cache_disk_bytes")).toBe(250);
    expect(valueIn(text, 'tag_cache_max_bytes{tier="disk"}')).toBe(1000);
    expect(valueIn(text, 'tag_cache_utilization_ratio{tier="disk"}')).toBe(0.25);
    expect(valueIn(text, "tag_cache_evictions_total")).toBe(7);
    expect(valueIn(text, "tag_cache_damaged_entries_total")).toBe(1);
    expect(valueIn(text, "tag_cache_degraded")).toBe(0);
  });

  test.each([0, Infinity])("without a cap (%p) have ratio 0, never NaN", async (capacityBytes) => {
    const metrics = createMetrics();
    showStoreFigures(metrics, { ...figures, capacityBytes, degradedBecause: "ENOSPC" });
    const text = await metrics.text();
    expect(valueIn(text, 'tag_cache_utilization_ratio{tier="disk"}')).toBe(0);
    expect(valueIn(text, 'tag_cache_max_bytes{tier="disk"}')).toBe(0);
    expect(valueIn(text, "tag_cache_degraded")).toBe(1);
    expect(text).not.toContain("Nan");
  });
});

describe("cache outcomes", () => {
  test("keep hits, misses and the get operation in step", async () => {
    const metrics = createMetrics();
    const outcomes = new CacheOutcomes(metrics, new SimClock());
    for (const outcome of ["hit", "hit", "revalidated_hit", "miss"] as const)
      outcomes.count(outcome);
    await metrics.text();
    outcomes.count("hit");
    const text = await metrics.text();
    expect(valueIn(text, "tag_cache_hits_total")).toBe(4);
    expect(valueIn(text, "tag_cache_misses_total")).toBe(1);
    expect(valueIn(text, "tag_cache_revalidated_hits_total")).toBe(1);
    expect(valueIn(text, 'tag_cache_operations_total{operation="get",result="hit"}')).toBe(4);
    expect(valueIn(text, 'tag_cache_operations_total{operation="get",result="miss"}')).toBe(1);
    expect(valueIn(text, "tag_cache_miss_rate_ratio")).toBe(0.2);
    expect(outcomes.totals()).toEqual({ hits: 4, revalidatedHits: 1, misses: 1 });
  });

  test("before the first answer have ratio 0", async () => {
    const metrics = createMetrics();
    const outcomes = new CacheOutcomes(metrics, new SimClock());
    expect(outcomes.recentMissRate()).toBe(0);
    expect(valueIn(await metrics.text(), "tag_cache_miss_rate_ratio")).toBe(0);
  });

  test("forget after five minutes, so a collapse after a good week shows", async () => {
    const clock = new SimClock();
    const outcomes = new CacheOutcomes(createMetrics(), clock);
    const wait = (ms: number) => clock.run(clock.sleep(ms));
    for (let index = 0; index < 999; index += 1) outcomes.count("hit");
    await wait(295_000);
    outcomes.count("miss");
    expect(outcomes.recentMissRate()).toBe(0.001);
    await wait(10_000);
    expect(outcomes.recentMissRate()).toBe(1);
    await wait(3_600_000);
    expect(outcomes.recentMissRate()).toBe(0);
    outcomes.count("hit");
    expect(outcomes.recentMissRate()).toBe(0);
  });
});

describe("the process", () => {
  test("shows memory, processor time and its build, and none of what is always zero", async () => {
    const metrics = createMetrics();
    showProcess(metrics, { version: "1.2.3", buildTime: "now", commit: "abc" });
    const text = await metrics.text();
    expect(valueIn(text, 'tag_build_info{version="1.2.3",commit="abc"}')).toBe(1);
    expect(valueIn(text, "process_resident_memory_bytes")).toBeGreaterThan(1_000_000);
    expect(text).toContain("process_cpu_seconds_total");
    expect(text).not.toContain("nodejs_heap_space");
  });

  test("shows the longest delay of the event loop since the last look", async () => {
    const clock = new SimClock();
    const late = {
      ...clockFunctions(clock),
      // Every timer fires 30 ms after its time, as if something had held the loop up.
      after: (ms: number, run: () => void) => clock.after(ms + 30, run),
    };
    const metrics = createMetrics();
    const lag = new LoopLag(metrics, late);
    await clock.run(clock.sleep(1000));
    expect(valueIn(await metrics.text(), "tag_event_loop_lag_seconds")).toBeCloseTo(0.03, 6);
    expect(valueIn(await metrics.text(), "tag_event_loop_lag_seconds")).toBe(0);
    lag.stop();
    await clock.run(clock.sleep(1000));
    expect(clock.pendingTimers).toBe(0);
  });
});

function clockFunctions(clock: SimClock) {
  return {
    nowMs: () => clock.nowMs(),
    monotonicMs: () => clock.monotonicMs(),
    sleep: (ms: number, signal?: AbortSignal) => clock.sleep(ms, signal),
  };
}
