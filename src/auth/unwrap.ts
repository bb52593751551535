/**
 * The client's derived signing keys as Tigris hands them to a gateway it trusts, in a
 * response header (docs/security.md has the wire format):
 *
 *     value = base64( nonce[12] || ciphertext || tag[16] )    AES-256-GCM
 *     key   = SHA-256(gateway's secret)    AAD = the client's access key id
 *     text  = [{"date":"YYYYMMDD","region":"…","key":"<hex>"}, …]
 *
 * The AAD ties the keys to one client: what was wrapped for another does not open.
 */

import { createDecipheriv } from "node:crypto";
import type { LearnedKey } from "./principal.ts";

/** The header's name, lower case. */
export const SIGNING_KEYS_FIELD = "x-tigris-proxy-signing-keys";

const NONCE_BYTES = 12;
const TAG_BYTES = 16;
/** A generous bound: two or three entries of about 110 bytes are usual. */
const MAX_VALUE_CHARS = 65_536;

/** The AES key that opens what was wrapped for the gateway with this secret. */
export function wrappingKey(secretAccessKey: string): Uint8Array {
  return new Bun.CryptoHasher("sha256").update(secretAccessKey).digest();
}

/**
 * Opens a header value wrapped for `accessKeyId`. Undefined when it is not base64, too
 * short, wrapped for somebody else or with another secret, or not the expected JSON;
 * single entries that make no sense are left out. Never throws.
 */
export function unwrapSigningKeys(
  value: string,
  key: Uint8Array,
  accessKeyId: string,
): LearnedKey[] | undefined {
  const text = decrypt(value, key, accessKeyId);
  if (text === undefined) return undefined;
  let entries: unknown;
  try {
    entries = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!Array.isArray(entries)) return undefined;
  return entries.flatMap((entry: unknown) => readEntry(entry, accessKeyId) ?? []);
}

function decrypt(value: string, key: Uint8Array, accessKeyId: string): string | undefined {
  const text = value.trim();
  if (text.length > MAX_VALUE_CHARS || !/^[A-Za-z0-9+/]+={0,2}$/.test(text)) return undefined;
  const sealed = Buffer.from(text, "base64");
  if (sealed.length <= NONCE_BYTES + TAG_BYTES) return undefined;
  const nonce = sealed.subarray(0, NONCE_BYTES);
  const ciphertext = sealed.subarray(NONCE_BYTES, -TAG_BYTES);
  try {
    const decipher = createDecipheriv("aes-256-gcm", key, nonce);
    decipher.setAAD(Buffer.from(accessKeyId, "utf8"));
    decipher.setAuthTag(sealed.subarray(-TAG_BYTES));
    return decipher.update(ciphertext, undefined, "utf8") + decipher.final("utf8");
  } catch {
    return undefined; // the tag does not match
  }
}

function readEntry(entry: unknown, accessKeyId: string): LearnedKey | undefined {
  if (typeof entry !== "object" || entry === null) return undefined;
  const { date, region, key } = entry as Record<string, unknown>;
  if (typeof date !== "string" || !/^\d{8}$/.test(date)) return undefined;
  if (typeof region !== "string" || region.includes("/")) return undefined;
  if (typeof key !== "string" || !/^[0-9a-fA-F]{64}$/.test(key)) return undefined;
  return { accessKeyId, date, region, key: Buffer.from(key, "hex") };
}
