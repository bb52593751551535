/**
 * The legs of one flight together: which bytes of the object came, which are on their way, and
 * which are still in memory. Plain bookkeeping; when a leg is begun, waits or ends is decided in
 * flight.ts.
 */

import { type Interval, IntervalSet } from "../base/interval-set.ts";
import type { FlightMemory } from "./flight-memory.ts";
import type { Leg } from "./leg.ts";

export class Legs {
  readonly #memory: FlightMemory;
  readonly #received = new IntervalSet();
  #legs: Leg[] = [];
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

  /** The next bytes of a leg: in memory from now on. */
  push(leg: Leg, part: Uint8Array): void {
    const at = leg.position;
    leg.push(part);
    this.#hold(part.length);
    this.#received.add(at, at + part.length);
  }

  /** Moves a leg past bytes that are here already; nothing before them stays in its window. */
  skip(leg: Leg, count: number): void {
    this.#hold(-leg.dropAll());
    leg.position += count;
    this.#skippedBytes += count;
  }

  /** The bytes in memory from `at` on, up to the end of their chunk; undefined when not here. */
  bytesFrom(at: number): Uint8Array | undefined {
    for (const leg of this.#legs) {
      const bytes = leg.bytesFrom(at);
      if (bytes !== undefined) return bytes;
    }
    return undefined;
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
   */
  dropOldest(isEnough: () => boolean, mayDrop: (chunk: Interval) => boolean): void {
    for (const leg of this.#legs) {
      for (;;) {
        if (isEnough()) return;
        const oldest = leg.oldest();
        if (oldest === undefined || !mayDrop(oldest)) break;
        this.#hold(-leg.dropOldest());
      }
    }
    this.#legs = this.#legs.filter((leg) => leg.isActive || leg.oldest() !== undefined);
  }

  /** Gives all memory back. */
  clear(): void {
    this.#hold(-this.#heldBytes);
    this.#legs = [];
  }

  #hold(deltaBytes: number): void {
    this.#heldBytes += deltaBytes;
    if (deltaBytes > 0) this.#memory.take(deltaBytes);
    else this.#memory.give(-deltaBytes);
  }
}
