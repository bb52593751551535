/** Wraps signing keys for a gateway the way upstream does, with code of its own. */

import { createCipheriv, createHash, createHmac } from "node:crypto";

export interface WrappedKeyEntry {
  readonly date: string;
  readonly region: string;
  readonly key: string;
}

/** Hex of a derived signing key, by the textbook. */
export function derivedKeyHex(secret: string, date: string, region: string): string {
  const chain = [date, region, "s3", "aws4_request"].reduce(
    (key, part) => createHmac("sha256", key).update(part).digest(),
    Buffer.from(`AWS4${secret}`),
  );
  return chain.toString("hex");
}

/** The value of `X-Tigris-Proxy-Signing-Keys`. */
export function wrapKeys(
  plaintext: string,
  clientAccessKeyId: string,
  gatewaySecret: string,
  nonce: Uint8Array = Uint8Array.from({ length: 12 }, (_, index) => index),
): string {
  const key = createHash("sha256").update(gatewaySecret).digest();
  const cipher = createCipheriv("aes-256-gcm", key, nonce);
  cipher.setAAD(Buffer.from(clientAccessKeyId));
  const body = Buffer.concat([cipher.update(plaintext), cipher.final()]);
  return Buffer.concat([nonce, body, cipher.getAuthTag()]).toString("base64");
}
