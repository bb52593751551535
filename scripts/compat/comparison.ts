/**
 * Two runs of the same tests side by side, and the tables made from them.
 *
 * A test that passes directly and not through the gateway is a *loss*; there must be none. The
 * other way round is a *gain*: the gateway answers by itself what the server gets wrong.
 */

import { TOPIC_NAMES, topicOf } from "./selection.ts";
import type { Outcome, SuiteResults } from "./suite.ts";

/** A test in both runs; "absent" when a run did not reach it. */
export interface ComparedTest {
  readonly name: string;
  readonly topic: string;
  readonly direct: Outcome | "absent";
  readonly through: Outcome | "absent";
  /** Why it did not pass, where it did not: directly, else through. */
  readonly because: string;
}

/** Every test of either run, sorted by name. */
export function compare(direct: SuiteResults, through: SuiteResults): readonly ComparedTest[] {
  const names = [...new Set([...direct.keys(), ...through.keys()])].toSorted();
  return names.map((name) => {
    const own = direct.get(name);
    const gateways = through.get(name);
    return {
      name,
      topic: topicOf(name),
      direct: own?.outcome ?? "absent",
      through: gateways?.outcome ?? "absent",
      because: (isLost(own?.outcome, gateways?.outcome) ? gateways : own)?.because ?? "",
    };
  });
}

function isLost(direct: string | undefined, through: string | undefined): boolean {
  return direct === "passed" && through !== "passed";
}

export function lossesOf(tests: readonly ComparedTest[]): readonly ComparedTest[] {
  return tests.filter(({ direct, through }) => isLost(direct, through));
}

export function gainsOf(tests: readonly ComparedTest[]): readonly ComparedTest[] {
  return tests.filter(({ direct, through }) => isLost(through, direct));
}

/** Names of the tests that do not come to the same on both sides. */
export function differingOf(tests: readonly ComparedTest[]): readonly string[] {
  return tests.filter(({ direct, through }) => direct !== through).map(({ name }) => name);
}

/** `610 passed, 240 failed, 3 skipped`. */
export function tally(results: SuiteResults): string {
  const count = (outcome: Outcome) =>
    [...results.values()].filter((result) => result.outcome === outcome).length;
  return `${count("passed")} passed, ${count("failed")} failed, ${count("skipped")} skipped`;
}

/** The table by topic, in Markdown. */
export function summaryTable(tests: readonly ComparedTest[]): string {
  const rows = TOPIC_NAMES.map(
    (topic) => [topic, tests.filter((test) => test.topic === topic)] as const,
  )
    .filter(([, members]) => members.length > 0)
    .map(([topic, members]) => summaryRow(topic, members));
  return [
    "| Tests about | run | pass directly | pass through | difference |",
    "|---|--:|--:|--:|--:|",
    ...rows,
    summaryRow("**All**", tests),
  ].join("\n");
}

function summaryRow(topic: string, tests: readonly ComparedTest[]): string {
  const passed = (side: "direct" | "through") =>
    tests.filter((test) => test[side] === "passed").length;
  return `| ${topic} | ${tests.length} | ${passed("direct")} | ${passed("through")} | ${differences(tests)} |`;
}

/** `0`, `1 lost`, `2 gained`, `1 lost, 2 gained`. */
function differences(tests: readonly ComparedTest[]): string {
  const lost = lossesOf(tests).length;
  const gained = gainsOf(tests).length;
  const parts = [lost > 0 ? `${lost} lost` : "", gained > 0 ? `${gained} gained` : ""];
  return parts.filter((part) => part !== "").join(", ") || "0";
}

/** Every test with both outcomes, in Markdown: for reading what a run did. */
export function fullTable(tests: readonly ComparedTest[]): string {
  const rows = tests.map(({ name, direct, through, because }) => {
    const difference = direct === through ? "" : isLost(direct, through) ? "**lost**" : "changed";
    return `| ${name} | ${direct} | ${through} | ${difference} | ${cell(because)} |`;
  });
  return [
    "| Test | direct | through | difference | because |",
    "|---|---|---|---|---|",
    ...rows,
  ].join("\n");
}

const cell = (text: string): string =>
  text.replaceAll(/\s+/g, " ").replaceAll("|", "\\|").replaceAll("<", "&lt;").slice(0, 160);
