/**
 * One run of ceph/s3-tests: a pytest process with our plugin (observe.py), whose lines become
 * results.
 */

import { appendFile, rm, writeFile } from "node:fs/promises";
import { setPriority } from "node:os";
import { join } from "node:path";

import { systemClock } from "../../src/base/clock.ts";
import { MARK_EXPRESSION, TEST_FILES, TEST_FOLDER } from "./selection.ts";

export type Outcome = "passed" | "failed" | "skipped";

export interface TestResult {
  /** `test_s3.py::test_bucket_list_empty`. */
  readonly name: string;
  readonly outcome: Outcome;
  readonly seconds: number;
  /** The error or the reason for skipping; "" when it passed. */
  readonly because: string;
}

/** By name. */
export type SuiteResults = ReadonlyMap<string, TestResult>;

export interface SuiteRun {
  /** Checkout of ceph/s3-tests. */
  readonly suite: string;
  /** Python with the suite's requirements. */
  readonly python: string;
  /** Text of the suite's configuration. */
  readonly conf: string;
  /** Folder for what the run leaves behind: LABEL.conf, LABEL.jsonl, LABEL.log. */
  readonly folder: string;
  readonly label: string;
  /** Only tests that match this `pytest -k` expression; all when undefined. */
  readonly only?: string | undefined;
  /** Tests to leave out, as `test_s3.py::test_name`. */
  readonly without?: readonly string[];
  /** The tests to run, by the names of results; all of the selection when undefined. */
  readonly tests?: readonly string[] | undefined;
  /** Called after every test. */
  readonly onResult?: (result: TestResult, count: number) => void;
}

/** A test that takes longer has failed. */
const TEST_LIMIT_S = 180;
/** The clients of the suite should not take the processor from the servers they test. */
const NICE = 5;
const POLL_MS = 500;

/** Runs the selected tests. Rejects when pytest could not run them, or lost some. */
export async function runSuite(run: SuiteRun): Promise<SuiteResults> {
  const path = (suffix: string) => join(run.folder, `${run.label}.${suffix}`);
  await writeFile(path("conf"), run.conf, { mode: 0o600 });
  await rm(path("jsonl"), { force: true });
  await appendFile(path("jsonl"), "");
  // Any other style of traceback parses the suite's 20 000 lines anew for every test that fails.
  const options = ["-q", "--no-header", "--tb=native", "-p", "no:cacheprovider", "-p", "observe"];
  const chosen = ["-m", MARK_EXPRESSION, ...(run.only === undefined ? [] : ["-k", run.only])];
  for (const name of run.without ?? []) chosen.push("--deselect", `${TEST_FOLDER}/${name}`);
  const tests = run.tests?.map((name) => `${TEST_FOLDER}/${name}`) ?? TEST_FILES;
  const child = Bun.spawn([run.python, "-m", "pytest", ...options, ...chosen, ...tests], {
    cwd: run.suite,
    env: suiteEnvironment(path("conf"), path("jsonl")),
    stdin: "ignore",
    stdout: Bun.file(path("log")),
    stderr: Bun.file(path("err")),
  });
  setPriority(child.pid, NICE);

  let shown = 0;
  const show = async () => {
    const results = parseResults(await Bun.file(path("jsonl")).text());
    for (const result of [...results.values()].slice(shown)) run.onResult?.(result, (shown += 1));
    return results;
  };
  while (child.exitCode === null) {
    await Promise.race([child.exited, systemClock.sleep(POLL_MS)]);
    await show();
  }
  const results = await show();
  // 0: all passed, 1: some failed, 5: none selected. Anything else: pytest itself did not work.
  if (![0, 1, 5].includes(child.exitCode)) {
    const log = await Bun.file(path("log")).text();
    throw new Error(`pytest ended with ${child.exitCode}:\n${log.slice(-4000)}`);
  }
  return results;
}

function suiteEnvironment(conf: string, report: string): Record<string, string> {
  return {
    PATH: process.env["PATH"] ?? "",
    HOME: process.env["HOME"] ?? "",
    S3TEST_CONF: conf,
    COMPAT_REPORT: report,
    COMPAT_TEST_LIMIT_S: String(TEST_LIMIT_S),
    PYTHONPATH: import.meta.dir,
    PYTHONDONTWRITEBYTECODE: "1",
    // boto3 must not look for credentials anywhere else.
    AWS_EC2_METADATA_DISABLED: "true",
    AWS_CONFIG_FILE: "/dev/null",
    AWS_SHARED_CREDENTIALS_FILE: "/dev/null",
  };
}

/** The lines of observe.py; an unfinished last line is left out. Throws on anything else. */
export function parseResults(text: string): SuiteResults {
  const lines = text.slice(0, text.lastIndexOf("\n") + 1).split("\n");
  const results = lines.filter((line) => line !== "").map((line) => JSON.parse(line) as TestResult);
  return new Map(results.map((result) => [result.name, result]));
}

/** The revision of the checkout; "unknown" when it is not one of git. */
export async function suiteRevision(suite: string): Promise<string> {
  const git = Bun.spawn(["git", "-C", suite, "rev-parse", "--short=10", "HEAD"], {
    stdout: "pipe",
    stderr: "ignore",
  });
  const text = (await git.stdout.text()).trim();
  return (await git.exited) === 0 ? text : "unknown";
}
