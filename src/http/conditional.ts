/**
 * Conditional requests (RFC 9110 §13): whether a read or a write goes ahead, given
 * the validators of what is stored.
 *
 * Pure, and used alike for hits, for revalidated entries and by the dev origin. S3
 * follows the order of §13.2.2 to the letter (its documentation lists the same pairs:
 * a matching `If-Match` wins over `If-Unmodified-Since`, `If-None-Match` over
 * `If-Modified-Since`) and deviates in one thing, unquoted entity tags (etag.ts).
 */

import type { Fields } from "./fields.ts";
import { parseHttpDate } from "./date.ts";
import { parseEntityTag, parseEtagList, strongEquals, weakEquals } from "./etag.ts";
import type { EntityTag } from "./etag.ts";

/** What identifies the current representation. Values are as they stand in the header. */
export interface Validator {
  readonly etag: string | undefined;
  /** `Last-Modified`; undefined when the object has none, then dates decide nothing. */
  readonly lastModified: string | undefined;
  /**
   * `Date` of the answer the two came with, when known: a `Last-Modified` less than a
   * second older than it is weak (§8.8.2.2), so `If-Range` must not rely on it.
   */
  readonly date?: string | undefined;
}

export type PreconditionOutcome = "proceed" | "not-modified" | "precondition-failed";

/**
 * Evaluates the preconditions of a request in the order of RFC 9110 §13.2.2, `If-Range`
 * excepted. `validator` is undefined when nothing is stored under the key, which matters
 * to conditional writes only. Fields that cannot be read are ignored, as §13.1 demands.
 */
export function evaluatePreconditions(
  fields: Fields,
  validator: Validator | undefined,
  method: string,
): PreconditionOutcome {
  const isRead = method === "GET" || method === "HEAD";

  const ifMatch = fields.list("if-match");
  if (ifMatch !== undefined) {
    if (!names(ifMatch, validator, strongEquals)) return "precondition-failed";
  } else if (isModifiedSince(fields, "if-unmodified-since", validator) === true) {
    return "precondition-failed";
  }

  const ifNoneMatch = fields.list("if-none-match");
  if (ifNoneMatch !== undefined) {
    if (names(ifNoneMatch, validator, weakEquals)) {
      return isRead ? "not-modified" : "precondition-failed";
    }
  } else if (isRead && isModifiedSince(fields, "if-modified-since", validator) === false) {
    return "not-modified";
  }
  return "proceed";
}

/** True when the request has any field that `evaluatePreconditions` looks at. */
export function hasPreconditions(fields: Fields): boolean {
  return (
    fields.has("if-none-match") ||
    fields.has("if-modified-since") ||
    fields.has("if-match") ||
    fields.has("if-unmodified-since")
  );
}

function names(
  list: string,
  validator: Validator | undefined,
  equals: (a: EntityTag, b: EntityTag) => boolean,
): boolean {
  if (validator === undefined) return false;
  const tags = parseEtagList(list);
  if (tags === "*") return true;
  if (validator.etag === undefined) return false;
  const current = parseEntityTag(validator.etag);
  return current !== undefined && tags.some((tag) => equals(tag, current));
}

/** Undefined when the field does not decide: absent, repeated, unreadable, or no Last-Modified. */
function isModifiedSince(
  fields: Fields,
  lowerName: string,
  validator: Validator | undefined,
): boolean | undefined {
  const values = fields.all(lowerName);
  if (values.length !== 1 || values[0] === undefined) return undefined;
  if (validator?.lastModified === undefined) return undefined;
  const sinceMs = parseHttpDate(values[0]);
  const modifiedAtMs = parseHttpDate(validator.lastModified);
  if (sinceMs === undefined || modifiedAtMs === undefined) return undefined;
  return modifiedAtMs > sinceMs;
}

/**
 * Whether the `Range` of a request applies (RFC 9110 §13.1.5): true without `If-Range`
 * or when it names the stored representation for certain; false means "send the whole".
 * Tags compare strongly, a date must be the very same second.
 */
export function ifRangeMatches(fields: Fields, validator: Validator): boolean {
  const ifRange = fields.get("if-range");
  if (ifRange === undefined) return true;

  const sinceMs = parseHttpDate(ifRange);
  if (sinceMs !== undefined) {
    if (validator.lastModified === undefined) return false;
    if (parseHttpDate(validator.lastModified) !== sinceMs) return false;
    const dateMs = validator.date === undefined ? undefined : parseHttpDate(validator.date);
    return dateMs === undefined || dateMs >= sinceMs + 1000;
  }

  const tag = parseEntityTag(ifRange);
  const current = validator.etag === undefined ? undefined : parseEntityTag(validator.etag);
  return tag !== undefined && current !== undefined && strongEquals(tag, current);
}
