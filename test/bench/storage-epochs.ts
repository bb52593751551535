/**
 * The eviction policies under training and skewed traffic, through the compiled binary over
 * HTTP: the table of docs/eviction.md.
 *
 *     bun run build && bun test/bench/storage-epochs.ts [--objects 10000] [--bytes 65536]
 *         [--shares 0.25,0.5,0.75,0.9] [--policies lru,fifo,auto] [--traffic shuffled,cyclic,zipf]
 *         [--epochs 8] [--after 3]
 *
 * Per case an empty cache whose cap is `share` of the body bytes of one dataset, and sixteen
 * connections that share the requests, as the workers of a data loader do:
 *
 *     shuffled   `epochs` over a dataset, each in a new order, then `after` over another
 *     cyclic     the same, every epoch in the same order
 *     zipf       skewed with exponent 0.9, as many requests as these epochs have
 *
 * Every policy sees the same requests. A hit is an answer with `X-Cache: HIT`. Ends with the
 * bounds that issue D sets, and exits 1 when one is missed.
 */

import { join } from "node:path";
import { parseArgs } from "node:util";
import type { LoadPlan, LoadResult } from "../../scripts/bench/load/plan.ts";
import { seededRandom, type Random } from "../../src/base/random.ts";
import { BINARY, startProgram, type Program } from "../support/binary.ts";

const { values } = parseArgs({
  options: {
    objects: { type: "string", default: "10000" },
    bytes: { type: "string", default: String(64 * 1024) },
    shares: { type: "string", default: "0.25,0.5,0.75,0.9" },
    policies: { type: "string", default: "lru,fifo,auto" },
    traffic: { type: "string", default: "shuffled,cyclic,zipf" },
    epochs: { type: "string", default: "8" },
    after: { type: "string", default: "3" },
  },
});
const OBJECTS = Number(values.objects);
const OBJECT_BYTES = Number(values.bytes);
const FIRST_EPOCHS = Number(values.epochs);
const SECOND_EPOCHS = Number(values.after);
const CONNECTIONS = 16;
const WORKER = join(import.meta.dir, "../../scripts/bench/load/worker.ts");

type Traffic = "shuffled" | "cyclic" | "zipf";

/** The objects of each epoch: dataset 0, then dataset 1. */
function epochsOf(traffic: Traffic): number[][] {
  const random = seededRandom(7);
  const count = FIRST_EPOCHS + SECOND_EPOCHS;
  return Array.from({ length: count }, (_, epoch) => {
    if (traffic === "zipf") return zipf(OBJECTS, random);
    const first = epoch < FIRST_EPOCHS ? 0 : OBJECTS;
    const inOrder = Array.from({ length: OBJECTS }, (_none, object) => first + object);
    return traffic === "shuffled" ? shuffled(inOrder, random) : inOrder;
  });
}

function shuffled(objects: readonly number[], random: Random): number[] {
  const order = [...objects];
  for (let at = order.length - 1; at > 0; at -= 1) {
    const other = random.below(at + 1);
    [order[at], order[other]] = [order[other] ?? 0, order[at] ?? 0];
  }
  return order;
}

/** Draws from ranks with weight `rank ** -0.9`; ranks are spread over the names. */
function zipf(count: number, random: Random): number[] {
  const sums: number[] = [];
  let sum = 0;
  for (let rank = 1; rank <= OBJECTS; rank += 1) sums.push((sum += rank ** -0.9));
  return Array.from({ length: count }, () => {
    const at = random.float() * sum;
    let low = 0;
    let high = OBJECTS - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((sums[middle] ?? 0) < at) low = middle + 1;
      else high = middle;
    }
    return (low * 7919) % OBJECTS;
  });
}

/** Asks for the objects in this order; answers the share of hits. */
async function hitShare(gateway: Program, objects: readonly number[]): Promise<number> {
  const plan: LoadPlan = {
    host: "127.0.0.1",
    port: gateway.port,
    hostField: `127.0.0.1:${gateway.port}`,
    credentials: undefined,
    connections: CONNECTIONS,
    batch: 1,
    requests: objects.map((object) => ({
      method: "GET",
      rawTarget: `/bench/${OBJECT_BYTES}/set${Math.floor(object / OBJECTS)}/${object}.bin`,
      sizeBytes: OBJECT_BYTES,
      group: "all",
    })),
    pace: { kind: "closed" },
    end: { kind: "list" },
    readEvery: 1,
    watchedPids: [],
  };
  const worker = Bun.spawn([process.execPath, WORKER], {
    stdin: new Blob([JSON.stringify(plan)]),
    stdout: "pipe",
    stderr: "inherit",
  });
  const result = JSON.parse(await worker.stdout.text()) as LoadResult;
  if (result.errors > 0) throw new Error(result.errorSamples.join("\n"));
  return result.hitShare;
}

/** Hit ratio of each epoch. */
async function replay(
  origin: Program,
  policy: string,
  share: number,
  traffic: Traffic,
): Promise<number[]> {
  await using gateway = await startProgram([BINARY, "serve"], {
    TAG_UPSTREAM_ENDPOINT: origin.endpoint,
    TAG_CACHE_MAX_DISK_USAGE: String(Math.floor(OBJECTS * OBJECT_BYTES * share)),
    TAG_CACHE_EVICTION_POLICY: policy,
    TAG_CACHE_TTL: "24h",
    TAG_LOG_ACCESS: "false",
    AWS_ACCESS_KEY_ID: "tid_bench",
    AWS_SECRET_ACCESS_KEY: "tsec_bench",
  });
  const ratios: number[] = [];
  for (const objects of epochsOf(traffic)) ratios.push(await hitShare(gateway, objects));
  return ratios;
}

/** Of shuffled and cyclic runs: all epochs but the first, and those after the switch. Of zipf: the second half. */
function figuresOf(traffic: Traffic, ratios: readonly number[]) {
  if (traffic === "zipf") {
    return { steady: mean(ratios.slice(Math.floor(ratios.length / 2))), switched: [] };
  }
  return { steady: mean(ratios.slice(1, FIRST_EPOCHS)), switched: ratios.slice(FIRST_EPOCHS) };
}

const mean = (all: readonly number[]): number =>
  all.reduce((sum, value) => sum + value, 0) / all.length;

const shown = (ratio: number): string => ratio.toFixed(3);

await using origin = await startProgram([
  process.execPath,
  join(import.meta.dir, "../support/synthetic-origin.ts"),
]);
const zipfRatios = new Map<string, number>();
const missed: string[] = [];

console.log(`${OBJECTS} objects of ${OBJECT_BYTES} bytes; cap = share of their bytes`);
console.log("share policy traffic  steady | epochs | epochs after the switch");
for (const share of values.shares.split(",").map(Number)) {
  for (const traffic of values.traffic.split(",") as Traffic[]) {
    for (const policy of values.policies.split(",")) {
      const ratios = await replay(origin, policy, share, traffic);
      const { steady, switched } = figuresOf(traffic, ratios);
      const before = ratios.slice(0, ratios.length - switched.length);
      console.log(
        `${share.toFixed(2)}  ${policy.padEnd(6)} ${traffic.padEnd(8)} ${shown(steady)}  | ` +
          `${before.map(shown).join(" ")} | ${switched.map(shown).join(" ")}`,
      );
      if (traffic === "zipf") zipfRatios.set(`${share} ${policy}`, steady);
      if (policy !== "auto" || share !== 0.5 || traffic !== "shuffled") continue;
      if (steady < 0.45) missed.push(`auto keeps ${shown(steady)} of shuffled epochs, not 0.45`);
      const second = switched[1] ?? 1; // only looked at when there was a switch
      if (second < 0.4)
        missed.push(`auto has ${shown(second)} two epochs after a switch, not 0.40`);
    }
  }
  const [auto, lru] = ["auto", "lru"].map((policy) => zipfRatios.get(`${share} ${policy}`));
  if (auto !== undefined && lru !== undefined && auto < lru - 0.01) {
    missed.push(`auto has ${shown(auto)} on Zipf traffic at ${share}, lru ${shown(lru)}`);
  }
}
for (const line of missed) console.log(`missed: ${line}`);
if (missed.length > 0) process.exitCode = 1;
