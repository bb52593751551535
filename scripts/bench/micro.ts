/**
 * The hit path without the kernel: the whole program in this process, with a socket that only takes
 * what is written. What is left is our own work, parsing, signature, look-up, headers, metrics, log,
 * and it can be measured on a busy machine, because the time of the thread on its core is what counts,
 * and the fastest batch of many is the one nobody disturbed. Garbage collection on other threads and the
 * system calls of a real socket are not in it.
 *
 *     bun scripts/bench/micro.ts [--seconds N] [--only NAME]
 *     bun scripts/bench/micro.ts --made [--only NAME]               what a request leaves to the collector
 *     bun --cpu-prof scripts/bench/micro.ts --only "GET 1 KiB"      where the microseconds go
 *
 * It reaches the engine through `Bun.listen`, which it watches while the app starts: so nothing in the
 * program is rearranged to be measured.
 */

import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { heapStats } from "bun:jsc";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";

import { createApp } from "../../src/app.ts";
import { systemClock } from "../../src/base/clock.ts";
import { nextTurn } from "../../src/base/next-turn.ts";
import { loadConfig } from "../../src/config/load.ts";
import { LineWriter } from "../../src/observability/line-writer.ts";
import { createLog } from "../../src/observability/log.ts";
import { CLIENT } from "./credentials.ts";
import { KIB, rawTargetOf, upload } from "./data-set.ts";
import type { ObjectClass } from "./data-set.ts";
import { prepareHeads } from "./load/heads.ts";
import type { PlannedRequest } from "./load/plan.ts";
import { median } from "./measurement.ts";
import { threadTimeNs } from "./thread-time.ts";

const { values: args } = parseArgs({
  options: {
    seconds: { type: "string", default: "2" },
    only: { type: "string" },
    made: { type: "boolean", default: false },
  },
});

// Objects can be counted only when none of them goes, and the collector is turned off from outside.
if (args.made && process.env["BUN_JSC_useGC"] !== "false") {
  const again = Bun.spawnSync([process.execPath, ...process.argv.slice(1)], {
    env: { ...process.env, BUN_JSC_useGC: "false" },
    stdio: ["ignore", "inherit", "inherit"],
  });
  process.exit(again.exitCode);
}

/** Requests that are there when the event loop looks, one per connection, and how often it looks in a batch. */
const CONNECTIONS = 32;
const TURNS = 6;
const BATCH = CONNECTIONS * TURNS;

/** The callbacks of a listening socket, as `Bun.listen` was given them. */
type Handlers = Required<Pick<Bun.SocketHandler, "open" | "data">>;

/** A connection whose peer takes everything at once. */
class SinkSocket {
  data: unknown = undefined;
  readonly remoteAddress = "127.0.0.1";
  writtenBytes = 0;
  lastWrite: Buffer = Buffer.alloc(0);

  write(bytes: Uint8Array, from = 0, length = bytes.length): number {
    this.lastWrite = Buffer.from(bytes.buffer, bytes.byteOffset + from, length);
    this.writtenBytes += length;
    return length;
  }
  setNoDelay(): void {}
  pause(): void {}
  resume(): void {}
  flush(): void {}
  cork(run: () => void): void {
    run();
  }
  end(): void {}
  shutdown(): void {}
  terminate(): void {}
}

/** Calls `start` and answers with the handlers of the first socket it listened on. */
async function watchListen(start: () => Promise<unknown>): Promise<Handlers> {
  const original = Bun.listen;
  let found: Handlers | undefined;
  Object.assign(Bun, {
    listen: (options: { socket: Handlers }) => {
      found ??= options.socket;
      return original(options as Parameters<typeof original>[0]);
    },
  });
  try {
    await start();
  } finally {
    Object.assign(Bun, { listen: original });
  }
  if (found === undefined) throw new Error("the S3 port is not served by the own engine");
  return found;
}

interface Timing {
  readonly fastestUs: number;
  readonly medianUs: number;
}

/** Feeds requests in turn, one to each connection in a turn of the event loop. */
class Feeder {
  readonly #handlers: Handlers;
  readonly #requests: readonly PlannedRequest[];
  readonly #messages: readonly Uint8Array[];
  readonly #sinks = Array.from({ length: CONNECTIONS }, () => new SinkSocket());
  readonly #sockets = this.#sinks.map((sink) => sink as unknown as Bun.Socket<unknown>);
  #sent = 0;

  private constructor(
    handlers: Handlers,
    requests: readonly PlannedRequest[],
    messages: readonly Uint8Array[],
  ) {
    this.#handlers = handlers;
    this.#requests = requests;
    this.#messages = messages;
  }

  static async open(
    handlers: Handlers,
    requests: readonly PlannedRequest[],
    hostField: string,
  ): Promise<Feeder> {
    const heads = prepareHeads({ requests, hostField, credentials: CLIENT }, Date.now());
    const messages = requests.map((_, index) =>
      heads.bytes.subarray(heads.offsets[index], heads.offsets[index + 1]),
    );
    const feeder = new Feeder(handlers, requests, messages);
    for (const socket of feeder.#sockets) await handlers.open(socket);
    return feeder;
  }

  async batch(): Promise<void> {
    for (let turn = 0; turn < TURNS; turn += 1) {
      for (const socket of this.#sockets) {
        const message = this.#messages[this.#sent % this.#messages.length];
        this.#sent += 1;
        // The engine may keep what it was given, so it gets bytes of its own, as from a socket.
        if (message !== undefined) void this.#handlers.data(socket, Buffer.from(message));
      }
      await nextTurn();
    }
  }

  /** Throws unless every request was answered in its own turn. */
  judge(): void {
    const requests = this.#requests;
    const expectedBytes =
      requests.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0) / requests.length;
    const writtenBytes = this.#sinks.reduce((sum, sink) => sum + sink.writtenBytes, 0);
    if (requests[0]?.method !== "GET" || writtenBytes / this.#sent >= expectedBytes) return;
    const start = this.#sinks[0]?.lastWrite.toString("latin1", 0, 300);
    throw new Error(`not every answer was complete in its own turn; the last write was ${start}`);
  }
}

/** Times batches. */
async function time(feeder: Feeder): Promise<Timing> {
  const perRequestUs: number[] = [];
  const endNs = Bun.nanoseconds() + Number(args.seconds) * 1e9;
  while (Bun.nanoseconds() < endNs) {
    const startNs = threadTimeNs();
    await feeder.batch();
    perRequestUs.push((threadTimeNs() - startNs) / 1000 / BATCH);
    await Bun.sleep(0); // timers of the program get their turn, outside the batch
  }
  feeder.judge();
  const warm = perRequestUs.slice(Math.floor(perRequestUs.length / 3));
  return { fastestUs: Math.min(...warm), medianUs: median(warm) };
}

/** Batches until all code on the way is compiled to the highest level, and those in which objects are counted. */
const COMPILING_BATCHES = 300;
const COUNTED_BATCHES = 5;

/** Bytes of the heap that a request fills, and how many objects of which kind. */
async function made(feeder: Feeder): Promise<{ bytes: number; objects: Map<string, number> }> {
  for (let batch = 0; batch < COMPILING_BATCHES; batch += 1) await feeder.batch();
  const before = heapStats();
  for (let batch = 0; batch < COUNTED_BATCHES; batch += 1) await feeder.batch();
  const after = heapStats();
  feeder.judge();
  const each = (total: number): number => total / (COUNTED_BATCHES * BATCH);
  const objects = Object.entries(after.objectTypeCounts)
    .map(([kind, count]): [string, number] => [
      kind,
      each(count - (before.objectTypeCounts[kind] ?? 0)),
    ])
    .filter(([, count]) => count >= 0.5)
    .toSorted(([, left], [, right]) => right - left);
  return { bytes: each(after.heapCapacity - before.heapCapacity), objects: new Map(objects) };
}

async function describeTime(feeder: Feeder): Promise<string> {
  const { fastestUs, medianUs } = await time(feeder);
  return `fastest ${fastestUs.toFixed(2)}  median ${medianUs.toFixed(2)}`;
}

async function describeMade(feeder: Feeder): Promise<string> {
  const { bytes, objects } = await made(feeder);
  const kinds = [...objects].map(([kind, count]) => `${kind} ${count.toFixed(1)}`);
  return `${(bytes / KIB).toFixed(1)} KiB: ${kinds.join(", ")}`;
}

const one = (prefix: string, sizeBytes: number, count = 50): ObjectClass => ({
  prefix,
  sizeBytes,
  count,
});
const objects = {
  "1k": one("1k", KIB),
  "16k": one("16k", 16 * KIB),
  "100k": one("100k", 100 * KIB),
  // Three times the memory tier: an epoch.
  files: one("files", 100 * KIB, 4000),
};

function requestsOf(
  { prefix, sizeBytes, count }: ObjectClass,
  more: Partial<PlannedRequest> = {},
): PlannedRequest[] {
  return Array.from({ length: count }, (_, index) => ({
    method: "GET" as const,
    rawTarget: rawTargetOf({ prefix, sizeBytes, count }, index),
    sizeBytes,
    group: "all",
    ...more,
  }));
}

/** What is asked for in each case. */
interface Case {
  readonly objects: ObjectClass;
  readonly more?: Partial<PlannedRequest>;
}

const CASES: Readonly<Record<string, Case>> = {
  "GET 1 KiB": { objects: objects["1k"] },
  "GET 16 KiB": { objects: objects["16k"] },
  "GET 100 KiB": { objects: objects["100k"] },
  "GET range of 1 KiB in 100 KiB": {
    objects: objects["100k"],
    more: { range: "bytes=4096-5119", sizeBytes: KIB },
  },
  "HEAD 1 KiB": { objects: objects["1k"], more: { method: "HEAD" } },
  "GET 100 KiB from the page cache": { objects: objects.files },
};
const chosen = Object.entries(CASES).filter(([name]) => (args.only ?? name) === name);
if (chosen.length === 0) throw new Error(`--only ${args.only}: no such case`);

const folder = mkdtempSync(join(tmpdir(), "tag-micro-"));
mkdirSync(join(folder, "origin"));
const loaded = await loadConfig({
  env: {
    TAG_SERVER_ENGINE: "own",
    TAG_HTTP_PORT: "0",
    TAG_READ_PORT: "0",
    TAG_BIND_IP: "127.0.0.1",
    TAG_CACHE_DISK_PATH: join(folder, "cache"),
    TAG_UPSTREAM_ENDPOINT: pathToFileURL(join(folder, "origin")).href,
  },
  cwd: folder,
  isSearching: false,
});
if (loaded.kind === "failed") throw new Error(JSON.stringify(loaded.problems));
let loggedBytes = 0;
const lines = new LineWriter({
  clock: systemClock,
  write: (text) => {
    loggedBytes += text.length;
  },
});
const log = createLog({ level: "info", format: "json", clock: systemClock, write: lines.write });
const app = await createApp(loaded.config, { log });
try {
  let port = 0;
  const handlers = await watchListen(async () => {
    port = (await app.start()).httpPort;
  });
  // A profile of one case is not to show how the objects of the others came here.
  const needed = new Map(chosen.map(([, each]) => [each.objects.prefix, each.objects]));
  await upload(Object.fromEntries(needed), port);
  const hostField = `127.0.0.1:${port}`;
  const fill = needed
    .values()
    .toArray()
    .flatMap((objectClass) => requestsOf(objectClass));
  for (let pass = 0; pass < 3; pass += 1) {
    for (const { rawTarget } of fill) {
      const heads = prepareHeads(
        {
          requests: [{ method: "GET", rawTarget, sizeBytes: 0, group: "" }],
          hostField,
          credentials: CLIENT,
        },
        Date.now(),
      );
      const fields = [...heads.bytes.toString("latin1").matchAll(/^([\w-]+): (.*)\r$/gm)];
      const headers = new Headers(
        fields.map(([, name = "", value = ""]): [string, string] => [name, value]),
      );
      await (await fetch(`http://${hostField}${rawTarget}`, { headers })).arrayBuffer();
    }
    await Bun.sleep(100);
  }
  console.log(`${BATCH} requests per batch, ${args.made ? "objects" : "µs"} per request`);
  for (const [name, { objects: asked, more }] of chosen) {
    const feeder = await Feeder.open(handlers, requestsOf(asked, more), hostField);
    console.log(
      `${name.padEnd(32)} ${args.made ? await describeMade(feeder) : await describeTime(feeder)}`,
    );
  }
  if (loggedBytes === 0) throw new Error("nothing was logged: that was not the whole program");
} finally {
  await app.stop();
  rmSync(folder, { recursive: true, force: true });
}
process.exit(0);
