/**
 * Values of options as text: read from whatever source, and written for people.
 *
 * One reader per kind for file, environment and flags alike, so that the same
 * spelling means the same everywhere. Nothing here falls back to a default: a value
 * that cannot be read is reported.
 */

import { unreachable } from "../base/assert.ts";
import { formatByteSize, parseByteSize } from "../base/byte-size.ts";
import { formatDuration, parseDuration } from "../base/duration.ts";
import { Secret } from "../base/secret.ts";
import { nearest } from "./nearest.ts";
import type { CacheRule } from "../cache/cache.ts";
import type { KeyPair, Option } from "./option.ts";

export type ReadValue =
  | { readonly kind: "value"; readonly value: unknown }
  /** Empty, or a zero that means "the default". */
  | { readonly kind: "unset" }
  /** Not of the form the option has. */
  | { readonly kind: "malformed"; readonly message: string; readonly hint?: string }
  /** Of the right form, but not an allowed value. */
  | { readonly kind: "refused"; readonly message: string; readonly hint?: string };

const UNSET: ReadValue = { kind: "unset" };
const TRUE_WORDS = new Set(["true", "1", "yes", "on", "t", "y"]);
const FALSE_WORDS = new Set(["false", "0", "no", "off", "f", "n"]);
// oxlint-disable-next-line no-control-regex
const CONTROL = /[\u0000-\u001f\u007f]/;

/** Reads a scalar. `isNegated` values come out turned round when `isOpposite` is true. */
export function readValue(option: Option, written: string, isOpposite = false): ReadValue {
  const text = written.trim();
  if (text === "") return UNSET;
  switch (option.kind) {
    case "text":
      return CONTROL.test(text)
        ? { kind: "malformed", message: "contains control characters" }
        : { kind: "value", value: text };
    case "secret":
      return CONTROL.test(text)
        ? { kind: "malformed", message: "contains control characters" }
        : { kind: "value", value: new Secret(text) };
    case "boolean":
      return readBoolean(text, isOpposite);
    case "choice":
      return readChoice(option, text);
    case "list":
      return {
        kind: "value",
        value: text
          .split(option.separator ?? ",")
          .map((item) => item.trim())
          .filter((item) => item !== ""),
      };
    case "integer":
      return readNumber(option, text, /^[+-]?\d+$/.test(text) ? Number(text) : undefined);
    case "size":
      return readNumber(option, text, parseByteSize(text));
    case "duration":
      return readNumber(option, text, parseDuration(text));
    case "pairs":
      return { kind: "malformed", message: "must be a list of key pairs" };
    case "rules":
      return { kind: "malformed", message: "must be a list of rules" };
    default:
      return unreachable(option.kind);
  }
}

function readBoolean(text: string, isOpposite: boolean): ReadValue {
  const word = text.toLowerCase();
  if (TRUE_WORDS.has(word)) return { kind: "value", value: !isOpposite };
  if (FALSE_WORDS.has(word)) return { kind: "value", value: isOpposite };
  return {
    kind: "malformed",
    message: `${quote(text)} is not a boolean`,
    hint: "write true or false",
  };
}

function readChoice(option: Option, text: string): ReadValue {
  const choices = option.choices ?? [];
  const word = text.toLowerCase();
  if (choices.includes(word)) return { kind: "value", value: word };
  const suggestion = nearest(word, choices);
  return {
    kind: "refused",
    message: `${quote(text)} must be ${formatAlternatives(choices.map(quote))}`,
    ...(suggestion === undefined ? {} : { hint: `did you mean ${suggestion}?` }),
  };
}

const FORMS = {
  integer: { name: "a whole number", hint: undefined },
  size: { name: "a size", hint: "write bytes, or a number with KiB, MiB, GiB, KB, MB or GB" },
  duration: { name: "a duration", hint: "write a number with its unit, as in 500ms, 10s or 1h30m" },
} as const;

function readNumber(option: Option, text: string, value: number | undefined): ReadValue {
  if (value === undefined || !Number.isFinite(value) || Math.abs(value) > Number.MAX_SAFE_INTEGER) {
    const form = FORMS[option.kind as keyof typeof FORMS];
    return {
      kind: "malformed",
      message: `${quote(text)} is not ${form.name}`,
      ...(form.hint === undefined ? {} : { hint: form.hint }),
    };
  }
  if (value === 0 && option.isZeroDefault === true) return UNSET;
  if (value < 0 && option.isNegativeUnlimited === true) {
    return { kind: "value", value: Number.POSITIVE_INFINITY };
  }
  const isInRange = value >= (option.min ?? 0) && value <= (option.max ?? Number.MAX_SAFE_INTEGER);
  if (isInRange) return { kind: "value", value: Object.is(value, -0) ? 0 : value };
  return {
    kind: "refused",
    message: `${text} is out of range`,
    hint: `allowed is ${formatRange(option)}`,
  };
}

/** `0 to 65535`, `at least 1ms`; undefined bounds left out. */
export function formatRange(option: Option): string {
  const { min = 0, max } = option;
  const low = formatNumber(option, min);
  return max === undefined ? `at least ${low}` : `${low} to ${formatNumber(option, max)}`;
}

function formatNumber(option: Option, value: number): string {
  if (value === Number.POSITIVE_INFINITY) return "unlimited";
  if (option.kind === "size") return formatByteSize(value);
  if (option.kind === "duration") return formatDuration(value);
  return String(value);
}

/** A value as `tag config show` prints it; secrets as their fingerprint, undefined as "". */
export function formatValue(option: Option, value: unknown): string {
  if (value === undefined) return "";
  switch (option.kind) {
    case "integer":
    case "size":
    case "duration":
      return formatNumber(option, value as number);
    case "secret":
      return (value as Secret).fingerprint();
    case "list":
      return (value as readonly string[]).join(option.separator ?? ",");
    case "pairs":
      return (value as readonly KeyPair[])
        .map((pair) => `${pair.accessKeyId}(${pair.rights.join("+")} ${pair.buckets.join(",")})`)
        .join(" ");
    case "rules":
      return (value as readonly CacheRule[]).map(formatRule).join(" ");
    case "text":
    case "boolean":
    case "choice":
      return `${value as string | boolean}`;
    default:
      return unreachable(option.kind);
  }
}

/** `models/llama/(ttl=1h pin)`. */
function formatRule(rule: CacheRule): string {
  const settings = [
    ...(rule.include === undefined ? [] : [`include=${rule.include.join(",")}`]),
    ...(rule.exclude === undefined ? [] : [`exclude=${rule.exclude.join(",")}`]),
    ...(rule.ttlMs === undefined ? [] : [`ttl=${formatDuration(rule.ttlMs)}`]),
    ...(rule.quotaBytes === undefined ? [] : [`quota=${formatByteSize(rule.quotaBytes)}`]),
    ...(rule.isPinned ? ["pin"] : []),
  ];
  const target = rule.prefix === "" ? rule.bucket : `${rule.bucket}/${rule.prefix}`;
  return `${target}(${settings.join(" ")})`;
}

function quote(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 57)}...` : text);
}

/** `read, write or own`. */
export function formatAlternatives(choices: readonly string[]): string {
  return choices.length < 2
    ? choices.join("")
    : `${choices.slice(0, -1).join(", ")} or ${choices.at(-1)}`;
}
