/**
 * Which answers may be kept: a pure decision with a reason for every refusal.
 *
 * RFC 9111 §3 for a shared cache, with one deliberate difference: an answer to a
 * request with `Authorization` is kept although it has no `public` (§3.5), because
 * this cache checks every reader's signature and grant itself before a hit.
 */

import { parseCacheControl } from "../http/cache-control.ts";
import type { Fields } from "../http/fields.ts";

export type SkipReason =
  | "disabled"
  /** A rule of the configuration says that it is not to be cached. */
  | "excluded"
  | "not_an_object"
  | "no_etag"
  | "no_store"
  | "private"
  | "varies"
  | "unknown_length"
  | "too_large";

export type Admission =
  | { readonly kind: "admit" }
  | { readonly kind: "skip"; readonly reason: SkipReason };

export interface AdmissionLimits {
  readonly isEnabled: boolean;
  /** No rule is against it. */
  readonly isIncluded: boolean;
  /** Largest object to keep, bytes. */
  readonly sizeThresholdBytes: number;
}

export interface Candidate {
  /** 200, or 206 for a part of the object. */
  readonly status: number;
  readonly fields: Fields;
  /** Complete length of the object; undefined when upstream did not declare it. */
  readonly sizeBytes: number | undefined;
  /** Fields of the request upstream answered. */
  readonly requestFields: Fields;
}

export function admit(candidate: Candidate, limits: AdmissionLimits): Admission {
  const { fields, sizeBytes } = candidate;
  if (!limits.isEnabled) return skip("disabled");
  if (!limits.isIncluded) return skip("excluded");
  if (candidate.status !== 200 && candidate.status !== 206) return skip("not_an_object");
  const etag = fields.get("etag");
  if (etag === undefined || etag === "" || etag === '""') return skip("no_etag");
  const directives = parseCacheControl(fields);
  if (directives.noStore || parseCacheControl(candidate.requestFields).noStore) {
    return skip("no_store");
  }
  if (directives.isPrivate) return skip("private");
  if (!isDefaultVariant(fields, candidate.requestFields)) return skip("varies");
  if (sizeBytes === undefined) return skip("unknown_length");
  if (sizeBytes > limits.sizeThresholdBytes) return skip("too_large");
  return { kind: "admit" };
}

/**
 * Whether an answer is the one for requests that select nothing (RFC 9111 §4.1). Only
 * that variant is kept and served: of the fields an answer varies on, the request must
 * carry none. `Accept-Encoding: identity`, which SDKs send, selects nothing.
 *
 * `Origin` always selects, because S3 adds its CORS fields only for requests that have one,
 * and does not always say so with `Vary`: a page could not read what was stored for an SDK.
 */
export function isDefaultVariant(answer: Fields, request: Fields): boolean {
  if (!admitsOrigin(answer, request.get("origin"))) return false;
  for (const value of answer.all("vary")) {
    for (const token of value.split(",")) {
      const name = token.trim().toLowerCase();
      if (name === "") continue;
      if (name === "*") return false;
      const selected = request.get(name);
      if (selected === undefined) continue;
      if (name === "accept-encoding" && selected.trim().toLowerCase() === "identity") continue;
      return false;
    }
  }
  return true;
}

/** Whether a browser lets a page of `origin` read the answer; undefined: no page asks. */
function admitsOrigin(answer: Fields, origin: string | undefined): boolean {
  if (origin === undefined) return true;
  const admitted = answer.get("access-control-allow-origin");
  return admitted === "*" || admitted === origin;
}

function skip(reason: SkipReason): Admission {
  return { kind: "skip", reason };
}
