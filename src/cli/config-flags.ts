/**
 * The flags every command that reads the configuration shares, and the loading behind
 * them: `--config` and the flags of the option table.
 */

import type { ArgsDef } from "citty";

import type { FlagSetting } from "../config/layer.ts";
import { loadConfig } from "../config/load.ts";
import type { LoadRequest, LoadResult } from "../config/load.ts";
import { OPTION_ROWS } from "../config/options.ts";
import { formatProblem } from "../config/problem.ts";
import type { ConfigProblem } from "../config/problem.ts";
import type { ExitName } from "./exit-codes.ts";
import { exitOfProblems } from "./exit-codes.ts";
import type { Terminal } from "./terminal.ts";

/** What any command was given, its own flags aside. */
export interface AnyInput {
  readonly args: Readonly<Record<string, unknown>>;
  readonly values: ReadonlyMap<string, readonly string[]>;
  readonly terminal: Terminal;
}

export const CONFIG_FLAG = {
  config: {
    type: "string",
    valueHint: "FILE",
    description: "Configuration file; without it the search list of tag config which applies",
  },
} as const satisfies ArgsDef;

/** `--config` and one flag per option that has one. */
export const OPTION_FLAGS: ArgsDef = {
  ...CONFIG_FLAG,
  ...Object.fromEntries(
    OPTION_ROWS.flatMap(([path, option]) => {
      if (option.flag === undefined) return [];
      const isSwitch = option.kind === "boolean";
      const description = isSwitch
        ? `Sets ${path} to ${option.isNegated === true ? "false" : "true"}`
        : `Overrides ${path} and ${option.env}`;
      // --http-port takes a PORT, --log-level a LEVEL.
      const hint = option.choices?.join("|") ?? option.flag.replace(/^.*-/, "").toUpperCase();
      return [
        [
          option.flag,
          isSwitch
            ? { type: "boolean" as const, description }
            : { type: "string" as const, description, valueHint: hint },
        ],
      ];
    }),
  ),
};

/** The option flags that were given, as settings. */
export function flagSettings(input: AnyInput): readonly FlagSetting[] {
  const settings: FlagSetting[] = [];
  for (const [path, { flag, kind, isNegated }] of OPTION_ROWS) {
    if (flag === undefined) continue;
    const text =
      kind === "boolean"
        ? (input.args[flag] as boolean | undefined)
        : input.values.get(flag)?.at(-1);
    if (text === undefined) continue;
    settings.push({
      path,
      text: String(text),
      flag: `--${flag}`,
      isNegated: isNegated === true,
    });
  }
  return settings;
}

/** `loadConfig` in the surroundings of a command; `--config` and the option flags are filled in. */
export async function loadForCommand(
  input: AnyInput,
  request: Partial<LoadRequest> = {},
): Promise<LoadResult> {
  const { env, cwd } = input.terminal;
  return loadConfig({
    configPath: input.values.get("config")?.at(-1),
    env,
    cwd,
    ...request,
    flags: [...flagSettings(input), ...(request.flags ?? [])],
  });
}

/** Says every problem, one line each, and answers the exit they amount to. */
export function reportProblems(terminal: Terminal, problems: readonly ConfigProblem[]): ExitName {
  for (const problem of problems) {
    if (problem.level === "error") terminal.fail(formatProblem(problem));
    else terminal.warn(formatProblem(problem));
  }
  return exitOfProblems(problems);
}
