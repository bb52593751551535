/**
 * Fuzzes every target for minutes instead of a second: `bun scripts/soak/fuzz.ts --minutes 10`.
 *
 * Runs each file of test/fuzz again and again, every time with another seed, until its time is
 * over, and prints per file how many inputs were tried. A failure that repeats with its seed
 * ends the run and is shown; `FUZZ_SEED=… bun test <file>` replays it. One that does not is a
 * time limit on a busy machine, and only mentioned. `--only sigv4,http` runs these files.
 */

import { parseArgs } from "node:util";
import { basename, join } from "node:path";
import { Glob } from "bun";

const ROOT = join(import.meta.dir, "../..");
/** Inputs per property and round: some seconds of work. */
const RUNS = 20_000;

const { values } = parseArgs({
  options: { minutes: { type: "string", default: "10" }, only: { type: "string" } },
});
const only = values.only?.split(",");
const limitMs = Number(values.minutes) * 60_000;

const files = [...new Glob("test/fuzz/*.test.ts").scanSync(ROOT)]
  .filter((file) => only === undefined || only.includes(basename(file, ".test.ts")))
  .toSorted();
if (files.length === 0) throw new Error("no such fuzz target");

interface Round {
  readonly isGood: boolean;
  readonly properties: number;
  readonly rssBytes: number;
  readonly output: string;
}

async function run(file: string, seed: number): Promise<Round> {
  const child = Bun.spawn([process.execPath, "test", file], {
    cwd: ROOT,
    env: { ...process.env, FUZZ_RUNS: String(RUNS), FUZZ_SEED: String(seed) },
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr, exitCode] = await Promise.all([
    child.stdout.text(),
    child.stderr.text(),
    child.exited,
  ]);
  const output = stdout + stderr;
  return {
    isGood: exitCode === 0,
    properties: Number(/(\d+) pass/.exec(output)?.[1] ?? 0),
    rssBytes: child.resourceUsage()?.maxRSS ?? 0,
    output,
  };
}

for (const file of files) {
  const name = basename(file, ".test.ts");
  const startedAtMs = performance.now();
  let rounds = 0;
  let inputs = 0;
  let peakRssBytes = 0;
  while (performance.now() - startedAtMs < limitMs) {
    const seed = Math.floor(Math.random() * 2 ** 31);
    let round = await run(file, seed);
    for (let again = 0; again < 2 && !round.isGood; again += 1) {
      console.log(`${name}: a failure with FUZZ_SEED=${seed}, trying again`);
      round = await run(file, seed);
    }
    if (!round.isGood) {
      console.log(round.output);
      console.log(`${file} fails with FUZZ_SEED=${seed} FUZZ_RUNS=${RUNS}`);
      process.exit(1);
    }
    rounds += 1;
    inputs += round.properties * RUNS;
    peakRssBytes = Math.max(peakRssBytes, round.rssBytes);
  }
  const minutes = ((performance.now() - startedAtMs) / 60_000).toFixed(1);
  console.log(
    `${name.padEnd(12)} ${minutes} min  ${rounds} rounds  about ${inputs.toExponential(2)} inputs  ` +
      `peak RSS ${Math.round(peakRssBytes / 2 ** 20)} MiB`,
  );
}
