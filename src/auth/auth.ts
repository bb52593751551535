/**
 * The door of auth/: who is asking, what they may read from the cache, and their request
 * made ready for upstream.
 *
 * Two modes implement one interface. Transparent (transparent.ts): clients hold Tigris
 * keys of their own, upstream decides, and the gateway learns from its answers. Signing
 * (signing.ts): the gateway knows its clients' keys and signs in their place. Both fail
 * towards upstream or a refusal, never towards serving what was not proven.
 */

import { unreachable } from "../base/assert.ts";
import type { Auth, Principal, ValidationResult } from "./principal.ts";
import { SigningAuth } from "./signing.ts";
import type { SigningAuthOptions } from "./signing.ts";
import { TransparentAuth } from "./transparent.ts";
import type { TransparentAuthOptions } from "./transparent.ts";

export type { ClientPair, Rights, UpstreamPair } from "./clients.ts";
export { LearnedStore, systemLearnedFiles } from "./learned-store.ts";
export type { LearnedFiles, LearnedStoreOptions } from "./learned-store.ts";
export type {
  Answer,
  AnonymousPrincipal,
  Auth,
  AuthFailureReason,
  AuthRefusal,
  Learned,
  OwnRead,
  Principal,
  UnprovenPrincipal,
  UnprovenReason,
  UpstreamCall,
  ValidPrincipal,
  ValidationResult,
  VirtualHost,
} from "./principal.ts";
export { VALIDATION_RESULTS } from "./principal.ts";
export type { SigningAuthOptions } from "./signing.ts";
export type { TransparentAuthOptions } from "./transparent.ts";

/** Clients bring their own Tigris keys. Throws a TypeError when the endpoint is no URL. */
export function createTransparentAuth(options: TransparentAuthOptions): Auth {
  return new TransparentAuth(options);
}

/**
 * Clients use configured pairs. Throws a TypeError when the endpoint is no URL and a
 * RangeError when two pairs contradict each other.
 */
export function createSigningAuth(options: SigningAuthOptions): Auth {
  return new SigningAuth(options);
}

/** How local validation of a read ended: the label of `tag_local_auth_validations_total`. */
export function validationResult(who: Principal, mayRead: boolean): ValidationResult {
  switch (who.kind) {
    case "valid":
      return mayRead ? "success" : "authz_expired";
    case "anonymous":
      return "missing_auth";
    case "unproven":
      switch (who.because) {
        case "unknown_key":
          return "unknown_key";
        case "parse_error":
        case "unsupported_scheme":
          return "parse_error";
        case "signature_mismatch":
        case "outside_time":
        case "unsigned_headers":
          return "signature_mismatch";
        default:
          return unreachable(who.because);
      }
    default:
      return unreachable(who);
  }
}
