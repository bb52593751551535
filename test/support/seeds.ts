/**
 * Which seeds a simulation runs.
 *
 * `SEED=7 bun test …` replays one world; `SIM_SEEDS=10000` explores more of them than a
 * test asks for by default, and `SIM_SEEDS=5001-10000` a part of those, so that several
 * processes can share the work. A failing case names its seed in its title.
 */

/** The seeds to run: `SEED` alone when it is set, else those of `SIM_SEEDS`, else 1 to `count`. */
export function seeds(count: number): readonly number[] {
  const only = process.env["SEED"];
  if (only !== undefined && only !== "") return [Number(only)];
  const wanted = (process.env["SIM_SEEDS"] ?? String(count)).split("-");
  const first = wanted.length === 1 ? 1 : Number(wanted[0]);
  const last = Number(wanted.at(-1));
  return Array.from({ length: last - first + 1 }, (_, index) => first + index);
}
