import { describe, expect, test } from "bun:test";
import { parseEntityTag, parseEtagList, strongEquals, weakEquals } from "../../../src/http/etag.ts";

const strong = (opaque: string) => ({ isWeak: false, opaque });
const weak = (opaque: string) => ({ isWeak: true, opaque });

describe("an entity tag", () => {
  test.each([
    ['"abc"', strong("abc")],
    ['""', strong("")],
    ['W/"abc"', weak("abc")],
    ['"a b, c"', strong("a b, c")],
    ["abc-2", strong("abc-2")],
    [' "abc" ', strong("abc")],
  ])("%j is read", (text, expected) => {
    expect(parseEntityTag(text)).toEqual(expected);
  });

  test.each(["", '"abc', 'abc"', 'w/"abc"', '"a" "b"', "a, b"])("%j is none", (text) => {
    expect(parseEntityTag(text)).toBeUndefined();
  });
});

describe("a list of entity tags", () => {
  test.each([
    ["*", "*"],
    [" * ", "*"],
    ['"a"', [strong("a")]],
    ['"a", W/"b" ,"c"', [strong("a"), weak("b"), strong("c")]],
    ['"a,b", "c"', [strong("a,b"), strong("c")]],
    ["a, b", [strong("a"), strong("b")]],
    [', ,"a",,', [strong("a")]],
    ['" ", "a "', [strong(" "), strong("a ")]],
    ["", []],
    ['"a', [strong("a")]],
  ] as const)("%j", (text, expected) => {
    expect(parseEtagList(text)).toEqual(expected as never);
  });
});

// RFC 9110 §8.8.3.2, the table of the section.
describe("comparison", () => {
  test.each([
    ['W/"1"', 'W/"1"', false, true],
    ['W/"1"', 'W/"2"', false, false],
    ['W/"1"', '"1"', false, true],
    ['"1"', '"1"', true, true],
  ] as const)("%s and %s: strong %p, weak %p", (left, right, isStrong, isWeak) => {
    const a = parseEntityTag(left);
    const b = parseEntityTag(right);
    if (a === undefined || b === undefined) throw new Error("not a tag");
    expect(strongEquals(a, b)).toBe(isStrong);
    expect(weakEquals(a, b)).toBe(isWeak);
  });
});
