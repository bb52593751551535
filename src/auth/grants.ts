/**
 * Who may read which bucket, as learned from upstream's answers, for a limited time.
 *
 * A grant says: this principal's own request for an object of the bucket succeeded not
 * longer than the time to live ago. That is the documented promise
 * (`credentials.authz_cache_ttl`): permissions finer than a bucket, such as prefixes,
 * are not seen, and a right taken away upstream lingers for at most that time, or until
 * the next refusal is seen. Only object reads count (a successful write or listing says
 * nothing about reading), and hits do not prolong a grant, because nobody confirmed it.
 *
 * Beside the grants it keeps, for seconds, where a lesson taught nothing, so that a
 * herd without rights does not queue up for one fruitless lesson after another.
 */

import type { Clock } from "../base/clock.ts";
import { LruMap } from "../base/lru.ts";
import type { LearnedGrant } from "./principal.ts";

const FRUITLESS_MS = 5_000;
const FRUITLESS_MAX = 10_000;

export interface GrantsOptions {
  /** Most grants kept; beyond it the longest unused goes. */
  readonly limit: number;
  readonly ttlMs: number;
  readonly clock: Clock;
}

interface Grant {
  readonly grantee: string;
  readonly bucket: string;
  /** On the monotonic clock, so that setting the time cannot prolong it. */
  readonly endsAtMs: number;
}

export class Grants {
  readonly #ttlMs: number;
  readonly #clock: Clock;
  readonly #grants: LruMap<string, Grant>;
  readonly #fruitless = new LruMap<string, number>(FRUITLESS_MAX);

  constructor(options: GrantsOptions) {
    this.#ttlMs = options.ttlMs;
    this.#clock = options.clock;
    this.#grants = new LruMap(options.limit);
  }

  get size(): number {
    return this.#grants.size;
  }

  has(grantee: string, bucket: string): boolean {
    const name = grantName(grantee, bucket);
    const grant = this.#grants.get(name);
    if (grant === undefined) return false;
    if (this.#clock.monotonicMs() < grant.endsAtMs) return true;
    this.#grants.delete(name);
    return false;
  }

  learn(grantee: string, bucket: string): void {
    const name = grantName(grantee, bucket);
    this.#fruitless.delete(name);
    const endsAtMs = this.#clock.monotonicMs() + this.#ttlMs;
    this.#grants.set(name, { grantee, bucket, endsAtMs }, 1);
  }

  /** Answers whether there was something to revoke. */
  revoke(grantee: string, bucket: string): boolean {
    return this.#grants.delete(grantName(grantee, bucket));
  }

  /** A request that could have taught a grant did not. */
  noteFruitless(grantee: string, bucket: string): void {
    const endsAtMs = this.#clock.monotonicMs() + FRUITLESS_MS;
    this.#fruitless.set(grantName(grantee, bucket), endsAtMs, 1);
  }

  /** Whether a lesson was fruitless a moment ago, so that waiting for another is no use. */
  isFruitless(grantee: string, bucket: string): boolean {
    const endsAtMs = this.#fruitless.peek(grantName(grantee, bucket));
    return endsAtMs !== undefined && this.#clock.monotonicMs() < endsAtMs;
  }

  /** Every live grant. */
  all(): LearnedGrant[] {
    const nowMs = this.#clock.nowMs();
    const monotonicMs = this.#clock.monotonicMs();
    const live: LearnedGrant[] = [];
    for (const [, { grantee, bucket, endsAtMs }] of this.#grants.entries()) {
      const leftMs = endsAtMs - monotonicMs;
      if (leftMs > 0) live.push({ grantee, bucket, expiresAtMs: nowMs + leftMs });
    }
    return live;
  }

  /** Takes grants of an earlier process in, for what is left of them and never for more than the time to live. */
  restore(grants: readonly LearnedGrant[]): void {
    const nowMs = this.#clock.nowMs();
    for (const { grantee, bucket, expiresAtMs } of grants) {
      const leftMs = Math.min(expiresAtMs - nowMs, this.#ttlMs);
      if (leftMs <= 0) continue;
      const endsAtMs = this.#clock.monotonicMs() + leftMs;
      this.#grants.set(grantName(grantee, bucket), { grantee, bucket, endsAtMs }, 1);
    }
  }
}

/** Unambiguous: a bucket name holds no slash. */
function grantName(grantee: string, bucket: string): string {
  return `${bucket}/${grantee}`;
}
