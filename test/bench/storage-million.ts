/**
 * What a million small objects cost: bytes of disk and memory per object, time to store,
 * to start and to look up. Prints the figures of docs/storage-format.md, section 8.
 *
 *     bun run build && bun test/bench/storage-million.ts [COUNT] [BODY_BYTES]
 *
 * The compiled binary is started on the store after a clean stop and after kill -9: until
 * it listens, and until an object that was stored before is a hit.
 */

import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { seededRandom, systemRandom } from "../../src/base/random.ts";
import { openStorage } from "../../src/storage/open.ts";
import type { Storage } from "../../src/storage/storage.ts";
import { BINARY, startProgram } from "../support/binary.ts";

const COUNT = Number(process.argv[2] ?? 1_000_000);
const BODY_BYTES = Number(process.argv[3] ?? 1024);
const PARALLEL = 64;
const CAPACITY_BYTES = 64 * 1024 ** 3;

const path = mkdtempSync(join(tmpdir(), "tag-million-"));
const idOf = (n: number) => ({
  bucket: "bench",
  key: `datasets/images/train/class${n % 1000}/${String(n).padStart(8, "0")}.jpg`,
});
const body = new Uint8Array(BODY_BYTES).fill(65);

const open = (): Promise<Storage> =>
  openStorage({
    path,
    capacityBytes: CAPACITY_BYTES,
    clock: systemClock,
    random: systemRandom,
    report: (event) => console.error(event),
  });

function folderBytes(name: string): number {
  const folder = join(path, name);
  return readdirSync(folder)
    .map((file) => statSync(join(folder, file)).size)
    .reduce((sum, sizeBytes) => sum + sizeBytes, 0);
}

function rssBytes(): number {
  const pages = Number(readFileSync("/proc/self/statm", "utf8").split(" ")[1]);
  return pages * 4096;
}

function print(what: string, value: string): void {
  console.log(`${what.padEnd(44)} ${value}`);
}

async function timed<T>(what: string, count: number, run: () => Promise<T>): Promise<T> {
  const startMs = systemClock.monotonicMs();
  const cpu = process.cpuUsage();
  const result = await run();
  const ms = systemClock.monotonicMs() - startMs;
  const { user, system } = process.cpuUsage(cpu);
  const each = ((user + system) / count).toFixed(2);
  print(what, `${ms.toFixed(0)} ms, ${each} us of CPU each`);
  return result;
}

async function fill(storage: Storage): Promise<void> {
  let next = 0;
  let refused = 0;
  async function worker(): Promise<void> {
    while (next < COUNT) {
      const n = next;
      next += 1;
      const meta = {
        id: idOf(n),
        sizeBytes: BODY_BYTES,
        etag: `"${n.toString(16).padStart(32, "0")}"`,
        lastModified: "Mon, 01 Jan 2026 00:00:00 GMT",
        headers: [
          "Content-Type",
          "image/jpeg",
          "Content-Length",
          String(BODY_BYTES),
          "ETag",
          `"${n.toString(16).padStart(32, "0")}"`,
          "Last-Modified",
          "Mon, 01 Jan 2026 00:00:00 GMT",
          "x-amz-meta-source",
          "camera-7",
          "Accept-Ranges",
          "bytes",
        ],
        storedAtMs: 1_700_000_000_000,
        freshUntilMs: 1_900_000_000_000,
        isPublic: true, // so that a request without signature is a hit
      };
      const begun = storage.beginFill({ meta });
      if ("refused" in begun) {
        refused += 1;
        continue;
      }
      void begun.write(0, body);
      await begun.commit(() => true);
      begun.release();
    }
  }
  await Promise.all(Array.from({ length: PARALLEL }, worker));
  if (refused > 0) print("refused fills", String(refused));
}

const before = rssBytes();
const first = await timed("open an empty store", 1, open);
await timed(`store ${COUNT} objects of ${BODY_BYTES} bytes`, COUNT, () => fill(first));
const stats = first.stats();
print("entries", String(stats.entries));
print("disk per object", `${(stats.physicalBytes / stats.entries).toFixed(0)} bytes`);
print("  of that catalog", `${(folderBytes("catalog") / stats.entries).toFixed(0)} bytes`);
print("  of that segments", `${(folderBytes("segments") / stats.entries).toFixed(0)} bytes`);
print("memory while storing", `${((rssBytes() - before) / 1e6).toFixed(0)} MB`);
await timed("close", 1, () => first.close());

/** Starts the binary on the store, asks for one object, ends it with `signal`. */
async function startBinary(after: string, signal: NodeJS.Signals): Promise<void> {
  const startedMs = systemClock.monotonicMs();
  const sinceMs = () => `${(systemClock.monotonicMs() - startedMs).toFixed(0)} ms`;
  const program = await startProgram([BINARY, "serve"], {
    TAG_UPSTREAM_ENDPOINT: "http://127.0.0.1:1", // nobody is there: only a hit can be answered
    TAG_CACHE_DISK_PATH: path,
    TAG_CACHE_MAX_DISK_USAGE: String(CAPACITY_BYTES),
    AWS_ACCESS_KEY_ID: "tid_bench",
    AWS_SECRET_ACCESS_KEY: "tsec_bench",
  });
  print(`the binary after ${after}: listening and healthy`, sinceMs());
  const { bucket, key } = idOf(Math.floor(COUNT / 2));
  const answer = await fetch(`${program.endpoint}/${bucket}/${key}`);
  await answer.bytes();
  print("  first hit", `${answer.headers.get("x-cache")} after ${sinceMs()}`);
  const pages = Number(readFileSync(`/proc/${program.pid}/statm`, "utf8").split(" ")[1]);
  print("  memory then", `${((pages * 4096) / 1e6).toFixed(0)} MB`);
  process.kill(program.pid, signal);
  await program[Symbol.asyncDispose]();
}

await startBinary("a clean stop", "SIGKILL");
await startBinary("kill -9", "SIGTERM");

Bun.gc(true);
const again = await timed("open", 1, open);
const random = seededRandom(5);
await timed("first lookups, cold (index miss)", 50_000, async () => {
  for (let n = 0; n < 50_000; n += 1) again.lookup(idOf(random.below(COUNT)));
});
const hot = Array.from({ length: 10_000 }, () => idOf(random.below(COUNT)));
for (const id of hot) again.lookup(id);
await timed("lookups, warm (index hit)", 1_000_000, async () => {
  for (let round = 0; round < 100; round += 1) for (const id of hot) again.lookup(id);
});
await timed("lookup + read + touch, warm", 1_000_000, async () => {
  for (let round = 0; round < 100; round += 1) {
    for (const id of hot) {
      const object = again.lookup(id);
      if (object === undefined) continue;
      await again.read(object, { start: 0, end: BODY_BYTES });
      again.touch(object);
    }
  }
});
await timed("lookups of what is not there", 100_000, async () => {
  for (let n = 0; n < 100_000; n += 1) again.lookup({ bucket: "bench", key: `none/${n}` });
});
print("memory after reading", `${(rssBytes() / 1e6).toFixed(0)} MB`);
await timed("remove by prefix (1/1000)", COUNT / 1000, async () => {
  print("  removed", String(again.removePrefix("bench", "datasets/images/train/class7/")));
});
await again.close();
rmSync(path, { recursive: true, force: true });
