// Goal: no text whatsoever makes the loader throw, and every complaint names a place in one line.
// Method: random YAML built from the pieces that matter, and random texts as values.

import { expect, test } from "bun:test";
import * as fc from "fast-check";

import { formatByteSize, parseByteSize } from "../../../src/base/byte-size.ts";
import { formatDuration, parseDuration } from "../../../src/base/duration.ts";
import { loadConfig } from "../../../src/config/load.ts";
import { OPTION_ROWS } from "../../../src/config/options.ts";
import { formatProblem } from "../../../src/config/problem.ts";
import { formatValue, readValue } from "../../../src/config/values.ts";

const PIECES = [
  "server",
  "cache",
  "credentials",
  "pairs",
  "http_port",
  "ttl",
  "buckets",
  "rules",
  "bucket",
  "include",
  "quota",
  "pin",
  "seed_nodes",
  ": ",
  "- ",
  "\n",
  "\n  ",
  "\n    ",
  "{",
  "}",
  "[",
  "]",
  ",",
  '"',
  "'",
  "|",
  ">",
  "#",
  "&a",
  "*a",
  "<<",
  "---\n",
  "? ",
  "!!int ",
  "${env:A}",
  "${env:B:-1}",
  "$$",
  "~",
  "null",
  "8080",
  "60m",
  "\t",
  "é",
];

const load = (text: string, env: Record<string, string> = { A: "1" }) =>
  loadConfig({
    env,
    cwd: "/",
    configPath: "t.yaml",
    files: { exists: () => true, read: () => text },
  });

test("any arrangement of YAML is loaded or refused with places, never thrown at", async () => {
  const file = fc
    .array(fc.constantFrom(...PIECES), { maxLength: 24 })
    .map((pieces) => pieces.join(""));
  await fc.assert(
    fc.asyncProperty(file, async (text) => {
      const result = await load(text);
      if (result.kind === "loaded") return;
      for (const problem of result.problems) {
        expect(formatProblem(problem)).toMatch(/^(?:t\.yaml:\d+:\d+|[a-z_]+\.[a-z_]+): .+$/);
      }
    }),
    { numRuns: 500, examples: [["? |\n  server"]] },
  );
});

test("any text in any variable is read or complained about", async () => {
  const names = OPTION_ROWS.flatMap(([, { env }]) => (env === undefined ? [] : [env]));
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...names),
      fc.string({ unit: "binary" }),
      async (name, text) => {
        const result = await load("", { [name]: text });
        const problems = result.kind === "loaded" ? result.warnings : result.problems;
        for (const problem of problems) expect(formatProblem(problem).split("\n")).toHaveLength(1);
      },
    ),
    { numRuns: 500, examples: [["? |\n  server"]] },
  );
});

test("what is shown of a value reads back as the same value", () => {
  for (const [, option] of OPTION_ROWS) {
    if (!["integer", "size", "duration"].includes(option.kind)) continue;
    const value = fc.integer({ min: Math.max(1, option.min ?? 1), max: option.max ?? 2 ** 40 });
    fc.assert(
      fc.property(value, (number) => {
        expect(readValue(option, formatValue(option, number))).toEqual({
          kind: "value",
          value: number,
        });
      }),
      { numRuns: 20 },
    );
  }
});

test("sizes and durations are read back as they were written", () => {
  const number = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
  fc.assert(fc.property(number, (bytes) => parseByteSize(formatByteSize(bytes)) === bytes));
  const ms = fc.integer({ min: 0, max: 1e12 });
  fc.assert(fc.property(ms, (value) => parseDuration(formatDuration(value)) === value));
});
