import { expect, test } from "bun:test";

import { HotBlobs } from "../../../src/server/zero-copy-blobs.ts";

const KIB = 1024;

test("a body that comes again is a blob of the same bytes from then on", async () => {
  const blobs = new HotBlobs(1024 * KIB);
  const whole = new Uint8Array(100 * KIB).map((_, at) => at * 7);
  const body = whole.subarray(KIB, 60 * KIB);
  expect(blobs.bodyOf(body)).toBe(body);
  const second = blobs.bodyOf(whole.subarray(KIB, 60 * KIB));
  expect(second).toBeInstanceOf(Blob);
  expect(Buffer.compare(await (second as Blob).bytes(), body)).toBe(0);
  expect(blobs.bodyOf(body)).toBe(second);
});

test("another part of the same memory is never taken for it", () => {
  const blobs = new HotBlobs(1024 * KIB);
  const whole = new Uint8Array(100 * KIB);
  blobs.bodyOf(whole.subarray(0, 50 * KIB));
  expect(blobs.bodyOf(whole.subarray(0, 50 * KIB))).toBeInstanceOf(Blob);
  for (const part of [whole.subarray(0, 49 * KIB), whole.subarray(KIB, 51 * KIB), whole]) {
    expect(blobs.bodyOf(part)).toBe(part);
  }
});

test("what is small, what the kernel sends, and what comes once is left as it is", () => {
  const blobs = new HotBlobs(8 * 1024 * KIB);
  for (const sizeBytes of [0, KIB, 1024 * KIB]) {
    const body = new Uint8Array(sizeBytes);
    for (let count = 0; count < 3; count += 1) expect(blobs.bodyOf(body)).toBe(body);
  }
});

test("blobs are bounded in bytes, and without room they are made rarely", () => {
  const blobs = new HotBlobs(64 * KIB);
  const bodies = Array.from({ length: 100 }, () => new Uint8Array(16 * KIB));
  const blobsOf = () => bodies.filter((body) => blobs.bodyOf(body) instanceof Blob).length;
  expect(blobsOf()).toBe(0);
  expect(blobsOf()).toBe(4);
  // What is there stays there while all are asked for in turn; an LRU alone would make each anew.
  expect(blobsOf()).toBeGreaterThanOrEqual(3);
  expect(blobsOf()).toBeLessThanOrEqual(5);
});
