// Goal: kill -9 at any moment of a write leaves nothing that the next process serves although upstream
// holds something newer.
// Method: the gateway as a process, upstream in this one. A round writes some cached objects, lets
// readers refill what they can meanwhile, kills the process at a moment of its own, starts
// it again on the same folder and reads. `CRASH_ROUNDS=1000` for a long look.
//
//   before     the write has reached the gateway, upstream has seen nothing of it yet, or its header
//   unanswered upstream has carried it out, the gateway waits for the answer
//   answered   the gateway has the answer, its client may not
//   anywhen    at a random moment

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "bun:test";
import { systemClock } from "../../src/base/clock.ts";
import { type Random, seededRandom } from "../../src/base/random.ts";
import { startProgram, type Program } from "../support/binary.ts";
import { RawClient, type RawAnswer } from "../support/raw-client.ts";
import { ScriptedS3 } from "../support/scripted-s3.ts";
import { Gate, sendAnswer, ScriptedUpstream } from "../support/scripted-upstream.ts";

const ROUNDS = Number(process.env["CRASH_ROUNDS"] ?? 3);
const SEED = Number(process.env["SEED"] ?? 1);
const LIMIT_MS = 30_000 + ROUNDS * 20_000;
const MAIN = join(import.meta.dir, "../../src/main.ts");
/** The program that is killed: by default the source, so that a test run needs no build. */
const PROGRAM = process.env["CRASH_PROGRAM"]?.split(" ") ?? [process.execPath, MAIN];

const BUCKET = "bucket";
const GATEWAY = { accessKeyId: "tid_gateway", secretKey: "gateway-secret" };
const ALICE = { accessKeyId: "tid_alice", secretAccessKey: "alice-secret" };
const OBJECTS = 8;

const MOMENTS = ["before", "unanswered", "answered", "anywhen"] as const;

class Crashing implements AsyncDisposable {
  readonly upstream: ScriptedUpstream;
  readonly s3: ScriptedS3;
  readonly folder: string;
  readonly random: Random;
  /** What upstream holds, by key. */
  readonly truth = new Map<string, string>();
  #program: Program | undefined;
  #client = new RawClient("http://127.0.0.1", ALICE);
  #versions = 0;

  private constructor(upstream: ScriptedUpstream, folder: string, random: Random) {
    this.upstream = upstream;
    this.folder = folder;
    this.random = random;
    this.s3 = new ScriptedS3(upstream, { proxyAccess: GATEWAY });
    this.s3.allow(ALICE.accessKeyId, ALICE.secretAccessKey, BUCKET);
    this.s3.put(BUCKET, "lesson", "learned");
  }

  static async open(seed: number): Promise<Crashing> {
    const folder = await mkdtemp(join(tmpdir(), "tag-crash-"));
    return new Crashing(await ScriptedUpstream.start(), folder, seededRandom(seed));
  }

  /** Starts the gateway on the folder and makes it know its client, so that hits are possible. */
  async start(): Promise<void> {
    this.#program = await startProgram([...PROGRAM, "serve"], {
      TAG_UPSTREAM_ENDPOINT: this.upstream.url.origin,
      TAG_CACHE_DISK_PATH: join(this.folder, "cache"),
      // Each kill leaves a segment that is closed later; small ones keep a thousand kills small.
      TAG_CACHE_MAX_DISK_USAGE: String(256 * 1024 * 1024),
      TAG_PERSIST_LEARNED: "false",
      TAG_LOG_LEVEL: "info",
      TAG_LOG_ACCESS: "false",
      AWS_ACCESS_KEY_ID: GATEWAY.accessKeyId,
      AWS_SECRET_ACCESS_KEY: GATEWAY.secretKey,
    });
    this.#client = new RawClient(this.#program.endpoint, ALICE);
    for (let turn = 0; turn < 2; turn += 1) await this.get("lesson");
  }

  async kill(): Promise<void> {
    if (this.#program !== undefined) process.kill(this.#program.pid, "SIGKILL");
    await this.#program?.[Symbol.asyncDispose]();
  }

  get(key: string, headers: readonly string[] = []): Promise<RawAnswer> {
    return this.#client.get(BUCKET, key, headers);
  }

  call(method: string, key: string, body?: string): Promise<RawAnswer> {
    const rawTarget = key.startsWith("?") ? `/${BUCKET}${key}` : RawClient.targetOf(BUCKET, key);
    return this.#client.call({
      method,
      rawTarget,
      ...(body === undefined ? {} : { body: Buffer.from(body) }),
    });
  }

  /** Upstream holds another version of the key from now on. */
  change(key: string): void {
    this.#versions += 1;
    const body = `version ${this.#versions} `.repeat(1 + this.random.below(2000));
    this.s3.put(BUCKET, key, body);
    this.truth.set(key, body);
  }

  remove(key: string): void {
    this.s3.delete(BUCKET, key);
    this.truth.delete(key);
  }

  /** Has every key served from the cache. */
  async warm(keys: readonly string[]): Promise<void> {
    for (const key of keys) {
      for (let turn = 0; ; turn += 1) {
        if ((await this.get(key)).fields.get("x-cache") === "HIT") break;
        if (turn === 200) throw new Error(`${key} never became a hit`);
        await systemClock.sleep(5);
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    await this.upstream[Symbol.asyncDispose]();
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** Writes all the keys at once: a PUT each, or one deletion of them all. */
async function writeAll(w: Crashing, keys: readonly string[], moment: (typeof MOMENTS)[number]) {
  const { random } = w;
  const finished = new Gate();
  let pending = keys.length;
  const isBulk = random.float() < 0.3;
  w.upstream.on("PUT", /./, async (call) => {
    const key = decodeURIComponent(call.request.target.slice(BUCKET.length + 2));
    await call.readBody();
    if (moment === "before") return call.hang();
    if (random.float() < 0.5) await systemClock.sleep(random.float() * 20);
    w.change(key);
    pending -= 1;
    if (pending === 0) finished.open();
    if (moment === "unanswered") return call.hang();
    await sendAnswer(call, { headers: ["ETag", '"x"'] });
  });
  w.upstream.on("POST", /\?delete$/, async (call) => {
    await call.readBody();
    if (moment === "before") return call.hang();
    for (const key of keys) w.remove(key);
    finished.open();
    if (moment === "unanswered") return call.hang();
    await sendAnswer(call, {
      headers: ["Content-Type", "application/xml"],
      body: "<DeleteResult/>",
    });
  });
  const list = keys.map((key) => `<Object><Key>${key}</Key></Object>`).join("");
  const writes = isBulk
    ? [w.call("POST", "?delete", `<Delete>${list}</Delete>`)]
    : keys.map((key) => w.call("PUT", key, "new ".repeat(1 + random.below(5000))));
  const settled = Promise.allSettled(writes);
  return { finished: finished.opened, settled };
}

/** Reads that try to bring old bytes back while the writes are under way. */
function readMeanwhile(w: Crashing, keys: readonly string[]): Promise<unknown> {
  const reads = keys.flatMap((key) =>
    Array.from({ length: 2 }, async () => {
      await systemClock.sleep(w.random.float() * 15);
      return w.get(key);
    }),
  );
  return Promise.allSettled(reads);
}

test.each(MOMENTS)(
  "a kill %s leaves nothing stale to the next process",
  async (moment) => {
    let hits = 0;
    await using w = await Crashing.open(SEED * MOMENTS.length + MOMENTS.indexOf(moment));
    await w.start();
    for (let round = 0; round < ROUNDS; round += 1) {
      const keys = Array.from({ length: OBJECTS }, (_, at) => `${round}-${at}`);
      for (const key of keys) w.change(key);
      await w.warm(keys);
      const written = keys.slice(0, OBJECTS / 2);

      const { finished, settled } = await writeAll(w, written, moment);
      const reads = readMeanwhile(w, keys);
      if (moment === "before") await systemClock.sleep(w.random.float() * 10);
      if (moment === "unanswered" || moment === "answered") await finished;
      if (moment === "answered") await systemClock.sleep(w.random.float() * 3);
      if (moment === "anywhen") await systemClock.sleep(w.random.float() * 40);
      await w.kill();
      await Promise.all([settled, reads]);
      w.upstream.on("PUT", /./, w.s3.script);

      await w.start();
      for (const key of keys) {
        const answer = await w.get(key);
        const truth = w.truth.get(key);
        const shown = Buffer.from(answer.body).toString();
        expect([key, answer.status]).toEqual([key, truth === undefined ? 404 : 200]);
        if (truth !== undefined && shown !== truth) {
          throw new Error(
            `round ${round}: ${key} is ${shown.slice(0, 12)}, upstream has ${truth.slice(0, 12)}`,
          );
        }
        if (answer.fields.get("x-cache") === "HIT") hits += 1;
      }
    }
    // The others were worth keeping, or this test would pass with a cache that forgets everything.
    expect(hits).toBeGreaterThan(ROUNDS);
  },
  LIMIT_MS,
);
