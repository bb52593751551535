/**
 * How long the fuzz tests look: `FUZZ_RUNS=1000000 bun test test/fuzz` for a long search, a
 * second or two otherwise. A failure prints fast-check's seed and path; `FUZZ_SEED=…` replays it.
 */

export interface Effort {
  readonly numRuns: number;
  readonly seed?: number;
}

/** Parameters for `fc.assert`. `scale` is for properties that are dearer than a string or two. */
export function effort(scale = 1): Effort {
  const numRuns = Math.ceil(Number(process.env["FUZZ_RUNS"] ?? 2000) * scale);
  const seed = process.env["FUZZ_SEED"];
  return seed === undefined || seed === "" ? { numRuns } : { numRuns, seed: Number(seed) };
}

/** Room for long searches; the default of a few seconds is for short ones. */
export const FUZZ_TIMEOUT_MS = process.env["FUZZ_RUNS"] === undefined ? 20_000 : 3_600_000;
