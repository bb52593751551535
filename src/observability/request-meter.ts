/**
 * The one place where a finished request is counted: every answer passes here once,
 * early refusals included, so no family can disagree with another or with the log.
 *
 * Counting is on the hot path. The series of a combination (operation, status,
 * X-Cache) are found once; counters gather in plain numbers and are handed to
 * prom-client when the metrics text is made.
 */

import type { RequestRecord } from "./access-log.ts";
import type { HistogramSeries } from "./histogram.ts";
import type { Metrics } from "./metrics.ts";

/** Counts a finished request. */
export type RequestMeter = (record: RequestRecord) => void;

/** The operations of the original's `tag_requests_total`. */
const OBJECT_OPERATIONS: ReadonlySet<string> = new Set([
  "GetObject",
  "HeadObject",
  "PutObject",
  "DeleteObject",
  "DeleteObjects",
]);

/** Counts not yet handed over, and the histogram series, of one combination. */
interface Cell {
  readonly operation: string;
  readonly code: string;
  requests: number;
  /** Of the cache; undefined for answers it had no part in. */
  readonly result: "hit" | "miss" | undefined;
  servedBytes: number;
  readonly byResult: Map<RequestResult, number>;
  readonly duration: HistogramSeries;
  readonly ttfb: HistogramSeries;
  readonly size: HistogramSeries;
  /** Undefined for operations the original does not time. */
  readonly originalDuration: HistogramSeries | undefined;
}

export function createRequestMeter(metrics: Metrics): RequestMeter {
  const cells = new Map<string, Cell>();
  let bytesIn = 0;
  let bytesOut = 0;
  let aborts = 0;

  metrics.beforeText(() => {
    metrics.bytesTransferredTotal.inc({ direction: "in" }, bytesIn);
    metrics.bytesTransferredTotal.inc({ direction: "out" }, bytesOut);
    metrics.clientAbortsTotal.inc(aborts);
    bytesIn = bytesOut = aborts = 0;
    for (const cell of cells.values()) handOver(cell, metrics);
  });

  return (record) => {
    const { operation, status, xCache } = record;
    const name = `${operation} ${status} ${xCache}`;
    let cell = cells.get(name);
    if (cell === undefined) cells.set(name, (cell = openCell(record, metrics)));

    cell.requests += 1;
    cell.servedBytes += record.bytesOut;
    const seconds = record.durationMs / 1000;
    cell.duration.observe(seconds);
    if (record.ttfbMs !== undefined) cell.ttfb.observe(record.ttfbMs / 1000);
    if (record.isComplete) cell.size.observe(record.bytesOut);
    else aborts += 1;
    if (cell.originalDuration !== undefined) {
      cell.originalDuration.observe(seconds);
      const result = resultOf(record);
      cell.byResult.set(result, (cell.byResult.get(result) ?? 0) + 1);
    }
    bytesIn += record.bytesIn;
    bytesOut += record.bytesOut;
  };
}

function openCell(record: RequestRecord, metrics: Metrics): Cell {
  const { operation } = record;
  const cache = record.xCache?.toLowerCase() ?? "none";
  return {
    operation,
    code: String(record.status),
    requests: 0,
    result: cache === "hit" || cache === "miss" ? cache : undefined,
    servedBytes: 0,
    byResult: new Map(),
    duration: metrics.httpRequestDurationSeconds.labels({ operation, cache }),
    ttfb: metrics.httpTtfbSeconds.labels({ operation, cache }),
    size: metrics.httpResponseSizeBytes.labels({ operation }),
    originalDuration: OBJECT_OPERATIONS.has(operation)
      ? metrics.requestDurationSeconds.labels({ operation })
      : undefined,
  };
}

function handOver(cell: Cell, metrics: Metrics): void {
  const { operation, code } = cell;
  metrics.httpRequestsTotal.inc({ operation, code }, cell.requests);
  cell.requests = 0;
  if (cell.result !== undefined) {
    metrics.cacheServedBytesTotal.inc({ result: cell.result }, cell.servedBytes);
  }
  cell.servedBytes = 0;
  for (const [status, count] of cell.byResult) {
    metrics.requestsTotal.inc({ operation, status }, count);
  }
  cell.byResult.clear();
}

/** The `status` label of the original's `tag_requests_total`. */
type RequestResult = "success" | "error" | "auth_error" | "range_not_satisfiable";

/**
 * An answer upstream gave, a 404 included, is a success of the gateway; a 5xx or a cut
 * answer is an error, and a refusal for credentials counts as such only when it is ours.
 */
function resultOf(record: RequestRecord): RequestResult {
  if (!record.isComplete || record.status >= 500) return "error";
  if (record.status === 416) return "range_not_satisfiable";
  const isAuthRefusal = record.status === 403 || record.errorCode?.startsWith("Authorization");
  return record.source === "gateway" && isAuthRefusal ? "auth_error" : "success";
}
