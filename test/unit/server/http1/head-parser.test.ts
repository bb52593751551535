import { describe, expect, test } from "bun:test";

import { parseHead } from "../../../../src/server/http1/head-parser.ts";
import type { RequestHead } from "../../../../src/server/http1/head-parser.ts";

const LIMIT = 4096;

function parse(text: string, limitBytes = LIMIT) {
  return parseHead(Buffer.from(text, "latin1"), limitBytes);
}

function headOf(text: string): RequestHead {
  const result = parse(text);
  if (result.kind !== "complete") throw new Error(JSON.stringify(result));
  return result.head;
}

/** The status a header is refused with, or what else became of it. */
function verdict(text: string): number | string {
  const result = parse(text);
  return result.kind === "refused" ? result.status : result.kind;
}

/** A request with the given field lines behind a Host. */
function withFields(fields: string): string {
  return `POST / HTTP/1.1\r\nHost: x\r\n${fields}\r\n\r\n`;
}

test("a header is taken apart without changing anything but the blanks around values", () => {
  const head = headOf(
    "PUT /b/a%2Fb?x=1&y HTTP/1.1\r\nHOST: s3.example:8080\r\nX-A:\t one  two \t\r\nx-a:\r\nX-B: \xe9\xff\r\n\r\n",
  );
  expect(head.method).toBe("PUT");
  expect(head.target).toBe("/b/a%2Fb?x=1&y");
  expect(head.headers).toEqual([
    "HOST",
    "s3.example:8080",
    "X-A",
    "one  two",
    "x-a",
    "",
    "X-B",
    "\xe9\xff",
  ]);
  expect(head.host).toBe("s3.example:8080");
  expect(head.framing).toEqual({ kind: "none" });
  expect(head.isPersistent).toBe(true);
});

test("names are those of their own request, however much they look like others", () => {
  // Of one length and with the same ends; the first ones are known when the others come.
  const rounds = [
    ["X-Abc-Meta", "X-Meta"],
    ["X-Xyz-Meta", "X-Beta"],
    ["X-Abc-Meta", "X-beta"],
    ["x-abc-Meta", `X-${"a".repeat(100)}`],
    ["X-Abc-MetX", `X-${"b".repeat(99)}a`],
  ];
  for (const names of [...rounds, ...rounds.toReversed()]) {
    const head = headOf(withFields(names.map((name) => `${name}: of ${name}`).join("\r\n")));
    expect(head.headers.slice(2)).toEqual(names.flatMap((name) => [name, `of ${name}`]));
  }
});

test("bytes behind the header are left where they are", () => {
  const text = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
  expect(parse(`${text}GET /next`)).toMatchObject({ kind: "complete", sizeBytes: text.length });
});

test("one empty line before the request is skipped, a second one is refused", () => {
  expect(verdict("\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n")).toBe("complete");
  expect(verdict("\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n")).toBe(400);
});

test("a header cut at any byte is incomplete, never refused and never complete", () => {
  const text = "\r\nPUT /b/k HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nX-A: \xe9\r\n\r\n";
  for (let length = 0; length < text.length; length += 1) {
    expect(verdict(text.slice(0, length))).toBe("incomplete");
  }
});

describe("framing", () => {
  test.each([
    ["nothing said", "X: y", { kind: "none" }],
    ["a length", "Content-Length: 42", { kind: "length", lengthBytes: 42 }],
    ["a length of zero", "Content-Length: 0", { kind: "none" }],
    ["leading zeros", "Content-Length: 007", { kind: "length", lengthBytes: 7 }],
    ["chunked in any case", "transfer-ENCODING: ChunKed", { kind: "chunked" }],
  ] as const)("%s", (_why, fields, framing) => {
    expect(headOf(withFields(fields)).framing).toEqual(framing);
  });

  test.each([
    ["both framings", "Content-Length: 3\r\nTransfer-Encoding: chunked", 400],
    ["both framings, other order", "Transfer-Encoding: chunked\r\nContent-Length: 3", 400],
    ["two lengths", "Content-Length: 3\r\nContent-Length: 4", 400],
    ["the same length twice", "Content-Length: 3\r\nContent-Length: 3", 400],
    ["a list of lengths", "Content-Length: 3, 3", 400],
    ["a signed length", "Content-Length: +3", 400],
    ["a negative length", "Content-Length: -3", 400],
    ["a hexadecimal length", "Content-Length: 0x3", 400],
    ["a length with a space inside", "Content-Length: 1 0", 400],
    ["an empty length", "Content-Length:", 400],
    ["a length beyond 2^53", "Content-Length: 99999999999999999999", 400],
    ["a length with a full-width digit", "Content-Length: \xef\xbc\x93", 400],
    ["chunked twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 400],
    ["chunked in a list", "Transfer-Encoding: chunked, chunked", 501],
    ["another coding before chunked", "Transfer-Encoding: gzip, chunked", 501],
    ["identity", "Transfer-Encoding: identity", 501],
    ["chunked with a parameter", "Transfer-Encoding: chunked;a=b", 501],
    ["chunked in quotes", 'Transfer-Encoding: "chunked"', 501],
    ["chunked with a control character", "Transfer-Encoding: \x0bchunked", 400],
    ["an empty coding", "Transfer-Encoding:", 501],
  ] as const)("%s is refused", (_why, fields, status) => {
    expect(verdict(withFields(fields))).toBe(status);
  });

  test("Transfer-Encoding in HTTP/1.0 is refused", () => {
    expect(verdict("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n")).toBe(400);
  });
});

describe("grammar", () => {
  test.each([
    ["a blank before the colon", withFields("Content-Length : 3"), 400],
    ["a tab before the colon", withFields("X\t: y"), 400],
    ["an empty name", withFields(": y"), 400],
    ["a name with a space", withFields("X Y: z"), 400],
    ["a name beyond ASCII", withFields("X\xe9: y"), 400],
    ["a folded line", withFields("X: a\r\n b"), 400],
    ["a folded first line", "GET / HTTP/1.1\r\n Host: x\r\n\r\n", 400],
    ["a line without a colon", withFields("nonsense"), 400],
    ["a bare LF between fields", withFields("X: a\nY: b"), 400],
    ["a bare CR in a value", withFields("X: a\rY: b"), 400],
    ["a NUL in a value", withFields("X: a\0b"), 400],
    ["a DEL in a value", withFields("X: a\x7fb"), 400],
    ["bare LFs all over", "GET / HTTP/1.1\nHost: x\n\n", 400],
    ["two spaces before the target", "GET  / HTTP/1.1\r\nHost: x\r\n\r\n", 400],
    ["a tab in the request line", "GET\t/ HTTP/1.1\r\nHost: x\r\n\r\n", 400],
    ["a space behind the version", "GET / HTTP/1.1 \r\nHost: x\r\n\r\n", 400],
    ["a space in the target", "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", 400],
    ["a byte beyond ASCII in the target", "GET /\xe9 HTTP/1.1\r\nHost: x\r\n\r\n", 400],
    ["no version", "GET /\r\nHost: x\r\n\r\n", 400],
    ["a version in lower case", "GET / http/1.1\r\nHost: x\r\n\r\n", 400],
    ["HTTP/2", "PRI * HTTP/2.0\r\n\r\n", 505],
    ["HTTP/0.9", "GET / HTTP/0.9\r\nHost: x\r\n\r\n", 505],
    ["a method with a control character", "GE\x01T / HTTP/1.1\r\nHost: x\r\n\r\n", 400],
    ["a TLS hello", "\x16\x03\x01\x02\x00\x01\x00", 400],
  ] as const)("%s is refused", (_why, text, status) => {
    expect(verdict(text)).toBe(status);
  });

  test.each([
    ["HTTP/1.1 without Host", "GET / HTTP/1.1\r\n\r\n", 400],
    ["two Hosts", withFields("Host: y"), 400],
    ["two equal Hosts", withFields("hOST: x"), 400],
    ["a Host with a space", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400],
    ["a Host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400],
    ["a Host with credentials", "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400],
    ["a Host list", "GET / HTTP/1.1\r\nHost: a,b:c\r\n\r\n", 400],
  ] as const)("%s is refused", (_why, text, status) => {
    expect(verdict(text)).toBe(status);
  });

  test.each(["x", "x:80", "127.0.0.1:9", "[::1]:8080", "a-b_c.d", "", "%41"])(
    "Host: %s is accepted",
    (host) => {
      expect(headOf(`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`).host).toBe(host);
    },
  );

  test("HTTP/1.0 needs no Host and does not persist", () => {
    expect(headOf("GET / HTTP/1.0\r\n\r\n")).toMatchObject({
      minorVersion: 0,
      isPersistent: false,
    });
  });
});

test.each([
  ["close", "Connection: close", false],
  ["in any case", "connection: Close", false],
  ["in a list", "Connection: x-foo , close", false],
  ["in a second line", "Connection: x-foo\r\nConnection: close", false],
  ["part of a word is not it", "Connection: closed", true],
  ["keep-alive", "Connection: keep-alive", true],
] as const)("Connection: %s", (_why, fields, isPersistent) => {
  expect(headOf(withFields(fields)).isPersistent).toBe(isPersistent);
});

test.each([
  ["with a body", "Expect: 100-continue\r\nContent-Length: 3", true],
  ["in any case", "expect: 100-Continue\r\nTransfer-Encoding: chunked", true],
  ["without a body", "Expect: 100-continue\r\nContent-Length: 0", true],
  ["but another", "Expect: 200-ok\r\nContent-Length: 3", false],
] as const)("Expect: 100-continue %s", (_why, fields, awaitsContinue) => {
  expect(headOf(withFields(fields)).awaitsContinue).toBe(awaitsContinue);
});

test("a header longer than the limit is refused, complete or not", () => {
  const fields = `X: ${"a".repeat(200)}`;
  expect(parse(withFields(fields), 100)).toMatchObject({ kind: "refused", status: 431 });
  expect(parse(withFields(fields).slice(0, 150), 100)).toMatchObject({
    kind: "refused",
    status: 431,
  });
  expect(parse(withFields(fields), 1000)).toMatchObject({ kind: "complete" });
});
