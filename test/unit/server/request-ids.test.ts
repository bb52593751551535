// Goal: ids of requests look like S3's and do not repeat, also where their front changes.
// Method: a random source that starts just before the change.

import { expect, test } from "bun:test";

import type { Random } from "../../../src/base/random.ts";
import { requestIds } from "../../../src/server/request-ids.ts";

const RUN = 36 ** 4;

/** Starts with the prefix 00000000 and the highest count there is. */
const late = { below: (limit: number) => (limit === RUN ? RUN - 3 : 0) } as Random;

test("ids are sixteen capital letters and digits in a row, through a change of their front", () => {
  const next = requestIds(late);
  expect([next(), next(), next(), next()]).toEqual([
    "000000000000ZZZY",
    "000000000000ZZZZ",
    "0000000000010000",
    "0000000000010001",
  ]);
});

test("none repeats within more than a whole run", () => {
  const next = requestIds(late);
  const seen = new Set<string>();
  for (let no = 0; no < RUN + 10; no += 1) seen.add(next());
  expect(seen.size).toBe(RUN + 10);
});
