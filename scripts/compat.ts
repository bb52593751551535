/**
 * What the gateway does to S3: runs the public suite ceph/s3-tests against a server, then the
 * same tests through a gateway in front of it, and compares test by test.
 *
 *     bun scripts/compat.ts --suite DIR                      S3TEST_CONF names server and users
 *     bun scripts/compat.ts --suite DIR --server ceph        or versity: starts one (scripts/compat)
 *     bun scripts/compat.ts --suite DIR --server origin      the dev origin, in transparent mode
 *
 *     --python PROGRAM   a Python that has the suite's requirements (default python3)
 *     --gateway COMMAND  default `bun src/main.ts`; `dist/tag` tests the compiled program
 *     --region NAME      of the server, for the gateway's signatures (default us-east-1)
 *     --only EXPRESSION  as `pytest -k`
 *     --reuse SIDES      takes the results the last run left in --out: `direct`, `direct,through`
 *     --out DIR          for tables and logs (default dist/compat)
 *     --accept           writes the result into the repository: the table in
 *                        docs/s3-compatibility.md and the pass list of the dev origin
 *
 * Some tests race with the clock or depend on what a server leaves to chance. What differs is
 * therefore run again on both sides, alone, up to three times or until both agree, and counts as it
 * comes out then; the table names it.
 *
 * The suite is not part of this repository: DIR is a checkout of it. TAG_… variables are passed on
 * to the gateway. Exits 1 when a test passes directly and not through the gateway, or when a test
 * of the pass list does not pass.
 */

import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";

import { systemClock } from "../src/base/clock.ts";
import {
  compare,
  differingOf,
  fullTable,
  lossesOf,
  summaryTable,
  tally,
} from "./compat/comparison.ts";
import { parsePassList, regressionsOf, renderPassList } from "./compat/pass-list.ts";
import { replaceSection } from "./compat/section.ts";
import type { Server } from "./compat/process.ts";
import { existingServer, startGateway, STARTERS } from "./compat/servers.ts";
import { parseResults, runSuite, suiteRevision } from "./compat/suite.ts";
import type { SuiteResults, TestResult } from "./compat/suite.ts";

const ROOT = join(import.meta.dir, "..");
const DOCUMENT = join(ROOT, "docs/s3-compatibility.md");
/** What must pass through the gateway in front of the dev origin. */
const PASS_LIST = join(ROOT, "test/conformance/s3-tests-dev-origin.txt");

const OPTIONS = {
  suite: { type: "string" },
  server: { type: "string" },
  python: { type: "string", default: "python3" },
  gateway: { type: "string", default: `${process.execPath} ${join(ROOT, "src/main.ts")}` },
  region: { type: "string", default: "us-east-1" },
  only: { type: "string" },
  reuse: { type: "string", default: "" },
  out: { type: "string", default: join(ROOT, "dist/compat") },
  accept: { type: "boolean", default: false },
} as const;

/** How often a test is run again that does not come to the same on both sides. */
const LOOKS = 3;

type Side = "direct" | "through";

/** What is run, and what came of it. */
interface Report {
  /** The server as `--server` names it: for file names and the section of the document. */
  readonly label: string;
  readonly server: string;
  readonly suiteRevision: string;
  readonly direct: SuiteResults;
  readonly through: SuiteResults;
  /** Tests that differed at first and came to the same when they were run again. */
  readonly settled: readonly string[];
}

async function main(): Promise<number> {
  const { values } = parseArgs({ options: OPTIONS });
  if (values.suite === undefined) throw new Error("--suite DIR: where is ceph/s3-tests?");
  const suite = resolve(values.suite);
  const out = resolve(values.out);
  await mkdir(out, { recursive: true });
  const label = values.server ?? "existing";

  const folder = await mkdtemp(join(tmpdir(), "tag-compat-"));
  try {
    await using server = await startServer(values.server, folder);
    const mode = server.proxyAccess === undefined ? "signing" : "transparent";
    console.log(`${server.name}, and the gateway before it in ${mode} mode`);
    // It runs in a folder of its own, so files it is made of are named in full.
    const command = values.gateway
      .split(" ")
      .map((word) => (existsSync(word) ? resolve(word) : word));
    await using gateway = await startGateway(command, server, folder, values.region);

    const run = async (side: Side, tests?: readonly string[]): Promise<SuiteResults> => {
      const name = `${label}-${side}`;
      if (tests === undefined && values.reuse.split(",").includes(side)) {
        return parseResults(await Bun.file(join(out, `${name}.jsonl`)).text());
      }
      return runSuite({
        suite,
        python: values.python,
        conf: side === "direct" ? server.conf : gateway.conf,
        folder: out,
        label: tests === undefined ? name : `${name}-again`,
        only: values.only,
        without: server.crashedBy,
        tests,
        onResult: (result, count) => showResult(side, result, count),
      });
    };
    const results = {
      direct: new Map(await run("direct")),
      through: new Map(await run("through")),
    };
    const differing = () => differingOf(compare(results.direct, results.through));
    const atFirst = differing();
    for (let look = 0; look < LOOKS && differing().length > 0; look += 1) {
      const tests = differing();
      for (const side of ["direct", "through"] as const) {
        for (const [name, result] of await run(side, tests)) results[side].set(name, result);
      }
    }
    await Bun.write(join(out, `${label}-gateway.log`), gateway.log());
    const stillDiffering = new Set(differing());
    const report: Report = {
      label,
      server: server.name,
      suiteRevision: await suiteRevision(suite),
      ...results,
      settled: atFirst.filter((name) => !stillDiffering.has(name)),
    };
    await writeTables(out, report);
    if (values.accept) await accept(report);
    return await judge(report);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function startServer(name: string | undefined, folder: string): Promise<Server> {
  if (name === undefined) {
    const conf = process.env["S3TEST_CONF"];
    if (conf === undefined) throw new Error("which server? S3TEST_CONF=FILE or --server NAME");
    return existingServer(await Bun.file(conf).text());
  }
  const start = STARTERS[name];
  if (start === undefined) {
    throw new Error(`--server ${name}: one of ${Object.keys(STARTERS).join(", ")}`);
  }
  return start(join(folder, name));
}

const PROGRESS_EVERY = 50;

function showResult(side: Side, { name, outcome, because }: TestResult, count: number): void {
  if (outcome === "failed") console.log(`  ${side} failed: ${name}: ${because.split("\n")[0]}`);
  if (count % PROGRESS_EVERY === 0) console.log(`  ${side}: ${count} tests`);
}

/** The tables for reading and the same for programs. */
async function writeTables(out: string, report: Report): Promise<void> {
  const tests = compare(report.direct, report.through);
  const { label, suiteRevision: revision, server } = report;
  const heading = `# ceph/s3-tests ${revision}: ${server}, directly and through the gateway`;
  const parts = [heading, summaryTable(tests), settledText(report.settled), fullTable(tests)];
  const markdown = parts.filter((part) => part !== "").join("\n\n");
  await Bun.write(join(out, `${label}.md`), `${markdown}\n`);
  const json = { server, suiteRevision: revision, tests };
  await Bun.write(join(out, `${label}.json`), `${JSON.stringify(json, null, 2)}\n`);
  console.log(`\n${summaryTable(tests)}\n\nEvery test: ${join(out, `${label}.md`)}`);
}

/** Writes what this run found into the repository, as what is expected from now on. */
async function accept(report: Report): Promise<void> {
  const tests = compare(report.direct, report.through);
  const { label, suiteRevision: revision, server, settled, through } = report;
  const today = new Date(systemClock.nowMs()).toISOString().slice(0, 10);
  const about = `${today}: ceph/s3-tests at ${revision}, directly against ${server} and through the gateway:`;
  const document = await Bun.file(DOCUMENT).text();
  const section = [about, summaryTable(tests), settledText(settled)].join("\n\n").trimEnd();
  await Bun.write(DOCUMENT, replaceSection(document, `compat ${label}`, section));
  if (label === "origin") {
    const lines = [
      `Tests of ceph/s3-tests ${revision} that pass through the gateway in front of the dev origin.`,
      "Written by scripts/compat.ts --server origin --accept.",
    ];
    await Bun.write(PASS_LIST, renderPassList(lines, through));
  }
}

function settledText(settled: readonly string[]): string {
  if (settled.length === 0) return "";
  const names = settled.map((name) => `\`${name.split("::").at(-1)}\``).join(", ");
  return `Differed in the long run and not when run again, alone: ${names}.`;
}

async function judge({ label, direct, through }: Report): Promise<number> {
  const losses = lossesOf(compare(direct, through));
  for (const { name, because } of losses) console.log(`lost: ${name}: ${because}`);
  const list = label === "origin" ? parsePassList(await Bun.file(PASS_LIST).text()) : [];
  const regressions = regressionsOf(list, through);
  for (const name of regressions) console.log(`regression: ${name}`);
  console.log(`directly ${tally(direct)}; through ${tally(through)}; ${losses.length} lost`);
  return losses.length + regressions.length > 0 ? 1 : 0;
}

if (import.meta.main) {
  process.exitCode = await main().catch((error: unknown) => {
    console.error(error instanceof Error ? error.message : error);
    return 1;
  });
}
