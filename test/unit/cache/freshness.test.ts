// How long an answer is fresh: what it says can shorten the operator's bound and never extend it.
import { expect, test } from "bun:test";
import { freshUntilMs } from "../../../src/cache/freshness.ts";
import { Fields } from "../../../src/http/fields.ts";

const TTL = 3_600_000;
const DATE = "Sat, 21 Nov 2026 10:00:00 GMT";

test.each([
  [[], TTL, "nothing said: the operator's bound"],
  [["Cache-Control", "max-age=60"], 60_000, "shorter than the bound"],
  [["Cache-Control", "max-age=31536000"], TTL, "a year is for browsers"],
  [["Cache-Control", "max-age=60, s-maxage=30"], 30_000, "s-maxage is for us"],
  [["Cache-Control", "no-cache"], 0, "confirmed before every use"],
  [["Cache-Control", "max-age=0"], 0, "stale at once"],
  [["Cache-Control", "max-age=60", "Age", "20"], 40_000, "it was 20 s old already"],
  [["Cache-Control", "max-age=60", "Age", "90"], 0, "older than its lifetime"],
  [["Expires", "Sat, 21 Nov 2026 10:05:00 GMT", "Date", DATE], 300_000, "Expires less Date"],
  [["Expires", "0", "Date", DATE], 0, "unreadable means expired"],
  [["Expires", "Sat, 21 Nov 2026 09:00:00 GMT", "Date", DATE], 0, "in the past"],
  [["Expires", "Sat, 21 Nov 2026 10:05:00 GMT"], TTL, "without Date it says nothing"],
  [["Cache-Control", "max-age=60", "Expires", "0"], 60_000, "max-age beats Expires"],
] as const)("%o is fresh for %d ms: %s", (headers, lifetimeMs) => {
  expect(freshUntilMs(new Fields(headers), 5_000, TTL)).toBe(5_000 + lifetimeMs);
});
