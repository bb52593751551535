/**
 * What can be wrong with a configuration, and how it is said: one line per problem,
 * beginning with the place a person has to go to.
 */

import { unreachable } from "../base/assert.ts";

/** Where a value came from. Lines and columns count from 1. */
export type Source =
  | { readonly kind: "default" }
  /** A default of the command rather than of the table (`tag dev`). */
  | { readonly kind: "preset"; readonly command: string }
  | { readonly kind: "file"; readonly file: string; readonly line: number; readonly column: number }
  | { readonly kind: "env"; readonly name: string }
  | { readonly kind: "flag"; readonly name: string };

/**
 * What sort of trouble it is; the commands turn it into an exit code.
 *
 * - `unreadable`: the file is not there or cannot be read.
 * - `malformed`: not YAML, an unknown or repeated key, a value of the wrong form.
 * - `refused`: well formed, but out of range or in contradiction to another setting.
 * - `credentials`: keys the gateway cannot start without are missing.
 */
export type ProblemKind = "unreadable" | "malformed" | "refused" | "credentials";

export interface ConfigProblem {
  readonly level: "error" | "warning";
  readonly kind: ProblemKind;
  /** The YAML path concerned, known or not; undefined when it is about a whole file. */
  readonly path: string | undefined;
  readonly source: Source;
  /** A clause without the place and without a full stop. Never contains a secret. */
  readonly message: string;
  /** What to do about it, as a clause. */
  readonly hint: string | undefined;
}

/** `tag.yaml:3:14`, `env TAG_HTTP_PORT`, `flag --http-port`, `default`. */
export function formatSource(source: Source): string {
  switch (source.kind) {
    case "default":
      return "default";
    case "preset":
      return `default of ${source.command}`;
    case "file":
      return source.line === 0 ? source.file : `${source.file}:${source.line}:${source.column}`;
    case "env":
      return `env ${source.name}`;
    case "flag":
      return `flag ${source.name}`;
    default:
      return unreachable(source);
  }
}

/** The whole problem in one line. */
export function formatProblem(problem: ConfigProblem): string {
  const place =
    problem.source.kind === "default" || problem.source.kind === "preset"
      ? undefined
      : formatSource(problem.source).replace(/^(?:env|flag) /, "");
  const clause =
    problem.hint === undefined ? problem.message : `${problem.message}; ${problem.hint}`;
  const line = [place, problem.path, clause].filter((part) => part !== undefined).join(": ");
  return line.replace(CONTROL_CHARACTERS, (character) => JSON.stringify(character).slice(1, -1));
}

/** A key may hold line breaks; a problem is one line all the same. */
const CONTROL_CHARACTERS = /\p{Cc}/gu;
