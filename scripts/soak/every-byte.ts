/**
 * Compares every byte of what a gateway sends, for as long as it is told to, where sending is hardest:
 * many clients at once, objects of all ways through the server, whole and in ranges, a cache
 * that evicts all the time, files that are not in memory, clients that read slowly, late or not to the end.
 *
 *     bun scripts/soak/every-byte.ts [--seconds N] [--clients N] [--port s3|read] [--engine own|node] [--warm]
 *
 * Fails when an answer has a wrong byte, is longer or shorter than it declares, or is an error. A length must be
 * declared, but for chunked answers, as the read port gives to large misses. `--warm` leaves files in
 * the page cache; else they are put out of it again and again.
 */

import { closeSync, openSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { Socket } from "bun";

import { Fields } from "../../src/http/fields.ts";
import {
  ResponseParser,
  type ResponseHead,
  type ResponseSink,
} from "../../src/upstream/response-parser.ts";
import { BINARY, startProgram } from "../../test/support/binary.ts";
import { makeCold } from "../../test/support/page-cache.ts";
import { isSynthetic } from "../../test/support/synthetic-origin.ts";
import { freePort } from "../bench/child.ts";

const MIB = 1024 * 1024;
/** In memory, in a record, on both sides of every border between ways of sending, in a file of its own. */
const SIZES = [
  100, 5000, 30_000, 70_000, 100_000, 120_000, 200_000, 300_000, 600_000, 1_000_003, 1_500_000,
  3_000_001, 8_388_608,
];
/** How many there are of each size, up to a million bytes and beyond: some 480 MiB, more than the cache may keep. */
const SMALL_OBJECTS = 120;
const LARGE_OBJECTS = 25;
const CACHE_BYTES = 320 * MIB;
const MEMORY_TIER_BYTES = 8 * MIB;
const COLD_EVERY_MS = 700;
const SAMPLES_MAX = 10;
/** The longest pauses of those who read slowly, and of those who read late: all of the memory tier is new by then. */
const SLOW_MS_MAX = 30;
const LATE_MS_MAX = 5000;

const { values: args } = parseArgs({
  options: {
    seconds: { type: "string", default: "90" },
    clients: { type: "string", default: "48" },
    port: { type: "string", default: "s3" },
    engine: { type: "string", default: "own" },
    warm: { type: "boolean", default: false },
  },
});
if (!["s3", "read"].includes(args.port)) throw new Error(`--port ${args.port}: s3 or read`);

const found = { answers: 0, bytes: 0, hits: 0, left: 0, errors: 0 };
const samples: string[] = [];

function below(limit: number): number {
  return Math.floor(Math.random() * limit);
}

/** One connection after another, one request at a time. */
class Client implements ResponseSink {
  readonly #port: number;
  readonly #endMs: number;
  /** Stops reading every now and then, so that the server has to wait in the middle of a body. */
  readonly #isSlow: boolean;
  /** Lets answers lie with the kernel for a while, and whatever they were made of is replaced meanwhile. */
  readonly #isLate: boolean;
  /** Closes some connections before an answer is complete. */
  readonly #leaves: boolean;
  readonly #done = Promise.withResolvers<undefined>();
  #socket: Socket | undefined;
  #path = "";
  #size = 0;
  #start = 0;
  #length = 0;
  #parser = new ResponseParser("GET", this);
  #bodyBytes = 0;
  /** Nothing more counts of this connection. */
  #hasLeft = false;

  constructor(no: number, port: number, endMs: number) {
    this.#port = port;
    this.#endMs = endMs;
    this.#isSlow = no % 3 === 0;
    this.#isLate = no % 4 === 1;
    this.#leaves = no % 7 === 0;
  }

  run(): Promise<undefined> {
    this.#open();
    return this.#done.promise;
  }

  #open(): void {
    this.#hasLeft = false;
    // Not node:net: a socket of it that is paused goes on taking from the kernel for a while (Bun 1.4.5).
    const connecting = Bun.connect({
      hostname: "127.0.0.1",
      port: this.#port,
      socket: {
        open: (socket) => {
          this.#socket = socket;
          this.#ask();
        },
        data: (_, bytes) => this.#onData(bytes),
        close: () => this.#onClose(),
      },
    });
    connecting.catch(() => this.#onClose());
  }

  #ask(): void {
    if (Date.now() > this.#endMs) {
      this.#leave();
      return;
    }
    // What is hot for a moment gets into memory, and soon out of it.
    if (this.#path === "" || below(10) < 4) {
      this.#size = SIZES[below(SIZES.length)] ?? 0;
      const count = this.#size > 1_000_000 ? LARGE_OBJECTS : SMALL_OBJECTS;
      this.#path = `/bucket/${this.#size}/object-${below(count)}`;
    }
    const isRange = below(10) < 3;
    this.#start = isRange ? below(this.#size) : 0;
    this.#length = isRange ? 1 + below(this.#size - this.#start) : this.#size;
    this.#parser = new ResponseParser("GET", this);
    this.#bodyBytes = 0;
    const range = `Range: bytes=${this.#start}-${this.#start + this.#length - 1}\r\n`;
    this.#socket?.write(
      `GET ${this.#path} HTTP/1.1\r\nHost: gateway\r\n${isRange ? range : ""}\r\n`,
    );
    if (this.#isLate && below(2) === 0) this.#pause(below(LATE_MS_MAX));
  }

  #onData(bytes: Buffer): void {
    if (this.#hasLeft) return;
    try {
      this.#parser.push(bytes);
    } catch (error) {
      this.#refuse(String(error));
      return;
    }
    if (this.#hasLeft) return;
    if (this.#leaves && below(50) === 0) {
      found.left += 1;
      this.#leave();
    } else if (this.#isSlow && below(10) < 3) {
      this.#pause(below(SLOW_MS_MAX));
    }
  }

  #pause(ms: number): void {
    this.#socket?.pause();
    setTimeout(() => this.#socket?.resume(), ms);
  }

  head({ status, headers }: ResponseHead): void {
    const fields = new Fields(headers);
    const declared = fields.get("content-length");
    const isChunked = declared === undefined && fields.get("transfer-encoding") === "chunked";
    if (status !== 200 && status !== 206) this.#refuse(`status ${status}`);
    else if (!isChunked && declared !== String(this.#length)) this.#refuse(`length ${declared}`);
    if (fields.get("x-cache") === "HIT") found.hits += 1;
  }

  body(bytes: Uint8Array): void {
    if (!isSynthetic(this.#path, this.#start + this.#bodyBytes, bytes)) {
      this.#refuse(`wrong bytes within ${bytes.length} from ${this.#bodyBytes} on`);
    }
    this.#bodyBytes += bytes.length;
    found.bytes += bytes.length;
  }

  end(isClean: boolean): void {
    if (this.#hasLeft) return;
    if (!isClean || this.#bodyBytes !== this.#length) {
      this.#refuse(`${this.#bodyBytes} bytes${isClean ? "" : ", and more behind the end"}`);
      return;
    }
    found.answers += 1;
    this.#ask();
  }

  onContinue(): void {
    this.#refuse("100 Continue, which nobody asked for");
  }

  #refuse(what: string): void {
    found.errors += 1;
    const range = `[${this.#start}, ${this.#start + this.#length})`;
    if (samples.length < SAMPLES_MAX) samples.push(`${this.#path} ${range}: ${what}`);
    this.#leave();
  }

  #leave(): void {
    this.#hasLeft = true;
    this.#socket?.terminate();
  }

  #onClose(): void {
    if (Date.now() > this.#endMs) {
      this.#done.resolve(undefined);
      return;
    }
    if (!this.#hasLeft) this.#refuse(`closed after ${this.#bodyBytes} bytes`);
    this.#open();
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

await using origin = await startProgram([
  process.execPath,
  join(import.meta.dir, "../../test/support/synthetic-origin.ts"),
]);
const readPort = await freePort();
await using gateway = await startProgram([BINARY, "serve"], {
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
      `${left} left before the end, ${errors} errors`,
  );
  for (const sample of samples) console.log(`  ${sample}`);
  if (errors > 0 || answers === 0) {
    const said = gateway.output().split("\n");
    const troubles = said.filter((line) => /"level":"(warn|error)"/.test(line));
    for (const line of troubles.slice(0, SAMPLES_MAX)) console.log(line);
    process.exitCode = 1;
  }
} finally {
  clearInterval(cold);
}
