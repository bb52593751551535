// Goal: every spelling a value may have, and what is said about the others.

import { describe, expect, test } from "bun:test";

import {
  formatByteSize,
  formatByteSizeRounded,
  parseByteSize,
} from "../../../src/base/byte-size.ts";
import { formatDuration, parseDuration } from "../../../src/base/duration.ts";
import { Secret } from "../../../src/base/secret.ts";
import {
  boolean,
  choice,
  duration,
  integer,
  list,
  secret,
  size,
  text,
} from "../../../src/config/option.ts";
import { formatValue, readValue } from "../../../src/config/values.ts";

const MIB = 1024 * 1024;

describe("sizes", () => {
  test.each([
    ["4096", 4096, "bytes without a unit"],
    ["0", 0, "zero"],
    ["64KiB", 65_536, "binary unit"],
    ["64 kib", 65_536, "any case, with a space"],
    ["1GB", 1_000_000_000, "decimal unit"],
    ["1.5MiB", 1.5 * MIB, "a fraction that is whole in bytes"],
    ["1.1GB", 1_100_000_000, "not whole in binary floating point, but meant"],
    ["-1", -1, "negative, for the options that give it a meaning"],
    ["12B", 12, "bytes by name"],
  ])("reads %s as %d bytes (%s)", (written, expected) => {
    expect(parseByteSize(written)).toBe(expected);
  });

  test.each(["100M", "1.1KiB", "1e3", "0x10", "MiB", "", "1 0", "9007199254740993", "1PiB", "∞"])(
    "does not read %p",
    (written) => expect(parseByteSize(written)).toBeUndefined(),
  );

  test.each([0, 1, 1000, 1024, 65_537, 16 * MIB, 3 * 1024 ** 4])(
    "formats %d so that it parses back",
    (value) => {
      expect(parseByteSize(formatByteSize(value))).toBe(value);
    },
  );

  test("rounds for people", () => {
    expect([312, 1536, 5 * MIB].map(formatByteSizeRounded)).toEqual([
      "312 B",
      "1.5 KiB",
      "5.0 MiB",
    ]);
  });
});

describe("durations", () => {
  test.each([
    ["60m", 3_600_000],
    ["1h30m", 5_400_000],
    ["500ms", 500],
    ["1.5s", 1_500],
    [".5s", 500],
    ["0", 0],
    ["250us", 0.25],
    ["-1s", -1_000],
    ["1h0m1s", 3_601_000],
  ])("reads %s as %d ms", (written, expected) => {
    expect(parseDuration(written)).toBe(expected);
  });

  test.each(["60", "1d", "h", "", "1 h", "1h-30m", "ms", "1hour"])(
    "does not read %p",
    (written) => {
      expect(parseDuration(written)).toBeUndefined();
    },
  );

  test.each([0, 1, 0.25, 999, 60_000, 3_600_000, 5_400_000, 86_400_001, -1_500])(
    "formats %d ms so that it parses back",
    (value) => expect(parseDuration(formatDuration(value))).toBe(value),
  );

  test("prefers the short spelling", () => {
    expect([3_600_000, 75_000, 0].map(formatDuration)).toEqual(["1h", "1m15s", "0s"]);
  });
});

describe("secrets", () => {
  const hidden = new Secret("wJalrXUtnFEMI");

  test("show themselves to nobody who does not ask", () => {
    const shown = [String(hidden), JSON.stringify({ hidden }), Bun.inspect({ hidden })];
    for (const shape of shown) expect(shape).not.toContain("wJal");
    expect(Object.keys(hidden)).toEqual([]);
    expect(hidden.reveal()).toBe("wJalrXUtnFEMI");
  });

  test("have the same fingerprint on two nodes, and different secrets a different one", () => {
    expect(hidden.fingerprint()).toMatch(/^fp:[0-9a-f]{8}$/);
    expect(new Secret("wJalrXUtnFEMI").fingerprint()).toBe(hidden.fingerprint());
    expect(new Secret("another").fingerprint()).not.toBe(hidden.fingerprint());
  });
});

describe("values of options", () => {
  const help = "";
  const port = integer({ default: 8080, min: 0, max: 65_535, help });
  const limit = integer({ default: 1024, isZeroDefault: true, isNegativeUnlimited: true, help });
  const bytes = size({ default: 0, min: 0, help });
  const ttl = duration({ default: 1, min: 1, help });
  const flag = boolean({ default: false, help });
  const policy = choice({ default: "lru", choices: ["lru", "fifo", "auto"], help });
  const seeds = list({ help });
  const rules = list({ separator: ";", help });
  const key = secret({ help });
  const name = text({ default: "", help });
  const options = { port, limit, bytes, ttl, flag, policy, seeds, rules, key, name };

  test.each([
    ["port", "8080", 8080],
    ["port", " 0 ", 0],
    ["limit", "-1", Number.POSITIVE_INFINITY],
    ["bytes", "1GiB", 1024 ** 3],
    ["ttl", "60m", 3_600_000],
    ["flag", "YES", true],
    ["flag", "off", false],
    ["policy", " FIFO ", "fifo"],
    ["seeds", "a:7000, b:7000,,", ["a:7000", "b:7000"]],
    ["rules", "status=503,count=1; stall", ["status=503,count=1", "stall"]],
    ["name", " node-1 ", "node-1"],
  ] as const)("read a %s of %p", (option, written, expected) => {
    expect(readValue(options[option], written)).toEqual({ kind: "value", value: expected });
  });

  test("turn a negated boolean round", () => {
    expect(readValue(flag, "true", true)).toEqual({ kind: "value", value: false });
    expect(readValue(flag, "0", true)).toEqual({ kind: "value", value: true });
  });

  test.each([
    ["port", "", "empty"],
    ["limit", "0", "the zero of the original"],
    ["name", "  ", "blank"],
  ] as const)("count as not given: a %s of %p (%s)", (option, written) => {
    expect(readValue(options[option], written).kind).toBe("unset");
  });

  test.each([
    ["port", "abc", "malformed", /"abc" is not a whole number/],
    ["port", "80.5", "malformed", /not a whole number/],
    ["port", "1e3", "malformed", /not a whole number/],
    ["port", "99999999999999999999", "malformed", /not a whole number/],
    ["port", "-5", "refused", /-5 is out of range/],
    ["port", "70000", "refused", /out of range/],
    ["bytes", "-1", "refused", /out of range/],
    ["bytes", "100M", "malformed", /"100M" is not a size/],
    ["ttl", "60", "malformed", /"60" is not a duration/],
    ["ttl", "0s", "refused", /0s is out of range/],
    ["flag", "maybe", "malformed", /"maybe" is not a boolean/],
    ["policy", "lfu", "refused", /"lfu" must be "lru", "fifo" or "auto"/],
    ["name", "a\nb", "malformed", /control characters/],
    ["key", "s3cret\u0000", "malformed", /control characters/],
  ] as const)("refuse a %s of %p as %s", (option, written, kind, message) => {
    const read = readValue(options[option], written);
    if (read.kind !== "malformed" && read.kind !== "refused")
      throw new Error(`it read ${read.kind}`);
    expect(read.kind).toBe(kind);
    expect(read.message).toMatch(message);
    expect(read.message).not.toContain("s3cret");
  });

  test("are shown in the spelling of the file, secrets as fingerprints", () => {
    expect(formatValue(limit, Number.POSITIVE_INFINITY)).toBe("unlimited");
    expect(formatValue(bytes, 16 * MIB)).toBe("16MiB");
    expect(formatValue(ttl, 5_400_000)).toBe("1h30m");
    expect(formatValue(rules, ["a,b", "c"])).toBe("a,b;c");
    expect(formatValue(key, new Secret("x"))).toStartWith("fp:");
    expect(formatValue(name, undefined)).toBe("");
  });
});
