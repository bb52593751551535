/**
 * What the process says of itself: memory, CPU time, open files (by prom-client, under
 * the usual `process_` and `nodejs_` names), and how late the event loop runs.
 */

import { collectDefaultMetrics } from "prom-client";
import type { Clock } from "../base/clock.ts";
import type { BuildInfo } from "../base/version.ts";
import type { Metrics } from "./metrics.ts";

/** Node's own figures that mean nothing on Bun; they come as zeros. */
const WITHOUT_MEANING = /^nodejs_(active|heap_space|gc|version)/;

/** Adds the process's figures to the text. Once per process and set of metrics. */
export function showProcess(metrics: Metrics, build: BuildInfo): void {
  collectDefaultMetrics({ register: metrics.registry });
  for (const { name } of metrics.registry.getMetricsAsArray()) {
    if (WITHOUT_MEANING.test(name)) metrics.registry.removeSingleMetric(name);
  }
  metrics.buildInfo.set({ version: build.version, commit: build.commit }, 1);
}

const TICK_MS = 100;

/**
 * Watches the event loop: a timer that comes late was held up by something synchronous,
 * and so was every request in between.
 */
export class LoopLag {
  readonly #clock: Clock;
  #longestMs = 0;
  #isStopped = false;

  constructor(metrics: Metrics, clock: Clock) {
    this.#clock = clock;
    metrics.beforeText(() => {
      metrics.eventLoopLagSeconds.set(this.#longestMs / 1000);
      this.#longestMs = 0;
    });
    this.#tick();
  }

  stop(): void {
    this.#isStopped = true;
  }

  #tick(): void {
    const dueAtMs = this.#clock.monotonicMs() + TICK_MS;
    this.#clock.after(TICK_MS, () => {
      this.#longestMs = Math.max(this.#longestMs, this.#clock.monotonicMs() - dueAtMs);
      if (!this.#isStopped) this.#tick();
    });
  }
}
