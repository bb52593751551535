// The table of docs/cache-control.md: each row there is a row here, and the last test compares them.
import { describe, expect, test } from "bun:test";
import { decideRead, mayServeStale, readWishes } from "../../../src/cache/decision.ts";
import { Fields } from "../../../src/http/fields.ts";

const NOW = 1_000_000;
const FRESH = { storedAtMs: NOW - 10_000, freshUntilMs: NOW + 10_000 };
const STALE = { storedAtMs: NOW - 10_000, freshUntilMs: NOW };
const ENTRIES = { none: undefined, fresh: FRESH, stale: STALE } as const;

/** Request `Cache-Control`, entry, decision, `X-Cache` when upstream agrees with the entry, why. */
const DECISIONS = [
  ["", "none", "miss", "MISS", "nothing is stored"],
  ["", "fresh", "hit", "HIT", "fresh"],
  ["", "stale", "revalidate", "HIT", "stale: upstream is asked first"],
  ["no-store", "none", "bypass", "BYPASS", "neither read nor stored"],
  ["no-store", "fresh", "bypass", "BYPASS", "neither read nor stored"],
  ["no-cache", "none", "miss", "MISS", "nothing to confirm"],
  ["no-cache", "fresh", "revalidate", "HIT", "the client wants it confirmed"],
  ["no-cache, no-store", "fresh", "bypass", "BYPASS", "no-store wins"],
  ["max-age=0", "fresh", "revalidate", "HIT", "as no-cache"],
  ["max-age=5", "fresh", "revalidate", "HIT", "stored 10 s ago: too old for this client"],
  ["max-age=60", "fresh", "hit", "HIT", "young enough"],
  ["max-age=60", "stale", "revalidate", "HIT", "a client cannot make it fresh"],
  ["NO-CACHE", "fresh", "revalidate", "HIT", "directives have no case"],
  ["max-age=oops", "fresh", "revalidate", "HIT", "unreadable counts as 0"],
  ["only-if-cached", "fresh", "hit", "HIT", "served when it can be"],
  ["x-no-store-please", "fresh", "hit", "HIT", "directives are whole words"],
] as const;

describe("a read", () => {
  test.each(DECISIONS)(
    "with Cache-Control %p and a %s entry is a %s (%s): %s",
    (asks, entry, kind) => {
      const fields = new Fields(asks === "" ? [] : ["Cache-Control", asks]);
      expect(decideRead(ENTRIES[entry], readWishes(fields), NOW, true).kind).toBe(kind);
    },
  );

  test("is disabled when caching is off, whatever it asks for", () => {
    expect(decideRead(FRESH, readWishes(new Fields([])), NOW, false).kind).toBe("disabled");
  });

  test("with Pragma: no-cache and no Cache-Control is confirmed first", () => {
    expect(readWishes(new Fields(["Pragma", "no-cache"])).revalidate).toBe(true);
    const both = new Fields(["Pragma", "no-cache", "Cache-Control", "max-age=60"]);
    expect(readWishes(both).revalidate).toBe(false);
  });
});

test("an entry from the future is confirmed first, because a clock went wrong", () => {
  const wishes = readWishes(new Fields([]));
  const decide = (storedAtMs: number) =>
    decideRead({ storedAtMs, freshUntilMs: storedAtMs + 3_600_000 }, wishes, NOW, true).kind;
  // A year ahead when it was stored: without a limit it would be fresh for a year.
  expect(decide(NOW + 365 * 86_400_000)).toBe("revalidate");
  // Clocks are corrected by fractions of a second all the time.
  expect(decide(NOW + 500)).toBe("hit");
});

test("a stale copy stands in for a failing upstream only so long", () => {
  expect(mayServeStale(STALE, NOW, 1000)).toBe(true);
  expect(mayServeStale(STALE, NOW + 999, 1000)).toBe(true);
  expect(mayServeStale(STALE, NOW + 1000, 1000)).toBe(false);
  expect(mayServeStale(STALE, NOW, 0)).toBe(false);
});

test("docs/cache-control.md shows exactly this table", async () => {
  const page = await Bun.file(new URL("../../../docs/cache-control.md", import.meta.url)).text();
  const rows = DECISIONS.map(
    ([asks, entry, decision, xCache, why]) =>
      `| ${asks === "" ? "–" : `\`${asks}\``} | ${entry} | ${decision} | ${xCache} | ${why} |`,
  );
  expect(page).toContain(rows.join("\n"));
});
