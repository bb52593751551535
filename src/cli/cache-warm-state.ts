/**
 * How far a `tag cache warm` came, in a small file, so that a run that was interrupted goes
 * on instead of beginning again. Objects are taken in one order (by key, or by line of the
 * manifest) and finish in another; the file says up to where all are done, and which of
 * these failed. What was done beyond is read once more: hits by then.
 */

import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";

import { CliError } from "./exit-codes.ts";

export interface WarmState {
  /** What is warmed; another source is another run. */
  readonly source: string;
  /** Everything up to here is done: a key, or the number of a line. "" when nothing is. */
  readonly cursor: string;
  readonly objects: number;
  readonly bytes: number;
  /** Objects up to the cursor that could not be read; tried again first. */
  readonly failed: readonly (readonly [bucket: string, key: string])[];
}

/** The state of an earlier run over the same source; undefined when there is none. Throws "io". */
export function readWarmState(path: string, source: string): WarmState | undefined {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if ((error as { readonly code?: unknown }).code === "ENOENT") return undefined;
    throw new CliError("io", `cannot read the state file ${path}`, { cause: error });
  }
  const state = parse(text);
  if (state === undefined) {
    throw new CliError(
      "io",
      `${path} is not a state file of tag cache warm; name another with --state`,
    );
  }
  if (state.source === source) return state;
  throw new CliError(
    "usage",
    `${path} belongs to a run over ${state.source}; remove it or name another with --state`,
  );
}

/** Replaces the file in one step. Throws "io". */
export function writeWarmState(path: string, state: WarmState): void {
  const draft = `${path}.new`;
  try {
    writeFileSync(draft, `${JSON.stringify(state)}\n`);
    renameSync(draft, path);
  } catch (error) {
    throw new CliError("io", `cannot write the state file ${path}`, { cause: error });
  }
}

export function removeWarmState(path: string): void {
  rmSync(path, { force: true });
}

function parse(text: string): WarmState | undefined {
  try {
    const state = JSON.parse(text) as Partial<WarmState> | null;
    const isState =
      typeof state?.source === "string" &&
      typeof state.cursor === "string" &&
      typeof state.objects === "number" &&
      typeof state.bytes === "number" &&
      Array.isArray(state.failed);
    return isState ? (state as WarmState) : undefined;
  } catch {
    return undefined;
  }
}
