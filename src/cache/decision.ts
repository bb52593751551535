/**
 * The one place that decides what the cache does with a read.
 *
 * Pure on purpose: the request's wishes, the stored entry's dates and the time go
 * in, a decision comes out, and gateway/ carries it out. Every row of
 * docs/cache-control.md is a row of test/unit/cache/decision.test.ts.
 */

import { parseCacheControl } from "../http/cache-control.ts";
import type { Fields } from "../http/fields.ts";

/** What the client's `Cache-Control` asks of a cache (RFC 9111 §5.2.1). */
export interface ReadWishes {
  /** `no-store`: neither answer from the cache nor keep the answer. */
  readonly noStore: boolean;
  /** `no-cache` or `max-age=0`: use an entry only after upstream confirmed it. */
  readonly revalidate: boolean;
  /** `max-age=N`: an entry older than that must be confirmed first. Seconds. */
  readonly maxAgeSeconds: number | undefined;
  /** `only-if-cached`: rather fail than go upstream. */
  readonly onlyIfCached: boolean;
}

/** The dates of an entry that matter here, Unix milliseconds. */
export interface Freshness {
  readonly storedAtMs: number;
  readonly freshUntilMs: number;
}

export type CacheDecision<E extends Freshness> =
  | { readonly kind: "disabled" }
  | { readonly kind: "bypass" }
  | { readonly kind: "miss" }
  | { readonly kind: "hit"; readonly entry: E }
  | { readonly kind: "revalidate"; readonly entry: E; readonly because: Doubt };

/** Why an entry is not used as it is: the client asked, its time is over, or a write is under way. */
export type Doubt = "client" | "expired" | "written";

/**
 * An entry stored later than this from now was stored by a clock that was wrong, and would be
 * fresh until that clock's time comes: its dates say nothing.
 */
const CLOCK_SLACK_MS = 60_000;

/**
 * Decides how to serve a read at `nowMs`; `entry` is undefined when nothing is stored.
 * `isDoubted` says that a write of the object is under way. Never throws.
 */
export function decideRead<E extends Freshness>(
  entry: E | undefined,
  wishes: ReadWishes,
  nowMs: number,
  isEnabled: boolean,
  isDoubted = false,
): CacheDecision<E> {
  if (!isEnabled) return { kind: "disabled" };
  if (wishes.noStore) return { kind: "bypass" };
  if (entry === undefined) return { kind: "miss" };
  if (wishes.revalidate) return { kind: "revalidate", entry, because: "client" };
  if (
    wishes.maxAgeSeconds !== undefined &&
    nowMs - entry.storedAtMs > wishes.maxAgeSeconds * 1000
  ) {
    return { kind: "revalidate", entry, because: "client" };
  }
  if (nowMs >= entry.freshUntilMs || nowMs < entry.storedAtMs - CLOCK_SLACK_MS) {
    return { kind: "revalidate", entry, because: "expired" };
  }
  if (isDoubted) return { kind: "revalidate", entry, because: "written" };
  return { kind: "hit", entry };
}

/**
 * Whether an entry may still be served at `nowMs` although upstream could not be
 * asked (RFC 5861 §4): at most `staleIfErrorMs` after it stopped being fresh.
 */
export function mayServeStale(entry: Freshness, nowMs: number, staleIfErrorMs: number): boolean {
  return nowMs < entry.freshUntilMs + staleIfErrorMs;
}

const NO_WISHES: ReadWishes = {
  noStore: false,
  revalidate: false,
  maxAgeSeconds: undefined,
  onlyIfCached: false,
};

/** Reads the wishes from a request. `Pragma: no-cache` counts when there is no `Cache-Control` (RFC 9111 §5.4). */
export function readWishes(fields: Fields): ReadWishes {
  if (!fields.has("cache-control")) {
    const isOldNoCache = fields.get("pragma")?.toLowerCase().includes("no-cache") === true;
    return isOldNoCache ? { ...NO_WISHES, revalidate: true } : NO_WISHES;
  }
  const directives = parseCacheControl(fields);
  return {
    noStore: directives.noStore,
    revalidate: directives.noCache || directives.maxAgeSeconds === 0,
    maxAgeSeconds: directives.maxAgeSeconds,
    onlyIfCached: directives.onlyIfCached,
  };
}
