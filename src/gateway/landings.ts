/**
 * Flights that become files: for listeners that send a file better than a stream, a way to wait until
 * all of an object is stored and to read it from there. A hundred readers then hold no byte of it.
 *
 * Whoever waits does not read and leaves its reader of the flight open, so that the bytes stay reachable
 * when nothing comes of the file. A fill takes them over as fast as they come; but once it
 * breaks, that reader holds the flight back like any slow one. So the end of waiting is that the fill
 * broke or that the flight settled, whichever is first.
 */

import type { Cache } from "../cache/cache.ts";
import type { Flight } from "../coalesce/flight.ts";
import type { FileSlice } from "../http/exchange.ts";
import type { CommitOutcome, Fill, StoredObject } from "../storage/storage.ts";

interface Landing {
  /** What the flight became; undefined as soon as its fill is known to be broken. */
  readonly outcome: Promise<CommitOutcome | undefined>;
  /** The reads so far, one after the other: the first one checks the body, the rest find it checked. */
  reads: Promise<unknown>;
}

export class Landings {
  readonly #cache: Pick<Cache, "read">;
  readonly #landings = new WeakMap<Flight, Landing>();

  constructor(cache: Pick<Cache, "read">) {
    this.#cache = cache;
  }

  /**
   * The fill to give to `flight` in place of `fill`, so that its end is noticed here. For a flight
   * that fetches all of the object whether it is read or not; any other might never settle.
   */
  watch(flight: Flight, fill: Fill): Fill {
    const { promise: broken, resolve } = Promise.withResolvers<undefined>();
    const outcome = Promise.race([flight.settled, broken]);
    this.#landings.set(flight, { outcome, reads: Promise.resolve() });
    return new WatchedFill(fill, () => resolve(undefined));
  }

  /**
   * The whole object of a flight as a file, once it is stored; undefined when it will not be, or not as a
   * file. Waits as long as the flight takes. Never rejects.
   */
  async file(flight: Flight): Promise<FileSlice | undefined> {
    const landing = this.#landings.get(flight);
    const outcome = await landing?.outcome;
    if (landing === undefined || outcome?.kind !== "committed") return undefined;
    const read = landing.reads.then(() => this.#fileOf(outcome.object)).catch(() => undefined);
    landing.reads = read;
    return read;
  }

  async #fileOf(object: StoredObject): Promise<FileSlice | undefined> {
    const body = await this.#cache.read(object, { start: 0, end: object.sizeBytes });
    if (body?.kind === "file") return body.file;
    if (body?.kind === "stream") body.source.close();
    if (body?.kind === "bytes") body.release?.();
    return undefined;
  }
}

/** A fill that says so when it turns out to be broken. */
class WatchedFill implements Fill {
  readonly #fill: Fill;
  readonly #onBroken: () => void;

  constructor(fill: Fill, onBroken: () => void) {
    this.#fill = fill;
    this.#onBroken = onBroken;
  }

  get isBroken(): boolean {
    const { isBroken } = this.#fill;
    if (isBroken) this.#onBroken();
    return isBroken;
  }

  write(offset: number, chunk: Uint8Array): void | Promise<void> {
    const behind = this.#fill.write(offset, chunk);
    if (this.#fill.isBroken) this.#onBroken();
    return behind;
  }

  readableFrom(start: number): number {
    return this.#fill.readableFrom(start);
  }

  readBack(start: number, limitBytes: number): Promise<Uint8Array> {
    return this.#fill.readBack(start, limitBytes);
  }

  isDoneWith(start: number, end: number): boolean {
    return this.#fill.isDoneWith(start, end);
  }

  commit(stillPermitted: () => boolean): Promise<CommitOutcome> {
    return this.#fill.commit(stillPermitted);
  }

  abandon(): void {
    this.#fill.abandon();
    this.#onBroken();
  }

  release(): void {
    this.#fill.release();
  }
}
