/**
 * When a failed request is worth repeating, and how often all of them together may be.
 *
 * Only reads without a body are repeated, only before anything of the response was handed
 * on, and only for failures that a second try may well avoid (the connection was refused or
 * broke). A timeout is not repeated: its reader has waited long enough, and its upstream too.
 *
 * The budget is shared: each request earns a fraction of a retry and each retry spends a whole
 * one. A stray reset always finds one; when everything fails, retries add a tenth to the
 * load of a struggling upstream instead of multiplying it.
 */

import type { Random } from "../base/random.ts";
import { GatewayError } from "../base/errors.ts";
import type { UpstreamRequest } from "./transport.ts";

export interface RetryPolicy {
  /** Repetitions of one request at most; 0 turns retries off. */
  readonly retriesMax: number;
  /** Upper bound of the first pause; it doubles with each further one. */
  readonly firstPauseMs: number;
}

export const DEFAULT_RETRY_POLICY: RetryPolicy = { retriesMax: 2, firstPauseMs: 50 };

/** True when `request` may be sent once more after `error`. */
export function isWorthRepeating(request: UpstreamRequest, error: unknown): boolean {
  return (
    isRepeatable(request) &&
    error instanceof GatewayError &&
    error.source === "upstream" &&
    error.retry === "now"
  );
}

/** Reads without a body may be sent twice: nothing upstream changes by them. */
export function isRepeatable(request: UpstreamRequest): boolean {
  return request.body === null && (request.method === "GET" || request.method === "HEAD");
}

/**
 * The pause before retry number `attempt` (from 0), in milliseconds: uniform between zero and
 * a bound that doubles ("full jitter"), so that requests that failed together do not
 * come back together.
 */
export function retryPauseMs(policy: RetryPolicy, attempt: number, random: Random): number {
  return random.float() * policy.firstPauseMs * 2 ** attempt;
}

/** A bucket of retries that requests fill and retries empty. */
export class RetryBudget {
  static readonly #CAPACITY = 20;
  static readonly #EARNED_PER_REQUEST = 0.1;
  #tokens = RetryBudget.#CAPACITY;

  /** A new request was begun. */
  earn(): void {
    this.#tokens = Math.min(RetryBudget.#CAPACITY, this.#tokens + RetryBudget.#EARNED_PER_REQUEST);
  }

  /** Takes one retry; false when there is none left. */
  spend(): boolean {
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }
}
