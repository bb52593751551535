/**
 * What auth/ tells the rest: who asks, and the request as it goes upstream. The types
 * behind the door (auth.ts), apart from it so that both modes can import them.
 */

import type { ByteSource } from "../base/byte-source.ts";
import type { Inbound } from "../http/exchange.ts";
import type { RawHeaders } from "../http/fields.ts";
import type { RawTarget } from "../http/raw-target.ts";
import type { S3Error } from "../s3/error.ts";
import type { ObjectId } from "../s3/object-id.ts";
import type { SignatureClaim, SigningKey } from "../s3/sigv4.ts";

/** Why a signature could not be checked here. Upstream decides about such a request. */
export type UnprovenReason =
  /** SigV4 by its looks, but not readable. */
  | "parse_error"
  /** SigV2, SigV4A, bearer tokens, cookies, credential-like query parameters. */
  | "unsupported_scheme"
  /** No derived key learned for this access key, day and region. */
  | "unknown_key"
  | "signature_mismatch"
  /** Expired, or dated too far from our clock. */
  | "outside_time"
  /** An `x-amz-*` field is present that the signature does not cover. */
  | "unsigned_headers";

/** The signature was checked: this request was made by the holder of the access key. */
export interface ValidPrincipal {
  readonly kind: "valid";
  readonly accessKeyId: string;
  /** Under which name grants are kept: who upstream sees, when it is asked. */
  readonly grantee: string;
  readonly claim: SignatureClaim;
  /** The key the signature was checked with; its scope is the claim's. */
  readonly key: SigningKey;
}

/** Credentials that could not be checked. Shares nothing; upstream judges it. */
export interface UnprovenPrincipal {
  readonly kind: "unproven";
  /** As claimed; "" when it could not be read. */
  readonly accessKeyId: string;
  readonly because: UnprovenReason;
  /** Undefined when the credentials are not readable SigV4. */
  readonly claim: SignatureClaim | undefined;
}

/** Nothing in the request looks like a credential. */
export interface AnonymousPrincipal {
  readonly kind: "anonymous";
}

export type Principal = ValidPrincipal | UnprovenPrincipal | AnonymousPrincipal;

/** Labels of `tag_auth_failures_total{reason}`. */
export type AuthFailureReason =
  | "signature_mismatch"
  | "unknown_access_key"
  | "expired_request"
  | "malformed_auth"
  | "forbidden"
  | "internal_error";

/** A request turned away for what it says about itself (signing mode). */
export interface AuthRefusal extends S3Error {
  readonly reason: AuthFailureReason;
}

/** Labels of `tag_local_auth_validations_total{result}`. */
export const VALIDATION_RESULTS = [
  "success",
  "missing_auth",
  "parse_error",
  "unknown_key",
  "signature_mismatch",
  "authz_expired",
] as const;
export type ValidationResult = (typeof VALIDATION_RESULTS)[number];

/**
 * A request as it is to be sent upstream; structurally an `UpstreamRequest` without its
 * signal. Framing fields are there only when the body needs them.
 */
export interface UpstreamCall {
  readonly method: string;
  readonly rawTarget: string;
  readonly headers: RawHeaders;
  readonly body: ByteSource | null;
  /** Host name to connect to when it is not the configured endpoint's. */
  readonly host?: string | undefined;
}

/** The bucket was named by the `Host` field, so the whole path is the key. */
export interface VirtualHost {
  readonly bucket: string;
}

/** A read the gateway makes for an asker, with no rights but the asker's. */
export interface OwnRead {
  readonly method: "GET" | "HEAD";
  readonly id: ObjectId;
  /** Conditions and range; neither `Host` nor anything of authentication. */
  readonly headers: RawHeaders;
}

/** What upstream answered to a request made for a principal. */
export interface Answer {
  /** A GetObject or HeadObject: only these teach who may read. */
  readonly isObjectRead: boolean;
  readonly bucket: string;
  readonly status: number;
  /** As upstream sent them. */
  readonly headers: RawHeaders;
  /** Known to be readable by anybody: its success says nothing about the asker's rights. */
  readonly isPublic?: boolean | undefined;
}

/** What was learned from upstream, in a form that can be kept over a restart. */
export interface Learned {
  readonly keys: readonly LearnedKey[];
  readonly grants: readonly LearnedGrant[];
}

export interface LearnedKey {
  readonly accessKeyId: string;
  /** `YYYYMMDD` */
  readonly date: string;
  readonly region: string;
  /** The 32 bytes of the derived signing key. */
  readonly key: Uint8Array;
}

export interface LearnedGrant {
  readonly grantee: string;
  readonly bucket: string;
  /** Unix milliseconds. */
  readonly expiresAtMs: number;
}

/**
 * Proves who asks, remembers what they may read, and prepares what goes upstream.
 * Synchronous throughout: it stands on the path of every hit.
 */
export interface Auth {
  /**
   * Judges the request's credentials. An error (signing mode only) is to be answered;
   * in transparent mode whatever cannot be proven is left to upstream.
   */
  authenticate(inbound: Inbound, target: RawTarget): Principal | AuthRefusal;
  /** True when proven and holding a live grant for object reads in the bucket. */
  mayRead(who: Principal, bucket: string): boolean;
  /** Whether a write may be forwarded. Transparent mode leaves that to upstream. */
  mayWrite(who: Principal, bucket: string): boolean;
  /**
   * Whether one request upstream could teach what is missing to judge `who` here, so
   * that others of the same kind do well to wait for it ("needs-lesson"). Everything
   * else is "known": proven and granted, or not to be taught.
   */
  lesson(who: Principal, bucket: string): "known" | "needs-lesson";
  /**
   * The client's own request as it goes upstream. The body is taken over unread;
   * an error means that nothing may be sent.
   */
  forward(
    inbound: Inbound,
    target: RawTarget,
    who: Principal,
    virtualHost?: VirtualHost,
  ): UpstreamCall | S3Error;
  /**
   * A read of the gateway's own with exactly the asker's rights; unsigned for an
   * anonymous asker. Undefined when it cannot be made: then only the client's own
   * request can be forwarded.
   */
  onBehalf(who: Principal, read: OwnRead): UpstreamCall | undefined;
  /** Takes in what upstream's answer teaches about `who`: keys, grants, revocation. */
  learn(who: Principal, answer: Answer): void;
  /** Upstream's response headers without what was meant for the gateway alone. */
  stripLearned(headers: RawHeaders): RawHeaders;
  /** Counted for the gauges; both are bounded. */
  sizes(): { readonly keys: number; readonly grants: number };
  /** Grows whenever something was learned or revoked. */
  readonly revision: number;
  /** Everything learned and still alive. */
  learned(): Learned;
  /** Takes in what an earlier process learned; expired parts are dropped. */
  restore(learned: Learned): void;
}
