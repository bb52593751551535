// Goal: which failures of a read are repeated, how long apart and how often in all, and what
// health and figures say. The transport is a list of outcomes; time is simulated.

import { describe, expect, test } from "bun:test";
import { bytesSource, readAll } from "../../../src/base/byte-source.ts";
import { errorCode, GatewayError, type ErrorCode } from "../../../src/base/errors.ts";
import { seededRandom } from "../../../src/base/random.ts";
import { retryPauseMs } from "../../../src/upstream/retry.ts";
import type { UpstreamRequest, UpstreamTransport } from "../../../src/upstream/transport.ts";
import { Upstream, type UpstreamObserver } from "../../../src/upstream/upstream.ts";
import { SimClock } from "../../support/sim-clock.ts";

/** A status to answer with, or an error to fail with. */
type Outcome = number | Error;

const GET: UpstreamRequest = { method: "GET", rawTarget: "/b/k", headers: [], body: null };

function world(...outcomes: readonly Outcome[]) {
  const clock = new SimClock();
  const sentAtMs: number[] = [];
  const events: string[] = [];
  const observer: UpstreamObserver = {
    onResponse: (method, status, ms) => events.push(`${method} ${status} ${ms} ms`),
    onFailure: (method, error) => events.push(`${method} failed: ${error.code}`),
    onBytes: (sizeBytes) => events.push(`${sizeBytes} bytes`),
    onRetry: (method, error) => events.push(`${method} repeated: ${error.code}`),
  };
  const transport: UpstreamTransport = {
    async send() {
      sentAtMs.push(clock.monotonicMs());
      await clock.sleep(5);
      const outcome = outcomes[Math.min(sentAtMs.length, outcomes.length) - 1] ?? 200;
      if (typeof outcome !== "number") throw outcome;
      return { status: outcome, headers: [], body: bytesSource(Buffer.from("body")) };
    },
    close: () => events.push("closed"),
  };
  const upstream = new Upstream({ transport, clock, random: seededRandom(1), observer });
  return { clock, upstream, sentAtMs, events };
}

const failure = (code: ErrorCode): GatewayError => new GatewayError(code, "as planned");

async function codeOf(promise: Promise<unknown>): Promise<string | undefined> {
  return promise.then(
    () => "no failure",
    (error: unknown) => errorCode(error) ?? String(error),
  );
}

describe("Upstream", () => {
  test("repeats a lost read after a pause and delivers the second answer", async () => {
    const w = world(failure("upstream_reset"), 200);
    const response = await w.clock.run(w.upstream.send(GET));
    expect(response.status).toBe(200);
    expect(w.sentAtMs).toHaveLength(2);
    expect(w.events).toEqual([
      "GET failed: upstream_reset",
      "GET repeated: upstream_reset",
      "GET 200 5 ms",
    ]);
  });

  test("gives up after two repetitions, with the last error", async () => {
    const w = world(failure("upstream_unreachable"));
    expect(await w.clock.run(codeOf(w.upstream.send(GET)))).toBe("upstream_unreachable");
    expect(w.sentAtMs).toHaveLength(3);
  });

  test.each([
    ["upstream_unreachable", 2],
    ["upstream_reset", 2],
    ["upstream_connect_timeout", 1],
    ["upstream_header_timeout", 1],
    ["upstream_stalled", 1],
    ["upstream_protocol", 1],
    ["client_gone", 1],
    ["shutting_down", 1],
  ] as const)("a read that failed with %s is sent %d times", async (code, times) => {
    const w = world(failure(code), 200);
    await w.clock.run(codeOf(w.upstream.send(GET)));
    expect(w.sentAtMs).toHaveLength(times);
  });

  test.each([
    ["a write", { method: "PUT", body: bytesSource(Buffer.from("x")) }],
    ["a write without a body", { method: "DELETE" }],
    ["a POST", { method: "POST" }],
    ["a GET with a body", { body: bytesSource(Buffer.from("x")) }],
  ])("%s is never repeated", async (_what, overrides) => {
    const w = world(failure("upstream_reset"), 200);
    const send = w.upstream.send({ ...GET, ...overrides });
    expect(await w.clock.run(codeOf(send))).toBe("upstream_reset");
    expect(w.sentAtMs).toHaveLength(1);
  });

  test("an error status is an answer, not something to repeat", async () => {
    const w = world(503, 200);
    expect((await w.clock.run(w.upstream.send(GET))).status).toBe(503);
    expect(w.sentAtMs).toHaveLength(1);
  });

  test("an abort ends the pause between two tries", async () => {
    const w = world(failure("upstream_reset"));
    const abort = new AbortController();
    const send = w.upstream.send({ ...GET, signal: abort.signal });
    w.clock.after(6, () => abort.abort(new Error("client left")));
    expect(await w.clock.run(codeOf(send))).toContain("client left");
    expect(w.sentAtMs).toHaveLength(1);
  });

  test("an outage is not multiplied: retries of all requests share a budget", async () => {
    const w = world(failure("upstream_unreachable"));
    const requests = 1_000;
    for (let index = 0; index < requests; index += 1) {
      await w.clock.run(codeOf(w.upstream.send(GET)));
    }
    // The bucket's 20 and a tenth per request.
    expect(w.sentAtMs.length - requests).toBeLessThanOrEqual(20 + requests / 10);
    expect(w.sentAtMs.length - requests).toBeGreaterThan(requests / 20);
  });

  test("remembers when upstream last did well and last failed", async () => {
    const w = world(200, 500, failure("upstream_header_timeout"));
    expect(w.upstream.health).toEqual({ lastSuccessAtMs: undefined, lastFailureAtMs: undefined });
    await w.clock.run(w.upstream.send(GET));
    const firstMs = w.clock.nowMs();
    expect(w.upstream.health).toEqual({ lastSuccessAtMs: firstMs, lastFailureAtMs: undefined });
    await w.clock.run(w.upstream.send(GET));
    expect(w.upstream.health).toEqual({
      lastSuccessAtMs: firstMs,
      lastFailureAtMs: w.clock.nowMs(),
    });
    await w.clock.run(codeOf(w.upstream.send(GET)));
    expect(w.upstream.health.lastFailureAtMs).toBe(w.clock.nowMs());
  });

  test("a client that left is not a failure of upstream", async () => {
    const w = world(failure("client_gone"));
    await w.clock.run(codeOf(w.upstream.send(GET)));
    expect(w.events).toEqual([]);
    expect(w.upstream.health.lastFailureAtMs).toBeUndefined();
  });

  test("a body that breaks is counted and fails its reader", async () => {
    const w = world();
    const broken: UpstreamTransport = {
      send: async () => ({
        status: 200,
        headers: [],
        body: { read: () => Promise.reject(failure("upstream_stalled")), close: () => undefined },
      }),
      close: () => undefined,
    };
    const events: string[] = [];
    const upstream = new Upstream({
      transport: broken,
      clock: w.clock,
      random: seededRandom(1),
      observer: {
        onResponse: () => undefined,
        onFailure: (method, error) => events.push(`${method} ${error.code}`),
        onBytes: () => undefined,
        onRetry: () => undefined,
      },
    });
    const response = await upstream.send(GET);
    expect(await codeOf(readAll(response.body, 10))).toBe("upstream_stalled");
    expect(events).toEqual(["GET upstream_stalled"]);
    expect(upstream.health.lastFailureAtMs).toBe(w.clock.nowMs());
  });

  test("close reaches the transport", () => {
    const w = world();
    w.upstream.close();
    expect(w.events).toEqual(["closed"]);
  });
});

test("pauses double and are spread over their whole range", () => {
  const random = seededRandom(3);
  const policy = { retriesMax: 5, firstPauseMs: 50 };
  for (let attempt = 0; attempt < 4; attempt += 1) {
    const pauses = Array.from({ length: 400 }, () => retryPauseMs(policy, attempt, random));
    const bound = 50 * 2 ** attempt;
    expect(Math.max(...pauses)).toBeLessThan(bound);
    expect(Math.max(...pauses)).toBeGreaterThan(bound * 0.9);
    expect(Math.min(...pauses)).toBeLessThan(bound * 0.1);
  }
});
