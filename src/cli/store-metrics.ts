/**
 * The metrics of `tag cache stats --prometheus`: what the store on disk holds, for the
 * textfile collector of node_exporter. Their prefix is `tag_store_`, so that they do
 * not meet those a running server gives at /metrics.
 */

import type { MetricFamily } from "../observability/metrics.ts";
import type { CacheReport } from "./cache-report.ts";

export const STORE_METRICS = [
  {
    name: "tag_store_up",
    type: "gauge",
    labels: [],
    help: "1 while the server of this configuration answers, 0 while it does not.",
  },
  {
    name: "tag_store_entries",
    type: "gauge",
    labels: ["tier"],
    help: "Objects in the cache, by tier.",
  },
  {
    name: "tag_store_logical_bytes",
    type: "gauge",
    labels: ["tier"],
    help: "Body bytes of the objects in the cache, by tier.",
  },
  {
    name: "tag_store_disk_bytes",
    type: "gauge",
    labels: ["tier"],
    help: "Bytes these bodies take on the volume, by tier, catalog left out.",
  },
  {
    name: "tag_store_physical_bytes",
    type: "gauge",
    labels: [],
    help: "Bytes on disk under the cache folder.",
  },
  {
    name: "tag_store_capacity_bytes",
    type: "gauge",
    labels: [],
    help: "The cap on them; absent while it is not known.",
  },
  {
    name: "tag_store_pinned_bytes",
    type: "gauge",
    labels: [],
    help: "Bytes on disk of pinned objects.",
  },
  {
    name: "tag_store_pinned_max_bytes",
    type: "gauge",
    labels: [],
    help: "The bound on them; absent while the cap is not known.",
  },
  {
    name: "tag_store_bucket_bytes",
    type: "gauge",
    labels: ["bucket"],
    help: "Bytes on disk of a bucket; only for buckets with a quota.",
  },
  {
    name: "tag_store_bucket_quota_bytes",
    type: "gauge",
    labels: ["bucket"],
    help: "The quota of that bucket.",
  },
  {
    name: "tag_store_hits_total",
    type: "counter",
    labels: [],
    help: "Answers with X-Cache: HIT since the server started; absent while it is down.",
  },
  {
    name: "tag_store_misses_total",
    type: "counter",
    labels: [],
    help: "Answers with X-Cache: MISS since the server started; absent while it is down.",
  },
  {
    name: "tag_store_hit_bytes_total",
    type: "counter",
    labels: [],
    help: "Body bytes of these hits; absent while the server is down.",
  },
  {
    name: "tag_store_miss_bytes_total",
    type: "counter",
    labels: [],
    help: "Body bytes of these misses; absent while the server is down.",
  },
  {
    name: "tag_store_evicted_entries_total",
    type: "counter",
    labels: [],
    help: "Objects evicted since the store was made.",
  },
  {
    name: "tag_store_evicted_bytes_total",
    type: "counter",
    labels: [],
    help: "Body bytes of these objects.",
  },
  {
    name: "tag_store_eviction_age_seconds",
    type: "gauge",
    labels: [],
    help: "Age of the oldest segment or file, the next to go; absent while nothing was evicted yet.",
  },
  {
    name: "tag_store_stored_bytes_total",
    type: "counter",
    labels: [],
    help: "Bytes written for what was stored, since the store was made, catalog left out.",
  },
  {
    name: "tag_store_moved_bytes_total",
    type: "counter",
    labels: [],
    help: "Bytes written once more, because they were moved on. Write amplification: (stored + moved) / stored.",
  },
] as const satisfies readonly MetricFamily[];

type Sample = readonly [labels: string, value: number | undefined];

/** The textfile. Families without a value are left out. */
export function renderTextfile({ store, live }: CacheReport): string {
  const byTier = (pick: (tier: CacheReport["store"]["tiers"][number]) => number): Sample[] =>
    store.tiers.map((tier) => [`{tier="${tier.tier}"}`, pick(tier)]);
  const limited = store.buckets.filter(({ quotaBytes }) => quotaBytes !== undefined);
  const labelOf = (bucket: string): string => `{bucket=${JSON.stringify(bucket)}}`;
  const samples: Record<(typeof STORE_METRICS)[number]["name"], readonly Sample[]> = {
    tag_store_up: [["", live === undefined ? 0 : 1]],
    tag_store_entries: byTier((tier) => tier.entries),
    tag_store_logical_bytes: byTier((tier) => tier.logicalBytes),
    tag_store_disk_bytes: byTier((tier) => tier.diskBytes),
    tag_store_physical_bytes: [["", store.physicalBytes]],
    tag_store_capacity_bytes: [["", store.capacityBytes]],
    tag_store_pinned_bytes: [["", store.pins.bytes]],
    tag_store_pinned_max_bytes: [["", store.pins.maxBytes]],
    tag_store_bucket_bytes: limited.map((one) => [labelOf(one.bucket), one.diskBytes]),
    tag_store_bucket_quota_bytes: limited.map((one) => [labelOf(one.bucket), one.quotaBytes]),
    tag_store_hits_total: [["", live?.hits]],
    tag_store_misses_total: [["", live?.misses]],
    tag_store_hit_bytes_total: [["", live?.hitBytes]],
    tag_store_miss_bytes_total: [["", live?.missBytes]],
    tag_store_evicted_entries_total: [["", store.evictedEntries]],
    tag_store_evicted_bytes_total: [["", store.evictedBytes]],
    tag_store_eviction_age_seconds: [
      ["", store.evictionAgeMs === undefined ? undefined : store.evictionAgeMs / 1000],
    ],
    tag_store_stored_bytes_total: [["", store.storedBytes]],
    tag_store_moved_bytes_total: [["", store.movedBytes]],
  };
  let text = "";
  for (const { name, type, help } of STORE_METRICS) {
    const present = samples[name].filter(([, value]) => value !== undefined);
    if (present.length === 0) continue;
    text += `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`;
    for (const [labels, value] of present) text += `${name}${labels} ${value}\n`;
  }
  return text;
}
