/**
 * What `tag cache stats` reports: the store as it is on disk, read beside a running
 * server or without one, and the counters of the server when it answers.
 */

import { systemClock } from "../base/clock.ts";
import type { Config } from "../config/options.ts";
import { CliError } from "./exit-codes.ts";
import { ask, localServerUrl } from "./local-server.ts";

export interface TierReport {
  readonly tier: string;
  readonly entries: number;
  readonly logicalBytes: number;
  /** On the volume, outside of the catalog. */
  readonly diskBytes: number;
}

export interface BucketReport {
  readonly bucket: string;
  readonly entries: number;
  readonly logicalBytes: number;
  readonly diskBytes: number;
  /** Of these, what is pinned. */
  readonly pinnedEntries: number;
  readonly pinnedBytes: number;
  /** What it may take; undefined: what there is. */
  readonly quotaBytes: number | undefined;
}

export interface PinsReport {
  readonly prefixes: readonly {
    readonly bucket: string;
    readonly prefix: string;
    readonly origin: "operator" | "config";
  }[];
  readonly entries: number;
  /** On the volume. */
  readonly bytes: number;
  /** The bound on them; undefined while the cap is not known. */
  readonly maxBytes: number | undefined;
}

export interface StoreReport {
  readonly folder: string;
  /** False: there is no store in the folder (yet); everything else is zero. */
  readonly isPresent: boolean;
  readonly entries: number;
  readonly logicalBytes: number;
  readonly physicalBytes: number;
  /** Undefined while it is neither configured nor chosen by a first start. */
  readonly capacityBytes: number | undefined;
  readonly tiers: readonly TierReport[];
  /** The largest first. */
  readonly buckets: readonly BucketReport[];
  readonly pins: PinsReport;
  /** Since the store was made; of up to five seconds ago while a server runs. */
  readonly evictedEntries: number;
  readonly evictedBytes: number;
  /**
   * How long something stays that nobody asks for: the age of the oldest segment or file,
   * the next to go. Undefined while nothing was evicted yet, since nothing has to go then.
   */
  readonly evictionAgeMs: number | undefined;
  /** Bytes written for what was stored, and once more for what was moved on, catalog left out. */
  readonly storedBytes: number;
  readonly movedBytes: number;
  /** Bytes written per byte stored; undefined while nothing was. */
  readonly writeAmplification: number | undefined;
  /** Catalog files that cannot be read; what they hold is missing in these figures. */
  readonly unreadableShards: number;
}

/** Counters of the running server since its start. */
export interface LiveReport {
  readonly url: string;
  readonly hits: number;
  readonly misses: number;
  /** Undefined while there was neither a hit nor a miss. */
  readonly hitRatio: number | undefined;
  readonly hitBytes: number;
  readonly missBytes: number;
  /** The same by body bytes. */
  readonly byteHitRatio: number | undefined;
  readonly inflightRequests: number;
  readonly evictedEntries: number;
}

export interface CacheReport {
  readonly store: StoreReport;
  /** Undefined when no server answers. */
  readonly live: LiveReport | undefined;
}

/** Long enough for a busy server, short enough for cron. */
const LIVE_TIMEOUT_MS = 1_000;

/** Throws `CliError` "io" when there is a store that cannot be read. */
export async function reportCache(config: Config): Promise<CacheReport> {
  const [store, live] = await Promise.all([reportStore(config), reportLive(config)]);
  return { store, live };
}

async function reportStore({ cache }: Config): Promise<StoreReport> {
  const { openCatalogReader } = await import("../storage/open.ts");
  const { Rules } = await import("../cache/cache.ts");
  const rules = new Rules(cache.rules);
  const pinnedMaxBytes = (capacityBytes: number | undefined): number | undefined =>
    capacityBytes === undefined
      ? undefined
      : Math.floor((cache.pinnedMaxPercent / 100) * capacityBytes);
  const configured = cache.maxDiskUsageBytes > 0 ? cache.maxDiskUsageBytes : undefined;
  const empty: StoreReport = {
    folder: cache.diskPath,
    isPresent: false,
    entries: 0,
    logicalBytes: 0,
    physicalBytes: 0,
    capacityBytes: configured,
    tiers: [],
    buckets: [],
    pins: { prefixes: [], entries: 0, bytes: 0, maxBytes: pinnedMaxBytes(configured) },
    evictedEntries: 0,
    evictedBytes: 0,
    evictionAgeMs: undefined,
    storedBytes: 0,
    movedBytes: 0,
    writeAmplification: undefined,
    unreadableShards: 0,
  };
  try {
    const reader = openCatalogReader(cache.diskPath);
    if (reader === undefined) return empty;
    try {
      const {
        tiers,
        buckets: summaries,
        pins,
        physicalBytes,
        capacityBytes = configured,
        counters,
        oldestAtMs,
        unreadableShards,
      } = reader.summary();
      const buckets = summaries.map((one) => ({
        ...one,
        quotaBytes: rules.quotaBytes(one.bucket),
      }));
      const counter = (name: string): number => counters.get(name) ?? 0;
      const evictedEntries = counter("evicted_entries");
      const storedBytes = counter("stored_bytes");
      const movedBytes = counter("moved_bytes");
      return {
        ...empty,
        isPresent: true,
        entries: sum(tiers, (tier) => tier.entries),
        logicalBytes: sum(tiers, (tier) => tier.logicalBytes),
        physicalBytes,
        capacityBytes,
        tiers,
        buckets: buckets.toSorted((a, b) => b.logicalBytes - a.logicalBytes),
        pins: {
          prefixes: pins,
          entries: sum(buckets, ({ pinnedEntries }) => pinnedEntries),
          bytes: sum(buckets, ({ pinnedBytes }) => pinnedBytes),
          maxBytes: pinnedMaxBytes(capacityBytes),
        },
        evictedEntries,
        evictedBytes: counter("evicted_bytes"),
        evictionAgeMs:
          evictedEntries === 0 || oldestAtMs === undefined
            ? undefined
            : Math.max(0, Math.round(systemClock.nowMs() - oldestAtMs)),
        storedBytes,
        movedBytes,
        unreadableShards,
        writeAmplification:
          storedBytes === 0 ? undefined : (storedBytes + movedBytes) / storedBytes,
      };
    } finally {
      reader.close();
    }
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new CliError("io", `cannot read the cache in ${cache.diskPath}: ${reason}`, {
      cause: error,
    });
  }
}

async function reportLive(config: Config): Promise<LiveReport | undefined> {
  const url = localServerUrl(config);
  if (url === undefined) return undefined;
  const answer = await ask(`${url}/metrics`, LIVE_TIMEOUT_MS);
  if (answer.kind !== "answered" || answer.status !== 200) return undefined;
  const total = totalsOf(answer.text);
  const bytes = bytesByResult(answer.text);
  // Something else may listen on that port.
  if (!total.has("tag_cache_hits_total")) return undefined;
  const count = (name: string): number => total.get(name) ?? 0;
  const hits = count("tag_cache_hits_total");
  const misses = count("tag_cache_misses_total");
  return {
    url,
    hits,
    misses,
    hitRatio: ratioOf(hits, misses),
    hitBytes: bytes.hit,
    missBytes: bytes.miss,
    byteHitRatio: ratioOf(bytes.hit, bytes.miss),
    inflightRequests: count("tag_inflight_requests"),
    evictedEntries: count("tag_cache_evictions_total"),
  };
}

function ratioOf(hits: number, misses: number): number | undefined {
  return hits + misses === 0 ? undefined : hits / (hits + misses);
}

function bytesByResult(text: string): { readonly hit: number; readonly miss: number } {
  const of = (result: string): number =>
    Number(
      new RegExp(`^tag_cache_served_bytes_total\\{result="${result}"\\} (\\S+)`, "m").exec(
        text,
      )?.[1] ?? 0,
    );
  return { hit: of("hit"), miss: of("miss") };
}

/** The sum over all labels of every sample in a Prometheus text. */
export function totalsOf(text: string): ReadonlyMap<string, number> {
  const totals = new Map<string, number>();
  for (const line of text.split("\n")) {
    const match = /^([a-zA-Z_:][\w:]*)(?:\{.*\})? (\S+)/.exec(line);
    if (match === null) continue;
    const [, name = "", number = ""] = match;
    const value = Number(number);
    if (Number.isFinite(value)) totals.set(name, (totals.get(name) ?? 0) + value);
  }
  return totals;
}

const sum = <T>(items: readonly T[], pick: (item: T) => number): number =>
  items.reduce((total, item) => total + pick(item), 0);
