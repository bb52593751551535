import { describe, expect, test } from "bun:test";
import {
  decodePercent,
  encodePath,
  encodeQueryComponent,
  parseRawTarget,
  queryValue,
} from "../../../src/http/raw-target.ts";
import { AWKWARD_KEYS } from "../../support/awkward-keys.ts";

describe("parseRawTarget", () => {
  test.each([
    ["/", "/", "", "/"],
    ["/b/k", "/b/k", "", "/b/k"],
    ["/b/k?a=1", "/b/k", "a=1", "/b/k"],
    ["/b/k?", "/b/k", "", "/b/k"],
    ["/b/k??a", "/b/k", "?a", "/b/k"],
    ["/b//k", "/b//k", "", "/b//k"],
    ["/b/../k", "/b/../k", "", "/b/../k"],
    ["/b/%2e%2e/k", "/b/%2e%2e/k", "", "/b/../k"],
    ["/b/./k/", "/b/./k/", "", "/b/./k/"],
    ["/b/a%2Fb", "/b/a%2Fb", "", "/b/a/b"],
    ["/b/a+b%20c", "/b/a+b%20c", "", "/b/a+b c"],
    ["/b/a#b", "/b/a#b", "", "/b/a#b"],
    ["/b/%E6%97%A5", "/b/%E6%97%A5", "", "/b/日"],
    ["/b/%EF%BB%BFx", "/b/%EF%BB%BFx", "", "/b/\uFEFFx"],
  ])("cuts %j without changing a byte", (raw, rawPath, rawQuery, path) => {
    expect(parseRawTarget(raw)).toMatchObject({ raw, rawPath, rawQuery, path });
  });

  test.each([
    ["", "empty"],
    ["*", "the asterisk form"],
    ["http://host/b/k", "the absolute form"],
    ["host:443", "the authority form"],
    ["b/k", "no leading slash"],
    ["/b/%", "an escape without digits"],
    ["/b/%4", "an escape cut short"],
    ["/b/%zz", "an escape that is not hexadecimal"],
    ["/b/%ff", "not UTF-8"],
    ["/b/%c0%af", "an overlong slash"],
    ["/b/%ed%a0%80", "a lone surrogate"],
    ["/b/a b", "a raw space"],
    ["/b/a\nb", "a raw newline"],
    ["/b/\u0000", "a raw NUL"],
    ["/b/é", "a raw non-ASCII character"],
  ])("refuses %j: %s", (raw) => {
    expect(parseRawTarget(raw)).toBeUndefined();
  });

  test("keeps order, repeats, flags and raw text of the query", () => {
    const target = parseRawTarget("/b?acl&x=&x=1%202&a%2Fb=c=d&&%zz=%");
    expect(target?.query).toEqual([
      { name: "acl", value: "", rawName: "acl", rawValue: "", hasEquals: false },
      { name: "x", value: "", rawName: "x", rawValue: "", hasEquals: true },
      { name: "x", value: "1 2", rawName: "x", rawValue: "1%202", hasEquals: true },
      { name: "a/b", value: "c=d", rawName: "a%2Fb", rawValue: "c=d", hasEquals: true },
      { name: "%zz", value: "%", rawName: "%zz", rawValue: "%", hasEquals: true },
    ]);
  });

  test("leaves a plus in the query a plus", () => {
    const target = parseRawTarget("/b?prefix=a+b");
    expect(target && queryValue(target, "prefix")).toBe("a+b");
  });

  test("gives the first value of a repeated parameter, and undefined for an absent one", () => {
    const target = parseRawTarget("/b?x=1&x=2&flag");
    if (target === undefined) throw new Error("refused");
    expect(queryValue(target, "x")).toBe("1");
    expect(queryValue(target, "flag")).toBe("");
    expect(queryValue(target, "y")).toBeUndefined();
  });

  test.each(AWKWARD_KEYS)("carries a key with $name there and back", ({ key }) => {
    const target = parseRawTarget(`/bucket/${encodePath(key)}`);
    expect(target?.path).toBe(`/bucket/${key}`);
    expect(target?.query).toEqual([]);
  });
});

describe("percent-encoding", () => {
  test("keeps the unreserved characters and the slash, and nothing else", () => {
    const ascii = Array.from({ length: 127 }, (_, code) => String.fromCharCode(code)).join("");
    const kept = encodePath(ascii).replace(/%[0-9A-F]{2}/g, "");
    expect(kept).toBe("-./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~");
    expect(decodePercent(encodePath(ascii))).toBe(ascii);
  });

  test("writes upper-case hexadecimal digits", () => {
    expect(encodePath("ü/*'()!")).toBe("%C3%BC/%2A%27%28%29%21");
  });

  test("encodes the slash in a query", () => {
    expect(encodeQueryComponent("a/b c+d")).toBe("a%2Fb%20c%2Bd");
  });

  test("turns a lone surrogate into the replacement character instead of throwing", () => {
    expect(encodePath("\ud800")).toBe("%EF%BF%BD");
  });
});
