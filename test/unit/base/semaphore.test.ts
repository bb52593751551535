import { expect, test } from "bun:test";

import { Semaphore } from "../../../src/base/semaphore.ts";

test("as many permits are handed out at once as there are, then none", () => {
  const semaphore = new Semaphore(2);
  const first = semaphore.tryAcquire();
  expect(first).toBeDefined();
  expect(semaphore.tryAcquire()).toBeDefined();
  expect(semaphore.tryAcquire()).toBeUndefined();
  first?.release();
  expect(semaphore.free).toBe(1);
});

test("releasing a permit twice frees one place only", () => {
  const semaphore = new Semaphore(1);
  const permit = semaphore.tryAcquire();
  permit?.release();
  permit?.release();
  expect(semaphore.free).toBe(1);
});

test("waiters are served in the order they came and cannot be overtaken", async () => {
  const semaphore = new Semaphore(1);
  const held = await semaphore.acquire();
  const order: string[] = [];
  const first = semaphore.run(async () => void order.push("first"));
  const second = semaphore.run(async () => void order.push("second"));
  expect(semaphore.waiting).toBe(2);
  held.release();
  expect(semaphore.tryAcquire()).toBeUndefined();
  await Promise.all([first, second]);
  expect(order).toEqual(["first", "second"]);
  expect(semaphore.free).toBe(1);
});

test("a waiter whose signal aborts leaves the queue and takes no permit", async () => {
  const semaphore = new Semaphore(1);
  const held = await semaphore.acquire();
  const controller = new AbortController();
  const waiting = semaphore.acquire(controller.signal);
  controller.abort(new Error("client left"));
  expect(waiting).rejects.toThrow("client left");
  expect(semaphore.waiting).toBe(0);
  held.release();
  expect(semaphore.free).toBe(1);
});

test("work that throws gives its permit back", async () => {
  const semaphore = new Semaphore(1);
  const failing = semaphore.run(() => Promise.reject(new Error("disk full")));
  expect(failing).rejects.toThrow("disk full");
  await failing.catch(() => undefined);
  expect(semaphore.free).toBe(1);
});

test.each([0, -1, 1.5])("%d permits are refused", (permits) => {
  expect(() => new Semaphore(permits)).toThrow(RangeError);
});
