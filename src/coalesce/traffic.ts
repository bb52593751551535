/**
 * What the flights of a process do to each other and to everybody else on its one thread.
 *
 * A chunk that arrived is summed, written and sent in one go, 0.5 MiB in half a millisecond or more. With
 * many flights that all have data nobody else would be served before the last of them: eight misses of 64
 * MiB made small hits beside them wait 30 ms in the middle and 120 ms at worst. So all flights
 * together handle so many bytes per turn of the event loop, first come, first served, and what has to
 * wait stays with the kernel: a leg that waits does not read.
 *
 * The other thing told here is how many large objects are on their way. Each waits while others
 * are handled, and must not take that for a slow line.
 */

import { assert } from "../base/assert.ts";

/** Handled in one turn by all flights together; the last one may go beyond. */
const TURN_BYTES = 512 * 1024;

interface Waiter {
  readonly sizeBytes: number;
  readonly goOn: () => void;
}

export class Traffic {
  /** Large objects on their way from upstream. */
  largeCount = 0;
  readonly #nextTurn: (run: () => void) => void;
  #turnBytes = 0;
  #isTurnOver = true;
  #waiting: Waiter[] = [];

  /** `nextTurn` calls back after everything that is already due on the event loop. */
  constructor(nextTurn: (run: () => void) => void = (run) => void setImmediate(run)) {
    this.#nextTurn = nextTurn;
  }

  /** Undefined: so many bytes may be handled now. Else a promise of the turn in which they may. */
  enter(sizeBytes: number): Promise<void> | undefined {
    if (this.#waiting.length === 0 && this.#turnBytes < TURN_BYTES) {
      this.#count(sizeBytes);
      return undefined;
    }
    return new Promise((resolve) => this.#waiting.push({ sizeBytes, goOn: resolve }));
  }

  #count(sizeBytes: number): void {
    this.#turnBytes += sizeBytes;
    if (!this.#isTurnOver) return;
    this.#isTurnOver = false;
    this.#nextTurn(() => this.#begin());
  }

  #begin(): void {
    this.#isTurnOver = true;
    this.#turnBytes = 0;
    while (this.#waiting.length > 0 && this.#turnBytes < TURN_BYTES) {
      const waiter = this.#waiting.shift();
      assert(waiter !== undefined, "the list is not empty");
      this.#count(waiter.sizeBytes);
      waiter.goOn();
    }
  }
}
