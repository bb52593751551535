import { describe, expect, test } from "bun:test";
import {
  formatAmzDate,
  formatHttpDate,
  parseAmzDate,
  parseHttpDate,
} from "../../../src/http/date.ts";

const EXAMPLE_MS = Date.UTC(1994, 10, 6, 8, 49, 37);

describe("an HTTP date", () => {
  test.each([
    ["Sun, 06 Nov 1994 08:49:37 GMT", EXAMPLE_MS, "the preferred form"],
    ["Sunday, 06-Nov-94 08:49:37 GMT", EXAMPLE_MS, "the RFC 850 form"],
    ["Sun Nov  6 08:49:37 1994", EXAMPLE_MS, "the asctime form"],
    ["Sun, 06 Nov 1994 08:49:37 +0000", EXAMPLE_MS, "a numeric zone, as some signers write"],
    ["Sun, 06 Nov 1994 09:49:37 +0100", EXAMPLE_MS, "a zone east of Greenwich"],
    ["Sun, 06 Nov 1994 03:19:37 -0530", EXAMPLE_MS, "a zone west of Greenwich"],
    ["Thu, 01 Jan 1970 00:00:00 GMT", 0, "the beginning"],
    ["Wednesday, 01-Jan-69 00:00:00 GMT", Date.UTC(1969, 0, 1), "two digits of the last century"],
    ["Friday, 01-Jan-38 00:00:00 GMT", Date.UTC(2038, 0, 1), "two digits of this century"],
    ["Sat, 29 Feb 2020 12:00:00 GMT", Date.UTC(2020, 1, 29, 12), "a leap day"],
    ["Sat, 31 Dec 2016 23:59:60 GMT", Date.UTC(2017, 0, 1), "a leap second"],
    ["Mon, 06 Nov 1994 08:49:37 GMT", EXAMPLE_MS, "a wrong weekday is not looked at"],
    [" Sun, 06 Nov 1994 08:49:37 GMT ", EXAMPLE_MS, "blanks around it"],
  ])("%s is read: %p (%s)", (text, expected) => {
    expect(parseHttpDate(text)).toBe(expected);
  });

  test.each([
    "",
    "yesterday",
    "1994-11-06T08:49:37Z",
    "784111777",
    "Sun, 6 Nov 1994 08:49:37 GMT",
    "Sun, 06 nov 1994 08:49:37 GMT",
    "Sun, 06 Nov 94 08:49:37 GMT",
    "Sun, 06 Nov 1994 8:49:37 GMT",
    "Sun, 06 Nov 1994 24:00:00 GMT",
    "Sun, 06 Nov 1994 08:60:37 GMT",
    "Sun, 31 Feb 2021 00:00:00 GMT",
    "Sun, 29 Feb 2021 00:00:00 GMT",
    "Sun, 00 Nov 1994 08:49:37 GMT",
    "Sun, 06 Nov 1994 08:49:37 CET",
    "Sun, 06 Nov 1994 08:49:37",
  ])("%j is none", (text) => {
    expect(parseHttpDate(text)).toBeUndefined();
  });

  test("is written in the preferred form, without fractions", () => {
    expect(formatHttpDate(EXAMPLE_MS + 999)).toBe("Sun, 06 Nov 1994 08:49:37 GMT");
  });
});

describe("a date in a signature", () => {
  test("is read and written", () => {
    const timeMs = Date.UTC(2026, 6, 24, 1, 2, 3);
    expect(parseAmzDate("20260724T010203Z")).toBe(timeMs);
    expect(formatAmzDate(timeMs + 999)).toBe("20260724T010203Z");
  });

  test.each([
    "",
    "20260724",
    "2026-07-24T01:02:03Z",
    "20261324T010203Z",
    "20260732T010203Z",
    "20260724T250203Z",
    "20260724t010203z",
  ])("%j is none", (text) => {
    expect(parseAmzDate(text)).toBeUndefined();
  });
});
