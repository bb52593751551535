import { expect, test } from "bun:test";

import { ChunkedDecoder, ChunkedError } from "../../../../src/server/http1/chunked-decoder.ts";

interface Decoded {
  readonly data: string;
  readonly rest: string;
  readonly isDone: boolean;
}

/** Feeds `text` in the given pieces. */
function decode(pieces: readonly string[]): Decoded {
  const decoder = new ChunkedDecoder();
  let data = "";
  let rest = "";
  for (const piece of pieces) {
    const bytes = Buffer.from(piece, "latin1");
    const used = decoder.push(bytes, (part) => (data += part.toString("latin1")));
    rest += bytes.toString("latin1", used);
  }
  return { data, rest, isDone: decoder.isDone };
}

const BODY = "5\r\nhello\r\nA;name=value\r\n0123456789\r\n000;x\r\nX-Trailer: \xe9\r\nY:\r\n\r\n";

test("data comes out without sizes, extensions and trailers; what follows is left", () => {
  expect(decode([`${BODY}GET /next`])).toEqual({
    data: "hello0123456789",
    rest: "GET /next",
    isDone: true,
  });
});

test("the result does not depend on where the bytes were cut", () => {
  for (let first = 0; first <= BODY.length; first += 1) {
    for (let second = first; second <= BODY.length; second += 1) {
      const pieces = [BODY.slice(0, first), BODY.slice(first, second), BODY.slice(second)];
      expect(decode(pieces)).toEqual({ data: "hello0123456789", rest: "", isDone: true });
    }
  }
});

test("a body cut anywhere is not done", () => {
  for (let length = 0; length < BODY.length; length += 1) {
    expect(decode([BODY.slice(0, length)]).isDone).toBe(false);
  }
});

test("an empty body is its last chunk", () => {
  expect(decode(["0\r\n\r\n"])).toEqual({ data: "", rest: "", isDone: true });
});

test.each([
  ["no size", "\r\nhello"],
  ["a size that is no number", "xyz\r\nhello"],
  ["a signed size", "+5\r\nhello\r\n"],
  ["a negative size", "-5\r\nhello\r\n"],
  ["a size with 0x", "0x5\r\nhello\r\n"],
  ["a blank before the size", " 5\r\nhello\r\n"],
  ["a blank behind the size", "5 \r\nhello\r\n"],
  ["a blank before an extension", "5 ;a\r\nhello\r\n"],
  ["a blank in an extension", "5; a\r\nhello\r\n"],
  ["a byte beyond ASCII in an extension", "5;\xe9\r\nhello\r\n"],
  ["a size beyond 2^53", "FFFFFFFFFFFFFFFF\r\nhello\r\n"],
  ["a bare LF behind the size", "5\nhello\r\n"],
  ["a bare CR behind the size", "5\rhello\r\n"],
  ["a bare CR in an extension", "5;a\rb\r\nhello\r\n"],
  ["a bare LF in an extension", "5;a\nb\r\nhello\r\n"],
  ["a NUL in an extension", "5;a\0b\r\nhello\r\n"],
  ["data longer than its size", "5\r\nhello!\r\n0\r\n\r\n"],
  ["data shorter than its size", "5\r\nhell\r\n0\r\n\r\n"],
  ["a bare LF behind the data", "5\r\nhello\n0\r\n\r\n"],
  ["nothing behind the data", "5\r\nhello0\r\n\r\n"],
  ["a trailer without a colon", "0\r\nnonsense\r\n\r\n"],
  ["a trailer with a blank before the colon", "0\r\nX : y\r\n\r\n"],
  ["a folded trailer", "0\r\nX: y\r\n z\r\n\r\n"],
  ["a bare LF at the end", "0\r\n\n"],
  ["an endless extension", `5;${"a".repeat(5000)}\r\nhello\r\n`],
  ["endless trailers", `0\r\n${"X: y\r\n".repeat(10_000)}\r\n`],
])("%s is refused", (_why, text) => {
  expect(() => decode([text])).toThrow(ChunkedError);
});
