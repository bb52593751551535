import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { systemRandom } from "../../src/base/random.ts";
import { openStorage } from "../../src/storage/open.ts";
import { storageContract } from "./storage.suite.ts";

storageContract({
  name: "engine",
  async open() {
    const path = mkdtempSync(join(tmpdir(), "tag-store-"));
    const storage = await openStorage({
      path,
      capacityBytes: 1024 * 1024 * 1024,
      clock: systemClock,
      random: systemRandom,
    });
    return {
      storage,
      async dispose() {
        await storage.close();
        rmSync(path, { recursive: true, force: true });
      },
    };
  },
});
