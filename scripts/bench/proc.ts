/**
 * What Linux tells about processes and the machine: CPU time, memory, page cache.
 */

import { readdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from "node:fs";
import { cpus, totalmem } from "node:os";

/** `sysconf(_SC_CLK_TCK)`; 100 on every Linux that matters. */
const TICKS_PER_SECOND = 100;

/** Of `st_blocks`, whatever the file system. */
const BLOCK_BYTES = 512;

/** User and system time of each process since it started, in milliseconds; those that are gone are left out. */
export function cpuMsOf(pids: readonly number[]): Map<number, number> {
  const times = new Map<number, number>();
  for (const pid of pids) {
    const cpuMs = cpuMsOfStat(readText(`/proc/${pid}/stat`));
    if (cpuMs !== undefined) times.set(pid, cpuMs);
  }
  return times;
}

/** What processes used between two looks; one that ended in between (nginx's cache loader) counts for nothing. */
export function cpuMsBetween(
  before: ReadonlyMap<number, number>,
  after: ReadonlyMap<number, number>,
): number {
  let usedMs = 0;
  for (const [pid, ms] of after) usedMs += ms - (before.get(pid) ?? 0);
  return usedMs;
}

/** User and system time of each thread of the processes since it started, in milliseconds, by name and number. */
export function cpuMsOfThreads(pids: readonly number[]): Map<string, number> {
  const times = new Map<string, number>();
  for (const pid of pids) {
    for (const thread of foldersIn(`/proc/${pid}/task`)) {
      const stat = readText(`/proc/${pid}/task/${thread}/stat`);
      const name = stat.slice(stat.indexOf("(") + 1, stat.lastIndexOf(")"));
      const cpuMs = cpuMsOfStat(stat);
      if (cpuMs !== undefined) times.set(`${name} ${thread}`, cpuMs);
    }
  }
  return times;
}

/** The process and everything it started. */
export function processTree(pid: number): number[] {
  const children = readText(`/proc/${pid}/task/${pid}/children`);
  const below = children.split(" ").filter(Boolean).map(Number);
  return [pid, ...below.flatMap(processTree)];
}

export interface MemoryUse {
  /**
   * Resident now, summed over the processes, shared pages counted once per process; with the pages of files in
   * memory (memfd_create) that the process does not look at, and that are therefore not resident.
   */
  readonly rssBytes: number;
  /** Highest resident since the process started, without those pages. */
  readonly peakBytes: number;
}

export function memoryOf(pids: readonly number[]): MemoryUse {
  let rssBytes = 0;
  let peakBytes = 0;
  for (const pid of pids) {
    const status = readText(`/proc/${pid}/status`);
    const kib = (name: string) =>
      Number(new RegExp(`${name}:\\s+(\\d+) kB`).exec(status)?.[1] ?? 0);
    const unseenBytes = Math.max(0, memoryFileBytes(pid) - kib("RssShmem") * 1024);
    rssBytes += kib("VmRSS") * 1024 + unseenBytes;
    peakBytes += kib("VmHWM") * 1024;
  }
  return { rssBytes, peakBytes };
}

/** What the open files of a process take that exist only in memory. */
function memoryFileBytes(pid: number): number {
  const folder = `/proc/${pid}/fd`;
  let bytes = 0;
  for (const descriptor of foldersIn(folder)) {
    try {
      if (!readlinkSync(`${folder}/${descriptor}`).startsWith("/memfd:")) continue;
      bytes += statSync(`${folder}/${descriptor}`).blocks * BLOCK_BYTES;
    } catch {
      // Closed in the meantime.
    }
  }
  return bytes;
}

/** Forgets the peak, so that `memoryOf` tells that of what comes next. Needs the processes to be ours. */
export function resetPeak(pids: readonly number[]): void {
  for (const pid of pids) {
    try {
      writeFileSync(`/proc/${pid}/clear_refs`, "5");
    } catch {
      // Then the peak is that of a longer time: too high, never too low.
    }
  }
}

export function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

/** Empties the page cache. False when that is not permitted (it needs root). */
export function dropPageCache(): boolean {
  Bun.spawnSync(["sync"]);
  try {
    writeFileSync("/proc/sys/vm/drop_caches", "3");
    return true;
  } catch {
    return false;
  }
}

/**
 * Puts this session before the others of the machine, and answers with what puts it back. Where the
 * kernel groups processes by session (sched_autogroup), nice values count within a session only. Does
 * nothing where that is not permitted.
 */
export function preferSession(nice: number): () => void {
  const path = "/proc/self/autogroup";
  const before = /nice (-?\d+)/.exec(readText(path))?.[1];
  const set = (value: string): void => {
    try {
      writeFileSync(path, value);
    } catch {
      // Then a quiet machine is all the more important.
    }
  };
  if (before === undefined) return () => undefined;
  set(String(nice));
  return () => set(before);
}

/** Names the machine in a report; no host names, no paths. */
export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryBytes: number;
  readonly kernel: string;
  readonly hypervisor: string;
  readonly bun: string;
}

export function describeMachine(): Machine {
  const all = cpus();
  const isVirtual = readText("/proc/cpuinfo").includes("hypervisor");
  return {
    cpu: all[0]?.model ?? "unknown",
    cores: all.length,
    memoryBytes: totalmem(),
    kernel: readText("/proc/sys/kernel/osrelease").trim().replace(/-.*/, ""),
    hypervisor: isVirtual ? "virtual machine" : "bare metal",
    bun: Bun.version,
  };
}

/** Work that others give the machine: runnable processes, averaged over the last minute. */
export function loadAverage(): number {
  return Number(readText("/proc/loadavg").split(" ")[0] ?? 0);
}

/** Undefined: the process, or thread, is gone. */
function cpuMsOfStat(stat: string): number | undefined {
  if (stat === "") return undefined;
  // The second field is the program's name in parentheses and may contain anything.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const ticks = Number(fields[11] ?? 0) + Number(fields[12] ?? 0);
  return (ticks * 1000) / TICKS_PER_SECOND;
}

function foldersIn(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
