/**
 * The form of one rule of `cache.rules`: its keys, how their values are read, and what cannot
 * stand together. file-settings.ts walks a file with it; what rules mean is `Rules` of cache/.
 */

import type { CacheRule } from "../cache/cache.ts";
import { boolean, duration, size } from "./option.ts";

/** The keys of a rule in a file. */
export const RULE_KEYS = ["bucket", "prefix", "include", "exclude", "ttl", "quota", "pin"] as const;
/** The settings of a rule with one value, read as options are. */
export const RULE_VALUES = {
  ttl: duration({ default: 0, min: 0, help: "" }),
  quota: size({ default: 1, min: 1, help: "" }),
  pin: boolean({ default: false, help: "" }),
} as const;

/** A rule that says nothing yet. */
export const EMPTY_RULE = {
  bucket: "",
  prefix: "",
  include: undefined as readonly string[] | undefined,
  exclude: undefined as readonly string[] | undefined,
  ttlMs: undefined as number | undefined,
  quotaBytes: undefined as number | undefined,
  isPinned: false,
};

/** What is wrong with a rule as a whole, and at which key. */
export function ruleTrouble(
  rule: CacheRule,
): { readonly key: string; readonly message: string; readonly hint: string } | undefined {
  const { bucket, prefix, include, exclude, ttlMs, quotaBytes, isPinned } = rule;
  if (bucket === "") {
    return { key: "bucket", message: "needs a bucket", hint: 'write a name, or "*" for every one' };
  }
  if (bucket.includes("/")) {
    const hint = "put what follows the slash under prefix";
    return { key: "bucket", message: `"${bucket}" is not a bucket`, hint };
  }
  if (quotaBytes !== undefined && prefix !== "") {
    const hint = "give it in a rule without prefix";
    return { key: "quota", message: "a quota is for whole buckets", hint };
  }
  if (isPinned && /[*?[\]{}!\\]/.test(bucket)) {
    const hint = "write one rule for each";
    return { key: "pin", message: "needs a bucket by its name, not a pattern", hint };
  }
  if (isPinned && (include !== undefined || exclude !== undefined)) {
    const hint = "pin a prefix in a rule of its own";
    return { key: "pin", message: "cannot stand beside include or exclude", hint };
  }
  const hasSetting =
    include !== undefined || exclude !== undefined || ttlMs !== undefined || isPinned;
  if (!hasSetting && quotaBytes === undefined) {
    const hint = "give it include, exclude, ttl, quota or pin";
    return { key: "bucket", message: "the rule says nothing", hint };
  }
  return undefined;
}
