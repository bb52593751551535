/**
 * One very large object through a gateway and back: uploaded in parts, several at a time, and read as
 * a whole and in pieces, while the gateway's memory is watched. Bytes are made up as they are
 * sent and checked as they come, so nothing here is ever as large as the object.
 */

import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { DEFAULT_CREDENTIALS } from "../../src/origin/origin.ts";
import { signerFor, signRequest } from "../../src/s3/sigv4.ts";
import { startProgram, type Program } from "./binary.ts";
import { Pattern } from "./scripted-upstream.ts";
import { headerOf, WireClient, type WireResponse } from "./wire-client.ts";

const PAIR = { accessKeyId: "tagdev", secretAccessKey: "tagdevsecret" };
const GATEWAY = { accessKeyId: "tid_test", secretAccessKey: "tsec_test" };
const BUCKET = "large";
const KEY = "object";
const MIB = 1024 * 1024;

export interface LargeOptions {
  readonly sizeBytes: number;
  readonly partBytes: number;
  /** Parts, and ranges, under way at a time. */
  readonly concurrency: number;
}

export interface LargeStep {
  readonly name: string;
  readonly seconds: number;
  readonly mibPerSecond: number;
  /** The gateway's largest resident size so far, and what it was at the start. */
  readonly peakRssMib: number;
}

export interface LargeResult {
  readonly idleRssMib: number;
  readonly steps: readonly LargeStep[];
}

/** Runs everything against `command serve` in front of a dev origin, each a process of its own. */
export async function largeRun(
  command: readonly string[],
  env: Readonly<Record<string, string>>,
  options: LargeOptions,
): Promise<LargeResult> {
  const folder = await mkdtemp(join(tmpdir(), "tag-large-"));
  try {
    await using origin = await startProgram(
      [process.execPath, join(import.meta.dir, "origin-process.ts")],
      {
        ORIGIN_OPTIONS: JSON.stringify({
          root: join(folder, "origin"),
          credentials: DEFAULT_CREDENTIALS,
          proxyAccess: GATEWAY,
        }),
      },
    );
    await using gateway = await startProgram([...command, "serve"], {
      TAG_UPSTREAM_ENDPOINT: origin.endpoint,
      TAG_CACHE_DISK_PATH: join(folder, "cache"),
      // Putting gigabytes of parts together takes the origin its time.
      TAG_UPSTREAM_HEADER_TIMEOUT: "15m",
      AWS_ACCESS_KEY_ID: GATEWAY.accessKeyId,
      AWS_SECRET_ACCESS_KEY: GATEWAY.secretAccessKey,
      ...env,
    });
    return await new LargeObject(gateway, options).run();
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

class LargeObject {
  readonly #gateway: Program;
  readonly #options: LargeOptions;
  readonly #pattern = new Pattern(7);
  readonly #steps: LargeStep[] = [];

  constructor(gateway: Program, options: LargeOptions) {
    this.#gateway = gateway;
    this.#options = options;
  }

  async run(): Promise<LargeResult> {
    const idleRssMib = this.#peakRssMib();
    const { sizeBytes } = this.#options;
    await this.#call("PUT", `/${BUCKET}`);
    await this.#step("upload in parts", sizeBytes, () => this.#upload());
    await this.#step("read", sizeBytes, () => this.#read(0, sizeBytes));
    await this.#step("read again", sizeBytes, () => this.#read(0, sizeBytes));
    await this.#step("read in ranges", sizeBytes, () => this.#readRanges());
    return { idleRssMib, steps: this.#steps };
  }

  async #step(name: string, sizeBytes: number, act: () => Promise<void>): Promise<void> {
    const startedAtMs = systemClock.monotonicMs();
    await act();
    const seconds = (systemClock.monotonicMs() - startedAtMs) / 1000;
    const mibPerSecond = sizeBytes / MIB / seconds;
    this.#steps.push({ name, seconds, mibPerSecond, peakRssMib: this.#peakRssMib() });
  }

  /** The high-water mark the kernel keeps. */
  #peakRssMib(): number {
    const status = readFileSync(`/proc/${this.#gateway.pid}/status`, "utf8");
    return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1] ?? 0) / 1024;
  }

  async #upload(): Promise<void> {
    const target = `/${BUCKET}/${KEY}`;
    const created = textOf(await this.#call("POST", `${target}?uploads`));
    const uploadId = /<UploadId>(.*)<\/UploadId>/.exec(created)?.[1] ?? "";
    const query = `uploadId=${encodeURIComponent(uploadId)}`;
    const { sizeBytes, partBytes } = this.#options;
    const etags: string[] = [];
    await this.#inParallel(Math.ceil(sizeBytes / partBytes), async (index) => {
      const start = index * partBytes;
      const end = Math.min(sizeBytes, start + partBytes);
      const part = await this.#uploadPart(`${target}?partNumber=${index + 1}&${query}`, start, end);
      etags[index] = headerOf(part, "etag") ?? "";
    });
    const parts = etags.map(
      (etag, index) => `<Part><PartNumber>${index + 1}</PartNumber><ETag>${etag}</ETag></Part>`,
    );
    const body = `<CompleteMultipartUpload>${parts.join("")}</CompleteMultipartUpload>`;
    const completed = textOf(await this.#call("POST", `${target}?${query}`, body));
    if (!completed.includes("<CompleteMultipartUploadResult")) throw new Error(completed);
  }

  async #readRanges(): Promise<void> {
    const { sizeBytes, partBytes } = this.#options;
    await this.#inParallel(Math.ceil(sizeBytes / partBytes), (index) =>
      this.#read(index * partBytes, Math.min(sizeBytes, (index + 1) * partBytes)),
    );
  }

  /** Reads `[start, end)` and compares every byte. */
  async #read(start: number, end: number): Promise<void> {
    const isWhole = end - start === this.#options.sizeBytes;
    const range = isWhole ? [] : ["Range", `bytes=${start}-${end - 1}`];
    await using wire = await this.#begin("GET", `/${BUCKET}/${KEY}`, range);
    const head = await wire.head();
    const length = Number(headerOf(head, "content-length"));
    if (head.status !== (isWhole ? 200 : 206) || length !== end - start) {
      throw new Error(`${head.statusLine}, ${length} bytes`);
    }
    for (let at = start; at < end;) {
      const chunk = await wire.bytes(Math.min(256 * 1024, end - at));
      if (chunk.length === 0) throw new Error(`cut off after ${at - start} bytes`);
      if (!this.#pattern.matches(at, chunk)) throw new Error(`wrong bytes after ${at - start}`);
      at += chunk.length;
    }
  }

  async #inParallel(count: number, act: (index: number) => Promise<void>): Promise<void> {
    let next = 0;
    const work = async () => {
      while (next < count) {
        next += 1;
        await act(next - 1);
      }
    };
    await Promise.all(Array.from({ length: this.#options.concurrency }, work));
  }

  /** A request with a body that fits in memory, and its answer. */
  async #call(method: string, target: string, body = ""): Promise<WireResponse> {
    await using wire = await this.#begin(method, target, ["Content-Length", String(body.length)]);
    await wire.send(body);
    return accepted(await wire.response(method));
  }

  async #uploadPart(target: string, start: number, end: number): Promise<WireResponse> {
    await using wire = await this.#begin("PUT", target, ["Content-Length", String(end - start)]);
    for (const piece of this.#pattern.slice(start, end)) await wire.send(piece);
    return accepted(await wire.response("PUT"));
  }

  /** Sends the header of a request on a connection of its own. */
  async #begin(method: string, target: string, headers: readonly string[]): Promise<WireClient> {
    const { port } = this.#gateway;
    const nowMs = systemClock.nowMs();
    const signed = signRequest(
      {
        method,
        rawTarget: target,
        headers: ["Host", `127.0.0.1:${port}`, ...headers],
        payloadHash: "UNSIGNED-PAYLOAD",
      },
      signerFor(PAIR, "auto", nowMs),
      nowMs,
    );
    let text = `${method} ${target} HTTP/1.1\r\n`;
    for (let at = 0; at < signed.length; at += 2) text += `${signed[at]}: ${signed[at + 1]}\r\n`;
    const wire = await WireClient.connect(port);
    await wire.send(`${text}Connection: close\r\n\r\n`);
    return wire;
  }
}

function accepted(response: WireResponse): WireResponse {
  if (response.status < 300) return response;
  throw new Error(`${response.statusLine}: ${Buffer.from(response.body).toString()}`);
}

function textOf(response: WireResponse): string {
  return Buffer.from(response.body).toString();
}
