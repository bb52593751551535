// Issue B, "Streaming": the first byte reaches the client before upstream sent the last, with a
// Content-Length; back-pressure holds both ways; memory stays flat.

import { describe, expect, test } from "bun:test";
import { systemClock } from "../../../src/base/clock.ts";
import { answer, Gate, Pattern } from "../../support/scripted-upstream.ts";
import { headerOf } from "../../support/wire-client.ts";
import { eventually } from "../../support/eventually.ts";
import { BUCKET, MIB, targetOf, World } from "./world.ts";

test("the first byte comes before the last was sent, with Content-Length", async () => {
  await using w = await World.open();
  const gate = new Gate();
  const pattern = new Pattern(1);
  w.s3.putPattern(BUCKET, "k", pattern, 2 * MIB);
  await w.teach(w.alice);
  w.s3.beforePiece = (_index, offset) => (offset >= MIB ? gate.opened : undefined);
  await using wire = await w.alice.open({ target: targetOf("k") });
  const head = await wire.head();
  expect(headerOf(head, "content-length")).toBe(String(2 * MIB));
  expect(headerOf(head, "transfer-encoding")).toBeUndefined();
  expect(pattern.matches(0, await wire.bytes(MIB))).toBe(true);
  gate.open();
  expect(pattern.matches(MIB, await wire.bytes(MIB))).toBe(true);
});

test("single bytes are passed on as they come", async () => {
  await using w = await World.open();
  await w.teach(w.alice);
  const gates = [new Gate(), new Gate(), new Gate(), new Gate()];
  w.upstream.once(
    "GET",
    targetOf("k"),
    answer({
      body: "abcd",
      headers: ["ETag", '"x"'],
      pieceBytes: 1,
      beforePiece: (index) => gates[index]?.opened,
    }),
  );
  await using wire = await w.alice.open({ target: targetOf("k") });
  for (const [index, letter] of ["a", "b", "c", "d"].entries()) {
    gates[index]?.open();
    if (index === 0) await wire.head();
    expect((await wire.bytes(1)).toString()).toBe(letter);
  }
});

test("a body whose length upstream does not tell is streamed too, and ends as it should", async () => {
  await using w = await World.open();
  await w.teach(w.alice);
  const pattern = new Pattern(2);
  for (const framing of ["chunked", "close"] as const) {
    w.upstream.once("GET", targetOf(framing), (call) =>
      answer({ body: pattern.slice(0, MIB), headers: ["ETag", '"x"'], framing })(call),
    );
    const got = await w.alice.get(framing);
    expect([framing, got.status, got.isTruncated, got.body.length]).toEqual([
      framing,
      200,
      false,
      MIB,
    ]);
    expect(pattern.matches(0, got.body)).toBe(true);
  }
});

describe("back-pressure", () => {
  test("a client that does not read holds upstream back when nothing is stored", async () => {
    await using w = await World.open({ TAG_CACHE_SIZE_THRESHOLD: String(MIB) });
    w.s3.putPattern(BUCKET, "k", new Pattern(3), 512 * MIB);
    await w.teach(w.alice);
    await using wire = await w.alice.open({ target: targetOf("k") });
    await wire.head();
    let before = -1;
    while (w.upstream.bodyBytesSent > before) {
      before = w.upstream.bodyBytesSent;
      await systemClock.sleep(150);
    }
    expect(before).toBeLessThan(160 * MIB);
  });

  test("an upstream that does not read holds the client of an upload back", async () => {
    await using w = await World.open();
    await w.teach(w.alice);
    const gate = new Gate();
    w.upstream.on("PUT", targetOf("k"), async (call) => {
      await gate.opened;
      await call.readBody();
      await call.writeHead(200, ["ETag", '"x"', "Content-Length", "0"]);
    });
    const sizeBytes = 256 * MIB;
    const block = Buffer.alloc(MIB, 7);
    await using wire = await w.alice.open({
      method: "PUT",
      target: targetOf("k"),
      headers: ["Content-Length", String(sizeBytes)],
    });
    let sentBytes = 0;
    const sending = (async () => {
      while (sentBytes < sizeBytes) {
        await wire.send(block);
        sentBytes += block.length;
      }
    })();
    let before = -1;
    while (sentBytes > before) {
      before = sentBytes;
      await systemClock.sleep(150);
    }
    expect(sentBytes).toBeLessThan(64 * MIB);
    gate.open();
    await sending;
    expect((await wire.response("PUT")).status).toBe(200);
    expect(w.asked("k", "PUT")[0]?.bodySizeBytes).toBe(sizeBytes);
  }, 30_000);
});

test("memory stays flat while 512 MiB go through and into the cache", async () => {
  await using w = await World.open();
  const pattern = new Pattern(4);
  const sizeBytes = 512 * MIB;
  w.s3.putPattern(BUCKET, "k", pattern, sizeBytes);
  await w.teach(w.alice);
  Bun.gc(true);
  const startBytes = process.memoryUsage.rss();
  let peakBytes = startBytes;
  for (const expected of ["MISS", "HIT"]) {
    await using wire = await w.alice.open({ target: targetOf("k") });
    expect(headerOf(await wire.head(), "x-cache")).toBe(expected);
    let offset = 0;
    while (offset < sizeBytes) {
      const chunk = await wire.bytes(Math.min(256 * 1024, sizeBytes - offset));
      expect(chunk.length > 0 && pattern.matches(offset, chunk)).toBe(true);
      offset += chunk.length;
      // Client, upstream and gateway share this process: what is still in use is what counts.
      if (offset % (16 * MIB) < chunk.length) Bun.gc(true);
      peakBytes = Math.max(peakBytes, process.memoryUsage.rss());
    }
    await eventually(async () => (await w.alice.head("k")).xCache === "HIT");
  }
  expect((peakBytes - startBytes) / MIB).toBeLessThan(256);
}, 60_000);
