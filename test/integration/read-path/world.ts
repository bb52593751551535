/**
 * The world of the read-path suite: the gateway, from its configuration to its sockets, between
 * a scripted object store and clients that write their bytes by hand.
 *
 * Nothing of the gateway is reached into: the tests see what a client sees, what upstream
 * was asked, and `/metrics`. It runs in this process as a rule, where time is real for waits
 * and shifted for dates, so an hour passes with `clock.shift(3_600_000)`. With
 * `READ_PATH=binary` the same tests drive dist/tag as a process of its own, except those that
 * move time (`timed`).
 */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "bun:test";
import { createApp } from "../../../src/app.ts";
import { systemClock, type Clock } from "../../../src/base/clock.ts";
import { loadConfig } from "../../../src/config/load.ts";
import { Fields } from "../../../src/http/fields.ts";
import { encodePath } from "../../../src/http/raw-target.ts";
import { presign, signerFor, signRequest, type KeyPair } from "../../../src/s3/sigv4.ts";
import { startBinary } from "../../support/binary.ts";
import { eventually } from "../../support/eventually.ts";
import { ScriptedS3 } from "../../support/scripted-s3.ts";
import { ScriptedUpstream } from "../../support/scripted-upstream.ts";
import { WireClient } from "../../support/wire-client.ts";

export const KIB = 1024;
export const MIB = 1024 * 1024;
export const BUCKET = "bucket";

const GATEWAY = { accessKeyId: "tid_gateway", secretKey: "gateway-secret" };

/** True when the tests drive the compiled program. */
export const IS_BINARY = process.env["READ_PATH"] === "binary";

/** `test`, for those that move time: it cannot be moved in another process. */
export const timed = test.skipIf(IS_BINARY);

/** Ten in the morning: no test crosses midnight, when keys change. */
const START_MS = IS_BINARY ? systemClock.nowMs() : Date.parse("2026-01-01T10:00:00Z");

/** A clock that runs like the real one from a fixed date, and can be moved forward. */
export class ShiftedClock implements Clock {
  readonly #startedAtMs = systemClock.monotonicMs();
  #shiftMs = 0;

  shift(ms: number): void {
    if (IS_BINARY && ms !== 0) throw new Error("time cannot be moved in another process");
    this.#shiftMs += ms;
  }

  nowMs(): number {
    return START_MS + this.monotonicMs();
  }

  monotonicMs(): number {
    return systemClock.monotonicMs() - this.#startedAtMs + this.#shiftMs;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return systemClock.sleep(ms, signal);
  }

  after(ms: number, run: () => void) {
    return systemClock.after(ms, run);
  }
}

export interface Answer {
  readonly status: number;
  readonly fields: Fields;
  /** `HIT`, `MISS` …; undefined when the answer has none. */
  readonly xCache: string | undefined;
  readonly body: Buffer;
  /** True when the connection ended before the declared length. */
  readonly isTruncated: boolean;
}

export interface Ask {
  readonly method?: string;
  /** Encoded path and query; default: the object of `key`. */
  readonly target?: string;
  readonly headers?: readonly string[];
  readonly body?: string;
  /** Sign in the URL instead of in a field. */
  readonly isPresigned?: boolean;
  /** When the request says it was signed; default now. A URL lives 15 minutes from then. */
  readonly signedAtMs?: number;
}

/** A client with its key pair, or none. */
export class Client {
  readonly #world: World;
  readonly #pair: KeyPair | undefined;

  constructor(world: World, pair: KeyPair | undefined) {
    this.#world = world;
    this.#pair = pair;
  }

  /** GET of an object of the usual bucket, read to its end. */
  get(key: string, headers: readonly string[] = []): Promise<Answer> {
    return this.ask({ target: targetOf(key), headers });
  }

  head(key: string, headers: readonly string[] = []): Promise<Answer> {
    return this.ask({ method: "HEAD", target: targetOf(key), headers });
  }

  async ask(ask: Ask): Promise<Answer> {
    await using wire = await this.open(ask);
    const response = await wire.response(ask.method ?? "GET");
    const fields = new Fields(response.headers);
    return {
      status: response.status,
      fields,
      xCache: fields.get("x-cache"),
      body: Buffer.from(response.body),
      isTruncated: response.isTruncated,
    };
  }

  /** Sends the request on a connection of its own; who reads, and how fast, is the caller's. */
  async open(ask: Ask): Promise<WireClient> {
    const { port, clock } = this.#world;
    const { method = "GET", headers = [], body = "", signedAtMs = clock.nowMs() } = ask;
    let target = ask.target ?? "/";
    let fields: readonly string[] = ["Host", `127.0.0.1:${port}`, ...headers];
    if (body !== "") fields = [...fields, "Content-Length", String(body.length)];
    if (this.#pair !== undefined) {
      const signer = signerFor(this.#pair, "auto", signedAtMs);
      if (ask.isPresigned === true) {
        const signed = fields.slice(0, 2);
        const url = { method, rawTarget: target, headers: signed, expiresSeconds: 900 };
        target = presign(url, signer, signedAtMs);
      } else {
        const request = {
          method,
          rawTarget: target,
          headers: fields,
          payloadHash: "UNSIGNED-PAYLOAD",
        };
        fields = signRequest(request, signer, signedAtMs);
      }
    }
    let text = `${method} ${target} HTTP/1.1\r\n`;
    for (let at = 0; at < fields.length; at += 2) text += `${fields[at]}: ${fields[at + 1]}\r\n`;
    const wire = await WireClient.connect(port);
    await wire.send(`${text}Connection: close\r\n\r\n${body}`);
    return wire;
  }
}

/** Settings of the gateway as environment variables, over the suite's own. */
export type Env = Readonly<Record<string, string>>;

export class World implements AsyncDisposable {
  readonly upstream: ScriptedUpstream;
  readonly s3: ScriptedS3;
  readonly clock = new ShiftedClock();
  /** Clients that may use the usual bucket; their keys and grants are not learned at first. */
  readonly alice = this.client("tid_alice", "alice-secret");
  readonly bob = this.client("tid_bob", "bob-secret");
  readonly anonymous = new Client(this, undefined);
  /** Cache, learned keys and whatever else the gateway writes. */
  readonly folder: string;
  #gateway: RunningGateway | undefined;

  private constructor(upstream: ScriptedUpstream, folder: string) {
    this.upstream = upstream;
    this.folder = folder;
    this.s3 = new ScriptedS3(upstream, { proxyAccess: GATEWAY });
    this.s3.allow("tid_alice", "alice-secret", BUCKET);
    this.s3.allow("tid_bob", "bob-secret", BUCKET);
  }

  static async open(env: Env = {}): Promise<World> {
    const folder = await mkdtemp(join(tmpdir(), "tag-read-path-"));
    const world = new World(await ScriptedUpstream.start(), folder);
    await world.#start(env);
    return world;
  }

  get port(): number {
    return this.#gateway?.port ?? 0;
  }

  /** Stops the gateway and starts another on the same folder; upstream and time go on. */
  async restart(env: Env = {}): Promise<void> {
    await this.stop();
    await this.#start(env);
  }

  /** Ends the gateway; what it left in the folder does not change any more. */
  async stop(): Promise<void> {
    await this.#gateway?.stop();
    this.#gateway = undefined;
  }

  async #start(env: Env): Promise<void> {
    const whole: Env = {
      TAG_HTTP_PORT: "0",
      TAG_READ_PORT: "0",
      TAG_BIND_IP: "127.0.0.1",
      TAG_UPSTREAM_ENDPOINT: this.upstream.url.origin,
      TAG_CACHE_DISK_PATH: join(this.folder, "cache"),
      AWS_ACCESS_KEY_ID: GATEWAY.accessKeyId,
      AWS_SECRET_ACCESS_KEY: GATEWAY.secretKey,
      ...env,
    };
    this.#gateway = IS_BINARY
      ? await startCompiled(whole)
      : await startHere(whole, this.clock, this.folder);
  }

  client(accessKeyId: string, secretAccessKey: string): Client {
    return new Client(this, { accessKeyId, secretAccessKey });
  }

  /** Makes the gateway learn a client's key and grant, with an object of its own. */
  async teach(...clients: readonly Client[]): Promise<void> {
    this.s3.put(BUCKET, "lesson", "learned");
    for (const client of clients) expect((await client.get("lesson")).status).toBe(200);
    this.upstream.requests.length = 0;
    this.upstream.bodyBytesSent = 0;
  }

  /** Has the object read by a client whose grant is known until it is served from the cache. */
  async warm(key: string, client: Client = this.alice): Promise<void> {
    await eventually(async () => (await client.get(key)).xCache === "HIT");
    this.upstream.requests.length = 0;
    this.upstream.bodyBytesSent = 0;
  }

  /** Requests upstream got for an object of the usual bucket. */
  asked(key: string, method = "*") {
    return this.upstream.requestsFor(method, targetOf(key));
  }

  /** The sum of a metric's samples whose labels match; 0 when there is none. */
  async metric(name: string, labels: Readonly<Record<string, string>> = {}): Promise<number> {
    const text = await (await fetch(`http://127.0.0.1:${this.port}/metrics`)).text();
    let sum = 0;
    for (const line of text.split("\n")) {
      const match = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line);
      if (match === null || match[1] !== name) continue;
      const isMatching = Object.entries(labels).every(([label, value]) =>
        (match[2] ?? "").includes(`${label}="${value}"`),
      );
      if (isMatching) sum += Number(match[3]);
    }
    return sum;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // What still hangs upstream must not hold the gateway up.
    this.upstream.resetAll();
    await this.stop();
    await this.upstream[Symbol.asyncDispose]();
    await rm(this.folder, { recursive: true, force: true });
  }
}

interface RunningGateway {
  readonly port: number;
  stop(): Promise<unknown>;
}

async function startHere(env: Env, clock: Clock, cwd: string): Promise<RunningGateway> {
  const loaded = await loadConfig({ env, cwd, isSearching: false });
  if (loaded.kind === "failed") throw new Error(JSON.stringify(loaded.problems));
  const app = await createApp(loaded.config, { clock });
  const { httpPort } = await app.start();
  return { port: httpPort, stop: () => app.stop() };
}

async function startCompiled(env: Env): Promise<RunningGateway> {
  const program = await startBinary(["serve"], env);
  return {
    port: program.port,
    async stop() {
      await program[Symbol.asyncDispose]();
    },
  };
}

/** The encoded path of an object of the usual bucket. */
export function targetOf(key: string): string {
  return `/${BUCKET}/${encodePath(key)}`;
}
