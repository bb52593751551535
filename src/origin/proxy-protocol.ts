/**
 * Tigris's side of the protocol between it and an acceleration gateway.
 *
 * A gateway forwards a client's request untouched and adds four headers that say,
 * under a signature with the gateway's own key pair, which `Host` the client had
 * signed. In return it gets the client's derived signing keys, wrapped so that only
 * that gateway can read them, and can from then on check the client's signatures
 * itself. The wire format is the one of docs/security.md.
 */

import { createCipheriv } from "node:crypto";
import type { Random } from "../base/random.ts";
import { formatAmzDate } from "../http/date.ts";
import type { Fields } from "../http/fields.ts";
import { deriveSigningKey, isSame, type KeyPair, MAX_SKEW_MS } from "../s3/sigv4.ts";

/** The header that carries the wrapped keys back. */
export const SIGNING_KEYS_FIELD = "X-Tigris-Proxy-Signing-Keys";

const IDENTITY_FIELDS = [
  "x-tigris-forwarded-host",
  "x-tigris-proxy-access-key",
  "x-tigris-proxy-timestamp",
  "x-tigris-proxy-signature",
] as const;

const DAY_MS = 86_400_000;

export type ProxyIdentity =
  /** None of the four headers: the client talks to us itself. */
  | { readonly kind: "direct" }
  /** A gateway we know vouches for the `Host` its client signed. */
  | { readonly kind: "proxied"; readonly forwardedHost: string }
  | { readonly kind: "refused"; readonly because: string };

export interface ForwardedRequest {
  readonly method: string;
  /** Percent-decoded path as it arrived here, without query. */
  readonly path: string;
  readonly fields: Fields;
}

/** Decides who is at the other end; `gateway` is the one key pair that may forward. */
export function identifyProxy(
  request: ForwardedRequest,
  gateway: KeyPair,
  nowMs: number,
): ProxyIdentity {
  const [host, accessKeyId, timestamp, signature] = IDENTITY_FIELDS.map((name) =>
    request.fields.get(name),
  );
  if (
    host === undefined ||
    accessKeyId === undefined ||
    timestamp === undefined ||
    signature === undefined
  ) {
    // Some without the others is no client of ours: nobody sets these by accident.
    return IDENTITY_FIELDS.some((name) => request.fields.has(name))
      ? refused("the identity headers of the proxy are incomplete")
      : { kind: "direct" };
  }
  if (!/^\d{1,12}$/.test(timestamp)) return refused("the timestamp of the proxy is not a number");
  if (Math.abs(nowMs - Number(timestamp) * 1000) > MAX_SKEW_MS) {
    return refused("the timestamp of the proxy is too far from our time");
  }
  if (accessKeyId !== gateway.accessKeyId) return refused("the proxy is not known");
  const expected = proxySignature(gateway.secretAccessKey, {
    host,
    timestamp,
    method: request.method,
    path: request.path,
  });
  if (!isSame(signature, expected)) return refused("the signature of the proxy does not match");
  return { kind: "proxied", forwardedHost: host };
}

function refused(because: string): ProxyIdentity {
  return { kind: "refused", because };
}

/** Hex HMAC-SHA256 a gateway puts over what it vouches for. */
export function proxySignature(
  secretAccessKey: string,
  what: {
    readonly host: string;
    readonly timestamp: string;
    readonly method: string;
    readonly path: string;
  },
): string {
  return new Bun.CryptoHasher("sha256", secretAccessKey)
    .update(`${what.host}\n${what.timestamp}\n${what.method}\n${what.path}`)
    .digest("hex");
}

/** A derived signing key as it travels inside the wrapping. */
export interface SigningKeyEntry {
  /** `YYYYMMDD` */
  readonly date: string;
  readonly region: string;
  /** Hex of the 32 bytes. */
  readonly key: string;
}

/** The client's keys of today and yesterday (UTC), for the region it signs with. */
export function signingKeysOf(client: KeyPair, region: string, nowMs: number): SigningKeyEntry[] {
  return [nowMs, nowMs - DAY_MS].map((atMs) => {
    const date = formatAmzDate(atMs).slice(0, 8);
    const key = deriveSigningKey(client.secretAccessKey, date, region);
    return { date, region, key: Buffer.from(key).toString("hex") };
  });
}

/**
 * AES-256-GCM under the SHA-256 of the gateway's secret, with the client's access key
 * id authenticated along: the keys of one client cannot be passed off as another's.
 * The result is base64 of nonce, ciphertext and tag.
 */
export function wrapSigningKeys(
  entries: readonly SigningKeyEntry[],
  clientAccessKeyId: string,
  gateway: KeyPair,
  random: Random,
): string {
  const nonce = random.bytes(12);
  const key = new Bun.CryptoHasher("sha256").update(gateway.secretAccessKey).digest();
  const cipher = createCipheriv("aes-256-gcm", key, nonce);
  cipher.setAAD(Buffer.from(clientAccessKeyId, "utf8"));
  const sealed = [cipher.update(JSON.stringify(entries), "utf8"), cipher.final()];
  return Buffer.concat([nonce, ...sealed, cipher.getAuthTag()]).toString("base64");
}
