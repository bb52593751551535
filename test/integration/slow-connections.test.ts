// Goal: thousands of connections on which a request never becomes complete cost little memory, hold nobody
// up, and end when their time is over (issue E, the conditions of the HTTP engine).
// Method: the gateway is a process of its own. A third of the connections says nothing, a third sends half a
// header, a third sends one byte of a header now and then. HEAVY=1 opens 10 000, which needs 20 500 descriptors
// (`ulimit -n`), else a thousand.

import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";

import type { Socket } from "bun";

import { systemClock } from "../../src/base/clock.ts";
import { type Program, startProgram } from "../support/binary.ts";

const IS_HEAVY = process.env["HEAVY"] === "1";
const COUNT = IS_HEAVY ? 10_000 : 1000;
/** Long enough to open all of them, and to look. */
const HEADER_TIMEOUT_SECONDS = IS_HEAVY ? 30 : 8;
/** What the kernel and the allocator round up to, and a little for each. */
const MEMORY_BOUND_BYTES = 24 * 1024 * 1024 + COUNT * 2048;
const LIMIT_MS = 180_000;

const MAIN = join(import.meta.dir, "../../src/main.ts");

function residentBytes(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(/VmRSS:\s+(?<kib>\d+) kB/.exec(status)?.groups?.["kib"]) * 1024;
}

/** Connections that are never done with their request. */
class SlowClients {
  readonly #sockets: Socket[] = [];
  endedCount = 0;

  async open(gateway: Program): Promise<void> {
    for (let at = 0; at < COUNT; at += 1) {
      const socket = await Bun.connect({
        hostname: "127.0.0.1",
        port: gateway.port,
        socket: {
          data: () => undefined,
          close: () => {
            this.endedCount += 1;
          },
        },
      });
      this.#sockets.push(socket);
      if (at % 3 > 0) socket.write("GET /bucket/key HTTP/1.1\r\nHost: tag.internal\r\nX-Meta: ");
    }
  }

  /** One more byte of a third of the headers. */
  trickle(): void {
    for (let at = 2; at < COUNT; at += 3) this.#sockets[at]?.write("a");
  }

  close(): void {
    for (const socket of this.#sockets) socket.terminate();
  }
}

test.skipIf(process.platform !== "linux")(
  `${COUNT} slow and half-open connections are held in bounded memory, and end`,
  async () => {
    await using gateway = await startProgram([process.execPath, MAIN, "serve"], {
      TAG_UPSTREAM_ENDPOINT: "http://127.0.0.1:9",
      TAG_HEADER_TIMEOUT: `${HEADER_TIMEOUT_SECONDS}s`,
      TAG_IDLE_TIMEOUT: `${HEADER_TIMEOUT_SECONDS}s`,
      AWS_ACCESS_KEY_ID: "tid_slow",
      AWS_SECRET_ACCESS_KEY: "tsec_slow",
    });
    const isWell = async () => (await fetch(`${gateway.endpoint}/health`)).status === 200;
    const openCount = async () => {
      const text = await (await fetch(`${gateway.endpoint}/metrics`)).text();
      const samples = text.matchAll(/^tag_active_connections(?:\{[^}]*\})? (?<count>\d+)$/gm);
      return [...samples].reduce((sum, { groups }) => sum + Number(groups?.["count"]), 0);
    };
    for (let round = 0; round < 50; round += 1) await isWell(); // what ordinary requests take is taken
    const before = residentBytes(gateway.pid);

    const clients = new SlowClients();
    try {
      await clients.open(gateway);
      clients.trickle();
      expect(await openCount()).toBeGreaterThanOrEqual(COUNT);
      for (let round = 0; round < 20; round += 1) {
        clients.trickle();
        expect(await isWell()).toBe(true);
      }
      expect(clients.endedCount).toBe(0);
      const grownBytes = residentBytes(gateway.pid) - before;
      process.stderr.write(`${COUNT} slow connections: ${grownBytes >> 10} KiB\n`);
      expect(grownBytes).toBeLessThan(MEMORY_BOUND_BYTES);

      // Bytes now and then are no reason to wait longer.
      const deadlineMs = systemClock.monotonicMs() + LIMIT_MS / 2;
      while (clients.endedCount < COUNT && systemClock.monotonicMs() < deadlineMs) {
        clients.trickle();
        await systemClock.sleep(200);
      }
      expect(clients.endedCount).toBe(COUNT);
      expect(await openCount()).toBeLessThan(5);
      expect(await isWell()).toBe(true);
    } finally {
      clients.close();
    }
  },
  LIMIT_MS,
);
