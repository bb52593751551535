// Goal: buffers are made when needed, used again, and never more than allowed.
// Method: a small pool, by hand.

import { expect, test } from "bun:test";
import { BufferPool } from "../../../src/base/buffer-pool.ts";

test("a buffer that was given back is used again", () => {
  const pool = new BufferPool(16, 2);
  expect(pool.heldBytes).toBe(0);
  const first = pool.take();
  expect(first?.length).toBe(16);
  if (first !== undefined) pool.give(first);
  expect(pool.take()).toBe(first);
  expect(pool.heldBytes).toBe(16);
});

test("when all buffers are in use there is none, until one comes back", () => {
  const pool = new BufferPool(16, 2);
  const [first, second] = [pool.take(), pool.take()];
  expect(second).toBeInstanceOf(Uint8Array);
  expect(pool.take()).toBeUndefined();
  expect(pool.heldBytes).toBe(32);
  if (first !== undefined) pool.give(first);
  expect(pool.take()).toBe(first);
});

test("who waits for a buffer gets the next one that comes back, in turn", async () => {
  const pool = new BufferPool(16, 1);
  const first = pool.borrow();
  if (first instanceof Promise) throw new Error("a fresh pool has a buffer");
  const got: string[] = [];
  const second = Promise.resolve(pool.borrow()).then((buffer) => {
    got.push("second");
    expect(buffer).toBe(first);
    pool.give(buffer);
  });
  const third = Promise.resolve(pool.borrow()).then((buffer) => {
    got.push("third");
    return buffer;
  });
  await Promise.resolve();
  expect(got).toEqual([]);
  pool.give(first);
  expect(pool.take()).toBeUndefined();
  await second;
  expect(await third).toBe(first);
  expect(got).toEqual(["second", "third"]);
  expect(pool.heldBytes).toBe(16);
});
