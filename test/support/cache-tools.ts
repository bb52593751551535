/**
 * A `tag dev` with objects to cache, and `tag` commands beside it or on what it left behind: what
 * the tests of the cache tools start from.
 */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { systemClock } from "../../src/base/clock.ts";
import { seededRandom } from "../../src/base/random.ts";
import { openCatalogReader } from "../../src/storage/open.ts";
import { BINARY, type Program, startProgram } from "./binary.ts";
import { RawClient } from "./raw-client.ts";
import { TAGDEV } from "./test-origin.ts";

const MAIN = join(import.meta.dir, "../../src/main.ts");
const PROGRAM = process.env["CACHE_TOOLS"] === "binary" ? [BINARY] : [process.execPath, MAIN];

export interface Outcome {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

export class CachePlayground implements AsyncDisposable {
  readonly folder: string;
  /** The running server. */
  program: Program;
  client: RawClient;

  private constructor(folder: string, program: Program) {
    this.folder = folder;
    this.program = program;
    this.client = new RawClient(program.endpoint, TAGDEV);
  }

  static async start(env: Readonly<Record<string, string>> = {}): Promise<CachePlayground> {
    const folder = await mkdtemp(join(tmpdir(), "tag-cache-tools-"));
    return new CachePlayground(folder, await startDev(folder, env));
  }

  get cacheFolder(): string {
    return join(this.folder, "cache");
  }

  /** Stores an object upstream and reads it through the gateway, so that it is cached. */
  async cache(bucket: string, key: string, sizeBytes: number): Promise<void> {
    await this.store(bucket, key, sizeBytes);
    const answer = await this.client.get(bucket, key);
    if (answer.status !== 200) throw new Error(`GET ${bucket}/${key}: ${answer.status}`);
  }

  /** Waits until the catalog on disk has an object, which it gets some milliseconds after its reader. */
  async untilListed(bucket: string, key: string): Promise<void> {
    for (;;) {
      const reader = openCatalogReader(this.cacheFolder);
      const isListed = reader?.inspect({ bucket, key }) !== undefined;
      reader?.close();
      if (isListed) return;
      await systemClock.sleep(5);
    }
  }

  /** Stores an object upstream only; writing drops what was cached of it. */
  async store(bucket: string, key: string, sizeBytes: number): Promise<void> {
    await this.client.call({ method: "PUT", rawTarget: `/${bucket}` }); // there already is fine
    const answer = await this.client.put(bucket, key, bodyOf(key, sizeBytes));
    if (answer.status !== 200) throw new Error(`PUT ${bucket}/${key}: ${answer.status}`);
  }

  /** How the gateway answers a read: `X-Cache` of it. */
  async xCacheOf(bucket: string, key: string): Promise<string | undefined> {
    return (await this.client.get(bucket, key)).fields.get("x-cache");
  }

  /** Runs `tag <words>` with the configuration of the server. */
  tag(
    words: string | readonly string[],
    env: Readonly<Record<string, string>> = {},
  ): Promise<Outcome> {
    return this.spawnTag(words, env).outcome;
  }

  /** `tag`, for a test that does something while it runs. */
  spawnTag(
    words: string | readonly string[],
    env: Readonly<Record<string, string>> = {},
  ): { readonly pid: number; readonly outcome: Promise<Outcome> } {
    const list = typeof words === "string" ? words.split(" ") : words;
    const child = Bun.spawn([...PROGRAM, ...list], {
      cwd: this.folder,
      env: {
        PATH: process.env["PATH"] ?? "",
        TAG_BIND_IP: "127.0.0.1",
        TAG_HTTP_PORT: String(this.program.port),
        TAG_CACHE_DISK_PATH: this.cacheFolder,
        ...env,
      },
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    const outcome = Promise.all([child.exited, child.stdout.text(), child.stderr.text()]).then(
      ([exitCode, stdout, stderr]) => ({ exitCode, stdout, stderr }),
    );
    return { pid: child.pid, outcome };
  }

  /** Starts the server again after `program.stop()`. */
  async restart(env: Readonly<Record<string, string>> = {}): Promise<void> {
    this.program = await startDev(this.folder, env);
    this.client = new RawClient(this.program.endpoint, TAGDEV);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.program[Symbol.asyncDispose]();
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** Bytes that no other key's object has. */
export function bodyOf(key: string, sizeBytes: number): Uint8Array {
  const random = seededRandom(Bun.hash.crc32(key));
  const words = new Uint32Array(Math.ceil(sizeBytes / 4));
  for (let at = 0; at < words.length; at += 1) words[at] = random.below(2 ** 32);
  return new Uint8Array(words.buffer, 0, sizeBytes);
}

function startDev(folder: string, env: Readonly<Record<string, string>>): Promise<Program> {
  return startProgram([...PROGRAM, "dev", "--origin", join(folder, "origin")], {
    TAG_CACHE_DISK_PATH: join(folder, "cache"),
    TAG_CACHE_MAX_DISK_USAGE: "1GiB",
    ...env,
  });
}

/** The lines of JSON a command printed. */
export function jsonLines<T>(stdout: string): T[] {
  return stdout
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as T);
}
