/**
 * The rules for buckets and prefixes: what is cached at all, for how long, and how much of a
 * bucket. A list, of which for each setting the last rule counts that is for the object and
 * has the setting, so that exceptions stand below what they are exceptions from.
 *
 * Pure; what a rule pins and the bytes a bucket may take are kept by the store.
 */

import type { ObjectId } from "../s3/object-id.ts";

/** One rule. What is undefined it leaves to the rules above it. */
export interface CacheRule {
  /** A bucket's name, or a pattern of such. */
  readonly bucket: string;
  /** The beginning of the keys it is for; "" for all. */
  readonly prefix: string;
  /** Patterns of keys that are cached, all others are not. */
  readonly include: readonly string[] | undefined;
  /** Patterns of keys that are not cached, whatever `include` says. */
  readonly exclude: readonly string[] | undefined;
  /** Longest time an entry is used without asking upstream; 0: never. */
  readonly ttlMs: number | undefined;
  /** Bytes each of the buckets may take on disk. */
  readonly quotaBytes: number | undefined;
  /** Whether what it is for is kept from eviction. */
  readonly isPinned: boolean;
}

/** A rule with its patterns ready. */
interface ReadyRule {
  readonly rule: CacheRule;
  readonly bucket: Bun.Glob;
  readonly include: readonly Bun.Glob[] | undefined;
  readonly exclude: readonly Bun.Glob[];
}

/** Remembered answers to "which rules are for this bucket"; clients may invent names. */
const BUCKETS_MAX = 4096;

export class Rules {
  readonly #rules: readonly ReadyRule[];
  /** By bucket, the last first. */
  readonly #ofBucket = new Map<string, readonly ReadyRule[]>();

  constructor(rules: readonly CacheRule[]) {
    this.#rules = rules.map((rule) => ({
      rule,
      bucket: new Bun.Glob(rule.bucket),
      include: rule.include?.map((pattern) => new Bun.Glob(pattern)),
      exclude: (rule.exclude ?? []).map((pattern) => new Bun.Glob(pattern)),
    }));
  }

  /** Whether the object may be cached. */
  admits(id: ObjectId): boolean {
    for (const { rule, include, exclude } of this.#for(id.bucket)) {
      if (rule.include === undefined && rule.exclude === undefined) continue;
      if (!id.key.startsWith(rule.prefix)) continue;
      const matches = (pattern: Bun.Glob): boolean => pattern.match(id.key);
      return !exclude.some(matches) && (include === undefined || include.some(matches));
    }
    return true;
  }

  /** Undefined: as for everything else. */
  ttlMs(id: ObjectId): number | undefined {
    return this.#for(id.bucket).find(
      ({ rule }) => rule.ttlMs !== undefined && id.key.startsWith(rule.prefix),
    )?.rule.ttlMs;
  }

  /** Undefined: what there is. */
  quotaBytes(bucket: string): number | undefined {
    return this.#for(bucket).find(({ rule }) => rule.quotaBytes !== undefined)?.rule.quotaBytes;
  }

  #for(bucket: string): readonly ReadyRule[] {
    if (this.#rules.length === 0) return NO_RULES;
    let rules = this.#ofBucket.get(bucket);
    if (rules === undefined) {
      rules = this.#rules.filter((ready) => ready.bucket.match(bucket)).toReversed();
      if (this.#ofBucket.size >= BUCKETS_MAX) this.#ofBucket.clear();
      this.#ofBucket.set(bucket, rules);
    }
    return rules;
  }
}

const NO_RULES: readonly ReadyRule[] = [];

/** What rules pin: names of buckets and prefixes, since a pin is for one bucket. */
export function pinsOf(
  rules: readonly CacheRule[],
): { readonly bucket: string; readonly prefix: string }[] {
  return rules.filter(({ isPinned }) => isPinned).map(({ bucket, prefix }) => ({ bucket, prefix }));
}
