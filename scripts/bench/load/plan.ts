/**
 * What the load generator is told and what it answers: plain data, so that it can cross a pipe.
 */

import type { LatencySummary } from "./histogram.ts";

/** One request; the plan holds many and the connections take them in order. */
export interface PlannedRequest {
  readonly method: "GET" | "HEAD";
  /** Path and query, encoded. */
  readonly rawTarget: string;
  /** A `Range` header, `bytes=0-1023`. */
  readonly range?: string;
  /** Body bytes a right answer has; anything else counts as an error. */
  readonly sizeBytes: number;
  /** Latencies are kept apart per group: `small` and `large` in a mixture. */
  readonly group: string;
}

export type Pace =
  /** Every connection sends its next request when its answer is complete. */
  | { readonly kind: "closed" }
  /**
   * Requests start at fixed times, however slow the server is, and latency counts from that time: a
   * stall is charged to everyone it would have hit, not only to the one request that saw it.
   */
  | { readonly kind: "open"; readonly perSecond: number };

export type End =
  /** The list is repeated until the time is over; the first `warmupMs` do not count. */
  | { readonly kind: "time"; readonly warmupMs: number; readonly durationMs: number }
  /** Every request of the list once. */
  | { readonly kind: "list" }
  /** As long as the process lives: the load that is measured beside another. */
  | { readonly kind: "beside"; readonly pid: number; readonly warmupMs: number };

export interface LoadPlan {
  /** IPv4 address. */
  readonly host: string;
  readonly port: number;
  /** Value of the `Host` field; part of what is signed. */
  readonly hostField: string;
  /** Undefined: requests go out unsigned. */
  readonly credentials: Credentials | undefined;
  readonly connections: number;
  /** Consecutive requests a connection takes at a time: the batch of a data loader. */
  readonly batch: number;
  readonly requests: readonly PlannedRequest[];
  readonly pace: Pace;
  readonly end: End;
  /** One header in so many is read; the other answers are only seen to be complete and of the right size. */
  readonly readEvery: number;
  /** Processes whose CPU time is read at both edges of the measured window. */
  readonly watchedPids: readonly number[];
}

export interface Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly region: string;
}

export interface GroupResult {
  readonly requests: number;
  /** Send to last byte. */
  readonly latency: LatencySummary;
  /** Send to first byte of the answer. */
  readonly firstByte: LatencySummary;
}

export interface LoadResult {
  readonly seconds: number;
  readonly requests: number;
  /** Body bytes received in the window. */
  readonly bodyBytes: number;
  readonly errors: number;
  /** The first few, in words. */
  readonly errorSamples: readonly string[];
  /** Share of answers with `X-Cache: HIT`, among those whose header was read. */
  readonly hitShare: number;
  readonly groups: Readonly<Record<string, GroupResult>>;
  /** User and system time of the watched processes in the window. */
  readonly serverCpuMs: number;
  /** The same of the generator itself: near `seconds` it was the bottleneck. */
  readonly clientCpuMs: number;
}
