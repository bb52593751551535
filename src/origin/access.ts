/**
 * Who is asking, and may they: signatures, the gateway's vouching, and rights.
 *
 * Authentication comes first and is about the request alone; authorization is about
 * a bucket and perhaps an object, and joins three sources: ownership, the rights of
 * the key (key-ring.ts) and the ACL.
 */

import { unreachable } from "../base/assert.ts";
import type { Clock } from "../base/clock.ts";
import type { Random } from "../base/random.ts";
import type { Inbound } from "../http/exchange.ts";
import { Fields, withField } from "../http/fields.ts";
import { queryValue, type RawTarget } from "../http/raw-target.ts";
import { type S3Error, s3Error } from "../s3/error.ts";
import {
  deriveSigningKey,
  judgeTime,
  type KeyPair,
  parseAuthorization,
  type SignatureClaim,
  SigningKey,
  UNSIGNED_PAYLOAD,
  unsignedAmzFields,
  verifySignature,
} from "../s3/sigv4.ts";
import { type Permission, permits } from "./acl.ts";
import type { KeyRing, Right } from "./key-ring.ts";
import { identifyProxy, signingKeysOf, wrapSigningKeys } from "./proxy-protocol.ts";
import type { BucketRecord, ObjectDescription } from "./records.ts";

/** The one who sent a request, as far as it is proven. */
export interface Caller {
  /** Undefined: anonymous. */
  readonly accessKeyId: string | undefined;
  /** True when a gateway forwarded the request. */
  readonly isProxied: boolean;
  /** What the signature was checked with; the chunks of a streamed body continue it. */
  readonly proof: { readonly claim: SignatureClaim; readonly key: SigningKey } | undefined;
}

export const ANONYMOUS: Caller = { accessKeyId: undefined, isProxied: false, proof: undefined };

export interface AccessOptions {
  readonly keyRing: KeyRing;
  /** The key pair gateways prove themselves with. */
  readonly gateway: KeyPair;
  readonly clock: Clock;
  readonly random: Random;
}

export class Access {
  readonly #keyRing: KeyRing;
  readonly #gateway: KeyPair;
  readonly #clock: Clock;
  readonly #random: Random;

  constructor(options: AccessOptions) {
    this.#keyRing = options.keyRing;
    this.#gateway = options.gateway;
    this.#clock = options.clock;
    this.#random = options.random;
  }

  authenticate(inbound: Inbound, target: RawTarget): Caller | S3Error {
    const nowMs = this.#clock.nowMs();
    const { method, fields } = inbound;
    const proxy = identifyProxy({ method, path: target.path, fields }, this.#gateway, nowMs);
    if (proxy.kind === "refused") return s3Error("AccessDenied", { message: proxy.because });
    const isProxied = proxy.kind === "proxied";

    const authorization = parseAuthorization(fields, target);
    switch (authorization.kind) {
      case "anonymous":
        return { ...ANONYMOUS, isProxied };
      case "unsupported":
        // Cookies and the like are no credentials here; a signature of another version is.
        return usesOtherSignature(fields, target)
          ? s3Error("InvalidRequest", {
              message:
                "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
            })
          : { ...ANONYMOUS, isProxied };
      case "malformed":
        return s3Error(authorization.code, { message: authorization.because });
      case "signed":
    }

    const { claim } = authorization;
    const problem = judgeClaim(claim, fields, nowMs);
    if (problem !== undefined) return problem;
    const secret = this.#keyRing.secretOf(claim.accessKeyId);
    if (secret === undefined) return s3Error("InvalidAccessKeyId");
    // The client signed the name it knows the gateway by; every other field is as it was.
    const signedFields =
      proxy.kind === "proxied"
        ? new Fields(withField(fields.raw, "Host", proxy.forwardedHost))
        : fields;
    const key = new SigningKey(deriveSigningKey(secret, claim.date, claim.region));
    if (!verifySignature(claim, { method, target, fields: signedFields }, key)) {
      return s3Error("SignatureDoesNotMatch");
    }
    return { accessKeyId: claim.accessKeyId, isProxied, proof: { claim, key } };
  }

  /** Value of the header that hands the caller's signing keys to the gateway; undefined when none is due. */
  signingKeysFor(caller: Caller): string | undefined {
    const secretAccessKey = this.#keyRing.secretOf(caller.accessKeyId ?? "");
    if (!caller.isProxied || caller.proof === undefined || secretAccessKey === undefined) {
      return undefined;
    }
    const { accessKeyId, region } = caller.proof.claim;
    const entries = signingKeysOf({ accessKeyId, secretAccessKey }, region, this.#clock.nowMs());
    return wrapSigningKeys(entries, accessKeyId, this.#gateway, this.#random);
  }

  /**
   * Whether the caller has `permission` in the bucket or, when one is given, on the
   * object. An object without an ACL of its own is as open as its bucket.
   */
  may(
    caller: Caller,
    permission: Permission,
    bucket: BucketRecord,
    object?: ObjectDescription,
  ): boolean {
    const { accessKeyId } = caller;
    if (accessKeyId !== undefined) {
      if (accessKeyId === bucket.ownerId || accessKeyId === object?.ownerId) return true;
      if (this.#keyRing.has(accessKeyId, bucket.name, rightFor(permission))) return true;
    }
    return permits(object?.acl ?? bucket.acl, permission, accessKeyId);
  }

  /** Whether the caller may create a bucket of this name. */
  mayCreate(caller: Caller, bucketName: string): boolean {
    return (
      caller.accessKeyId !== undefined &&
      this.#keyRing.has(caller.accessKeyId, bucketName, "create")
    );
  }

  /** Whether the bucket belongs into the caller's list of buckets. */
  maySee(caller: Caller, bucket: BucketRecord): boolean {
    const { accessKeyId } = caller;
    if (accessKeyId === undefined) return false;
    return accessKeyId === bucket.ownerId || this.#keyRing.hasAny(accessKeyId, bucket.name);
  }
}

function rightFor(permission: Permission): Right {
  switch (permission) {
    case "READ":
      return "read";
    case "WRITE":
      return "write";
    case "READ_ACP":
    case "WRITE_ACP":
    case "FULL_CONTROL":
      return "own";
    default:
      return unreachable(permission);
  }
}

function usesOtherSignature(fields: Fields, target: RawTarget): boolean {
  const header = fields.get("authorization") ?? "";
  return (
    header !== "" ||
    queryValue(target, "AWSAccessKeyId") !== undefined ||
    queryValue(target, "X-Amz-Algorithm") !== undefined
  );
}

/** Everything about a claim that can be refused without knowing the key. */
function judgeClaim(claim: SignatureClaim, fields: Fields, nowMs: number): S3Error | undefined {
  if (claim.service !== "s3") {
    return s3Error("AuthorizationHeaderMalformed", {
      message: `The authorization header is malformed; incorrect service "${claim.service}". This endpoint belongs to "s3".`,
    });
  }
  switch (judgeTime(claim, nowMs)) {
    case "skewed":
      return s3Error("RequestTimeTooSkewed", {
        details: { ServerTime: new Date(nowMs).toISOString() },
      });
    case "expired":
      return s3Error("AccessDenied", { message: "Request has expired" });
    case "valid":
  }
  const unsigned = unsignedAmzFields(claim, fields);
  if (unsigned.length > 0) {
    return s3Error("AccessDenied", {
      message: "There were headers present in the request which were not signed",
      details: { HeadersNotSigned: unsigned.join(", ") },
    });
  }
  const { payloadHash } = claim;
  if (
    payloadHash !== UNSIGNED_PAYLOAD &&
    !payloadHash.startsWith("STREAMING-") &&
    !/^[0-9a-f]{64}$/.test(payloadHash)
  ) {
    return s3Error("InvalidArgument", {
      message: `x-amz-content-sha256 must be ${UNSIGNED_PAYLOAD}, a STREAMING- constant or a valid sha256 value.`,
    });
  }
  return undefined;
}
