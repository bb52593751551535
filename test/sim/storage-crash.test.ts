// Goal: after kill -9 at any moment, every committed entry is there with its own bytes, no
// removed one is back, and nothing else is served.
// Method: a second process works on a store (test/support/store-writer.ts) and logs what it
// does; it is killed after a random time, the store is opened here and compared with the
// log; then the scrub of `tag cache verify` reads it once more from outside, and the next
// process goes on where this one ended. Set CRASHES=1000 for a long run.

import { expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { seededRandom, systemRandom } from "../../src/base/random.ts";
import { openCatalogReader, openStorage } from "../../src/storage/open.ts";
import { bodyOf, patternOf } from "../support/stored-objects.ts";

const CRASHES = Number(process.env["CRASHES"] ?? 6);
const COMPACT_EVERY = 10;
const MIB = 1024 * 1024;

/** What may be visible of one key: a generation, or "none". */
type Allowed = Set<string>;

function readLog(log: string, allowed: Map<string, Allowed>): void {
  const sizes = new Map<string, string>();
  for (const line of log.split("\n").slice(0, -1)) {
    const [what, key = "", generation = "", size = ""] = line.split(" ");
    const before = allowed.get(key) ?? new Set(["none"]);
    if (what === "?") {
      sizes.set(generation, size);
      allowed.set(key, before.add(`${generation} ${size}`));
    }
    if (what === "+") allowed.set(key, new Set([`${generation} ${sizes.get(generation)}`]));
    if (what === "-") allowed.set(key, before.add("none"));
    if (what === "0") allowed.set(key, new Set(["none"]));
  }
}

/** What `tag cache verify` finds wrong with a closed store. */
async function damageIn(path: string): Promise<string[]> {
  const reader = openCatalogReader(path);
  if (reader === undefined) throw new Error("there is no store");
  const damage: string[] = [];
  for await (const checked of reader.scrub()) {
    if (checked.damage !== undefined) damage.push(checked.damage);
  }
  reader.close();
  return damage;
}

async function crashAgainAndAgain(capacityBytes: number, mayEvict: boolean): Promise<void> {
  const path = mkdtempSync(join(tmpdir(), "tag-crash-"));
  const log = `${path}.log`;
  const random = seededRandom(Number(process.env["SEED"] ?? 1));
  const allowed = new Map<string, Allowed>();
  let longestStartMs = 0;
  try {
    for (let crash = 1; crash <= CRASHES; crash += 1) {
      writeFileSync(log, "");
      const writer = Bun.spawn(
        [
          process.execPath,
          join(import.meta.dir, "../support/store-writer.ts"),
          path,
          String(crash),
          String(capacityBytes),
          log,
        ],
        { stdout: "inherit", stderr: "inherit" },
      );
      while (!readFileSync(log, "utf8").startsWith("open")) await systemClock.sleep(5);
      await systemClock.sleep(random.below(400));
      writer.kill(9);
      await writer.exited;
      readLog(readFileSync(log, "utf8"), allowed);

      const startedMs = systemClock.monotonicMs();
      const storage = await openStorage({
        path,
        capacityBytes,
        clock: systemClock,
        random: systemRandom,
      });
      const startMs = systemClock.monotonicMs() - startedMs;
      expect(startMs).toBeLessThan(2000);
      for (const [key, states] of allowed) {
        const found = storage.lookup({ bucket: "crash", key });
        const generation = found?.etag.replaceAll('"', "");
        const state = found === undefined ? "none" : `${generation} ${found.sizeBytes}`;
        if (mayEvict) states.add("none");
        expect([...states]).toContain(state);
        if (found !== undefined) {
          const body = await bodyOf(storage, found);
          const expected = patternOf(`${key}#${generation}`, found.sizeBytes);
          const isRight = body !== undefined && Buffer.compare(body, expected) === 0;
          expect([key, isRight]).toEqual([key, true]);
        }
        allowed.set(key, new Set([state]));
      }
      const { damagedEntries, evictedEntries } = storage.stats();
      expect(damagedEntries).toBe(0);
      if (!mayEvict) expect(evictedEntries).toBe(0); // or nothing would have to be there
      // What was overwritten takes space until then, and must not fill the store up.
      if (crash % COMPACT_EVERY === 0) await storage.compact(new AbortController().signal);
      await storage.close();
      expect(await damageIn(path)).toEqual([]);
      longestStartMs = Math.max(longestStartMs, startMs);
    }
    if (CRASHES > 100)
      console.log(`${CRASHES} kills, longest start ${longestStartMs.toFixed(0)} ms`);
  } finally {
    rmSync(path, { recursive: true, force: true });
    rmSync(log, { force: true });
  }
}

test(
  `${CRASHES} kills lose no committed entry and serve no wrong byte`,
  () => crashAgainAndAgain(4096 * MIB, false),
  10_000 + CRASHES * 5000,
);

test(
  `${CRASHES} kills of a store that evicts all the time serve no wrong byte`,
  () => crashAgainAndAgain(64 * MIB, true),
  10_000 + CRASHES * 5000,
);
