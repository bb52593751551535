import { expect, test } from "bun:test";

import { ReplyBudget } from "../../../src/server/zero-copy-budget.ts";

test("what is being collected counts until it is handed over or given up", () => {
  const budget = new ReplyBudget(100, () => 0);
  expect(budget.tryCollect(60)).toBe(true);
  expect(budget.tryCollect(41)).toBe(false);
  expect(budget.tryCollect(40)).toBe(true);
  budget.abandon(60);
  expect(budget.heldBytes).toBe(40);
  budget.handOver(40);
  expect(budget.heldBytes).toBe(0); // Bun is sending nothing
});

test("of what was handed over the largest count, as many as Bun is sending replies", () => {
  let sendingCount = 3;
  const budget = new ReplyBudget(100, () => sendingCount);
  for (const bytes of [10, 40, 20]) {
    expect(budget.tryCollect(bytes)).toBe(true);
    budget.handOver(bytes);
  }
  expect(budget.heldBytes).toBe(70);
  expect(budget.tryCollect(31)).toBe(false);
  // One of them is gone. It may have been the smallest.
  sendingCount = 2;
  expect(budget.heldBytes).toBe(60);
  // Another reply of whatever kind is no reason to count the forgotten one again.
  sendingCount = 3;
  expect(budget.heldBytes).toBe(60);
  sendingCount = 0;
  expect(budget.heldBytes).toBe(0);
  expect(budget.tryCollect(100)).toBe(true);
});
