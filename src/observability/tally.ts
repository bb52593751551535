/**
 * One series of a counter, counted on the hot path: a plain number that reaches prom-client when
 * the metrics text is made. Looking a series up by its labels for every request costs a third of
 * a microsecond.
 */

import type { Counter } from "prom-client";
import type { Metrics } from "./metrics.ts";

export class Tally {
  #count = 0;

  /** Shows up in the text with its first count, like any series of prom-client. */
  constructor(metrics: Metrics, counter: Counter, labels: Record<string, string> = {}) {
    metrics.beforeText(() => {
      if (this.#count > 0) counter.inc(labels, this.#count);
      this.#count = 0;
    });
  }

  add(): void {
    this.#count += 1;
  }
}
