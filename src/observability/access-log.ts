/**
 * The access line: one per request, with what an operator asks first. Who wanted
 * what, how it was answered and from where, how long it took, and why it was not a hit.
 */

import type { Log } from "./log.ts";

/** What is known of a request when its answer is over. */
export interface RequestRecord {
  /** The id in `x-amz-request-id`. */
  readonly id: string;
  readonly remoteAddress: string;
  readonly method: string;
  /** S3 operation, or `Unknown` when the request was refused before that was known. */
  readonly operation: string;
  readonly bucket: string | undefined;
  readonly key: string | undefined;
  /** In full; only its end is written. Undefined for anonymous requests. */
  readonly accessKeyId: string | undefined;
  readonly status: number;
  /** Code of our own S3 error; undefined when the answer is none or upstream's. */
  readonly errorCode: string | undefined;
  /** As in the `X-Cache` header; undefined when the answer carries none. */
  readonly xCache: string | undefined;
  /** Where the answer came from. */
  readonly source: "cache" | "flight" | "upstream" | "gateway";
  /** Why it was served that way: `cold`, `expired`, `unproven`, … */
  readonly reason: string | undefined;
  /** Body bytes received from the client and handed to its socket. */
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** False when the client left or the body broke before its end. */
  readonly isComplete: boolean;
  /** From the complete request header to the answer's header; undefined when it never came so far. */
  readonly ttfbMs: number | undefined;
  /** From the complete request header to the end of the answer. */
  readonly durationMs: number;
  /** Upstream's own id of the request it answered, to find it in its logs. */
  readonly upstreamRequestId: string | undefined;
}

/** Writes the access line of a request at level info. */
export type AccessLog = (record: RequestRecord) => void;

/** Makes the access log on `log`, under the module `http`. */
export function createAccessLog(log: Log): AccessLog {
  const http = log.child({ module: "http" });
  return (record) => {
    if (!http.isEnabled("info")) return;
    http.infoPlain("request", {
      id: record.id,
      remote: record.remoteAddress,
      method: record.method,
      operation: record.operation,
      bucket: record.bucket,
      key: record.key,
      access_key: maskAccessKey(record.accessKeyId),
      status: record.status,
      s3_code: record.errorCode,
      x_cache: record.xCache,
      source: record.source,
      reason: record.reason,
      bytes_in: record.bytesIn === 0 ? undefined : record.bytesIn,
      bytes: record.bytesOut,
      complete: record.isComplete ? undefined : false,
      ttfb_ms: record.ttfbMs === undefined ? undefined : roundMs(record.ttfbMs),
      ms: roundMs(record.durationMs),
      upstream_id: record.upstreamRequestId,
    });
  };
}

/** Microseconds are what a hit is measured in; more digits are noise. */
function roundMs(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}

/** `…last4`: enough to tell clients apart, not enough to look a key up. */
export function maskAccessKey(accessKeyId: string | undefined): string | undefined {
  if (accessKeyId === undefined) return undefined;
  return accessKeyId.length <= 8 ? "…" : `…${accessKeyId.slice(-4)}`;
}
