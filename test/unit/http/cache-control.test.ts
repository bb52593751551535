import { describe, expect, test } from "bun:test";
import { type CacheControl, parseCacheControl } from "../../../src/http/cache-control.ts";
import { Fields } from "../../../src/http/fields.ts";

const NOTHING: CacheControl = {
  noStore: false,
  noCache: false,
  maxAgeSeconds: undefined,
  sMaxAgeSeconds: undefined,
  isPrivate: false,
  mustRevalidate: false,
  onlyIfCached: false,
};

describe("Cache-Control", () => {
  test.each([
    [[], {}, "absent"],
    [[""], {}, "empty"],
    [["no-store"], { noStore: true }, "one directive"],
    [["NO-STORE"], { noStore: true }, "names are case-insensitive"],
    [["no-cache, max-age=0"], { noCache: true, maxAgeSeconds: 0 }, "a list"],
    [["no-cache", "max-age=0"], { noCache: true, maxAgeSeconds: 0 }, "two fields"],
    [["s-maxage=0"], { sMaxAgeSeconds: 0 }, "s-maxage is not max-age"],
    [["max-age=60"], { maxAgeSeconds: 60 }, "seconds"],
    [['max-age="60"'], { maxAgeSeconds: 60 }, "a quoted argument"],
    [["max-age = 60"], { maxAgeSeconds: 60 }, "blanks around the equals sign"],
    [["max-age=60, max-age=5"], { maxAgeSeconds: 60 }, "the first of two counts"],
    [["max-age=99999999999999999999"], { maxAgeSeconds: 2 ** 31 }, "capped, RFC 9111 §1.2.2"],
    [["max-age=-1"], { maxAgeSeconds: 0 }, "unreadable is stale"],
    [["max-age=1.5"], { maxAgeSeconds: 0 }, "unreadable is stale"],
    [["max-age"], { maxAgeSeconds: 0 }, "without its argument it is stale"],
    [["private"], { isPrivate: true }, "private"],
    [['private="x-a, x-b", max-age=1'], { isPrivate: true, maxAgeSeconds: 1 }, "qualified"],
    [['no-cache="set-cookie"'], { noCache: true }, "qualified no-cache is no-cache"],
    [['ext="no-store, private"'], {}, "a directive inside quotes is none"],
    [['ext="a\\"b, no-store"'], {}, "an escaped quote does not end the string"],
    [["must-revalidate"], { mustRevalidate: true }, "must-revalidate"],
    [["proxy-revalidate"], { mustRevalidate: true }, "the same for shared caches"],
    [["only-if-cached"], { onlyIfCached: true }, "only-if-cached"],
    [["xno-store, no-storex, x-private"], {}, "parts of names are other names"],
    [["public, immutable, stale-if-error=60"], {}, "others are ignored"],
    [[" , ,no-store, "], { noStore: true }, "empty members are ignored"],
  ] as const)("%j means %j: %s", (values, expected) => {
    const fields = new Fields(values.flatMap((value) => ["Cache-Control", value]));
    expect(parseCacheControl(fields)).toEqual({ ...NOTHING, ...expected });
  });
});
