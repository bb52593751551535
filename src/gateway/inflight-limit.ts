/**
 * Admission: how many S3 requests are answered at the same time. Never waits; beyond the
 * limit the answer is 503 SlowDown, which every SDK backs off from.
 *
 * Requests that need upstream may take seven eighths of the places only. When upstream
 * hangs, its waiters fill that share, and hits go on being served from the rest.
 */

export interface InflightSlot {
  /** Takes one of the places for upstream work; idempotent; false when there is none. */
  enterUpstream(): boolean;
  /** Idempotent. */
  release(): void;
}

export class InflightLimit {
  readonly #max: number;
  readonly #upstreamMax: number;
  #active = 0;
  #upstreamActive = 0;

  /** `max` below 0 means no limit. */
  constructor(max: number) {
    this.#max = max < 0 ? Number.POSITIVE_INFINITY : max;
    this.#upstreamMax = Math.max(1, Math.ceil((this.#max * 7) / 8));
  }

  get activeCount(): number {
    return this.#active;
  }

  /** Undefined when every place is taken. */
  tryEnter(): InflightSlot | undefined {
    if (this.#active >= this.#max) return undefined;
    this.#active += 1;
    let isReleased = false;
    let isUpstream = false;
    return {
      enterUpstream: () => {
        if (isUpstream || isReleased) return true;
        if (this.#upstreamActive >= this.#upstreamMax) return false;
        this.#upstreamActive += 1;
        isUpstream = true;
        return true;
      },
      release: () => {
        if (isReleased) return;
        isReleased = true;
        this.#active -= 1;
        if (isUpstream) this.#upstreamActive -= 1;
      },
    };
  }
}
