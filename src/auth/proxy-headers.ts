/**
 * The four headers by which a gateway vouches to Tigris for the request it forwards:
 * which `Host` the client had signed, and that it is us who say so.
 */

import { withoutFields } from "../http/fields.ts";
import type { RawHeaders } from "../http/fields.ts";

const PROXY_FIELDS: ReadonlySet<string> = new Set([
  "x-tigris-forwarded-host",
  "x-tigris-proxy-access-key",
  "x-tigris-proxy-timestamp",
  "x-tigris-proxy-signature",
]);

/** Whether a client's field of that name is an attempt to speak as a gateway. */
export function isProxyField(lowerName: string): boolean {
  return PROXY_FIELDS.has(lowerName) || lowerName.startsWith("x-tigris-proxy-");
}

export interface ForwardedRequest {
  /** `Host` exactly as the signature covers it, with its port. */
  readonly host: string;
  readonly method: string;
  /** Percent-decoded path that is sent upstream, without query. */
  readonly path: string;
}

/** Speaks for one gateway key pair. */
export class ProxyIdentity {
  readonly #accessKeyId: string;
  readonly #hmac: Bun.CryptoHasher;

  constructor(accessKeyId: string, secretAccessKey: string) {
    this.#accessKeyId = accessKeyId;
    this.#hmac = new Bun.CryptoHasher("sha256", secretAccessKey);
  }

  /** `headers` with the four fields set, whatever they held before. */
  vouch(headers: RawHeaders, request: ForwardedRequest, nowMs: number): string[] {
    const timestamp = String(Math.floor(nowMs / 1000));
    const { host, method, path } = request;
    const text = `${host}\n${timestamp}\n${method}\n${path}`;
    const vouched = withoutFields(headers, isProxyField);
    vouched.push("X-Tigris-Forwarded-Host", host);
    vouched.push("X-Tigris-Proxy-Access-Key", this.#accessKeyId);
    vouched.push("X-Tigris-Proxy-Timestamp", timestamp);
    vouched.push("X-Tigris-Proxy-Signature", this.#hmac.copy().update(text).digest("hex"));
    return vouched;
  }
}
