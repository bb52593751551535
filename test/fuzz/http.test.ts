// Goal: no header or target of a stranger makes a parser throw, hang or say something false.
// Method: fast-check makes text near the grammar (from its own pieces) and far from it; each
// property is an invariant or a slow obvious version of the same rule.

import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import { systemClock } from "../../src/base/clock.ts";
import { parseCacheControl } from "../../src/http/cache-control.ts";
import { evaluatePreconditions, ifRangeMatches } from "../../src/http/conditional.ts";
import { formatAmzDate, formatHttpDate, parseAmzDate, parseHttpDate } from "../../src/http/date.ts";
import { parseEntityTag, parseEtagList } from "../../src/http/etag.ts";
import { Fields } from "../../src/http/fields.ts";
import { stripHopByHop } from "../../src/http/hop-by-hop.ts";
import {
  formatContentRange,
  parseContentRange,
  parseRangeHeader,
  resolveRange,
} from "../../src/http/range.ts";
import {
  decodePercent,
  encodePath,
  encodeQueryComponent,
  parseRawTarget,
} from "../../src/http/raw-target.ts";
import { effort, FUZZ_TIMEOUT_MS } from "./effort.ts";

/** Text made of pieces of a grammar, so that it is often nearly right. */
function near(...pieces: readonly string[]): fc.Arbitrary<string> {
  const piece = fc.oneof(fc.constantFrom(...pieces), fc.string({ maxLength: 3 }));
  return fc.oneof(
    { weight: 4, arbitrary: fc.array(piece, { maxLength: 12 }).map((parts) => parts.join("")) },
    { weight: 1, arbitrary: fc.string({ unit: "binary" }) },
  );
}

const targets = near(
  "/",
  "?",
  "&",
  "=",
  "%",
  "%2F",
  "%2e",
  "%ff",
  "%C3%BC",
  "..",
  ".",
  "a",
  "+",
  "#",
  ";",
);
const ranges = near(
  "bytes",
  "=",
  "-",
  ",",
  " ",
  "\t",
  "0",
  "1",
  "499",
  "99999999999999999999",
  "items",
);
const contentRanges = near("bytes", " ", "-", "/", "*", "0", "1", "499", "99999999999999999999");
const etags = near('"', "W/", ",", " ", "*", "a", "\\", '"a"', 'W/"b"');
const directives = near("no-store", "max-age", "=", ",", '"', "\\", " ", "0", "60", "private", ";");
const dates = near(
  "Sun, ",
  "06 ",
  "Nov ",
  "1994 ",
  "08:49:37 ",
  "GMT",
  "Sunday, ",
  "06-Nov-94 ",
  "+0100",
  " 6",
);

function check<T>(title: string, arbitrary: fc.Arbitrary<T>, property: (value: T) => void): void {
  const run = () => fc.assert(fc.property(arbitrary, property), effort());
  test(title, run, FUZZ_TIMEOUT_MS);
}

describe("a raw target", () => {
  check("is cut without losing a byte, or refused", targets, (raw) => {
    const target = parseRawTarget(raw);
    if (target === undefined) return;
    const { rawPath, rawQuery } = target;
    expect(raw === rawPath ? rawPath : `${rawPath}?${rawQuery}`).toBe(raw);
    expect(decodePercent(rawPath)).toBe(target.path);
    const rebuilt = target.query.map(({ rawName, rawValue, hasEquals }) =>
      hasEquals ? `${rawName}=${rawValue}` : rawName,
    );
    expect(rebuilt.join("&")).toBe(
      rawQuery
        .split("&")
        .filter((pair) => pair !== "")
        .join("&"),
    );
  });

  check("made from any key leads back to it", fc.string({ unit: "grapheme" }), (key) => {
    expect(parseRawTarget(`/b/${encodePath(key)}`)?.path).toBe(`/b/${key}`);
  });

  check(
    "made from any parameter leads back to it",
    fc.string({ unit: "grapheme", minLength: 1 }),
    (text) => {
      const encoded = encodeQueryComponent(text);
      const [param] = parseRawTarget(`/b?${encoded}=${encoded}`)?.query ?? [];
      expect(param).toMatchObject({ name: text, value: text, rawName: encoded, hasEquals: true });
    },
  );

  check("never decodes to what is not Unicode", targets, (text) => {
    const decoded = decodePercent(text);
    if (decoded !== undefined && text.isWellFormed()) expect(decoded.isWellFormed()).toBe(true);
  });
});

describe("a Range header", () => {
  const objects = fc.tuple(ranges, fc.nat({ max: 2000 }));

  check("names bytes that exist, at least one of them", objects, ([header, sizeBytes]) => {
    const request = resolveRange(header, sizeBytes);
    if (request.kind !== "partial") return;
    const { start, end } = request.range;
    expect(start >= 0 && start < end && end <= sizeBytes).toBe(true);
    const written = formatContentRange(request.range, sizeBytes);
    expect(parseContentRange(written)).toEqual({ range: request.range, sizeBytes });
  });

  check("means the same as byte by byte", objects, ([header, sizeBytes]) => {
    const request = resolveRange(header, sizeBytes);
    const named = slowlyNamedBytes(header, sizeBytes);
    if (named === undefined) expect(request.kind).toBe("whole");
    else if (named.length === 0) expect(request.kind).toBe("unsatisfiable");
    else
      expect(request).toMatchObject({ range: { start: named[0], end: (named.at(-1) ?? 0) + 1 } });
  });

  check("read without a size never gives numbers that are not exact", ranges, (header) => {
    const spec = parseRangeHeader(header);
    if (spec.kind === "span") {
      expect(Number.isSafeInteger(spec.start)).toBe(true);
      if (spec.end !== undefined) expect(Number.isSafeInteger(spec.end)).toBe(true);
    }
  });

  check("is not confused with a Content-Range", contentRanges, (value) => {
    const parsed = parseContentRange(value);
    if (parsed?.range === undefined) return;
    const { range, sizeBytes } = parsed;
    expect(range.start).toBeLessThan(range.end);
    if (sizeBytes !== undefined) expect(range.end).toBeLessThanOrEqual(sizeBytes);
  });
});

/** RFC 9110 §14.1 as a loop over every byte; undefined when the header is to be ignored. */
function slowlyNamedBytes(header: string, sizeBytes: number): number[] | undefined {
  const [unit, ...rest] = header.split("=");
  if (unit?.toLowerCase() !== "bytes" || rest.length !== 1) return undefined;
  const members = (rest[0] ?? "")
    .split(",")
    .map((member) => member.replace(/^[ \t]+|[ \t]+$/g, ""));
  const [member, ...others] = members.filter((text) => text !== "");
  if (member === undefined || others.length > 0) return undefined;
  const [first, last, ...more] = member.split("-");
  if (first === undefined || last === undefined || more.length > 0) return undefined;
  if (!/^\d*$/.test(first) || !/^\d*$/.test(last) || first + last === "") return undefined;
  if (first !== "" && last !== "" && BigInt(last) < BigInt(first)) return undefined;
  return Array.from({ length: sizeBytes }, (_, at) => at).filter((at) =>
    first === ""
      ? BigInt(at) >= BigInt(sizeBytes) - BigInt(last)
      : BigInt(at) >= BigInt(first) && (last === "" || BigInt(at) <= BigInt(last)),
  );
}

describe("entity tags", () => {
  check("of a list never hold a quote", etags, (text) => {
    const tags = parseEtagList(text);
    if (tags === "*") return;
    for (const { opaque } of tags) expect(opaque).not.toContain('"');
  });

  check("read alone are read the same in a list", etags, (text) => {
    const tag = parseEntityTag(text);
    if (tag !== undefined && text.trim() !== "*") expect(parseEtagList(text)).toEqual([tag]);
  });
});

describe("preconditions", () => {
  const values = fc.oneof(
    etags,
    dates,
    fc.constantFrom('"a"', "Sun, 06 Nov 1994 08:49:37 GMT", "*"),
  );
  const names = fc.constantFrom(
    "If-Match",
    "If-None-Match",
    "If-Modified-Since",
    "If-Unmodified-Since",
    "If-Range",
  );
  const requests = fc.array(fc.tuple(names, values), { maxLength: 5 });
  const stored = { etag: '"a"', lastModified: "Sun, 06 Nov 1994 08:49:37 GMT" };

  check("always come to a decision, and only reads are not modified", requests, (pairs) => {
    const fields = new Fields(pairs.flat());
    expect(evaluatePreconditions(fields, stored, "PUT")).not.toBe("not-modified");
    const read = evaluatePreconditions(fields, stored, "GET");
    expect(["proceed", "not-modified", "precondition-failed"]).toContain(read);
    expect(typeof ifRangeMatches(fields, stored)).toBe("boolean");
  });

  check("never fail without If-Match and If-Unmodified-Since", requests, (pairs) => {
    const fields = new Fields(pairs.filter(([name]) => !/match$|unmod/i.test(name)).flat());
    expect(evaluatePreconditions(fields, stored, "GET")).not.toBe("precondition-failed");
  });
});

describe("other fields", () => {
  check("Cache-Control gives seconds that can be reckoned with", directives, (value) => {
    const { maxAgeSeconds, sMaxAgeSeconds } = parseCacheControl(
      new Fields(["Cache-Control", value]),
    );
    for (const seconds of [maxAgeSeconds, sMaxAgeSeconds]) {
      if (seconds !== undefined) expect(Number.isSafeInteger(seconds) && seconds >= 0).toBe(true);
    }
  });

  check("an HTTP date that is read is one that can be written", dates, (text) => {
    const timeMs = parseHttpDate(text);
    if (timeMs !== undefined) expect(parseHttpDate(formatHttpDate(timeMs))).toBe(timeMs);
  });

  const seconds = fc.integer({ min: 0, max: 253_402_300_799 }).map((second) => second * 1000);
  check("any second can be written and read, both ways", seconds, (timeMs) => {
    expect(parseHttpDate(formatHttpDate(timeMs))).toBe(timeMs);
    expect(parseAmzDate(formatAmzDate(timeMs))).toBe(timeMs);
  });

  const fieldName = fc.constantFrom("Connection", "Host", "X-A", "TE", "Keep-Alive", "x-b");
  const messages = fc.array(fc.tuple(fieldName, near("x-a", "host", ",", " ", "close")));
  check("hop-by-hop fields go and order stays", messages, (pairs) => {
    const kept = stripHopByHop(pairs.flat());
    expect(kept.length % 2).toBe(0);
    expect(kept.filter((_, at) => at % 2 === 0)).not.toContain("Connection");
    expect(stripHopByHop(kept)).toEqual(kept);
  });
});

describe("hostile length", () => {
  const parsers: readonly (readonly [string, (text: string) => unknown])[] = [
    ["Range", (text) => parseRangeHeader(`bytes=${text}`)],
    ["entity tags", (text) => parseEtagList(text)],
    ["Cache-Control", (text) => parseCacheControl(new Fields(["cache-control", text]))],
    ["a date", (text) => parseHttpDate(text)],
    ["a target", (text) => parseRawTarget(`/${text}`)],
  ];
  test.each(parsers)("does not make %s slow", (_name, parse) => {
    const pieces = [" ", ",", '"', "\\", "=", "0", "-", "a", "%", 'a="', '"\\', ", ", "a =", "W/"];
    const startMs = systemClock.monotonicMs();
    for (const piece of pieces) parse(piece.repeat(Math.floor(16_384 / piece.length)));
    // A header section is bounded at tens of KiB; a quadratic parser would take seconds here.
    expect(systemClock.monotonicMs() - startMs).toBeLessThan(2000);
  });
});
