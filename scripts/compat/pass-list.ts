/**
 * A pass list: the names of the tests that must pass, one per line, sorted, in a file of the
 * repository. A test that is in it and fails is a regression; one that passes and is not in it is
 * progress, which `--accept` writes down.
 */

import type { SuiteResults } from "./suite.ts";

export function parsePassList(text: string): readonly string[] {
  return text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
}

/** The file; `about` becomes its comment. */
export function renderPassList(about: readonly string[], results: SuiteResults): string {
  const passed = [...results.values()].filter(({ outcome }) => outcome === "passed");
  const names = passed.map(({ name }) => name).toSorted();
  return `${[...about.map((line) => `# ${line}`), ...names].join("\n")}\n`;
}

/** Names of the list that were run and did not pass. */
export function regressionsOf(list: readonly string[], results: SuiteResults): readonly string[] {
  return list.filter((name) => {
    const outcome = results.get(name)?.outcome;
    return outcome !== undefined && outcome !== "passed";
  });
}
