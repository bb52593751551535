/**
 * boto3, the AWS CLI and rclone sync a tree of 2 000 files (0 B to 100 MiB, awkward names) up and down
 * through the compiled gateway, and again with warm_on_write: `bun scripts/soak/sync.ts`.
 *
 * `--files 500 --largest 20` (MiB) makes it shorter, `--only rclone` runs one client. Needs about
 * four times the tree's size below the temporary folder.
 */

import { parseArgs } from "node:util";
import { startBinary } from "../../test/support/binary.ts";
import { SYNC_CLIENTS } from "../../test/support/sync-clients.ts";
import { syncRun } from "../../test/support/sync-run.ts";

const { values } = parseArgs({
  options: {
    files: { type: "string", default: "2000" },
    largest: { type: "string", default: "100" },
    only: { type: "string" },
  },
});
const options = { files: Number(values.files), largestBytes: Number(values.largest) * 1024 * 1024 };

for (const client of SYNC_CLIENTS) {
  if (values.only !== undefined && values.only !== client.name) continue;
  if (!client.isInstalled) {
    console.log(`${client.name} is not installed`);
    process.exitCode = 1;
    continue;
  }
  for (const isWarming of [false, true]) {
    await using program = await startBinary(["dev"], {
      TAG_CACHE_WARM_ON_WRITE: String(isWarming),
      TAG_LOG_ACCESS: "false",
    });
    console.log(`${client.name}${isWarming ? ", warm_on_write" : ""}: the same after each step`);
    for (const { name, seconds, hits, misses } of await syncRun(client, program, "sync", options)) {
      console.log(
        `  ${name.padEnd(13)} ${seconds.toFixed(1).padStart(6)} s  ${hits} hits  ${misses} misses`,
      );
    }
  }
}
