/**
 * One case, pass by pass: what a request costs while the program warms up and later, which threads take
 * it, and the memory it needs.
 *
 *     bun scripts/bench/live.ts [--kib N] [--objects N] [--epochs] [--read-port] [--passes N]
 *         [--seconds N] [--program PATH] [--engine node|own]
 *
 * The first pass fills the cache. A pass is `--seconds` of hits by 32 connections, or with `--epochs` every
 * object once by 16. The epochs of the benchmark are `--epochs --kib 100 --objects 10000`; from source,
 * unless `--program` names a compiled one.
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";

import { describeCase, LIVE_OPTIONS, liveCaseOf, LiveServer } from "./live-server.ts";
import { cpuMsOfThreads, memoryOf } from "./proc.ts";

const { values: args } = parseArgs({
  options: {
    ...LIVE_OPTIONS,
    passes: { type: "string", default: "6" },
    seconds: { type: "string", default: "3" },
  },
});

const MIB = 1024 * 1024;
const live = liveCaseOf(args);
const folder = mkdtempSync(join(tmpdir(), "tag-live-"));
try {
  await using server = await LiveServer.start(live, folder);
  console.log(describeCase(live));
  let before = cpuMsOfThreads(server.pids);
  for (let pass = 1; pass <= Number(args.passes); pass += 1) {
    const { requests, seconds, serverCpuMs, clientCpuMs, hitShare } = await server.load(
      Number(args.seconds) * 1000,
    );
    const us = (ms: number) => ((ms * 1000) / requests).toFixed(1);
    const { rssBytes, peakBytes } = memoryOf(server.pids);
    const after = cpuMsOfThreads(server.pids);
    console.log(
      [
        `pass ${pass}: ${requests} requests, ${(hitShare * 100).toFixed(0)} % hits`,
        `CPU ${us(serverCpuMs)} µs each, ${us(seconds * 1000)} passed, client ${us(clientCpuMs)}`,
        `RSS ${(rssBytes / MIB).toFixed(0)} MiB, peak ${(peakBytes / MIB).toFixed(0)}`,
      ].join("; "),
    );
    console.log(`        ${threadsBetween(before, after)}`);
    before = after;
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}

/** The threads that worked in between, the busiest first. */
function threadsBetween(
  before: ReadonlyMap<string, number>,
  after: ReadonlyMap<string, number>,
): string {
  return [...after]
    .map(([thread, ms]) => ({ thread, ms: ms - (before.get(thread) ?? 0) }))
    .filter(({ ms }) => ms > 0)
    .toSorted((left, right) => right.ms - left.ms)
    .map(({ thread, ms }) => `${thread} ${ms} ms`)
    .join(", ");
}
