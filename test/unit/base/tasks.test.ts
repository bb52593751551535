import { expect, test } from "bun:test";

import { Tasks } from "../../../src/base/tasks.ts";

function recording(): { tasks: Tasks; failures: string[] } {
  const failures: string[] = [];
  const tasks = new Tasks({
    onFailure: (name, error) => failures.push(`${name}: ${String(error)}`),
  });
  return { tasks, failures };
}

/** Runs until the signal aborts, then rejects with its reason, as `clock.sleep` does. */
function untilStopped(signal: AbortSignal): Promise<void> {
  return new Promise((_, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}

test("stop ends every task, waits for it, and being stopped is not a failure", async () => {
  const { tasks, failures } = recording();
  tasks.spawn("eviction", untilStopped);
  tasks.spawn("gossip", untilStopped);
  expect(tasks.running).toEqual(["eviction", "gossip"]);
  await tasks.stop();
  expect(tasks.running).toEqual([]);
  expect(failures).toEqual([]);
});

test("a failure is reported once, with the name of the task", async () => {
  const { tasks, failures } = recording();
  tasks.spawn("scrub", () => Promise.reject(new Error("bad block")));
  await tasks.stop();
  expect(failures).toEqual(["scrub: Error: bad block"]);
});

test("a task that fails while it is being stopped is still reported", async () => {
  const { tasks, failures } = recording();
  tasks.spawn("compaction", async (signal) => {
    await untilStopped(signal).catch(() => undefined);
    throw new Error("rename failed");
  });
  await tasks.stop();
  expect(failures).toEqual(["compaction: Error: rename failed"]);
});

test("nothing starts after stop", async () => {
  const { tasks } = recording();
  await tasks.stop();
  let didRun = false;
  tasks.spawn("late", async () => {
    didRun = true;
  });
  await tasks.stop();
  expect(didRun).toBe(false);
});
