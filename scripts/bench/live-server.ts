/**
 * The program under the load of one case, as the benchmark runs it, for tools that look closer: origin and
 * server in processes of their own, the server on its core, generator and origin on the other.
 */

import { mkdirSync } from "node:fs";
import { join, resolve } from "node:path";

import { systemRandom } from "../../src/base/random.ts";
import { freePort, onCore } from "./child.ts";
import type { Endpoint, Server } from "./contender.ts";
import { startTag } from "./contenders/tag.ts";
import { CLIENT } from "./credentials.ts";
import { KIB, upload } from "./data-set.ts";
import type { ObjectClass } from "./data-set.ts";
import type { LoadPlan, LoadResult } from "./load/plan.ts";
import { OriginServer } from "./origin.ts";
import { CLIENT_CORE, SERVER_CORE } from "./runner.ts";
import { reads, shuffled } from "./workload.ts";
import { CONNECTIONS, EPOCH_READERS } from "./workloads.ts";

const ROOT = join(import.meta.dir, "../..");

export interface LiveCase {
  readonly sizeBytes: number;
  readonly count: number;
  /** Every object once per load, in another order each time, in batches; else the list again and again. */
  readonly isEpoch: boolean;
  readonly isReadPort: boolean;
  /** A compiled program; undefined: from source. */
  readonly program: string | undefined;
  /** Of `server.engine`; undefined: its default. */
  readonly engine: string | undefined;
}

export class LiveServer implements AsyncDisposable {
  readonly #case: LiveCase;
  readonly #objects: ObjectClass;
  readonly #origin: OriginServer;
  readonly #server: Server;
  readonly #endpoint: Endpoint;

  private constructor(
    live: LiveCase,
    objects: ObjectClass,
    origin: OriginServer,
    server: Server,
    endpoint: Endpoint,
  ) {
    this.#case = live;
    this.#objects = objects;
    this.#origin = origin;
    this.#server = server;
    this.#endpoint = endpoint;
  }

  /**
   * The objects are in the origin, and nothing in the cache. Objects, cache and logs are in `folder`; `env` are
   * more variables for the server.
   */
  static async start(
    live: LiveCase,
    folder: string,
    env: Readonly<Record<string, string>> = {},
  ): Promise<LiveServer> {
    const objects = { prefix: "live", sizeBytes: live.sizeBytes, count: live.count };
    const origin = await OriginServer.start(
      { latencyMs: 0, bandwidthBytesPerSecond: undefined },
      {
        root: join(folder, "origin"),
        port: await freePort(),
        core: CLIENT_CORE,
        logPath: join(folder, "origin.log"),
      },
    );
    try {
      await upload({ live: objects }, origin.port);
      const home = join(folder, "tag");
      mkdirSync(home);
      const command =
        live.program === undefined ? [process.execPath, join(ROOT, "src/main.ts")] : [live.program];
      const readName = live.isReadPort ? "tag-read" : undefined;
      const server = await startTag(
        { command, name: "tag", readName, engine: live.engine, env },
        { folder: home, core: SERVER_CORE, originPort: origin.port },
      );
      const endpoint = server.endpoints.at(-1);
      if (endpoint === undefined) throw new Error("the server has no port");
      return new LiveServer(live, objects, origin, server, endpoint);
    } catch (error) {
      await origin.stop();
      throw error;
    }
  }

  get pids(): readonly number[] {
    return this.#server.pids;
  }

  /** One pass: an epoch, or hits for `durationMs`. */
  async load(durationMs: number): Promise<LoadResult> {
    const { host, port } = this.#endpoint;
    const { isEpoch } = this.#case;
    const requests = reads(this.#objects);
    const plan: LoadPlan = {
      host,
      port,
      hostField: `${host}:${port}`,
      credentials: CLIENT,
      ...(isEpoch ? EPOCH_READERS : { connections: CONNECTIONS, batch: 1 }),
      requests: isEpoch ? shuffled(requests, systemRandom) : requests,
      pace: { kind: "closed" },
      end: isEpoch ? { kind: "list" } : { kind: "time", warmupMs: 0, durationMs },
      readEvery: 16,
      watchedPids: this.pids,
    };
    const command = [process.execPath, join(import.meta.dir, "load/worker.ts")];
    const child = Bun.spawn(onCore({ command, core: CLIENT_CORE }), {
      stdin: new Blob([JSON.stringify(plan)]),
      stdout: "pipe",
      stderr: "inherit",
    });
    const result = JSON.parse(await child.stdout.text()) as LoadResult;
    if (result.errors > 0) throw new Error(`wrong answers: ${result.errorSamples.join("; ")}`);
    return result;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.stop();
    await this.#origin.stop();
  }
}

/** The options of both tools, for `parseArgs`. */
export const LIVE_OPTIONS = {
  kib: { type: "string", default: "1" },
  objects: { type: "string", default: "200" },
  epochs: { type: "boolean", default: false },
  "read-port": { type: "boolean", default: false },
  program: { type: "string" },
  engine: { type: "string" },
} as const;

/** What was given for them. */
export function liveCaseOf(args: {
  readonly kib: string;
  readonly objects: string;
  readonly epochs: boolean;
  readonly "read-port": boolean;
  readonly program?: string | undefined;
  readonly engine?: string | undefined;
}): LiveCase {
  return {
    sizeBytes: Number(args.kib) * KIB,
    count: Number(args.objects),
    isEpoch: args.epochs,
    isReadPort: args["read-port"],
    // It runs in a folder of its own.
    program: args.program === undefined ? undefined : resolve(args.program),
    engine: args.engine,
  };
}

/** For a title. */
export function describeCase(live: LiveCase): string {
  const size = `${live.sizeBytes / KIB} KiB`;
  const what = live.isEpoch ? `Epochs of ${live.count} files of ${size}` : `Hits of ${size}`;
  return `${what} on the ${live.isReadPort ? "read" : "S3"} port`;
}
