/**
 * A store whose disk takes its time: reads, writes and commits of another store, some of them
 * after a while. What an operation decides, it decides at its end, as a real disk does.
 */

import type { Clock } from "../../../src/base/clock.ts";
import type { Random } from "../../../src/base/random.ts";
import type { Fill, Storage } from "../../../src/storage/storage.ts";

const DELAY_MS = 40;

/** `delayChance` is how often a call waits, between 0 and 1. */
export function slowStorage(
  store: Storage,
  clock: Clock,
  random: Random,
  delayChance: number,
): Storage {
  const isSlow = () => delayChance > 0 && random.float() < delayChance;
  const pause = () => clock.sleep(random.float() * DELAY_MS);

  const slowFill = (fill: Fill): Fill => ({
    get isBroken() {
      return fill.isBroken;
    },
    write(offset, chunk) {
      const taken = fill.write(offset, chunk);
      return isSlow() ? pause() : taken;
    },
    readableFrom: (start) => fill.readableFrom(start),
    async readBack(start, limitBytes) {
      if (isSlow()) await pause();
      return fill.readBack(start, limitBytes);
    },
    isDoneWith: (start, end) => fill.isDoneWith(start, end),
    async commit(stillPermitted) {
      if (isSlow()) await pause();
      return fill.commit(stillPermitted);
    },
    abandon: () => fill.abandon(),
    release: () => fill.release(),
  });

  return {
    lookup: (id) => store.lookup(id),
    read(object, range) {
      if (!isSlow()) return store.read(object, range);
      return pause().then(() => store.read(object, range));
    },
    missing: (object, range) => store.missing(object, range),
    touch: (object) => store.touch(object),
    beginFill(request) {
      const fill = store.beginFill(request);
      return "refused" in fill ? fill : slowFill(fill);
    },
    refresh: (object, news) => store.refresh(object, news),
    remove: (ids) => store.remove(ids),
    removePrefix: (bucket, prefix) => store.removePrefix(bucket, prefix),
    list: (bucket, prefix) => store.list(bucket, prefix),
    stats: () => store.stats(),
    close: () => store.close(),
  };
}
