// Issue B, "Coalescing": one upstream fetch per object for all who may read it at the same time,
// whoever comes late, leaves early or reads slowly; memory bounded and shared.
//
// HEAVY=1 runs the sizes of the issue (500 clients on 64 MiB); without it the same tests run
// with less of both.

import { describe, expect, test } from "bun:test";
import { systemClock } from "../../../src/base/clock.ts";
import { Gate, Pattern } from "../../support/scripted-upstream.ts";
import type { WireClient } from "../../support/wire-client.ts";
import { eventually } from "../../support/eventually.ts";
import { BUCKET, MIB, targetOf, World } from "./world.ts";

const IS_HEAVY = process.env["HEAVY"] === "1";

/** A response that is given up leaves behind what sockets of the loopback held of it. */
const IN_SOCKETS_BYTES = 8 * MIB;

/** Reads a whole answer without keeping it; true when every byte was right and none was missing. */
async function isWhole(wire: WireClient, pattern: Pattern, sizeBytes: number): Promise<boolean> {
  const head = await wire.head();
  if (head.status !== 200) return false;
  let offset = 0;
  while (offset < sizeBytes) {
    const chunk = await wire.bytes(Math.min(256 * 1024, sizeBytes - offset));
    if (chunk.length === 0 || !pattern.matches(offset, chunk)) return false;
    offset += chunk.length;
  }
  return true;
}

describe("concurrent readers of a cold object", () => {
  const readers = IS_HEAVY ? 500 : 60;
  const sizeBytes = IS_HEAVY ? 64 * MIB : 4 * MIB;

  // What they cost in memory is measured on a gateway of its own (test/integration/herd.test.ts).
  test(`${readers} of ${sizeBytes / MIB} MiB: one upstream GET, all bytes equal`, async () => {
    await using w = await World.open();
    const pattern = new Pattern(1);
    w.s3.putPattern(BUCKET, "k", pattern, sizeBytes);
    const answers = await Promise.all(
      Array.from({ length: readers }, async () => {
        await using wire = await w.alice.open({ target: targetOf("k") });
        return await isWhole(wire, pattern, sizeBytes);
      }),
    );
    expect(answers.filter(Boolean)).toHaveLength(readers);
    expect(w.asked("k", "GET")).toHaveLength(1);
    expect(w.upstream.bodyBytesSent).toBe(sizeBytes);
  }, 600_000);

  test("share over the keys of different clients, each judged on its own", async () => {
    await using w = await World.open();
    const gate = new Gate();
    const pattern = new Pattern(2);
    w.s3.putPattern(BUCKET, "k", pattern, MIB);
    await w.teach(w.alice, w.bob);
    w.s3.beforePiece = (index) => (index === 1 ? gate.opened : undefined);
    const all = [w.alice, w.bob, w.alice, w.bob].map((client) => client.get("k"));
    await eventually(async () => (await w.metric("tag_inflight_requests")) === 4);
    gate.open();
    for (const one of await Promise.all(all)) expect(pattern.matches(0, one.body)).toBe(true);
    expect(w.asked("k")).toHaveLength(1);
    expect(await w.metric("tag_broadcast_fetches_total")).toBeGreaterThan(0);
    expect(await w.metric("tag_broadcast_shared_total")).toBeGreaterThanOrEqual(3);
  });
});

describe("a flight", () => {
  async function halfWay(sizeBytes = 4 * MIB, env = {}) {
    const w = await World.open(env);
    const gate = new Gate();
    const pattern = new Pattern(3);
    w.s3.putPattern(BUCKET, "k", pattern, sizeBytes);
    await w.teach(w.alice, w.bob);
    w.s3.beforePiece = (_index, offset) => (offset >= sizeBytes / 2 ? gate.opened : undefined);
    const first = await w.alice.open({ target: targetOf("k") });
    await first.head();
    await eventually(() => w.upstream.bodyBytesSent >= sizeBytes / 2);
    return { w, gate, pattern, first };
  }

  test("streams chunks on as they arrive, long before its end", async () => {
    const { w, gate, pattern, first } = await halfWay();
    await using world = w;
    const half = await first.bytes(2 * MIB);
    expect(pattern.matches(0, half)).toBe(true);
    gate.open();
    expect(pattern.matches(2 * MIB, await first.bytes(2 * MIB))).toBe(true);
    expect(world.asked("k")).toHaveLength(1);
  });

  test("takes a joiner in late and gives it what it missed", async () => {
    const { w, gate, pattern, first } = await halfWay();
    await using world = w;
    await using late = await w.bob.open({ target: targetOf("k") });
    await late.head();
    expect(pattern.matches(0, await late.bytes(2 * MIB))).toBe(true);
    gate.open();
    expect(pattern.matches(2 * MIB, await late.bytes(2 * MIB))).toBe(true);
    expect(world.asked("k")).toHaveLength(1);
    first.destroy();
  });

  test("takes a joiner in even when what it missed is only on disk", async () => {
    const sizeBytes = 48 * MIB;
    const { w, gate, pattern, first } = await halfWay(sizeBytes, {
      TAG_CACHE_FLIGHT_WINDOW_BYTES: String(MIB),
    });
    await using world = w;
    const drained = first.skip(sizeBytes);
    await using late = await w.bob.open({ target: targetOf("k") });
    const read = isWhole(late, pattern, sizeBytes);
    await systemClock.sleep(50);
    gate.open();
    expect(await read).toBe(true);
    expect(await drained).toBe(sizeBytes);
    expect(world.upstream.bodyBytesSent).toBeLessThanOrEqual(sizeBytes * 1.02 + IN_SOCKETS_BYTES);
  });

  test("survives the departure of its first client while others listen", async () => {
    const { w, gate, pattern, first } = await halfWay();
    await using world = w;
    await using second = await w.bob.open({ target: targetOf("k") });
    await second.head();
    first.destroy();
    await eventually(async () => (await world.metric("tag_inflight_requests")) === 1);
    expect(pattern.matches(0, await second.bytes(2 * MIB))).toBe(true);
    gate.open();
    expect(pattern.matches(2 * MIB, await second.bytes(2 * MIB))).toBe(true);
    expect(world.asked("k")).toHaveLength(1);
  });

  test("whose readers all left holds no place and no connection for ever", async () => {
    const { w, gate, first } = await halfWay();
    await using world = w;
    first.destroy();
    gate.open();
    await eventually(async () => (await world.metric("tag_inflight_requests")) === 0);
    await eventually(async () => (await world.metric("tag_active_broadcasts")) === 0);
    expect((await world.alice.get("k")).body.length).toBe(4 * MIB);
    expect(world.upstream.bodyBytesSent).toBeLessThanOrEqual(4 * MIB * 2);
  });

  test("whose connection breaks fetches the rest on another, and its readers notice nothing", async () => {
    const { w, pattern, first } = await halfWay();
    await using world = w;
    await using second = await w.bob.open({ target: targetOf("k") });
    await second.head();
    // What is asked for again may begin before the gate of the broken response.
    world.s3.beforePiece = undefined;
    world.upstream.resetAll();
    for (const wire of [first, second]) {
      const body = await wire.bytes(4 * MIB);
      expect([body.length, pattern.matches(0, body)]).toEqual([4 * MIB, true]);
    }
    expect(world.upstream.bodyBytesSent).toBeLessThan(5 * MIB);
  });

  test("that fails fails for all its readers, none gets a body that looks whole", async () => {
    const { w, first } = await halfWay();
    await using world = w;
    await using second = await w.bob.open({ target: targetOf("k") });
    await second.head();
    await world.upstream.refuse();
    for (const wire of [first, second]) {
      expect((await wire.rest()).length).toBeLessThan(4 * MIB);
    }
    await world.upstream.listen();
    world.s3.beforePiece = undefined;
    const after = await world.alice.get("k");
    expect([after.status, after.body.length, after.isTruncated]).toEqual([200, 4 * MIB, false]);
  });
});

describe("a slow reader", () => {
  const sizeBytes = 48 * MIB;

  test("of an object that is stored falls back to the copy on disk and gets every byte", async () => {
    await using w = await World.open({ TAG_CACHE_FLIGHT_WINDOW_BYTES: String(MIB) });
    const pattern = new Pattern(4);
    w.s3.putPattern(BUCKET, "k", pattern, sizeBytes);
    await w.teach(w.alice, w.bob);
    await using slow = await w.alice.open({ target: targetOf("k") });
    await slow.head();
    await using fast = await w.bob.open({ target: targetOf("k") });
    expect(await isWhole(fast, pattern, sizeBytes)).toBe(true);
    let offset = 0;
    while (offset < sizeBytes) {
      const chunk = await slow.bytes(Math.min(4 * MIB, sizeBytes - offset));
      expect(pattern.matches(offset, chunk)).toBe(true);
      offset += chunk.length;
      await systemClock.sleep(2);
    }
    expect(w.upstream.bodyBytesSent).toBe(sizeBytes);
  });

  test("of an object that is not stored holds upstream back or is cut, never silently short", async () => {
    await using w = await World.open({
      TAG_CACHE_FLIGHT_WINDOW_BYTES: String(MIB),
      TAG_CACHE_SIZE_THRESHOLD: String(MIB),
    });
    const pattern = new Pattern(5);
    w.s3.putPattern(BUCKET, "k", pattern, sizeBytes);
    await w.teach(w.alice);
    await using slow = await w.alice.open({ target: targetOf("k") });
    const head = await slow.head();
    expect(head.headers).toContain(String(sizeBytes));
    let offset = 0;
    for (;;) {
      const chunk = await slow.bytes(Math.min(MIB, sizeBytes - offset));
      if (chunk.length === 0) break;
      expect(pattern.matches(offset, chunk)).toBe(true);
      offset += chunk.length;
      await systemClock.sleep(1);
    }
    // Here alone on its flight, so upstream can wait for it: it must be whole.
    expect(offset).toBe(sizeBytes);
  });

  test("does not slow the others down", async () => {
    await using w = await World.open({ TAG_CACHE_FLIGHT_WINDOW_BYTES: String(MIB) });
    const pattern = new Pattern(6);
    w.s3.putPattern(BUCKET, "k", pattern, sizeBytes);
    await w.teach(w.alice, w.bob);
    await using stuck = await w.alice.open({ target: targetOf("k") });
    await stuck.head();
    const all = Array.from({ length: 4 }, async () => {
      await using fast = await w.bob.open({ target: targetOf("k") });
      return await isWhole(fast, pattern, sizeBytes);
    });
    expect(await Promise.all(all)).toEqual([true, true, true, true]);
  });
});

test("listeners that do not read share one window of memory", async () => {
  const listeners = IS_HEAVY ? 200 : 30;
  const sizeBytes = IS_HEAVY ? 1024 * MIB : 128 * MIB;
  await using w = await World.open({ TAG_CACHE_SIZE_THRESHOLD: String(2048 * MIB) });
  const pattern = new Pattern(7);
  w.s3.putPattern(BUCKET, "k", pattern, sizeBytes);
  await w.teach(w.alice);
  const wires = await Promise.all(
    Array.from({ length: listeners }, () => w.alice.open({ target: targetOf("k") })),
  );
  await eventually(() => w.upstream.bodyBytesSent > 0);
  let peakBytes = 0;
  for (let turn = 0; turn < 40; turn += 1) {
    await systemClock.sleep(10);
    peakBytes = Math.max(peakBytes, await w.metric("tag_flight_memory_bytes"));
  }
  expect(peakBytes).toBeLessThan(64 * MIB);
  expect(w.upstream.bodyBytesSent).toBeLessThanOrEqual(sizeBytes * 1.02 + IN_SOCKETS_BYTES);
  for (const wire of wires) wire.destroy();
  await eventually(async () => (await w.metric("tag_inflight_requests")) === 0);
}, 120_000);
