/**
 * One request on its way through the gateway: what was parsed once and is read by every
 * later stage, and the few facts the stages leave behind for the log and the counters.
 */

import type { Principal, VirtualHost } from "../auth/auth.ts";
import type { Inbound } from "../http/exchange.ts";
import type { RawTarget } from "../http/raw-target.ts";
import type { S3ErrorCode } from "../s3/error.ts";
import type { Operation } from "../s3/operation.ts";
import type { InflightSlot } from "./inflight-limit.ts";

/** The documented values of the `X-Cache` header. */
export type XCache = "HIT" | "MISS" | "REVALIDATED" | "BYPASS" | "DISABLED";

/** Where the bytes of an answer came from. */
export type AnswerSource = "cache" | "flight" | "upstream" | "gateway";

export interface ExchangeState<O extends Operation = Operation> {
  readonly inbound: Inbound;
  readonly target: RawTarget;
  readonly operation: O;
  /** The bucket when the host names it; undefined: it is the first part of the path. */
  readonly virtualHost: VirtualHost | undefined;
  /** Renewed when an answer has taught auth more about the asker. */
  who: Principal;
  /** Set by respond.ts, together with the header; undefined: the answer carries none. */
  xCache: XCache | undefined;
  source: AnswerSource;
  /** Why it was served the way it was, for the log: a word such as `cold` or `expired`. */
  reason: string | undefined;
  /** The hit was confirmed by upstream first. */
  isRevalidated: boolean;
  /** Code of the gateway's own S3 error, when the answer is one. */
  errorCode: S3ErrorCode | undefined;
  /** Upstream's own request id, when it answered. */
  upstreamRequestId: string | undefined;
  /** Its place among the requests being answered, given back with the last byte. */
  readonly slot: InflightSlot;
}

export type ReadState = ExchangeState<Extract<Operation, { kind: "read" }>>;
export type WriteState = ExchangeState<Extract<Operation, { kind: "write" }>>;
