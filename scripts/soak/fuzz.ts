/**
 * Fuzzes every target for minutes instead of a second: `bun scripts/soak/fuzz.ts --minutes 10`.
 *
 * Runs the tests of a target again and again, every time with another seed, until its time is
 * over, and prints per target how many inputs were tried and how much memory that took at most. A
 * failure that repeats with its seed ends the run and is shown; `FUZZ_SEED=… bun test <file>`
 * replays it. One that does not is a time limit on a busy machine, and only mentioned. `--only
 * ranges,xml` runs these targets.
 */

import { parseArgs } from "node:util";
import { join } from "node:path";
import { Glob } from "bun";

const ROOT = join(import.meta.dir, "../..");
/** Inputs per property and round: some seconds of work. */
const RUNS = 20_000;
/** More than this for so many short inputs means that something grows. */
const LIMIT_RSS_MIB = 1024;
const MIB = 1024 ** 2;

interface Target {
  readonly file: string;
  /** Title pattern of its tests; all of the file when undefined. */
  readonly tests?: string;
}

const TARGETS: Readonly<Record<string, Target>> = {
  credentials: { file: "sigv4", tests: "credentials of strangers" },
  "aws-chunked": { file: "aws-chunked" },
  xml: { file: "s3", tests: "a document" },
  ranges: { file: "http", tests: "a Range header" },
  conditions: { file: "http", tests: "entity tags|preconditions" },
  targets: { file: "http", tests: "a raw target" },
  signing: { file: "sigv4", tests: "requests we sign" },
  operations: { file: "s3", tests: "a request" },
  fields: { file: "http", tests: "other fields|hostile length" },
  http1: { file: "http1" },
};

interface Round {
  readonly isGood: boolean;
  readonly properties: number;
  readonly rssMib: number;
  readonly output: string;
}

async function run({ file, tests }: Target, seed: number): Promise<Round> {
  const chosen = tests === undefined ? [] : ["--test-name-pattern", tests];
  const child = Bun.spawn([process.execPath, "test", `test/fuzz/${file}.test.ts`, ...chosen], {
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
  const properties = Number(/(\d+) pass/.exec(output)?.[1] ?? 0);
  return {
    isGood: exitCode === 0 && properties > 0,
    properties,
    rssMib: (child.resourceUsage()?.maxRSS ?? 0) / MIB,
    output,
  };
}

/** Looks at one target for so long. False when something was found, which it shows. */
async function look(name: string, target: Target, limitMs: number): Promise<boolean> {
  const startedAtMs = performance.now();
  let [rounds, inputs, peakRssMib] = [0, 0, 0];
  while (performance.now() - startedAtMs < limitMs) {
    const seed = Math.floor(Math.random() * 2 ** 31);
    let round = await run(target, seed);
    for (let again = 0; again < 2 && !round.isGood; again += 1) {
      console.log(`${name}: a failure with FUZZ_SEED=${seed}, trying again`);
      round = await run(target, seed);
    }
    if (!round.isGood || round.rssMib > LIMIT_RSS_MIB) {
      console.log(round.output);
      console.log(`${name} fails with FUZZ_SEED=${seed} FUZZ_RUNS=${RUNS}`);
      console.log(`${round.rssMib.toFixed(0)} MiB resident, at most ${LIMIT_RSS_MIB}`);
      return false;
    }
    rounds += 1;
    inputs += round.properties * RUNS;
    peakRssMib = Math.max(peakRssMib, round.rssMib);
  }
  const minutes = ((performance.now() - startedAtMs) / 60_000).toFixed(1);
  console.log(
    `${name.padEnd(12)} ${minutes} min  ${rounds} rounds  about ${inputs.toExponential(2)} inputs  ` +
      `peak RSS ${peakRssMib.toFixed(0)} MiB`,
  );
  return true;
}

const { values } = parseArgs({
  options: { minutes: { type: "string", default: "10" }, only: { type: "string" } },
});
const files = [...new Glob("test/fuzz/*.test.ts").scanSync(ROOT)];
const known = new Set(Object.values(TARGETS).map(({ file }) => `test/fuzz/${file}.test.ts`));
const forgotten = files.filter((file) => !known.has(file));
if (forgotten.length > 0) throw new Error(`no target for ${forgotten.join(", ")}`);

for (const name of values.only?.split(",") ?? Object.keys(TARGETS)) {
  const target = TARGETS[name];
  if (target === undefined)
    throw new Error(`no target ${name}: ${Object.keys(TARGETS).join(", ")}`);
  if (!(await look(name, target, Number(values.minutes) * 60_000))) process.exit(1);
}
