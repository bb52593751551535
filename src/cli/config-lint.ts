/** `tag config lint`: would the server start with this file? The same judgement as `tag serve`. */

import { systemFiles } from "../config/find-file.ts";
import { loadConfig } from "../config/load.ts";
import { OPTION_ROWS } from "../config/options.ts";
import type { ConfigProblem } from "../config/problem.ts";
import { formatProblem, formatSource } from "../config/problem.ts";
import { missingCredentials } from "../config/validate.ts";
import { command } from "./command.ts";
import { reportProblems } from "./config-flags.ts";
import { EXIT_CODES, exitOfProblems } from "./exit-codes.ts";
import type { ExitName } from "./exit-codes.ts";

/** The variables that override what a file says. */
const OVERRIDING: ReadonlySet<string> = new Set(
  OPTION_ROWS.flatMap(([, { env }]) => (env === undefined ? [] : [env])),
);

export const configLint = command({
  name: "tag config lint",
  description: "Check a configuration file: 0 good, 3 unreadable, 4 not well formed, 6 refused",
  args: {
    file: {
      type: "positional",
      required: false,
      description: "The file, or - for standard input (default: what tag config which finds)",
    },
    strict: { type: "boolean", description: "Warnings count as errors (exit 6)" },
    env: {
      type: "boolean",
      default: true,
      description: "Let environment variables override the file, as they will in tag serve",
      negativeDescription: "Judge the file alone",
    },
    json: { type: "boolean", description: "Problems as a JSON array" },
  },
  examples: [
    ["tag config lint tag.yaml", "one line per problem, with its place"],
    ["tag config lint --strict --no-env tag.yaml", "for CI"],
    ["tag config lint - < tag.yaml", "from standard input"],
  ],
  async run({ args, terminal }) {
    const isInput = args.file === "-";
    const input = isInput ? await terminal.readInput() : "";
    // The other variables stay, since ${env:NAME} in the file may mean them.
    const bareEnv = Object.fromEntries(
      Object.entries(terminal.env).filter(([name]) => !OVERRIDING.has(name)),
    );
    const result = await loadConfig({
      configPath: isInput ? "(standard input)" : args.file,
      env: args.env ? terminal.env : bareEnv,
      cwd: terminal.cwd,
      ...(isInput ? { files: { exists: () => true, read: () => input } } : { files: systemFiles }),
    });

    const problems = result.kind === "loaded" ? result.warnings : result.problems;
    const judged: ExitName = exitOfProblems(problems);
    const exit = judged === "ok" && args.strict && problems.length > 0 ? "rejected" : judged;

    if (args.json) {
      terminal.out(JSON.stringify(problems.map(jsonProblem), null, 2));
      return exit;
    }
    reportProblems(terminal, problems);
    const missing =
      result.kind === "loaded" ? missingCredentials(result.config, result.sources) : undefined;
    // Said and not counted: they come from the environment of the server, which is not this one.
    if (missing !== undefined) terminal.info(formatProblem(missing));
    const name = result.found.name ?? "(no file, defaults and environment)";
    if (exit === "ok") {
      const warnings = problems.length === 0 ? "" : ` with ${countOf(problems.length, "warning")}`;
      terminal.out(`${name}: ok${warnings}`);
    }
    return exit;
  },
});

function jsonProblem(problem: ConfigProblem): Record<string, unknown> {
  const { level, kind, path, source, message, hint } = problem;
  const place = source.kind === "file" ? { line: source.line, column: source.column } : {};
  return {
    level,
    code: kind,
    exit: EXIT_CODES[exitOfProblems([{ ...problem, level: "error" }])].code,
    path: path ?? null,
    source: formatSource(source),
    ...place,
    message,
    hint: hint ?? null,
    text: formatProblem(problem),
  };
}

const countOf = (count: number, noun: string): string =>
  `${count} ${noun}${count === 1 ? "" : "s"}`;
