/**
 * Signing mode: clients use pairs the gateway is configured with. Their signatures are
 * checked here, once and for all, and every request is signed anew for upstream, which
 * may be any S3 store.
 *
 * What changes on the way is said in resign.ts. What a client may do is configuration
 * (clients.ts): rights by bucket, checked for every request, the source of a copy
 * included. When clients have different identities upstream, reads of the cache take a
 * learned grant as well, because upstream may allow one what it forbids the other; with
 * a single identity everything in the cache was fetched as that identity anyway.
 */

import { unreachable } from "../base/assert.ts";
import type { Clock } from "../base/clock.ts";
import type { Inbound } from "../http/exchange.ts";
import { withField } from "../http/fields.ts";
import type { RawHeaders } from "../http/fields.ts";
import { encodePath } from "../http/raw-target.ts";
import type { RawTarget } from "../http/raw-target.ts";
import { awsChunkedVariant } from "../s3/aws-chunked.ts";
import { isS3Error, s3Error } from "../s3/error.ts";
import type { S3Error, S3ErrorCode } from "../s3/error.ts";
import {
  EMPTY_SHA256,
  judgeTime,
  parseAuthorization,
  signRequest,
  unsignedAmzFields,
  verifySignature,
} from "../s3/sigv4.ts";
import type { SignatureClaim } from "../s3/sigv4.ts";
import { Clients } from "./clients.ts";
import type { Client, ClientPair } from "./clients.ts";
import { addressOf, fitsHostName, parseEndpoint, pathBucket } from "./endpoint.ts";
import type { Address, Endpoint } from "./endpoint.ts";
import { Grants } from "./grants.ts";
import type {
  Answer,
  Auth,
  AuthFailureReason,
  AuthRefusal,
  Learned,
  OwnRead,
  Principal,
  UpstreamCall,
  VirtualHost,
} from "./principal.ts";
import {
  copySourceBuckets,
  forwardableHeaders,
  payloadFor,
  queryWithoutSignature,
} from "./resign.ts";

export interface SigningAuthOptions {
  /** URL of the object store; a path in it goes before every request's. */
  readonly endpoint: string;
  /** Region of the signatures made for upstream. */
  readonly region: string;
  /** True: `/bucket/key`. False: `bucket.host/key`, as AWS prefers, where the name allows it. */
  readonly isPathStyle: boolean;
  readonly pairs: readonly ClientPair[];
  /** Forward requests without credentials unsigned, for upstream to judge; refused when false. */
  readonly forwardsAnonymous: boolean;
  /** How long a learned grant holds, in milliseconds. */
  readonly authzTtlMs: number;
  /** Most grants kept; 1 000 000 when undefined. */
  readonly grantsMax?: number | undefined;
  readonly clock: Clock;
}

export class SigningAuth implements Auth {
  readonly #options: SigningAuthOptions;
  readonly #endpoint: Endpoint;
  readonly #clients: Clients;
  readonly #grants: Grants;
  #revision = 0;

  constructor(options: SigningAuthOptions) {
    this.#options = options;
    this.#endpoint = parseEndpoint(options.endpoint);
    this.#clients = new Clients(options.pairs, options.region);
    this.#grants = new Grants({
      limit: options.grantsMax ?? 1_000_000,
      ttlMs: options.authzTtlMs,
      clock: options.clock,
    });
  }

  authenticate(inbound: Inbound, target: RawTarget): Principal | AuthRefusal {
    if (inbound.method === "OPTIONS") return this.#judgePreflight(inbound, target);
    const authorization = parseAuthorization(inbound.fields, target);
    switch (authorization.kind) {
      case "signed":
        return this.#judge(authorization.claim, inbound, target);
      case "anonymous":
        if (this.#options.forwardsAnonymous || isFormUpload(inbound)) {
          return { kind: "anonymous" };
        }
        return refusal(
          "malformed_auth",
          "AuthorizationHeaderMalformed",
          "The request is not signed",
        );
      case "unsupported":
        return refusal(
          "malformed_auth",
          "AuthorizationHeaderMalformed",
          "The authorization mechanism is not supported; please use AWS4-HMAC-SHA256",
        );
      case "malformed":
        return refusal("malformed_auth", authorization.code, sentence(authorization.because));
      default:
        return unreachable(authorization);
    }
  }

  /**
   * A preflight has no credentials of its own (Fetch standard, CORS protocol), but bears the query
   * of the request it asks about. When that one is presigned, and by a known client, upstream
   * is asked in the client's name: whose bucket is meant may depend on it. A signature that covers
   * headers only that request will bring cannot be checked yet; then the name alone counts, since
   * all a preflight tells is which pages may ask, which is no secret.
   */
  #judgePreflight(inbound: Inbound, target: RawTarget): Principal {
    const authorization = parseAuthorization(inbound.fields, target);
    if (authorization.kind !== "signed" || authorization.claim.form !== "presigned")
      return ANONYMOUS;
    const { claim } = authorization;
    const asked = askedByPreflight(inbound);
    if (asked === undefined) return ANONYMOUS;
    const who = isCheckable(claim, inbound)
      ? this.#judge(claim, { ...asked, fields: inbound.fields }, target)
      : this.#identify(claim);
    return isS3Error(who) ? ANONYMOUS : who;
  }

  #judge(
    claim: SignatureClaim,
    { method, fields }: Pick<Inbound, "method" | "fields">,
    target: RawTarget,
  ): Principal | AuthRefusal {
    const who = this.#identify(claim);
    if (isS3Error(who)) return who;
    if (!verifySignature(claim, { method, target, fields }, who.key)) {
      return refusal("signature_mismatch", "SignatureDoesNotMatch", undefined, {
        AWSAccessKeyId: claim.accessKeyId,
        SignatureProvided: claim.signature,
      });
    }
    const unsigned = unsignedAmzFields(claim, fields);
    if (unsigned.length > 0) {
      return refusal(
        "signature_mismatch",
        "AccessDenied",
        "There were headers present in the request which were not signed",
        { HeadersNotSigned: unsigned.join(", ") },
      );
    }
    return who;
  }

  /** Whom the claim names, if its time is right; that it is theirs is for the signature to show. */
  #identify(claim: SignatureClaim): ValidPrincipal | AuthRefusal {
    const { accessKeyId } = claim;
    const client = this.#clients.get(accessKeyId);
    if (client === undefined) {
      return refusal("unknown_access_key", "InvalidAccessKeyId", undefined, {
        AWSAccessKeyId: accessKeyId,
      });
    }
    if (claim.service !== "s3") {
      return refusal(
        "malformed_auth",
        "AuthorizationHeaderMalformed",
        "The credential is not for the service s3",
      );
    }
    const time = judgeTime(claim, this.#options.clock.nowMs());
    if (time === "expired")
      return refusal("expired_request", "AccessDenied", "Request has expired");
    if (time === "skewed") return refusal("expired_request", "RequestTimeTooSkewed");
    const key = this.#clients.keyFor(client, claim);
    return { kind: "valid", accessKeyId, grantee: client.upstream.accessKeyId, claim, key };
  }

  mayRead(who: Principal, bucket: string): boolean {
    const client = this.#clientOf(who);
    if (client?.mayRead(bucket) !== true) return false;
    if (!this.#clients.hasSeveralIdentities) return true;
    return this.#grants.has(client.upstream.accessKeyId, bucket);
  }

  mayWrite(who: Principal, bucket: string): boolean {
    if (who.kind === "anonymous") return true; // forwarded unsigned: upstream decides
    return this.#clientOf(who)?.mayWrite(bucket) === true;
  }

  #clientOf(who: Principal): Client | undefined {
    return who.kind === "valid" ? this.#clients.get(who.accessKeyId) : undefined;
  }

  lesson(who: Principal, bucket: string): "known" | "needs-lesson" {
    const client = this.#clientOf(who);
    if (client?.mayRead(bucket) !== true || this.mayRead(who, bucket)) return "known";
    const isFruitless = this.#grants.isFruitless(client.upstream.accessKeyId, bucket);
    return isFruitless ? "known" : "needs-lesson";
  }

  forward(
    inbound: Inbound,
    target: RawTarget,
    who: Principal,
    virtualHost?: VirtualHost,
  ): UpstreamCall | S3Error {
    const client = this.#clientOf(who);
    if (who.kind === "unproven") return s3Error("AccessDenied");
    const named = virtualHost === undefined ? pathBucket(target) : undefined;
    const bucket = virtualHost?.bucket ?? named?.bucket;
    if (client !== undefined && !this.#isAllowed(client, inbound, target, bucket)) {
      return s3Error("AccessDenied");
    }

    const isPreflight = inbound.method === "OPTIONS";
    const asked = isPreflight ? askedByPreflight(inbound) : inbound;
    if (asked === undefined) return incompletePreflight();

    const claim = who.kind === "valid" ? who.claim : undefined;
    const keyPath = named?.rest ?? target.path;
    const { rawTarget, address } = this.#place(bucket, keyPath);
    const query = queryWithoutSignature(target, claim, isPreflight);
    const payload = payloadFor(inbound, who);
    if (isS3Error(payload)) return payload;
    const headers = ["Host", address.authority];
    headers.push(...forwardableHeaders(inbound.fields, claim, query.hoisted));
    headers.push(...payload.headers);
    const call = this.#signed(client, {
      // A store that checks a preflight's signature does so for the method it asks about. A name
      // nobody has proven gets a signature that is good for nothing but this.
      method: claim === undefined || isCheckable(claim, inbound) ? asked.method : inbound.method,
      rawTarget: query.rawQuery === "" ? rawTarget : `${rawTarget}?${query.rawQuery}`,
      headers,
      payloadHash: payload.payloadHash,
      body: payload.body,
      host: address.host,
    });
    return isPreflight ? { ...call, method: inbound.method } : call;
  }

  /** Whether the pair's rights cover the request, whatever it is. */
  #isAllowed(
    client: Client,
    inbound: Inbound,
    target: RawTarget,
    bucket: string | undefined,
  ): boolean {
    // Tigris turns a copy into a move on request: then the source is written to as well.
    const isMove = inbound.fields.has("x-tigris-rename");
    for (const source of copySourceBuckets(inbound.fields, target)) {
      if (!client.mayRead(source) || (isMove && !client.mayWrite(source))) return false;
    }
    return isReading(inbound.method, target) ? client.mayRead(bucket) : client.mayWrite(bucket);
  }

  /** Raw path and address upstream; `keyPath` is "/" and the key, or "/" for the bucket itself. */
  #place(bucket: string | undefined, keyPath: string): { rawTarget: string; address: Address } {
    const endpoint = this.#endpoint;
    const inHost =
      bucket !== undefined && !this.#options.isPathStyle && fitsHostName(bucket, endpoint);
    const address = addressOf(endpoint, inHost ? bucket : undefined);
    let path = keyPath;
    if (bucket !== undefined && !inHost) path = `/${bucket}${keyPath === "/" ? "" : keyPath}`;
    return { rawTarget: encodePath(endpoint.basePath + path), address };
  }

  #signed(client: Client | undefined, call: UpstreamCall & { payloadHash: string }): UpstreamCall {
    const { payloadHash, ...unsigned } = call;
    if (client === undefined) {
      if (awsChunkedVariant(payloadHash) === undefined) return unsigned;
      return { ...unsigned, headers: withField(call.headers, "X-Amz-Content-Sha256", payloadHash) };
    }
    const nowMs = this.#options.clock.nowMs();
    const signer = client.upstream.signerAt(nowMs);
    const { method, rawTarget } = call;
    const headers = signRequest(
      { method, rawTarget, headers: call.headers, payloadHash },
      signer,
      nowMs,
    );
    return { ...unsigned, headers };
  }

  onBehalf(who: Principal, read: OwnRead): UpstreamCall | undefined {
    const client = this.#clientOf(who);
    if (client === undefined && who.kind !== "anonymous") return undefined;
    const { rawTarget, address } = this.#place(read.id.bucket, `/${read.id.key}`);
    return this.#signed(client, {
      method: read.method,
      rawTarget,
      headers: ["Host", address.authority, ...read.headers],
      payloadHash: EMPTY_SHA256,
      body: null,
      host: address.host,
    });
  }

  learn(who: Principal, answer: Answer): void {
    const client = this.#clientOf(who);
    if (client === undefined || !answer.isObjectRead) return;
    const { bucket, status } = answer;
    const grantee = client.upstream.accessKeyId;
    if (status === 200 || status === 206 || status === 304) {
      if (answer.isPublic !== true) {
        this.#grants.learn(grantee, bucket);
        this.#revision += 1;
        return;
      }
    } else if (status === 403 && this.#grants.revoke(grantee, bucket)) {
      this.#revision += 1;
    }
    if (!this.#grants.has(grantee, bucket)) this.#grants.noteFruitless(grantee, bucket);
  }

  stripLearned(headers: RawHeaders): RawHeaders {
    return headers;
  }

  sizes(): { readonly keys: number; readonly grants: number } {
    return { keys: this.#clients.derivedKeyCount, grants: this.#grants.size };
  }

  get revision(): number {
    return this.#revision;
  }

  /** Keys are derived from configured secrets here, so only grants are learned. */
  learned(): Learned {
    return { keys: [], grants: this.#grants.all() };
  }

  restore(learned: Learned): void {
    this.#grants.restore(learned.grants);
  }
}

type ValidPrincipal = Extract<Principal, { readonly kind: "valid" }>;

const ANONYMOUS: Principal = { kind: "anonymous" };

/** The method a preflight asks about; undefined when it lacks what makes it one. */
function askedByPreflight({ fields }: Inbound): { readonly method: string } | undefined {
  const method = fields.get("access-control-request-method");
  return method === undefined || !fields.has("origin") ? undefined : { method };
}

/** Whether the request has all the headers that the signature covers. */
function isCheckable({ signedHeaders }: SignatureClaim, { fields }: Inbound): boolean {
  return signedHeaders.every((name) => fields.has(name));
}

/** What S3 answers, whatever the bucket. */
function incompletePreflight(): S3Error {
  return s3Error("InvalidRequest", {
    message: "Insufficient information. Origin and Access-Control-Request-Method headers needed.",
  });
}

/** A form upload has its credentials in its body, where upstream judges them. */
function isFormUpload(inbound: Inbound): boolean {
  const contentType = inbound.fields.get("content-type") ?? "";
  return inbound.method === "POST" && /^multipart\/form-data\b/i.test(contentType);
}

function isReading(method: string, target: RawTarget): boolean {
  if (method === "GET" || method === "HEAD" || method === "OPTIONS") return true;
  return method === "POST" && target.query.some((param) => param.name === "select");
}

function refusal(
  reason: AuthFailureReason,
  code: S3ErrorCode,
  message?: string,
  details?: Readonly<Record<string, string>>,
): AuthRefusal {
  return { ...s3Error(code, { message, details }), reason };
}

function sentence(because: string): string {
  return because.charAt(0).toUpperCase() + because.slice(1);
}
