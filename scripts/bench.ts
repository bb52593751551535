/**
 * Measures how fast TAG is, beside nginx, Varnish and no cache at all: same machine, same bytes, same
 * connections, one run. docs/benchmarks.md is the method and the last published result.
 *
 *     bun scripts/bench.ts [--quick] [--publish] [--check] [--accept]
 *                          [--only WORKLOAD[/CASE]]... [--contenders NAME,...] [--peer NAME=URL[@PID]]...
 *                          [--rounds N] [--seconds N] [--out DIR] [--origin-port N] [--no-build]
 *
 *     --quick        little data, short rounds: does everything work?
 *     --publish      writes the tables and pictures into docs/
 *     --check        exits 1 when a promise in test/bench/budgets.json is kept worse than accepted
 *     --accept       takes the values of this run as the accepted ones
 *     --only         a workload by name, or one case of it; may be repeated
 *     --rounds, --seconds   how often and how long everything timed is measured (5 times 2 s)
 *     --contenders   of tag, tag-read, nginx, varnish, direct; tag@node and tag@own are TAG with
 *                    that HTTP engine (default: the first five)
 *     --peer         any other S3 cache in front of the same origin (contenders/peer.ts)
 *     --no-build     runs from source instead of compiling the binary first
 *
 * Needs Linux, two cores, nginx and varnish (`apt-get install nginx-light varnish`), and root for
 * workloads that read from disk (it empties the page cache). Raw results go to DIR/results.json
 * (default dist/bench).
 */

import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";

import { accept, complaints, formatBudgets, judge, parseBudgets } from "./bench/budgets.ts";
import { freePort, killPrograms, NICE, Program } from "./bench/child.ts";
import type { Server } from "./bench/contender.ts";
import { asDirect } from "./bench/contenders/direct.ts";
import { startNginx } from "./bench/contenders/nginx.ts";
import { asPeer, parsePeer } from "./bench/contenders/peer.ts";
import type { PeerSpec } from "./bench/contenders/peer.ts";
import { startTag } from "./bench/contenders/tag.ts";
import { startVarnish } from "./bench/contenders/varnish.ts";
import { FULL_DATA, QUICK_DATA, upload } from "./bench/data-set.ts";
import type { Measurement } from "./bench/measurement.ts";
import { Results } from "./bench/measurement.ts";
import { OriginServer } from "./bench/origin.ts";
import type { OriginSettings } from "./bench/origin.ts";
import { drawPlots } from "./bench/plots.ts";
import { describeMachine, loadAverage, preferSession } from "./bench/proc.ts";
import { renderReport, withGenerated } from "./bench/report.ts";
import type { RunFacts } from "./bench/report.ts";
import { calibrate, CLIENT_CORE, runWorkload, SERVER_CORE } from "./bench/runner.ts";
import { sameBytes } from "./bench/same-bytes.ts";
import type { Scale, Workload } from "./bench/workload.ts";
import { workloads } from "./bench/workloads.ts";

const ROOT = join(import.meta.dir, "..");
const BUDGETS = join(ROOT, "test/bench/budgets.json");
const DOCUMENT = join(ROOT, "docs/benchmarks.md");
const PICTURES = join(ROOT, "docs/benchmarks");

const FULL: Scale = {
  dataSet: FULL_DATA,
  rounds: 5,
  settleMs: 4000,
  warmupMs: 500,
  durationMs: 2000,
  soakMs: 600_000,
  epochs: 3,
};
const QUICK: Scale = {
  dataSet: QUICK_DATA,
  rounds: 1,
  settleMs: 100,
  warmupMs: 100,
  durationMs: 300,
  soakMs: 3000,
  epochs: 2,
};

/** Above this, somebody else uses the machine and the figures are not to be published. */
const QUIET_LOAD = 0.5;

const DEFAULT_CONTENDERS = "tag,tag-read,nginx,varnish,direct";

const { values: args } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    publish: { type: "boolean", default: false },
    check: { type: "boolean", default: false },
    accept: { type: "boolean", default: false },
    only: { type: "string", multiple: true },
    contenders: { type: "string", default: DEFAULT_CONTENDERS },
    peer: { type: "string", multiple: true, default: [] },
    rounds: { type: "string" },
    seconds: { type: "string" },
    out: { type: "string", default: join(ROOT, "dist/bench") },
    "origin-port": { type: "string" },
    "no-build": { type: "boolean", default: false },
  },
});

function say(line: string): void {
  console.log(line);
}

/** Starts everybody asked for, each in a folder of its own. */
async function startServers(
  origin: OriginServer,
  folder: string,
  peers: readonly PeerSpec[],
): Promise<Server[]> {
  const names = args.contenders.split(",");
  const place = (name: string) => {
    const own = join(folder, name.replaceAll("@", "-"));
    rmSync(own, { recursive: true, force: true });
    mkdirSync(own, { recursive: true });
    return { folder: own, core: SERVER_CORE, originPort: origin.port };
  };
  const command = args["no-build"]
    ? [process.execPath, join(ROOT, "src/main.ts")]
    : [join(ROOT, "dist/tag")];
  const servers: Server[] = [];
  for (const name of names) {
    switch (name) {
      case "tag":
        servers.push(
          await startTag(
            {
              command,
              name,
              readName: names.includes("tag-read") ? "tag-read" : undefined,
              engine: undefined,
            },
            place(name),
          ),
        );
        break;
      case "tag-read":
        break; // the second port of `tag`
      case "tag@node":
      case "tag@own":
        servers.push(
          await startTag(
            { command, name, readName: undefined, engine: name.slice("tag@".length) },
            place(name),
          ),
        );
        break;
      case "nginx":
        servers.push(await startNginx(place(name)));
        break;
      case "varnish":
        servers.push(await startVarnish(place(name)));
        break;
      case "direct":
        servers.push(asDirect(origin));
        break;
      default:
        throw new RangeError(`no contender ${name}`);
    }
  }
  for (const peer of peers) servers.push(await asPeer(peer));
  return servers;
}

/** Workloads that share an origin run together, so that caches start once per origin. */
function byOrigin(all: readonly Workload[]): Map<string, Workload[]> {
  return Map.groupBy(all, ({ origin }) => JSON.stringify(origin));
}

async function measureAll(
  selected: readonly Workload[],
  scale: Scale,
  folder: string,
): Promise<Measurement[]> {
  const place = {
    root: join(folder, "origin"),
    port: args["origin-port"] === undefined ? await freePort() : Number(args["origin-port"]),
    core: CLIENT_CORE,
    logPath: join(folder, "origin.log"),
  };
  const peers = args.peer.map(parsePeer);
  const measurements: Measurement[] = [];
  let isUploaded = false;
  for (const [settings, group] of byOrigin(selected)) {
    if (!isUploaded) {
      say("uploading the objects");
      const plain = await OriginServer.start(
        { latencyMs: 0, bandwidthBytesPerSecond: undefined },
        place,
      );
      await upload(scale.dataSet, place.port);
      await plain.stop();
      isUploaded = true;
    }
    const origin = await OriginServer.start(JSON.parse(settings) as OriginSettings, place);
    const servers = await startServers(origin, folder, peers);
    try {
      await sameBytes(servers, scale.dataSet);
      for (const workload of group) {
        say(workload.name);
        measurements.push(...(await runWorkload(workload, { origin, servers }, { scale, say })));
      }
    } finally {
      for (const server of servers) await server.stop();
      await origin.stop();
    }
  }
  return measurements;
}

async function measureGenerator(folder: string, scale: Scale): Promise<RunFacts["generator"]> {
  const port = await freePort();
  const server = new Program({
    name: "the null server",
    command: [process.execPath, join(import.meta.dir, "bench/load/null-server.ts"), String(port)],
    core: SERVER_CORE,
    logPath: join(folder, "null-server.log"),
  });
  await server.listening(port);
  try {
    const { requests, seconds, clientCpuMs } = await calibrate(port, scale, server.pids);
    return { perSecond: requests / seconds, cpuUsPerRequest: (clientCpuMs * 1000) / requests };
  } finally {
    await server.stop();
  }
}

function versions(): Record<string, string> {
  const firstMatch = (command: readonly string[], pattern: RegExp) => {
    const run = Bun.spawnSync([...command], { stderr: "pipe" });
    return pattern.exec(run.stdout.toString() + run.stderr.toString())?.[1] ?? "unknown";
  };
  return {
    bun: Bun.version,
    nginx: firstMatch(["nginx", "-v"], /nginx\/(\S+)/),
    varnish: firstMatch(["varnishd", "-V"], /varnish-(\S+)/),
  };
}

async function publish(markdown: string, plots: ReturnType<typeof drawPlots>): Promise<void> {
  for (const { file, svg } of plots) await Bun.write(join(PICTURES, file), svg);
  const document = await Bun.file(DOCUMENT).text();
  await Bun.write(DOCUMENT, withGenerated(document, markdown));
  say(`published into ${DOCUMENT}`);
}

function chosenScale(): Scale {
  const base = args.quick ? QUICK : FULL;
  const rounds = args.rounds === undefined ? base.rounds : Number(args.rounds);
  if (args.seconds === undefined) return { ...base, rounds };
  const { settleMs, warmupMs } = FULL;
  return { ...base, rounds, settleMs, warmupMs, durationMs: Number(args.seconds) * 1000 };
}

/** What `--only` left. Throws a RangeError for a name that is none. */
function chosenWorkloads(all: readonly Workload[]): readonly Workload[] {
  const { only } = args;
  if (only === undefined) return all;
  const chosen = all.flatMap((workload) => {
    if (only.includes(workload.name)) return [workload];
    const cases = workload.cases.filter((one) => only.includes(`${workload.name}/${one.name}`));
    return cases.length === 0 ? [] : [{ ...workload, cases }];
  });
  if (chosen.length === 0) {
    const names = all.flatMap(({ name, cases }) => cases.map((one) => `${name}/${one.name}`));
    throw new RangeError(`--only names none of: ${names.join(", ")}`);
  }
  return chosen;
}

async function main(): Promise<number> {
  const scale = chosenScale();
  const selected = chosenWorkloads(workloads(scale));
  const loadBefore = loadAverage();
  if (loadBefore > QUIET_LOAD) {
    say(`WARNING: ${loadBefore} processes are running already; do not trust the figures`);
  }
  if (!args["no-build"]) {
    const build = Bun.spawnSync([process.execPath, join(ROOT, "scripts/build.ts")], {
      stdout: "ignore",
      stderr: "inherit",
    });
    if (!build.success) throw new Error("the build failed");
  }

  const folder = mkdtempSync(join(tmpdir(), "tag-bench-"));
  const restorePriority = preferSession(NICE);
  const cleanUp = () => {
    restorePriority();
    rmSync(folder, { recursive: true, force: true });
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.once(signal, () => {
      killPrograms();
      cleanUp();
      process.exit(130);
    });
  }
  try {
    const generator = await measureGenerator(folder, scale);
    const results = new Results(await measureAll(selected, scale, folder));
    const facts: RunFacts = {
      date: new Date().toISOString().slice(0, 10),
      commit: Bun.spawnSync(["git", "describe", "--always", "--dirty"], { cwd: ROOT })
        .stdout.toString()
        .trim(),
      machine: describeMachine(),
      rounds: scale.rounds,
      durationMs: scale.durationMs,
      isQuick: args.quick,
      loadBefore,
      loadAfter: loadAverage(),
      versions: versions(),
      generator,
    };
    const budgets = parseBudgets(await Bun.file(BUDGETS).text());
    const verdicts = budgets.map((budget) => judge(budget, results));
    const plots = drawPlots(results);
    const markdown = renderReport({
      facts,
      workloads: selected,
      results,
      verdicts,
      plots: Object.fromEntries(
        Map.groupBy(plots, ({ workload }) => workload)
          .entries()
          .map(([name, list]) => [name, list.map(({ file }) => `benchmarks/${file}`)]),
      ),
    });
    await Bun.write(
      join(args.out, "results.json"),
      JSON.stringify({ facts, measurements: results.all }, undefined, 1),
    );
    await Bun.write(join(args.out, "report.md"), markdown);
    for (const { file, svg } of plots) await Bun.write(join(args.out, "benchmarks", file), svg);
    say(`\n${markdown}\n\nraw results: ${join(args.out, "results.json")}`);
    if (args.publish) await publish(markdown, plots);
    if (args.accept) await Bun.write(BUDGETS, formatBudgets(accept(verdicts)));
    const fallen = args.check ? complaints(verdicts) : [];
    for (const line of fallen) console.error(`fallen: ${line}`);
    return fallen.length === 0 ? 0 : 1;
  } finally {
    cleanUp();
  }
}

try {
  process.exit(await main());
} catch (error) {
  console.error(`bench: ${error instanceof Error ? error.message : String(error)}`);
  killPrograms(); // of a run that broke off, some are still there
  process.exit(1);
}
