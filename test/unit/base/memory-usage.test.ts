// Goal: what asks for figures of memory goes on when the process has no descriptor left, as then Bun cannot tell them.
// Method: a process of its own that may open few files and opens all of them.

import { expect, test } from "bun:test";
import { join } from "node:path";

const BASE = join(import.meta.dir, "../../../src/base");
const PROGRAM = `
  import { openSync } from "node:fs";
  import { BulkGarbage } from "${BASE}/bulk-garbage.ts";
  import { runtimeHeap } from "${BASE}/heap-garbage.ts";
  import { memoryUsage } from "${BASE}/memory-usage.ts";
  const garbage = new BulkGarbage();
  const before = memoryUsage()?.rss ?? 0;
  let isFull = false;
  while (!isFull) {
    try {
      openSync("/dev/null", "r");
    } catch {
      isFull = true;
    }
  }
  garbage.passed(1e9);
  runtimeHeap.collectYoung();
  const { sizeBytes, usedBytes } = runtimeHeap;
  console.log(JSON.stringify([before > 0, memoryUsage() ?? null, sizeBytes(), usedBytes()]));
`;

test.skipIf(process.platform !== "linux")(
  "without a descriptor nothing is known, and nothing breaks",
  () => {
    const command = `ulimit -n 64; exec '${process.execPath}' -e "$PROGRAM"`;
    const child = Bun.spawnSync(["sh", "-c", command], { env: { ...process.env, PROGRAM } });
    expect(child.stderr.toString()).toBe("");
    expect(JSON.parse(child.stdout.toString())).toEqual([true, null, 0, 0]);
  },
);
