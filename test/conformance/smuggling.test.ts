/**
 * Request smuggling: a corpus of messages that different parsers are known to read differently.
 *
 * Goal: whatever a client sends, no bytes of one request are ever taken for another. Method: every
 * message of the corpus carries a second request inside what should be its body or its header
 * (`GET /smuggled`). A listener passes when the handler never sees that target, and when a message
 * without one clear reading is refused and the connection closed. Run on both strict engines, with
 * the bytes in one piece and one by one.
 *
 * Sources: RFC 9112 §11.2; "HTTP Desync Attacks" (Kettle, 2019) for the CL.TE, TE.CL and TE.TE
 * forms; llhttp's invalid-request cases.
 */

import { describe, expect, test } from "bun:test";

import { readAll } from "../../src/base/byte-source.ts";
import { systemClock } from "../../src/base/clock.ts";
import { createStrictListener } from "../../src/server/listener.ts";
import type { StrictEngine } from "../../src/server/listener.ts";
import { WireClient } from "../support/wire-client.ts";

interface Outcome {
  /** `METHOD target body` of every request the handler saw, in order. */
  readonly seen: readonly string[];
  readonly received: string;
}

async function exchange(engine: StrictEngine, pieces: readonly string[]): Promise<Outcome> {
  const seen: string[] = [];
  const listener = createStrictListener({
    engine,
    bindIp: "127.0.0.1",
    port: 0,
    handler: async (inbound) => {
      let body = "";
      try {
        if (inbound.body !== null) {
          body = Buffer.from(await readAll(inbound.body, 1e6)).toString("latin1");
        }
      } catch {
        body = "(broken)";
      }
      seen.push(`${inbound.method} ${inbound.rawTarget} ${body}`.trim());
      return { status: 200, headers: [], body: { kind: "none" } };
    },
    clock: systemClock,
    log: { warn: () => undefined, error: () => undefined },
    newRequestId: () => "id",
    // What is refused by silence must not take long.
    limits: { headerTimeoutMs: 150, idleTimeoutMs: 150, stallTimeoutMs: 150 },
  });
  await listener.start();
  try {
    await using client = await WireClient.connect(listener.port);
    for (const piece of pieces) await client.send(piece);
    const received = await client.rest();
    return { seen, received: received.toString("latin1") };
  } finally {
    await listener.stop();
  }
}

const INNER = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";

/** A POST with the given field lines and what follows them. */
function post(fields: string, body = ""): string {
  return `POST /outer HTTP/1.1\r\nHost: x\r\n${fields}\r\n\r\n${body}`;
}

/** Messages that must be refused: nothing reaches the handler whole. */
const REFUSED: readonly (readonly [string, string])[] = [
  // CL.TE and TE.CL: two framings, one of which a front end may have believed.
  ["CL.TE", post("Content-Length: 5\r\nTransfer-Encoding: chunked", `0\r\n\r\n${INNER}`)],
  ["TE.CL", post("Transfer-Encoding: chunked\r\nContent-Length: 5", `0\r\n\r\n${INNER}`)],
  ["CL.0 with TE", post("Content-Length: 0\r\nTransfer-Encoding: chunked", `0\r\n\r\n${INNER}`)],
  // TE.TE: a coding one of the two parsers does not recognise.
  ["TE with a prefix", post("Transfer-Encoding: xchunked", `0\r\n\r\n${INNER}`)],
  ["TE with a leading tab and VT", post("Transfer-Encoding:\t\x0bchunked", `0\r\n\r\n${INNER}`)],
  ["TE twice", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: x", `0\r\n\r\n${INNER}`)],
  [
    "an unknown TE before chunked",
    post("Transfer-Encoding: c;unked\r\nTransfer-Encoding: chunked", `0\r\n\r\n${INNER}`),
  ],
  ["TE identity behind chunked", post("Transfer-Encoding: chunked, identity", `0\r\n\r\n${INNER}`)],
  ["TE with a blank before the colon", post("Transfer-Encoding : chunked", `0\r\n\r\n${INNER}`)],
  ["TE folded", post("Transfer-Encoding:\r\n chunked", `0\r\n\r\n${INNER}`)],
  ["TE behind a bare LF", post("X: y\nTransfer-Encoding: chunked", `0\r\n\r\n${INNER}`)],
  ["TE behind a bare CR", post("X: y\rTransfer-Encoding: chunked", `0\r\n\r\n${INNER}`)],
  ["TE in quotes", post('Transfer-Encoding: "chunked"', `0\r\n\r\n${INNER}`)],
  // Lengths that can be read in two ways.
  ["two lengths", post(`Content-Length: 0\r\nContent-Length: ${INNER.length}`, INNER)],
  ["a list of lengths", post(`Content-Length: 0, ${INNER.length}`, INNER)],
  ["a signed length", post(`Content-Length: +${INNER.length}`, INNER)],
  ["a negative length", post("Content-Length: -1", INNER)],
  ["a length with an underscore", post("Content-Length: 1_0", INNER)],
  ["a length in hexadecimal", post("Content-Length: 0x10", INNER)],
  ["a length with a decimal point", post("Content-Length: 1.0", INNER)],
  ["a length beyond every integer", post("Content-Length: 18446744073709551616", INNER)],
  ["a length with a blank before the colon", post(`Content-Length : ${INNER.length}`, INNER)],
  ["a length behind a folded line", post(`X: y\r\n Content-Length: ${INNER.length}`, INNER)],
  // Header structure.
  ["a line without a colon", post("nonsense", INNER)],
  ["an empty name", post(": y", INNER)],
  ["a NUL in a value", post("X: a\0b", INNER)],
  ["a NUL in a name", post("X\0: a", INNER)],
  ["a bare CR in the empty line", `GET /outer HTTP/1.1\r\nHost: x\r\n\rX${INNER}`],
  ["a space before the first field", `GET /outer HTTP/1.1\r\n Host: x\r\n\r\n${INNER}`],
  ["bare LFs", `GET /outer HTTP/1.1\nHost: x\n\n${INNER}`],
  ["two Hosts", `GET /outer HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n${INNER}`],
  ["no Host", `GET /outer HTTP/1.1\r\nX: y\r\n\r\n${INNER}`],
  // Request line.
  ["a target with a blank", `GET /a b HTTP/1.1\r\nHost: x\r\n\r\n${INNER}`],
  ["a line end in the request line", `GET /outer HTTP/1.1\rX: HTTP/1.1\r\nHost: x\r\n\r\n${INNER}`],
  ["a version from the future", `GET /outer HTTP/1.1.1\r\nHost: x\r\n\r\n${INNER}`],
  ["the preface of HTTP/2", `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n${INNER}`],
  ["an authority as target", `CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n${INNER}`],
  ["an absolute target elsewhere", `GET http://y/outer HTTP/1.1\r\nHost: x\r\n\r\n${INNER}`],
  ["an asterisk", `OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n${INNER}`],
];

/** Chunked bodies whose framing is broken: the request may be seen, its body never as whole. */
const BROKEN_BODIES: readonly (readonly [string, string])[] = [
  ["a bare LF behind the size", `5\nhello\r\n0\r\n\r\n${INNER}`],
  ["a bare LF behind the data", `5\r\nhello\n0\r\n\r\n${INNER}`],
  ["a bare LF in an extension", `5;a\nb\r\nhello\r\n0\r\n\r\n${INNER}`],
  ["a CR in an extension", `5;a\rb\r\nhello\r\n0\r\n\r\n${INNER}`],
  ["data longer than its size", `4\r\nhello\r\n0\r\n\r\n${INNER}`],
  ["a negative size", `-1\r\nhello\r\n0\r\n\r\n${INNER}`],
  ["a size that overflows", `FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n${INNER}`],
  ["a size with 0x", `0x5\r\nhello\r\n0\r\n\r\n${INNER}`],
  ["a blank before the size", ` 5\r\nhello\r\n0\r\n\r\n${INNER}`],
  ["no size", `\r\nhello\r\n0\r\n\r\n${INNER}`],
];

/**
 * Messages with one reading, though an unusual one: every request is seen, with its own body.
 * Bun's `node:http` refuses two of them, which is its right; it must not read them otherwise.
 */
const CLEAR: readonly (readonly [string, string, readonly string[]])[] = [
  [
    "a body that looks like a request",
    `${post(`Content-Length: ${INNER.length}`, INNER)}GET /next HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`,
    [`POST /outer ${INNER}`.trim(), "GET /next"],
  ],
  [
    "a chunk that looks like a request",
    `${post("Transfer-Encoding: chunked", `${INNER.length.toString(16)};ext="GET/smuggled"\r\n${INNER}\r\n0\r\n\r\n`)}GET /next HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`,
    [`POST /outer ${INNER}`.trim(), "GET /next"],
  ],
  [
    "a trailer that looks like a length",
    `${post("Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\nContent-Length: 100\r\n\r\n")}GET /next HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`,
    ["POST /outer hello", "GET /next"],
  ],
  [
    "a GET with a body",
    `GET /outer HTTP/1.1\r\nHost: x\r\nContent-Length: ${INNER.length}\r\n\r\n${INNER}GET /next HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`,
    [`GET /outer ${INNER}`.trim(), "GET /next"],
  ],
  [
    "an absolute target",
    "GET http://x/outer HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    ["GET /outer"],
  ],
];

/** The outer request, whose body failed while the handler read it. */
function isBroken(request: string): boolean {
  return request === "POST /outer (broken)";
}

const ENGINES: readonly StrictEngine[] = ["node", "own"];
const CUTS: readonly (readonly [string, (text: string) => readonly string[]])[] = [
  ["in one piece", (text) => [text]],
  ["byte by byte", (text) => text.split("")],
];

for (const engine of ENGINES) {
  for (const [how, cut] of CUTS) {
    describe(`engine ${engine}, ${how}`, () => {
      test.each(REFUSED)("%s is refused and the connection ends", async (_why, text) => {
        const { seen, received } = await exchange(engine, cut(text));
        // node:http shows some requests to the handler before it looks at their framing.
        expect(engine === "own" ? seen : seen.filter((request) => !isBroken(request))).toEqual([]);
        expect(received).toMatch(/^(?:$|HTTP\/1\.1 (?:4\d\d|501|505) )/);
        expect(received.split("HTTP/1.1 ").length).toBeLessThanOrEqual(2);
      });

      test.each(BROKEN_BODIES)("%s breaks the body and ends the connection", async (_why, body) => {
        const text = post("Transfer-Encoding: chunked", body);
        const { seen } = await exchange(engine, cut(text));
        expect(seen.filter((request) => !isBroken(request))).toEqual([]);
        expect(seen.length).toBeLessThanOrEqual(1);
      });

      test.each(CLEAR)("%s has one reading", async (_why, text, expected) => {
        const { seen } = await exchange(engine, cut(text));
        if (engine === "node" && seen.every(isBroken)) return;
        expect(seen).toEqual([...expected]);
      });
    });
  }
}
