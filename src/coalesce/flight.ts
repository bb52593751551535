/**
 * A flight: one object on its way from upstream, shared by everybody who may read it.
 *
 * Upstream sends each byte once. The bytes of every leg stay in memory for a
 * window, the same chunks for all readers, and go to the fill at the same time, so
 * a reader that comes late, reads a range or is slow takes from disk what it
 * missed. Without a fill (the object is not stored) the window is all there is:
 * then the slowest reader holds the legs back, and is cut, never shortened, when
 * it makes others wait for too long.
 *
 * A flight belongs to its readers, not to the client that began it: it goes on
 * when that client leaves. When nobody is left it ends, unless a fill is under way
 * and may be completed for the next reader.
 *
 * Who may join, which request opens a flight and what a leg asks upstream is
 * decided in gateway/; this file only moves bytes.
 */

import { assert } from "../base/assert.ts";
import type { ByteSource } from "../base/byte-source.ts";
import type { Clock } from "../base/clock.ts";
import { errorCode, GatewayError } from "../base/errors.ts";
import type { Interval, IntervalSet } from "../base/interval-set.ts";
import type { RawHeaders } from "../http/fields.ts";
import type { ByteRange } from "../http/range.ts";
import type { CommitOutcome, Fill } from "../storage/storage.ts";
import type { FlightMemory } from "./flight-memory.ts";
import { Leg } from "./leg.ts";
import { Legs } from "./legs.ts";
import { SharedReads } from "./shared-reads.ts";
import type { Traffic } from "./traffic.ts";

/** What every reader of a flight is told about the object. */
export interface FlightHead {
  /** End-to-end headers of the 200 answer to the whole object. */
  readonly headers: RawHeaders;
  /** Undefined when upstream did not declare it; the flight is then not stored. */
  readonly sizeBytes: number | undefined;
  readonly etag: string | undefined;
  readonly lastModified: string | undefined;
  /** True when an unsigned request was answered 200: anybody may read. */
  readonly isPublic: boolean;
}

/** A small complete answer that is the same for every authorized reader (a 404, a 5xx). */
export interface SharedAnswer {
  readonly status: number;
  readonly headers: RawHeaders;
  readonly bytes: Uint8Array;
}

export type FlightOpening =
  | { readonly kind: "object"; readonly head: FlightHead }
  | { readonly kind: "answer"; readonly answer: SharedAnswer }
  /** The answer was for its asker alone; whoever waited must ask upstream itself. */
  | { readonly kind: "not-shared" };

export interface FlightLimits {
  /** Bytes of recent chunks a flight without a fill may keep. */
  readonly windowBytes: number;
  /** The same for a flight whose bytes are also on disk. */
  readonly windowWithFillBytes: number;
  /** How long one reader may hold the others back before it is cut. */
  readonly slowConsumerMs: number;
  /** Length of the pieces in which missing parts are fetched. */
  readonly pieceBytes: number;
  /** Upstream responses at a time, all legs together. */
  readonly legsMax: number;
  /** Of these, how many bring an object in parallel that one connection is too slow for. */
  readonly parallelLegs: number;
  /** An object is fetched in parallel when it ran so long already and needs as long again. */
  readonly parallelAfterMs: number;
  /**
   * With more readers than this the way to them is the narrow one: 500 readers on two cores make
   * any upstream look slow, and further requests to it would bring nobody a byte sooner. What so
   * many read back from disk they read together.
   */
  readonly crowdReaders: number;
}

export interface FlightSeams {
  readonly clock: Clock;
  readonly memory: FlightMemory;
  readonly traffic: Traffic;
  readonly limits: FlightLimits;
  /** Asked when the last reader left: may the fill go on alone? */
  readonly mayContinueAlone: () => boolean;
  readonly onSlowConsumer: (laggingBytes: number) => void;
}

/** How a flight takes off, once the first response header is there. */
export interface Departure {
  readonly head: FlightHead;
  /** The part the first response brings; `end` undefined: until it ends. */
  readonly start: number;
  readonly end: number | undefined;
  readonly source: ByteSource;
  /** Undefined: the object is not stored. */
  readonly fill: Fill | undefined;
  /**
   * For a fill that completes a partly present entry: the parts of a range that were not
   * there when it began. Undefined: nothing was.
   */
  readonly missing: ((range: ByteRange) => readonly ByteRange[]) | undefined;
  /** Whether parts nobody reads are fetched too, until the object is complete. */
  readonly fetchesRest: boolean;
  /** Parts are fetched from and to multiples of this, which is what the store can keep. */
  readonly alignBytes: number;
  readonly stillPermitted: () => boolean;
  /**
   * Fetches another part of this very version. Rejects with `upstream_changed` when
   * there is another one by now. Undefined: the first response is all we can get.
   */
  readonly fetchPart: ((range: ByteRange) => Promise<ByteSource>) | undefined;
}

/** A duplicate stretch up to this length is read past rather than closing the connection. */
const SKIP_BYTES = 256 * 1024;
/** Until the rate is known, a reader waits for a leg that is this close. */
const NEAR_BYTES = 1024 * 1024;
/** How much of an object the store is asked about at a time. */
const STRETCH_BYTES = 64 * 1024 * 1024;
/**
 * What one reader is handed at a time. Its socket keeps a copy of what its client does not take, so
 * the sum over all readers is bounded rather than the piece.
 */
const HANDED_BYTES_MAX = 512 * 1024;
const HANDED_BYTES_MIN = 32 * 1024;
const HANDED_BYTES_OF_ALL = 8 * 1024 * 1024;
const FAILED_LEGS_MAX = 3;
const LONE_WINDOW_BYTES = 1024 * 1024;
/**
 * So long upstream waits for a lone reader that is about to take what is in memory. A client on the same
 * network takes a window in a few milliseconds; without the wait it came to read more than half of an object
 * back from disk. A slower one falls behind the window and holds nobody up.
 */
const KEEP_UP_MS = 25;

export class Flight {
  readonly #seams: FlightSeams;
  readonly #startedAtMs: number;
  readonly #opening = Promise.withResolvers<FlightOpening>();
  readonly #settled = Promise.withResolvers<CommitOutcome | undefined>();
  readonly #readers = new Set<FlightReader>();
  readonly #legs: Legs;
  #departure: Departure | undefined;
  #sharedReads: SharedReads | undefined;
  #sizeBytes: number | undefined;
  #latencyMs = 0;
  #failedLegs = 0;
  #partsGivenUp = false;
  #isParallel = false;
  #isLarge = false;
  #fetchesRest = false;
  #error: Error | undefined;
  #state: "opening" | "open" | "ended" = "opening";
  #isSettled = false;
  #isReleased = false;
  #changed = Promise.withResolvers<void>();

  constructor(seams: FlightSeams) {
    this.#seams = seams;
    this.#legs = new Legs(seams.memory);
    this.#startedAtMs = seams.clock.monotonicMs();
    // A flight nobody waits for may fail without anybody to tell.
    this.#opening.promise.catch(() => undefined);
  }

  /** Resolves when the response header is known; rejects when upstream failed before it. */
  get opening(): Promise<FlightOpening> {
    return this.#opening.promise;
  }

  /** Resolves when nothing more will be stored; undefined when nothing was to be. */
  get settled(): Promise<CommitOutcome | undefined> {
    return this.#settled.promise;
  }

  /** True once the last byte came (or never will): a new reader should look in the cache. */
  get hasEnded(): boolean {
    return this.#state === "ended";
  }

  get head(): FlightHead | undefined {
    return this.#departure?.head;
  }

  get readerCount(): number {
    return this.#readers.size;
  }

  /** Bytes in memory for the readers of this flight. */
  get heldBytes(): number {
    return this.#legs.heldBytes + (this.#sharedReads?.heldBytes ?? 0);
  }

  /** Upstream answered with the object, or a part of it. */
  depart(departure: Departure): void {
    assert(this.#state === "opening", "a flight departs once");
    this.#departure = departure;
    this.#sizeBytes = departure.head.sizeBytes;
    this.#fetchesRest = departure.fetchesRest;
    this.#isLarge = (this.#sizeBytes ?? 0) > this.#seams.limits.pieceBytes;
    if (this.#isLarge) this.#seams.traffic.largeCount += 1;
    this.#latencyMs = this.#seams.clock.monotonicMs() - this.#startedAtMs;
    this.#state = "open";
    this.#opening.resolve({ kind: "object", head: departure.head });
    const end = departure.end ?? departure.head.sizeBytes ?? Number.POSITIVE_INFINITY;
    if (departure.start < end) this.#fly(new Leg(departure.start, end, departure.source));
    else {
      departure.source.close();
      // Nothing is on its way yet: the first reader says what is wanted.
      if (departure.fetchesRest || this.#sizeBytes === 0) this.#advance();
    }
  }

  /** Upstream answered with something else that every authorized reader would get too. */
  answer(answer: SharedAnswer): void {
    this.#conclude({ kind: "answer", answer });
  }

  /** Upstream's answer is nobody else's business: waiters go their own way. */
  decline(): void {
    this.#conclude({ kind: "not-shared" });
  }

  /** Upstream failed, or the flight may not go on. Every reader gets the error. */
  fail(error: Error): void {
    if (this.#state === "ended") return;
    this.#state = "ended";
    this.#error = error;
    this.#opening.reject(error);
    this.#legs.landAll();
    this.#departure?.fill?.abandon();
    this.#settle(undefined);
    this.#progress();
  }

  /** Whether a reader that starts now can get the bytes from `start` on without a flight of its own. */
  canServe(start: number): boolean {
    if (this.#state === "opening") return true;
    if (this.#state === "ended") return false;
    return this.#isReachable(start);
  }

  /** A reader of `[start, end)`, or of everything when `range` is undefined. */
  reader(range: ByteRange | undefined): ByteSource {
    const start = range?.start ?? 0;
    const end = range?.end ?? this.#sizeBytes ?? Number.POSITIVE_INFINITY;
    const reader = new FlightReader(this, start, end);
    this.#readers.add(reader);
    // Whoever reads everything wants the parts after the first one to be on their way.
    if (range === undefined || (start === 0 && end === this.#sizeBytes)) this.#fetchesRest = true;
    return reader;
  }

  /** Called by a reader: the next bytes for it, null at its end. */
  async nextFor(reader: FlightReader): Promise<Uint8Array | null> {
    for (;;) {
      if (reader.isCut) throw new GatewayError("slow_consumer", "the reader fell too far behind");
      if (reader.position >= Math.min(reader.end, this.#sizeBytes ?? Number.POSITIVE_INFINITY)) {
        return null;
      }
      const handedBytes = Math.min(this.#handedBytesMax(), reader.end - reader.position);
      const inMemory = this.#legs.lend(reader.position);
      if (inMemory !== undefined) return inMemory.subarray(0, handedBytes);
      const fill = this.#departure?.fill;
      if (fill !== undefined && fill.readableFrom(reader.position) > 0) {
        return this.#readBack(fill, reader.position, handedBytes);
      }
      if (this.#error !== undefined) throw this.#error;
      if (this.#state === "ended" || !this.#isReachable(reader.position)) {
        throw new GatewayError("slow_consumer", "bytes the reader still needs are gone");
      }
      this.#demand(reader.position, reader.end);
      reader.isWaiting = true;
      await this.#changed.promise;
      reader.isWaiting = false;
    }
  }

  #readBack(fill: Fill, at: number, limitBytes: number): Uint8Array | Promise<Uint8Array> {
    if (!this.#isCrowd()) return fill.readBack(at, limitBytes);
    this.#sharedReads ??= new SharedReads(fill, this.#seams.memory);
    return this.#sharedReads.read(at, limitBytes, this.#sizeBytes);
  }

  #isCrowd(): boolean {
    return this.#readers.size > this.#seams.limits.crowdReaders;
  }

  #handedBytesMax(): number {
    const share = Math.floor(HANDED_BYTES_OF_ALL / this.#readers.size);
    return Math.min(HANDED_BYTES_MAX, Math.max(HANDED_BYTES_MIN, share));
  }

  /** Called by a reader that does not look at bytes of `nextFor` any more. */
  giveBack(lent: Uint8Array): void {
    this.#legs.giveBack(lent);
  }

  /** Called by a reader that moved on or left. */
  noteReader(reader: FlightReader, hasLeft: boolean): void {
    if (hasLeft) {
      this.#readers.delete(reader);
      if (this.#readers.size === 0 && this.#state === "open") this.#lastReaderLeft();
      this.#releaseWhenDone();
    }
    // Room in the window may have come free for a leg that waits for it.
    if (this.#legs.heldBytes > 0) this.#progress();
  }

  #conclude(opening: FlightOpening): void {
    if (this.#state !== "opening") return;
    this.#state = "ended";
    this.#opening.resolve(opening);
    this.#settle(undefined);
    this.#progress();
  }

  #lastReaderLeft(): void {
    const { fill, stillPermitted } = this.#departure ?? {};
    const isWorthKeeping = fill !== undefined && !fill.isBroken && stillPermitted?.() === true;
    if (isWorthKeeping && !this.#fetchesRest) {
      this.#advance(); // what is here is kept, once the legs under way have landed
      return;
    }
    if (!isWorthKeeping || !this.#seams.mayContinueAlone())
      this.fail(new GatewayError("client_gone", "every reader has left"));
  }

  // ---- legs -----------------------------------------------------------------

  #fly(leg: Leg): void {
    this.#legs.add(leg);
    this.#carry(leg).then(
      () => this.#legEnded(leg),
      (error: unknown) => this.#legFailed(leg, asError(error)),
    );
  }

  async #carry(leg: Leg): Promise<void> {
    while (leg.isActive && leg.position < leg.end) {
      await this.#room(leg);
      if (!leg.isActive) return;
      const askedAtMs = this.#seams.clock.monotonicMs();
      const chunk = await leg.source.read();
      if (!leg.isActive) return;
      if (chunk === null) {
        if (leg.end !== Number.POSITIVE_INFINITY) {
          throw new GatewayError("upstream_wrong_length", "the body ended early");
        }
        this.#sizeBytes = leg.position;
        leg.end = leg.position;
        return;
      }
      const nowMs = this.#seams.clock.monotonicMs();
      if (leg.firstByteAtMs === undefined) leg.firstByteAtMs = nowMs;
      else leg.waitedMs += (nowMs - askedAtMs) / Math.max(1, this.#seams.traffic.largeCount);
      const turn = this.#seams.traffic.turns.enter(chunk.length);
      if (turn !== undefined) await turn;
      await this.#take(leg, chunk);
    }
  }

  /** Hands a chunk on, less the parts that other legs bring or brought. */
  async #take(leg: Leg, received: Uint8Array): Promise<void> {
    let chunk = received;
    let isWhole = true;
    while (leg.isActive && chunk.length > 0 && leg.position < leg.end) {
      const obstacle = this.#legs.takenAhead(leg);
      if (obstacle !== undefined && obstacle.start <= leg.position) {
        const duplicate = obstacle.end - leg.position;
        if (!this.#maySkip(duplicate) && this.#canFetchParts()) {
          leg.end = leg.position; // the rest is fetched in pieces, each byte once
          return;
        }
        const skipped = Math.min(duplicate, chunk.length);
        this.#legs.skip(leg, skipped);
        chunk = chunk.subarray(skipped);
        continue;
      }
      const limit = Math.min(leg.end, obstacle?.start ?? Number.POSITIVE_INFINITY);
      const part = chunk.subarray(0, limit - leg.position);
      isWhole &&= part.length === chunk.length;
      chunk = chunk.subarray(part.length);
      await this.#store(leg, part, isWhole);
    }
    if (leg.isActive && chunk.length > 0 && leg.end === this.#sizeBytes) {
      throw new GatewayError("upstream_wrong_length", "the body is longer than declared");
    }
  }

  async #store(leg: Leg, part: Uint8Array, isWhole: boolean): Promise<void> {
    const behind = this.#departure?.fill?.write(leg.position, part);
    this.#legs.push(leg, part, isWhole);
    this.#considerParallel(leg);
    this.#progress();
    if (behind !== undefined) await behind;
  }

  /** One connection may be slow where several are not: far away, or limited on purpose. */
  #considerParallel(leg: Leg): void {
    if (this.#isParallel || leg.firstByteAtMs === undefined || !this.#canFetchParts()) return;
    const { parallelAfterMs, parallelLegs } = this.#seams.limits;
    // Not the time since then: slow readers, the disk or a busy processor are not the line.
    const { waitedMs } = leg;
    if (waitedMs < parallelAfterMs || parallelLegs < 2) return;
    if (this.#isCrowd()) return;
    const leftMs = ((leg.end - leg.position) / (leg.position - leg.start)) * waitedMs;
    if (leftMs < Math.max(parallelAfterMs, this.#latencyMs * 4)) return;
    this.#isParallel = true;
    this.#startPieces(leg.position + this.#seams.limits.pieceBytes);
  }

  /** Reading past a stretch is cheaper than a new connection, within a hundredth of the object in all. */
  #maySkip(duplicateBytes: number): boolean {
    return (
      duplicateBytes <= SKIP_BYTES &&
      this.#legs.skippedBytes + duplicateBytes <= (this.#sizeBytes ?? 0) / 100
    );
  }

  #legEnded(leg: Leg): void {
    this.#legs.land(leg);
    this.#advance();
    this.#progress();
  }

  #legFailed(leg: Leg, error: Error): void {
    this.#legs.land(leg);
    if (this.#state !== "open") return;
    this.#failedLegs += 1;
    // There are no further parts of a version that is gone; what is on its way still comes.
    const isOver = ["upstream_stalled", "upstream_changed"].includes(errorCode(error) ?? "");
    if (isOver || this.#failedLegs >= FAILED_LEGS_MAX) this.#partsGivenUp = true;
    const isComing =
      this.#sizeBytes !== undefined &&
      (this.#canFetchParts() || this.#legs.assigned().covers(0, this.#sizeBytes));
    if (!isComing) {
      this.fail(error);
      return;
    }
    this.#advance();
    this.#progress(); // a reader that waited for this leg asks for its bytes anew
  }

  /** After a leg ended: is everything here, or is there a part nobody is bringing? */
  #advance(): void {
    if (this.#state !== "open") return;
    const sizeBytes = this.#sizeBytes;
    if (sizeBytes !== undefined && this.#legs.receivedBytes >= sizeBytes) {
      void this.#complete();
      return;
    }
    if (!this.#fetchesRest) {
      // Only what is read is fetched; without readers and legs that is all there will be.
      if (this.#legs.activeCount === 0 && this.#readers.size === 0) void this.#complete();
      return;
    }
    if (sizeBytes === undefined || (this.#legs.activeCount > 0 && !this.#isParallel)) return;
    if (this.#legs.activeCount > 0) {
      this.#startPieces(0);
      return;
    }
    if (!this.#canFetchParts()) {
      this.fail(new GatewayError("storage_io", "the rest would have no place to be kept"));
      return;
    }
    this.#startPieces(0);
    // What was stored before counts too: nothing left to fetch means that all of it is here.
    if (this.#legs.activeCount === 0 && this.#state === "open") void this.#complete();
  }

  /**
   * Fetches missing parts at or behind `from`, piece by piece: one at a time, or several
   * while the object is fetched in parallel. An open-ended leg has claimed everything to
   * the end; in parallel its claim beyond the next piece is taken over.
   */
  #startPieces(from: number): void {
    const { pieceBytes, parallelLegs } = this.#seams.limits;
    const wanted = this.#isParallel ? parallelLegs : 1;
    while (
      this.#canFetchParts() &&
      this.#sizeBytes !== undefined &&
      this.#legs.activeCount < wanted
    ) {
      const gap = this.#firstGap(from, this.#sizeBytes);
      if (gap === undefined) return;
      this.#startLeg(gap.start, Math.min(gap.end, gap.start + pieceBytes));
    }
  }

  /** The first part in `[from, end)` that is neither here nor claimed by a leg. */
  #firstGap(from: number, end: number): Interval | undefined {
    for (const gap of this.#legs.claimed(this.#seams.limits.pieceBytes).gaps(from, end)) {
      // The store is asked about a stretch at a time: of a huge object it knows many parts.
      for (let at = gap.start; at < gap.end; at += STRETCH_BYTES) {
        const stretch = { start: at, end: Math.min(gap.end, at + STRETCH_BYTES) };
        const found = this.#departure?.missing?.(stretch)[0];
        if (this.#departure?.missing === undefined) return gap;
        if (found !== undefined) return found;
      }
    }
    return undefined;
  }

  /** The parts of a region that are neither in `taken` nor were stored before. */
  #gapsOf(taken: IntervalSet, region: Interval): readonly Interval[] {
    const gaps = taken.gaps(region.start, region.end);
    const missing = this.#departure?.missing;
    return missing === undefined ? gaps : gaps.flatMap((gap) => missing(gap));
  }

  /** A reader waits at `at`: brings those bytes sooner when no leg is about to. */
  #demand(at: number, wantedEnd: number): void {
    if (!this.#canFetchParts() || this.#sizeBytes === undefined) return;
    const approaching = this.#legs.approaching(at);
    if (approaching !== undefined && !this.#isFar(approaching, at)) return;
    if (this.#legs.activeCount >= this.#seams.limits.legsMax) return;
    const assigned = this.#legs.assigned(approaching);
    if (assigned.firstFrom(at) === at) return;
    const { pieceBytes } = this.#seams.limits;
    const align = this.#departure?.alignBytes ?? 1;
    const alignedEnd = Math.ceil(Math.min(wantedEnd, at + pieceBytes) / align) * align;
    const region = {
      start: Math.floor(at / align) * align,
      end: Math.min(alignedEnd, this.#sizeBytes),
    };
    const gap = this.#gapsOf(assigned, region).find(({ start, end }) => start <= at && at < end);
    if (gap !== undefined) this.#startLeg(gap.start, gap.end);
  }

  /** Whether waiting for `leg` to reach `at` takes longer than asking upstream anew. */
  #isFar(leg: Leg, at: number): boolean {
    const { pieceBytes } = this.#seams.limits;
    if (leg.end - leg.start <= pieceBytes + (this.#departure?.alignBytes ?? 0)) return false; // soon
    const distance = at - leg.position;
    const elapsedMs = this.#seams.clock.monotonicMs() - (leg.firstByteAtMs ?? 0);
    if (leg.firstByteAtMs === undefined || elapsedMs < 5) return distance > NEAR_BYTES;
    const bytesPerMs = (leg.position - leg.start) / elapsedMs;
    return distance > NEAR_BYTES && distance > bytesPerMs * this.#latencyMs * 1.5;
  }

  #startLeg(start: number, end: number): void {
    const fetchPart = this.#departure?.fetchPart;
    assert(fetchPart !== undefined, "only a flight that can fetch parts starts further legs");
    const pending = new Leg(start, end, PENDING_SOURCE);
    this.#legs.add(pending);
    fetchPart({ start, end }).then(
      (source) => {
        this.#legs.remove(pending);
        if (this.#state === "open") this.#fly(new Leg(start, end, source));
        else source.close();
      },
      (error: unknown) => {
        this.#legs.remove(pending);
        this.#legFailed(pending, asError(error));
        this.#progress();
      },
    );
  }

  #canFetchParts(): boolean {
    const departure = this.#departure;
    return (
      !this.#partsGivenUp &&
      departure?.fetchPart !== undefined &&
      departure.fill !== undefined &&
      !departure.fill.isBroken
    );
  }

  // ---- memory ---------------------------------------------------------------

  /** Whether the bytes at `at` are here, on disk, coming, or can be asked for. */
  #isReachable(at: number): boolean {
    if (this.#sizeBytes !== undefined && at >= this.#sizeBytes) return true;
    if (this.#canFetchParts()) return true;
    if ((this.#departure?.fill?.readableFrom(at) ?? 0) > 0) return true;
    return this.#legs.holds(at) || this.#legs.approaching(at) !== undefined;
  }

  /** Waits until `leg` may take another chunk into memory. */
  async #room(leg: Leg): Promise<void> {
    let blockedSinceMs: number | undefined;
    while (leg.isActive) {
      if (this.#hasRoom() || this.#isAwaited(leg)) return;
      const nowMs = this.#seams.clock.monotonicMs();
      blockedSinceMs ??= nowMs;
      const keepUpMs = this.#feedsLoneReader(leg) ? KEEP_UP_MS - (nowMs - blockedSinceMs) : 0;
      this.#evict(keepUpMs <= 0);
      if (this.#hasRoom()) return;
      const leftMs = this.#seams.limits.slowConsumerMs - (nowMs - blockedSinceMs);
      const isOver = leftMs <= 0 && this.#someoneStarves() && this.#cutSlowest();
      if (!isOver)
        await this.#changedOr(keepUpMs > 0 ? Math.ceil(keepUpMs) : Math.max(leftMs, 100));
    }
  }

  /** Whether the only reader there is takes its bytes out of the window of this leg. */
  #feedsLoneReader(leg: Leg): boolean {
    const [reader] = this.#readers;
    if (reader === undefined || this.#readers.size > 1) return false;
    return leg.windowStart <= reader.position && reader.position <= leg.position;
  }

  #hasRoom(): boolean {
    const { limits, memory } = this.#seams;
    const isStored = this.#departure?.fill !== undefined && !this.#departure.fill.isBroken;
    // A lone reader shares with nobody: more than a bridge over the network would only lie there.
    const shared = isStored ? limits.windowWithFillBytes : limits.windowBytes;
    const windowBytes = this.#readers.size > 1 ? shared : Math.min(shared, LONE_WINDOW_BYTES);
    return memory.mayGrow(this.#legs.heldBytes, windowBytes);
  }

  /** Drops the oldest chunks that no reader needs any more; with `mayBeNeeded` those on disk too. */
  #evict(mayBeNeeded: boolean): void {
    const fill = this.#departure?.fill;
    const isOnDisk = ({ start, end }: Interval) =>
      fill !== undefined && fill.readableFrom(start) >= end - start;
    this.#legs.dropOldest(
      () => this.#hasRoom(),
      (chunk) => (mayBeNeeded && isOnDisk(chunk)) || !this.#isNeeded(chunk),
      (chunk) => this.#isSpare(chunk),
    );
  }

  /** Whether nobody but readers uses the memory of a chunk. */
  #isSpare({ start, end }: Interval): boolean {
    return this.#departure?.fill?.isDoneWith(start, end) ?? true;
  }

  #isNeeded(chunk: Interval): boolean {
    for (const reader of this.#readers) {
      if (!reader.isCut && reader.position < chunk.end && reader.end > chunk.start) return true;
    }
    return false;
  }

  #someoneStarves(): boolean {
    for (const reader of this.#readers) if (reader.isWaiting) return true;
    return false;
  }

  /**
   * Whether a reader has nothing to do but wait for this leg's next byte. Such a leg
   * always has room: what it brings is taken at once, and chunks that other legs
   * brought too early must not keep it from coming.
   */
  #isAwaited(leg: Leg): boolean {
    for (const reader of this.#readers) {
      if (reader.isWaiting && !reader.isCut && reader.position === leg.position) return true;
    }
    return false;
  }

  /** False when there is none to cut: then nobody is slow. */
  #cutSlowest(): boolean {
    let slowest: FlightReader | undefined;
    for (const reader of this.#readers) {
      if (reader.isCut || reader.isWaiting) continue;
      if (slowest === undefined || reader.position < slowest.position) slowest = reader;
    }
    if (slowest === undefined) return false;
    slowest.isCut = true;
    this.#seams.onSlowConsumer(this.#legs.furthest - slowest.position);
    return true;
  }

  // ---- the end --------------------------------------------------------------

  async #complete(): Promise<void> {
    this.#state = "ended";
    this.#legs.landAll(); // what they were still to bring came another way
    const { fill, stillPermitted } = this.#departure ?? {};
    if (fill === undefined || stillPermitted === undefined) this.#settle(undefined);
    else if (fill.isBroken) this.#settle({ kind: "failed", reason: "the fill broke" });
    else this.#settle(await fill.commit(stillPermitted));
    this.#progress();
  }

  #settle(outcome: CommitOutcome | undefined): void {
    this.#isSettled = true;
    if (this.#isLarge) this.#seams.traffic.largeCount -= 1;
    this.#isLarge = false;
    this.#settled.resolve(outcome);
    this.#releaseWhenDone();
  }

  /** The windows and the fill go when nothing more is written and nobody reads. */
  #releaseWhenDone(): void {
    if (!this.#isSettled || this.#readers.size > 0 || this.#isReleased) return;
    this.#isReleased = true;
    this.#legs.clear((chunk) => this.#isSpare(chunk));
    this.#sharedReads?.close();
    this.#departure?.fill?.release();
  }

  #progress(): void {
    const changed = this.#changed;
    this.#changed = Promise.withResolvers<void>();
    changed.resolve();
  }

  async #changedOr(timeoutMs: number): Promise<void> {
    const timeout = Promise.withResolvers<void>();
    const timer = this.#seams.clock.after(timeoutMs, () => timeout.resolve());
    await Promise.race([this.#changed.promise, timeout.promise]);
    timer.cancel();
  }
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error("unknown failure", { cause: error });
}

/** Stands in while the response of a further leg is awaited. */
const PENDING_SOURCE: ByteSource = {
  read: () => Promise.resolve(null),
  close: () => undefined,
};

/** One client's way through a flight. */
export class FlightReader implements ByteSource {
  readonly #flight: Flight;
  readonly end: number;
  position: number;
  /** It waits for bytes that have not arrived. */
  isWaiting = false;
  /** It held others back for too long and gets an error at its next read. */
  isCut = false;
  #isClosed = false;

  constructor(flight: Flight, start: number, end: number) {
    this.#flight = flight;
    this.position = start;
    this.end = end;
  }

  async read(): Promise<Uint8Array | null> {
    if (this.#isClosed) return null;
    let bytes: Uint8Array | null;
    try {
      bytes = await this.#flight.nextFor(this);
    } catch (failure) {
      this.close(); // a broken reader holds nothing back
      throw failure;
    }
    if (bytes === null) {
      this.close();
      return null;
    }
    this.position += bytes.length;
    this.#flight.noteReader(this, false);
    return bytes;
  }

  release(chunk: Uint8Array): void {
    this.#flight.giveBack(chunk);
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#flight.noteReader(this, true);
  }
}
