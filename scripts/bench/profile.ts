/**
 * Where the microseconds of a hit go.
 *
 *     bun scripts/bench/profile.ts [--case "GET 1 KiB"] [--seconds N] [--top N] [--publish]
 *     bun scripts/bench/profile.ts --live [--kib N] [--objects N] [--epochs] [--read-port]
 *         [--program PATH] [--engine node|own] [--seconds N]
 *
 * By default it samples micro.ts: the whole program without the kernel, which is what we can change.
 * `--live` records the server with perf under the load of a case (live.ts has the same options), after three
 * passes that are not recorded; that shows what share is ours, what Bun's and what the kernel's, and, as the
 * engine writes down what it compiles, on account of which function. `--publish` writes the flame graph of the
 * former into docs/benchmarks.
 */

import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";

import { drawFlameGraph } from "./flame-graph.ts";
import { JitDump } from "./jit-dump.ts";
import { describeCase, LIVE_OPTIONS, liveCaseOf, LiveServer } from "./live-server.ts";
import { below, shares, stacksOfCpuProfile, stacksOfPerfScript } from "./stacks.ts";
import type { Stacks } from "./stacks.ts";

const ROOT = join(import.meta.dir, "../..");
const PICTURES = join(ROOT, "docs/benchmarks");
/** The first fills the cache, in the others code is compiled. */
const WARM_PASSES = 3;

const { values: args } = parseArgs({
  options: {
    case: { type: "string", default: "GET 1 KiB" },
    seconds: { type: "string", default: "10" },
    top: { type: "string", default: "40" },
    live: { type: "boolean", default: false },
    ...LIVE_OPTIONS,
    publish: { type: "boolean", default: false },
  },
});

/** What was sampled, and what all of it is worth per request. */
interface Profile {
  readonly stacks: Stacks;
  readonly usPerRequest: number;
  readonly title: string;
  readonly file: string;
}

async function profileMicro(folder: string): Promise<Profile> {
  const child = Bun.spawn(
    [
      process.execPath,
      "--cpu-prof",
      "--cpu-prof-interval=100",
      `--cpu-prof-dir=${folder}`,
      join(import.meta.dir, "micro.ts"),
      `--only=${args.case}`,
      `--seconds=${args.seconds}`,
    ],
    { stdout: "pipe", stderr: "inherit" },
  );
  const output = await child.stdout.text();
  if ((await child.exited) !== 0) throw new Error("micro.ts failed");
  const medianUs = Number(/median ([\d.]+)/.exec(output)?.[1]);
  const file = readdirSync(folder).find((name) => name.endsWith(".cpuprofile"));
  if (file === undefined || Number.isNaN(medianUs)) throw new Error(`no profile: ${output}`);
  const everything = stacksOfCpuProfile(await Bun.file(join(folder, file)).text(), ROOT);
  return {
    stacks: below(everything, (frame) => frame.startsWith("onData src/server/http1/")),
    usPerRequest: medianUs,
    title: `${args.case}, hit: ${medianUs.toFixed(1)} µs without the kernel`,
    file: "flame-hit.svg",
  };
}

async function profileLive(folder: string): Promise<Profile> {
  const live = liveCaseOf(args);
  await using server = await LiveServer.start(live, folder, {
    BUN_JSC_useJITDump: "true",
    BUN_JSC_jitDumpDirectory: folder,
  });
  const load = () => server.load(Number(args.seconds) * 1000);
  for (let pass = 1; pass <= WARM_PASSES; pass += 1) await load();
  const data = join(folder, "perf.data");
  const recorder = Bun.spawn(
    ["perf", "record", "-k", "mono", "-e", "cpu-clock", "-F", "1999", "-g"].concat(
      "-o",
      data,
      "-p",
      server.pids.join(","),
    ),
    { stdout: "ignore", stderr: "ignore" },
  );
  await Bun.sleep(300);
  const { requests, serverCpuMs } = await load();
  recorder.kill("SIGINT");
  await recorder.exited;
  const script = Bun.spawnSync(["perf", "script", "-i", data, "-F", "comm,ip,sym,dso"], {
    stderr: "ignore",
  });
  const usPerRequest = (serverCpuMs * 1000) / requests;
  const dumpPath = readdirSync(folder).find((name) => name.endsWith(".dump"));
  if (dumpPath === undefined) throw new Error("nothing tells what was compiled");
  const compiled = JitDump.read(await Bun.file(join(folder, dumpPath)).bytes());
  return {
    stacks: stacksOfPerfScript(script.stdout.toString(), (address) => compiled.nameAt(address)),
    usPerRequest,
    title: `${describeCase(live)}: ${usPerRequest.toFixed(1)} µs with the kernel`,
    file: "flame-hit-live.svg",
  };
}

const folder = mkdtempSync(join(tmpdir(), "tag-profile-"));
try {
  const { stacks, usPerRequest, title, file } = await (args.live
    ? profileLive(folder)
    : profileMicro(folder));
  console.log(`${title}\n\n   self   with callees`);
  for (const { name, self, inclusive } of shares(stacks).slice(0, Number(args.top))) {
    const us = (share: number) => (share * usPerRequest).toFixed(2).padStart(7);
    console.log(`${us(self)} ${us(inclusive)} µs  ${name}`);
  }
  const svg = drawFlameGraph(stacks, {
    title,
    describe: (share) => `${(share * usPerRequest).toFixed(2)} µs`,
  });
  const path = join(args.publish ? PICTURES : join(ROOT, "dist/bench"), file);
  await Bun.write(path, svg);
  console.log(`\n${path}`);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
