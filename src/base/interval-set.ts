/**
 * A set of numbers kept as disjoint half-open intervals: which bytes of an object
 * are present, or spoken for. Adjacent intervals merge, so a download that arrives
 * in order is one interval however many chunks it took.
 */

export interface Interval {
  readonly start: number;
  readonly end: number;
}

export class IntervalSet {
  /** Sorted, disjoint, not adjacent. */
  #intervals: Interval[] = [];
  #size = 0;

  /** How many numbers are in the set. */
  get size(): number {
    return this.#size;
  }

  /** Adds `[start, end)`; parts already in the set stay in it. */
  add(start: number, end: number): void {
    if (end <= start) return;
    const kept: Interval[] = [];
    let merged: Interval = { start, end };
    for (const interval of this.#intervals) {
      if (interval.end < merged.start || interval.start > merged.end) kept.push(interval);
      else {
        merged = {
          start: Math.min(interval.start, merged.start),
          end: Math.max(interval.end, merged.end),
        };
      }
    }
    kept.push(merged);
    this.#replace(kept);
  }

  /** Takes `[start, end)` out. */
  remove(start: number, end: number): void {
    if (end <= start) return;
    const kept: Interval[] = [];
    for (const interval of this.#intervals) {
      if (interval.end <= start || interval.start >= end) kept.push(interval);
      else {
        if (interval.start < start) kept.push({ start: interval.start, end: start });
        if (interval.end > end) kept.push({ start: end, end: interval.end });
      }
    }
    this.#replace(kept);
  }

  /** Where the run of members that contains `at` ends; `at` itself when it is no member. */
  endOfRun(at: number): number {
    for (const interval of this.#intervals) {
      if (interval.start > at) break;
      if (at < interval.end) return interval.end;
    }
    return at;
  }

  /** The first member at or after `at`, or undefined. */
  firstFrom(at: number): number | undefined {
    for (const interval of this.#intervals) {
      if (interval.end > at) return Math.max(interval.start, at);
    }
    return undefined;
  }

  /** The parts of `[start, end)` that are not in the set, in order. */
  gaps(start: number, end: number): Interval[] {
    const gaps: Interval[] = [];
    let at = start;
    for (const interval of this.#intervals) {
      if (interval.end <= at) continue;
      if (interval.start >= end) break;
      if (interval.start > at) gaps.push({ start: at, end: interval.start });
      at = interval.end;
    }
    if (at < end) gaps.push({ start: at, end });
    return gaps;
  }

  copy(): IntervalSet {
    const copy = new IntervalSet();
    copy.#replace([...this.#intervals]);
    return copy;
  }

  covers(start: number, end: number): boolean {
    return end <= start || this.endOfRun(start) >= end;
  }

  #replace(intervals: Interval[]): void {
    this.#intervals = intervals.toSorted((left, right) => left.start - right.start);
    this.#size = intervals.reduce((sum, { start, end }) => sum + end - start, 0);
  }
}
