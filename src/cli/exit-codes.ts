/**
 * The one table of exit codes, for every command. Scripts and service managers act on
 * them (the systemd unit does not restart after `usage`, `parse` and `rejected`), so a
 * number never changes its meaning.
 */

import type { ConfigProblem } from "../config/problem.ts";

export const EXIT_CODES = {
  ok: { code: 0, meaning: "Done; for a server: a clean stop." },
  runtime: { code: 1, meaning: "Failed while running: a busy port, a locked cache, a bug." },
  usage: { code: 2, meaning: "Wrong command line: unknown command or flag, bad flag value." },
  io: { code: 3, meaning: "A file or folder cannot be read or written." },
  parse: {
    code: 4,
    meaning: "A configuration is not well formed: bad YAML, unknown key, malformed value.",
  },
  http: { code: 5, meaning: "A server did not answer, or answered with an error." },
  rejected: {
    code: 6,
    meaning: "Well formed but refused: out of range, or settings that contradict each other.",
  },
  auth: { code: 7, meaning: "Credentials are missing or were refused." },
  notFound: { code: 8, meaning: "What was asked for does not exist." },
  integrity: { code: 9, meaning: "Stored data is damaged." },
  partial: { code: 10, meaning: "Done in part; the output says what is missing." },
} as const satisfies Record<string, { code: number; meaning: string }>;

export type ExitName = keyof typeof EXIT_CODES;

export type ExitCode = (typeof EXIT_CODES)[ExitName]["code"];

/** Ends a command: its message is the one line a person sees. */
export class CliError extends Error {
  readonly exit: ExitName;

  constructor(exit: ExitName, message: string, options: { cause?: unknown } = {}) {
    super(message, options);
    this.name = "CliError";
    this.exit = exit;
  }
}

/**
 * The exit of a refused configuration. With several problems the one to repair first
 * decides: a file that is not read, then the command line, then form, then meaning.
 */
export function exitOfProblems(problems: readonly ConfigProblem[]): ExitName {
  const errors = problems.filter(({ level }) => level === "error");
  if (errors.length === 0) return "ok";
  if (errors.some(({ kind }) => kind === "unreadable")) return "io";
  if (errors.some(({ source }) => source.kind === "flag")) return "usage";
  if (errors.some(({ kind }) => kind === "malformed")) return "parse";
  if (errors.some(({ kind }) => kind === "refused")) return "rejected";
  return "auth";
}
