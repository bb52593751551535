// Issue D, 5, and "too many files, deleted files": whatever happens to the volume of the cache,
// no request fails because of it, and the compiled binary goes on caching by itself once it is over.
// Method: the cache lives on a real file system of its own, 96 MiB, that somebody else fills up and
// empties; the limit of open files of the running process is lowered. Everything read is compared
// with what upstream has. Needs root on Linux; without, the tests say that they were skipped and why.
// Devices that fail and read-only volumes are played in test/sim/storage-trouble.test.ts.

import { afterAll, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually } from "../support/eventually.ts";
import { BINARY, startProgram, type Program } from "../support/binary.ts";
import { hogAll, Volume } from "../support/volume.ts";
import { headerOf, WireClient } from "../support/wire-client.ts";
import { isSynthetic, syntheticSize } from "../support/synthetic-origin.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
/** Every tier. */
const SIZES = [100, 20 * KIB, 300 * KIB, 2 * MIB, 5 * MIB];

const HOST = "gateway.test";

const root = mkdtempSync(join(tmpdir(), "tag-trouble-"));
const whyNot = existsSync(BINARY) ? Volume.whyNot(root) : "dist/tag does not exist: bun run build";
if (whyNot !== undefined) {
  process.stderr.write(`skipped: the cache on a volume in trouble, because ${whyNot}\n`);
}
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** Space comes back in the store's own time, and each look is a request. */
const PATIENTLY = { withinMs: 45_000, everyMs: 50 };

/** The gateway with its cache on a volume of its own, and the object store behind it. */
class World implements AsyncDisposable {
  readonly volume: Volume;
  readonly gateway: Program;
  readonly #origin: Program;
  #standing: WireClient | undefined;

  private constructor(volume: Volume, origin: Program, gateway: Program) {
    this.volume = volume;
    this.#origin = origin;
    this.gateway = gateway;
  }

  static async open(volume: Volume): Promise<World> {
    const script = join(import.meta.dir, "../support/synthetic-origin.ts");
    const origin = await startProgram([process.execPath, script]);
    const gateway = await startProgram([BINARY, "serve"], {
      TAG_UPSTREAM_ENDPOINT: origin.endpoint,
      TAG_CACHE_DISK_PATH: join(volume.path, "cache"),
      TAG_CACHE_MAX_DISK_USAGE: String(1024 * MIB), // more than there is
      TAG_CACHE_MEMORY_BYTES: "0", // what is served is on the disk
      AWS_ACCESS_KEY_ID: "tid_trouble",
      AWS_SECRET_ACCESS_KEY: "tsec_trouble",
    });
    return new World(volume, origin, gateway);
  }

  /** From here on everything is asked on one connection, until it is let go of. */
  async stand(): Promise<void> {
    this.#standing = await WireClient.connect(this.gateway.port);
  }

  async letGo(): Promise<void> {
    await this.#standing?.[Symbol.asyncDispose]();
    this.#standing = undefined;
  }

  /** Reads an object and checks every byte; answers `X-Cache`. */
  async read(path: string): Promise<string> {
    const { status, bytes, xCache } = await this.#get(path);
    expect([path, status, bytes.length]).toEqual([path, 200, syntheticSize(path)]);
    expect([path, isSynthetic(path, 0, bytes)]).toEqual([path, true]);
    return xCache;
  }

  async #get(path: string): Promise<{ status: number; bytes: Uint8Array; xCache: string }> {
    if (this.#standing === undefined) {
      const answer = await fetch(`${this.gateway.endpoint}${path}`);
      const xCache = answer.headers.get("x-cache") ?? "";
      return { status: answer.status, bytes: await answer.bytes(), xCache };
    }
    await this.#standing.send(`GET ${path} HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`);
    const answer = await this.#standing.response();
    const xCache = headerOf(answer, "x-cache") ?? "";
    return { status: answer.status, bytes: answer.body, xCache };
  }

  /** Reads objects that were never asked for, of every size, eight at a time. */
  async readNew(name: string, count: number): Promise<void> {
    let next = 0;
    const reader = async () => {
      while (next < count) await this.read(pathOf(`${name}-${next}`, next++));
    };
    await Promise.all(Array.from({ length: 8 }, reader));
  }

  /** Reads one object of each size until all of them are hits: caching works. */
  async cachesAgain(name: string): Promise<void> {
    for (const at of SIZES.keys()) {
      await eventually(async () => (await this.read(pathOf(name, at))) === "HIT", PATIENTLY);
    }
  }

  /** The sum of a metric's samples, of those whose labels match when there is a pattern. */
  async metric(name: string, labels = ".*"): Promise<number> {
    const text = Buffer.from((await this.#get("/metrics")).bytes).toString();
    let sum = 0;
    const sample = new RegExp(`^${name}(?:\\{${labels}\\})? (?<value>\\S+)$`);
    for (const line of text.split("\n")) sum += Number(sample.exec(line)?.groups?.["value"] ?? 0);
    return sum;
  }

  async isWell(): Promise<boolean> {
    return (await this.metric("tag_cache_degraded")) === 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.letGo();
    await this.gateway[Symbol.asyncDispose]();
    await this.#origin[Symbol.asyncDispose]();
    this.volume[Symbol.dispose]();
  }
}

function pathOf(name: string, at: number): string {
  return `/bucket/${SIZES[at % SIZES.length] ?? 0}/${name}`;
}

const whenPossible = test.skipIf(whyNot !== undefined);

whenPossible.each(["tmpfs", "ext4"] as const)(
  "a full %s: everything is served, and space that is freed is used",
  async (kind) => {
    await using w = await World.open(Volume.mount(root, kind, 96 * MIB));
    // The volume is the limit, not the cap: five times what fits.
    await w.readNew("before", 320);
    await w.cachesAgain("kept");

    const hogs: string[] = [];
    const isFull = async () => {
      const refused = 'reason="(disk_full|store_failed)"';
      return (await w.metric("tag_cache_populate_skipped_total", refused)) > 0;
    };
    await eventually(async () => {
      const hog = join(w.volume.path, `hog${hogs.length}`);
      hogAll(hog); // and what eviction freed since
      hogs.push(hog);
      await w.readNew(`during${hogs.length}`, 40);
      return hogs.length > 1 && (await isFull());
    }, PATIENTLY);
    for (const at of SIZES.keys()) await w.read(pathOf("kept", at));

    for (const hog of hogs) rmSync(hog);
    await w.cachesAgain("after");
    await eventually(() => w.isWell(), PATIENTLY);
    expect(await w.metric("tag_cache_damaged_entries_total")).toBe(0);
  },
  120_000,
);

whenPossible(
  "no descriptors left: connections that stand are served, and what is stored is kept",
  async () => {
    await using w = await World.open(Volume.mount(root, "tmpfs", 96 * MIB));
    await w.cachesAgain("kept");
    await w.readNew("warm", 10); // connections to and from the gateway stand
    const limitFiles = (count: number) => {
      const command = ["prlimit", "--pid", String(w.gateway.pid), `--nofile=${count}:4096`];
      expect(Bun.spawnSync(command).exitCode).toBe(0);
    };
    // The limit is one of numbers: none that is free may be below it. What the gateway closes
    // meanwhile (a connection that idled) leaves one free again.
    const leaveNone = () => {
      const open = new Set(readdirSync(`/proc/${w.gateway.pid}/fd`).map(Number));
      let lowest = 0;
      while (open.has(lowest)) lowest += 1;
      limitFiles(lowest);
    };
    // `fetch` opens connections as it likes, and one that is not accepted answers nothing.
    await w.stand();
    let turn = 0;
    await eventually(async () => {
      leaveNone();
      for (const end = turn + 20; turn < end; turn += 1) {
        await w.read(pathOf(`during-${turn}`, turn));
      }
      return !(await w.isWell());
    }, PATIENTLY);
    limitFiles(4096);
    await w.letGo();
    await eventually(() => w.isWell(), PATIENTLY);
    await w.cachesAgain("after");
    for (const at of SIZES.keys()) expect(await w.read(pathOf("kept", at))).toBe("HIT");
  },
  120_000,
);

whenPossible(
  "a cache folder that somebody empties is filled again",
  async () => {
    await using w = await World.open(Volume.mount(root, "tmpfs", 96 * MIB));
    await w.cachesAgain("before");
    const folder = join(w.volume.path, "cache");
    for (const name of readdirSync(folder)) rmSync(join(folder, name), { recursive: true });
    await w.readNew("during", 20);
    await w.cachesAgain("before");
    await w.cachesAgain("after");
    await eventually(() => w.isWell(), PATIENTLY);
  },
  120_000,
);
