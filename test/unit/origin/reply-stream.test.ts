import { describe, expect, test } from "bun:test";
import { bytesSource, readAll } from "../../../src/base/byte-source.ts";
import type { ByteSource } from "../../../src/base/byte-source.ts";
import { faulty, throttled } from "../../../src/origin/reply-stream.ts";
import { SimClock } from "../../support/sim-clock.ts";

const NEVER = new AbortController().signal;

function sourceOf(sizeBytes: number): ByteSource {
  return bytesSource(new Uint8Array(sizeBytes).fill(7));
}

async function countUntilFailure(source: ByteSource): Promise<{ bytes: number; error: unknown }> {
  let bytes = 0;
  try {
    for (;;) {
      const chunk = await source.read();
      if (chunk === null) return { bytes, error: undefined };
      bytes += chunk.length;
    }
  } catch (error) {
    return { bytes, error };
  }
}

describe("throttled", () => {
  test("takes as long as the bandwidth says, and loses nothing", async () => {
    const clock = new SimClock();
    const source = throttled(sourceOf(10_000), 1000, clock, NEVER);
    const bytes = await clock.run(readAll(source, 1e6));
    expect(bytes.length).toBe(10_000);
    expect(clock.monotonicMs()).toBeGreaterThanOrEqual(9900);
    expect(clock.monotonicMs()).toBeLessThan(10_100);
  });

  test("earns a slow reader no credit", async () => {
    const clock = new SimClock();
    const source = throttled(sourceOf(2000), 1000, clock, NEVER);
    await clock.run(source.read());
    await clock.advance(60_000);
    const startMs = clock.monotonicMs();
    await clock.run(readAll(source, 1e6));
    expect(clock.monotonicMs() - startMs).toBeGreaterThan(1900);
  });

  test("stops waiting when the client is gone", async () => {
    const clock = new SimClock();
    const client = new AbortController();
    const source = throttled(sourceOf(1000), 1, clock, client.signal);
    const reading = source.read();
    client.abort(new Error("client gone"));
    expect(reading).rejects.toThrow("client gone");
  });
});

describe("faulty", () => {
  test("a reset sends exactly the bytes before it and then fails", async () => {
    const source = faulty(sourceOf(1000), { kind: "reset", afterBytes: 300 }, 1000, NEVER);
    const { bytes, error } = await countUntilFailure(source);
    expect(bytes).toBe(300);
    expect(String(error)).toContain("300 bytes");
  });

  test("a short body ends early without failing", async () => {
    const source = faulty(sourceOf(1001), { kind: "short-body" }, 1001, NEVER);
    expect(await countUntilFailure(source)).toEqual({ bytes: 500, error: undefined });
  });

  test("a stall lasts until the client gives up", async () => {
    const client = new AbortController();
    const source = faulty(sourceOf(10), { kind: "stall", afterBytes: 4 }, 10, client.signal);
    expect((await source.read())?.length).toBe(4);
    const stalled = source.read();
    client.abort(new Error("enough"));
    expect(stalled).rejects.toThrow("enough");
  });
});
