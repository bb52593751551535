/**
 * Strict reading of a command's words, before citty turns them into values.
 *
 * citty ignores what it does not know; a misspelled flag would silently do nothing.
 * Here every word is accounted for, and unknown ones get the nearest known name. The
 * original's flags follow the rules of Go's `flag` package, so `-http-port 80` is
 * understood like `--http-port=80`.
 */

import type { ArgsDef } from "citty";

import { nearest } from "../config/nearest.ts";
import { CliError } from "./exit-codes.ts";

export interface CheckedWords {
  /** The same words in one form: `--name=value`, `--name` for true, `--no-name` for false. */
  readonly words: readonly string[];
  /** Every value of each text flag, in order: citty keeps only the last. */
  readonly values: ReadonlyMap<string, readonly string[]>;
  readonly isHelp: boolean;
}

const TRUE_WORDS = new Set(["true", "1", "t"]);
const FALSE_WORDS = new Set(["false", "0", "f"]);

/** Throws a `usage` error that names the word and, when one is near, what was meant. */
export function checkWords(given: readonly string[], args: ArgsDef): CheckedWords {
  const flags = Object.entries(args).filter(([, arg]) => arg.type !== "positional");
  const positionalsMax = Object.keys(args).length - flags.length;
  const words: string[] = [];
  const positionals: string[] = [];
  const values = new Map<string, string[]>();

  for (let index = 0; index < given.length; index += 1) {
    const word = given[index] ?? "";
    if (word === "--") {
      positionals.push(...given.slice(index + 1));
      break;
    }
    if (word === "-h" || word === "--help" || word === "-help") {
      return { words: [], values, isHelp: true };
    }
    if (!word.startsWith("-") || word === "-") {
      positionals.push(word);
      continue;
    }
    const [name, inline] = splitOnce(word.replace(/^--?/, ""), "=");
    const negatedName = name.startsWith("no-") ? name.slice(3) : undefined;
    const arg = args[name];
    if (
      negatedName !== undefined &&
      args[negatedName]?.type === "boolean" &&
      inline === undefined
    ) {
      words.push(`--no-${negatedName}`);
    } else if (arg === undefined || arg.type === "positional") {
      const known = flags.map(([flag]) => flag);
      throw usage(`unknown flag --${name}`, nearest(name, known), "--");
    } else if (arg.type === "boolean") {
      words.push(`--${isTrue(name, inline) ? "" : "no-"}${name}`);
    } else {
      const value = inline ?? given[(index += 1)];
      if (value === undefined || (inline === undefined && value.startsWith("--"))) {
        throw usage(`--${name} needs a value`);
      }
      words.push(`--${name}=${value}`);
      const earlier = values.get(name);
      if (earlier === undefined) values.set(name, [value]);
      else earlier.push(value);
    }
  }
  const extra = positionals[positionalsMax];
  if (extra !== undefined) throw usage(`unexpected argument "${extra}"`);
  if (positionals.length > 0) words.push("--", ...positionals);
  return { words, values, isHelp: false };
}

/** A complaint about the command line, with the nearest right word when there is one. */
export function usage(message: string, suggestion?: string, prefix = ""): CliError {
  const hint = suggestion === undefined ? "" : `, did you mean ${prefix}${suggestion}?`;
  return new CliError("usage", `${message}${hint}`);
}

function isTrue(name: string, inline: string | undefined): boolean {
  if (inline === undefined || TRUE_WORDS.has(inline.toLowerCase())) return true;
  if (FALSE_WORDS.has(inline.toLowerCase())) return false;
  throw usage(`--${name} is on or off, "${inline}" is neither`);
}

function splitOnce(text: string, separator: string): readonly [string, string | undefined] {
  const at = text.indexOf(separator);
  return at === -1 ? [text, undefined] : [text.slice(0, at), text.slice(at + 1)];
}
