/**
 * Where an object id lives in the catalog: its shard and two numbers that stand for it.
 *
 * The numbers are cut from SHA-256, so nobody can choose keys that collide. They stay
 * below 2^53, because `bun:sqlite` hands integers out as plain numbers and rounds
 * larger ones without a word. `h` addresses the row and `h2` proves it (together 100
 * bits); the head of the entry carries the full key, which is compared in the end.
 */

import type { ObjectId } from "../s3/object-id.ts";

export interface Identity {
  /** Index of the catalog shard. */
  readonly shard: number;
  /** 52 bits: the row id within the shard. */
  readonly h: number;
  /** 48 further bits. */
  readonly h2: number;
}

/** Shard counts are powers of two up to this, so that one byte of the digest chooses. */
export const SHARDS_MAX = 256;

const digest = new Uint8Array(32);

/** The identity of `id` in a store of `shardCount` shards (a power of two, at most 256). */
export function identityOf(id: ObjectId, shardCount: number): Identity {
  // A bucket name has no NUL, so the first one ends it and no two ids hash the same text.
  Bun.SHA256.hash(`${id.bucket}\0${id.key}`, digest);
  return {
    shard: byte(0) & (shardCount - 1),
    h: (((byte(1) & 0x0f) * 256 + byte(2)) * 256 + byte(3)) * 2 ** 32 + word(4),
    h2: (byte(8) * 256 + byte(9)) * 2 ** 32 + word(10),
  };
}

function byte(index: number): number {
  return digest[index] ?? 0;
}

/** Four bytes, big-endian, as an unsigned number. */
function word(index: number): number {
  return (
    ((byte(index) << 24) | (byte(index + 1) << 16) | (byte(index + 2) << 8) | byte(index + 3)) >>> 0
  );
}
