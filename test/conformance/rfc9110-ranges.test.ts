// RFC 9110 §14 as a table: which bytes of an object a Range header names, as S3 answers it.
// The rows are the specification; the function under test is pure, so nothing else is needed.

import { describe, expect, test } from "bun:test";
import {
  formatContentRange,
  formatRange,
  formatUnsatisfiedRange,
  parseContentRange,
  parseRangeHeader,
  resolveRange,
} from "../../src/http/range.ts";

const WHOLE = "whole";
const UNSATISFIABLE = "unsatisfiable";

/** [header, size of the object, expected bytes as [start, end) or outcome, why] */
type Row = readonly [
  header: string | undefined,
  sizeBytes: number,
  expected: readonly [number, number] | typeof WHOLE | typeof UNSATISFIABLE,
  why: string,
];

const rows: readonly Row[] = [
  [undefined, 10, WHOLE, "no header asks for everything"],
  // Forms of §14.1.2, with the example object of 10000 bytes.
  ["bytes=0-499", 10_000, [0, 500], "the first 500 bytes"],
  ["bytes=500-999", 10_000, [500, 1000], "the second 500 bytes"],
  ["bytes=-500", 10_000, [9500, 10_000], "the last 500 bytes"],
  ["bytes=9500-", 10_000, [9500, 10_000], "from an offset to the end"],
  ["bytes=0-0", 10_000, [0, 1], "the first byte only"],
  ["bytes=-1", 10_000, [9999, 10_000], "the last byte only"],
  ["bytes=9999-9999", 10_000, [9999, 10_000], "exactly the last byte"],
  ["bytes=0-", 10_000, [0, 10_000], "everything, still a range"],
  ["bytes=0-9999", 10_000, [0, 10_000], "everything by its exact bounds"],
  // Beyond the end: clamped (§14.1.2), unless nothing is left.
  ["bytes=9990-20000", 10_000, [9990, 10_000], "a last position beyond the end is clamped"],
  ["bytes=0-10000", 10_000, [0, 10_000], "one byte beyond the end is clamped"],
  ["bytes=-20000", 10_000, [0, 10_000], "a suffix longer than the object is all of it"],
  ["bytes=-10000", 10_000, [0, 10_000], "a suffix as long as the object is all of it"],
  ["bytes=10000-", 10_000, UNSATISFIABLE, "the first position is one beyond the last byte"],
  ["bytes=10000-10001", 10_000, UNSATISFIABLE, "both positions are beyond the end"],
  ["bytes=-0", 10_000, UNSATISFIABLE, "a suffix of no bytes cannot be named by Content-Range"],
  // Positions beyond what fits a double, as Java's Long.MAX_VALUE.
  ["bytes=0-9223372036854775807", 10, [0, 10], "64-bit positions are clamped like any other"],
  ["bytes=9223372036854775807-", 10, UNSATISFIABLE, "a 64-bit first position is beyond the end"],
  ["bytes=-9223372036854775807", 10, [0, 10], "a 64-bit suffix is all of it"],
  [`bytes=0-${"9".repeat(400)}`, 10, [0, 10], "positions without any bound are clamped too"],
  ["bytes=000-001", 10, [0, 2], "leading zeros are digits"],
  // The empty object.
  ["bytes=0-", 0, UNSATISFIABLE, "an empty object has no first byte"],
  ["bytes=0-0", 0, UNSATISFIABLE, "an empty object has no first byte"],
  ["bytes=-5", 0, UNSATISFIABLE, "an empty object has no last bytes"],
  ["bytes=-0", 0, UNSATISFIABLE, "an empty object has no range at all"],
  ["bytes=5-2", 0, WHOLE, "an invalid range is ignored, whatever the size"],
  // The object of one byte.
  ["bytes=0-0", 1, [0, 1], "its only byte"],
  ["bytes=-1", 1, [0, 1], "its last byte is its only byte"],
  ["bytes=1-", 1, UNSATISFIABLE, "there is no second byte"],
  // Invalid: ignored (§14.2), answered 200 like S3 does.
  ["bytes=5-2", 10, WHOLE, "first behind last is invalid, not unsatisfiable (§14.1.1)"],
  ["bytes=20-10", 10, WHOLE, "first behind last is invalid even beyond the end"],
  ["bytes=", 10, WHOLE, "no range after the unit"],
  ["bytes=-", 10, WHOLE, "a hyphen alone names nothing"],
  ["bytes", 10, WHOLE, "a unit alone"],
  ["", 10, WHOLE, "an empty value"],
  ["0-5", 10, WHOLE, "no unit"],
  ["bytes 0-5", 10, WHOLE, "that is Content-Range's syntax"],
  ["bytes=a-b", 10, WHOLE, "not digits"],
  ["bytes=0-5x", 10, WHOLE, "rubbish behind the range"],
  ["bytes=+0-5", 10, WHOLE, "a sign is no digit"],
  ["bytes=0.5-5", 10, WHOLE, "a fraction is no position"],
  ["bytes=0x0-0x5", 10, WHOLE, "hexadecimal is no position"],
  ["bytes=0--5", 10, WHOLE, "a negative position"],
  ["bytes=--5", 10, WHOLE, "a doubled hyphen"],
  ["bytes=0-5-9", 10, WHOLE, "three positions"],
  ["bytes=٠-٥", 10, WHOLE, "digits of another script are not DIGIT"],
  ["bytes=0 - 5", 10, WHOLE, "no space inside a range"],
  ["bytes =0-5", 10, WHOLE, "no space before the equals sign"],
  ["bytes=0-5\u0000", 10, WHOLE, "a control character"],
  // Units (§14.1): case-insensitive, and unknown ones ignored.
  ["Bytes=0-5", 10, [0, 6], "range units are case-insensitive"],
  ["BYTES=-3", 10, [7, 10], "range units are case-insensitive"],
  ["items=0-5", 10, WHOLE, "an unknown unit is ignored"],
  ["bits=0-5", 10, WHOLE, "an unknown unit is ignored"],
  // Lists (§5.6.1): empty members are ignored, several ranges are not honoured.
  ["bytes= 0-5", 10, [0, 6], "blanks around a list member"],
  ["bytes=0-5 ", 10, [0, 6], "blanks around a list member"],
  ["bytes=\t0-5\t", 10, [0, 6], "tabs around a list member"],
  ["bytes=,0-5", 10, [0, 6], "an empty member before"],
  ["bytes=0-5,", 10, [0, 6], "an empty member behind"],
  ["bytes=, ,0-5 , ,", 10, [0, 6], "empty members on both sides"],
  ["bytes=0-1,4-5", 10, WHOLE, "S3 does not answer several ranges"],
  ["bytes=0-1, 4-5", 10, WHOLE, "S3 does not answer several ranges"],
  ["bytes=0-1,bytes=4-5", 10, WHOLE, "two headers joined"],
  ["bytes=0-0,-1", 10, WHOLE, "several ranges, one a suffix"],
  ["bytes=100-200,300-", 10, WHOLE, "several ranges, none satisfiable"],
];

describe("a Range header", () => {
  test.each(rows)("%j on %d bytes gives %j: %s", (header, sizeBytes, expected) => {
    const request = resolveRange(header, sizeBytes);
    if (typeof expected === "string") {
      expect(request.kind).toBe(expected);
    } else {
      const [start, end] = expected;
      expect(request).toEqual({ kind: "partial", range: { start, end } });
    }
  });
});

describe("a Range header read before the size is known", () => {
  test.each([
    [undefined, { kind: "whole" }],
    ["bytes=0-499", { kind: "span", start: 0, end: 500 }],
    ["bytes=500-", { kind: "span", start: 500, end: undefined }],
    ["bytes=-500", { kind: "suffix", lengthBytes: 500 }],
    ["bytes=0-1,2-3", { kind: "whole" }],
    ["bytes=5-2", { kind: "whole" }],
  ] as const)("%j says %j", (header, expected) => {
    expect(parseRangeHeader(header)).toEqual(expected);
  });

  test("keeps even the largest position exact enough to add one to", () => {
    const spec = parseRangeHeader("bytes=0-99999999999999999999");
    expect(spec).toEqual({ kind: "span", start: 0, end: Number.MAX_SAFE_INTEGER });
  });
});

describe("a Content-Range value", () => {
  test.each([
    ["bytes 0-499/1234", { range: { start: 0, end: 500 }, sizeBytes: 1234 }],
    ["bytes 0-0/1", { range: { start: 0, end: 1 }, sizeBytes: 1 }],
    ["bytes 42-1233/1234", { range: { start: 42, end: 1234 }, sizeBytes: 1234 }],
    ["bytes 42-1233/*", { range: { start: 42, end: 1234 }, sizeBytes: undefined }],
    ["bytes */1234", { range: undefined, sizeBytes: 1234 }],
    ["bytes */0", { range: undefined, sizeBytes: 0 }],
    ["Bytes 0-1/2", { range: { start: 0, end: 2 }, sizeBytes: 2 }],
    [" bytes 0-1/2 ", { range: { start: 0, end: 2 }, sizeBytes: 2 }],
  ] as const)("%j is read as %j", (value, expected) => {
    expect(parseContentRange(value)).toEqual(expected);
  });

  test.each([
    ["", "empty"],
    ["bytes */*", "says nothing"],
    ["bytes 5-4/10", "ends before it starts"],
    ["bytes 0-10/10", "reaches beyond the size"],
    ["bytes 0-/10", "has no end"],
    ["bytes -5/10", "has no start"],
    ["bytes=0-5/10", "is written like a request"],
    ["items 0-5/10", "counts another unit"],
    ["bytes 0-5", "has no size"],
    ["bytes 0-5/x", "has no number for a size"],
    ["bytes 0-9999999999999999/99999999999999999", "is not exact in a double"],
  ])("%j is refused: it %s", (value) => {
    expect(parseContentRange(value)).toBeUndefined();
  });

  test("comes out as it went in", () => {
    const range = { start: 7, end: 19 };
    expect(formatContentRange(range, 100)).toBe("bytes 7-18/100");
    expect(parseContentRange(formatContentRange(range, 100))).toEqual({ range, sizeBytes: 100 });
    expect(formatUnsatisfiedRange(100)).toBe("bytes */100");
    expect(resolveRange(formatRange(range), 100)).toEqual({ kind: "partial", range });
  });
});
