/**
 * One measurement and the figures made of it. Everything that is reported, plotted or checked is a
 * `Metric` of measurements; nothing else computes with raw results.
 */

import { unreachable } from "../../src/base/assert.ts";
import type { GroupResult, LoadResult } from "./load/plan.ts";

export interface Measurement {
  readonly workload: string;
  readonly caseName: string;
  readonly contender: string;
  /** Rounds go through all contenders, so those of one round had the same weather. */
  readonly round: number;
  readonly load: LoadResult;
  /** False when the process is not ours to look at: no CPU, no memory. */
  readonly hasServerFigures: boolean;
  /** Resident memory of the server's processes: highest, and once per second. */
  readonly peakBytes: number;
  readonly rssSeries: readonly number[];
  /** What the origin was asked meanwhile. */
  readonly originRequests: number;
  readonly originBodyBytes: number;
}

export const METRICS = [
  "requestsPerSecond",
  "mibPerSecond",
  "cpuUsPerRequest",
  "cpuUsPerMib",
  "p50Us",
  "p99Us",
  "p999Us",
  "firstByteP50Us",
  "firstByteP99Us",
  "seconds",
  "peakMib",
  "rssGrowth",
  "originRequests",
  "errors",
  "hitShare",
  "clientShare",
] as const;

export type Metric = (typeof METRICS)[number];

const MIB = 1024 * 1024;

/** The figure, or undefined when the measurement cannot tell it. */
export function metricOf(measurement: Measurement, metric: Metric): number | undefined {
  const { load, hasServerFigures } = measurement;
  const group = mainGroup(load);
  switch (metric) {
    case "requestsPerSecond":
      return load.requests / load.seconds;
    case "mibPerSecond":
      return load.bodyBytes / MIB / load.seconds;
    case "cpuUsPerRequest":
      return hasServerFigures && load.requests > 0
        ? (load.serverCpuMs * 1000) / load.requests
        : undefined;
    case "cpuUsPerMib":
      return hasServerFigures && load.bodyBytes > 0
        ? (load.serverCpuMs * 1000) / (load.bodyBytes / MIB)
        : undefined;
    case "p50Us":
      return group?.latency.p50Us;
    case "p99Us":
      return group?.latency.p99Us;
    case "p999Us":
      return group?.latency.p999Us;
    case "firstByteP50Us":
      return group?.firstByte.p50Us;
    case "firstByteP99Us":
      return group?.firstByte.p99Us;
    case "seconds":
      return load.seconds;
    case "peakMib":
      return hasServerFigures ? measurement.peakBytes / MIB : undefined;
    case "rssGrowth":
      return growth(measurement.rssSeries);
    case "originRequests":
      return measurement.originRequests;
    case "errors":
      return load.errors;
    case "hitShare":
      return load.hitShare;
    case "clientShare":
      return load.clientCpuMs / 1000 / load.seconds;
    default:
      return unreachable(metric);
  }
}

/** Of a mixture the small requests, whose latency is the question; undefined when none was answered. */
function mainGroup({ groups }: LoadResult): GroupResult | undefined {
  const group = groups["small"] ?? groups["all"];
  return group === undefined || group.requests === 0 ? undefined : group;
}

/** Memory in the last fifth of a run against the second fifth; the first is warming up. */
function growth(series: readonly number[]): number | undefined {
  if (series.length < 10) return undefined;
  const fifth = Math.floor(series.length / 5);
  const before = median(series.slice(fifth, 2 * fifth));
  const after = median(series.slice(-fifth));
  return before === 0 ? undefined : after / before;
}

/** What repeated measurements say: the middle one, and how far they lie apart. */
export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
  readonly count: number;
}

/** Undefined when there is nothing to summarise. */
export function spreadOf(values: readonly (number | undefined)[]): Spread | undefined {
  const known = values.filter((value) => value !== undefined && Number.isFinite(value)) as number[];
  if (known.length === 0) return undefined;
  return {
    median: median(known),
    min: Math.min(...known),
    max: Math.max(...known),
    count: known.length,
  };
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((left, right) => left - right);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

/** Which measurements a figure is about. */
export interface Selection {
  readonly workload: string;
  readonly caseName: string;
  readonly contender: string;
}

/** The results of one run of the benchmark. */
export class Results {
  readonly #measurements: readonly Measurement[];

  constructor(measurements: readonly Measurement[]) {
    this.#measurements = measurements;
  }

  get all(): readonly Measurement[] {
    return this.#measurements;
  }

  select({ workload, caseName, contender }: Selection): Measurement[] {
    return this.#measurements.filter(
      (one) =>
        one.workload === workload && one.caseName === caseName && one.contender === contender,
    );
  }

  spread(selection: Selection, metric: Metric): Spread | undefined {
    return spreadOf(this.select(selection).map((one) => metricOf(one, metric)));
  }

  /**
   * `of` against `against`, round by round, so that what slows down the whole machine for a while
   * slows down both sides; then the spread of these quotients (or differences).
   */
  compare(
    of: Selection,
    against: Selection,
    metric: Metric,
    as: "ratio" | "difference" = "ratio",
  ): Spread | undefined {
    const others = new Map(this.select(against).map((one) => [one.round, one]));
    return spreadOf(
      this.select(of).map((one) => {
        const other = others.get(one.round);
        const left = metricOf(one, metric);
        const right = other === undefined ? undefined : metricOf(other, metric);
        if (left === undefined || right === undefined) return undefined;
        return as === "ratio" ? left / right : left - right;
      }),
    );
  }

  /** Names in the order they first appear. */
  workloads(): string[] {
    return [...new Set(this.#measurements.map((one) => one.workload))];
  }

  cases(workload: string): string[] {
    const inside = this.#measurements.filter((one) => one.workload === workload);
    return [...new Set(inside.map((one) => one.caseName))];
  }

  contenders(): string[] {
    return [...new Set(this.#measurements.map((one) => one.contender))];
  }
}
