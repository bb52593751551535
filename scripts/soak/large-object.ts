/**
 * A multipart upload of 5 GiB through the compiled gateway, and reads of it as a whole and in ranges,
 * with the gateway's memory: `bun scripts/soak/large-object.ts`. First with a cache that
 * keeps the object, then with one that does not, then with all of the object in one part, the
 * largest S3 takes. Fails above 300 MiB of resident memory.
 *
 * `--gib 1` makes it smaller. Needs about four times the object's size below the temporary folder.
 */

import { parseArgs } from "node:util";
import { BINARY } from "../../test/support/binary.ts";
import { largeRun } from "../../test/support/large-object.ts";

const { values } = parseArgs({ options: { gib: { type: "string", default: "5" } } });
const sizeBytes = Math.round(Number(values.gib) * 1024 ** 3);
const LIMIT_MIB = 300;

for (const [what, threshold, partBytes] of [
  ["kept in the cache", "64GiB", 64 * 1024 ** 2],
  ["too large for the cache", "100MiB", 64 * 1024 ** 2],
  ["one part", "100MiB", sizeBytes],
] as const) {
  const { idleRssMib, steps } = await largeRun(
    [BINARY],
    { TAG_CACHE_SIZE_THRESHOLD: threshold, TAG_LOG_ACCESS: "false" },
    { sizeBytes, partBytes, concurrency: 4 },
  );
  console.log(`${values.gib} GiB, ${what}; ${idleRssMib.toFixed(0)} MiB resident at the start`);
  for (const { name, seconds, mibPerSecond, peakRssMib } of steps) {
    const isFlat = peakRssMib < LIMIT_MIB;
    if (!isFlat) process.exitCode = 1;
    console.log(
      `  ${name.padEnd(16)} ${seconds.toFixed(1).padStart(7)} s  ${mibPerSecond.toFixed(0).padStart(5)} MiB/s  ` +
        `peak RSS ${peakRssMib.toFixed(0)} MiB${isFlat ? "" : `, above ${LIMIT_MIB}`}`,
    );
  }
}
