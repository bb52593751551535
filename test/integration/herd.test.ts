// Goal: 500 workers that start at once on one cold object cost upstream one GET, and the gateway
// little memory, although nothing is known of their keys yet (issue B, Done-when 3).
// Method: the gateway is a process of its own, so that its memory is its own; upstream and the
// clients are in this one. HEAVY=1 runs the sizes of the issue, else a smaller herd.

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";

import { systemClock } from "../../src/base/clock.ts";
import { type KeyPair, signerFor, signRequest } from "../../src/s3/sigv4.ts";
import { type Program, startProgram } from "../support/binary.ts";
import { ScriptedS3 } from "../support/scripted-s3.ts";
import { Pattern, ScriptedUpstream } from "../support/scripted-upstream.ts";

const MIB = 1024 * 1024;
const IS_HEAVY = process.env["HEAVY"] === "1";
const CLIENTS = IS_HEAVY ? 500 : 80;
const SIZE_BYTES = (IS_HEAVY ? 64 : 24) * MIB;
/** What a body that is given up may have cost: the sockets held it, or it came before it was. */
const GIVEN_UP_BYTES = 6 * MIB;
const LIMIT_MS = 900_000;

const MAIN = join(import.meta.dir, "../../src/main.ts");
const GATEWAY = { accessKeyId: "tid_gateway", secretKey: "gateway-secret" };
const TARGET = "/bucket/object";

class Herd implements AsyncDisposable {
  readonly pattern = new Pattern(1);
  readonly upstream: ScriptedUpstream;
  readonly gateway: Program;
  readonly #s3: ScriptedS3;

  private constructor(upstream: ScriptedUpstream, gateway: Program) {
    this.upstream = upstream;
    this.gateway = gateway;
    this.#s3 = new ScriptedS3(upstream, { proxyAccess: GATEWAY });
    this.#s3.putPattern("bucket", "object", this.pattern, SIZE_BYTES);
  }

  static async open(env: Readonly<Record<string, string>> = {}): Promise<Herd> {
    const upstream = await ScriptedUpstream.start();
    const gateway = await startProgram([process.execPath, MAIN, "serve"], {
      TAG_UPSTREAM_ENDPOINT: upstream.url.origin,
      AWS_ACCESS_KEY_ID: GATEWAY.accessKeyId,
      AWS_SECRET_ACCESS_KEY: GATEWAY.secretKey,
      ...env,
    });
    return new Herd(upstream, gateway);
  }

  /** A key pair upstream knows and the gateway has never seen. */
  worker(name: string): KeyPair {
    const secretAccessKey = `${name}-secret`;
    this.#s3.allow(name, secretAccessKey, "bucket");
    return { accessKeyId: name, secretAccessKey };
  }

  /** One GET of the object on a connection of its own; true when its length and every byte were right. */
  read(pair: KeyPair, port = this.gateway.port): Promise<boolean> {
    const nowMs = systemClock.nowMs();
    const request = {
      method: "GET",
      rawTarget: TARGET,
      headers: ["Host", `127.0.0.1:${port}`],
      payloadHash: "UNSIGNED-PAYLOAD",
    };
    const headers = signRequest(request, signerFor(pair, "auto", nowMs), nowMs);
    let text = `GET ${TARGET} HTTP/1.1\r\n`;
    for (let at = 0; at < headers.length; at += 2) text += `${headers[at]}: ${headers[at + 1]}\r\n`;
    return new Promise((resolve) => {
      let head = Buffer.alloc(0);
      let offset = -1;
      const socket = connect(port, "127.0.0.1", () => socket.write(`${text}\r\n`));
      const finish = (isWhole: boolean) => {
        socket.destroy();
        resolve(isWhole);
      };
      socket.on("data", (received: Buffer) => {
        let chunk = received;
        if (offset < 0) {
          head = Buffer.concat([head, received]);
          const end = head.indexOf("\r\n\r\n");
          if (end < 0) return;
          const headText = head.toString("latin1", 0, end);
          if (!headText.startsWith("HTTP/1.1 200")) return finish(false);
          if (!new RegExp(`^Content-Length: ${SIZE_BYTES}$`, "im").test(headText))
            return finish(false);
          chunk = head.subarray(end + 4);
          offset = 0;
        }
        if (!this.pattern.matches(offset, chunk)) return finish(false);
        offset += chunk.length;
        if (offset >= SIZE_BYTES) finish(offset === SIZE_BYTES);
      });
      socket.on("error", () => finish(false));
      socket.on("close", () => finish(false));
    });
  }

  /** The most memory the gateway ever held, in MiB (Linux: VmHWM). */
  peakMib(): number {
    const status = readFileSync(`/proc/${this.gateway.pid}/status`, "latin1");
    return Number(/VmHWM:\s*(\d+) kB/.exec(status)?.[1] ?? 0) / 1024;
  }

  /** Waits until a gauge reads 0: the clients may know of their last byte before the gateway does. */
  async becomesZero(name: string): Promise<void> {
    for (;;) {
      const text = await (await fetch(`${this.gateway.endpoint}/metrics`)).text();
      if (new RegExp(`^${name} 0$`, "m").test(text)) return;
      await systemClock.sleep(20);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.gateway[Symbol.asyncDispose]();
    await this.upstream[Symbol.asyncDispose]();
  }
}

describe(`${CLIENTS} clients on a cold object of ${SIZE_BYTES / MIB} MiB`, () => {
  test(
    "with one key that nobody knows yet: one GET upstream, every byte right, little memory",
    async () => {
      await using herd = await Herd.open();
      const pair = herd.worker("worker");
      const whole = await Promise.all(Array.from({ length: CLIENTS }, () => herd.read(pair)));
      expect(whole.filter(Boolean)).toHaveLength(CLIENTS);
      expect(herd.upstream.requestsFor("GET", TARGET)).toHaveLength(1);
      expect(herd.upstream.bodyBytesSent).toBe(SIZE_BYTES);
      if (process.platform === "linux") expect(herd.peakMib()).toBeLessThan(300);
      await herd.becomesZero("tag_inflight_requests");
      await herd.becomesZero("tag_active_broadcasts");
      if (IS_HEAVY) console.log(`peak RSS of the gateway: ${herd.peakMib().toFixed(0)} MiB`);
    },
    LIMIT_MS,
  );

  test(
    "with ten keys that nobody knows yet: each key asks once, the object is sent once",
    async () => {
      await using herd = await Herd.open();
      const pairs = Array.from({ length: 10 }, (_, at) => herd.worker(`worker${at}`));
      const whole = await Promise.all(
        Array.from({ length: CLIENTS }, (_, at) => herd.read(pairs[at % 10] ?? herd.worker("x"))),
      );
      expect(whole.filter(Boolean)).toHaveLength(CLIENTS);
      expect(herd.upstream.requestsFor("GET", TARGET).length).toBeLessThanOrEqual(10);
      expect(herd.upstream.bodyBytesSent).toBeLessThanOrEqual(SIZE_BYTES + 9 * GIVEN_UP_BYTES);
      if (process.platform === "linux") expect(herd.peakMib()).toBeLessThan(300);
      if (IS_HEAVY) {
        const sentMib = herd.upstream.bodyBytesSent / MIB;
        console.log(`sent: ${sentMib.toFixed(0)} MiB, peak RSS: ${herd.peakMib().toFixed(0)} MiB`);
      }
    },
    LIMIT_MS,
  );

  test(
    "on the read port: the same, and every reply has its length",
    async () => {
      await using herd = await Herd.open({
        TAG_READ_PORT: "-1", // any free one
        TAG_BUFFERED_REPLY_BYTES: String(SIZE_BYTES),
      });
      const readPort = Number(/"readPort":(\d+)/.exec(herd.gateway.output())?.[1]);
      const pair = herd.worker("worker");
      const whole = await Promise.all(
        Array.from({ length: CLIENTS }, () => herd.read(pair, readPort)),
      );
      expect(whole.filter(Boolean)).toHaveLength(CLIENTS);
      expect(herd.upstream.requestsFor("GET", TARGET)).toHaveLength(1);
      if (process.platform === "linux") expect(herd.peakMib()).toBeLessThan(300);
      await herd.becomesZero("tag_inflight_requests");
      await herd.becomesZero("tag_active_broadcasts");
    },
    LIMIT_MS,
  );
});
