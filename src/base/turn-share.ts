/**
 * Bulk work in small helpings: everybody who moves many bytes shares the turns of the event loop, and
 * who only has a little to do never waits for more than one helping of all of them together.
 */

import { assert } from "./assert.ts";

interface Waiter {
  readonly sizeBytes: number;
  readonly goOn: () => void;
}

export class TurnShare {
  readonly #turnBytes: number;
  readonly #nextTurn: (run: () => void) => void;
  #usedBytes = 0;
  #isTurnOver = true;
  #waiting: Waiter[] = [];

  /**
   * @param turnBytes handled in one turn by all together; the last one may go beyond
   * @param nextTurn calls back after everything that is already due on the event loop
   */
  constructor(
    turnBytes: number,
    nextTurn: (run: () => void) => void = (run) => void setImmediate(run),
  ) {
    this.#turnBytes = turnBytes;
    this.#nextTurn = nextTurn;
  }

  /** Undefined: so many bytes may be handled now. Else a promise of the turn in which they may. */
  enter(sizeBytes: number): Promise<void> | undefined {
    if (this.#waiting.length === 0 && this.#usedBytes < this.#turnBytes) {
      this.#count(sizeBytes);
      return undefined;
    }
    return new Promise((resolve) => this.#waiting.push({ sizeBytes, goOn: resolve }));
  }

  #count(sizeBytes: number): void {
    this.#usedBytes += sizeBytes;
    if (!this.#isTurnOver) return;
    this.#isTurnOver = false;
    this.#nextTurn(() => this.#begin());
  }

  #begin(): void {
    this.#isTurnOver = true;
    this.#usedBytes = 0;
    while (this.#waiting.length > 0 && this.#usedBytes < this.#turnBytes) {
      const waiter = this.#waiting.shift();
      assert(waiter !== undefined, "the list is not empty");
      this.#count(waiter.sizeBytes);
      waiter.goOn();
    }
  }
}
