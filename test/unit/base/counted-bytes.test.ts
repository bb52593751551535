// Memory with several holders: free with the last of them, and not before.

import { expect, test } from "bun:test";
import { CountedBytes } from "../../../src/base/counted-bytes.ts";

const LARGE = 100 * 1024;

function isFreed({ bytes }: CountedBytes): boolean {
  return bytes.buffer.byteLength === 0;
}

test("is free when its only holder is done", () => {
  const counted = new CountedBytes(new Uint8Array(LARGE));
  counted.release();
  expect(isFreed(counted)).toBe(true);
});

test("waits for every holder", () => {
  const counted = new CountedBytes(new Uint8Array(LARGE)).hold();
  counted.release();
  expect(isFreed(counted)).toBe(false);
  counted.release();
  expect(isFreed(counted)).toBe(true);
});

test("stays as it is while a reply is sent from it, whoever else is done", () => {
  const counted = new CountedBytes(Uint8Array.from({ length: LARGE }, (_, at) => at & 255));
  const lent = counted.lend(10, 20);
  counted.release();
  expect([...lent.bytes]).toEqual([10, 11, 12, 13, 14, 15, 16, 17, 18, 19]);
  expect(lent.isConstant).toBe(true);
  lent.release?.();
  expect(isFreed(counted)).toBe(true);
});

test("leaves its home once, when the last holder is done, however often one says so", () => {
  let leftCount = 0;
  const place = { descriptor: -1, offsetBytes: 4096, isMemory: true };
  const leave = () => void (leftCount += 1);
  const counted = new CountedBytes(new Uint8Array(LARGE), { place, leave });
  const lent = counted.lend(7, LARGE);
  expect(lent.inFile).toEqual({ descriptor: -1, offsetBytes: 4103, isMemory: true });
  counted.release();
  expect(leftCount).toBe(0);
  lent.release?.();
  expect(leftCount).toBe(1);
  lent.release?.();
  expect(leftCount).toBe(1);
  expect(isFreed(counted)).toBe(true);
});

test("is left to the collector when it is small, and lending it costs nothing", () => {
  const counted = new CountedBytes(new Uint8Array(1000));
  const lent = counted.lend(0, 1000);
  expect(lent.release).toBeUndefined();
  counted.release();
  expect(lent.bytes).toHaveLength(1000);
});
