/**
 * Bulk work in small helpings: everybody who moves many bytes shares the turns of the event loop, and
 * who only has a little to do never waits for more than one helping of all of them together.
 */

import { assert } from "./assert.ts";

/** What is small and waits for the end of the turn; see `goesBeforeBulk`. */
const first: (() => void)[] = [];

/**
 * Has `run` called before each helping of bulk work of this process: else who waits for the end of the turn would
 * wait for all helpings of it as well. It must not throw.
 */
export function goesBeforeBulk(run: () => void): void {
  first.push(run);
}

function letSmallGoFirst(): void {
  for (const run of first) run();
}

interface Waiter {
  readonly sizeBytes: number;
  readonly goOn: () => void;
}

export class TurnShare {
  readonly #turnBytes: number;
  readonly #nextTurn: (run: () => void) => void;
  readonly #beforeHelping: () => void;
  #usedBytes = 0;
  #isTurnOver = true;
  #waiting: Waiter[] = [];

  /**
   * @param turnBytes handled in one turn by all together; the last one may go beyond
   * @param nextTurn calls back after everything that is already due on the event loop
   * @param beforeHelping called before each helping
   */
  constructor(
    turnBytes: number,
    nextTurn: (run: () => void) => void = (run) => void setImmediate(run),
    beforeHelping: () => void = letSmallGoFirst,
  ) {
    this.#turnBytes = turnBytes;
    this.#nextTurn = nextTurn;
    this.#beforeHelping = beforeHelping;
  }

  /** Undefined: so many bytes may be handled now. Else a promise of the turn in which they may. */
  enter(sizeBytes: number): Promise<void> | undefined {
    if (this.#waiting.length === 0 && this.#usedBytes < this.#turnBytes) {
      this.#count(sizeBytes);
      return undefined;
    }
    return new Promise((resolve) => this.#waiting.push({ sizeBytes, goOn: resolve }));
  }

  /** A helping of so many bytes is about to be handled. */
  #count(sizeBytes: number): void {
    this.#beforeHelping();
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
