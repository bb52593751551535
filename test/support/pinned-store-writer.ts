/**
 * A process that floods a small store, some of it pinned, until it is killed.
 *
 *     bun test/support/pinned-store-writer.ts FOLDER CAPACITY_BYTES ROUND LOG
 *
 * It appends the key of every pinned object to LOG once its commit resolved: from then on
 * it has to be there, whatever is evicted and moved when the kill comes.
 */

import { appendFileSync } from "node:fs";
import { systemClock } from "../../src/base/clock.ts";
import { systemRandom } from "../../src/base/random.ts";
import { openStorage } from "../../src/storage/open.ts";
import { metaOf, patternOf, writeAll } from "./stored-objects.ts";

const [folder = "", capacity = "0", round = "0", log = ""] = process.argv.slice(2);
const storage = await openStorage({
  path: folder,
  capacityBytes: Number(capacity),
  policy: "lru",
  shardCount: 4,
  clock: systemClock,
  random: systemRandom,
});
await storage.pin("b", "pinned/");

/** A round; more would be more than may be pinned. */
const PINNED_MAX = 60;
const sizeOf = (n: number): number => (n % 50 === 0 ? 300_000 : 1000 + ((n * 7919) % 40_000));

async function put(key: string, sizeBytes: number): Promise<boolean> {
  const fill = storage.beginFill({ meta: metaOf({ bucket: "b", key }, sizeBytes) });
  if ("refused" in fill) return false;
  await writeAll(fill, 0, patternOf(key, sizeBytes));
  const outcome = await fill.commit(() => true);
  fill.release();
  return outcome.kind === "committed";
}

for (let n = 0; ; n += 16) {
  const batch = Array.from({ length: 16 }, async (_, index) => {
    const name = `${round}/${n + index}`;
    const isPinned = index === 0 && n < 16 * PINNED_MAX;
    const key = isPinned ? `pinned/${name}` : `other/${name}`;
    const sizeBytes = sizeOf(n + index);
    const isStored = await put(key, sizeBytes);
    if (!isPinned) return;
    for (let isThere = isStored; !isThere; isThere = await put(key, sizeBytes)) {
      await systemClock.sleep(2); // until eviction has made room
    }
    appendFileSync(log, `${key} ${sizeBytes}\n`);
  });
  await Promise.all(batch);
  await systemClock.sleep(1); // lets eviction have its turns
}
