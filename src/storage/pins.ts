/**
 * What is not evicted: prefixes that an operator or the configuration pinned.
 *
 * A pin is a line in the control database. What it protects is marked row by row
 * (`FLAG_PINNED`), for three reasons: eviction asks a row it looks at anyway, sums of what is
 * pinned change in the transactions of the rows, and neither costs anything at start. A row
 * gets its mark when it is written, and those written before a pin get theirs in a walk over
 * its prefix. The line says when a walk is not through, so that the next start takes it up.
 *
 * Pinned bytes have a bound, because a cache in which nothing may go stores nothing new. What
 * would go beyond it is stored without a mark; a walk when room is back marks it then.
 */

import type { ObjectId } from "../s3/object-id.ts";
import type { BackgroundBudget } from "./budget.ts";
import { FLAG_PINNED, type Catalog, type PlacedRow } from "./catalog.ts";
import type { StoredPin } from "./control.ts";
import type { Pin, PinFigures, PinReport } from "./storage.ts";

export interface PinsOptions {
  readonly catalog: Catalog;
  /** Where pins are kept. */
  readonly table: {
    pins(): StoredPin[];
    savePin(pin: StoredPin): void;
    deletePin(pin: Pin): void;
  };
  /** What the configuration pins; replaces what it pinned before. */
  readonly configured: readonly { readonly bucket: string; readonly prefix: string }[];
  readonly maxBytes: number;
  readonly budget: BackgroundBudget;
  /** Resolves when the rows were counted at start: a walk before that would count some twice. */
  readonly isCounted: Promise<void>;
  /** A row was marked, or is not any more. */
  readonly onMarked: (row: PlacedRow, isPinned: boolean) => void;
  /** Something is left without protection for want of room; told once until there is room again. */
  readonly onFull: () => void;
}

type Prefix = Pick<Pin, "bucket" | "prefix">;

/** Rows judged in one transaction: two or three milliseconds. */
const ROWS_PER_SLICE = 128;
/** What judging a row costs of the background budget, in bytes. */
const ROW_COST_BYTES = 256;
/** With this share of it gone again, a lack of room is worth telling of once more. */
const ROOM_SHARE = 0.05;

export class Pins {
  readonly #options: PinsOptions;
  #pins: StoredPin[];
  /** Prefixes by bucket, of what is to be pinned. */
  readonly #prefixes = new Map<string, string[]>();
  /** One walk after the other. */
  #walks: Promise<unknown>;
  #refusedEntries = 0;
  /** What was pinned when there was no room for more; undefined once much less is. */
  #fullAtBytes: number | undefined;

  /** Takes over the configuration; `settle` walks what that changes. Throws when it cannot be written. */
  constructor(options: PinsOptions) {
    this.#options = options;
    this.#walks = options.isCounted;
    const { table, configured } = options;
    const isConfigured = (pin: Prefix): boolean => configured.some((other) => isSame(pin, other));
    for (const pin of table.pins()) {
      if (pin.origin !== "config" || isConfigured(pin)) continue;
      table.savePin({ ...pin, state: "unpinning" });
    }
    const before = table.pins();
    for (const { bucket, prefix } of configured) {
      const known = before.find(
        (pin) => pin.origin === "config" && isSame(pin, { bucket, prefix }),
      );
      if (known !== undefined && known.state !== "unpinning") continue;
      table.savePin({ bucket, prefix, origin: "config", state: "pinning" });
    }
    this.#pins = table.pins();
    this.#index();
  }

  /** True while a row may be pinned: eviction need not look otherwise. */
  get areThereAny(): boolean {
    return this.#pins.length > 0;
  }

  /** Whether a body of about `sizeBytes` would be pinned: then it is taken, whatever the policy says. */
  wants(id: ObjectId, sizeBytes: number): boolean {
    const { catalog, maxBytes } = this.#options;
    return this.#covers(id) && catalog.pinned().disk + sizeBytes <= maxBytes;
  }

  /** Whether a body of `diskBytes` is to be written as pinned. `wasPinned`: its row is already. */
  holds(id: ObjectId, diskBytes: number, wasPinned = false): boolean {
    if (!this.#covers(id)) return false;
    const { catalog, maxBytes } = this.#options;
    const usedBytes = catalog.pinned().disk;
    const fullAtBytes = this.#fullAtBytes ?? 0;
    if (usedBytes < (1 - ROOM_SHARE) * fullAtBytes) this.#fullAtBytes = undefined;
    if (usedBytes + (wasPinned ? 0 : diskBytes) <= maxBytes) return true;
    this.#refusedEntries += 1;
    if (this.#fullAtBytes === undefined) this.#options.onFull();
    this.#fullAtBytes = Math.max(usedBytes, this.#fullAtBytes ?? 0);
    return false;
  }

  /** See `Pinning.pin`. */
  async pin(bucket: string, prefix: string, signal: AbortSignal): Promise<PinReport> {
    const pin = { bucket, prefix, origin: "operator" } as const;
    this.#save({ ...pin, state: "pinning" });
    return this.#walkOf({ ...pin, state: "pinning" }, signal);
  }

  /** See `Pinning.unpin`. */
  async unpin(bucket: string, prefix: string, signal: AbortSignal): Promise<PinReport | undefined> {
    const pin = this.#pins.find(
      (known) =>
        known.origin === "operator" &&
        known.state !== "unpinning" &&
        isSame(known, { bucket, prefix }),
    );
    if (pin === undefined) return undefined;
    this.#save({ ...pin, state: "unpinning" });
    const report = await this.#walkOf({ ...pin, state: "unpinning" }, signal);
    await this.#markRefused(signal);
    return report;
  }

  /** Walks what an earlier run, another configuration or a smaller cap left to do. */
  async settle(signal: AbortSignal): Promise<void> {
    const { catalog, maxBytes } = this.#options;
    const isOver = catalog.pinned().disk > maxBytes;
    for (const pin of this.#pins) {
      if (isOver || pin.state !== "pinned") await this.#walkOf(pin, signal);
    }
  }

  figures(): PinFigures {
    const { entries, disk } = this.#options.catalog.pinned();
    return {
      pins: this.#pins
        .filter(({ state }) => state !== "unpinning")
        .map(({ bucket, prefix, origin }) => ({ bucket, prefix, origin })),
      entries,
      bytes: disk,
      maxBytes: this.#options.maxBytes,
      refusedEntries: this.#refusedEntries,
    };
  }

  #covers({ bucket, key }: ObjectId): boolean {
    const prefixes = this.#prefixes.get(bucket);
    return prefixes !== undefined && prefixes.some((prefix) => key.startsWith(prefix));
  }

  #save(pin: StoredPin): void {
    this.#options.table.savePin(pin);
    this.#pins = this.#options.table.pins();
    this.#index();
  }

  #index(): void {
    this.#prefixes.clear();
    for (const { bucket, prefix, state } of this.#pins) {
      if (state === "unpinning") continue;
      const prefixes = this.#prefixes.get(bucket);
      if (prefixes === undefined) this.#prefixes.set(bucket, [prefix]);
      else prefixes.push(prefix);
    }
  }

  /** Room came back: what other pins had no room for may have it now. */
  async #markRefused(signal: AbortSignal): Promise<void> {
    if (this.#refusedEntries === 0) return;
    for (const pin of this.#pins) {
      if (pin.state === "pinned") await this.#walkOf(pin, signal);
    }
  }

  #walkOf(pin: StoredPin, signal: AbortSignal): Promise<PinReport> {
    const walk = this.#walks.then(() => this.#walk(pin, signal));
    this.#walks = walk.catch(() => undefined);
    return walk;
  }

  /** Marks every row under a prefix as it should be, then notes that this is done. */
  async #walk(pin: StoredPin, signal: AbortSignal): Promise<PinReport> {
    const { catalog, budget, table, onMarked } = this.#options;
    const report = { entries: 0, bytes: 0, refusedEntries: 0 };
    for (let shard = 0; shard < catalog.shardCount; shard += 1) {
      let after: Uint8Array | undefined;
      for (;;) {
        signal.throwIfAborted();
        const from = after;
        const names = catalog.look(
          shard,
          (part) => part.names(pin.bucket, Buffer.from(pin.prefix), from, ROWS_PER_SLICE),
          [],
        );
        for (const { isPinned, hasChanged, row } of this.#judge(shard, pin.bucket, names)) {
          if (hasChanged) onMarked(row, isPinned);
          report.entries += isPinned ? 1 : 0;
          report.bytes += isPinned ? row.disk : 0;
          report.refusedEntries += isPinned || pin.state === "unpinning" ? 0 : 1;
        }
        await budget.spend(names.length * ROW_COST_BYTES, signal);
        after = names.at(-1)?.key;
        if (names.length < ROWS_PER_SLICE) break;
      }
    }
    const now = table.pins().find((known) => known.origin === pin.origin && isSame(known, pin));
    if (now?.state !== pin.state) return report; // asked for otherwise meanwhile, and walked again
    if (pin.state === "unpinning") table.deletePin(pin);
    else table.savePin({ ...pin, state: "pinned" });
    this.#pins = table.pins();
    return report;
  }

  #judge(shard: number, bucket: string, names: readonly { key: Uint8Array; h: number }[]) {
    if (names.length === 0) return [];
    return this.#options.catalog.transact(shard, (rows) =>
      names.flatMap(({ key, h }) => {
        const id = { bucket, key: Buffer.from(key).toString() };
        const judged = rows.judgePin(bucket, h, (row) =>
          this.holds(id, row.disk, (row.flags & FLAG_PINNED) !== 0),
        );
        return judged === undefined ? [] : [judged];
      }),
    );
  }
}

function isSame(left: Prefix, right: Prefix): boolean {
  return left.bucket === right.bucket && left.prefix === right.prefix;
}
