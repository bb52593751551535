/**
 * Which seeds a simulation runs.
 *
 * `SEED=7 bun test …` replays one world; `SIM_SEEDS=10000` explores more of them than a
 * test asks for by default. A failing case names its seed in its title.
 */

/** The seeds to run: `SEED` alone when it is set, else 1 to `SIM_SEEDS`, else 1 to `count`. */
export function seeds(count: number): readonly number[] {
  const only = process.env["SEED"];
  if (only !== undefined && only !== "") return [Number(only)];
  const wanted = Number(process.env["SIM_SEEDS"] ?? count);
  return Array.from({ length: wanted }, (_, index) => index + 1);
}
