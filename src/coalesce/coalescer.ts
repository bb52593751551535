/**
 * The door of coalescing: which objects are on their way right now.
 *
 * At most one flight per object is listed. A write takes the flight off the list
 * (`detach`): its readers began before the write and may finish, but nobody joins
 * it any more, so no reader that starts after the write was acknowledged sees the
 * older version.
 */

import type { Clock } from "../base/clock.ts";
import { type ObjectId, objectIdString } from "../s3/object-id.ts";
import { FlightMemory } from "./flight-memory.ts";
import { Flight, type FlightLimits } from "./flight.ts";
import { Traffic } from "./traffic.ts";

export interface CoalescerOptions extends FlightLimits {
  /** Bytes all flights together may keep in memory. */
  readonly memoryBytes: number;
  /** Fills that may go on after their last reader left. */
  readonly orphansMax: number;
}

export interface CoalescerEvents {
  /** A reader was cut because it made others wait; it lagged by so many bytes. */
  slowConsumer(laggingBytes: number): void;
  /** The last reader of a fill left; it goes on for the next one. */
  continuesAlone(): void;
  /** Such a fill is over. */
  endedAlone(isStored: boolean): void;
}

export class Coalescer {
  readonly #options: CoalescerOptions;
  readonly #clock: Clock;
  readonly #events: CoalescerEvents;
  readonly #memory: FlightMemory;
  readonly #traffic = new Traffic();
  readonly #listed = new Map<string, Flight>();
  readonly #running = new Set<Flight>();

  constructor(options: CoalescerOptions, clock: Clock, events: CoalescerEvents) {
    this.#options = options;
    this.#clock = clock;
    this.#events = events;
    this.#memory = new FlightMemory(options.memoryBytes);
  }

  /** Flights under way, listed or not, for the gauge. */
  get activeCount(): number {
    return this.#running.size;
  }

  /** Flights that nobody reads at the moment. */
  get orphanCount(): number {
    let count = 0;
    for (const flight of this.#running) if (flight.readerCount === 0) count += 1;
    return count;
  }

  /** Readers of all flights. */
  get readerCount(): number {
    let count = 0;
    for (const flight of this.#running) count += flight.readerCount;
    return count;
  }

  /** Bytes the flights hold in memory, for the gauge. */
  get heldBytes(): number {
    return this.#memory.usedBytes;
  }

  /** The flight an authorized reader of `id` may join, if there is one. */
  find(id: ObjectId): Flight | undefined {
    return this.#listed.get(objectIdString(id));
  }

  /** A new flight that nobody can join until `list` is called. */
  create(): Flight {
    let isAlone = false;
    const flight = new Flight({
      clock: this.#clock,
      memory: this.#memory,
      traffic: this.#traffic,
      limits: this.#options,
      mayContinueAlone: () => {
        const isAllowed = this.orphanCount <= this.#options.orphansMax;
        if (isAllowed && !isAlone) this.#events.continuesAlone();
        isAlone ||= isAllowed;
        return isAllowed;
      },
      onSlowConsumer: (laggingBytes) => this.#events.slowConsumer(laggingBytes),
    });
    this.#running.add(flight);
    void flight.settled.then((outcome) => {
      this.#running.delete(flight);
      if (isAlone) this.#events.endedAlone(outcome?.kind === "committed");
    });
    return flight;
  }

  /** Lets others join `flight`, unless another one is listed for the object. Answers whether it is. */
  list(id: ObjectId, flight: Flight): boolean {
    const name = objectIdString(id);
    const present = this.#listed.get(name);
    if (present === flight) return true;
    if (present !== undefined || flight.hasEnded) return false;
    this.#listed.set(name, flight);
    void flight.settled.then(() => {
      if (this.#listed.get(name) === flight) this.#listed.delete(name);
    });
    return true;
  }

  /** Nobody joins the object's flight from now on; given `flight`, only if it is that one. */
  detach(id: ObjectId, flight?: Flight): void {
    const name = objectIdString(id);
    if (flight === undefined || this.#listed.get(name) === flight) this.#listed.delete(name);
  }

  /** Nobody joins a flight of any object in the bucket from now on. */
  detachBucket(bucket: string): void {
    const prefix = objectIdString({ bucket, key: "" });
    for (const name of this.#listed.keys()) if (name.startsWith(prefix)) this.#listed.delete(name);
  }

  /** Ends every flight; their readers get `error`. */
  failAll(error: Error): void {
    for (const flight of this.#running) flight.fail(error);
  }
}
