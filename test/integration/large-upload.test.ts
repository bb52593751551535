// Issue C: bodies of any size pass with flat memory, up and down, with a cache that keeps them and
// with one that does not. The small form; scripts/soak/large-object.ts is the one of 5 GiB.

import { expect, test } from "bun:test";
import { BINARY } from "../support/binary.ts";
import { largeRun } from "../support/large-object.ts";

const MIB = 1024 * 1024;
const OPTIONS = { sizeBytes: 400 * MIB, partBytes: 32 * MIB, concurrency: 4 };

test.each([
  ["kept", "1GiB"],
  ["not kept", "100MiB"],
])(
  "an object of 400 MiB that is %s passes in 300 MiB of memory",
  async (_what, threshold) => {
    const { steps } = await largeRun([BINARY], { TAG_CACHE_SIZE_THRESHOLD: threshold }, OPTIONS);
    for (const { name, peakRssMib } of steps) {
      expect([name, peakRssMib < 300 ? "flat" : `${peakRssMib.toFixed(0)} MiB`]).toEqual([
        name,
        "flat",
      ]);
    }
  },
  180_000,
);
