// Every sentence of docs/configuration.md, "Rules", as a row.

import { describe, expect, test } from "bun:test";
import { type CacheRule, pinsOf, Rules } from "../../../src/cache/rules.ts";

const rule = (bucket: string, more: Partial<CacheRule> = {}): CacheRule => ({
  bucket,
  prefix: "",
  include: undefined,
  exclude: undefined,
  ttlMs: undefined,
  quotaBytes: undefined,
  isPinned: false,
  ...more,
});

describe("what is cached", () => {
  test.each([
    ["no rule", [], "b", "k", true],
    ["a rule for another bucket", [rule("c", { exclude: ["**"] })], "b", "k", true],
    ["exclude", [rule("b", { exclude: ["tmp/**"] })], "b", "tmp/a/b", false],
    ["exclude, another key", [rule("b", { exclude: ["tmp/**"] })], "b", "a/tmp/b", true],
    ["* stops at a slash", [rule("b", { exclude: ["*.log"] })], "b", "a/b.log", true],
    ["* at the top", [rule("b", { exclude: ["*.log"] })], "b", "b.log", false],
    ["** does not", [rule("b", { exclude: ["**/*.log"] })], "b", "a/b/c.log", false],
    ["** is nothing, too", [rule("b", { exclude: ["**/*.log"] })], "b", "c.log", false],
    ["? is one character", [rule("b", { exclude: ["part-?"] })], "b", "part-10", true],
    ["alternatives", [rule("b", { exclude: ["{tmp,log}/**"] })], "b", "log/x", false],
    ["upper case is another key", [rule("b", { exclude: ["tmp/**"] })], "b", "TMP/x", true],
    ["hidden names match", [rule("b", { exclude: ["*"] })], "b", ".hidden", false],
    ["include", [rule("b", { include: ["data/**"] })], "b", "data/x", true],
    ["include, another key", [rule("b", { include: ["data/**"] })], "b", "x", false],
    [
      "exclude wins over include",
      [rule("b", { include: ["data/**"], exclude: ["**/*.tmp"] })],
      "b",
      "data/x.tmp",
      false,
    ],
    ["a pattern of buckets", [rule("logs-*", { exclude: ["**"] })], "logs-eu", "k", false],
    ["another bucket than the pattern's", [rule("logs-*", { exclude: ["**"] })], "log", "k", true],
    [
      "an exception below",
      [rule("*", { exclude: ["**"] }), rule("b", { include: ["**"] })],
      "b",
      "k",
      true,
    ],
    [
      "the last rule that has the setting",
      [rule("b", { exclude: ["**"] }), rule("b", { ttlMs: 5 })],
      "b",
      "k",
      false,
    ],
    [
      "a prefix narrows a rule",
      [rule("b", { exclude: ["**"] }), rule("b", { prefix: "keep/", include: ["**"] })],
      "b",
      "keep/k",
      true,
    ],
    [
      "beside the prefix the rule above counts",
      [rule("b", { exclude: ["**"] }), rule("b", { prefix: "keep/", include: ["**"] })],
      "b",
      "other/k",
      false,
    ],
  ] as const)("%s", (_, rules, bucket, key, isCached) => {
    expect(new Rules(rules).admits({ bucket, key })).toBe(isCached);
  });
});

test("ttl and quota are those of the last rule that has them", () => {
  const rules = new Rules([
    rule("*", { ttlMs: 1000, quotaBytes: 10 }),
    rule("b", { ttlMs: 2000 }),
    rule("b", { prefix: "live/", ttlMs: 0 }),
    rule("big", { quotaBytes: 99 }),
  ]);
  expect(rules.ttlMs({ bucket: "a", key: "live/k" })).toBe(1000);
  expect(rules.ttlMs({ bucket: "b", key: "k" })).toBe(2000);
  expect(rules.ttlMs({ bucket: "b", key: "live/k" })).toBe(0);
  expect(rules.quotaBytes("b")).toBe(10);
  expect(rules.quotaBytes("big")).toBe(99);
  expect(new Rules([]).ttlMs({ bucket: "a", key: "k" })).toBeUndefined();
  expect(new Rules([]).quotaBytes("a")).toBeUndefined();
});

test("a client that invents buckets does not fill the memory", () => {
  const rules = new Rules([rule("b*", { exclude: ["x"] })]);
  for (let n = 0; n < 10_000; n += 1) rules.admits({ bucket: `b${n}`, key: "k" });
  expect(rules.admits({ bucket: "b1", key: "x" })).toBe(false);
});

test("pins are those of the rules that pin", () => {
  expect(pinsOf([rule("a", { ttlMs: 1 }), rule("b", { prefix: "p/", isPinned: true })])).toEqual([
    { bucket: "b", prefix: "p/" },
  ]);
});
