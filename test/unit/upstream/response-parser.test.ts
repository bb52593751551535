// Goal: the meaning of a response does not depend on how it was cut into packets, and no
// sequence of bytes makes the parser do anything but report or refuse.

import { describe, expect, test } from "bun:test";
import { errorCode } from "../../../src/base/errors.ts";
import { seededRandom } from "../../../src/base/random.ts";
import { ResponseParser, type ResponseHead } from "../../../src/upstream/response-parser.ts";
import { seeds } from "../../support/seeds.ts";

interface Outcome {
  head: ResponseHead | undefined;
  body: string;
  end: "clean" | "unclean" | undefined;
  error: string | undefined;
}

/** Feeds `text` in pieces cut at `cuts`, then the end of the connection if wanted. */
function parse(
  text: string,
  options: { method?: string; cuts?: readonly number[]; fin?: boolean } = {},
): Outcome {
  const outcome: Outcome = { head: undefined, body: "", end: undefined, error: undefined };
  const parser = new ResponseParser(options.method ?? "GET", {
    onContinue: () => undefined,
    head: (head) => {
      outcome.head = head;
    },
    body: (chunk) => {
      expect(chunk.length).toBeGreaterThan(0);
      expect(outcome.end).toBeUndefined();
      outcome.body += Buffer.from(chunk).toString("latin1");
    },
    end: (isClean) => {
      expect(outcome.end).toBeUndefined();
      outcome.end = isClean ? "clean" : "unclean";
    },
  });
  const bytes = Buffer.from(text, "latin1");
  const cuts = [0, ...(options.cuts ?? []), bytes.length].toSorted((a, b) => a - b);
  try {
    for (let index = 1; index < cuts.length; index += 1) {
      const piece = bytes.subarray(cuts[index - 1], cuts[index]);
      if (piece.length > 0) parser.push(piece);
    }
    if (options.fin === true) parser.finish();
  } catch (error) {
    outcome.error = errorCode(error) ?? String(error);
  }
  return outcome;
}

const RESPONSES = [
  'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: "x"\r\n\r\nhello',
  'HTTP/1.1 200 \r\nA:b\r\nTransfer-Encoding: Chunked\r\n\r\n5;a="b"\r\nhello\r\n0A\r\n0123456789\r\n0\r\nX: y\r\n\r\n',
  "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nno!",
  "HTTP/1.1 204 No Content\r\n\r\n",
  "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
] as const;

describe("the response parser", () => {
  test.each(seeds(50))("reads the same whatever the packets (seed %d)", (seed) => {
    const random = seededRandom(seed);
    for (const text of RESPONSES) {
      const whole = parse(text);
      expect(whole.end).toBe("clean");
      const cuts = Array.from({ length: random.below(20) }, () => random.below(text.length));
      expect(parse(text, { cuts })).toEqual(whole);
    }
  });

  test("reads the same one byte at a time", () => {
    for (const text of RESPONSES) {
      const cuts = Array.from(text, (_, index) => index);
      expect(parse(text, { cuts })).toEqual(parse(text));
    }
  });

  test.each(seeds(200))("refuses or reports damaged responses, never more (seed %d)", (seed) => {
    const random = seededRandom(seed);
    for (const text of RESPONSES) {
      const bytes = Buffer.from(text, "latin1");
      for (let damage = random.below(4); damage >= 0; damage -= 1) {
        bytes[random.below(bytes.length)] = random.below(256);
      }
      const outcome = parse(bytes.toString("latin1"), { fin: true });
      expect([undefined, "upstream_protocol", "upstream_reset", "upstream_wrong_length"]).toContain(
        outcome.error as undefined,
      );
      if (outcome.error === undefined) expect(outcome.end).toBeDefined();
    }
  });

  test.each([
    ["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", "upstream_wrong_length"],
    [
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
      "upstream_wrong_length",
    ],
    ["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", "upstream_wrong_length"],
    ["HTTP/1.1 200 OK\r\nConte", "upstream_reset"],
    ["", "upstream_reset"],
  ])("an end of the connection after %j is %s", (text, code) => {
    expect(parse(text, { fin: true }).error).toBe(code);
  });

  test("a body without length ends with the connection and not before", () => {
    const text = "HTTP/1.1 200 OK\r\n\r\nsome bytes";
    expect(parse(text)).toMatchObject({ body: "some bytes", end: undefined });
    expect(parse(text, { fin: true })).toMatchObject({ body: "some bytes", end: "unclean" });
  });

  test.each([
    ["HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true],
    ["HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", false],
    ["HTTP/1.1 200 OK\r\nConnection: Keep-Alive , CLOSE\r\nContent-Length: 0\r\n\r\n", false],
    ["HTTP/1.1 200 OK\r\nConnection: disclose\r\nContent-Length: 0\r\n\r\n", true],
    ["HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", false],
    ["HTTP/1.1 200 OK\r\n\r\n", false],
    ["HTTP/1.1 304 Not Modified\r\n\r\n", true],
  ])("%j keeps the connection: %p", (text, keepsAlive) => {
    expect(parse(text).head?.keepsAlive).toBe(keepsAlive);
  });

  test.each([
    ["timeout=5", 5_000],
    ["max=100, timeout=20", 20_000],
    ["Timeout=7", 7_000],
    ["xtimeout=5", undefined],
    ["timeout=x", undefined],
  ])("Keep-Alive: %s means %p ms", (value, hintMs) => {
    const text = `HTTP/1.1 200 OK\r\nKeep-Alive: ${value}\r\nContent-Length: 0\r\n\r\n`;
    expect(parse(text).head?.keepAliveHintMs).toBe(hintMs);
  });

  test("a body after HEAD is dropped and the connection with it", () => {
    const text = "HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nno!";
    expect(parse(text, { method: "HEAD" })).toMatchObject({
      body: "",
      end: "unclean",
      error: undefined,
    });
  });

  test("blanks around a value go, blanks inside stay", () => {
    const text = "HTTP/1.1 200 OK\r\nA: \t b  c \t\r\nB:\r\nContent-Length: 0\r\n\r\n";
    expect(parse(text).head?.headers).toEqual(["A", "b  c", "B", "", "Content-Length", "0"]);
  });
});
