/**
 * The work of `tag cache warm`: takes objects from a source in its order, reads so many at
 * a time through the gateway, and keeps book of what is done.
 */

import type { Clock } from "../base/clock.ts";
import { Semaphore } from "../base/semaphore.ts";
import { type ObjectId, objectIdString } from "../s3/object-id.ts";
import type { GatewayClient, ReadOutcome } from "./cache-warm-client.ts";
import type { WarmState } from "./cache-warm-state.ts";

/** An object to be warmed. */
export interface WarmItem extends ObjectId {
  /** Undefined when nobody said yet. */
  readonly sizeBytes: number | undefined;
  /** Where the source goes on after it; undefined for one of an earlier run that failed. */
  readonly cursor: string | undefined;
}

/** Why an object is not read: the cache would not keep it. */
export type LeftOutReason = "too_large" | "excluded";

/** Objects of this run that were left out. */
export interface LeftOut {
  objects: number;
  /** As far as their sizes are known. */
  bytes: number;
}

export interface WarmReport {
  /** Objects and bytes done, earlier runs over the same source included. */
  readonly objects: number;
  readonly bytes: number;
  /** Of this run: those that were in the cache already. */
  readonly hits: number;
  readonly failed: readonly {
    readonly bucket: string;
    readonly key: string;
    readonly why: string;
  }[];
  readonly leftOut: Readonly<Record<LeftOutReason, LeftOut>>;
  /** False when it was told to stop before the end. */
  readonly isFinished: boolean;
}

export interface WarmOptions {
  readonly client: GatewayClient;
  readonly clock: Clock;
  readonly concurrency: number;
  /** HEAD instead of GET, and only where the size is not known: nothing gets cached. */
  readonly isDryRun: boolean;
  /** Why the cache would not keep an object; its size is undefined while nobody said. */
  readonly leavesOut: (id: ObjectId, sizeBytes: number | undefined) => LeftOutReason | undefined;
  /** Ends the run early, with what is done kept. */
  readonly signal: AbortSignal;
  readonly before: WarmState;
  /** Told now and then, and at the end. */
  readonly onState: (state: WarmState) => void;
  /** Told of every chunk: bytes found so far, bytes done so far. */
  readonly onBytes: (foundBytes: number, doneBytes: number) => void;
}

const ATTEMPTS = 3;
const PAUSE_MS = 250;
const SAVE_EVERY_MS = 1000;

/** One object between its start and the moment everything before it is done. */
interface Slot {
  readonly item: WarmItem;
  /** The answer, or why there is none; undefined while it is not known. */
  outcome: ItemOutcome | undefined;
}

type ItemOutcome =
  | ReadOutcome
  | string
  | { readonly leftOut: LeftOutReason; readonly sizeBytes: number };

/** Reads every item. Failures of single objects are in the report; throws when the source fails. */
export async function warm(
  items: AsyncIterable<WarmItem>,
  options: WarmOptions,
): Promise<WarmReport> {
  return new WarmRun(options).run(items);
}

class WarmRun {
  readonly #options: WarmOptions;
  readonly #slots: Slot[] = [];
  readonly #failed: { bucket: string; key: string; why: string }[] = [];
  /** Failures of an earlier run that were not tried again yet. */
  readonly #untried: Map<string, readonly [bucket: string, key: string]>;
  #cursor: string;
  #objects: number;
  #bytes: number;
  #hits = 0;
  readonly #leftOut = {
    too_large: { objects: 0, bytes: 0 },
    excluded: { objects: 0, bytes: 0 },
  };
  #foundBytes: number;
  #readBytes: number;
  #savedAtMs: number;

  constructor(options: WarmOptions) {
    this.#options = options;
    const { cursor, objects, bytes, failed } = options.before;
    this.#untried = new Map(
      failed.map((pair) => [objectIdString({ bucket: pair[0], key: pair[1] }), pair]),
    );
    this.#cursor = cursor;
    this.#objects = objects;
    this.#bytes = bytes;
    this.#foundBytes = bytes;
    this.#readBytes = bytes;
    this.#savedAtMs = options.clock.monotonicMs();
  }

  async run(items: AsyncIterable<WarmItem>): Promise<WarmReport> {
    const { signal, concurrency, onState } = this.#options;
    const permits = new Semaphore(concurrency);
    const running = new Set<Promise<void>>();
    try {
      for await (const item of items) {
        if (signal.aborted) break;
        const permit = await permits.acquire();
        const slot: Slot = { item, outcome: undefined };
        this.#slots.push(slot);
        if (!this.#isLeftOut(slot)) this.#foundBytes += item.sizeBytes ?? 0;
        const work = this.#warmOne(slot).finally(() => {
          permit.release();
          running.delete(work);
        });
        running.add(work);
      }
    } finally {
      await Promise.all(running);
      onState(this.#state());
    }
    return {
      objects: this.#objects,
      bytes: this.#bytes,
      hits: this.#hits,
      leftOut: this.#leftOut,
      failed: this.#failed,
      isFinished: !signal.aborted,
    };
  }

  /** Settles a slot that is known beforehand not to be worth a read. */
  #isLeftOut(slot: Slot): boolean {
    const { item } = slot;
    const leftOut = this.#options.leavesOut(item, item.sizeBytes);
    if (leftOut !== undefined) slot.outcome = { leftOut, sizeBytes: item.sizeBytes ?? 0 };
    return leftOut !== undefined;
  }

  async #warmOne(slot: Slot): Promise<void> {
    slot.outcome ??= await this.#attempt(slot.item);
    // Undefined: told to stop in the middle of it, neither done nor failed.
    if (slot.outcome !== undefined) this.#moveOn();
  }

  /** The answer, or why there is none; undefined when the run is to stop. */
  async #attempt(item: WarmItem): Promise<ItemOutcome | undefined> {
    const { client, clock, signal, isDryRun } = this.#options;
    if (isDryRun && item.sizeBytes !== undefined) {
      return { status: 200, sizeBytes: item.sizeBytes, xCache: undefined };
    }
    let why = "";
    for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
      if (attempt > 1) await clock.sleep(PAUSE_MS * 2 ** attempt);
      if (signal.aborted) return undefined;
      let readBytes = 0;
      try {
        const outcome = isDryRun
          ? await client.head(item, signal)
          : await client.read(item, signal, (count) => {
              readBytes += count;
              this.#progress(count);
            });
        if (outcome.status === 200) {
          if (item.sizeBytes === undefined) this.#foundBytes += outcome.sizeBytes;
          const leftOut = this.#options.leavesOut(item, outcome.sizeBytes);
          return leftOut === undefined ? outcome : { leftOut, sizeBytes: outcome.sizeBytes };
        }
        why = outcome.status === 404 ? "not found" : `status ${outcome.status}`;
        if (outcome.status < 500 && outcome.status !== 429) return why;
      } catch (error) {
        why = error instanceof Error ? error.message : String(error);
      }
      this.#progress(-readBytes);
    }
    return signal.aborted ? undefined : why;
  }

  #progress(count: number): void {
    this.#readBytes += count;
    this.#options.onBytes(Math.max(this.#foundBytes, this.#readBytes), this.#readBytes);
  }

  /** Cursor and sums follow as far as everything is done. */
  #moveOn(): void {
    for (;;) {
      const slot = this.#slots[0];
      if (slot?.outcome === undefined) break;
      this.#slots.shift();
      const { item, outcome } = slot;
      if (item.cursor === undefined) this.#untried.delete(objectIdString(item));
      else this.#cursor = item.cursor;
      if (typeof outcome === "string") {
        this.#failed.push({ bucket: item.bucket, key: item.key, why: outcome });
        continue;
      }
      if ("leftOut" in outcome) {
        this.#leftOut[outcome.leftOut].objects += 1;
        this.#leftOut[outcome.leftOut].bytes += outcome.sizeBytes;
        continue;
      }
      this.#objects += 1;
      this.#bytes += outcome.sizeBytes;
      if (outcome.xCache === "HIT") this.#hits += 1;
    }
    const nowMs = this.#options.clock.monotonicMs();
    if (nowMs - this.#savedAtMs < SAVE_EVERY_MS) return;
    this.#savedAtMs = nowMs;
    this.#options.onState(this.#state());
  }

  #state(): WarmState {
    const failed = this.#failed.map(({ bucket, key }) => [bucket, key] as const);
    return {
      source: this.#options.before.source,
      cursor: this.#cursor,
      objects: this.#objects,
      bytes: this.#bytes,
      failed: [...failed, ...this.#untried.values()],
    };
  }
}

/** Takes up to `ahead` items before they are asked for, so that the total is known early. */
export async function* prefetched<T>(source: AsyncIterable<T>, ahead: number): AsyncGenerator<T> {
  const ready: T[] = [];
  let wake = Promise.withResolvers<void>();
  let isOver = false;
  let failure: Error | undefined;
  const state = { isStopped: false };
  const turn = (): void => {
    wake.resolve();
    wake = Promise.withResolvers<void>();
  };
  const filling = (async () => {
    for await (const item of source) {
      ready.push(item);
      turn();
      while (ready.length >= ahead && !state.isStopped) await wake.promise;
      if (state.isStopped) return;
    }
  })()
    .catch((error: unknown) => {
      failure = error instanceof Error ? error : new Error(String(error));
    })
    .finally(() => {
      isOver = true;
      turn();
    });
  try {
    for (;;) {
      const item = ready.shift();
      if (item !== undefined) {
        if (ready.length === ahead - 1) turn();
        yield item;
      } else if (isOver) {
        if (failure !== undefined) throw failure;
        return;
      } else {
        await wake.promise;
      }
    }
  } finally {
    state.isStopped = true;
    turn();
    await filling;
  }
}
