/**
 * The legs of one flight together: which bytes of the object came, which are on their way, and
 * which are still in memory. Plain bookkeeping; when a leg is begun, waits or ends is decided in
 * flight.ts.
 */

import { type Interval, IntervalSet } from "../base/interval-set.ts";
import type { FlightMemory } from "./flight-memory.ts";
import type { HeldChunk, Leg } from "./leg.ts";

/** So many dropped chunks are watched; what a disk that hangs has not written is left to the collector. */
const LEAVING_MAX = 16;

export class Legs {
  readonly #memory: FlightMemory;
  readonly #received = new IntervalSet();
  /** Chunks that readers were lent, by their memory. Who never gives one back does not keep it here. */
  readonly #lent = new WeakMap<ArrayBufferLike, HeldChunk>();
  #legs: Leg[] = [];
  /** Dropped, but still used by others than readers: the disk may be behind. Oldest first. */
  #leaving: HeldChunk[] = [];
  #heldBytes = 0;
  #skippedBytes = 0;

  constructor(memory: FlightMemory) {
    this.#memory = memory;
  }

  /** Bytes that came, each counted once. */
  get receivedBytes(): number {
    return this.#received.size;
  }

  /** Bytes in memory. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** Bytes that came again and were thrown away. */
  get skippedBytes(): number {
    return this.#skippedBytes;
  }

  /** Legs that may still bring something, those that only begin included. */
  get activeCount(): number {
    return this.#legs.reduce((count, leg) => count + (leg.isActive ? 1 : 0), 0);
  }

  /** The furthest byte any leg has reached. */
  get furthest(): number {
    return Math.max(...this.#legs.map((leg) => leg.position));
  }

  add(leg: Leg): void {
    this.#legs.push(leg);
  }

  remove(leg: Leg): void {
    this.#legs = this.#legs.filter((candidate) => candidate !== leg);
  }

  /** Nothing more is read from this leg; what it brought stays in memory. */
  land(leg: Leg): void {
    if (!leg.isActive) return;
    leg.isActive = false;
    leg.source.close();
  }

  landAll(): void {
    for (const leg of this.#legs) this.land(leg);
  }

  /** The next bytes of a leg: in memory from now on. `isAlone`: all that was received with them is in them. */
  push(leg: Leg, part: Uint8Array, isAlone: boolean): void {
    const at = leg.position;
    leg.push(part, isAlone);
    this.#hold(part.length);
    this.#received.add(at, at + part.length);
  }

  /** Moves a leg past bytes that are here already; nothing before them stays in its window. */
  skip(leg: Leg, count: number): void {
    while (leg.oldest !== undefined) this.#dropOldest(leg);
    leg.position += count;
    this.#skippedBytes += count;
  }

  /** Whether the byte at `at` is in memory. */
  holds(at: number): boolean {
    return this.#chunkAt(at) !== undefined;
  }

  /**
   * The bytes in memory from `at` on, up to the end of their chunk, for one reader; undefined when
   * they are not here.
   */
  lend(at: number): Uint8Array | undefined {
    const chunk = this.#chunkAt(at);
    if (chunk === undefined) return undefined;
    const { buffer } = chunk.bytes;
    const known = this.#lent.get(buffer);
    if (known === undefined) this.#lent.set(buffer, chunk);
    else if (known !== chunk) {
      known.leaveToCollector();
      chunk.leaveToCollector();
    }
    return chunk.lend(at);
  }

  /** A reader does not look at what it was lent any more; says so once. */
  giveBack(lent: Uint8Array): void {
    this.#lent.get(lent.buffer)?.giveBack();
  }

  /** A leg on its way to `at`. */
  approaching(at: number): Leg | undefined {
    return this.#legs.find((leg) => leg.isActive && leg.position <= at && at < leg.end);
  }

  /**
   * The nearest stretch at or ahead of a leg that is present or the task of a leg that
   * began later: the later one was started because this one was too far away.
   */
  takenAhead(leg: Leg): Interval | undefined {
    if (this.#legs.length === 1 && this.#received.size === leg.position - leg.start) {
      return undefined; // a single leg that got everything there is: the usual case
    }
    const taken = this.#received.copy();
    for (const later of this.#legs.slice(this.#legs.indexOf(leg) + 1)) {
      if (later.isActive) taken.add(later.position, later.end);
    }
    const start = taken.firstFrom(leg.position);
    return start === undefined ? undefined : { start, end: taken.endOfRun(start) };
  }

  /** Bytes that came or are the task of an active leg other than `except`. */
  assigned(except?: Leg): IntervalSet {
    const assigned = this.#received.copy();
    for (const leg of this.#legs) {
      if (leg !== except && leg.isActive) assigned.add(leg.position, leg.end);
    }
    return assigned;
  }

  /** Like `assigned`, but a leg that is to bring more than the next piece claims only that. */
  claimed(pieceBytes: number): IntervalSet {
    const claimed = this.#received.copy();
    for (const leg of this.#legs) {
      if (leg.isActive) claimed.add(leg.position, Math.min(leg.end, leg.position + pieceBytes));
    }
    return claimed;
  }

  /**
   * Drops chunks until `isEnough`, each leg's oldest first and none that `mayDrop` wants kept (then
   * those behind it stay too). Legs that landed go with their last chunk.
   *
   * @param isSpare nobody but readers uses the memory of a chunk
   */
  dropOldest(
    isEnough: () => boolean,
    mayDrop: (chunk: Interval) => boolean,
    isSpare: (chunk: Interval) => boolean,
  ): void {
    for (const leg of this.#legs) {
      for (;;) {
        if (isEnough()) break;
        const { oldest } = leg;
        if (oldest === undefined || !mayDrop(oldest)) break;
        this.#dropOldest(leg);
      }
    }
    this.#spare(isSpare);
    this.#legs = this.#legs.filter((leg) => leg.isActive || leg.oldest !== undefined);
  }

  /** Gives all memory back; `isSpare` as above. */
  clear(isSpare: (chunk: Interval) => boolean): void {
    this.dropOldest(
      () => false,
      () => true,
      isSpare,
    );
    this.#legs = [];
    this.#leaving = [];
  }

  #dropOldest(leg: Leg): void {
    const dropped = leg.dropOldest();
    if (dropped === undefined) return;
    this.#hold(dropped.start - dropped.end);
    this.#leaving.push(dropped);
    if (this.#leaving.length > LEAVING_MAX) this.#leaving.shift();
  }

  /** Lets the memory of dropped chunks go, as far as it is not used any more. */
  #spare(isSpare: (chunk: Interval) => boolean): void {
    let count = 0;
    for (const chunk of this.#leaving) {
      if (!isSpare(chunk)) break;
      chunk.spare();
      count += 1;
    }
    this.#leaving.splice(0, count);
  }

  #chunkAt(at: number): HeldChunk | undefined {
    for (const leg of this.#legs) {
      const chunk = leg.chunkAt(at);
      if (chunk !== undefined) return chunk;
    }
    return undefined;
  }

  #hold(deltaBytes: number): void {
    this.#heldBytes += deltaBytes;
    if (deltaBytes > 0) this.#memory.take(deltaBytes);
    else this.#memory.give(-deltaBytes);
  }
}
