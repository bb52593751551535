/**
 * `SimClock`: time for tests. Nothing waits; time jumps from timer to timer.
 *
 * `run(promise)` lets every continuation that is ready run, then moves to the earliest
 * timer, fires it, and repeats until the promise is settled. Timers due at the same
 * moment fire in the order they were set, so a run with seeded chance repeats exactly.
 *
 * Ready continuations are microtasks and what Bun queues behind them (immediates, finished
 * file reads). `run` yields to the event loop until nothing was woken; work that really
 * waits for the outside world (sockets, threads) is therefore out of place in a
 * simulation: give it a real clock. When the promise is pending, no timer is left and
 * nothing is ready, the run can never end: that is reported as a deadlock.
 */

import type { Clock, Timer } from "../../src/base/clock.ts";

interface SimTimer extends Timer {
  readonly atMs: number;
  /** Ties are broken by the order of setting. */
  readonly order: number;
  readonly run: () => void;
  isPending: boolean;
}

export interface SimClockOptions {
  /** Wall clock at the start, Unix milliseconds. */
  readonly startMs?: number;
  /**
   * Turns of the event loop without a new timer before the world counts as idle. Raise it
   * for code that hops through real asynchronous I/O.
   */
  readonly idleTurns?: number;
}

/** 2026-01-01T00:00:00Z: a fixed date, so that printed times repeat too. */
const DEFAULT_START_MS = 1_767_225_600_000;

export class SimClock implements Clock {
  readonly #startMs: number;
  readonly #idleTurns: number;
  #elapsedMs = 0;
  #wallOffsetMs = 0;
  #order = 0;
  #pendingCount = 0;
  /** A binary heap by (atMs, order); cancelled timers stay until their time comes. */
  readonly #heap: SimTimer[] = [];

  constructor(options: SimClockOptions = {}) {
    this.#startMs = options.startMs ?? DEFAULT_START_MS;
    this.#idleTurns = options.idleTurns ?? 3;
  }

  nowMs(): number {
    return this.#startMs + this.#wallOffsetMs + this.#elapsedMs;
  }

  monotonicMs(): number {
    return this.#elapsedMs;
  }

  /** Timers that are set and neither fired nor cancelled: a leak check. */
  get pendingTimers(): number {
    return this.#pendingCount;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) {
        reject(signal.reason);
        return;
      }
      const onAbort = () => {
        timer.cancel();
        reject(signal?.reason);
      };
      const timer = this.after(ms, () => {
        signal?.removeEventListener("abort", onAbort);
        resolve();
      });
      signal?.addEventListener("abort", onAbort, { once: true });
    });
  }

  after(ms: number, run: () => void): Timer {
    const timer: SimTimer = {
      atMs: this.#elapsedMs + Math.max(0, ms),
      order: (this.#order += 1),
      run,
      isPending: true,
      cancel: () => this.#retire(timer),
    };
    this.#pendingCount += 1;
    this.#push(timer);
    return timer;
  }

  /** Moves the wall clock alone, as an administrator or NTP does; durations do not notice. */
  jumpWallClock(byMs: number): void {
    this.#wallOffsetMs += byMs;
  }

  /** Runs the world until `promise` is settled and hands its outcome on. */
  async run<T>(promise: Promise<T>): Promise<T> {
    let isSettled = false;
    const settle = () => {
      isSettled = true;
    };
    promise.then(settle, settle);
    for (;;) {
      await this.#settleContinuations(() => isSettled);
      if (isSettled) return promise;
      if (!this.#fireNext()) {
        throw new Error(
          `deadlock at ${this.#elapsedMs} ms: the promise is pending and no timer is left`,
        );
      }
    }
  }

  /** Moves time forward by `ms`, firing what falls due on the way, in order. */
  async advance(ms: number): Promise<void> {
    await this.run(this.sleep(ms));
  }

  /** Lets everything that is ready run, without moving time. */
  async settle(): Promise<void> {
    await this.#settleContinuations(() => false);
  }

  async #settleContinuations(isDone: () => boolean): Promise<void> {
    let quietTurns = 0;
    let seen = this.#order;
    while (quietTurns < this.#idleTurns && !isDone()) {
      await new Promise<void>((resolve) => setImmediate(resolve));
      quietTurns = this.#order === seen ? quietTurns + 1 : 0;
      seen = this.#order;
    }
  }

  #fireNext(): boolean {
    for (;;) {
      const timer = this.#pop();
      if (timer === undefined) return false;
      if (!timer.isPending) continue;
      this.#retire(timer);
      this.#elapsedMs = timer.atMs;
      timer.run();
      return true;
    }
  }

  #retire(timer: SimTimer): void {
    if (!timer.isPending) return;
    timer.isPending = false;
    this.#pendingCount -= 1;
  }

  #push(timer: SimTimer): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(timer);
    while (at > 0) {
      const parentAt = (at - 1) >> 1;
      const parent = heap[parentAt];
      if (parent === undefined || isBefore(parent, timer)) break;
      heap[at] = parent;
      heap[parentAt] = timer;
      at = parentAt;
    }
  }

  #pop(): SimTimer | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || first === last) return first;
    let at = 0;
    for (;;) {
      let childAt = 2 * at + 1;
      let child = heap[childAt];
      if (child === undefined) break;
      const right = heap[childAt + 1];
      if (right !== undefined && isBefore(right, child)) {
        child = right;
        childAt += 1;
      }
      if (isBefore(last, child)) break;
      heap[at] = child;
      at = childAt;
    }
    heap[at] = last;
    return first;
  }
}

function isBefore(a: SimTimer, b: SimTimer): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}
