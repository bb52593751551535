/**
 * Every metric there is: one table, from which come the objects that are counted on,
 * their types, the text at `/metrics` and docs/metrics.md.
 *
 * The first part of the table is the original's: names and labels are a contract with
 * dashboards and never change. Labels take values from small closed sets; a bucket or
 * a key is never one. Numbers that somebody else already keeps (the store, the
 * coalescer) are read when the text is made, by functions given to `beforeText`.
 */

import { Counter, Gauge, Registry } from "prom-client";
import { unreachable } from "../base/assert.ts";
import { Histogram } from "./histogram.ts";

/** Seconds. From a hit on a small object (tenths of a millisecond) to a large upload. */
const SECONDS = [
  0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
  30, 60,
] as const;

/** 1 KiB to 16 GiB in steps of four. */
const BYTES = Array.from({ length: 13 }, (_, step) => 1024 * 4 ** step);

/** One family of metrics, as docs/metrics.md shows it. */
export interface MetricFamily {
  readonly name: string;
  readonly type: "counter" | "gauge" | "histogram";
  readonly labels: readonly string[];
  /** One sentence that says what is counted, with the values of the labels where they are few. */
  readonly help: string;
  /** Upper bounds of a histogram. */
  readonly buckets?: readonly number[];
}

export const METRIC_FAMILIES = [
  // The original's, in its order.
  {
    name: "tag_requests_total",
    type: "counter",
    labels: ["operation", "status"],
    help: "Object requests by result: success, error (5xx or cut off), auth_error, range_not_satisfiable. GetObject, HeadObject, PutObject, DeleteObject and DeleteObjects only.",
  },
  {
    name: "tag_request_duration_seconds",
    type: "histogram",
    labels: ["operation"],
    help: "Time from the request header to the last byte of the answer, for the same operations.",
    buckets: SECONDS,
  },
  {
    name: "tag_cache_hits_total",
    type: "counter",
    labels: [],
    help: "Answers with X-Cache: HIT, revalidated and stale ones included.",
  },
  {
    name: "tag_cache_misses_total",
    type: "counter",
    labels: [],
    help: "Answers with X-Cache: MISS.",
  },
  {
    name: "tag_cache_operations_total",
    type: "counter",
    labels: ["operation", "result"],
    help: "Cache operations: get (hit, miss; in step with the two above) and delete (success, error).",
  },
  {
    name: "tag_cache_size_bytes",
    type: "gauge",
    labels: [],
    help: "Body bytes of all entries of this node.",
  },
  {
    name: "tag_cache_populate_skipped_total",
    type: "counter",
    labels: ["reason"],
    help: "Answers that were served but not stored, by reason: a limit of the store (too_large, disk_full, not_admitted, quota, too_many_fills, fill_memory, store_failed), a rule (excluded), or a property of the answer (no_store, private, varies, no_etag, unknown_length, …).",
  },
  {
    name: "tag_cache_serve_locality_total",
    type: "counter",
    labels: ["locality"],
    help: "Bodies served from the cache, by where they lay: local, or remote at a peer.",
  },
  {
    name: "tag_range_from_cache_hits_total",
    type: "counter",
    labels: [],
    help: "206 answers from the cache.",
  },
  {
    name: "tag_upstream_request_duration_seconds",
    type: "histogram",
    labels: ["method"],
    help: "Time until upstream's response header.",
    buckets: SECONDS,
  },
  {
    name: "tag_upstream_errors_total",
    type: "counter",
    labels: ["method"],
    help: "Upstream requests that failed on the way: no connection, no answer in time, broken answer.",
  },
  {
    name: "tag_auth_failures_total",
    type: "counter",
    labels: ["reason"],
    help: "Requests refused here for their credentials: signature_mismatch, unknown_access_key, expired_request, malformed_auth, internal_error.",
  },
  {
    name: "tag_local_auth_validations_total",
    type: "counter",
    labels: ["result"],
    help: "Outcome of judging a reader locally: success, missing_auth, parse_error, unknown_key, signature_mismatch, authz_expired.",
  },
  {
    name: "tag_derived_key_store_size",
    type: "gauge",
    labels: [],
    help: "Signing keys of clients learned from upstream and still valid.",
  },
  {
    name: "tag_authz_cache_size",
    type: "gauge",
    labels: [],
    help: "Live grants: access key and bucket that upstream let read.",
  },
  {
    name: "tag_proxy_signing_keys_received_total",
    type: "counter",
    labels: [],
    help: "Answers of upstream that brought signing keys we could read.",
  },
  {
    name: "tag_active_connections",
    type: "gauge",
    labels: [],
    help: "Client requests in progress (the name is the original's).",
  },
  {
    name: "tag_inflight_requests",
    type: "gauge",
    labels: [],
    help: "Admitted S3 requests in progress.",
  },
  {
    name: "tag_admission_shed_total",
    type: "counter",
    labels: [],
    help: "Requests answered 503 SlowDown because too many were in progress.",
  },
  {
    name: "tag_bytes_transferred_total",
    type: "counter",
    labels: ["direction"],
    help: "Body bytes exchanged with clients: in, out.",
  },
  {
    name: "tag_broadcast_shared_total",
    type: "counter",
    labels: [],
    help: "Readers that joined a running fetch.",
  },
  {
    name: "tag_broadcast_fetches_total",
    type: "counter",
    labels: [],
    help: "Fetches begun that others may join.",
  },
  {
    name: "tag_broadcast_slow_consumers_total",
    type: "counter",
    labels: [],
    help: "Readers cut off because they lagged behind a fetch and nothing held what they missed.",
  },
  {
    name: "tag_active_broadcasts",
    type: "gauge",
    labels: [],
    help: "Fetches in progress that others may join (flights).",
  },
  {
    name: "tag_background_fetches_triggered_total",
    type: "counter",
    labels: [],
    help: "Fetches for the cache alone that were started.",
  },
  {
    name: "tag_background_fetches_succeeded_total",
    type: "counter",
    labels: [],
    help: "Of those, the ones whose object was stored.",
  },
  {
    name: "tag_background_fetches_failed_total",
    type: "counter",
    labels: [],
    help: "Of those, the ones that broke; an answer that may not be stored is neither.",
  },
  {
    name: "tag_active_background_fetches",
    type: "gauge",
    labels: [],
    help: "Fetches for the cache alone in progress.",
  },
  {
    name: "tag_warm_on_write_triggered_total",
    type: "counter",
    labels: [],
    help: "Writes whose object was to be stored as well.",
  },
  {
    name: "tag_revalidations_triggered_total",
    type: "counter",
    labels: [],
    help: "Conditional requests sent upstream for an entry.",
  },
  {
    name: "tag_revalidations_not_modified_total",
    type: "counter",
    labels: [],
    help: "Of those, answered 304.",
  },
  {
    name: "tag_revalidations_updated_total",
    type: "counter",
    labels: [],
    help: "Of those, answered with another version.",
  },
  {
    name: "tag_revalidations_failed_total",
    type: "counter",
    labels: [],
    help: "Of those, failed or answered with an unexpected status.",
  },
  {
    name: "tag_revalidations_stale_served_total",
    type: "counter",
    labels: [],
    help: "Stale copies served because a revalidation failed.",
  },

  // Requests.
  {
    name: "tag_http_requests_total",
    type: "counter",
    labels: ["operation", "code"],
    help: "Every answer to a client, early refusals included, by S3 operation and status.",
  },
  {
    name: "tag_http_request_duration_seconds",
    type: "histogram",
    labels: ["operation", "cache"],
    help: "Time from the request header to the last byte of the answer; cache is X-Cache in lower case, or none.",
    buckets: SECONDS,
  },
  {
    name: "tag_http_ttfb_seconds",
    type: "histogram",
    labels: ["operation", "cache"],
    help: "Time from the request header to the answer's header.",
    buckets: SECONDS,
  },
  {
    name: "tag_http_response_size_bytes",
    type: "histogram",
    labels: ["operation"],
    help: "Body bytes of answers that were sent completely.",
    buckets: BYTES,
  },
  {
    name: "tag_client_aborts_total",
    type: "counter",
    labels: [],
    help: "Answers that did not reach their client completely.",
  },
  {
    name: "tag_errors_total",
    type: "counter",
    labels: ["code"],
    help: "Failures of the world by their stable code (docs/operations.md).",
  },

  // The cache.
  {
    name: "tag_cache_served_bytes_total",
    type: "counter",
    labels: ["result"],
    help: "Body bytes of answers with X-Cache: HIT and MISS, for the hit ratio by bytes.",
  },
  {
    name: "tag_cache_revalidated_hits_total",
    type: "counter",
    labels: [],
    help: "Of the hits, the ones that upstream confirmed first (304).",
  },
  {
    name: "tag_stale_served_total",
    type: "counter",
    labels: ["reason"],
    help: "Of the hits, stale copies served because upstream could not answer: unreachable, timeout, server_error.",
  },
  {
    name: "tag_cache_entries",
    type: "gauge",
    labels: [],
    help: "Entries of this node.",
  },
  {
    name: "tag_cache_disk_bytes",
    type: "gauge",
    labels: [],
    help: "Bytes on disk under the cache folder, catalog included.",
  },
  {
    name: "tag_cache_max_bytes",
    type: "gauge",
    labels: ["tier"],
    help: "The cap on a tier: disk, memory.",
  },
  {
    name: "tag_cache_utilization_ratio",
    type: "gauge",
    labels: ["tier"],
    help: "Used share of that cap; 0 when there is none.",
  },
  {
    name: "tag_cache_miss_rate_ratio",
    type: "gauge",
    labels: [],
    help: "Misses among hits and misses since the start; 0 before the first.",
  },
  {
    name: "tag_cache_miss_rate_5m_ratio",
    type: "gauge",
    labels: [],
    help: "The same over the last five minutes.",
  },
  {
    name: "tag_cache_evictions_total",
    type: "counter",
    labels: [],
    help: "Entries removed for space.",
  },
  {
    name: "tag_cache_evicted_bytes_total",
    type: "counter",
    labels: [],
    help: "Their bytes.",
  },
  {
    name: "tag_cache_damaged_entries_total",
    type: "counter",
    labels: [],
    help: "Entries dropped because their bytes were damaged or gone.",
  },
  {
    name: "tag_cache_pinned_bytes",
    type: "gauge",
    labels: [],
    help: "Bytes on disk of pinned entries.",
  },
  {
    name: "tag_cache_pinned_max_bytes",
    type: "gauge",
    labels: [],
    help: "The bound on them: cache.pinned_max_percent of the cap.",
  },
  {
    name: "tag_cache_pins_refused_total",
    type: "counter",
    labels: [],
    help: "Times an entry under a pinned prefix was stored without protection, because of that bound.",
  },
  {
    name: "tag_cache_quota_buckets",
    type: "gauge",
    labels: [],
    help: "Cached buckets that have a quota; tag cache stats tells them apart.",
  },
  {
    name: "tag_cache_quota_bytes",
    type: "gauge",
    labels: [],
    help: "Bytes on disk of these buckets.",
  },
  {
    name: "tag_cache_quota_max_ratio",
    type: "gauge",
    labels: [],
    help: "Of the fullest of these buckets, what it takes of its quota; 0 when there is none.",
  },
  {
    name: "tag_cache_degraded",
    type: "gauge",
    labels: [],
    help: "1 while the disk cannot be written and answers are only passed through, else 0.",
  },
  {
    name: "tag_cache_invalidations_total",
    type: "counter",
    labels: ["scope"],
    help: "Invalidations by a write: object, objects, bucket.",
  },
  {
    name: "tag_cache_fills_total",
    type: "counter",
    labels: ["outcome"],
    help: "Ends of fills: committed, refused (a write came in between), failed.",
  },
  {
    name: "tag_active_fills",
    type: "gauge",
    labels: [],
    help: "Fills in progress.",
  },
  {
    name: "tag_fill_memory_bytes",
    type: "gauge",
    labels: [],
    help: "Body bytes in memory that wait for the disk.",
  },
  {
    name: "tag_read_buffer_bytes",
    type: "gauge",
    labels: [],
    help: "Memory in which stored bodies are checked and lent to those who send them; bounded.",
  },
  {
    name: "tag_memory_tier_bytes",
    type: "gauge",
    labels: [],
    help: "What the hot small bodies of the memory tier take; cache.memory_bytes bounds it. Not all of it is resident memory of the process: bodies that the kernel sends by itself are pages of a file without a disk.",
  },
  {
    name: "tag_reply_memory_bytes",
    type: "gauge",
    labels: [],
    help: "Read port: bytes of replies that are held back, and of copies of hot bodies.",
  },
  {
    name: "tag_flight_listeners",
    type: "gauge",
    labels: [],
    help: "Readers of all flights.",
  },
  {
    name: "tag_flight_memory_bytes",
    type: "gauge",
    labels: [],
    help: "Body bytes in memory that readers of flights have yet to take.",
  },
  {
    name: "tag_open_files",
    type: "gauge",
    labels: [],
    help: "Cache files kept open.",
  },

  // Upstream and identity.
  {
    name: "tag_upstream_responses_total",
    type: "counter",
    labels: ["method", "code"],
    help: "Answers of upstream by status.",
  },
  {
    name: "tag_upstream_retries_total",
    type: "counter",
    labels: [],
    help: "Upstream requests sent again after a broken connection.",
  },
  {
    name: "tag_upstream_received_bytes_total",
    type: "counter",
    labels: [],
    help: "Body bytes received from upstream.",
  },
  {
    name: "tag_grants_revoked_total",
    type: "counter",
    labels: [],
    help: "Grants withdrawn because upstream refused a read.",
  },
  {
    name: "tag_auth_lessons_total",
    type: "counter",
    labels: ["outcome"],
    help: "Requests with a key or grant not learned yet: taught (went upstream alone), waited (used the lesson of another), timed_out.",
  },

  // The process.
  {
    name: "tag_build_info",
    type: "gauge",
    labels: ["version", "commit"],
    help: "Always 1; says which build runs.",
  },
  {
    name: "tag_ready",
    type: "gauge",
    labels: [],
    help: "1 while new requests are welcome, 0 from the start of a drain on.",
  },
  {
    name: "tag_event_loop_lag_seconds",
    type: "gauge",
    labels: [],
    help: "Longest time the event loop was late since the last scrape.",
  },
  {
    name: "tag_task_failures_total",
    type: "counter",
    labels: ["task"],
    help: "Background tasks that ended with an error, by name.",
  },
  {
    name: "tag_config_reload_total",
    type: "counter",
    labels: ["result"],
    help: "Reloads of configuration and certificates: success, failure.",
  },
  {
    name: "tag_log_lines_suppressed_total",
    type: "counter",
    labels: [],
    help: "Log lines left out because the same event was logged too often.",
  },
] as const satisfies readonly MetricFamily[];

type Family = (typeof METRIC_FAMILIES)[number];

/** `tag_cache_hits_total` → `cacheHitsTotal`. */
type PropertyOf<Name extends string> = Name extends `tag_${infer Rest}` ? CamelCase<Rest> : never;
type CamelCase<Text extends string> = Text extends `${infer Head}_${infer Tail}`
  ? `${Head}${Capitalize<CamelCase<Tail>>}`
  : Text;

type InstrumentOf<F extends Family> = F["type"] extends "counter"
  ? Counter<F["labels"][number]>
  : F["type"] extends "gauge"
    ? Gauge<F["labels"][number]>
    : Histogram<F["labels"][number]>;

type Instruments = { readonly [F in Family as PropertyOf<F["name"]>]: InstrumentOf<F> };

/** One object per family, by the camel-case name without `tag_`, and what makes text of them. */
export interface Metrics extends Instruments {
  readonly registry: Registry;
  /** Media type of `text()`. */
  readonly contentType: string;
  /** Runs `read` whenever the text is made, to set what others keep count of. Must not throw. */
  beforeText(read: () => void): void;
  /** Everything in the Prometheus text format. */
  text(): Promise<string>;
}

/** Makes a set of its own, so that tests and several gateways in one process do not mix. */
export function createMetrics(): Metrics {
  const registry = new Registry();
  const readers: (() => void)[] = [];
  const instruments = Object.fromEntries(
    METRIC_FAMILIES.map((family) => [propertyOf(family.name), instrumentOf(family, registry)]),
  ) as unknown as Instruments;
  return {
    ...instruments,
    registry,
    contentType: registry.contentType,
    beforeText: (read) => void readers.push(read),
    text() {
      for (const read of readers) read();
      return registry.metrics();
    },
  };
}

function propertyOf(name: string): string {
  return name
    .replace(/^tag_/, "")
    .replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

function instrumentOf(family: MetricFamily, registry: Registry): unknown {
  const { name, help, labels } = family;
  switch (family.type) {
    case "counter":
      return new Counter({ name, help, labelNames: labels, registers: [registry] });
    case "gauge":
      return new Gauge({ name, help, labelNames: labels, registers: [registry] });
    case "histogram":
      return new Histogram({ name, help, labels, buckets: family.buckets ?? SECONDS }, registry);
    default:
      return unreachable(family.type);
  }
}

/** Sets a counter to a total that somebody else keeps; for use in `beforeText`. */
export function setTotal(counter: Counter, total: number): void {
  counter.reset();
  counter.inc(total);
}
