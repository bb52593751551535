import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import { listKeys, type ListPage, type ListRequest } from "../../../src/origin/listing.ts";

interface Entry {
  readonly key: string;
}

const byBytes = (left: string, right: string): number =>
  Buffer.compare(Buffer.from(left), Buffer.from(right));

/** A scan over a list, as the catalog does it over its index. */
function scanOf(keys: readonly string[]) {
  const sorted = [...new Set(keys)].toSorted(byBytes);
  return (from: Uint8Array, limit: number): Entry[] =>
    sorted
      .filter((key) => Buffer.compare(Buffer.from(key), from) >= 0)
      .slice(0, limit)
      .map((key) => ({ key }));
}

function list(keys: readonly string[], request: Partial<ListRequest>): ListPage<Entry> {
  const defaults = { prefix: "", delimiter: "", after: "", maxKeys: 1000 };
  return listKeys(scanOf(keys), { ...defaults, ...request });
}

function allPages(keys: readonly string[], request: Partial<ListRequest>): string[] {
  const names: string[] = [];
  let after = "";
  for (;;) {
    const page = list(keys, { ...request, after });
    names.push(...page.entries.map((entry) => entry.key), ...page.commonPrefixes);
    if (page.nextAfter === undefined) return names;
    after = page.nextAfter;
  }
}

/** What a listing has to contain, the slow and obvious way. */
function expected(keys: readonly string[], prefix: string, delimiter: string): string[] {
  const names = new Set<string>();
  for (const key of keys) {
    if (!key.startsWith(prefix)) continue;
    const at = delimiter === "" ? -1 : key.indexOf(delimiter, prefix.length);
    names.add(at === -1 ? key : key.slice(0, at + delimiter.length));
  }
  return [...names].toSorted(byBytes);
}

describe("listKeys", () => {
  const keys = ["asdf", "boo/bar", "boo/baz/xyzzy", "cquux/thud", "cquux/bla"];

  test.each([
    { why: "everything", request: {}, entries: [...keys].toSorted(), prefixes: [] },
    { why: "groups", request: { delimiter: "/" }, entries: ["asdf"], prefixes: ["boo/", "cquux/"] },
    {
      why: "groups below a prefix",
      request: { delimiter: "/", prefix: "boo/" },
      entries: ["boo/bar"],
      prefixes: ["boo/baz/"],
    },
    {
      why: "after a common prefix",
      request: { delimiter: "/", after: "boo/" },
      entries: [],
      prefixes: ["cquux/"],
    },
    {
      why: "after a key inside a common prefix, the rest of it is still named",
      request: { delimiter: "/", after: "boo/bar" },
      entries: [],
      prefixes: ["boo/", "cquux/"],
    },
    { why: "a prefix nothing has", request: { prefix: "x" }, entries: [], prefixes: [] },
  ] as { why: string; request: Partial<ListRequest>; entries: string[]; prefixes: string[] }[])(
    "lists $why",
    ({ request, entries, prefixes }) => {
      const page = list(keys, request);
      expect(page.entries.map((entry) => entry.key)).toEqual(entries);
      expect([...page.commonPrefixes]).toEqual(prefixes);
      expect(page.isTruncated).toBe(false);
    },
  );

  test("is not truncated when the last result is also the last there is", () => {
    const page = list(["a", "b"], { maxKeys: 2 });
    expect(page).toMatchObject({ isTruncated: false, nextAfter: undefined });
  });

  test("is not truncated by keys outside the prefix", () => {
    expect(list(["a/1", "b/1"], { prefix: "a/", maxKeys: 1 }).isTruncated).toBe(false);
  });

  test("answers nothing, and calls it complete, for a page of no keys", () => {
    expect(list(["a"], { maxKeys: 0 })).toMatchObject({ entries: [], isTruncated: false });
  });

  test("orders keys by their UTF-8 bytes, where UTF-16 order differs", () => {
    const page = list(["\u{1F680}", "\uFF5E", "z"], {});
    expect(page.entries.map((entry) => entry.key)).toEqual(["z", "\uFF5E", "\u{1F680}"]);
  });

  test("skips the keys of a common prefix instead of reading them", () => {
    const many = Array.from({ length: 5000 }, (_, index) => `a/${index}`);
    let scannedRows = 0;
    const scan = scanOf([...many, "b"]);
    const page = listKeys(
      (from, limit) => {
        const rows = scan(from, limit);
        scannedRows += rows.length;
        return rows;
      },
      { prefix: "", delimiter: "/", after: "", maxKeys: 1000 },
    );
    expect(page.commonPrefixes).toEqual(["a/"]);
    expect(scannedRows).toBeLessThan(600);
  });

  test("pages of any size give every name once and in order", () => {
    const key = fc.string({ unit: fc.constantFrom("a", "b", "/", "\0", "é", "🚀"), minLength: 1 });
    fc.assert(
      fc.property(
        fc.array(key, { maxLength: 30 }),
        fc.constantFrom("", "a", "a/", "/"),
        fc.constantFrom("", "/", "b", "a/"),
        fc.integer({ min: 1, max: 5 }),
        (some, prefix, delimiter, maxKeys) => {
          const names = allPages(some, { prefix, delimiter, maxKeys });
          expect(names.toSorted(byBytes)).toEqual(expected(some, prefix, delimiter));
        },
      ),
      { numRuns: 300 },
    );
  });
});
