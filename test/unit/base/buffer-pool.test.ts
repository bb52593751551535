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
