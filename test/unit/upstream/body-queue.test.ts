// The queue between a socket and the reader of a body: what it does with memory. What it does with bytes,
// ends and failures is tested through real sockets (upstream.test.ts).

import { expect, test } from "bun:test";
import { BodyQueue } from "../../../src/upstream/body-queue.ts";

function queueWith(chunk: Uint8Array): BodyQueue {
  const queue = new BodyQueue({
    onWanted: () => undefined,
    onDemand: () => undefined,
    onReaderGone: () => undefined,
  });
  queue.push(chunk);
  return queue;
}

test("the memory of a chunk is freed when the reader is done with it", async () => {
  const bytes = new Uint8Array(1000).fill(7);
  const queue = queueWith(bytes);
  const chunk = await queue.read();
  expect(chunk).toHaveLength(1000);
  queue.end();
  queue.close();
  if (chunk !== null) queue.release(chunk);
  expect(bytes.buffer.byteLength).toBe(0);
});

test("so is that of one that came with the header, which was read already", async () => {
  const bytes = new Uint8Array(1000).fill(7);
  const queue = queueWith(bytes.subarray(200));
  const chunk = await queue.read();
  if (chunk !== null) queue.release(chunk);
  expect(bytes.buffer.byteLength).toBe(0);
});

test("what several chunks were cut out of stays until all are collected", async () => {
  const bytes = new Uint8Array(1000).fill(7);
  const queue = queueWith(bytes.subarray(200, 300));
  queue.push(bytes.subarray(305, 900));
  for (let count = 0; count < 2; count += 1) {
    const chunk = await queue.read();
    if (chunk !== null) queue.release(chunk);
  }
  expect(bytes).toEqual(new Uint8Array(1000).fill(7));
});
