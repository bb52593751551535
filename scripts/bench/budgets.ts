/**
 * What we promise about speed, as ratios within one run: test/bench/budgets.json.
 *
 * Each budget has a goal, which says where we want to be, and the value accepted last, which says
 * where we are. `--check` fails when a run is worse than the accepted value by more than the margin;
 * `--accept` writes the values of a run into the file. A goal that is not reached is shown, not hidden, and
 * fails nothing: the accepted value next to it says how far away we are.
 */

import { unreachable } from "../../src/base/assert.ts";
import type { Metric, Results, Selection, Spread } from "./measurement.ts";
import { METRICS, metricOf, spreadOf } from "./measurement.ts";

/** Everything, in place of a workload: for what must hold in all of them. */
const EVERYWHERE = "*";

export type Limit = { readonly atMost: number } | { readonly atLeast: number };

export interface Budget {
  readonly id: string;
  /** What is promised, in a sentence. */
  readonly promise: string;
  readonly metric: Metric;
  readonly of: Selection;
  /** Undefined: the figure itself is limited. */
  readonly against?: Selection;
  readonly as: "value" | "ratio" | "difference";
  readonly goal: Limit;
  /** The value of the last accepted run; null before the first. */
  readonly accepted: number | null;
  /** How much worse than that a run may be: 0.15 is 15 %. Covers the noise of one run. */
  readonly margin: number;
}

export interface Verdict {
  readonly budget: Budget;
  /** Undefined when the run did not measure it. */
  readonly found: Spread | undefined;
  readonly reachesGoal: boolean | undefined;
  /** Worse than the accepted value by more than the margin. */
  readonly hasFallen: boolean;
}

export function judge(budget: Budget, results: Results): Verdict {
  const found = measure(budget, results);
  if (found === undefined) {
    return { budget, found, reachesGoal: undefined, hasFallen: false };
  }
  const { goal, accepted, margin } = budget;
  const value = found.median;
  if ("atMost" in goal) {
    const hasFallen = accepted !== null && value > accepted + Math.abs(accepted) * margin;
    return { budget, found, reachesGoal: value <= goal.atMost, hasFallen };
  }
  const hasFallen = accepted !== null && value < accepted - Math.abs(accepted) * margin;
  return { budget, found, reachesGoal: value >= goal.atLeast, hasFallen };
}

function measure(budget: Budget, results: Results): Spread | undefined {
  const { of, against, metric, as } = budget;
  switch (as) {
    case "value":
      if (of.workload === EVERYWHERE) {
        const own = results.all.filter((one) => one.contender === of.contender);
        const worst = Math.max(...own.map((one) => metricOf(one, metric) ?? Number.NaN));
        return spreadOf([worst]);
      }
      return results.spread(of, metric);
    case "ratio":
    case "difference":
      return against === undefined ? undefined : results.compare(of, against, metric, as);
    default:
      return unreachable(as);
  }
}

/** Reads a budget file. Throws a TypeError that names what is wrong. */
export function parseBudgets(text: string): Budget[] {
  const parsed = JSON.parse(text) as { budgets?: unknown };
  if (!Array.isArray(parsed.budgets)) throw new TypeError("a budget file has a list `budgets`");
  const budgets = parsed.budgets as Budget[];
  const ids = new Set<string>();
  for (const budget of budgets) {
    const { id, metric, as, goal, margin, against } = budget;
    if (ids.has(id)) throw new TypeError(`two budgets are called ${id}`);
    ids.add(id);
    if (!METRICS.includes(metric)) throw new TypeError(`${id}: no metric ${metric}`);
    if (!("atMost" in goal) && !("atLeast" in goal)) throw new TypeError(`${id}: no goal`);
    if (!(margin >= 0)) throw new TypeError(`${id}: no margin`);
    if ((as === "value") !== (against === undefined)) {
      throw new TypeError(`${id}: a ${as} ${as === "value" ? "has no" : "needs an"} other side`);
    }
  }
  return budgets;
}

/** The budgets with the values of a run as the accepted ones; those it did not measure stay. */
export function accept(verdicts: readonly Verdict[]): Budget[] {
  return verdicts.map(({ budget, found }) => ({
    ...budget,
    accepted: found === undefined ? budget.accepted : Number(found.median.toPrecision(3)),
  }));
}

export function formatBudgets(budgets: readonly Budget[]): string {
  return `${JSON.stringify({ budgets }, undefined, 2)}\n`;
}

/** Fails the build? One line per budget that has fallen. */
export function complaints(verdicts: readonly Verdict[]): string[] {
  return verdicts
    .filter(({ hasFallen }) => hasFallen)
    .map(
      ({ budget, found }) =>
        `${budget.id}: ${found?.median.toPrecision(3)}, accepted was ${budget.accepted} (margin ${budget.margin * 100} %)`,
    );
}
