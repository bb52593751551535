/**
 * Lessons: what keeps a cold herd from going upstream one by one (decision A5b).
 *
 * When 500 workers start at once, nobody's key or grant is known yet. The first
 * request of each (access key, bucket) goes upstream alone and its answer teaches auth;
 * the others wait for that, bounded, and are then judged like everybody else.
 */

import type { Clock } from "../base/clock.ts";

/** How a wait for somebody else's lesson ended; labels of `tag_auth_lessons_total`. */
export type LessonOutcome = "waited" | "timed_out";

export interface Lesson {
  /** The answer is there: whoever waits looks again. Idempotent. */
  end(): void;
}

export class Lessons {
  readonly #clock: Clock;
  readonly #timeoutMs: number;
  readonly #max: number;
  readonly #running = new Map<string, Promise<LessonOutcome>>();

  /** `timeoutMs` bounds the wait of the others, `max` the lessons at a time. */
  constructor(clock: Clock, timeoutMs: number, max: number) {
    this.#clock = clock;
    this.#timeoutMs = timeoutMs;
    this.#max = max;
  }

  /** The lesson to wait for under this name, when one is running. */
  running(name: string): Promise<LessonOutcome> | undefined {
    return this.#running.get(name);
  }

  /** Begins a lesson under this name; the caller goes upstream and ends it when answered. */
  begin(name: string): Lesson {
    if (this.#running.size >= this.#max) return { end: () => undefined };
    const { promise, resolve } = Promise.withResolvers<LessonOutcome>();
    const finish = (outcome: LessonOutcome) => {
      if (this.#running.get(name) === promise) this.#running.delete(name);
      timer.cancel();
      resolve(outcome);
    };
    const timer = this.#clock.after(this.#timeoutMs, () => finish("timed_out"));
    this.#running.set(name, promise);
    return { end: () => finish("waited") };
  }
}
