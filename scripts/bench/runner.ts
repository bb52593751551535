/**
 * Carries out workloads: prepares the caches, measures every contender in turn, round after round.
 *
 * Rounds alternate: each goes once through all contenders, beginning with another one, so that what
 * changes on the machine during a run meets everybody alike. Servers run on one core; clients, and an
 * origin that is not itself measured, on the other.
 */

import { join } from "node:path";

import type { ContenderName, Endpoint, Server } from "./contender.ts";
import { NICE, NICE_MEASURED, onCore } from "./child.ts";
import { CLIENT } from "./credentials.ts";
import { rawTargetOf } from "./data-set.ts";
import type { LoadPlan, LoadResult, PlannedRequest } from "./load/plan.ts";
import type { Measurement } from "./measurement.ts";
import type { OriginCounts, OriginServer } from "./origin.ts";
import { dropPageCache, memoryOf, resetPeak } from "./proc.ts";
import type { Background, Case, Scale, Workload } from "./workload.ts";
import { reads } from "./workload.ts";

export const SERVER_CORE = 0;
export const CLIENT_CORE = 1;

/** How often a cache may be filled again until everything is a hit. */
const WARM_ATTEMPTS = 8;
/** How often the memory of a server is looked at, and how often that is noted down. */
const LOOK_EVERY_MS = 100;
const LOOKS_PER_SAMPLE = 10;
/** Of answers to hot objects so many are read in full. */
const READ_EVERY = 16;

/** What the workloads of one origin run against. */
export interface Field {
  readonly origin: OriginServer;
  readonly servers: readonly Server[];
}

export interface RunnerOptions {
  readonly scale: Scale;
  readonly say: (line: string) => void;
}

interface Participant {
  readonly server: Server;
  readonly endpoint: Endpoint;
}

/** Runs every case of a workload against everybody who can take part. */
export async function runWorkload(
  workload: Workload,
  field: Field,
  options: RunnerOptions,
): Promise<Measurement[]> {
  const participants = field.servers
    .flatMap((server) => server.endpoints.map((endpoint) => ({ server, endpoint })))
    .filter(({ endpoint }) => takesPart(workload, endpoint.contender));
  const measurements: Measurement[] = [];
  for (const one of workload.cases) {
    if (one.temperature !== "empty") {
      for (const participant of participants) {
        await warm(participant, one, options);
        await settleOn(participant, one, options.scale);
      }
    }
    const rounds = one.durationMs === options.scale.soakMs ? 1 : options.scale.rounds;
    for (let round = 0; round < rounds; round += 1) {
      for (let step = 0; step < participants.length; step += 1) {
        const participant = participants[(round + step) % participants.length];
        if (participant === undefined) continue;
        const found = await measureCase({ workload, one, round, participant, field, options });
        measurements.push(...found);
      }
    }
  }
  return measurements;
}

function takesPart(workload: Workload, contender: ContenderName): boolean {
  if (workload.without?.[contender] !== undefined) return false;
  return workload.only === undefined || workload.only.includes(contender);
}

interface Situation {
  readonly workload: Workload;
  readonly one: Case;
  readonly round: number;
  readonly participant: Participant;
  readonly field: Field;
  readonly options: RunnerOptions;
}

async function measureCase(situation: Situation): Promise<Measurement[]> {
  const { workload, one, participant, field, options } = situation;
  const { server, endpoint } = participant;
  switch (one.temperature) {
    case "hot":
      break;
    case "on-disk":
      if (!dropPageCache()) {
        options.say(`  ${workload.name}: the page cache cannot be emptied without root, left out`);
        return [];
      }
      break;
    case "empty":
      if (!(await server.renew())) {
        options.say(`  ${endpoint.contender} cannot be emptied, left out of ${workload.name}`);
        return [];
      }
      await settle(endpoint, options.scale);
      if (one.warm !== undefined) await warm(participant, one, options);
  }
  const isOriginMeasured = workload.isAboutHits && endpoint.contender === "direct";
  if (isOriginMeasured) field.origin.moveTo(SERVER_CORE);
  const measurements: Measurement[] = [];
  for (const [index, requests] of one.passes.entries()) {
    const caseName = one.passes.length === 1 ? one.name : `${one.name} ${index + 1}`;
    const measurement = await measurePass(situation, caseName, requests);
    options.say(`  ${describe(measurement)}`);
    measurements.push(measurement);
  }
  if (isOriginMeasured) field.origin.moveTo(CLIENT_CORE);
  return measurements;
}

async function measurePass(
  situation: Situation,
  caseName: string,
  requests: readonly PlannedRequest[],
): Promise<Measurement> {
  const { workload, one, round, participant, field, options } = situation;
  const { server, endpoint } = participant;
  const { pids } = server;
  const { warmupMs } = options.scale;
  const before = await field.origin.counts();
  resetPeak(pids);
  const memory = new MemorySampler(pids);
  const plan: Omit<LoadPlan, "end"> = {
    ...planFor(endpoint, requests, one.connections, pids),
    batch: one.batch ?? 1,
    pace:
      one.perSecond === undefined ? { kind: "closed" } : { kind: "open", perSecond: one.perSecond },
  };
  let load: LoadResult;
  if (one.background !== undefined) {
    load = await measureBeside(one.background, endpoint, plan);
  } else if (one.durationMs === undefined) {
    load = await runLoad({ ...plan, end: { kind: "list" } });
  } else {
    load = await runLoad({ ...plan, end: { kind: "time", warmupMs, durationMs: one.durationMs } });
  }
  const { rssSeries, peakBytes } = memory.stop();
  const asked = difference(await field.origin.counts(), before);
  return {
    workload: workload.name,
    caseName,
    contender: endpoint.contender,
    round,
    load,
    hasServerFigures: pids.length > 0,
    peakBytes,
    rssSeries,
    originRequests: asked.requests,
    originBodyBytes: asked.bodyBytes,
  };
}

/** Measures while a second generator does what the background says, and only so long. */
async function measureBeside(
  background: Background,
  endpoint: Endpoint,
  plan: Omit<LoadPlan, "end">,
): Promise<LoadResult> {
  const other = startLoad(
    {
      ...planFor(endpoint, background.requests, background.connections, []),
      end: { kind: "list" },
    },
    NICE,
  );
  const load = await runLoad({ ...plan, end: { kind: "beside", pid: other.pid, warmupMs: 100 } });
  const { errors, errorSamples } = await other.result;
  return {
    ...load,
    errors: load.errors + errors,
    errorSamples: [...load.errorSamples, ...errorSamples],
  };
}

/** Reads everything the case is about until it comes from the cache. */
async function warm({ endpoint }: Participant, one: Case, { say }: RunnerOptions): Promise<void> {
  if (endpoint.contender === "direct") return;
  const requests = one.warm ?? one.passes.flat();
  for (let attempt = 0; attempt < WARM_ATTEMPTS; attempt += 1) {
    const { hitShare, errors, errorSamples } = await runLoad({
      ...planFor(endpoint, requests, Math.min(8, requests.length), []),
      readEvery: 1,
      end: { kind: "list" },
    });
    if (errors > 0) throw new Error(`warming ${endpoint.contender}: ${errorSamples.join("; ")}`);
    if (hitShare === 1) return;
    await Bun.sleep(100);
  }
  say(`  ${endpoint.contender}: not everything became a hit in ${one.name}`);
}

/** Reads small objects a new server does not have, and then has: see `DataSet`. */
async function settle(endpoint: Endpoint, { dataSet }: Scale): Promise<void> {
  const requests = reads(dataSet.settle);
  for (let pass = 0; pass < 2; pass += 1) {
    await runLoad({ ...planFor(endpoint, requests, 16, []), end: { kind: "list" } });
  }
}

/** Load like that of a hot case, unmeasured, until a server runs as it does all day. */
async function settleOn({ endpoint }: Participant, one: Case, { settleMs }: Scale): Promise<void> {
  if (one.durationMs === undefined) return;
  await runLoad({
    ...planFor(endpoint, one.passes.flat(), one.connections, []),
    end: { kind: "time", warmupMs: 0, durationMs: settleMs },
  });
}

function planFor(
  endpoint: Endpoint,
  requests: readonly PlannedRequest[],
  connections: number,
  watchedPids: readonly number[],
): Omit<LoadPlan, "end"> {
  const { host, port, isSigned } = endpoint;
  return {
    host,
    port,
    hostField: `${host}:${port}`,
    credentials: isSigned ? CLIENT : undefined,
    connections,
    batch: 1,
    requests,
    pace: { kind: "closed" },
    readEvery: READ_EVERY,
    watchedPids,
  };
}

interface RunningLoad {
  readonly pid: number;
  readonly result: Promise<LoadResult>;
}

/** Starts a generator in a process of its own on the clients' core. */
function startLoad(plan: LoadPlan, nice: number): RunningLoad {
  const worker = join(import.meta.dir, "load/worker.ts");
  const command = [process.execPath, worker];
  const child = Bun.spawn(onCore({ command, core: CLIENT_CORE, nice }), {
    stdin: new Blob([JSON.stringify(plan)]),
    stdout: "pipe",
    stderr: "pipe",
  });
  const finish = async (): Promise<LoadResult> => {
    const [text, complaint] = await Promise.all([child.stdout.text(), child.stderr.text()]);
    if ((await child.exited) !== 0) throw new Error(`the load generator failed: ${complaint}`);
    return JSON.parse(text) as LoadResult;
  };
  return { pid: child.pid, result: finish() };
}

function runLoad(plan: LoadPlan): Promise<LoadResult> {
  return startLoad(plan, NICE_MEASURED).result;
}

/** The most requests per second the generator can make: what the null server answers. */
export function calibrate(
  port: number,
  scale: Scale,
  pids: readonly number[],
): Promise<LoadResult> {
  const request: PlannedRequest = {
    method: "GET",
    rawTarget: rawTargetOf(scale.dataSet.settle, 0),
    sizeBytes: 1024,
    group: "all",
  };
  const endpoint: Endpoint = { contender: "null", host: "127.0.0.1", port, isSigned: true };
  const { warmupMs, durationMs } = scale;
  return runLoad({
    ...planFor(endpoint, [request], 32, pids),
    end: { kind: "time", warmupMs, durationMs },
  });
}

/** Looks at the memory of processes, and notes it once per second. */
class MemorySampler {
  readonly #pids: readonly number[];
  readonly #series: number[] = [];
  readonly #timer: ReturnType<typeof setInterval>;
  #looks = 0;
  #highestBytes = 0;

  constructor(pids: readonly number[]) {
    this.#pids = pids;
    this.#timer = setInterval(() => this.#look(), LOOK_EVERY_MS);
  }

  /** The peak is exact for what is resident; files in memory count as they were when they were looked at. */
  stop(): { rssSeries: readonly number[]; peakBytes: number } {
    clearInterval(this.#timer);
    this.#look();
    const { peakBytes } = memoryOf(this.#pids);
    return { rssSeries: this.#series, peakBytes: Math.max(peakBytes, this.#highestBytes) };
  }

  #look(): void {
    const { rssBytes } = memoryOf(this.#pids);
    this.#highestBytes = Math.max(this.#highestBytes, rssBytes);
    this.#looks += 1;
    if (this.#looks % LOOKS_PER_SAMPLE === 0) this.#series.push(rssBytes);
  }
}

function difference(after: OriginCounts, before: OriginCounts): OriginCounts {
  return {
    requests: after.requests - before.requests,
    bodyBytes: after.bodyBytes - before.bodyBytes,
  };
}

/** The line a person sees while it runs. */
function describe({ workload, caseName, contender, load }: Measurement): string {
  const rate = (load.requests / load.seconds).toFixed(0);
  const mib = (load.bodyBytes / 1024 / 1024 / load.seconds).toFixed(0);
  const cpu = ((load.serverCpuMs * 1000) / Math.max(1, load.requests)).toFixed(1);
  const trouble = load.errors === 0 ? "" : `  ${load.errors} ERRORS: ${load.errorSamples[0] ?? ""}`;
  return `${workload} · ${caseName} · ${contender}: ${rate}/s, ${mib} MiB/s, ${cpu} µs CPU each${trouble}`;
}
