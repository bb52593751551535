// Waiting is told from working, by what the kernel says. Linux only, like the code.

import { expect, test } from "bun:test";

import { voluntaryWaits } from "../../../src/base/thread-usage.ts";

const isLinux = process.platform === "linux";

function waitsDuring(run: () => void): number {
  const before = voluntaryWaits() ?? 0;
  run();
  return (voluntaryWaits() ?? 0) - before;
}

test.skipIf(!isLinux)("a thread that sleeps waits", () => {
  expect(waitsDuring(() => Bun.sleepSync(1))).toBeGreaterThan(0);
});

test.skipIf(!isLinux)("a thread that works does not, however long it takes", () => {
  // The runtime itself may wait for one of its threads now and then.
  const counts = Array.from({ length: 20 }, () =>
    waitsDuring(() => {
      for (let count = 0; count < 100_000; count += 1) Math.sqrt(count);
    }),
  );
  expect(Math.min(...counts)).toBe(0);
});
