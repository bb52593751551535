/**
 * A counting semaphore: how many may do something at once, and who comes next.
 *
 * Waiters are served in the order they came. It bounds work, not memory: whoever
 * lets callers wait without limit should look at `waiting` first.
 */

/** One held permit; `release` may be called more than once, only the first counts. */
export interface Permit {
  release(): void;
}

interface Waiter {
  readonly resolve: (permit: Permit) => void;
  readonly reject: (reason: unknown) => void;
  readonly signal: AbortSignal | undefined;
  readonly onAbort: () => void;
}

export class Semaphore {
  #free: number;
  readonly #waiters = new Set<Waiter>();

  /** @param permits how many may hold a permit at the same time; at least 1 */
  constructor(permits: number) {
    if (!Number.isInteger(permits) || permits < 1) {
      throw new RangeError(`a semaphore needs at least one permit, not ${permits}`);
    }
    this.#free = permits;
  }

  /** Permits nobody holds. */
  get free(): number {
    return this.#free;
  }

  /** Callers of `acquire` that still wait. */
  get waiting(): number {
    return this.#waiters.size;
  }

  /** A permit at once, or undefined when all are taken. Never overtakes a waiter. */
  tryAcquire(): Permit | undefined {
    // While somebody waits no permit is free: `#giveBack` hands it on directly.
    if (this.#free === 0) return undefined;
    this.#free -= 1;
    return this.#permit();
  }

  /** Waits for a permit; rejects with the signal's reason as soon as it aborts. */
  acquire(signal?: AbortSignal): Promise<Permit> {
    if (signal?.aborted === true) return Promise.reject(signal.reason);
    const permit = this.tryAcquire();
    if (permit !== undefined) return Promise.resolve(permit);
    return new Promise<Permit>((resolve, reject) => {
      const waiter: Waiter = {
        resolve,
        reject,
        signal,
        onAbort: () => {
          this.#waiters.delete(waiter);
          reject(signal?.reason);
        },
      };
      this.#waiters.add(waiter);
      signal?.addEventListener("abort", waiter.onAbort, { once: true });
    });
  }

  /** Runs `work` while holding a permit. */
  async run<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const permit = await this.acquire(signal);
    try {
      return await work();
    } finally {
      permit.release();
    }
  }

  #permit(): Permit {
    let isHeld = true;
    return {
      release: () => {
        if (!isHeld) return;
        isHeld = false;
        this.#giveBack();
      },
    };
  }

  #giveBack(): void {
    const [next] = this.#waiters;
    if (next === undefined) {
      this.#free += 1;
      return;
    }
    this.#waiters.delete(next);
    next.signal?.removeEventListener("abort", next.onAbort);
    next.resolve(this.#permit());
  }
}
