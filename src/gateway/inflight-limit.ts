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

/** How many places there are, and how many are taken. */
interface Places {
  readonly max: number;
  readonly upstreamMax: number;
  active: number;
  upstreamActive: number;
}

export class InflightLimit {
  readonly #places: Places;

  /** `max` below 0 means no limit. */
  constructor(max: number) {
    const bound = max < 0 ? Number.POSITIVE_INFINITY : max;
    const upstreamMax = Math.max(1, Math.ceil((bound * 7) / 8));
    this.#places = { max: bound, upstreamMax, active: 0, upstreamActive: 0 };
  }

  get activeCount(): number {
    return this.#places.active;
  }

  /** Undefined when every place is taken. */
  tryEnter(): InflightSlot | undefined {
    if (this.#places.active >= this.#places.max) return undefined;
    this.#places.active += 1;
    return new Slot(this.#places);
  }
}

class Slot implements InflightSlot {
  readonly #places: Places;
  #isReleased = false;
  #isUpstream = false;

  constructor(places: Places) {
    this.#places = places;
  }

  enterUpstream(): boolean {
    if (this.#isUpstream || this.#isReleased) return true;
    if (this.#places.upstreamActive >= this.#places.upstreamMax) return false;
    this.#places.upstreamActive += 1;
    this.#isUpstream = true;
    return true;
  }

  release(): void {
    if (this.#isReleased) return;
    this.#isReleased = true;
    this.#places.active -= 1;
    if (this.#isUpstream) this.#places.upstreamActive -= 1;
  }
}
