/**
 * Group commit: changes of the catalog that may wait a moment are written together,
 * one transaction per shard, sorted by row id. A random single insert costs a log page
 * and a sync of SQLite's state each; in a group of a hundred they share both.
 *
 * The seam for several processes: with workers, the same interface is answered by the
 * store process over a socket (docs/architecture.md, A12).
 */

import type { Clock, Timer } from "../base/clock.ts";
import type { Catalog, CatalogShard } from "./catalog.ts";
import type { Identity } from "./identity.ts";

export interface Committer {
  /** Queues a change. It is applied after those queued before for the same object. */
  enqueue(identity: Identity, apply: (shard: CatalogShard) => void): QueuedChange;
  /** Applies everything queued, now. */
  flush(): void;
  readonly queuedCount: number;
}

export interface QueuedChange {
  /** Settles when the change is durable against the death of the process, or was refused. */
  readonly settled: Promise<"written" | "cancelled" | { readonly error: unknown }>;
  /** Takes the change back; harmless once it is applied. */
  cancel(): void;
}

/** How long a change may wait for company, and how many wait at most. */
const DELAY_MS = 10;
const BATCH_MAX = 512;

interface Item {
  readonly identity: Identity;
  readonly apply: (shard: CatalogShard) => void;
  isCancelled: boolean;
  readonly settle: (outcome: "written" | "cancelled" | { readonly error: unknown }) => void;
}

/** The committer of a process that writes its own catalog. */
export class LocalCommitter implements Committer {
  readonly #catalog: Catalog;
  readonly #clock: Clock;
  readonly #onFlush: (rowCount: number) => void;
  #queue: Item[] = [];
  #timer: Timer | undefined;

  /** @param onFlush told how many rows a flush wrote */
  constructor(catalog: Catalog, clock: Clock, onFlush: (rowCount: number) => void) {
    this.#catalog = catalog;
    this.#clock = clock;
    this.#onFlush = onFlush;
  }

  get queuedCount(): number {
    return this.#queue.length;
  }

  enqueue(identity: Identity, apply: (shard: CatalogShard) => void): QueuedChange {
    const { promise, resolve } = Promise.withResolvers<
      "written" | "cancelled" | { readonly error: unknown }
    >();
    const item: Item = { identity, apply, isCancelled: false, settle: resolve };
    this.#queue.push(item);
    if (this.#queue.length >= BATCH_MAX) this.flush();
    else this.#timer ??= this.#clock.after(DELAY_MS, () => this.flush());
    return {
      settled: promise,
      cancel() {
        item.isCancelled = true;
      },
    };
  }

  flush(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    const items = this.#queue;
    this.#queue = [];
    const byShard = Map.groupBy(items, (item) => item.identity.shard);
    for (const [shard, changes] of byShard) this.#write(shard, changes);
    this.#onFlush(items.length);
  }

  #write(shard: number, items: Item[]): void {
    // The sort is stable: two changes of one object keep their order.
    const due = items
      .filter((item) => !item.isCancelled)
      .toSorted((left, right) => left.identity.h - right.identity.h);
    try {
      if (due.length > 0) {
        this.#catalog.transact(shard, (rows) => {
          for (const item of due) item.apply(rows);
        });
      }
    } catch (error) {
      for (const item of items) item.settle(item.isCancelled ? "cancelled" : { error });
      return;
    }
    for (const item of items) item.settle(item.isCancelled ? "cancelled" : "written");
  }
}
