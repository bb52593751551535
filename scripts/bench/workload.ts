/**
 * What is measured, as data: a workload is a question, its cases are the points at which it is asked.
 * workloads.ts holds the table, runner.ts carries it out.
 */

import type { Random } from "../../src/base/random.ts";
import type { DataSet, ObjectClass } from "./data-set.ts";
import { rawTargetOf } from "./data-set.ts";
import type { PlannedRequest } from "./load/plan.ts";
import type { OriginSettings } from "./origin.ts";

/** What a cache holds when a measurement begins. */
export type Temperature =
  /** Every object of the case, and the pages of its file. */
  | "hot"
  /** Every object, but the page cache was emptied: the disk has to be read. */
  | "on-disk"
  /** Nothing of the case; only the small objects of `settle` were read. */
  | "empty";

/** Load beside the one that is measured. */
export interface Background {
  readonly requests: readonly PlannedRequest[];
  readonly connections: number;
}

export interface Case {
  /** Unique in its workload: `1 KiB`, `idle`. */
  readonly name: string;
  readonly temperature: Temperature;
  readonly connections: number;
  /** Consecutive requests a connection takes; 1 when undefined. */
  readonly batch?: number;
  /** Requests per second, started at fixed times; undefined: as fast as answers come. */
  readonly perSecond?: number;
  /**
   * What is asked. One list, or several that follow each other on the same cache: epochs, each
   * measured on its own as `name, pass 1`, `name, pass 2` …
   */
  readonly passes: readonly (readonly PlannedRequest[])[];
  /** Lists are repeated for so long; undefined: every request once. */
  readonly durationMs?: number;
  /** Goes on all the time; the measured load runs while it does. */
  readonly background?: Background;
  /** Objects to have in the cache beforehand, when they are not those of `passes`. */
  readonly warm?: readonly PlannedRequest[];
}

export interface Workload {
  readonly name: string;
  /** What it asks, in a sentence for the report. */
  readonly question: string;
  readonly origin: OriginSettings;
  /** Contenders that cannot take part, and why. */
  readonly without?: Readonly<Record<string, string>>;
  /** Only these take part; undefined: all. */
  readonly only?: readonly string[];
  /** The measured servers answer from memory or disk, so `direct` gets their core (see direct.ts). */
  readonly isAboutHits: boolean;
  readonly cases: readonly Case[];
}

/** How much is done: the full benchmark, or a quick look at whether everything works. */
export interface Scale {
  readonly dataSet: DataSet;
  readonly rounds: number;
  /** Load before the first round of a hot case, for everybody: servers run for months, not for seconds. */
  readonly settleMs: number;
  /** The beginning of every timed measurement that does not count. */
  readonly warmupMs: number;
  readonly durationMs: number;
  readonly soakMs: number;
  readonly epochs: number;
}

/** One GET for each of the first `count` objects of a class. */
export function reads(
  objects: ObjectClass,
  count = objects.count,
  group = "all",
): PlannedRequest[] {
  return Array.from({ length: Math.min(count, objects.count) }, (_, index) => ({
    method: "GET" as const,
    rawTarget: rawTargetOf(objects, index),
    sizeBytes: objects.sizeBytes,
    group,
  }));
}

/** GETs of `count` ranges of `sizeBytes` in one object: in order when they fit, else at random places. */
export function rangeReads(
  objects: ObjectClass,
  sizeBytes: number,
  count: number,
  random: Random,
): PlannedRequest[] {
  const places = Math.floor(objects.sizeBytes / sizeBytes);
  return Array.from({ length: count }, (_, index) => {
    const place = count <= places ? index : random.below(places);
    const start = place * sizeBytes;
    return {
      method: "GET" as const,
      rawTarget: rawTargetOf(objects, 0),
      range: `bytes=${start}-${start + sizeBytes - 1}`,
      sizeBytes,
      group: "all",
    };
  });
}

/** The same requests in another order (Fisher-Yates). */
export function shuffled<T>(items: readonly T[], random: Random): T[] {
  const result = [...items];
  for (let at = result.length - 1; at > 0; at -= 1) {
    const other = random.below(at + 1);
    [result[at], result[other]] = [result[other] as T, result[at] as T];
  }
  return result;
}
