import { describe, expect, test } from "bun:test";

import { bytesSource } from "../../../src/base/byte-source.ts";
import type { Reply, ReplyBody } from "../../../src/http/exchange.ts";
import { Fields, fieldValue } from "../../../src/http/fields.ts";
import { frameReply, hasToken, requestHasBody } from "../../../src/server/framing.ts";
import { writeHead } from "../../../src/server/http1/head-writer.ts";
import { originForm } from "../../../src/server/target.ts";

const NONE: ReplyBody = { kind: "none" };
const FIVE: ReplyBody = { kind: "bytes", bytes: new Uint8Array(5) };
const UNKNOWN: ReplyBody = { kind: "stream", source: bytesSource(), lengthBytes: undefined };
const SEVEN: ReplyBody = { kind: "stream", source: bytesSource(), lengthBytes: 7 };

function reply(status: number, body: ReplyBody, headers: readonly string[] = []): Reply {
  return { status, headers, body };
}

describe("frameReply", () => {
  const length = (lengthBytes: number) => ({ kind: "length", lengthBytes }) as const;
  const empty = { kind: "empty" } as const;

  test.each([
    ["bytes", "GET", reply(200, FIVE), length(5), "5"],
    ["a stream of known length", "GET", reply(200, SEVEN), length(7), "7"],
    ["a stream of unknown length", "GET", reply(200, UNKNOWN), { kind: "chunked" }, undefined],
    [
      "a stream whose length only the header knows",
      "GET",
      reply(200, UNKNOWN, ["content-length", "9"]),
      length(9),
      "9",
    ],
    ["no body", "GET", reply(404, NONE), empty, "0"],
    [
      "HEAD with a declared length",
      "HEAD",
      reply(200, NONE, ["Content-Length", "12"]),
      empty,
      "12",
    ],
    ["HEAD with a body", "HEAD", reply(200, FIVE), empty, "5"],
    ["HEAD with nothing known", "HEAD", reply(200, NONE), empty, undefined],
    ["204", "PUT", reply(204, NONE), empty, undefined],
    ["304", "GET", reply(304, NONE), empty, undefined],
    [
      "304 with the length of the 200",
      "GET",
      reply(304, NONE, ["Content-Length", "9"]),
      empty,
      "9",
    ],
  ] as const)("%s", (_why, method, given, body, contentLength) => {
    const framing = frameReply(method, given);
    expect(framing.body).toEqual(body);
    expect(fieldValue(framing.headers, "content-length")).toBe(contentLength as string);
  });

  test.each([
    ["a wrong length", reply(200, FIVE, ["Content-Length", "6"])],
    ["a length and no body", reply(200, NONE, ["Content-Length", "6"])],
    ["framing of its own", reply(200, FIVE, ["Transfer-Encoding", "chunked"])],
    ["no number", reply(200, FIVE, ["Content-Length", "five"])],
  ])("a reply that contradicts itself throws: %s", (_why, given) => {
    expect(() => frameReply("GET", given)).toThrow();
  });
});

test.each([
  ["Content-Length", "5", true],
  ["Content-Length", "0", false],
  ["Transfer-Encoding", "chunked", true],
  ["X", "y", false],
])("a request with %s: %s has a body: %p", (name, value, expected) => {
  expect(requestHasBody(new Fields([name, value]))).toBe(expected);
});

test("tokens are found in lists in any case, as whole words", () => {
  expect(hasToken("a, Close ,b", "close")).toBe(true);
  expect(hasToken("closed", "close")).toBe(false);
  expect(hasToken(undefined, "close")).toBe(false);
});

test.each([
  ["origin form", "/b/k?x#y", "h", "/b/k?x#y"],
  ["dots stay", "/b/../k", "h", "/b/../k"],
  ["absolute form", "http://h/b/k?x", "h", "/b/k?x"],
  ["absolute form in another case", "HTTPS://H:1/b", "h:1", "/b"],
  ["absolute form without a path", "http://h", "h", "/"],
  ["absolute form with a query only", "http://h?x", "h", "/?x"],
  ["another authority", "http://other/b", "h", undefined],
  ["no Host to compare with", "http://h/b", undefined, undefined],
  ["credentials in the authority", "http://u@h/b", "h", undefined],
  ["asterisk form", "*", "h", undefined],
  ["authority form", "h:443", "h:443", undefined],
  ["no slash", "b/k", "h", undefined],
])("the origin form of a target: %s", (_why, target, host, expected) => {
  expect(originForm(target, host)).toBe(expected as string);
});

describe("writeHead", () => {
  const head = { status: 200, dateLine: "Date: now\r\n", isLast: false, isChunked: false };

  test("fields go out as they are, then the date and what becomes of the connection", () => {
    expect(writeHead({ ...head, headers: ["ETag", '"x"', "x-A", "", "etag", "\xe9"] })).toBe(
      'HTTP/1.1 200 OK\r\nETag: "x"\r\nx-A: \r\netag: \xe9\r\nDate: now\r\nConnection: keep-alive\r\n\r\n',
    );
    expect(writeHead({ ...head, headers: ["date", "then"], isLast: true, isChunked: true })).toBe(
      "HTTP/1.1 200 OK\r\ndate: then\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
    );
  });

  test.each([
    ["a line end in a value", ["X", "a\r\nEvil: b"]],
    ["a bare LF in a value", ["X", "a\nb"]],
    ["a NUL in a value", ["X", "a\0"]],
    ["a character that is no byte", ["X", "a\u2713"]],
    ["a colon in a name", ["X:", "a"]],
    ["an empty name", ["", "a"]],
  ])("%s throws", (_why, headers) => {
    expect(() => writeHead({ ...head, headers })).toThrow();
  });

  test.each([100, 199, 1000, 200.5, Number.NaN])("status %d throws", (status) => {
    expect(() => writeHead({ ...head, status, headers: [] })).toThrow();
  });
});
