/**
 * A process that works on a store until it is killed: one half of the crash test.
 *
 *     bun test/support/store-writer.ts FOLDER SEED CAPACITY_BYTES LOG
 *
 * It appends what it does to LOG, synchronously, so that the other half knows what must,
 * may and must not be there after a kill:
 *
 *     ? KEY GENERATION SIZE     a fill is about to be committed: may be visible from now on
 *     + KEY GENERATION          its commit resolved: must survive
 *     - KEY                     about to be removed
 *     0 KEY                     is removed: must not come back
 *
 * What the store does meanwhile on its own (eviction, sweeping, checkpoints, sealing) can be
 * cut short just as well; so can moving records together, which is asked for now and then.
 */

import { appendFileSync } from "node:fs";
import { systemClock } from "../../src/base/clock.ts";
import { seededRandom } from "../../src/base/random.ts";
import { openStorage } from "../../src/storage/open.ts";
import { metaOf, patternOf, writeAll } from "./stored-objects.ts";

const [folder = "", seed = "1", capacity = "0", log = ""] = process.argv.slice(2);
const random = seededRandom(Number(seed));
const note = (line: string): void => appendFileSync(log, `${line}\n`);

const storage = await openStorage({
  path: folder,
  capacityBytes: Number(capacity),
  shardCount: 4,
  clock: systemClock,
  random,
});
const COMPACTING = new AbortController(); // never ended by us
note("open");

/** Mostly small, some of every tier, a few large. */
function someSize(): number {
  const draw = random.float();
  if (draw < 0.5) return random.below(4000);
  if (draw < 0.8) return random.below(200_000);
  if (draw < 0.97) return random.below(2_000_000);
  return random.below(12_000_000);
}

/** Each worker has keys of its own, so that what happens to a key has an order. */
async function work(worker: number): Promise<never> {
  let generation = Number(seed) * 1_000_000 + worker * 100_000;
  for (;;) {
    const key = `${worker}-${random.below(60)}`;
    const id = { bucket: "crash", key };
    const draw = random.float();
    if (draw < 0.003) void storage.compact(COMPACTING.signal);
    if (draw < 0.1) {
      note(`- ${key}`);
      storage.remove([id]);
      note(`0 ${key}`);
      continue;
    }
    if (draw < 0.2) {
      const found = storage.lookup(id);
      if (found !== undefined) {
        storage.touch(found);
        storage.refresh(found, { ...found, freshUntilMs: found.freshUntilMs + 1 });
      }
      continue;
    }
    generation += 1;
    const sizeBytes = someSize();
    const meta = metaOf(id, sizeBytes, { etag: `"${generation}"` });
    const begun = storage.beginFill({ meta });
    if ("refused" in begun) {
      await systemClock.sleep(1);
      continue;
    }
    await writeAll(begun, 0, patternOf(`${key}#${generation}`, sizeBytes));
    if (random.float() < 0.1) {
      begun.abandon();
      begun.release();
      continue;
    }
    note(`? ${key} ${generation} ${sizeBytes}`);
    const outcome = await begun.commit(() => true);
    begun.release();
    if (outcome.kind === "committed") note(`+ ${key} ${generation}`);
  }
}

await Promise.all([work(0), work(1), work(2)]);
