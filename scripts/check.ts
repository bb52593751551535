/**
 * The one command: `bun run check` runs every quick check in parallel and prints one line each;
 * `bun run check:full` adds what needs the compiled binary. CI runs the same file.
 *
 *     bun scripts/check.ts [--full]
 *
 * Output of a step is shown only when it fails. The last line counts results as the runners
 * reported them, `N passed, N failed` and `, N skipped` when there are any; a step that is not a
 * test suite counts as one. Exits 1 when anything failed, and, with TAG_TEST_NOTHING_SKIPPED=1,
 * when anything was skipped.
 */

import { availableParallelism } from "node:os";

interface Step {
  readonly name: string;
  readonly command: readonly string[];
  /** Name of a step that must have passed before. */
  readonly after?: string;
  /** Folder of tests the step runs; the step is left out while it holds none. */
  readonly tests?: string;
}

const TOOLS = "node_modules/.bin";
const CODE = ["src", "test", "scripts"];

const QUICK: readonly Step[] = [
  { name: "types", command: [`${TOOLS}/tsc`, "--noEmit", "-p", "."] },
  { name: "lint", command: [`${TOOLS}/oxlint`, "-c", "scripts/oxlint.json", ...CODE] },
  { name: "format", command: [`${TOOLS}/oxfmt`, "-c", "scripts/oxfmt.json", "--check", ...CODE] },
  { name: "layers", command: ["bun", "scripts/check-layers.ts"] },
  { name: "docs", command: ["bun", "scripts/gen-docs.ts", "--check"] },
  suite("unit"),
  suite("contract"),
  suite("conformance"),
  suite("sim"),
];

const FULL: readonly Step[] = [
  { name: "build", command: ["bun", "scripts/build.ts"] },
  ...QUICK,
  suite("fuzz"),
  { ...suite("integration"), after: "build" },
];

function suite(name: string): Step {
  const folder = `test/${name}`;
  // Integration tests start programs; the others must not need more than bun's default.
  const timeout = name === "integration" ? ["--timeout", "120000"] : [];
  return { name, command: ["bun", "test", `./${folder}/`, ...timeout], tests: folder };
}

interface Outcome {
  readonly step: Step;
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  readonly seconds: number;
  readonly output: string;
}

async function run(step: Step): Promise<Outcome> {
  const startedMs = performance.now();
  const [program = "", ...rest] = step.command;
  const child = Bun.spawn([program === "bun" ? process.execPath : program, ...rest], {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    env: { ...process.env, NO_COLOR: "1", FORCE_COLOR: "0" },
  });
  const [stdout, stderr, exitCode] = await Promise.all([
    child.stdout.text(),
    child.stderr.text(),
    child.exited,
  ]);
  const output = stdout + stderr;
  const seconds = (performance.now() - startedMs) / 1000;
  const hasPassed = exitCode === 0;
  if (step.tests === undefined) {
    return {
      step,
      passed: Number(hasPassed),
      failed: Number(!hasPassed),
      skipped: 0,
      seconds,
      output,
    };
  }
  const counts = testCounts(output);
  // A runner that fails without a failed test (a file that does not load) still failed once.
  const failed = hasPassed ? counts.failed : Math.max(1, counts.failed);
  return { step, ...counts, failed, seconds, output };
}

/** Reads the closing lines of `bun test`: ` 36 pass`, ` 1 skip`, ` 2 fail`. */
export function testCounts(output: string): { passed: number; failed: number; skipped: number } {
  const count = (word: string): number => {
    const lines = [...output.matchAll(new RegExp(`^ *(\\d+) ${word}$`, "gm"))];
    return Number(lines.at(-1)?.[1] ?? 0);
  };
  return { passed: count("pass"), failed: count("fail"), skipped: count("skip") + count("todo") };
}

/**
 * What is worth reading of a failed step: for a suite, first the names of what failed (a log that is
 * cut must still tell them), then what the files with failures printed.
 */
export function complaint(outcome: Pick<Outcome, "step" | "output">): string {
  if (outcome.step.tests === undefined) return outcome.output;
  const names = new Set(outcome.output.match(/^\(fail\).*$/gm)); // bun repeats them at the end
  const details = outcome.output
    .replaceAll(/^\((?:pass|skip|todo)\).*\n/gm, "")
    // A file's heading with nothing below it.
    .replaceAll(/^\S+\.test\.ts:\n\s*(?=^\S+\.test\.ts:\n)/gm, "");
  return [...names, "", details].join("\n");
}

/** Runs the steps, as many at a time as there are cores; a step whose `after` failed counts as failed. */
async function runAll(steps: readonly Step[]): Promise<Outcome[]> {
  const waiting = [...steps];
  const outcomes: Outcome[] = [];
  const running = new Set<Promise<void>>();
  const hasFailed = (name: string) => outcomes.some((o) => o.step.name === name && o.failed > 0);
  const isReady = (step: Step) =>
    step.after === undefined || outcomes.some((outcome) => outcome.step.name === step.after);

  const finish = (outcome: Outcome) => {
    outcomes.push(outcome);
    const { step, passed, failed, skipped, seconds } = outcome;
    const details = step.tests === undefined ? "" : `  ${countsLine(passed, failed, skipped)}`;
    const mark = failed > 0 ? "FAIL" : "ok  ";
    console.log(`${mark} ${step.name.padEnd(12)}${seconds.toFixed(1).padStart(6)} s${details}`);
    if (failed > 0) console.log(complaint(outcome).trimEnd());
  };

  while (waiting.length > 0 || running.size > 0) {
    const next = waiting.findIndex(isReady);
    if (next === -1 || running.size >= availableParallelism()) {
      if (running.size === 0) throw new Error("a step waits for one that does not exist");
      await Promise.race(running);
      continue;
    }
    const [step] = waiting.splice(next, 1);
    if (step === undefined) break;
    if (step.after !== undefined && hasFailed(step.after)) {
      const output = `not run: ${step.after} failed`;
      finish({ step, passed: 0, failed: 1, skipped: 0, seconds: 0, output });
      continue;
    }
    const task: Promise<void> = run(step).then((outcome) => {
      running.delete(task);
      finish(outcome);
    });
    running.add(task);
  }
  return outcomes;
}

function countsLine(passed: number, failed: number, skipped: number): string {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`;
}

async function hasTests(step: Step): Promise<boolean> {
  if (step.tests === undefined) return true;
  const files = await Array.fromAsync(new Bun.Glob(`${step.tests}/**/*.test.ts`).scan());
  return files.length > 0;
}

if (import.meta.main) {
  process.chdir(`${import.meta.dir}/..`);
  const wanted = process.argv.includes("--full") ? FULL : QUICK;
  const present = await Promise.all(wanted.map(hasTests));
  const outcomes = await runAll(wanted.filter((_, index) => present[index]));

  const sum = (pick: (outcome: Outcome) => number) =>
    outcomes.reduce((total, outcome) => total + pick(outcome), 0);
  const failed = sum((outcome) => outcome.failed);
  const skipped = sum((outcome) => outcome.skipped);
  const skipsAllowed = process.env["TAG_TEST_NOTHING_SKIPPED"] !== "1";
  if (skipped > 0 && !skipsAllowed) console.log("Skipped tests count as failure here.");
  console.log(
    countsLine(
      sum((outcome) => outcome.passed),
      failed,
      skipped,
    ),
  );
  process.exit(failed > 0 || (skipped > 0 && !skipsAllowed) ? 1 : 0);
}
