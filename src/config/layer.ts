/**
 * A layer: the settings of one source (a file, the environment, the flags, a
 * command's defaults), and what was wrong with it. load.ts lays them over each other.
 */

import type { OptionPath } from "./options.ts";
import type { ConfigProblem, Source } from "./problem.ts";
import type { ReadValue } from "./values.ts";

export type Environment = Readonly<Record<string, string | undefined>>;

export interface Setting {
  readonly path: OptionPath;
  readonly value: unknown;
  readonly source: Source;
}

/** One source of settings, read. */
export interface Layer {
  readonly settings: readonly Setting[];
  readonly problems: readonly ConfigProblem[];
}

/** A value given on the command line for an option. */
export interface FlagSetting {
  readonly path: OptionPath;
  readonly text: string;
  /** The flag as the user knows it: `--http-port`. */
  readonly flag: string;
  /** The flag says the opposite of the key. */
  readonly isNegated?: boolean;
}

/** Gathers settings and problems of one source. */
export class Collector implements Layer {
  readonly settings: Setting[] = [];
  readonly problems: ConfigProblem[] = [];

  add(path: OptionPath, read: ReadValue, source: Source): void {
    if (read.kind === "value") this.settings.push({ path, value: read.value, source });
    else if (read.kind !== "unset") this.fail(read.kind, path, source, read.message, read.hint);
  }

  fail(
    kind: ConfigProblem["kind"],
    path: string | undefined,
    source: Source,
    message: string,
    hint?: string,
    level: ConfigProblem["level"] = "error",
  ): void {
    this.problems.push({ level, kind, path, source, message, hint });
  }
}
