/**
 * The frame of a command: citty's definition plus the examples its help ends with,
 * and a `run` that is handed the terminal and answers with an exit.
 *
 * A command file imports only what describes it. Whatever does the work is imported
 * inside `run`, so that `tag cache stats` does not pay for the HTTP server.
 */

import type { ArgsDef, CommandDef, ParsedArgs } from "citty";
import { renderUsage } from "citty";

import type { ExitName } from "./exit-codes.ts";
import type { Terminal } from "./terminal.ts";

export interface CommandInput<A extends ArgsDef> {
  readonly args: ParsedArgs<A>;
  /** Every value of each text flag that was given. */
  readonly values: ReadonlyMap<string, readonly string[]>;
  readonly terminal: Terminal;
}

export interface CommandSpec<A extends ArgsDef> {
  /** In full: `tag cache stats`. */
  readonly name: string;
  readonly description: string;
  readonly args: A;
  /** Command lines with what they do; at least one. */
  readonly examples: readonly (readonly [line: string, what: string])[];
  readonly run: (input: CommandInput<A>) => Promise<ExitName>;
}

export interface Command {
  readonly name: string;
  readonly description: string;
  readonly args: ArgsDef;
  readonly examples: readonly (readonly [line: string, what: string])[];
  readonly run: (input: CommandInput<ArgsDef>) => Promise<ExitName>;
}

/** Checks the types of `run` against those of `args`, then forgets them. */
export function command<const A extends ArgsDef>(spec: CommandSpec<A>): Command {
  return spec as unknown as Command;
}

/** The text of `--help`, without colours when nobody watches. */
export async function renderHelp({ name, description, args, examples }: Command): Promise<string> {
  const definition: CommandDef = { meta: { name, description }, args };
  const usage = plain(await renderUsage(definition));
  const width = Math.max(0, ...examples.map(([line]) => line.length));
  const lines = examples.map(([line, what]) => `  ${line.padEnd(width)}  ${what}`);
  return `${usage}\n\nEXAMPLES\n\n${lines.join("\n")}`;
}

/** citty colours and pads its text; a page, a pipe and a test want it plain. */
export function plain(text: string): string {
  return Bun.stripANSI(text)
    .replaceAll(/[ \t]+$/gm, "")
    .trimEnd();
}
