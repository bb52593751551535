/**
 * What was learned, sealed for the disk: derived signing keys are secrets, and whoever
 * could write grants could read every bucket in the cache.
 *
 *     file = "TAGL" || version[1] || nonce[12] || ciphertext || tag[16]     AES-256-GCM
 *     key  = HKDF-SHA256(gateway's secret, no salt, info "tag-learned-v1")
 *     AAD  = "TAGL" || version
 *     text = {"keys":[[accessKeyId, date, region, hex]…],"grants":[[grantee, bucket, expiresAtMs]…]}
 *
 * A file that does not open (another secret, damage, a newer version) is as good as
 * none: everything in it can be learned again.
 */

import { createCipheriv, createDecipheriv, hkdfSync } from "node:crypto";
import type { Random } from "../base/random.ts";
import type { Secret } from "../base/secret.ts";
import type { Learned, LearnedGrant, LearnedKey } from "./principal.ts";

const HEADER = Buffer.from("TAGL\u0001", "latin1");
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** Seals `learned` so that only a gateway with the same secret can open it. */
export function sealLearned(learned: Learned, secret: Secret, random: Random): Uint8Array {
  const text = JSON.stringify({
    keys: learned.keys.map((entry) => [
      entry.accessKeyId,
      entry.date,
      entry.region,
      Buffer.from(entry.key).toString("hex"),
    ]),
    grants: learned.grants.map((entry) => [entry.grantee, entry.bucket, entry.expiresAtMs]),
  });
  const nonce = random.bytes(NONCE_BYTES);
  const cipher = createCipheriv("aes-256-gcm", sealingKey(secret), nonce);
  cipher.setAAD(HEADER);
  const body = [cipher.update(text, "utf8"), cipher.final()];
  return Buffer.concat([HEADER, nonce, ...body, cipher.getAuthTag()]);
}

/** Opens what `sealLearned` made; undefined when it is not authentic. Never throws. */
export function openLearned(sealed: Uint8Array, secret: Secret): Learned | undefined {
  const bytes = Buffer.from(sealed.buffer, sealed.byteOffset, sealed.length);
  if (bytes.length < HEADER.length + NONCE_BYTES + TAG_BYTES) return undefined;
  if (!bytes.subarray(0, HEADER.length).equals(HEADER)) return undefined;
  const nonceEnd = HEADER.length + NONCE_BYTES;
  try {
    const nonce = bytes.subarray(HEADER.length, nonceEnd);
    const decipher = createDecipheriv("aes-256-gcm", sealingKey(secret), nonce);
    decipher.setAAD(HEADER);
    decipher.setAuthTag(bytes.subarray(-TAG_BYTES));
    const body = bytes.subarray(nonceEnd, -TAG_BYTES);
    return readLearned(
      JSON.parse(decipher.update(body, undefined, "utf8") + decipher.final("utf8")),
    );
  } catch {
    return undefined; // not sealed with this secret, or damaged
  }
}

function sealingKey(secret: Secret): Buffer {
  return Buffer.from(hkdfSync("sha256", secret.reveal(), "", "tag-learned-v1", 32));
}

function readLearned(value: unknown): Learned | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const { keys, grants } = value as Record<string, unknown>;
  if (!Array.isArray(keys) || !Array.isArray(grants)) return undefined;
  return { keys: keys.flatMap(readKey), grants: grants.flatMap(readGrant) };
}

function readKey(row: unknown): LearnedKey[] {
  if (!Array.isArray(row)) return [];
  const [accessKeyId, date, region, hex] = row as unknown[];
  if (typeof accessKeyId !== "string" || typeof date !== "string") return [];
  if (typeof region !== "string" || typeof hex !== "string") return [];
  return [{ accessKeyId, date, region, key: Buffer.from(hex, "hex") }];
}

function readGrant(row: unknown): LearnedGrant[] {
  if (!Array.isArray(row)) return [];
  const [grantee, bucket, expiresAtMs] = row as unknown[];
  if (typeof grantee !== "string" || typeof bucket !== "string") return [];
  if (typeof expiresAtMs !== "number" || !Number.isFinite(expiresAtMs)) return [];
  return [{ grantee, bucket, expiresAtMs }];
}
