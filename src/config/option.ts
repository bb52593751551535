/**
 * What a row of the option table may say, and the builders that make rows.
 *
 * The kind of an option decides how its text is read, which unit its name carries
 * inside the program, and how it is shown. The value type of a row is its type
 * parameter, from which options.ts derives the `Config` type.
 */

import type { Secret } from "../base/secret.ts";
import type { CacheRule } from "../cache/cache.ts";

/** `size` values are bytes, `duration` values milliseconds. */
export type OptionKind =
  | "text"
  | "integer"
  | "size"
  | "duration"
  | "boolean"
  | "choice"
  | "list"
  | "secret"
  | "pairs"
  | "rules";

/**
 * What the holder of a key pair may do in the buckets it is for; `own` is everything.
 * `create`, of the dev origin only, is creating buckets: who creates one owns it.
 */
export const PAIR_RIGHTS = ["read", "write", "create", "own"] as const;
export type PairRight = (typeof PAIR_RIGHTS)[number];

/** A key pair the gateway (or the dev origin) knows by configuration. */
export interface KeyPair {
  readonly accessKeyId: string;
  readonly secretAccessKey: Secret;
  /** `X-Amz-Security-Token` to send along when this pair signs upstream. */
  readonly sessionToken: Secret | undefined;
  /** Bucket names the rights hold for; `["*"]` means every bucket. */
  readonly buckets: readonly string[];
  /** Empty: the pair is known and may do nothing. */
  readonly rights: readonly PairRight[];
  /** The pair that signs upstream for this client, when it is another one. */
  readonly upstreamAccessKeyId: string | undefined;
  readonly upstreamSecretAccessKey: Secret | undefined;
}

interface Common<T> {
  readonly default: T;
  /** One or two full sentences, shown in `--help`, in `tag config init` and in the docs. */
  readonly help: string;
  readonly env?: string;
  /** Command-line flag of `tag serve`, without dashes. */
  readonly flag?: string;
  /** The variable and the flag say the opposite of the key (`TAG_CACHE_DISABLED`). */
  readonly isNegated?: true;
  /** Takes effect on SIGHUP; everything else needs a restart. */
  readonly isHot?: true;
  /** Members of a cluster must agree on it. */
  readonly isClusterWide?: true;
  /** Why setting it changes nothing (yet). Accepted, so that existing files load, with a warning. */
  readonly inertBecause?: string;
}

interface Numeric {
  readonly min?: number;
  readonly max?: number;
  /** The original treats 0 as "not set"; its files rely on it. */
  readonly isZeroDefault?: true;
  /** Any negative value means no limit; the program then sees `Infinity`. */
  readonly isNegativeUnlimited?: true;
}

export interface Option<K extends OptionKind = OptionKind, T = unknown> extends Common<T>, Numeric {
  readonly kind: K;
  /** The values of a choice, the rights of pairs. */
  readonly choices?: readonly string[];
  /** What stands between the items of a list written as one text; a comma when absent. */
  readonly separator?: string;
}

export const text = (row: Common<string>): Option<"text", string> => ({ kind: "text", ...row });

/** A text that may be absent; empty counts as absent. */
export const optionalText = (
  row: Omit<Common<string>, "default">,
): Option<"text", string | undefined> => ({ kind: "text", default: undefined, ...row });

export const integer = (row: Common<number> & Numeric): Option<"integer", number> => ({
  kind: "integer",
  ...row,
});

export const size = (row: Common<number> & Numeric): Option<"size", number> => ({
  kind: "size",
  ...row,
});

export const duration = (row: Common<number> & Numeric): Option<"duration", number> => ({
  kind: "duration",
  ...row,
});

export const boolean = (row: Common<boolean>): Option<"boolean", boolean> => ({
  kind: "boolean",
  ...row,
});

export const choice = <const C extends string>(
  row: Common<NoInfer<C>> & { readonly choices: readonly C[] },
): Option<"choice", C> => ({ kind: "choice", ...row });

export const list = (
  row: Omit<Common<readonly string[]>, "default"> & { readonly separator?: string },
): Option<"list", readonly string[]> => ({ kind: "list", default: [], ...row });

export const secret = (
  row: Omit<Common<Secret>, "default">,
): Option<"secret", Secret | undefined> => ({ kind: "secret", default: undefined, ...row });

export const pairs = (
  row: Omit<Common<readonly KeyPair[]>, "default"> & { readonly choices: readonly PairRight[] },
): Option<"pairs", readonly KeyPair[]> => ({ kind: "pairs", default: [], ...row });

export const rules = (
  row: Omit<Common<readonly CacheRule[]>, "default">,
): Option<"rules", readonly CacheRule[]> => ({ kind: "rules", default: [], ...row });
