// The engine's time limits, with a clock that stands still or jumps when told to.

import { expect, test } from "bun:test";
import type { Clock, Timer } from "../../../../src/base/clock.ts";
import { createStrictListener } from "../../../../src/server/listener.ts";
import { WireClient } from "../../../support/wire-client.ts";

const HEADER_TIMEOUT_MS = 400;
/** Four looks at the deadlines in the shortest limit. */
const SWEEP_MS = HEADER_TIMEOUT_MS / 4;

/** Time that passes only in `pass`, which fires the one timer an idle engine has when it is due. */
class HandClock implements Clock {
  #nowMs = 0;
  #due: { readonly atMs: number; readonly run: () => void } | undefined;

  nowMs(): number {
    return this.#nowMs;
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  sleep(): Promise<void> {
    throw new Error("nobody sleeps here");
  }

  after(ms: number, run: () => void): Timer {
    const due = { atMs: this.#nowMs + ms, run };
    this.#due = due;
    return {
      cancel: () => {
        if (this.#due === due) this.#due = undefined;
      },
    };
  }

  /** The process runs again after `ms`, whatever it was to do meanwhile. */
  pass(ms: number): void {
    this.#nowMs += ms;
    const due = this.#due;
    if (due === undefined || due.atMs > this.#nowMs) return;
    this.#due = undefined;
    due.run();
  }
}

async function world() {
  const clock = new HandClock();
  const listener = createStrictListener({
    engine: "own",
    bindIp: "127.0.0.1",
    port: 0,
    handler: () => ({ status: 204, headers: [], body: { kind: "none" } }),
    clock,
    log: { warn: () => undefined, error: () => undefined },
    newRequestId: () => "id",
    limits: {
      headerTimeoutMs: HEADER_TIMEOUT_MS,
      idleTimeoutMs: HEADER_TIMEOUT_MS,
      stallTimeoutMs: HEADER_TIMEOUT_MS,
    },
  });
  await listener.start();
  // A first exchange shows that the connection was accepted, so no step below needs to be waited for.
  const client = await WireClient.connect(listener.port);
  await client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  expect((await client.response()).status).toBe(204);
  return {
    clock,
    client,
    [Symbol.asyncDispose]: async () => {
      client.destroy();
      await listener.stop();
    },
  };
}

test("a client that lets its limit pass is shown out", async () => {
  await using w = await world();
  for (let passedMs = 0; passedMs < HEADER_TIMEOUT_MS; passedMs += SWEEP_MS) w.clock.pass(SWEEP_MS);
  expect(await w.client.rest()).toHaveLength(0);
});

test("a client is not late when it was the gateway that stood still", async () => {
  await using w = await world();
  w.clock.pass(100 * HEADER_TIMEOUT_MS);
  await w.client.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  expect((await w.client.response()).status).toBe(204);
});

test("standing still gives nobody more than the time it took", async () => {
  await using w = await world();
  w.clock.pass(SWEEP_MS);
  w.clock.pass(50 * SWEEP_MS);
  for (let passedMs = SWEEP_MS; passedMs < HEADER_TIMEOUT_MS; passedMs += SWEEP_MS)
    w.clock.pass(SWEEP_MS);
  expect(await w.client.rest()).toHaveLength(0);
});
