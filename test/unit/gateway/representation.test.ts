// Which representation a request gets, as a table, and what becomes of the headers for each.

import { describe, expect, test } from "bun:test";
import { Fields } from "../../../src/http/fields.ts";
import {
  notModifiedHeaders,
  overriddenHeaders,
  partialHeaders,
  type Representation,
  selectRepresentation,
} from "../../../src/gateway/representation.ts";

const ETAG = '"a"';
const MODIFIED = "Sat, 29 Oct 1994 19:43:31 GMT";
const LATER = "Sat, 29 Oct 1994 19:43:32 GMT";
const OBJECT = { etag: ETAG, lastModified: MODIFIED };

const whole = "whole";
const notModified = "not-modified";
const failed = "precondition-failed";
const unsatisfiable = "unsatisfiable";

type Row = readonly [
  why: string,
  request: readonly string[],
  expected: Representation["kind"] | readonly [start: number, end: number],
];

const rows: readonly Row[] = [
  ["nothing special", [], whole],
  ["a range", ["Range", "bytes=10-19"], [10, 20]],
  ["an open range", ["Range", "bytes=90-"], [90, 100]],
  ["a suffix", ["Range", "bytes=-7"], [93, 100]],
  ["a range that ends beyond the object", ["Range", "bytes=95-200"], [95, 100]],
  ["a range of everything is still a part", ["Range", "bytes=0-99"], [0, 100]],
  ["a range beyond the end", ["Range", "bytes=100-"], unsatisfiable],
  ["a suffix of nothing", ["Range", "bytes=-0"], unsatisfiable],
  ["a malformed range is ignored", ["Range", "bytes=9-1"], whole],
  ["several ranges are ignored", ["Range", "bytes=0-1,5-6"], whole],
  ["another unit is ignored", ["Range", "lines=0-1"], whole],
  ["a matching If-None-Match", ["If-None-Match", ETAG], notModified],
  [
    "a matching If-None-Match before its range",
    ["If-None-Match", ETAG, "Range", "bytes=0-1"],
    notModified,
  ],
  ["If-None-Match with another tag", ["If-None-Match", '"b"', "Range", "bytes=0-1"], [0, 2]],
  [
    "a failed If-Match before an impossible range",
    ["If-Match", '"b"', "Range", "bytes=500-"],
    failed,
  ],
  ["a matching If-Match with a range", ["If-Match", ETAG, "Range", "bytes=0-1"], [0, 2]],
  ["not modified since", ["If-Modified-Since", LATER], notModified],
  [
    "If-None-Match decides over If-Modified-Since",
    ["If-None-Match", '"b"', "If-Modified-Since", LATER],
    whole,
  ],
  ["modified since", ["If-Unmodified-Since", "Fri, 28 Oct 1994 19:43:31 GMT"], failed],
  ["If-Range that matches", ["If-Range", ETAG, "Range", "bytes=0-1"], [0, 2]],
  ["If-Range with another tag: the whole", ["If-Range", '"b"', "Range", "bytes=0-1"], whole],
  [
    "If-Range with another tag and an impossible range: the whole",
    ["If-Range", '"b"', "Range", "bytes=500-"],
    whole,
  ],
  ["If-Range without a range", ["If-Range", '"b"'], whole],
];

describe("an object of 100 bytes", () => {
  for (const method of ["GET", "HEAD"]) {
    test.each(rows.map((row) => [...row]))(`${method}: %s`, (_why, request, expected) => {
      const chosen = selectRepresentation(new Fields(request), method, OBJECT, 100);
      if (typeof expected === "string") expect(chosen.kind).toBe(expected);
      else {
        const [start, end] = expected;
        expect(chosen).toEqual({ kind: "partial", range: { start, end } });
      }
    });
  }
});

describe("an empty object", () => {
  test.each([
    ["any range", "bytes=0-", unsatisfiable],
    ["any suffix", "bytes=-5", unsatisfiable],
    ["a malformed range", "bytes=x", whole],
  ])("%s", (_why, range, expected) => {
    const chosen = selectRepresentation(new Fields(["Range", range]), "GET", OBJECT, 0);
    expect(chosen.kind).toBe(expected as Representation["kind"]);
  });
});

const HEADERS = [
  ["Content-Type", "text/plain"],
  ["ETag", ETAG],
  ["x-amz-meta-A", "1"],
  ["x-amz-meta-A", "2"],
  ["Last-Modified", MODIFIED],
  ["Content-Length", "100"],
  ["Cache-Control", "max-age=5"],
  ["x-amz-checksum-crc32", "AAAAAA=="],
  ["Vary", "Origin"],
].flat();

test("a 206 has the headers of the 200, with its own length and place, and without checksums of the whole", () => {
  expect(partialHeaders(HEADERS, { start: 10, end: 20 }, 100)).toEqual(
    [
      ["Content-Type", "text/plain"],
      ["ETag", ETAG],
      ["x-amz-meta-A", "1"],
      ["x-amz-meta-A", "2"],
      ["Last-Modified", MODIFIED],
      ["Cache-Control", "max-age=5"],
      ["Vary", "Origin"],
      ["Accept-Ranges", "bytes"],
      ["Content-Length", "10"],
      ["Content-Range", "bytes 10-19/100"],
    ].flat(),
  );
});

test("a 206 says Accept-Ranges once, where upstream said it", () => {
  const headers = partialHeaders(["accept-ranges", "bytes", "ETag", ETAG], { start: 0, end: 1 }, 2);
  expect(headers.slice(0, 4)).toEqual(["accept-ranges", "bytes", "ETag", ETAG]);
  expect(new Fields(headers).all("accept-ranges")).toEqual(["bytes"]);
});

test("a 304 repeats what RFC 9110 asks for, in order, and nothing about a body", () => {
  expect(notModifiedHeaders(HEADERS)).toEqual(
    [
      ["ETag", ETAG],
      ["Last-Modified", MODIFIED],
      ["Cache-Control", "max-age=5"],
      ["Vary", "Origin"],
    ].flat(),
  );
});

describe("response overrides", () => {
  test("replace every field of the name, whatever its case, and come last in the order asked for", () => {
    const overrides = [
      { header: "Content-Type", value: "image/png" },
      { header: "Content-Disposition", value: "inline" },
    ];
    const headers = ["CONTENT-TYPE", "a", "ETag", ETAG, "content-type", "b"];
    expect(overriddenHeaders(headers, overrides)).toEqual([
      "ETag",
      ETAG,
      "Content-Type",
      "image/png",
      "Content-Disposition",
      "inline",
    ]);
  });

  test("of which there are none leave the headers alone", () => {
    expect(overriddenHeaders(HEADERS, [])).toBe(HEADERS);
  });
});
