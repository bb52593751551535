// Goal: statistics are saved without waiting for the disk, and everything else in the control database still durably.
// Method: asks the connection itself, in the moment in which rows are written and afterwards.

import { Database } from "bun:sqlite";
import { afterEach, expect, spyOn, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { systemRandom } from "../../../src/base/random.ts";
import { Control } from "../../../src/storage/control.ts";

const NORMAL = 1;
const FULL = 2;

const folder = mkdtempSync(join(tmpdir(), "tag-control-"));
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function syncLevelOf(database: Database): unknown {
  return database.query<{ synchronous: number }, []>("PRAGMA synchronous").get()?.synchronous;
}

test("counters are not synced, and what comes after them is", () => {
  const spy = spyOn(Database.prototype, "run");
  const control = new Control({ folder, shardCount: 1, bootId: "boot", random: systemRandom });
  const [database] = spy.mock.contexts;
  spy.mockRestore();
  if (!(database instanceof Database)) throw new Error("no connection");
  const levels: unknown[] = [];
  const counters = function* () {
    for (const value of [1, 2]) {
      levels.push(syncLevelOf(database));
      yield ["stored_bytes", value] as const;
    }
  };
  expect(syncLevelOf(database)).toBe(FULL);
  control.saveCounters(counters());
  expect(levels).toEqual([NORMAL, NORMAL]);
  expect(syncLevelOf(database)).toBe(FULL);
  expect(control.counters()).toEqual(new Map([["stored_bytes", 2]]));

  const broken = function* () {
    yield ["stored_bytes", 3] as const;
    throw new Error("no more");
  };
  expect(() => control.saveCounters(broken())).toThrow("no more");
  expect(syncLevelOf(database)).toBe(FULL);
  expect(control.counters()).toEqual(new Map([["stored_bytes", 2]]));
  control.close(true);
});
