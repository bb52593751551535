/**
 * Bounds on single buckets: what one may take on disk, however much room there is.
 *
 * Segments hold bodies of all buckets, so evicting within one bucket is not the evictor's
 * work: entries are removed one by one, and their bytes come back when the evictor takes the
 * segments. Which go is settled by a hand that turns over the bucket's names, as in the CLOCK
 * algorithm: what was used since the hand came by is spared once, what is pinned always. No
 * order is kept for it, neither on disk nor in memory.
 *
 * Fills reserve what they are going to write, so a bound holds at any speed: a fill that does
 * not fit is refused, and the hand works ahead so that this is rare.
 */

import type { ObjectId } from "../s3/object-id.ts";
import type { BackgroundBudget } from "./budget.ts";
import { FLAG_PINNED, type Catalog } from "./catalog.ts";
import type { Heat } from "./heat.ts";

export interface QuotasOptions {
  readonly catalog: Catalog;
  /** Undefined: no bound but that of the store. */
  readonly quotaBytes: (bucket: string) => number | undefined;
  readonly heat: Heat;
  /** False: use counts for nothing. */
  readonly sparesUsed: boolean;
  readonly budget: BackgroundBudget;
  /** Whether a fill adds to the body just now: it stays for that long. */
  readonly isGrowing: (version: number) => boolean;
  /** Starts background work; see base/tasks.ts. */
  readonly spawn: (name: string, run: (signal: AbortSignal) => Promise<void>) => void;
  /** Makes entries invisible and frees their bodies; returns the body sizes. */
  readonly remove: (ids: readonly ObjectId[]) => readonly number[];
  readonly onEvicted: (entries: number, bodyBytes: number) => void;
}

/** What a bucket takes of its bound. */
export interface QuotaFigures {
  readonly bucket: string;
  readonly bytes: number;
  readonly quotaBytes: number;
}

/** The hand begins to turn when more than this share is used, … */
const HIGH_SHARE = 0.95;
/** … and stops at this one. */
const LOW_SHARE = 0.9;
/** Names looked at in one slice: two or three milliseconds. */
const NAMES_PER_SLICE = 128;
/** What looking at a row costs of the background budget, in bytes. */
const ROW_COST_BYTES = 512;
/** In its first turn the hand may find everything used; by the fourth nothing is any more. */
const TURNS_MAX = 5;

/** What is known of a bucket that has a bound. */
class Account {
  reservedBytes = 0;
  isEvicting = false;
  /** Where the hand is: shard, and the last key it looked at there. */
  shard = 0;
  after: Uint8Array | undefined;
}

export class Quotas {
  readonly #options: QuotasOptions;
  readonly #accounts = new Map<string, Account>();

  constructor(options: QuotasOptions) {
    this.#options = options;
  }

  /** Whether a bucket may take `sizeBytes` more now; makes room for the next when it is getting full. */
  hasRoom(bucket: string, sizeBytes: number): boolean {
    const quotaBytes = this.#options.quotaBytes(bucket);
    if (quotaBytes === undefined) return true;
    const wantedBytes = this.#usedBytes(bucket) + sizeBytes;
    if (wantedBytes > HIGH_SHARE * quotaBytes && sizeBytes <= quotaBytes) {
      this.#evict(bucket, Math.min(LOW_SHARE * quotaBytes, quotaBytes - sizeBytes));
    }
    return wantedBytes <= quotaBytes;
  }

  /** True while something has to go for whatever comes: then admission is choosy. */
  isFull(bucket: string): boolean {
    const quotaBytes = this.#options.quotaBytes(bucket);
    return quotaBytes !== undefined && this.#usedBytes(bucket) > LOW_SHARE * quotaBytes;
  }

  /** Counts bytes that are being written; negative when they are in the catalog, or given up. */
  reserve(bucket: string, sizeBytes: number): void {
    if (this.#options.quotaBytes(bucket) === undefined) return;
    this.#accountOf(bucket).reservedBytes += sizeBytes;
  }

  /** Evicts from buckets that take more than a bound which is newer than what they hold. */
  enforce(buckets: Iterable<string>): void {
    for (const bucket of buckets) this.hasRoom(bucket, 0);
  }

  /** The buckets of these that have a bound. */
  figures(buckets: Iterable<string>): QuotaFigures[] {
    return [...buckets].flatMap((bucket) => {
      const quotaBytes = this.#options.quotaBytes(bucket);
      if (quotaBytes === undefined) return [];
      return [{ bucket, bytes: this.#options.catalog.bucketBytes(bucket), quotaBytes }];
    });
  }

  #usedBytes(bucket: string): number {
    const reservedBytes = this.#accounts.get(bucket)?.reservedBytes ?? 0;
    return this.#options.catalog.bucketBytes(bucket) + reservedBytes;
  }

  #accountOf(bucket: string): Account {
    let account = this.#accounts.get(bucket);
    if (account === undefined) {
      account = new Account();
      this.#accounts.set(bucket, account);
    }
    return account;
  }

  #evict(bucket: string, targetBytes: number): void {
    const account = this.#accountOf(bucket);
    if (account.isEvicting) return;
    account.isEvicting = true;
    this.#options.spawn("evict for a quota", async (signal) => {
      try {
        await this.#turn(bucket, account, targetBytes, signal);
      } finally {
        account.isEvicting = false;
      }
    });
  }

  async #turn(
    bucket: string,
    account: Account,
    targetBytes: number,
    signal: AbortSignal,
  ): Promise<void> {
    const { catalog, budget, remove, onEvicted } = this.#options;
    let shardsLeft = TURNS_MAX * catalog.shardCount;
    while (shardsLeft > 0 && !signal.aborted) {
      const excessBytes = this.#usedBytes(bucket) - targetBytes;
      if (excessBytes <= 0) return;
      const names = catalog.look(
        account.shard,
        (shard) => shard.names(bucket, EVERYTHING, account.after, NAMES_PER_SLICE),
        [],
      );
      const { victims, looked } = this.#victimsOf(account.shard, bucket, names, excessBytes);
      account.after = names[looked - 1]?.key ?? account.after;
      if (looked === names.length && names.length < NAMES_PER_SLICE) {
        account.shard = (account.shard + 1) % catalog.shardCount;
        account.after = undefined;
        shardsLeft -= 1;
      }
      if (victims.length > 0) {
        const sizes = remove(victims);
        onEvicted(
          sizes.length,
          sizes.reduce((sum, size) => sum + size, 0),
        );
      }
      await budget.spend(looked * ROW_COST_BYTES, signal);
    }
  }

  /**
   * Of these names, what goes: enough for `excessBytes`, and neither pinned nor in use. The hand
   * stops where that is found.
   */
  #victimsOf(
    shard: number,
    bucket: string,
    names: readonly { readonly key: Uint8Array; readonly h: number }[],
    excessBytes: number,
  ): { readonly victims: ObjectId[]; readonly looked: number } {
    const { catalog, heat, sparesUsed, isGrowing } = this.#options;
    const victims: ObjectId[] = [];
    let freedBytes = 0;
    let looked = 0;
    for (const { key, h } of names) {
      if (freedBytes >= excessBytes) break;
      looked += 1;
      const row = catalog.shard(shard).peek(h);
      if (row === undefined || (row.flags & FLAG_PINNED) !== 0 || isGrowing(row.version)) continue;
      if (sparesUsed && heat.of(h) > 0) {
        heat.cool(h);
        continue;
      }
      victims.push({ bucket, key: Buffer.from(key).toString() });
      freedBytes += row.disk;
    }
    return { victims, looked };
  }
}

const EVERYTHING = new Uint8Array(0);
