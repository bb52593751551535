/**
 * The command line as a whole: which words name which command, and what every command
 * has in common (`--help`, strict words, one line per failure, exit codes).
 *
 * Command modules are imported when they are called, so that a small command starts
 * as fast as if it were the only one.
 */

import type { SubCommandsDef } from "citty";
import { parseArgs, renderUsage } from "citty";

import { BUILD, versionBlock } from "../base/version.ts";
import { nearest } from "../config/nearest.ts";
import { checkWords, usage } from "./arguments.ts";
import type { Command } from "./command.ts";
import { plain, renderHelp } from "./command.ts";
import { CliError, EXIT_CODES } from "./exit-codes.ts";
import type { ExitCode } from "./exit-codes.ts";
import type { Terminal } from "./terminal.ts";

/** Every command by the words that name it, in the order of the help. */
export const COMMANDS: Readonly<Record<string, () => Promise<Command>>> = {
  serve: async () => (await import("./serve.ts")).serve,
  dev: async () => (await import("./dev.ts")).dev,
  health: async () => (await import("./health.ts")).health,
  "cache stats": async () => (await import("./cache-stats.ts")).cacheStats,
  "cache ls": async () => (await import("./cache-ls.ts")).cacheLs,
  "cache inspect": async () => (await import("./cache-inspect.ts")).cacheInspect,
  "cache verify": async () => (await import("./cache-verify.ts")).cacheVerify,
  "cache warm": async () => (await import("./cache-warm.ts")).cacheWarm,
  "cache purge": async () => (await import("./cache-purge.ts")).cachePurge,
  "cache pin": async () => (await import("./cache-pin.ts")).cachePin,
  "cache unpin": async () => (await import("./cache-pin.ts")).cacheUnpin,
  "cache compact": async () => (await import("./cache-compact.ts")).cacheCompact,
  "config init": async () => (await import("./config-init.ts")).configInit,
  "config show": async () => (await import("./config-show.ts")).configShow,
  "config lint": async () => (await import("./config-lint.ts")).configLint,
  "config which": async () => (await import("./config-which.ts")).configWhich,
  "config schema": async () => (await import("./config-schema.ts")).configSchemaCommand,
  version: async () => (await import("./version.ts")).version,
};

const GROUPS: Readonly<Record<string, string>> = {
  cache: "Look into the cache, check it, change it",
  config: "Write, check and explain the configuration",
};

/**
 * Runs one command line (without program name) and answers the exit code. Whatever
 * goes wrong has been said on standard error by then.
 */
export async function runCli(words: readonly string[], terminal: Terminal): Promise<ExitCode> {
  try {
    return EXIT_CODES[await dispatch(words, terminal)].code;
  } catch (error) {
    if (error instanceof CliError) {
      terminal.fail(error.message);
      return EXIT_CODES[error.exit].code;
    }
    // Not foreseen, so a bug: the stack is what its report needs.
    terminal.fail(error instanceof Error ? (error.stack ?? error.message) : String(error));
    return EXIT_CODES.runtime.code;
  }
}

async function dispatch(
  words: readonly string[],
  terminal: Terminal,
): Promise<keyof typeof EXIT_CODES> {
  const [first, second] = words;
  if (first === undefined || first.startsWith("-")) {
    // The original has no commands: its command lines mean "serve".
    const isAsking = (...flags: string[]) => words.some((word) => flags.includes(word));
    if (isAsking("--version", "-version")) terminal.out(versionBlock(BUILD));
    else if (isAsking("--help", "-help", "-h")) terminal.out(await rootHelp());
    else return run("serve", words, terminal);
    return "ok";
  }
  if (first === "help") {
    terminal.out(await rootHelp());
    return "ok";
  }
  if (Object.hasOwn(COMMANDS, first)) return run(first, words.slice(1), terminal);
  if (Object.hasOwn(GROUPS, first)) {
    const names = commandsOf(first);
    if (second !== undefined && names.includes(second)) {
      return run(`${first} ${second}`, words.slice(2), terminal);
    }
    if (second === undefined || second === "--help" || second === "-h") {
      terminal.out(await groupHelp(first));
      return second === undefined ? "usage" : "ok";
    }
    const suggestion = nearest(second, names);
    throw usage(`unknown command tag ${first} ${second}`, suggestion, `tag ${first} `);
  }
  const suggestion = nearest(first, [...Object.keys(COMMANDS), ...Object.keys(GROUPS)]);
  throw usage(`unknown command tag ${first}`, suggestion, "tag ");
}

async function run(
  name: string,
  words: readonly string[],
  terminal: Terminal,
): Promise<keyof typeof EXIT_CODES> {
  const command = await COMMANDS[name]?.();
  if (command === undefined) throw new CliError("usage", `unknown command tag ${name}`);
  const checked = checkWords(words, command.args);
  if (checked.isHelp) {
    terminal.out(await renderHelp(command));
    return "ok";
  }
  const args = parsed(checked.words, command);
  return command.run({ args, values: checked.values, terminal });
}

/** What citty itself refuses, a missing argument, is as much a wrong command line as the rest. */
function parsed(words: readonly string[], command: Command): ReturnType<typeof parseArgs> {
  try {
    return parseArgs([...words], command.args);
  } catch (error) {
    if (!(error instanceof Error) || error.name !== "CLIError") throw error;
    throw usage(error.message.replace(/^./, (letter) => letter.toLowerCase()));
  }
}

/** The second words of a group's commands. */
function commandsOf(group: string): readonly string[] {
  return Object.keys(COMMANDS)
    .filter((name) => name.startsWith(`${group} `))
    .map((name) => name.slice(group.length + 1));
}

async function groupHelp(group: string): Promise<string> {
  const subCommands: SubCommandsDef = {};
  for (const name of commandsOf(group)) {
    const description = (await COMMANDS[`${group} ${name}`]?.())?.description ?? "";
    subCommands[name] = { meta: { description } };
  }
  const meta = { name: `tag ${group}`, description: GROUPS[group] ?? "" };
  return plain(await renderUsage({ meta, subCommands }));
}

async function rootHelp(): Promise<string> {
  const subCommands: SubCommandsDef = {};
  for (const [name, load] of Object.entries(COMMANDS)) {
    subCommands[name] = { meta: { description: (await load()).description } };
  }
  const meta = { name: "tag", description: "An S3-compatible caching gateway" };
  const text = plain(await renderUsage({ meta, subCommands }))
    // The list of all commands is below; in the usage line it is noise.
    .replace(/^(USAGE tag) .*$/m, "$1 <command> [options]");
  return `${text}
Without a command, "tag --config FILE" serves, as in the original.

Settings: flags win over environment variables (TAG_*), those over the file, and the
file over the defaults. "tag config show" prints the result.

EXAMPLES

  tag dev                    try it: a gateway with an object store of its own
  tag serve --config F       run the gateway
  tag --version              version, build time and commit`;
}
