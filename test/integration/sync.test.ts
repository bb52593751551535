// Issue C: clients sync a tree with awkward names up and down through the gateway and find it
// unchanged, with and without warm_on_write. The small form; scripts/soak/sync.ts is the large one.

import { describe, expect, test } from "bun:test";
import { BINARY, startProgram } from "../support/binary.ts";
import { SYNC_CLIENTS } from "../support/sync-clients.ts";
import { syncRun } from "../support/sync-run.ts";

const OPTIONS = { files: 48, largestBytes: 12 * 1024 * 1024 };

describe.each(SYNC_CLIENTS.map((client) => ({ client, name: client.name })))(
  "$name",
  ({ client }) => {
    const sync = test.skipIf(!client.isInstalled);

    sync.each([false, true])("syncs a tree up and down, warm_on_write %p", async (isWarming) => {
      await using program = await startProgram([BINARY, "dev"], {
        TAG_CACHE_WARM_ON_WRITE: String(isWarming),
      });
      const steps = await syncRun(client, program, "sync", OPTIONS);
      const [, down, again] = steps;
      expect(again?.misses).toBe(0);
      expect(again?.hits).toBeGreaterThanOrEqual(OPTIONS.files);
      // What was written is a hit at once; without warming it cannot be.
      if (isWarming) expect(down?.hits).toBeGreaterThan((down?.misses ?? 0) * 10);
      else expect(down?.hits).toBeLessThan(OPTIONS.files);
    });
  },
);
