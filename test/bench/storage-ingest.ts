/**
 * Much more data than fits, through the compiled binary over HTTP: whether the cap on disk
 * use holds at full speed, and whether a hot set survives the flood.
 *
 *     bun run build && bun test/bench/storage-ingest.ts [--gib 20] [--cap-gib 4] [--hot-gib 1]
 *         [--hot-per-second 100] [--policies auto,lru,fifo]
 *
 * The flood is objects of 64 KiB to 96 MiB, each asked for once, by eight connections as fast
 * as answers come; the hot set is objects of 1 MiB, asked for at random at a fixed pace all
 * the while. What the cache folder takes on the volume is added up every 100 ms, as `du` does.
 * Exits 1 when it was ever more than the cap and a segment per writer (there are two: fresh
 * and moved records), or when `auto` has less than 90 % hits on the hot set.
 */

import { lstatSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { LoadPlan, LoadResult, PlannedRequest } from "../../scripts/bench/load/plan.ts";
import { systemClock } from "../../src/base/clock.ts";
import { seededRandom } from "../../src/base/random.ts";
import { BINARY, startProgram } from "../support/binary.ts";

const { values } = parseArgs({
  options: {
    gib: { type: "string", default: "20" },
    "cap-gib": { type: "string", default: "4" },
    "hot-gib": { type: "string", default: "1" },
    "hot-per-second": { type: "string", default: "100" },
    policies: { type: "string", default: "auto,lru,fifo" },
  },
});
const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;
const CAP_BYTES = Number(values["cap-gib"]) * GIB;
const FLOOD_BYTES = Number(values.gib) * GIB;
const HOT_OBJECTS = Number(values["hot-gib"]) * 1024;
const WRITERS = 2;
const SAMPLE_EVERY_MS = 100;
const WORKER = join(import.meta.dir, "../../scripts/bench/load/worker.ts");

/** Sizes in the flood, and which share of its bytes they are. */
const FLOOD: readonly (readonly [sizeBytes: number, share: number])[] = [
  [64 * KIB, 0.05],
  [MIB, 0.25],
  [8 * MIB, 0.35],
  [96 * MIB, 0.35],
];

const random = seededRandom(11);

function request(sizeBytes: number, name: string): PlannedRequest {
  return { method: "GET", rawTarget: `/bench/${sizeBytes}/${name}`, sizeBytes, group: "all" };
}

const hotSet = Array.from({ length: HOT_OBJECTS }, (_, object) => request(MIB, `hot/${object}`));

function flood(policy: string): PlannedRequest[] {
  const requests = FLOOD.flatMap(([sizeBytes, share]) =>
    Array.from({ length: Math.round((FLOOD_BYTES * share) / sizeBytes) }, (_, object) =>
      request(sizeBytes, `flood-${policy}/${object}`),
    ),
  );
  for (let at = requests.length - 1; at > 0; at -= 1) {
    const other = random.below(at + 1);
    const [one, two] = [requests[at], requests[other]];
    if (one !== undefined && two !== undefined) [requests[at], requests[other]] = [two, one];
  }
  return requests;
}

function start(port: number, part: Pick<LoadPlan, "connections" | "requests" | "pace" | "end">) {
  const plan: LoadPlan = {
    host: "127.0.0.1",
    port,
    hostField: `127.0.0.1:${port}`,
    credentials: undefined,
    batch: 1,
    readEvery: 1,
    watchedPids: [],
    ...part,
  };
  return Bun.spawn([process.execPath, WORKER], {
    stdin: new Blob([JSON.stringify(plan)]),
    stdout: "pipe",
    stderr: "inherit",
  });
}

async function resultOf(worker: ReturnType<typeof start>): Promise<LoadResult> {
  return JSON.parse(await worker.stdout.text()) as LoadResult;
}

/** What everything below `folder` takes on the volume. */
function diskBytes(folder: string): number {
  let sizeBytes = 0;
  for (const name of readdirSync(folder, { recursive: true, encoding: "utf8" })) {
    // Files come and go while this looks.
    sizeBytes += 512 * (lstatSync(join(folder, name), { throwIfNoEntry: false })?.blocks ?? 0);
  }
  return sizeBytes;
}

function largestSegmentBytes(folder: string): number {
  return readdirSync(join(folder, "segments")).reduce((largest, name) => {
    const stat = lstatSync(join(folder, "segments", name), { throwIfNoEntry: false });
    return Math.max(largest, stat?.size ?? 0);
  }, 0);
}

interface Outcome {
  readonly floodMibPerSecond: number;
  readonly hotReads: number;
  readonly hotHitShare: number;
  readonly highestBytes: number;
  readonly segmentBytes: number;
  readonly samples: number;
  /** Requests that failed, in words. */
  readonly errors: readonly string[];
}

async function ingest(originUrl: string, policy: string): Promise<Outcome> {
  await using gateway = await startProgram([BINARY, "serve"], {
    TAG_UPSTREAM_ENDPOINT: originUrl,
    TAG_CACHE_MAX_DISK_USAGE: String(CAP_BYTES),
    TAG_CACHE_EVICTION_POLICY: policy,
    TAG_CACHE_TTL: "24h",
    TAG_LOG_ACCESS: "false",
    AWS_ACCESS_KEY_ID: "tid_bench",
    AWS_SECRET_ACCESS_KEY: "tsec_bench",
  });
  const folder = join(gateway.folder, "cache");
  let highestBytes = 0;
  let samples = 0;
  const sampling = new AbortController();
  const sampler = (async () => {
    while (!sampling.signal.aborted) {
      highestBytes = Math.max(highestBytes, diskBytes(folder));
      samples += 1;
      await systemClock.sleep(SAMPLE_EVERY_MS);
    }
  })();

  const once = { pace: { kind: "closed" }, end: { kind: "list" } } as const;
  await resultOf(start(gateway.port, { connections: 8, requests: hotSet, ...once }));
  const flooding = start(gateway.port, { connections: 8, requests: flood(policy), ...once });
  const hot = start(gateway.port, {
    connections: 8,
    requests: Array.from({ length: 10_000 }, () => hotSet[random.below(HOT_OBJECTS)]).filter(
      (asked) => asked !== undefined,
    ),
    pace: { kind: "open", perSecond: Number(values["hot-per-second"]) },
    end: { kind: "beside", pid: flooding.pid, warmupMs: 0 },
  });
  const [flooded, read] = await Promise.all([resultOf(flooding), resultOf(hot)]);
  sampling.abort();
  await sampler;
  return {
    floodMibPerSecond: flooded.bodyBytes / MIB / flooded.seconds,
    hotReads: read.requests,
    hotHitShare: read.hitShare,
    highestBytes,
    segmentBytes: largestSegmentBytes(folder),
    samples,
    errors: [...flooded.errorSamples, ...read.errorSamples],
  };
}

await using origin = await startProgram([
  process.execPath,
  join(import.meta.dir, "../support/synthetic-origin.ts"),
]);
console.log(
  `${values.gib} GiB through a cap of ${CAP_BYTES / MIB} MiB, hot set ${HOT_OBJECTS} MiB`,
);
for (const policy of values.policies.split(",")) {
  const outcome = await ingest(origin.endpoint, policy);
  const allowedBytes = CAP_BYTES + WRITERS * outcome.segmentBytes;
  const highestMib = outcome.highestBytes / MIB;
  console.log(
    `${policy.padEnd(5)} ${outcome.floodMibPerSecond.toFixed(0)} MiB/s in; highest disk use ` +
      `${highestMib.toFixed(1)} MiB of ${CAP_BYTES / MIB} in ${outcome.samples} samples; ` +
      `hot set: ${outcome.hotReads} reads, ${outcome.hotHitShare.toFixed(3)} hits`,
  );
  if (outcome.errors.length > 0) {
    console.log(`missed: ${outcome.errors.join("\n")}`);
    process.exitCode = 1;
  }
  if (outcome.highestBytes > allowedBytes) {
    console.log(`missed: ${(allowedBytes / MIB).toFixed(1)} MiB are allowed`);
    process.exitCode = 1;
  }
  if (policy === "auto" && outcome.hotHitShare < 0.9) {
    console.log("missed: auto keeps less than 90 % of the hot set");
    process.exitCode = 1;
  }
}
