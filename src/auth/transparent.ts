/**
 * Transparent mode: clients sign with their own Tigris keys, upstream decides, and the
 * gateway learns enough from upstream's answers to decide by itself for cache hits.
 *
 * Requests are forwarded as they were signed: raw target, body and every signed field
 * untouched. Added are the gateway's identity headers, and two repairs of what some
 * clients leave out (X-Amz-Date, Content-Encoding), both outside of what was signed.
 *
 * Nothing is refused here. What cannot be proven, for whatever reason, is "unproven":
 * it goes upstream on its own credentials and shares nothing with others, and it is
 * never taken for anonymous, because its success would then look public.
 */

import { unreachable } from "../base/assert.ts";
import type { Clock } from "../base/clock.ts";
import type { Secret } from "../base/secret.ts";
import { formatAmzDate } from "../http/date.ts";
import type { Inbound } from "../http/exchange.ts";
import type { RawHeaders } from "../http/fields.ts";
import { fieldValue, withoutFields } from "../http/fields.ts";
import { connectionTokens, isHopByHop } from "../http/hop-by-hop.ts";
import { encodePath } from "../http/raw-target.ts";
import type { RawTarget } from "../http/raw-target.ts";
import { awsChunkedVariant } from "../s3/aws-chunked.ts";
import {
  credentialText,
  EMPTY_SHA256,
  MAX_SKEW_MS,
  judgeTime,
  parseAuthorization,
  signRequest,
  unsignedAmzFields,
  verifySignature,
} from "../s3/sigv4.ts";
import type { SignatureClaim, SigningKey } from "../s3/sigv4.ts";
import { addressOf, fitsHostName, parseEndpoint, pathBucket } from "./endpoint.ts";
import type { Endpoint } from "./endpoint.ts";
import { Grants } from "./grants.ts";
import type {
  Answer,
  Auth,
  Learned,
  OwnRead,
  Principal,
  UnprovenReason,
  UpstreamCall,
  ValidPrincipal,
  VirtualHost,
} from "./principal.ts";
import { ProxyIdentity } from "./proxy-headers.ts";
import { SigningKeys } from "./signing-keys.ts";
import { SIGNING_KEYS_FIELD, unwrapSigningKeys, wrappingKey } from "./unwrap.ts";

export interface TransparentAuthOptions {
  /** URL of the object store. */
  readonly endpoint: string;
  /** The gateway's own pair: vouches for forwarded requests and opens what upstream wraps. */
  readonly accessKeyId: string;
  readonly secretAccessKey: Secret;
  /** How long a grant holds, in milliseconds. */
  readonly authzTtlMs: number;
  /** Most derived keys kept; 100 000 when undefined. */
  readonly keysMax?: number | undefined;
  /** Most grants kept; 1 000 000 when undefined. */
  readonly grantsMax?: number | undefined;
  readonly clock: Clock;
  /** Upstream sent keys for this access key id that do not open: another secret, or damage. */
  readonly onUnreadableKeys?: ((accessKeyId: string) => void) | undefined;
}

const ANONYMOUS: Principal = { kind: "anonymous" };

export class TransparentAuth implements Auth {
  readonly #endpoint: Endpoint;
  readonly #clock: Clock;
  readonly #identity: ProxyIdentity;
  readonly #wrappingKey: Uint8Array;
  readonly #keys: SigningKeys;
  readonly #grants: Grants;
  readonly #onUnreadableKeys: ((accessKeyId: string) => void) | undefined;
  #revision = 0;

  constructor(options: TransparentAuthOptions) {
    const secret = options.secretAccessKey.reveal();
    this.#endpoint = parseEndpoint(options.endpoint);
    this.#clock = options.clock;
    this.#identity = new ProxyIdentity(options.accessKeyId, secret);
    this.#wrappingKey = wrappingKey(secret);
    this.#keys = new SigningKeys(options.keysMax ?? 100_000, options.clock);
    this.#grants = new Grants({
      limit: options.grantsMax ?? 1_000_000,
      ttlMs: options.authzTtlMs,
      clock: options.clock,
    });
    this.#onUnreadableKeys = options.onUnreadableKeys;
  }

  authenticate(inbound: Inbound, target: RawTarget): Principal {
    const authorization = parseAuthorization(inbound.fields, target);
    switch (authorization.kind) {
      case "anonymous":
        return ANONYMOUS;
      case "unsupported":
        return unproven("unsupported_scheme");
      case "malformed":
        return unproven("parse_error");
      case "signed":
        return this.#judge(authorization.claim, inbound, target);
      default:
        return unreachable(authorization);
    }
  }

  #judge(claim: SignatureClaim, inbound: Inbound, target: RawTarget): Principal {
    const { fields, method } = inbound;
    // The keys upstream hands out are derived for S3; a claim for another service is no S3 request.
    if (claim.service !== "s3") return unproven("parse_error", claim);
    const key = this.#keys.get(claim.credential);
    if (key === undefined) return unproven("unknown_key", claim);
    if (judgeTime(claim, this.#clock.nowMs()) !== "valid") return unproven("outside_time", claim);
    if (!verifySignature(claim, { method, target, fields }, key)) {
      return unproven("signature_mismatch", claim);
    }
    if (unsignedAmzFields(claim, fields).length > 0) return unproven("unsigned_headers", claim);
    const { accessKeyId } = claim;
    return { kind: "valid", accessKeyId, grantee: granteeOf(claim), claim, key };
  }

  mayRead(who: Principal, bucket: string): boolean {
    return who.kind === "valid" && this.#grants.has(who.grantee, bucket);
  }

  mayWrite(): boolean {
    return true;
  }

  lesson(who: Principal, bucket: string): "known" | "needs-lesson" {
    const claim = teachableClaim(who);
    if (claim === undefined || this.mayRead(who, bucket)) return "known";
    return this.#grants.isFruitless(granteeOf(claim), bucket) ? "known" : "needs-lesson";
  }

  forward(
    inbound: Inbound,
    target: RawTarget,
    who: Principal,
    virtualHost?: VirtualHost,
  ): UpstreamCall {
    let { rawTarget } = inbound;
    let { path } = target;
    let bucketInHost = virtualHost?.bucket;
    if (who.kind === "anonymous" && virtualHost === undefined) {
      // Tigris refuses anonymous reads in path style. Nothing is signed, so the path may change.
      const named = pathBucket(target);
      if (named !== undefined && fitsHostName(named.bucket, this.#endpoint)) {
        bucketInHost = named.bucket;
        rawTarget = named.rawRest + inbound.rawTarget.slice(target.rawPath.length);
        path = named.rest;
      }
    }
    const { authority, host } = addressOf(this.#endpoint, bucketInHost);
    const claim = who.kind === "anonymous" ? undefined : who.claim;
    const { method, body } = inbound;
    const headers = this.#identity.vouch(
      forwardedHeaders(inbound, claim, authority),
      { host: inbound.fields.get("host") ?? authority, method, path },
      this.#clock.nowMs(),
    );
    return { method, rawTarget, headers, body, host };
  }

  onBehalf(who: Principal, read: OwnRead): UpstreamCall | undefined {
    switch (who.kind) {
      case "unproven":
        return undefined;
      case "anonymous":
        return this.#unsignedRead(read);
      case "valid":
        return this.#signedRead(who, read);
      default:
        return unreachable(who);
    }
  }

  #unsignedRead(read: OwnRead): UpstreamCall {
    const { method, id } = read;
    const inHost = fitsHostName(id.bucket, this.#endpoint);
    const { authority, host } = addressOf(this.#endpoint, inHost ? id.bucket : undefined);
    const path = inHost ? `/${id.key}` : `/${id.bucket}/${id.key}`;
    const headers = this.#identity.vouch(
      ["Host", authority, ...read.headers],
      { host: authority, method, path },
      this.#clock.nowMs(),
    );
    return { method, rawTarget: encodePath(path), headers, body: null, host };
  }

  #signedRead(who: ValidPrincipal, read: OwnRead): UpstreamCall | undefined {
    const { method, id } = read;
    const nowMs = this.#clock.nowMs();
    const moment = this.#signingMoment(who, nowMs);
    if (moment === undefined) return undefined;
    const { authority } = this.#endpoint;
    const path = `/${id.bucket}/${id.key}`;
    const rawTarget = encodePath(path);
    const { accessKeyId, region, sessionToken } = who.claim;
    const signer = { accessKeyId, region, sessionToken, date: moment.date, key: moment.key };
    const headers = signRequest(
      {
        method,
        rawTarget,
        headers: ["Host", authority, ...read.headers],
        payloadHash: EMPTY_SHA256,
      },
      signer,
      moment.signedAtMs,
    );
    const vouched = this.#identity.vouch(headers, { host: authority, method, path }, nowMs);
    return { method, rawTarget, headers: vouched, body: null };
  }

  /**
   * When and with which key to sign for the asker: now, with today's key. Around
   * midnight only yesterday's may be known; then the moment the asker itself signed is
   * as good, while it is recent enough for upstream.
   */
  #signingMoment(
    who: ValidPrincipal,
    nowMs: number,
  ): { date: string; key: SigningKey; signedAtMs: number } | undefined {
    const { accessKeyId, region, date, signedAtMs } = who.claim;
    const today = formatAmzDate(nowMs).slice(0, 8);
    if (today === date) return { date, key: who.key, signedAtMs: nowMs };
    const key = this.#keys.get(credentialText({ accessKeyId, date: today, region }));
    if (key !== undefined) return { date: today, key, signedAtMs: nowMs };
    if (Math.abs(nowMs - signedAtMs) > MAX_SKEW_MS) return undefined;
    return { date, key: who.key, signedAtMs };
  }

  learn(who: Principal, answer: Answer): void {
    const claim = who.kind === "anonymous" ? undefined : who.claim;
    if (claim === undefined) return;
    const grantee = granteeOf(claim);
    const { bucket, status, isObjectRead } = answer;
    const isSuccess = (status >= 200 && status < 300) || status === 304;
    const isKnownToUpstream = isSuccess && this.#learnKeys(claim.accessKeyId, answer.headers);
    if (!isObjectRead) return;

    // That the signature is genuine must be certain before it may earn or cost a grant:
    // checked by us, or by upstream, which then sent keys that only open for this key id.
    const isGenuine = who.kind === "valid" || isKnownToUpstream;
    if (status === 200 || status === 206 || status === 304) {
      if (isGenuine && answer.isPublic !== true) {
        this.#grants.learn(grantee, bucket);
        this.#revision += 1;
        return;
      }
    } else if (status === 403 && who.kind === "valid") {
      if (this.#grants.revoke(grantee, bucket)) this.#revision += 1;
    }
    if (!this.#grants.has(grantee, bucket)) this.#grants.noteFruitless(grantee, bucket);
  }

  /** True when the answer carried keys that open for this access key id. */
  #learnKeys(accessKeyId: string, headers: RawHeaders): boolean {
    const value = fieldValue(headers, SIGNING_KEYS_FIELD);
    if (value === undefined) return false;
    const keys = unwrapSigningKeys(value, this.#wrappingKey, accessKeyId);
    if (keys === undefined) {
      this.#onUnreadableKeys?.(accessKeyId);
      return false;
    }
    if (this.#keys.learn(keys)) this.#revision += 1;
    return true;
  }

  stripLearned(headers: RawHeaders): RawHeaders {
    if (fieldValue(headers, SIGNING_KEYS_FIELD) === undefined) return headers;
    return withoutFields(headers, (name) => name === SIGNING_KEYS_FIELD);
  }

  sizes(): { readonly keys: number; readonly grants: number } {
    return { keys: this.#keys.size, grants: this.#grants.size };
  }

  get revision(): number {
    return this.#revision;
  }

  learned(): Learned {
    return { keys: this.#keys.all(), grants: this.#grants.all() };
  }

  restore(learned: Learned): void {
    this.#keys.learn(learned.keys);
    this.#grants.restore(learned.grants);
  }
}

function unproven(because: UnprovenReason, claim?: SignatureClaim): Principal {
  return { kind: "unproven", accessKeyId: claim?.accessKeyId ?? "", because, claim };
}

/**
 * Temporary credentials are the key id and the session token together: whoever knows
 * the key but shows another token, or none, is refused upstream and gets no grant here.
 */
function granteeOf(claim: SignatureClaim): string {
  if (claim.sessionToken === undefined) return claim.accessKeyId;
  return `${claim.accessKeyId} ${Bun.SHA256.hash(claim.sessionToken, "hex")}`;
}

/** The claim of a principal about which upstream could teach something. */
function teachableClaim(who: Principal): SignatureClaim | undefined {
  switch (who.kind) {
    case "anonymous":
      return undefined;
    case "valid":
      return who.claim;
    case "unproven":
      return who.because === "unknown_key" ? who.claim : undefined;
    default:
      return unreachable(who);
  }
}

/** The client's fields for upstream: all but what ends at this hop, `Host` exchanged, two gaps filled. */
function forwardedHeaders(
  inbound: Inbound,
  claim: SignatureClaim | undefined,
  authority: string,
): string[] {
  const { fields } = inbound;
  const { raw } = fields;
  const tokens = connectionTokens(raw);
  const headers: string[] = ["Host", authority];
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const name = raw[at] ?? "";
    const lower = name.toLowerCase();
    if (lower === "host" || lower === "transfer-encoding") continue;
    // A field that was signed stays even if it should end here: without it the signature breaks.
    const isSigned = claim?.signedHeaders.includes(lower) === true;
    if (isHopByHop(lower, tokens) && !isSigned) continue;
    headers.push(name, raw[at + 1] ?? "");
  }
  if (claim?.form !== "header") return headers;

  // Upstream wants X-Amz-Date; new botocore signs `date` alone. The Date itself stays, it is signed.
  if (!fields.has("x-amz-date")) headers.push("X-Amz-Date", claim.timestamp);
  const isStreaming = awsChunkedVariant(claim.payloadHash) !== undefined;
  if (!isStreaming || claim.signedHeaders.includes("content-encoding")) return headers;
  return withAwsChunked(headers);
}

/** Content-Encoding names `aws-chunked`, first; minio-go leaves it out and upstream would store the framing. */
function withAwsChunked(headers: string[]): string[] {
  let first: number | undefined;
  for (let at = 0; at + 1 < headers.length; at += 2) {
    if (headers[at]?.toLowerCase() !== "content-encoding") continue;
    if (headers[at + 1]?.toLowerCase().includes("aws-chunked") === true) return headers;
    first ??= at;
  }
  if (first === undefined) headers.push("Content-Encoding", "aws-chunked");
  else headers[first + 1] = `aws-chunked,${headers[first + 1] ?? ""}`;
  return headers;
}
