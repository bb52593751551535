/**
 * Compares every byte of what a gateway sends, for as long as it is told to, where sending is hardest:
 * many clients at once, objects of all ways through the server, whole and in ranges, a cache
 * that evicts all the time, files that are not in memory, clients that read slowly or leave.
 *
 *     bun scripts/soak/every-byte.ts [--seconds N] [--clients N] [--port s3|read] [--engine own|node] [--warm]
 *
 * Fails when an answer has a wrong byte, is longer or shorter than it declares, or is an error. `--warm`
 * leaves files in the page cache; else they are put out of it again and again.
 */

import { closeSync, openSync, readdirSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { parseArgs } from "node:util";

import { BINARY, startProgram } from "../../test/support/binary.ts";
import { makeCold } from "../../test/support/page-cache.ts";
import { isSynthetic } from "../../test/support/synthetic-origin.ts";
import { freePort } from "../bench/child.ts";

const MIB = 1024 * 1024;
/** In memory, in a record, on both sides of every border between ways of sending, in a file of its own. */
const SIZES = [
  100, 5000, 30_000, 100_000, 200_000, 300_000, 600_000, 1_000_003, 1_500_000, 3_000_001, 8_388_608,
];
/** Together some 1.1 GiB, more than the cache may keep. */
const SMALL_OBJECTS = 120;
const LARGE_OBJECTS = 25;
const CACHE_BYTES = 600 * MIB;
const MEMORY_TIER_BYTES = 8 * MIB;
const COLD_EVERY_MS = 700;
const SAMPLES_MAX = 10;

const { values: args } = parseArgs({
  options: {
    seconds: { type: "string", default: "90" },
    clients: { type: "string", default: "48" },
    port: { type: "string", default: "s3" },
    engine: { type: "string", default: "own" },
    warm: { type: "boolean", default: false },
  },
});

const found = { answers: 0, bytes: 0, hits: 0, left: 0, errors: 0 };
const samples: string[] = [];

function wrong(what: string): void {
  found.errors += 1;
  if (samples.length < SAMPLES_MAX) samples.push(what);
}

function below(limit: number): number {
  return Math.floor(Math.random() * limit);
}

/** One connection after another, one request at a time. */
class Client {
  readonly #port: number;
  readonly #endMs: number;
  /** Stops reading every now and then, so that the server has to wait in the middle of a body. */
  readonly #isSlow: boolean;
  /** Closes some connections in the middle of a body. */
  readonly #leaves: boolean;
  readonly #done = Promise.withResolvers<undefined>();
  #socket: Socket | undefined;
  #path = "";
  #start = 0;
  #length = 0;
  /** What came of the head; undefined once it is complete. */
  #head: Buffer | undefined;
  #bodyBytes = 0;
  #hasLeft = false;

  constructor(no: number, port: number, endMs: number) {
    this.#port = port;
    this.#endMs = endMs;
    this.#isSlow = no % 3 === 0;
    this.#leaves = no % 7 === 0;
  }

  run(): Promise<undefined> {
    this.#open();
    return this.#done.promise;
  }

  #open(): void {
    this.#hasLeft = false;
    this.#bodyBytes = 0;
    this.#length = 0;
    this.#socket = connect(this.#port, "127.0.0.1", () => this.#ask())
      .on("data", (bytes: Buffer) => this.#onData(bytes))
      .on("error", () => undefined) // told by what is missing
      .on("close", () => this.#onClose());
  }

  #ask(): void {
    if (Date.now() > this.#endMs) {
      this.#leave();
      return;
    }
    const size = SIZES[below(SIZES.length)] ?? 0;
    this.#path = `/bucket/${size}/object-${below(size > 1_000_000 ? LARGE_OBJECTS : SMALL_OBJECTS)}`;
    const isRange = below(10) < 3;
    this.#start = isRange ? below(size) : 0;
    this.#length = isRange ? 1 + below(size - this.#start) : size;
    this.#head = Buffer.alloc(0);
    this.#bodyBytes = 0;
    const range = `Range: bytes=${this.#start}-${this.#start + this.#length - 1}\r\n`;
    this.#socket?.write(
      `GET ${this.#path} HTTP/1.1\r\nHost: gateway\r\n${isRange ? range : ""}\r\n`,
    );
  }

  #onData(bytes: Buffer): void {
    const body = this.#head === undefined ? bytes : this.#takeHead(this.#head, bytes);
    if (body === undefined || this.#hasLeft) return;
    if (!isSynthetic(this.#path, this.#start + this.#bodyBytes, body)) {
      wrong(`${this.#title()}: wrong bytes within ${body.length} from ${this.#bodyBytes} on`);
    }
    this.#bodyBytes += body.length;
    found.bytes += body.length;
    if (this.#bodyBytes > this.#length) {
      wrong(`${this.#title()}: ${this.#bodyBytes - this.#length} bytes too many`);
      this.#leave();
    } else if (this.#bodyBytes === this.#length) {
      found.answers += 1;
      this.#ask();
    } else if (this.#leaves && below(50) === 0) {
      found.left += 1;
      this.#leave();
    } else if (this.#isSlow && below(10) < 3) {
      this.#socket?.pause();
      setTimeout(() => this.#socket?.resume(), below(30));
    }
  }

  /** What of the body came along; undefined while the head is not complete, or when it is wrong. */
  #takeHead(before: Buffer, bytes: Buffer): Buffer | undefined {
    const all = Buffer.concat([before, bytes]);
    this.#head = all;
    const end = all.indexOf("\r\n\r\n");
    if (end === -1) return undefined;
    this.#head = undefined;
    const head = all.toString("latin1", 0, end);
    const declared = Number(/^content-length: (\d+)/im.exec(head)?.[1] ?? -1);
    if (!/^HTTP\/1\.1 20[06] /.test(head) || declared !== this.#length) {
      wrong(`${this.#title()}: ${head.slice(0, 80)}, length ${declared}`);
      this.#leave();
      return undefined;
    }
    if (/^x-cache: hit/im.test(head)) found.hits += 1;
    return all.subarray(end + 4);
  }

  #leave(): void {
    this.#hasLeft = true;
    this.#socket?.destroy();
  }

  #onClose(): void {
    if (Date.now() > this.#endMs) {
      this.#done.resolve(undefined);
      return;
    }
    if (!this.#hasLeft) wrong(`${this.#title()}: closed after ${this.#bodyBytes}`);
    this.#open();
  }

  #title(): string {
    return `${this.#path} [${this.#start}, ${this.#start + this.#length})`;
  }
}

function makeFilesCold(folder: string): void {
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    try {
      const descriptor = openSync(join(entry.parentPath, entry.name), "r");
      makeCold(descriptor);
      closeSync(descriptor);
    } catch {
      // evicted meanwhile
    }
  }
}

const origin = await startProgram([
  process.execPath,
  join(import.meta.dir, "../../test/support/synthetic-origin.ts"),
]);
const readPort = await freePort();
const gateway = await startProgram([BINARY, "serve"], {
  TAG_UPSTREAM_ENDPOINT: origin.endpoint,
  TAG_CACHE_MAX_DISK_USAGE: String(CACHE_BYTES),
  TAG_CACHE_MEMORY_BYTES: String(MEMORY_TIER_BYTES),
  TAG_SERVER_ENGINE: args.engine,
  TAG_READ_PORT: String(readPort),
  TAG_LOG_ACCESS: "false",
  AWS_ACCESS_KEY_ID: "gateway",
  AWS_SECRET_ACCESS_KEY: "gateway-secret",
});
const cold = setInterval(() => {
  if (!args.warm) makeFilesCold(join(gateway.folder, "cache"));
}, COLD_EVERY_MS);
const port = args.port === "read" ? readPort : gateway.port;
const endMs = Date.now() + Number(args.seconds) * 1000;
try {
  await Promise.all(
    Array.from({ length: Number(args.clients) }, (_, no) => new Client(no, port, endMs).run()),
  );
  const { answers, bytes, hits, left, errors } = found;
  console.log(
    `${answers} answers, ${(bytes / 1024 ** 3).toFixed(1)} GiB, ${hits} hits, ` +
      `${left} left in the middle, ${errors} errors`,
  );
  for (const sample of samples) console.log(`  ${sample}`);
  if (errors > 0 || answers === 0) process.exitCode = 1;
} finally {
  clearInterval(cold);
  await gateway[Symbol.asyncDispose]();
  await origin[Symbol.asyncDispose]();
}
