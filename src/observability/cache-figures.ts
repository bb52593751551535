/**
 * Gauges of the cache that are read when the metrics text is made: what the store
 * says of itself, and how often the cache missed.
 */

import type { Clock } from "../base/clock.ts";
import { setTotal } from "./metrics.ts";
import type { Metrics } from "./metrics.ts";

/** The numbers of a store that are shown; `StorageStats` of storage/ has them all. */
export interface StoreFigures {
  readonly entries: number;
  readonly logicalBytes: number;
  readonly physicalBytes: number;
  /** Cap on `physicalBytes`; 0 or Infinity when there is none. */
  readonly capacityBytes: number;
  readonly evictedEntries: number;
  readonly evictedBytes: number;
  readonly damagedEntries: number;
  readonly activeFills: number;
  readonly degradedBecause: string | undefined;
}

export function showStoreFigures(metrics: Metrics, figures: StoreFigures): void {
  const { capacityBytes, physicalBytes } = figures;
  const isCapped = capacityBytes > 0 && Number.isFinite(capacityBytes);
  metrics.cacheEntries.set(figures.entries);
  metrics.cacheSizeBytes.set(figures.logicalBytes);
  metrics.cacheDiskBytes.set(physicalBytes);
  metrics.cacheMaxBytes.set({ tier: "disk" }, isCapped ? capacityBytes : 0);
  metrics.cacheUtilizationRatio.set({ tier: "disk" }, isCapped ? physicalBytes / capacityBytes : 0);
  metrics.activeFills.set(figures.activeFills);
  metrics.cacheDegraded.set(figures.degradedBecause === undefined ? 0 : 1);
  setTotal(metrics.cacheEvictionsTotal, figures.evictedEntries);
  setTotal(metrics.cacheEvictedBytesTotal, figures.evictedBytes);
  setTotal(metrics.cacheDamagedEntriesTotal, figures.damagedEntries);
}

/** What is shown of a store on disk besides; its `pinFigures`, `quotaFigures` and `resources`. */
export interface DiskFigures {
  readonly pinnedBytes: number;
  readonly pinnedMaxBytes: number;
  readonly refusedPins: number;
  readonly quotas: readonly { readonly bytes: number; readonly quotaBytes: number }[];
  readonly openFiles: number;
  readonly fillMemoryBytes: number;
  readonly readBufferBytes: number;
  readonly memoryTierBytes: number;
}

export function showDiskFigures(metrics: Metrics, figures: DiskFigures): void {
  metrics.cachePinnedBytes.set(figures.pinnedBytes);
  metrics.cachePinnedMaxBytes.set(figures.pinnedMaxBytes);
  setTotal(metrics.cachePinsRefusedTotal, figures.refusedPins);
  const { quotas } = figures;
  metrics.cacheQuotaBuckets.set(quotas.length);
  metrics.cacheQuotaBytes.set(quotas.reduce((sum, { bytes }) => sum + bytes, 0));
  metrics.cacheQuotaMaxRatio.set(
    Math.max(0, ...quotas.map(({ bytes, quotaBytes }) => bytes / quotaBytes)),
  );
  metrics.openFiles.set(figures.openFiles);
  metrics.fillMemoryBytes.set(figures.fillMemoryBytes);
  metrics.readBufferBytes.set(figures.readBufferBytes);
  metrics.memoryTierBytes.set(figures.memoryTierBytes);
}

/** How a read was answered, for `CacheOutcomes`. */
export type CacheOutcome = "hit" | "revalidated_hit" | "miss";

const SLOT_MS = 10_000;
/** Five minutes. */
const SLOT_COUNT = 30;

interface Slot {
  /** Number of the ten seconds this slot counts, from the start of the clock. */
  period: number;
  hits: number;
  misses: number;
}

/**
 * Counts hits and misses, once per answer with such an `X-Cache`, and keeps the miss
 * rates: since the start, and over five minutes, because the first one hides a
 * collapse after a good week.
 */
export class CacheOutcomes {
  readonly #clock: Clock;
  readonly #slots: readonly Slot[] = Array.from({ length: SLOT_COUNT }, () => ({
    period: -1,
    hits: 0,
    misses: 0,
  }));
  #hits = 0;
  #revalidatedHits = 0;
  #misses = 0;
  /** What the counters were told already. */
  #shown = { hits: 0, revalidatedHits: 0, misses: 0 };

  constructor(metrics: Metrics, clock: Clock) {
    this.#clock = clock;
    metrics.beforeText(() => this.#show(metrics));
  }

  count(outcome: CacheOutcome): void {
    const period = this.#period();
    const slot = this.#slots[period % SLOT_COUNT];
    if (slot === undefined) return;
    if (slot.period !== period) {
      slot.period = period;
      slot.hits = 0;
      slot.misses = 0;
    }
    if (outcome === "miss") {
      slot.misses += 1;
      this.#misses += 1;
      return;
    }
    slot.hits += 1;
    this.#hits += 1;
    if (outcome === "revalidated_hit") this.#revalidatedHits += 1;
  }

  /** What was counted so far. */
  totals(): { readonly hits: number; readonly revalidatedHits: number; readonly misses: number } {
    return { hits: this.#hits, revalidatedHits: this.#revalidatedHits, misses: this.#misses };
  }

  /** Share of misses among the answers of the last five minutes; 0 when there were none. */
  recentMissRate(): number {
    const oldest = this.#period() - SLOT_COUNT + 1;
    let hits = 0;
    let misses = 0;
    for (const slot of this.#slots) {
      if (slot.period < oldest) continue;
      hits += slot.hits;
      misses += slot.misses;
    }
    return missRate(hits, misses);
  }

  #period(): number {
    return Math.max(0, Math.floor(this.#clock.monotonicMs() / SLOT_MS));
  }

  #show(metrics: Metrics): void {
    const now = this.totals();
    const newHits = now.hits - this.#shown.hits;
    const newMisses = now.misses - this.#shown.misses;
    metrics.cacheHitsTotal.inc(newHits);
    metrics.cacheMissesTotal.inc(newMisses);
    metrics.cacheRevalidatedHitsTotal.inc(now.revalidatedHits - this.#shown.revalidatedHits);
    metrics.cacheOperationsTotal.inc({ operation: "get", result: "hit" }, newHits);
    metrics.cacheOperationsTotal.inc({ operation: "get", result: "miss" }, newMisses);
    metrics.cacheMissRateRatio.set(missRate(now.hits, now.misses));
    metrics.cacheMissRate5mRatio.set(this.recentMissRate());
    this.#shown = now;
  }
}

function missRate(hits: number, misses: number): number {
  return hits + misses === 0 ? 0 : misses / (hits + misses);
}
