// Goal: what every `UpstreamTransport` promises, whatever it is made of: bytes untouched both
// ways, every trouble an upstream can make turned into its own error code in bounded time,
// memory flat in both directions, and no connection lost or reused that should not be.
// Method: a scripted upstream of raw sockets, so that each byte on the wire is the test's.
// A new implementation joins by one more row in TRANSPORTS.

import { beforeAll, describe, expect, test } from "bun:test";
import { bytesSource, iterableSource, readAll } from "../../src/base/byte-source.ts";
import { systemClock } from "../../src/base/clock.ts";
import { errorCode, GatewayError } from "../../src/base/errors.ts";
import { seededRandom } from "../../src/base/random.ts";
import {
  createHttpTransport,
  type HttpTransport,
  type HttpTransportOptions,
} from "../../src/upstream/http-transport.ts";
import type { UpstreamRequest, UpstreamResponse } from "../../src/upstream/transport.ts";
import { eventually } from "../support/eventually.ts";
import {
  answer,
  brokenBody,
  endBeforeHeaders,
  Gate,
  hangBeforeHeaders,
  interim,
  Pattern,
  raw,
  rawThenEnd,
  resetBeforeHeaders,
  ScriptedUpstream,
  sendAnswer,
  trickle,
  type Script,
} from "../support/scripted-upstream.ts";
import { seeds } from "../support/seeds.ts";

const TRANSPORTS: readonly (readonly [string, (options: HttpTransportOptions) => HttpTransport])[] =
  [["http", createHttpTransport]];

const MIB = 1 << 20;

const LIMITS = {
  maxIdlePerHost: 8,
  maxConnections: 64,
  connectTimeoutMs: 2_000,
  headerTimeoutMs: 2_000,
  stallTimeoutMs: 2_000,
  clock: systemClock,
} as const;

function request(overrides: Partial<UpstreamRequest> = {}): UpstreamRequest {
  return {
    method: "GET",
    rawTarget: "/bucket/key",
    headers: ["Host", "upstream.test"],
    body: null,
    ...overrides,
  };
}

/** `"Name: value"` lines as a raw field list. */
function fields(...lines: readonly string[]): string[] {
  return lines.flatMap((line) => {
    const [name = "", value = ""] = line.split(": ");
    return [name, value];
  });
}

async function readText(response: UpstreamResponse): Promise<string> {
  return Buffer.from(await readAll(response.body, 64 * MIB)).toString("latin1");
}

/** The code the promise fails with; fails the test when it does not. */
async function failureCode(promise: Promise<unknown>): Promise<string> {
  const error: unknown = await promise.then(
    () => new Error("it did not fail"),
    (cause: unknown) => cause,
  );
  return errorCode(error) ?? String(error);
}

describe.each(TRANSPORTS)("the %s transport", (_name, create) => {
  async function world(limits: Partial<HttpTransportOptions> = {}) {
    const upstream = await ScriptedUpstream.start();
    const transport = create({ ...LIMITS, endpoint: upstream.url, ...limits });
    return {
      upstream,
      transport,
      async [Symbol.asyncDispose]() {
        transport.close();
        await upstream[Symbol.asyncDispose]();
      },
    };
  }

  describe("leaves bytes alone", () => {
    test.each([
      ["/b/a/../k", "dot segments are part of a key"],
      ["/b/%2e%2E/./k", "so are encoded ones"],
      ["//b//k//", "empty segments too"],
      ["/b/k%2Fk%3fk", "an encoded slash or question mark is not a plain one"],
      ["/b/k?x=%2b+%20&&a&a=&=b&X=1", "the query is signed as it stands"],
      ["/b/k?", "an empty query is not no query"],
      ["/b/k;v=1,2:@!$'()*~", "reserved characters stay"],
      ["/b/\xc3\xa9\\k", "raw bytes and backslashes stay"],
      ["/b/k#k", "a fragment sign is a byte like any other here"],
    ])("sends the raw target %s: %s", async (rawTarget) => {
      await using w = await world();
      w.upstream.otherwise(answer({ body: "ok" }));
      await readText(await w.transport.send(request({ rawTarget })));
      expect(w.upstream.requests[0]?.headBytes.toString("latin1")).toBe(
        `GET ${rawTarget} HTTP/1.1\r\nHost: upstream.test\r\n\r\n`,
      );
    });

    test("sends fields in their order, case and number, and adds none", async () => {
      await using w = await world();
      w.upstream.otherwise(answer());
      const headers = fields(
        "hOST: a.test:81",
        "x-amz-meta-B: 1",
        "X-Amz-Meta-a: \xc3\xa9 2",
        "x-amz-meta-b: 3",
        "ACCEPT-encoding: identity",
        "Empty: ",
      );
      await readText(await w.transport.send(request({ method: "HEAD", headers })));
      expect(w.upstream.requests[0]?.headBytes.toString("latin1")).toBe(
        "HEAD /bucket/key HTTP/1.1\r\nhOST: a.test:81\r\nx-amz-meta-B: 1\r\n" +
          "X-Amz-Meta-a: \xc3\xa9 2\r\nx-amz-meta-b: 3\r\nACCEPT-encoding: identity\r\nEmpty: \r\n\r\n",
      );
    });

    test("hands on fields in their order, case and number", async () => {
      await using w = await world();
      const headers = fields(
        'ETag: "abc"',
        "x-amz-meta-B: 1",
        "X-AMZ-meta-b: \xc3\xa9",
        "Set-Cookie: a=1",
        "set-cookie: b=2",
        "empty: ",
        "Vary: A, B",
      );
      w.upstream.otherwise(answer({ headers, body: "x" }));
      const response = await w.transport.send(request());
      expect(response.headers).toEqual([...headers, "Content-Length", "1"]);
      expect(await readText(response)).toBe("x");
    });

    test("does not decompress", async () => {
      await using w = await world();
      const zipped = Bun.gzipSync(Buffer.from("hello hello hello"));
      w.upstream.otherwise(answer({ headers: ["Content-Encoding", "gzip"], body: zipped }));
      const response = await w.transport.send(request());
      expect(Buffer.from(await readAll(response.body, MIB)).equals(zipped)).toBe(true);
    });

    test("does not follow redirects", async () => {
      await using w = await world();
      w.upstream.otherwise(answer({ status: 307, headers: ["Location", "/elsewhere"] }));
      const response = await w.transport.send(request());
      expect(response.status).toBe(307);
      await readText(response);
      expect(w.upstream.requests).toHaveLength(1);
    });

    test("hands on an error body under a 200 as it is", async () => {
      await using w = await world();
      w.upstream.otherwise(answer({ body: "<Error><Code>InternalError</Code></Error>" }));
      expect(await readText(await w.transport.send(request()))).toContain("InternalError");
    });
  });

  describe("understands every way to end a body", () => {
    test.each(["length", "chunked", "close"] as const)("framing %s", async (framing) => {
      await using w = await world();
      const pattern = new Pattern(7);
      const sizeBytes = 3 * MIB + 17;
      w.upstream.otherwise((call) =>
        answer({ body: pattern.slice(0, sizeBytes), sizeBytes, framing, pieceBytes: 50_001 })(call),
      );
      const body = await readAll((await w.transport.send(request())).body, 2 * sizeBytes);
      expect(body.length).toBe(sizeBytes);
      expect(pattern.matches(0, body)).toBe(true);
    });

    test.each([
      ["HEAD", 200, ["Content-Length", "1000"]],
      ["HEAD", 200, ["Transfer-Encoding", "chunked"]],
      ["HEAD", 404, []],
      ["GET", 204, []],
      ["GET", 304, ["Content-Length", "1000"]],
      ["GET", 200, ["Content-Length", "0"]],
    ] as const)("%s answered %d has no body, and the connection lives on", async (...row) => {
      const [method, status, headers] = row;
      await using w = await world();
      w.upstream.otherwise((call) => call.writeHead(status, headers));
      for (let round = 0; round < 2; round += 1) {
        const response = await w.transport.send(request({ method }));
        expect(response.status).toBe(status);
        expect(await response.body.read()).toBeNull();
      }
      expect(w.upstream.connectionCount).toBe(1);
    });

    test("consumes interim responses", async () => {
      await using w = await world();
      const early = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
      w.upstream.otherwise(interim(early, answer({ body: "ok" })));
      const response = await w.transport.send(request());
      expect(response.status).toBe(200);
      expect(await readText(response)).toBe("ok");
    });

    test("takes a response that comes byte by byte", async () => {
      await using w = await world();
      const text =
        "HTTP/1.1 200 OK\r\nX-A: b\r\nTransfer-Encoding: chunked\r\n\r\n3;ext=1\r\nabc\r\n1\r\nd\r\n0\r\nT: x\r\n\r\n";
      w.upstream.otherwise(async (call) => {
        for (const byte of text) {
          await call.write(byte);
          await new Promise((resolve) => setImmediate(resolve));
        }
      });
      const response = await w.transport.send(request());
      expect(response.headers).toEqual(["X-A", "b", "Transfer-Encoding", "chunked"]);
      expect(await readText(response)).toBe("abcd");
    });
  });

  describe("turns trouble into its error code, in bounded time", () => {
    test("a refused connection is upstream_unreachable", async () => {
      await using w = await world();
      await w.upstream.refuse();
      expect(await failureCode(w.transport.send(request()))).toBe("upstream_unreachable");
    });

    test("a name that does not resolve is upstream_unreachable", async () => {
      await using w = await world({ endpoint: new URL("http://no-such-name.invalid:9") });
      expect(await failureCode(w.transport.send(request()))).toBe("upstream_unreachable");
    });

    test("no place among the connections in time is upstream_connect_timeout", async () => {
      await using w = await world({ maxConnections: 1, connectTimeoutMs: 60 });
      w.upstream.otherwise(hangBeforeHeaders);
      const abort = new AbortController();
      const first = failureCode(w.transport.send(request({ signal: abort.signal })));
      await w.upstream.received(1);
      expect(await failureCode(w.transport.send(request()))).toBe("upstream_connect_timeout");
      abort.abort(new Error("test over"));
      expect(await first).toContain("test over");
    });

    test("silence before the header is upstream_header_timeout", async () => {
      await using w = await world({ headerTimeoutMs: 50 });
      w.upstream.otherwise(hangBeforeHeaders);
      expect(await failureCode(w.transport.send(request()))).toBe("upstream_header_timeout");
      await eventually(() => w.upstream.openConnections === 0);
    });

    test("a header that trickles past the limit is upstream_header_timeout", async () => {
      await using w = await world({ headerTimeoutMs: 80 });
      w.upstream.otherwise(async (call) => {
        await call.write("HTTP/1.1 200 OK\r\n");
        for (let field = 0; ; field += 1) {
          await call.write(`X-${field}: y\r\n`);
          await systemClock.sleep(10);
        }
      });
      expect(await failureCode(w.transport.send(request()))).toBe("upstream_header_timeout");
    });

    test.each([
      ["a reset before the header", resetBeforeHeaders],
      ["an end before the header", endBeforeHeaders],
      ["an end inside the header", rawThenEnd("HTTP/1.1 200 OK\r\nContent-Le")],
    ])("%s is upstream_reset", async (_what, script) => {
      await using w = await world();
      w.upstream.otherwise(script);
      expect(await failureCode(w.transport.send(request()))).toBe("upstream_reset");
    });

    test.each([
      ["a body that ends early", { sizeBytes: 100, sentBytes: 60, ending: "close" }],
      ["a body that never starts", { sizeBytes: 100, sentBytes: 0, ending: "close" }],
    ] as const)("%s is upstream_wrong_length", async (_what, broken) => {
      await using w = await world();
      w.upstream.otherwise(brokenBody(broken));
      const response = await w.transport.send(request());
      expect(await failureCode(readAll(response.body, MIB))).toBe("upstream_wrong_length");
    });

    test("a chunked body without its last chunk is upstream_wrong_length", async () => {
      await using w = await world();
      w.upstream.otherwise(
        rawThenEnd("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"),
      );
      const response = await w.transport.send(request());
      expect(await failureCode(readAll(response.body, MIB))).toBe("upstream_wrong_length");
    });

    test("a reset inside the body is upstream_reset, behind the bytes that came", async () => {
      await using w = await world();
      w.upstream.otherwise(brokenBody({ sizeBytes: 100, sentBytes: 60, ending: "reset" }));
      const response = await w.transport.send(request());
      expect((await response.body.read())?.length).toBe(60);
      expect(await failureCode(response.body.read())).toBe("upstream_reset");
    });

    test("a reset inside a body that ends with the connection is upstream_reset", async () => {
      await using w = await world();
      w.upstream.otherwise(async (call) => {
        await call.write("HTTP/1.1 200 OK\r\n\r\nabc");
        await systemClock.sleep(20);
        call.reset();
      });
      const response = await w.transport.send(request());
      expect(await failureCode(readAll(response.body, MIB))).toBe("upstream_reset");
    });

    test("a body that stalls while it is wanted is upstream_stalled", async () => {
      await using w = await world({ stallTimeoutMs: 50 });
      w.upstream.otherwise(brokenBody({ sizeBytes: 100, sentBytes: 60, ending: "stall" }));
      const response = await w.transport.send(request());
      expect(await failureCode(readAll(response.body, MIB))).toBe("upstream_stalled");
      await eventually(() => w.upstream.openConnections === 0);
    });

    test("a slow trickle is no trouble: only pauses are limited, not the whole", async () => {
      await using w = await world({ stallTimeoutMs: 100, headerTimeoutMs: 100 });
      w.upstream.otherwise(trickle({ body: "x".repeat(12), pieceBytes: 1, everyMs: 25 }));
      expect(await readText(await w.transport.send(request()))).toBe("x".repeat(12));
    });

    test("a reader that pauses is not a stall", async () => {
      await using w = await world({ stallTimeoutMs: 40 });
      const pattern = new Pattern();
      w.upstream.otherwise(answer({ body: pattern.bytes(0, 4 * MIB) }));
      const response = await w.transport.send(request());
      let offset = 0;
      for (let round = 0; ; round += 1) {
        if (round < 3) await systemClock.sleep(120);
        const chunk = await response.body.read();
        if (chunk === null) break;
        expect(pattern.matches(offset, chunk)).toBe(true);
        offset += chunk.length;
      }
      expect(offset).toBe(4 * MIB);
    });

    test.each([
      ["not HTTP", "SSH-2.0-OpenSSH_9.6\r\n\r\n"],
      ["HTTP/2 on an HTTP/1 connection", "HTTP/2 200 OK\r\n\r\n"],
      ["a status that is no number", "HTTP/1.1 2x0 OK\r\n\r\n"],
      [
        "a length and a coding",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
      ],
      ["two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n"],
      ["a list of lengths", "HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n\r\n"],
      ["a signed length", "HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\n"],
      [
        "a length beyond counting",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
      ],
      ["an unknown coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"],
      ["a blank before the colon", "HTTP/1.1 200 OK\r\nContent-Length : 3\r\n\r\nabc"],
      ["a folded field", "HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\n\r\n"],
      ["a bare line feed", "HTTP/1.1 200 OK\nContent-Length: 0\n\n"],
      ["a NUL in a field", "HTTP/1.1 200 OK\r\nX-A: b\0c\r\n\r\n"],
      [
        "a header without end",
        `HTTP/1.1 200 OK\r\n${"X-Filler: yyyyyyyyyyyyyyyyyyyy\r\n".repeat(4_000)}`,
      ],
      ["an upgrade", "HTTP/1.1 101 Switching Protocols\r\n\r\n"],
      ["endless interim responses", "HTTP/1.1 100 Continue\r\n\r\n".repeat(100)],
    ])("%s is upstream_protocol", async (_what, bytes) => {
      await using w = await world();
      w.upstream.otherwise(raw(bytes));
      expect(await failureCode(w.transport.send(request()))).toBe("upstream_protocol");
      await eventually(() => w.upstream.openConnections === 0);
    });

    test.each([
      ["a chunk size that is no number", "x\r\n"],
      ["a negative chunk size", "-1\r\n"],
      ["a chunk size beyond counting", "fffffffffffffffff\r\n"],
      ["a chunk longer than its size", "2\r\nabc\r\n0\r\n\r\n"],
      ["a chunk size line without end", `1;${"e".repeat(9_000)}`],
      ["bytes after the last chunk", "1\r\na\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"],
      ["a bare line feed after a chunk", "1\r\na\n0\r\n\r\n"],
    ])("%s is upstream_protocol", async (_what, bytes) => {
      await using w = await world();
      w.upstream.otherwise(raw(`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${bytes}`));
      const response = await w.transport.send(request());
      expect(await failureCode(readAll(response.body, MIB))).toBe("upstream_protocol");
    });

    test("a body longer than declared is upstream_protocol before it looks whole", async () => {
      await using w = await world();
      w.upstream.otherwise(raw("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcd"));
      const response = await w.transport.send(request());
      expect(await failureCode(response.body.read())).toBe("upstream_protocol");
    });

    test("bytes on an idle connection end it and never reach a request", async () => {
      await using w = await world();
      w.upstream.otherwise(async (call) => {
        await call.write("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na");
        await systemClock.sleep(20);
        await call.write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\npoison");
      });
      expect(await readText(await w.transport.send(request()))).toBe("a");
      await eventually(() => w.upstream.openConnections === 0);
      w.upstream.otherwise(answer({ body: "clean" }));
      expect(await readText(await w.transport.send(request()))).toBe("clean");
    });
  });

  // What comes quickly is taken from the kernel by the exchange itself, piece by piece.
  describe("large bodies", () => {
    const sizeBytes = 16 * MIB;

    async function expectBody(
      body: UpstreamResponse["body"],
      pattern: Pattern,
      wholeBytes: number,
    ): Promise<void> {
      let offset = 0;
      for (;;) {
        const chunk = await body.read();
        if (chunk === null) break;
        expect(pattern.matches(offset, chunk)).toBe(true);
        offset += chunk.length;
        body.release?.(chunk);
      }
      expect(offset).toBe(wholeBytes);
    }

    test("several at once arrive whole, each its own, and keep their connections", async () => {
      await using w = await world();
      const patterns = [21, 22, 23, 24].map((seed) => new Pattern(seed));
      w.upstream.otherwise((call) => {
        const pattern = patterns[Number(call.request.target.at(-1))];
        return answer({ body: pattern?.slice(0, sizeBytes) ?? "", sizeBytes })(call);
      });
      for (let round = 0; round < 2; round += 1) {
        await Promise.all(
          patterns.map(async (pattern, index) => {
            const { body } = await w.transport.send(request({ rawTarget: `/bucket/${index}` }));
            await expectBody(body, pattern, sizeBytes);
          }),
        );
        expect(w.transport.idleConnectionCount()).toBe(patterns.length);
      }
      expect(w.upstream.connectionCount).toBe(patterns.length);
    });

    test("somebody who always wants the next piece leaves the others their turns", async () => {
      await using w = await world();
      const pattern = new Pattern(25);
      w.upstream.otherwise((call) =>
        answer({ body: pattern.slice(0, sizeBytes), sizeBytes })(call),
      );
      const { body } = await w.transport.send(request());
      await body.read();
      // Much is there to be read at once.
      for (let before = -1; w.upstream.bodyBytesSent > before; await systemClock.sleep(20)) {
        before = w.upstream.bodyBytesSent;
      }
      let isReading = true;
      let pieces = 0;
      let most = 0;
      const look = (): void => {
        most = Math.max(most, pieces);
        pieces = 0;
        if (isReading) setImmediate(look);
      };
      setImmediate(look);
      while ((await body.read()) !== null) pieces += 1;
      isReading = false;
      most = Math.max(most, pieces);
      // One that Bun brings when there was none, and one that is taken.
      expect(most).toBeLessThanOrEqual(2);
    });

    test.each([
      ["a reset", "reset", "upstream_reset"],
      ["an end", "close", "upstream_wrong_length"],
      ["silence", "stall", "upstream_stalled"],
    ] as const)("%s inside one comes behind good bytes", async (_what, ending, code) => {
      await using w = await world({ stallTimeoutMs: 200 });
      const sentBytes = 8 * MIB;
      const fill = "x";
      w.upstream.otherwise(brokenBody({ sizeBytes, sentBytes, ending, fill }));
      const { body } = await w.transport.send(request());
      let readBytes = 0;
      const failure = await failureCode(
        (async () => {
          for (;;) {
            const chunk = await body.read();
            if (chunk === null) return;
            expect(chunk.every((byte) => byte === 0x78)).toBe(true);
            readBytes += chunk.length;
          }
        })(),
      );
      expect(failure).toBe(code);
      // A reset throws away what the receiver did not read yet.
      if (ending === "reset") expect(readBytes).toBeLessThanOrEqual(sentBytes);
      else expect(readBytes).toBe(sentBytes);
      await eventually(() => w.upstream.openConnections === 0);
    });

    test("one that comes in bursts is waited for in between", async () => {
      await using w = await world();
      const pattern = new Pattern(26);
      w.upstream.otherwise(
        answer({
          body: pattern.bytes(0, 4 * MIB),
          pieceBytes: MIB,
          beforePiece: () => systemClock.sleep(30),
        }),
      );
      const { body } = await w.transport.send(request());
      await expectBody(body, pattern, 4 * MIB);
      expect(w.transport.idleConnectionCount()).toBe(1);
    });
  });

  describe("uploads", () => {
    test("sends a body of known length, never chunked, byte for byte", async () => {
      await using w = await world();
      w.upstream.otherwise(answer());
      const pattern = new Pattern(3);
      const sizeBytes = 5 * MIB + 3;
      const response = await w.transport.send(
        request({
          method: "PUT",
          headers: ["Host", "u", "Content-Length", String(sizeBytes)],
          body: iterableSource(pattern.slice(0, sizeBytes, 77_777)),
        }),
      );
      await readText(response);
      const [recorded] = w.upstream.requests;
      expect(recorded?.headBytes.toString("latin1")).not.toContain("chunked");
      expect(recorded?.bodySizeBytes).toBe(sizeBytes);
      expect(recorded?.bodySha256).toBe(
        new Bun.CryptoHasher("sha256").update(pattern.bytes(0, sizeBytes)).digest("hex"),
      );
    });

    test("sends a body of unknown length chunked", async () => {
      await using w = await world();
      w.upstream.otherwise(answer());
      const body = bytesSource(Buffer.from("hello "), Buffer.from("world"));
      await readText(
        await w.transport.send(request({ method: "PUT", headers: ["Host", "u"], body })),
      );
      expect(w.upstream.requests[0]?.field("transfer-encoding")).toBe("chunked");
      expect(w.upstream.requests[0]?.body.toString()).toBe("hello world");
    });

    test("keeps a declared length of zero without a body", async () => {
      await using w = await world();
      w.upstream.otherwise(answer());
      const headers = ["Host", "u", "Content-Length", "0"];
      await readText(await w.transport.send(request({ method: "PUT", headers })));
      expect(w.upstream.requests[0]?.field("content-length")).toBe("0");
    });

    test("does not pass on the client's own Expect", async () => {
      await using w = await world();
      w.upstream.otherwise(interim("HTTP/1.1 100 Continue\r\n\r\n", answer()));
      const headers = ["Host", "u", "Expect", "100-continue", "Content-Length", "2"];
      const body = bytesSource(Buffer.from("ab"));
      const response = await w.transport.send(request({ method: "PUT", headers, body }));
      expect(response.status).toBe(200);
      expect(w.upstream.requests[0]?.field("expect")).toBeUndefined();
    });

    describe("whose sender waits to be asked", () => {
      /** An upload of two bytes that remembers when it was read. */
      function upload() {
        const seen = { isRead: false, isClosed: false };
        const source = bytesSource(Buffer.from("ab"));
        const body = {
          read() {
            seen.isRead = true;
            return source.read();
          },
          close() {
            seen.isClosed = true;
          },
        };
        const headers = ["Host", "u", "Content-Length", "2"];
        return { seen, call: request({ method: "PUT", headers, body, awaitsContinue: true }) };
      }

      test("is read when upstream asks for it", async () => {
        await using w = await world();
        const { seen, call } = upload();
        const wasReadBefore: boolean[] = [];
        w.upstream.otherwise(async (exchange) => {
          await systemClock.sleep(20);
          wasReadBefore.push(seen.isRead);
          await exchange.write("HTTP/1.1 100 Continue\r\n\r\n");
          await exchange.readBody();
          await sendAnswer(exchange, {});
        });
        expect((await w.transport.send(call)).status).toBe(200);
        expect(w.upstream.requests[0]?.field("expect")).toBe("100-continue");
        expect(w.upstream.requests[0]?.body.toString()).toBe("ab");
        expect(wasReadBefore).toEqual([false]);
      });

      test("is never read when upstream refuses", async () => {
        await using w = await world();
        const { seen, call } = upload();
        w.upstream.otherwise((exchange) =>
          exchange.writeHead(403, ["Content-Length", "0"], "Forbidden"),
        );
        expect((await w.transport.send(call)).status).toBe(403);
        expect(seen).toEqual({ isRead: false, isClosed: true });
      });

      test("is read after a while when upstream knows nothing of it", async () => {
        await using w = await world();
        const { call } = upload();
        w.upstream.otherwise(answer());
        expect((await w.transport.send(call)).status).toBe(200);
        expect(w.upstream.requests[0]?.body.toString()).toBe("ab");
      });

      test("fails with the connection", async () => {
        await using w = await world();
        const { seen, call } = upload();
        w.upstream.otherwise((exchange) => exchange.reset());
        expect(await failureCode(w.transport.send(call))).toBe("upstream_reset");
        expect(seen).toEqual({ isRead: false, isClosed: true });
      });
    });

    test.each(["keeps the connection open", "closes", "resets"])(
      "delivers an early refusal and stops a 5 GiB upload when upstream %s",
      async (manner) => {
        await using w = await world();
        w.upstream.otherwise(async (call) => {
          await sendAnswer(call, { status: 403, body: "<Error/>" });
          if (manner === "closes") call.end();
          else if (manner === "resets") {
            await systemClock.sleep(20);
            call.reset();
          } else await call.hang();
        });
        const block = Buffer.alloc(256 * 1024);
        let pulledBytes = 0;
        let isClosed = false;
        const response = await w.transport.send(
          request({
            method: "PUT",
            headers: ["Host", "u", "Content-Length", String(5 * 1024 * MIB)],
            body: {
              async read() {
                await new Promise((resolve) => setImmediate(resolve));
                pulledBytes += block.length;
                return block;
              },
              close() {
                isClosed = true;
              },
            },
          }),
        );
        expect(response.status).toBe(403);
        expect(await readText(response)).toBe("<Error/>");
        expect(isClosed).toBe(true);
        expect(pulledBytes).toBeLessThan(64 * MIB);
        await eventually(() => w.transport.connectionCount() === 0);
      },
    );

    test("stops an upload at the head of its refusal, not at the end", async () => {
      await using w = await world();
      const gate = new Gate();
      w.upstream.otherwise((call) =>
        sendAnswer(call, { status: 400, body: "<Error/>", beforePiece: () => gate.opened }),
      );
      const closed = Promise.withResolvers<void>();
      const body = { read: () => new Promise<null>(() => undefined), close: closed.resolve };
      const headers = fields("Host: u", "Content-Length: 5");
      const response = await w.transport.send(request({ method: "PUT", headers, body }));
      await closed.promise;
      gate.open();
      expect(await readText(response)).toBe("<Error/>");
    });

    test("an upload that upstream stops reading is upstream_stalled", async () => {
      await using w = await world({ stallTimeoutMs: 60 });
      w.upstream.otherwise(() => new Promise(() => undefined));
      const block = Buffer.alloc(MIB);
      const send = w.transport.send(
        request({
          method: "PUT",
          headers: ["Host", "u", "Content-Length", String(1024 * MIB)],
          body: iterableSource(Array.from({ length: 1024 }, () => block)),
        }),
      );
      expect(await failureCode(send)).toBe("upstream_stalled");
    });

    test("a client that is slow to send is not upstream's fault", async () => {
      await using w = await world({ stallTimeoutMs: 40, headerTimeoutMs: 40 });
      w.upstream.otherwise(answer({ body: "ok" }));
      async function* slowly() {
        for (let part = 0; part < 3; part += 1) {
          await systemClock.sleep(100);
          yield Buffer.from("part");
        }
      }
      const headers = ["Host", "u", "Content-Length", "12"];
      const response = await w.transport.send(
        request({ method: "PUT", headers, body: iterableSource(slowly()) }),
      );
      expect(await readText(response)).toBe("ok");
    });

    test.each([
      ["shorter", "abc", 4],
      ["longer", "abcde", 4],
    ])(
      "a source %s than its declared length never becomes an object",
      async (_what, text, sizeBytes) => {
        await using w = await world();
        w.upstream.otherwise(answer());
        const headers = ["Host", "u", "Content-Length", String(sizeBytes)];
        const body = bytesSource(Buffer.from(text));
        expect(await failureCode(w.transport.send(request({ method: "PUT", headers, body })))).toBe(
          "client_body_invalid",
        );
        await eventually(() => w.upstream.openConnections === 0);
        expect(w.upstream.requests[0]?.bodySha256).toBeUndefined();
      },
    );

    test("a source that proves broken only at its end never becomes an object", async () => {
      await using w = await world();
      w.upstream.otherwise(answer());
      async function* brokenAtTheEnd() {
        yield Buffer.from("ab");
        yield Buffer.from("cd");
        await systemClock.sleep(20);
        throw new GatewayError("client_body_invalid", "the trailing checksum does not match");
      }
      const headers = ["Host", "u", "Content-Length", "4"];
      const body = iterableSource(brokenAtTheEnd());
      expect(await failureCode(w.transport.send(request({ method: "PUT", headers, body })))).toBe(
        "client_body_invalid",
      );
      await eventually(() => w.upstream.openConnections === 0);
      expect(w.upstream.requests[0]?.bodySha256).toBeUndefined();
    });

    test("an upload is never sent twice", async () => {
      await using w = await world();
      w.upstream.once("*", /./, answer());
      await readText(await w.transport.send(request()));
      w.upstream.otherwise(resetBeforeHeaders);
      const headers = ["Host", "u", "Content-Length", "1"];
      const body = bytesSource(Buffer.from("a"));
      expect(await failureCode(w.transport.send(request({ method: "PUT", headers, body })))).toBe(
        "upstream_reset",
      );
      expect(w.upstream.requestsFor("PUT", /./)).toHaveLength(1);
    });

    test.each([
      ["a line break in a field", { headers: ["Host", "u", "X-A", "b\r\nX-B: c"] }],
      ["a line break in the target", { rawTarget: "/a\r\nX-B: c" }],
      ["a blank in the target", { rawTarget: "/a b" }],
      ["two lengths", { headers: ["Content-Length", "0", "content-length", "0"] }],
      ["a length without a body", { headers: ["Content-Length", "5"] }],
    ])("%s never reaches the wire", async (_what, overrides) => {
      await using w = await world();
      expect(await failureCode(w.transport.send(request(overrides)))).toContain("assertion failed");
      expect(w.upstream.connectionCount).toBe(0);
    });
  });

  describe("memory stays flat", () => {
    const sizeBytes = 512 * MIB;
    /** What sockets, read buffers and the garbage between two collections may take. */
    const BUDGET_MIB = 128;

    test("for 512 MiB read by somebody slower than upstream", async () => {
      await using w = await world();
      const pattern = new Pattern(11);
      w.upstream.otherwise((call) =>
        answer({ body: pattern.slice(0, sizeBytes), sizeBytes })(call),
      );
      const memory = watchMemory();
      const response = await w.transport.send(request());
      let offset = 0;
      let isEqual = true;
      for (let round = 0; ; round += 1) {
        const chunk = await response.body.read();
        if (chunk === null) break;
        isEqual &&= pattern.matches(offset, chunk);
        offset += chunk.length;
        response.body.release?.(chunk);
        if (round % 8 === 0) await systemClock.sleep(1);
        expect(memory.grownMib()).toBeLessThan(BUDGET_MIB);
      }
      expect(offset).toBe(sizeBytes);
      expect(isEqual).toBe(true);
    }, 60_000);

    test("when nobody reads: upstream is held back", async () => {
      await using w = await world();
      const pattern = new Pattern(12);
      w.upstream.otherwise((call) =>
        answer({ body: pattern.slice(0, sizeBytes), sizeBytes })(call),
      );
      const memory = watchMemory();
      const response = await w.transport.send(request());
      let before = -1;
      while (w.upstream.bodyBytesSent > before) {
        before = w.upstream.bodyBytesSent;
        await systemClock.sleep(100);
      }
      expect(w.upstream.bodyBytesSent).toBeLessThan(32 * MIB);
      expect(memory.grownMib()).toBeLessThan(BUDGET_MIB);
      response.body.close();
    });

    test("for 512 MiB sent to an upstream slower than the client", async () => {
      await using w = await world();
      const pattern = new Pattern(13);
      w.upstream.otherwise(answer());
      const memory = watchMemory();
      async function* watched() {
        for (const chunk of pattern.slice(0, sizeBytes)) {
          yield chunk;
          expect(memory.grownMib()).toBeLessThan(BUDGET_MIB);
        }
      }
      const headers = ["Host", "u", "Content-Length", String(sizeBytes)];
      const body = iterableSource(watched());
      await readText(await w.transport.send(request({ method: "PUT", headers, body })));
      expect(w.upstream.requests[0]?.bodySizeBytes).toBe(sizeBytes);
    }, 60_000);
  });

  describe("giving up", () => {
    test("an abort before the header closes the connection and the body source", async () => {
      await using w = await world();
      w.upstream.otherwise(hangBeforeHeaders);
      const abort = new AbortController();
      let isClosed = false;
      const body = {
        read: () => new Promise<null>(() => undefined),
        close() {
          isClosed = true;
        },
      };
      const headers = ["Host", "u", "Content-Length", "5"];
      const send = failureCode(
        w.transport.send(request({ method: "PUT", headers, body, signal: abort.signal })),
      );
      await w.upstream.received(1);
      abort.abort(new Error("client left"));
      expect(await send).toContain("client left");
      expect(isClosed).toBe(true);
      await eventually(() => w.transport.connectionCount() === 0);
    });

    test("an abort inside the body fails its reader at once", async () => {
      await using w = await world();
      w.upstream.otherwise(brokenBody({ sizeBytes: 100, sentBytes: 1, ending: "stall" }));
      const abort = new AbortController();
      const response = await w.transport.send(request({ signal: abort.signal }));
      await response.body.read();
      const read = failureCode(response.body.read());
      abort.abort(new Error("client left"));
      expect(await read).toContain("client left");
      await eventually(() => w.upstream.openConnections === 0);
    });

    test("a request whose signal is aborted already sends nothing", async () => {
      await using w = await world();
      const signal = AbortSignal.abort(new Error("too late"));
      expect(await failureCode(w.transport.send(request({ signal })))).toContain("too late");
      expect(w.upstream.requests).toHaveLength(0);
    });

    test("closing a large body early breaks its connection off", async () => {
      await using w = await world();
      const pattern = new Pattern();
      w.upstream.otherwise((call) =>
        answer({ body: pattern.slice(0, 256 * MIB), sizeBytes: 256 * MIB })(call),
      );
      const response = await w.transport.send(request());
      await response.body.read();
      response.body.close();
      response.body.close();
      expect(await failureCode(response.body.read())).toBe("client_gone");
      await eventually(() => w.upstream.openConnections === 0);
      expect(w.upstream.bodyBytesSent).toBeLessThan(64 * MIB);
    });

    test("closing a body shortly before its end keeps the connection", async () => {
      await using w = await world();
      const gate = new Gate();
      w.upstream.otherwise(
        answer({
          body: "x".repeat(2_000),
          pieceBytes: 1_000,
          beforePiece: (index) => (index === 1 ? gate.opened : undefined),
        }),
      );
      const response = await w.transport.send(request());
      await response.body.read();
      response.body.close();
      gate.open();
      await eventually(() => w.transport.idleConnectionCount() === 1);
      await readText(await w.transport.send(request()));
      expect(w.upstream.connectionCount).toBe(1);
    });
  });

  describe("keeps connections", () => {
    test("uses one connection for requests in a row", async () => {
      await using w = await world();
      w.upstream.otherwise(answer({ body: "ok" }));
      for (let round = 0; round < 20; round += 1) await readText(await w.transport.send(request()));
      expect(w.upstream.connectionCount).toBe(1);
      expect(w.transport.connectionCount()).toBe(1);
    });

    test("uses a connection again whose last response nobody had read yet", async () => {
      await using w = await world();
      w.upstream.once("GET", /./, async (call) => {
        const chunks = "1\r\nx\r\n".repeat(500);
        await call.write(`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${chunks}0\r\n\r\n`);
      });
      const unread = await w.transport.send(request());
      await eventually(() => w.transport.idleConnectionCount() === 1);
      w.upstream.otherwise(answer({ body: "next" }));
      expect(await readText(await w.transport.send(request()))).toBe("next");
      expect(await readText(unread)).toBe("x".repeat(500));
      expect(w.upstream.connectionCount).toBe(1);
    });

    test("trusts a write only to a connection that was in use a moment ago", async () => {
      let aheadMs = 0;
      const clock = { ...systemClock, monotonicMs: () => systemClock.monotonicMs() + aheadMs };
      await using w = await world({ clock });
      w.upstream.otherwise(answer());
      const put = () =>
        request({
          method: "PUT",
          headers: fields("Host: u", "Content-Length: 1"),
          body: bytesSource(Buffer.from("a")),
        });
      await readText(await w.transport.send(put()));
      await readText(await w.transport.send(put()));
      expect(w.upstream.connectionCount).toBe(1);
      aheadMs += 5_000;
      await readText(await w.transport.send(request()));
      expect(w.upstream.connectionCount).toBe(1);
      aheadMs += 5_000;
      await readText(await w.transport.send(put()));
      expect(w.upstream.connectionCount).toBe(2);
    });

    test("opens no more than its bound, and everybody gets an answer", async () => {
      await using w = await world({ maxConnections: 4, maxIdlePerHost: 2 });
      let concurrent = 0;
      let peak = 0;
      w.upstream.otherwise(async (call) => {
        concurrent += 1;
        peak = Math.max(peak, concurrent);
        await systemClock.sleep(5);
        concurrent -= 1;
        await sendAnswer(call, { body: call.request.target });
      });
      const answers = await Promise.all(
        Array.from({ length: 40 }, async (_, index) =>
          readText(await w.transport.send(request({ rawTarget: `/b/${index}` }))),
        ),
      );
      expect(answers).toEqual(Array.from({ length: 40 }, (_, index) => `/b/${index}`));
      expect(peak).toBe(4);
      await eventually(() => w.transport.connectionCount() === 2);
    });

    test("repeats a read once when the server closed the kept connection meanwhile", async () => {
      await using w = await world();
      w.upstream.otherwise(answer({ body: "ok" }));
      await readText(await w.transport.send(request()));
      // The request crosses the close: the kept connection resets it unread.
      w.upstream.once("GET", /./, resetBeforeHeaders);
      expect(await readText(await w.transport.send(request()))).toBe("ok");
      expect(w.upstream.requests).toHaveLength(3);
      expect(w.upstream.connectionCount).toBe(2);
    });

    test("does not repeat a read that a fresh connection lost", async () => {
      await using w = await world();
      w.upstream.otherwise(resetBeforeHeaders);
      expect(await failureCode(w.transport.send(request()))).toBe("upstream_reset");
      expect(w.upstream.requests).toHaveLength(1);
    });

    test("does not repeat a read once a byte of its answer came", async () => {
      await using w = await world();
      w.upstream.otherwise(answer({ body: "ok" }));
      await readText(await w.transport.send(request()));
      w.upstream.otherwise(rawThenEnd("HTTP/1.1 200"));
      expect(await failureCode(w.transport.send(request()))).toBe("upstream_reset");
      expect(w.upstream.requests).toHaveLength(2);
    });

    test("forgets a kept connection the server closed", async () => {
      await using w = await world();
      w.upstream.otherwise(answer({ body: "ok" }));
      await readText(await w.transport.send(request()));
      w.upstream.endAll();
      await eventually(() => w.transport.connectionCount() === 0);
    });

    test.each([
      ["Connection: close", ["Connection", "close"]],
      ["Connection: a list with close in it", ["Connection", "x, Close"]],
      ["a keep-alive time that is over at once", ["Keep-Alive", "timeout=1"]],
    ])("does not keep a connection after %s", async (_what, headers) => {
      await using w = await world();
      w.upstream.otherwise(answer({ body: "ok", headers }));
      await readText(await w.transport.send(request()));
      await eventually(() => w.transport.connectionCount() === 0);
    });

    test("closes a connection that nobody used for long", async () => {
      await using w = await world({ idleTimeoutMs: 30 });
      w.upstream.otherwise(answer({ body: "ok" }));
      await readText(await w.transport.send(request()));
      expect(w.transport.idleConnectionCount()).toBe(1);
      await eventually(() => w.upstream.openConnections === 0);
      expect(w.transport.connectionCount()).toBe(0);
    });

    test("close() ends idle connections, lets running requests end and takes no new ones", async () => {
      await using w = await world();
      const gate = new Gate();
      w.upstream.otherwise(answer({ body: "ok" }));
      await readText(await w.transport.send(request()));
      const running = await (async () => {
        w.upstream.otherwise(answer({ body: "late", beforePiece: () => gate.opened }));
        return w.transport.send(request());
      })();
      w.transport.close();
      expect(await failureCode(w.transport.send(request()))).toBe("shutting_down");
      gate.open();
      expect(await readText(running)).toBe("late");
      await eventually(() => w.upstream.openConnections === 0);
    });

    test("serves again as soon as a dead upstream is back", async () => {
      await using w = await world();
      await w.upstream.refuse();
      expect(await failureCode(w.transport.send(request()))).toBe("upstream_unreachable");
      w.upstream.otherwise(answer({ body: "back" }));
      await w.upstream.listen();
      expect(await readText(await w.transport.send(request()))).toBe("back");
    });
  });

  // Goal: no order of faults, aborts and slow sides loses a connection, a waiter or a byte.
  // Method: 150 requests at random over few connections, each with a script and a manner of
  // reading drawn from the seed; then everything must have ended and only idle connections be left.
  test.each(seeds(8))(
    "settles everything under seeded chaos (seed %d)",
    async (seed) => {
      await using w = await world({
        maxConnections: 6,
        maxIdlePerHost: 3,
        headerTimeoutMs: 60,
        stallTimeoutMs: 60,
      });
      const random = seededRandom(seed);
      const pattern = new Pattern(seed);
      const sizes = [0, 1, 1_000, 70_000, 400_000];
      const scripts: readonly ((sizeBytes: number) => Script)[] = [
        (sizeBytes) => answer({ body: pattern.bytes(0, sizeBytes) }),
        (sizeBytes) =>
          answer({ body: pattern.bytes(0, sizeBytes), framing: "chunked", pieceBytes: 999 }),
        (sizeBytes) => answer({ body: pattern.bytes(0, sizeBytes), framing: "close" }),
        (sizeBytes) =>
          answer({ body: pattern.bytes(0, sizeBytes), headers: ["Connection", "close"] }),
        () => resetBeforeHeaders,
        () => endBeforeHeaders,
        () => hangBeforeHeaders,
        () => raw("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab"),
        (sizeBytes) =>
          brokenBody({ sizeBytes: sizeBytes + 1, sentBytes: sizeBytes, ending: "close" }),
        (sizeBytes) =>
          brokenBody({ sizeBytes: sizeBytes + 1, sentBytes: sizeBytes, ending: "stall" }),
        () => (call) => sendAnswer(call, { status: 403, body: "<Error/>" }),
      ];
      w.upstream.otherwise((call) => {
        const [, script = 0, sizeBytes = 0] = call.request.target.slice(1).split("/").map(Number);
        return (scripts[script] ?? (() => answer()))(sizeBytes)(call);
      });

      const exchanges = Array.from({ length: 150 }, async (_, index) => {
        const script = random.below(scripts.length);
        const sizeBytes = sizes[random.below(sizes.length)] ?? 0;
        const hasBody = random.below(4) === 0;
        const reading = random.below(4);
        const abort = new AbortController();
        const abortsAfterMs = random.below(6) === 0 ? random.below(80) : undefined;
        await systemClock.sleep(random.below(150));
        if (abortsAfterMs !== undefined) {
          systemClock.after(abortsAfterMs, () => abort.abort(new Error("given up")));
        }
        const upload = pattern.slice(0, 300_000, 50_000);
        try {
          const response = await w.transport.send(
            request({
              method: hasBody ? "PUT" : "GET",
              rawTarget: `/${index}/${script}/${sizeBytes}`,
              headers: hasBody ? fields("Host: u", "Content-Length: 300000") : ["Host", "u"],
              body: hasBody ? iterableSource(upload) : null,
              signal: abort.signal,
            }),
          );
          let offset = 0;
          for (;;) {
            if (reading === 1) await systemClock.sleep(random.below(10));
            if (reading === 2 && offset > 0) {
              response.body.close();
              return;
            }
            const chunk = await response.body.read();
            if (chunk === null) break;
            if (script < 4) expect(pattern.matches(offset, chunk)).toBe(true);
            offset += chunk.length;
          }
          expect([script, offset]).toEqual([script, script < 4 ? sizeBytes : "<Error/>".length]);
          expect(script < 4 || script === 10).toBe(true);
        } catch (error) {
          const code = errorCode(error);
          if (code === undefined) expect(String(error)).toContain("given up");
          else expect(code).toStartWith("upstream_");
        }
      });
      await Promise.all(exchanges);
      await eventually(() => w.transport.connectionCount() === w.transport.idleConnectionCount());
      expect(w.transport.idleConnectionCount()).toBeLessThanOrEqual(3);
      await eventually(() => w.upstream.openConnections === w.transport.idleConnectionCount());
      w.upstream.otherwise(answer({ body: "fine" }));
      expect(await readText(await w.transport.send(request()))).toBe("fine");
    },
    20_000,
  );

  describe("reaches upstream where it is", () => {
    test("connects to another host when the request says so", async () => {
      await using w = await world();
      await using other = await ScriptedUpstream.start({ host: "127.0.0.2" });
      other.otherwise(answer({ body: "other" }));
      const host = `127.0.0.2:${other.port}`;
      expect(await readText(await w.transport.send(request({ host })))).toBe("other");
      expect(w.upstream.requests).toHaveLength(0);
    });

    test("speaks IPv6", async () => {
      await using upstream = await ScriptedUpstream.start({ host: "::1" });
      upstream.otherwise(answer({ body: "six" }));
      const transport = create({ ...LIMITS, endpoint: upstream.url });
      expect(await readText(await transport.send(request()))).toBe("six");
      transport.close();
    });
  });

  describe("over TLS", () => {
    let key = "";
    let cert = "";

    beforeAll(async () => {
      [key, cert] = await selfSigned();
    });

    async function tlsWorld(tls: HttpTransportOptions["tls"], name = "localhost") {
      const upstream = await ScriptedUpstream.start({ tls: { key, cert } });
      const endpoint = new URL(`https://${name}:${upstream.port}`);
      const transport = create({ ...LIMITS, endpoint, tls });
      return {
        upstream,
        transport,
        async [Symbol.asyncDispose]() {
          transport.close();
          await upstream[Symbol.asyncDispose]();
        },
      };
    }

    test("checks the certificate against the given authority and sends the name", async () => {
      await using w = await tlsWorld({ ca: cert });
      w.upstream.otherwise(answer({ body: "secret" }));
      expect(await readText(await w.transport.send(request()))).toBe("secret");
      expect(await readText(await w.transport.send(request()))).toBe("secret");
      expect(w.upstream.serverNames).toEqual(["localhost"]);
      expect(w.upstream.connectionCount).toBe(1);
    });

    test("refuses a certificate nobody vouches for, before a byte of the request", async () => {
      await using w = await tlsWorld(undefined);
      expect(await failureCode(w.transport.send(request()))).toBe("upstream_unreachable");
      expect(w.upstream.requests).toHaveLength(0);
    });

    test("refuses a certificate for another name", async () => {
      await using w = await tlsWorld({ ca: cert }, "127.0.0.2");
      expect(await failureCode(w.transport.send(request()))).toBe("upstream_unreachable");
      expect(w.upstream.requests).toHaveLength(0);
    });

    test("takes any certificate when told to", async () => {
      await using w = await tlsWorld({ rejectUnauthorized: false });
      w.upstream.otherwise(answer({ body: "secret" }));
      expect(await readText(await w.transport.send(request()))).toBe("secret");
    });

    test("a server that speaks no TLS is upstream_unreachable", async () => {
      await using plain = await ScriptedUpstream.start();
      const endpoint = new URL(`https://localhost:${plain.port}`);
      const transport = create({ ...LIMITS, endpoint });
      plain.otherwise(answer());
      const send = failureCode(transport.send(request()));
      await eventually(() => plain.connectionCount === 1);
      plain.resetAll();
      expect(await send).toBe("upstream_unreachable");
      transport.close();
    });

    test("a handshake that never ends is upstream_connect_timeout and holds no place", async () => {
      await using plain = await ScriptedUpstream.start();
      const endpoint = new URL(`https://localhost:${plain.port}`);
      const transport = create({ ...LIMITS, endpoint, maxConnections: 2, connectTimeoutMs: 50 });
      for (let round = 0; round < 3; round += 1) {
        const sends = [transport.send(request()), transport.send(request())];
        const codes = await Promise.all(sends.map(failureCode));
        for (const code of codes) {
          expect(["upstream_connect_timeout", "upstream_unreachable"]).toContain(code);
        }
      }
      await eventually(() => transport.connectionCount() === 0);
      expect(plain.connectionCount).toBeGreaterThanOrEqual(4);
      transport.close();
    });

    test("moves large bodies whole in both directions", async () => {
      await using w = await tlsWorld({ ca: cert });
      const pattern = new Pattern(5);
      const sizeBytes = 24 * MIB + 1;
      w.upstream.otherwise((call) =>
        answer({ body: pattern.slice(0, sizeBytes), sizeBytes })(call),
      );
      const response = await w.transport.send(
        request({
          method: "PUT",
          headers: ["Host", "u", "Content-Length", String(sizeBytes)],
          body: iterableSource(pattern.slice(0, sizeBytes, 300_000)),
        }),
      );
      const body = await readAll(response.body, 2 * sizeBytes);
      expect(pattern.matches(0, body)).toBe(true);
      expect(body.length).toBe(sizeBytes);
      expect(w.upstream.requests[0]?.bodySha256).toBe(
        new Bun.CryptoHasher("sha256").update(body).digest("hex"),
      );
    });

    test("a TLS body cut without notice is not taken for a whole one", async () => {
      await using w = await tlsWorld({ ca: cert });
      w.upstream.otherwise(async (call) => {
        await call.write("HTTP/1.1 200 OK\r\n\r\nabc");
        await systemClock.sleep(20);
        call.reset();
      });
      const response = await w.transport.send(request());
      expect(await failureCode(readAll(response.body, MIB))).toBe("upstream_reset");
    });
  });
});

/** Watches the resident memory of this process; the scripted upstream in it holds no bodies. */
function watchMemory(): { grownMib(): number } {
  Bun.gc(true);
  const startBytes = process.memoryUsage.rss();
  let peakBytes = startBytes;
  return {
    grownMib() {
      peakBytes = Math.max(peakBytes, process.memoryUsage.rss());
      return (peakBytes - startBytes) / MIB;
    },
  };
}

/** A fresh key and a certificate for `localhost` and 127.0.0.1, made by openssl. */
async function selfSigned(): Promise<[key: string, cert: string]> {
  const made = Bun.spawnSync(
    (
      "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 " +
      "-keyout - -out - -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1"
    ).split(" "),
  );
  const pem = made.stdout.toString();
  const [key] = /-----BEGIN PRIVATE KEY-----[^]+?-----END PRIVATE KEY-----\n/.exec(pem) ?? [];
  const [cert] = /-----BEGIN CERTIFICATE-----[^]+?-----END CERTIFICATE-----\n/.exec(pem) ?? [];
  if (key === undefined || cert === undefined)
    throw new Error(`openssl: ${made.stderr.toString()}`);
  return [key, cert];
}
