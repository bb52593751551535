/**
 * Latencies of any number of requests in 30 KB: counts per bucket, 128 buckets per doubling, so that
 * a quantile is off by less than 0.8 %.
 */

const SUB_BITS = 7;
const SUB_COUNT = 1 << SUB_BITS;
/** Up to 2^40 ns, eighteen minutes. */
const BUCKET_COUNT = (40 - SUB_BITS + 1) * SUB_COUNT;

/** What is reported of a distribution, in microseconds. */
export interface LatencySummary {
  readonly count: number;
  readonly meanUs: number;
  readonly p50Us: number;
  readonly p90Us: number;
  readonly p99Us: number;
  readonly p999Us: number;
  readonly maxUs: number;
}

export class LatencyHistogram {
  readonly #counts = new Float64Array(BUCKET_COUNT);
  #count = 0;
  #sumNs = 0;
  #maxNs = 0;

  get count(): number {
    return this.#count;
  }

  record(ns: number): void {
    const whole = ns < 1 ? 1 : Math.floor(ns);
    const bucket = Math.min(bucketOf(whole), BUCKET_COUNT - 1);
    this.#counts[bucket] = (this.#counts[bucket] ?? 0) + 1;
    this.#count += 1;
    this.#sumNs += whole;
    if (whole > this.#maxNs) this.#maxNs = whole;
  }

  reset(): void {
    this.#counts.fill(0);
    this.#count = this.#sumNs = this.#maxNs = 0;
  }

  /** The latency that the share `q` (0 to 1) of requests did not exceed; 0 when there are none. */
  quantileNs(q: number): number {
    const rank = Math.max(1, Math.ceil(q * this.#count));
    let seen = 0;
    for (let bucket = 0; bucket < BUCKET_COUNT; bucket += 1) {
      seen += this.#counts[bucket] ?? 0;
      if (seen >= rank) return Math.min(middleOf(bucket), this.#maxNs);
    }
    return this.#maxNs;
  }

  summary(): LatencySummary {
    const us = (q: number) => this.quantileNs(q) / 1000;
    return {
      count: this.#count,
      meanUs: this.#count === 0 ? 0 : this.#sumNs / this.#count / 1000,
      p50Us: us(0.5),
      p90Us: us(0.9),
      p99Us: us(0.99),
      p999Us: us(0.999),
      maxUs: this.#maxNs / 1000,
    };
  }
}

// Below 128 ns a bucket is one nanosecond; above, the leading eight bits choose it.
function bucketOf(ns: number): number {
  if (ns < SUB_COUNT) return ns;
  const exponent = Math.floor(Math.log2(ns));
  const shift = exponent - SUB_BITS;
  return (shift + 1) * SUB_COUNT + (Math.floor(ns / 2 ** shift) - SUB_COUNT);
}

function middleOf(bucket: number): number {
  if (bucket < SUB_COUNT) return bucket;
  const shift = Math.floor(bucket / SUB_COUNT) - 1;
  const lowest = (SUB_COUNT + (bucket % SUB_COUNT)) * 2 ** shift;
  return lowest + 2 ** shift / 2;
}
