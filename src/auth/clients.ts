/**
 * Signing mode's key pairs: who may talk to the gateway, what each may do, and which
 * pair signs upstream in its place.
 */

import { LruMap } from "../base/lru.ts";
import type { Secret } from "../base/secret.ts";
import { formatAmzDate } from "../http/date.ts";
import { SigningKey, deriveSigningKey, signerFor } from "../s3/sigv4.ts";
import type { SignatureClaim, Signer } from "../s3/sigv4.ts";

export type Rights = "none" | "read" | "write" | "read-write";

/** A key pair clients may use. */
export interface ClientPair {
  readonly accessKeyId: string;
  readonly secretAccessKey: Secret;
  /** Bucket names the rights hold for; `*` stands for any characters. Undefined: every bucket. */
  readonly buckets?: readonly string[] | undefined;
  /** "read-write" when undefined. */
  readonly rights?: Rights | undefined;
  /** The pair that signs upstream; this one when undefined. */
  readonly upstream?: UpstreamPair | undefined;
  /** `X-Amz-Security-Token` that belongs to this pair when it signs upstream itself. */
  readonly sessionToken?: Secret | undefined;
}

export interface UpstreamPair {
  readonly accessKeyId: string;
  readonly secretAccessKey: Secret;
  readonly sessionToken?: Secret | undefined;
}

/** An identity the gateway has upstream. Several clients may share one. */
export class UpstreamIdentity {
  readonly accessKeyId: string;
  readonly #pair: UpstreamPair;
  readonly #region: string;
  #signer: Signer | undefined;

  constructor(pair: UpstreamPair, region: string) {
    this.accessKeyId = pair.accessKeyId;
    this.#pair = pair;
    this.#region = region;
  }

  /** Signs for the day of `nowMs`; the key is derived once a day. */
  signerAt(nowMs: number): Signer {
    const date = formatAmzDate(nowMs).slice(0, 8);
    if (this.#signer?.date === date) return this.#signer;
    this.#signer = signerFor(
      {
        accessKeyId: this.#pair.accessKeyId,
        secretAccessKey: this.#pair.secretAccessKey.reveal(),
        sessionToken: this.#pair.sessionToken?.reveal(),
      },
      this.#region,
      nowMs,
    );
    return this.#signer;
  }
}

/** A holder of a configured pair. */
export class Client {
  readonly upstream: UpstreamIdentity;
  readonly #secret: Secret;
  readonly #rights: Rights;
  readonly #patterns: readonly RegExp[];
  readonly #hasEveryBucket: boolean;

  constructor(pair: ClientPair, upstream: UpstreamIdentity) {
    const buckets = pair.buckets ?? ["*"];
    this.upstream = upstream;
    this.#secret = pair.secretAccessKey;
    this.#rights = pair.rights ?? "read-write";
    this.#patterns = buckets.map(patternOf);
    this.#hasEveryBucket = buckets.includes("*");
  }

  /** `bucket` undefined is the list of all buckets: it takes a right that holds for each. */
  mayRead(bucket: string | undefined): boolean {
    return (this.#rights === "read" || this.#rights === "read-write") && this.#covers(bucket);
  }

  mayWrite(bucket: string | undefined): boolean {
    return (this.#rights === "write" || this.#rights === "read-write") && this.#covers(bucket);
  }

  #covers(bucket: string | undefined): boolean {
    if (this.#hasEveryBucket) return true;
    return bucket !== undefined && this.#patterns.some((pattern) => pattern.test(bucket));
  }

  deriveKey(claim: SignatureClaim): SigningKey {
    return new SigningKey(deriveSigningKey(this.#secret.reveal(), claim.date, claim.region));
  }
}

function patternOf(bucket: string): RegExp {
  const literal = bucket.split("*").map((text) => text.replace(/[.+?^${}()|[\]\\]/g, "\\$&"));
  return new RegExp(`^${literal.join(".*")}$`);
}

/** Derived keys kept so that a signature costs one HMAC; one a day and client is usual. */
const DERIVED_KEYS_MAX = 4_096;

export class Clients {
  readonly #clients = new Map<string, Client>();
  readonly #identities = new Map<string, UpstreamIdentity>();
  readonly #derived = new LruMap<string, SigningKey>(DERIVED_KEYS_MAX);

  /** Throws a RangeError when an access key id is given twice with different secrets. */
  constructor(pairs: readonly ClientPair[], region: string) {
    const secrets = new Map<string, string>();
    const claimSecret = ({ accessKeyId, secretAccessKey }: UpstreamPair): void => {
      const known = secrets.get(accessKeyId);
      if (known !== undefined && known !== secretAccessKey.reveal()) {
        throw new RangeError(`two different secrets for the upstream key pair ${accessKeyId}`);
      }
      secrets.set(accessKeyId, secretAccessKey.reveal());
    };
    for (const pair of pairs) {
      if (this.#clients.has(pair.accessKeyId)) {
        throw new RangeError(`the key pair ${pair.accessKeyId} is given twice`);
      }
      const upstream = pair.upstream ?? pair;
      claimSecret(upstream);
      let identity = this.#identities.get(upstream.accessKeyId);
      if (identity === undefined) {
        identity = new UpstreamIdentity(upstream, region);
        this.#identities.set(upstream.accessKeyId, identity);
      }
      this.#clients.set(pair.accessKeyId, new Client(pair, identity));
    }
  }

  get(accessKeyId: string): Client | undefined {
    return this.#clients.get(accessKeyId);
  }

  /** Whether clients are told apart upstream. If not, whatever is cached was fetched as the one identity. */
  get hasSeveralIdentities(): boolean {
    return this.#identities.size > 1;
  }

  get derivedKeyCount(): number {
    return this.#derived.size;
  }

  /** The key the claim must have been signed with. */
  keyFor(client: Client, claim: SignatureClaim): SigningKey {
    const name = `${claim.date}/${claim.region}/${claim.accessKeyId}`;
    const present = this.#derived.get(name);
    if (present !== undefined) return present;
    const key = client.deriveKey(claim);
    this.#derived.set(name, key, 1);
    return key;
  }
}
