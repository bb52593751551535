/**
 * What every listener promises, as tests. Each implementation runs this file with its traits:
 * the few places where Bun lets it do less than the contract (architecture decision A2), which are
 * asserted too, so that the day they vanish is noticed.
 *
 * Method: raw sockets on both sides of the contract. The client shows every byte; the handlers
 * are written per test and record what they were given.
 */

import { afterAll, describe, expect, test } from "bun:test";
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { bytesSource, readAll } from "../../src/base/byte-source.ts";
import type { ByteSource } from "../../src/base/byte-source.ts";
import { systemClock } from "../../src/base/clock.ts";
import { seededRandom } from "../../src/base/random.ts";
import { errorCode } from "../../src/base/errors.ts";
import { NO_BODY } from "../../src/http/exchange.ts";
import type { FileSlice, Handler, Inbound, Reply, SendOutcome } from "../../src/http/exchange.ts";
import { ListenError } from "../../src/server/listener.ts";
import type { Listener, ListenerLimits, ListenerOptions } from "../../src/server/listener.ts";
import { WireClient, headerOf, requestText } from "../support/wire-client.ts";
import type { WireHead } from "../support/wire-client.ts";
import { seeds } from "../support/seeds.ts";
import { TLS_ONE, TLS_TWO, commonNameOf, negotiatedProtocolOf } from "../support/tls-fixture.ts";

export interface ListenerTraits {
  readonly name: string;
  readonly create: (options: ListenerOptions) => Listener;
  /** Dot segments, `\` and fragments in targets arrive as sent. */
  readonly keepsRawTargets: boolean;
  /** How reply headers look on the wire. */
  readonly replyHeaders: "exact" | "repeats-grouped" | "repeats-joined";
  /** Request headers keep their case, order and repeats. */
  readonly keepsRequestHeaders: boolean;
  /** A stream of known length keeps its `Content-Length` whatever its size. */
  readonly keepsLengthOfLargeStreams: boolean;
  /** `100 Continue` is said when the handler reads the body, not before, and in any case. */
  readonly continuesOnRead: boolean;
  /** A client that leaves is noticed although its request body waits unread. */
  readonly noticesLeavingWhileBodyUnread: boolean;
  /** A client may half-close after its request and still get the answer. */
  readonly allowsHalfClose: boolean;
  /** Malformed input is answered with a status (else the connection is just closed). */
  readonly boundsHeaderTime: boolean;
  /** Requests may be sent ahead of answers that take time. */
  readonly pipelines: boolean;
  /** `connectionCount` counts idle connections too. */
  readonly countsConnections: boolean;
  readonly reloadsTls: boolean;
}

const MIB = 1024 * 1024;
function pattern(offset: number, count: number): Uint8Array {
  const bytes = new Uint8Array(count);
  for (let at = 0; at < count; at += 1)
    bytes[at] = ((offset + at) * 31 + ((offset + at) >> 8)) & 255;
  return bytes;
}

class SliceProbe implements FileSlice {
  readonly descriptor: number;
  releaseCount = 0;
  readonly released: Promise<void>;
  #settle: () => void = () => undefined;

  readonly path: string;
  readonly offsetBytes: number;
  readonly lengthBytes: number;

  constructor(path: string, offsetBytes: number, lengthBytes: number) {
    this.path = path;
    this.offsetBytes = offsetBytes;
    this.lengthBytes = lengthBytes;
    this.descriptor = openSync(path, "r");
    this.released = new Promise((resolve) => {
      this.#settle = resolve;
    });
  }

  release(): void {
    this.releaseCount += 1;
    if (this.releaseCount === 1) closeSync(this.descriptor);
    this.#settle();
  }
}

/** A source that counts what it handed out and whether it was closed. */
class SourceProbe implements ByteSource {
  producedBytes = 0;
  closeCount = 0;

  readonly #lengthBytes: number;
  readonly #chunkBytes: number;
  readonly #failAtBytes: number;

  constructor(lengthBytes: number, chunkBytes: number, failAtBytes = Number.POSITIVE_INFINITY) {
    this.#lengthBytes = lengthBytes;
    this.#chunkBytes = chunkBytes;
    this.#failAtBytes = failAtBytes;
  }

  async read(): Promise<Uint8Array | null> {
    if (this.producedBytes >= this.#failAtBytes) throw new Error("upstream reset");
    if (this.producedBytes >= this.#lengthBytes) return null;
    const count = Math.min(this.#chunkBytes, this.#lengthBytes - this.producedBytes);
    const chunk = new Uint8Array(count).fill((this.producedBytes / this.#chunkBytes) & 255);
    this.producedBytes += count;
    return chunk;
  }

  close(): void {
    this.closeCount += 1;
  }
}

interface Running extends AsyncDisposable {
  readonly port: number;
  readonly listener: Listener;
  readonly problems: string[];
}

/** A promise with its resolver, for tests that hold a handler. */
function gate<T = void>(): { promise: Promise<T>; open: (value: T) => void } {
  const { promise, resolve } = Promise.withResolvers<T>();
  return { promise, open: resolve };
}

/** A reply whose end can be awaited; counts how often it was told. */
function tracked(reply: Omit<Reply, "onFinish">): {
  reply: Reply;
  finished: Promise<SendOutcome>;
  finishCount: () => number;
} {
  const { promise, open } = gate<SendOutcome>();
  let count = 0;
  return {
    reply: {
      ...reply,
      onFinish: (sent) => {
        count += 1;
        open(sent);
      },
    },
    finished: promise,
    finishCount: () => count,
  };
}

function text(body: string): Reply {
  return {
    status: 200,
    headers: ["Content-Type", "text/plain"],
    body: { kind: "bytes", bytes: Buffer.from(body) },
  };
}

export function listenerContract(traits: ListenerTraits): void {
  const folder = mkdtempSync(join(tmpdir(), "tag-listener-"));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  /** A file of `sizeBytes` whose bytes depend on their position. */
  function patternFile(name: string, sizeBytes: number): string {
    const path = join(folder, name);
    writeFileSync(path, pattern(0, sizeBytes));
    return path;
  }

  async function serve(
    handler: Handler,
    overrides: Partial<ListenerOptions> = {},
    limits: Partial<ListenerLimits> = {},
  ): Promise<Running> {
    const problems: string[] = [];
    let lastId = 0;
    const listener = traits.create({
      bindIp: "127.0.0.1",
      port: 0,
      handler,
      clock: systemClock,
      log: {
        warn: (message, fields) => problems.push(`${message} ${JSON.stringify(fields)}`),
        error: (message, fields) => problems.push(`${message} ${JSON.stringify(fields)}`),
      },
      newRequestId: () => `id-${(lastId += 1)}`,
      limits,
      ...overrides,
    });
    await listener.start();
    return {
      port: listener.port,
      listener,
      problems,
      [Symbol.asyncDispose]: () => listener.stop(),
    };
  }

  /** The inbound request of one exchange, answered 200. */
  async function observe(
    requestBytes: string,
  ): Promise<{ inbound: Inbound; body: Uint8Array | null }> {
    const { promise, open } = gate<{ inbound: Inbound; body: Uint8Array | null }>();
    await using server = await serve(async (inbound) => {
      const body = inbound.body === null ? null : await readAll(inbound.body, MIB);
      open({ inbound, body });
      return { status: 200, headers: [], body: NO_BODY };
    });
    await using client = await WireClient.connect(server.port);
    await client.send(requestBytes);
    expect((await client.response()).status).toBe(200);
    return promise;
  }

  describe(`${traits.name}: requests`, () => {
    const targets = [
      "/bucket/key",
      "/bucket/a%2Fb%20c?x-id=GetObject&flag&empty=",
      "/bucket//double///slash/",
      "/bucket/plus+and%2B",
      "/bucket/a?b=%2e%2e&c=%zz",
      "//leading/",
      "/b/k#fragment",
    ];
    const oddTargets = ["/b/a/../k", "/b/./k", "/b/%2e%2e/k", "/b/a\\k"];

    test.each(targets)("the target %p arrives byte for byte", async (target) => {
      const { inbound } = await observe(requestText("GET", target));
      expect(inbound.rawTarget).toBe(target);
    });

    test.each(oddTargets)(
      `the target %p ${traits.keepsRawTargets ? "arrives byte for byte" : "arrives normalised (fact 1)"}`,
      async (target) => {
        const { inbound } = await observe(requestText("GET", target));
        if (traits.keepsRawTargets) expect(inbound.rawTarget).toBe(target);
        else expect(inbound.rawTarget).not.toBe(target);
      },
    );

    if (traits.keepsRawTargets) {
      test("an absolute target is reduced to its path and query", async () => {
        const { inbound } = await observe(
          requestText("GET", "http://TEST/b/k%2F?a").replace("Host: test", "host: test"),
        );
        expect(inbound.rawTarget).toBe("/b/k%2F?a");
      });

      test("an absolute target for another host than Host is refused", async () => {
        await using server = await serve(() => text("never"));
        await using client = await WireClient.connect(server.port);
        await client.send(requestText("GET", "http://other/b/k"));
        expect((await client.response()).status).toBe(400);
      });
    }

    test("header fields arrive with case, order and repeats", async () => {
      const { inbound } = await observe(
        "GET /b/k HTTP/1.1\r\nHost: test\r\nX-Amz-Meta-B: 1\r\nx-amz-meta-a:  two words \r\nX-Amz-Meta-B: 3\r\n\r\n",
      );
      if (traits.keepsRequestHeaders) {
        expect(inbound.fields.raw).toEqual([
          "Host",
          "test",
          "X-Amz-Meta-B",
          "1",
          "x-amz-meta-a",
          "two words",
          "X-Amz-Meta-B",
          "3",
        ]);
      }
      expect(inbound.fields.get("x-amz-meta-a")).toBe("two words");
      expect(inbound.fields.list("x-amz-meta-b")).toBe("1, 3");
    });

    test("bytes beyond ASCII in a header value arrive as one character per byte", async () => {
      const { inbound } = await observe(
        requestText("GET", "/b/k", ["x-amz-meta-a", "caf\xc3\xa9"]),
      );
      expect(inbound.fields.get("x-amz-meta-a")).toBe("caf\xc3\xa9");
    });

    test("method, peer, id and security are those of the connection", async () => {
      const { inbound } = await observe(requestText("DELETE", "/b/k"));
      expect(inbound.method).toBe("DELETE");
      expect(inbound.remoteAddress).toBe("127.0.0.1");
      expect(inbound.isSecure).toBe(false);
      expect(inbound.id).toBe("id-1");
      expect(inbound.receivedAtMs).toBeLessThanOrEqual(systemClock.monotonicMs());
      expect(inbound.signal.aborted).toBe(false);
    });

    test("a request without a body has body null", async () => {
      expect((await observe(requestText("GET", "/b/k"))).body).toBeNull();
      expect((await observe(requestText("PUT", "/b/k", ["Content-Length", "0"]))).body).toBeNull();
    });

    test("a body with a length arrives whole", async () => {
      const { body } = await observe(
        requestText("PUT", "/b/k", ["Content-Length", "11"], "hello there"),
      );
      expect(Buffer.from(body ?? []).toString()).toBe("hello there");
    });

    test("a chunked body arrives without its framing", async () => {
      const { body } = await observe(
        requestText(
          "PUT",
          "/b/k",
          ["Transfer-Encoding", "chunked"],
          "5\r\nhello\r\n6;x=y\r\n there\r\n0\r\nX-Trailer: 1\r\n\r\n",
        ),
      );
      expect(Buffer.from(body ?? []).toString()).toBe("hello there");
    });

    test("a body that is not read makes the client wait", async () => {
      const { promise: mayRead, open } = gate();
      const { promise: total, open: setTotal } = gate<number>();
      await using server = await serve(async (inbound) => {
        await inbound.body?.read();
        await mayRead;
        let rest = 0;
        for (;;) {
          const chunk = await inbound.body?.read();
          if (chunk === null || chunk === undefined) break;
          rest += chunk.length;
        }
        setTotal(rest);
        return text("done");
      });
      await using client = await WireClient.connect(server.port);
      const sizeBytes = 64 * MIB;
      await client.send(requestText("PUT", "/b/k", ["Content-Length", String(sizeBytes)]));
      const piece = new Uint8Array(MIB);
      const progress = { acceptedBytes: 0 };
      const sending = (async () => {
        for (let sent = 0; sent < sizeBytes; sent += MIB) {
          await client.send(piece);
          progress.acceptedBytes += MIB;
        }
      })();
      // The claim is that it stops; so look until two looks in a row see no progress.
      for (let before = -1; before !== progress.acceptedBytes || before === 0;) {
        before = progress.acceptedBytes;
        await systemClock.sleep(100);
      }
      expect(progress.acceptedBytes).toBeLessThan(40 * MIB);
      open();
      await sending;
      expect((await client.response()).status).toBe(200);
      expect(await total).toBeGreaterThan(sizeBytes - MIB);
    });

    test("a body that ends early fails with client_gone", async () => {
      const { promise, open } = gate<unknown>();
      await using server = await serve(async (inbound) => {
        try {
          if (inbound.body !== null) await readAll(inbound.body, MIB);
          open("complete");
        } catch (error) {
          open(errorCode(error));
        }
        return text("done");
      });
      await using client = await WireClient.connect(server.port);
      await client.send(requestText("PUT", "/b/k", ["Content-Length", "100"], "only this"));
      client.destroy();
      expect(await promise).toBe("client_gone");
    });

    test("a body that stalls for the limit fails with client_gone", async () => {
      const { promise, open } = gate<unknown>();
      await using server = await serve(
        async (inbound) => {
          try {
            if (inbound.body !== null) await readAll(inbound.body, MIB);
          } catch (error) {
            open(errorCode(error));
          }
          return text("done");
        },
        {},
        { stallTimeoutMs: 150 },
      );
      await using client = await WireClient.connect(server.port);
      await client.send(requestText("PUT", "/b/k", ["Content-Length", "100"], "only this"));
      expect(await promise).toBe("client_gone");
      await client.rest();
    });
  });

  describe(`${traits.name}: replies`, () => {
    test("headers go out in order, in their case, with repeats, Date and Connection added", async () => {
      await using server = await serve(() => ({
        status: 200,
        headers: ["ETag", '"x"', "x-amz-Meta-B", "1", "X-Cache", "HIT", "x-amz-Meta-B", "2"],
        body: { kind: "bytes", bytes: Buffer.from("hello") },
      }));
      await using client = await WireClient.connect(server.port);
      await client.send(requestText("GET", "/b/k"));
      const { headers, body } = await client.response();
      expect(Buffer.from(body).toString()).toBe("hello");
      const added = new Set(["date", "connection", "content-length"]);
      const own = pairs(headers).filter(([name]) => !added.has(name.toLowerCase()));
      const given: [string, string][] = [
        ["ETag", '"x"'],
        ["x-amz-Meta-B", "1"],
        ["X-Cache", "HIT"],
        ["x-amz-Meta-B", "2"],
      ];
      switch (traits.replyHeaders) {
        case "exact":
          expect(own).toEqual(given);
          break;
        case "repeats-grouped":
          expect(own).toEqual([...given.slice(0, 2), ...given.slice(2).toReversed()]);
          break;
        case "repeats-joined":
          expect(own).toEqual([
            ["ETag", '"x"'],
            ["x-amz-Meta-B", "1, 2"],
            ["X-Cache", "HIT"],
            ["content-type", "application/octet-stream"],
          ]);
          break;
      }
      expect(headerOf({ headers }, "content-length")).toBe("5");
      expect(Date.parse(headerOf({ headers }, "date") ?? "")).toBeGreaterThan(0);
    });

    test("a reply's own Date is kept and not doubled", async () => {
      const date = "Sun, 06 Nov 1994 08:49:37 GMT";
      await using server = await serve(() => ({
        status: 200,
        headers: ["Date", date],
        body: NO_BODY,
      }));
      await using client = await WireClient.connect(server.port);
      await client.send(requestText("GET", "/b/k"));
      const { headers } = await client.response();
      expect(
        pairs(headers)
          .filter(([name]) => name.toLowerCase() === "date")
          .map(([, v]) => v),
      ).toEqual([date]);
    });

    test("bytes beyond ASCII in a header value go out as one byte per character", async () => {
      await using server = await serve(() => ({
        status: 200,
        headers: ["x-amz-meta-a", "caf\xc3\xa9"],
        body: NO_BODY,
      }));
      await using client = await WireClient.connect(server.port);
      await client.send(requestText("GET", "/b/k"));
      expect(headerOf(await client.response(), "x-amz-meta-a")).toBe("caf\xc3\xa9");
    });

    test("a reply without a body says Content-Length: 0", async () => {
      await using server = await serve(() => ({ status: 200, headers: [], body: NO_BODY }));
      await using client = await WireClient.connect(server.port);
      await client.send(requestText("GET", "/b/k"));
      const response = await client.response();
      expect(response.framing).toBe("length");
      expect(response.body).toHaveLength(0);
    });

    test.each([204, 304])("status %d has no body and its headers go out", async (status) => {
      await using server = await serve(() => ({ status, headers: ["ETag", '"x"'], body: NO_BODY }));
      await using client = await WireClient.connect(server.port);
      await client.send(requestText("GET", "/b/k"));
      await client.send(requestText("GET", "/b/k"));
      for (let turn = 0; turn < 2; turn += 1) {
        const response = await client.response();
        expect(response.status).toBe(status);
        expect(headerOf(response, "etag")).toBe('"x"');
        expect(headerOf(response, "transfer-encoding")).toBeUndefined();
      }
    });

    test("a reply to HEAD keeps its declared length and sends nothing", async () => {
      await using server = await serve(() => ({
        status: 200,
        headers: ["Content-Length", "12345", "ETag", '"x"'],
        body: NO_BODY,
      }));
      await using client = await WireClient.connect(server.port);
      await client.send(requestText("HEAD", "/b/k"));
      await client.send(requestText("HEAD", "/b/k"));
      for (let turn = 0; turn < 2; turn += 1) {
        const response = await client.response("HEAD");
        expect(headerOf(response, "content-length")).toBe("12345");
        expect(headerOf(response, "transfer-encoding")).toBeUndefined();
      }
    });

    test("a stream of known length carries Content-Length and is not chunked", async () => {
      const sent = tracked({
        status: 200,
        headers: [],
        body: {
          kind: "stream",
          source: bytesSource(Buffer.from("hello"), Buffer.from(" there")),
          lengthBytes: 11,
        },
      });
      await using server = await serve(() => sent.reply);
      await using client = await WireClient.connect(server.port);
      await client.send(requestText("GET", "/b/k"));
      const response = await client.response();
      expect(response.framing).toBe("length");
      expect(Buffer.from(response.body).toString()).toBe("hello there");
      expect(await sent.finished).toEqual({ bytesSent: 11, isComplete: true });
    });

    test("a stream of unknown length goes out chunked", async () => {
      await using server = await serve(() => ({
        status: 200,
        headers: [],
        body: {
          kind: "stream",
          source: new SourceProbe(3 * MIB, MIB),
          lengthBytes: undefined,
        },
      }));
      await using client = await WireClient.connect(server.port);
      await client.send(requestText("GET", "/b/k"));
      const response = await client.response();
      expect(response.framing).toBe("chunked");
      expect(response.body).toHaveLength(3 * MIB);
      expect(response.isTruncated).toBe(false);
    });

    test(
      traits.keepsLengthOfLargeStreams
        ? "a large stream of known length carries Content-Length too"
        : "a stream larger than the buffered limit goes out chunked (fact 3, Bun issue 10507)",
      async () => {
        const sizeBytes = 6 * MIB;
        await using server = await serve(
          () => ({
            status: 200,
            headers: [],
            body: {
              kind: "stream",
              source: new SourceProbe(sizeBytes, MIB),
              lengthBytes: sizeBytes,
            },
          }),
          {},
          { bufferedReplyBytes: 4 * MIB },
        );
        await using client = await WireClient.connect(server.port);
        await client.send(requestText("GET", "/b/k"));
        const response = await client.response();
        expect(response.framing).toBe(traits.keepsLengthOfLargeStreams ? "length" : "chunked");
        expect(response.body).toHaveLength(sizeBytes);
      },
    );

    const slices: [string, number, number, number][] = [
      ["empty", 0, 0, 10],
      ["a whole small file", 0, 1000, 1000],
      ["a whole object inside a segment", 5000, 1000, 300_000],
      ["many chunks at an odd offset", 12_345, 2_000_001, 3_000_000],
    ];
    test.each(slices)("a file slice is sent exactly: %s", async (_name, offset, length, size) => {
      const slice = new SliceProbe(patternFile(`slice-${offset}-${length}`, size), offset, length);
      const sent = tracked({
        status: 200,
        headers: ["Content-Type", "application/octet-stream"],
        body: { kind: "file", file: slice },
      });
      await using server = await serve(() => sent.reply, {}, { fileGraceMs: 0 });
      await using client = await WireClient.connect(server.port);
      await client.send(requestText("GET", "/b/k"));
      const response = await client.response();
      expect(response.status).toBe(200);
      expect(response.framing).toBe("length");
      expect(Buffer.compare(response.body, pattern(offset, length))).toBe(0);
      expect(headerOf(response, "content-disposition") ?? "").toBe("");
      expect(headerOf(response, "content-range")).toBeUndefined();
      expect(await sent.finished).toEqual({ bytesSent: length, isComplete: true });
      await slice.released;
      expect(slice.releaseCount).toBe(1);
      expect(sent.finishCount()).toBe(1);
    });

    test("Range is the handler's business: its 206 and its 200 both go out as they are", async () => {
      const path = patternFile("ranged", 10_000);
      await using server = await serve((inbound) =>
        inbound.rawTarget === "/partial"
          ? {
              status: 206,
              headers: ["Content-Range", "bytes 100-299/10000", "Content-Type", "text/plain"],
              body: { kind: "file", file: new SliceProbe(path, 100, 200) },
            }
          : {
              status: 200,
              headers: ["Content-Type", "text/plain"],
              body: { kind: "file", file: new SliceProbe(path, 0, 10_000) },
            },
      );
      await using client = await WireClient.connect(server.port);
      await client.send(requestText("GET", "/partial", ["Range", "bytes=100-299"]));
      const partial = await client.response();
      expect(partial.status).toBe(206);
      expect(headerOf(partial, "content-range")).toBe("bytes 100-299/10000");
      expect(Buffer.compare(partial.body, pattern(100, 200))).toBe(0);
      await client.send(requestText("GET", "/whole", ["Range", "bytes=5-9"]));
      const whole = await client.response();
      expect(whole.status).toBe(200);
      expect(whole.body).toHaveLength(10_000);
    });

    test("a file body in reply to HEAD gives its length and is released", async () => {
      const slice = new SliceProbe(patternFile("head", 500), 0, 500);
      await using server = await serve(
        () => ({ status: 200, headers: [], body: { kind: "file", file: slice } }),
        {},
        { fileGraceMs: 0 },
      );
      await using client = await WireClient.connect(server.port);
      await client.send(requestText("HEAD", "/b/k"));
      expect(headerOf(await client.response("HEAD"), "content-length")).toBe("500");
      await slice.released;
      expect(slice.releaseCount).toBe(1);
    });

    test("a slow reader of a stream holds its source back, and gets everything", async () => {
      const sizeBytes = 64 * MIB;
      const source = new SourceProbe(sizeBytes, 256 * 1024);
      const sent = tracked({
        status: 200,
        headers: [],
        body: { kind: "stream", source, lengthBytes: sizeBytes },
      });
      await using server = await serve(() => sent.reply);
      await using client = await WireClient.connect(server.port);
      await client.send(requestText("GET", "/b/k"));
      const head = await client.head();
      expect(head.status).toBe(200);
      let readBytes = 0;
      let aheadBytesMax = 0;
      for (let round = 0; round < 8; round += 1) {
        // Time in which a listener without back-pressure would take all of it.
        await systemClock.sleep(30);
        readBytes += await client.skip(MIB);
        aheadBytesMax = Math.max(aheadBytesMax, source.producedBytes - readBytes);
      }
      expect(aheadBytesMax).toBeLessThan(24 * MIB);
      if (traits.keepsLengthOfLargeStreams) {
        expect(readBytes + (await client.skip(sizeBytes - readBytes))).toBe(sizeBytes);
      } else {
        // Chunk framing counts too, so more than the body passes by.
        await client.skip(sizeBytes - readBytes);
        client.destroy();
      }
      await sent.finished;
      expect(source.closeCount).toBeGreaterThan(0);
      expect(sent.finishCount()).toBe(1);
    });

    test("a slow reader of a 64 MiB file costs no memory", async () => {
      const sizeBytes = 64 * MIB;
      const path = join(folder, "large");
      writeFileSync(path, new Uint8Array(sizeBytes));
      const slice = new SliceProbe(path, 0, sizeBytes);
      const reply: Reply = { status: 200, headers: [], body: { kind: "file", file: slice } };
      await using server = await serve(() => reply, {}, { fileGraceMs: 0 });
      await using client = await WireClient.connect(server.port);
      Bun.gc(true);
      const beforeBytes = process.memoryUsage.rss();
      await client.send(requestText("GET", "/b/k"));
      await client.head();
      for (let round = 0; round < 4; round += 1) {
        await systemClock.sleep(30);
        await client.skip(MIB);
      }
      expect(process.memoryUsage.rss() - beforeBytes).toBeLessThan(40 * MIB);
      expect(await client.skip(60 * MIB)).toBe(60 * MIB);
    });

    test("a handler that throws is answered 500 and logged, and the connection lives on", async () => {
      await using server = await serve((inbound) => {
        if (inbound.rawTarget === "/sync") throw new Error("we are wrong");
        if (inbound.rawTarget === "/async") return Promise.reject(new Error("wrong too"));
        return text("fine");
      });
      await using client = await WireClient.connect(server.port);
      for (const target of ["/sync", "/async"]) {
        await client.send(requestText("GET", target));
        const response = await client.response();
        expect(response.status).toBe(500);
        expect(Buffer.from(response.body).toString()).not.toContain("wrong");
      }
      await client.send(requestText("GET", "/fine"));
      expect((await client.response()).status).toBe(200);
      expect(server.problems).toHaveLength(2);
    });

    test("a reply that contradicts itself becomes a 500, never a broken connection", async () => {
      await using server = await serve(() => ({
        status: 200,
        headers: ["Content-Length", "7"],
        body: { kind: "bytes", bytes: Buffer.from("hello") },
      }));
      await using client = await WireClient.connect(server.port);
      await client.send(requestText("GET", "/b/k"));
      expect((await client.response()).status).toBe(500);
    });

    test("ten clients with different replies at once each get their own bytes", async () => {
      await using server = await serve(async (inbound) => {
        const size = Number(inbound.rawTarget.slice(1));
        return {
          status: 200,
          headers: [],
          body:
            size % 2 === 0
              ? { kind: "stream", source: new SourceProbe(size, 64 * 1024), lengthBytes: size }
              : { kind: "bytes", bytes: pattern(size, size) },
        };
      });
      await Promise.all(
        Array.from({ length: 10 }, async (_, index) => {
          await using client = await WireClient.connect(server.port);
          for (let turn = 0; turn < 5; turn += 1) {
            const size = 100_000 * turn + index;
            await client.send(requestText("GET", `/${size}`));
            const response = await client.response();
            expect(response.body).toHaveLength(size);
            if (size % 2 === 1) expect(Buffer.compare(response.body, pattern(size, size))).toBe(0);
          }
        }),
      );
    });
  });

  describe(`${traits.name}: clients that leave, bodies that break`, () => {
    test("a client that leaves before the reply aborts the signal", async () => {
      const { promise: arrived, open: arrive } = gate();
      const { promise, open } = gate<unknown>();
      const slice = new SliceProbe(patternFile("late", 100), 0, 100);
      const sent = tracked({ status: 200, headers: [], body: { kind: "file", file: slice } });
      await using server = await serve(
        async (inbound) => {
          await new Promise<void>((resolve) => {
            inbound.signal.addEventListener("abort", () => resolve());
            arrive();
          });
          open(errorCode(inbound.signal.reason));
          return sent.reply;
        },
        {},
        { fileGraceMs: 0 },
      );
      await using client = await WireClient.connect(server.port);
      await client.send(requestText("GET", "/b/k"));
      await arrived;
      client.destroy();
      expect(await promise).toBe("client_gone");
      expect((await sent.finished).isComplete).toBe(false);
      await slice.released;
      expect(slice.releaseCount).toBe(1);
      expect(sent.finishCount()).toBe(1);
    });

    if (traits.countsConnections) {
      test("a signal first looked at after the client left is aborted already", async () => {
        const { promise: arrived, open: arrive } = gate();
        const { promise, open } = gate<boolean>();
        await using server = await serve(async (inbound) => {
          arrive();
          while (server.listener.connectionCount > 0) await systemClock.sleep(5);
          open(inbound.signal.aborted);
          return text("nobody listens");
        });
        await using client = await WireClient.connect(server.port);
        await client.send(requestText("GET", "/b/k"));
        await arrived;
        client.destroy();
        expect(await promise).toBe(true);
      });

      test("a client that leaves inside the body closes the source and ends the exchange once", async () => {
        const source = new SourceProbe(64 * MIB, MIB);
        const sent = tracked({
          status: 200,
          headers: [],
          body: { kind: "stream", source, lengthBytes: 64 * MIB },
        });
        await using server = await serve(() => sent.reply);
        await using client = await WireClient.connect(server.port);
        await client.send(requestText("GET", "/b/k"));
        await client.skip(100_000);
        client.destroy();
        const outcome = await sent.finished;
        expect(outcome.isComplete).toBe(false);
        expect(outcome.bytesSent).toBeLessThan(64 * MIB);
        expect(source.closeCount).toBeGreaterThan(0);
        expect(sent.finishCount()).toBe(1);
      });
    }

    test("clients that leave inside a large file harm nobody and release it", async () => {
      const path = patternFile("left", 8 * MIB);
      const slices: SliceProbe[] = [];
      await using server = await serve(
        () => {
          const slice = new SliceProbe(path, 3, 8 * MIB - 3);
          slices.push(slice);
          return {
            status: 200,
            headers: ["Content-Type", "text/plain"],
            body: { kind: "file", file: slice },
          };
        },
        {},
        { fileGraceMs: 0 },
      );
      for (const bytes of [1, 100_000, 1_000_000, 3_000_000]) {
        await using leaving = await WireClient.connect(server.port);
        await leaving.send(requestText("GET", "/b/k"));
        await leaving.skip(bytes);
        leaving.destroy();
      }
      await using client = await WireClient.connect(server.port);
      await client.send(requestText("GET", "/b/k"));
      const response = await client.response();
      expect(Buffer.compare(response.body, pattern(3, 8 * MIB - 3))).toBe(0);
      await Promise.all(slices.map((slice) => slice.released));
      expect(slices.map((slice) => slice.releaseCount)).toEqual([1, 1, 1, 1, 1]);
    });

    if (traits.noticesLeavingWhileBodyUnread) {
      test("a client that leaves while its body waits unread is noticed", async () => {
        const { promise: arrived, open: arrive } = gate();
        const { promise, open } = gate();
        await using server = await serve(async (inbound) => {
          inbound.signal.addEventListener("abort", () => open());
          arrive();
          await promise;
          return text("late");
        });
        await using client = await WireClient.connect(server.port);
        await client.send(requestText("PUT", "/b/k", ["Content-Length", "100"], "part"));
        await arrived;
        client.destroy();
        await promise;
      });
    }

    const broken: [string, () => SourceProbe, number][] = [
      ["fails", () => new SourceProbe(10 * MIB, MIB, 2 * MIB), 10 * MIB],
      ["ends early", () => new SourceProbe(2 * MIB, MIB), 10 * MIB],
      ["goes beyond its length", () => new SourceProbe(3 * MIB, MIB), 2 * MIB + 5],
    ];
    test.each(broken)(
      "a source that %s cuts the connection before the end",
      async (_why, make, lengthBytes) => {
        const source = make();
        const sent = tracked({
          status: 200,
          headers: [],
          body: { kind: "stream", source, lengthBytes },
        });
        await using server = await serve(() => sent.reply, {}, { bufferedReplyBytes: 1000 });
        await using client = await WireClient.connect(server.port);
        await client.send(requestText("GET", "/b/k"));
        const response = await client.response();
        expect(response.isTruncated).toBe(true);
        expect((await sent.finished).isComplete).toBe(false);
        expect(source.closeCount).toBeGreaterThan(0);
        await client.ended;
      },
    );

    test("a chunked source that fails ends without the last chunk", async () => {
      await using server = await serve(() => ({
        status: 200,
        headers: [],
        body: {
          kind: "stream",
          source: new SourceProbe(10 * MIB, MIB, 2 * MIB),
          lengthBytes: undefined,
        },
      }));
      await using client = await WireClient.connect(server.port);
      await client.send(requestText("GET", "/b/k"));
      const response = await client.response();
      expect(response.isTruncated).toBe(true);
    });

    test("a file that ends inside the slice never looks whole", async () => {
      const slice = new SliceProbe(patternFile("short", 1_000_000), 0, 3_000_000);
      const sent = tracked({
        status: 200,
        headers: ["Content-Type", "text/plain"],
        body: { kind: "file", file: slice },
      });
      await using server = await serve(() => sent.reply, {}, { fileGraceMs: 0 });
      await using client = await WireClient.connect(server.port);
      await client.send(requestText("GET", "/b/k"));
      const response = await client.response();
      expect(response.isTruncated || response.status === 500).toBe(true);
      expect((await sent.finished).isComplete).toBe(false);
      await slice.released;
      expect(slice.releaseCount).toBe(1);
    });

    test("a client that takes nothing for the stall limit is cut", async () => {
      const source = new SourceProbe(64 * MIB, MIB);
      const sent = tracked({
        status: 200,
        headers: [],
        body: { kind: "stream", source, lengthBytes: 64 * MIB },
      });
      await using server = await serve(() => sent.reply, {}, { stallTimeoutMs: 1000 });
      await using client = await WireClient.connect(server.port);
      await client.send(requestText("GET", "/b/k"));
      expect((await sent.finished).isComplete).toBe(false);
      expect(source.closeCount).toBeGreaterThan(0);
    });

    if (traits.allowsHalfClose) {
      test("a client that half-closes after its request gets its answer", async () => {
        await using server = await serve(async () => {
          await systemClock.sleep(30);
          return text("still here");
        });
        await using client = await WireClient.connect(server.port);
        await client.send(requestText("GET", "/b/k"));
        client.endSending();
        expect(Buffer.from((await client.response()).body).toString()).toBe("still here");
        await client.ended;
      });
    }
  });

  // Goal: whatever clients do, every reply ends once, every body is released once, nothing is left.
  // Method: seeded clients read some of some reply at some speed, and leave at some moment.
  test.each(seeds(3))(
    `${traits.name}: unruly clients leave nothing behind (seed %d)`,
    async (seed) => {
      const random = seededRandom(seed);
      const path = patternFile(`crowd-${seed}`, 3 * MIB);
      const slices: SliceProbe[] = [];
      const sources: SourceProbe[] = [];
      const endings: { count: number; bytesSent: number }[] = [];
      const makeBody = (kind: number): Reply["body"] => {
        if (kind === 0) return { kind: "bytes", bytes: new Uint8Array(random.below(2 * MIB)) };
        if (kind === 1) {
          const slice = new SliceProbe(path, random.below(1000), random.below(2 * MIB));
          slices.push(slice);
          return { kind: "file", file: slice };
        }
        const lengthBytes = random.below(2 * MIB);
        const source = new SourceProbe(lengthBytes, 20_000 + random.below(200_000));
        sources.push(source);
        const isKnown = random.float() < 0.7;
        return { kind: "stream", source, lengthBytes: isKnown ? lengthBytes : undefined };
      };
      const server = await serve(
        async (inbound) => {
          if (random.float() < 0.5) await systemClock.sleep(random.below(5));
          if (random.float() < 0.5) await inbound.body?.read().catch(() => null);
          const ending = { count: 0, bytesSent: 0 };
          endings.push(ending);
          return {
            status: 200,
            headers: ["Content-Type", "text/plain"],
            body: makeBody(random.below(3)),
            onFinish: ({ bytesSent }) => {
              ending.count += 1;
              ending.bytesSent = bytesSent;
            },
          };
        },
        {},
        { fileGraceMs: 0, bufferedReplyBytes: MIB },
      );
      await Promise.all(
        Array.from({ length: 40 }, async () => {
          await using client = await WireClient.connect(server.port);
          for (let turns = 1 + random.below(3); turns > 0; turns -= 1) {
            const upload = random.float() < 0.3 ? "x".repeat(random.below(100_000)) : "";
            const announced = upload.length + (random.float() < 0.2 ? 1000 : 0);
            const headers = upload === "" ? [] : ["Content-Length", String(announced)];
            void client.send(requestText("PUT", "/b/k", headers, upload));
            // Reads for a moment, whatever comes or does not.
            if (random.float() < 0.5) {
              await Promise.race([client.skip(random.below(MIB)), systemClock.sleep(5)]);
            }
            if (random.float() < 0.3) return;
          }
          await systemClock.sleep(random.below(20));
        }),
      );
      await server.listener.stop();
      for (const slice of slices) await slice.released;
      expect(server.listener.requestCount).toBe(0);
      expect(server.problems).toEqual([]);
      expect(new Set(endings.map(({ count }) => count))).toEqual(new Set([1]));
      expect(slices.every(({ releaseCount }) => releaseCount === 1)).toBe(true);
      expect(sources.every(({ closeCount }) => closeCount > 0)).toBe(true);
    },
  );

  describe(`${traits.name}: connections`, () => {
    test("a connection carries many requests", async () => {
      await using server = await serve((inbound) => text(inbound.rawTarget));
      await using client = await WireClient.connect(server.port);
      for (let turn = 0; turn < 20; turn += 1) {
        await client.send(requestText("GET", `/${turn}`));
        const response = await client.response();
        expect(Buffer.from(response.body).toString()).toBe(`/${turn}`);
      }
      if (traits.countsConnections) expect(server.listener.connectionCount).toBe(1);
    });

    if (traits.pipelines) {
      test("pipelined requests are answered in their order", async () => {
        await using server = await serve(async (inbound) => {
          // The first takes longest; its answer still comes first.
          await systemClock.sleep(inbound.rawTarget === "/0" ? 40 : 1);
          return text(inbound.rawTarget);
        });
        await using client = await WireClient.connect(server.port);
        await client.send(
          ["/0", "/1", "/2", "/3"].map((target) => requestText("GET", target)).join(""),
        );
        for (const target of ["/0", "/1", "/2", "/3"]) {
          expect(Buffer.from((await client.response()).body).toString()).toBe(target);
        }
      });
    }

    test("a small unread body is dropped and the connection goes on", async () => {
      await using server = await serve((inbound) => text(inbound.method));
      await using client = await WireClient.connect(server.port);
      await client.send(
        requestText("PUT", "/b/k", ["Content-Length", "10000"], "a".repeat(10_000)),
      );
      await client.send(requestText("GET", "/b/k"));
      expect(Buffer.from((await client.response()).body).toString()).toBe("PUT");
      expect(Buffer.from((await client.response()).body).toString()).toBe("GET");
    });

    test("a client that sends all of its body before it reads still gets the refusal", async () => {
      await using server = await serve(() => ({ status: 403, headers: [], body: NO_BODY }));
      for (let round = 0; round < 5; round += 1) {
        await using client = await WireClient.connect(server.port);
        await client.send(requestText("PUT", "/b/k", ["Content-Length", "700000"]));
        for (let sent = 0; sent < 700_000; sent += 100_000) {
          await client.send(new Uint8Array(100_000));
          await systemClock.sleep(1);
        }
        expect((await client.response()).status).toBe(403);
        await client.ended;
      }
    });

    test("a reply before a large body ends the connection instead of taking the upload", async () => {
      await using server = await serve(() => ({ status: 403, headers: [], body: NO_BODY }));
      await using client = await WireClient.connect(server.port);
      await client.send(requestText("PUT", "/b/k", ["Content-Length", "5000000000"], "begin"));
      const response = await client.response();
      expect(response.status).toBe(403);
      expect(headerOf(response, "connection")).toBe("close");
      await client.ended;
    });

    const expectations = traits.continuesOnRead
      ? ["100-continue", "100-Continue"]
      : ["100-continue"];
    for (const expectation of expectations) {
      test(`Expect: ${expectation} is granted when the body is read`, async () => {
        await using server = await serve(async (inbound) => {
          const body = inbound.body === null ? [] : await readAll(inbound.body, MIB);
          return text(`got ${body.length}`);
        });
        await using client = await WireClient.connect(server.port);
        await client.send(
          requestText("PUT", "/b/k", ["Content-Length", "5", "Expect", expectation]),
        );
        const interim = await client.head();
        expect(interim.status).toBe(100);
        await client.send("hello");
        expect(Buffer.from((await client.response()).body).toString()).toBe("got 5");
      });
    }

    test("Expect: 100-continue is granted to a request of no bytes too, as botocore needs it", async () => {
      await using server = await serve(() => text("empty"));
      await using client = await WireClient.connect(server.port);
      // Twice: what the first one is missing shows in the second.
      for (let turn = 0; turn < 2; turn += 1) {
        await client.send(
          requestText("PUT", "/b/k", ["Content-Length", "0", "Expect", "100-continue"]),
        );
        expect((await client.head()).status).toBe(100);
        expect((await client.response("PUT")).status).toBe(200);
      }
    });

    for (const expectation of ["", "200-ok"]) {
      test(`an expectation nobody knows ("${expectation}") is ignored`, async () => {
        await using server = await serve(async (inbound) => {
          const body = inbound.body === null ? [] : await readAll(inbound.body, MIB);
          return text(`got ${body.length}`);
        });
        await using client = await WireClient.connect(server.port);
        const fields = ["Content-Length", "5", "Expect", expectation];
        await client.send(requestText("PUT", "/b/k", fields, "hello"));
        expect(Buffer.from((await client.response()).body).toString()).toBe("got 5");
      });
    }

    if (traits.continuesOnRead) {
      test("a refusal before the body is read costs the client no upload", async () => {
        await using server = await serve(() => ({ status: 403, headers: [], body: NO_BODY }));
        await using client = await WireClient.connect(server.port);
        const interim: WireHead[] = [];
        await client.send(
          requestText("PUT", "/b/k", ["Content-Length", "5", "Expect", "100-continue"]),
        );
        expect((await client.response("PUT", interim)).status).toBe(403);
        expect(interim).toEqual([]);
      });
    }

    test("Connection: close from the client is honoured", async () => {
      await using server = await serve(() => text("bye"));
      await using client = await WireClient.connect(server.port);
      await client.send(requestText("GET", "/b/k", ["Connection", "close"]));
      const response = await client.response();
      expect(headerOf(response, "connection")).toBe("close");
      await client.ended;
    });

    test("an HTTP/1.0 client gets its answer and the end of the connection", async () => {
      await using server = await serve(() => ({
        status: 200,
        headers: [],
        body: { kind: "stream", source: bytesSource(Buffer.from("old")), lengthBytes: undefined },
      }));
      await using client = await WireClient.connect(server.port);
      await client.send("GET /b/k HTTP/1.0\r\nHost: test\r\n\r\n");
      const response = await client.response();
      expect(headerOf(response, "transfer-encoding")).toBeUndefined();
      expect(Buffer.from(response.body).toString()).toBe("old");
      await client.ended;
    });

    const malformed: [string, string][] = [
      ["no colon in a field", "GET / HTTP/1.1\r\nHost x\r\n\r\n"],
      ["a TLS hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"],
      [
        "both lengths",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      ],
      [
        "two lengths",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
      ],
      ["no Host", "GET / HTTP/1.1\r\n\r\n"],
    ];
    test.each(malformed)("%s is answered 400 and the connection ends", async (_why, bytes) => {
      await using server = await serve(() => text("never"));
      await using client = await WireClient.connect(server.port);
      await client.send(bytes);
      expect((await client.head()).status).toBe(400);
      await client.ended;
    });

    test("a header beyond the limit is refused", async () => {
      await using server = await serve(() => text("never"), {}, { headerBytesMax: 16 * 1024 });
      await using client = await WireClient.connect(server.port);
      await client.send(requestText("GET", "/b/k", ["X-Long", "a".repeat(40_000)]));
      expect((await client.head()).status).toBe(431);
      await client.ended;
    });

    if (traits.boundsHeaderTime) {
      test("a header that trickles is cut off", async () => {
        await using server = await serve(() => text("never"), {}, { headerTimeoutMs: 200 });
        await using client = await WireClient.connect(server.port);
        await client.send("GET / HTTP/1.1\r\nHost:");
        // Either a 408 or just the end: what matters is that nothing is held.
        await client.rest();
      });

      test("a TLS connection that never says hello is closed", async () => {
        await using server = await serve(
          () => text("never"),
          { tls: TLS_ONE },
          { headerTimeoutMs: 200 },
        );
        await using client = await WireClient.connect(server.port);
        await client.rest();
      });

      test("connections beyond the limit are closed, the others work on", async () => {
        await using server = await serve(() => text("in"), {}, { connectionsMax: 2 });
        await using first = await WireClient.connect(server.port);
        await using second = await WireClient.connect(server.port);
        await first.send(requestText("GET", "/b/k"));
        await first.response();
        await second.send(requestText("GET", "/b/k"));
        await second.response();
        await using third = await WireClient.connect(server.port);
        await third.ended;
        await first.send(requestText("GET", "/b/k"));
        expect((await first.response()).status).toBe(200);
      });

      test("an idle connection is closed after the idle limit", async () => {
        await using server = await serve(() => text("in"), {}, { idleTimeoutMs: 200 });
        await using client = await WireClient.connect(server.port);
        await client.send(requestText("GET", "/b/k"));
        await client.response();
        await client.ended;
      });
    }
  });

  describe(`${traits.name}: life cycle`, () => {
    test("a busy port is a ListenError that names the port and the cure", async () => {
      await using first = await serve(() => text("first"));
      const second = traits.create({
        bindIp: "127.0.0.1",
        port: first.port,
        handler: () => text("second"),
        clock: systemClock,
        log: { warn: () => undefined, error: () => undefined },
        newRequestId: () => "id",
      });
      const failure: unknown = await second.start().catch((error: unknown) => error);
      expect(failure).toBeInstanceOf(ListenError);
      expect(failure).toMatchObject({ code: "EADDRINUSE" });
      expect(String(failure)).toContain(`127.0.0.1:${first.port}`);
      await second.stop();
    });

    test("drain lets the running reply end with Connection: close and accepts nobody new", async () => {
      const { promise: arrived, open: arrive } = gate();
      const { promise: mayAnswer, open: answer } = gate();
      await using server = await serve(async (inbound) => {
        if (inbound.rawTarget === "/first") return text("first");
        arrive();
        await mayAnswer;
        return text("last");
      });
      await using idle = await WireClient.connect(server.port);
      await using client = await WireClient.connect(server.port);
      await idle.send(requestText("HEAD", "/first"));
      await idle.response("HEAD");
      await client.send(requestText("GET", "/b/k"));
      await arrived;
      const drained = server.listener.drain(10_000);
      expect(WireClient.connect(server.port)).rejects.toThrow();
      await idle.ended;
      answer();
      const response = await client.response();
      expect(Buffer.from(response.body).toString()).toBe("last");
      expect(headerOf(response, "connection")).toBe("close");
      expect(await drained).toBe(true);
    });

    test("drain gives up after its limit and stop cuts the rest", async () => {
      const { promise: arrived, open: arrive } = gate();
      const source = new SourceProbe(64 * MIB, MIB);
      const sent = tracked({
        status: 200,
        headers: [],
        body: { kind: "stream", source, lengthBytes: 64 * MIB },
      });
      const server = await serve(() => {
        arrive();
        return sent.reply;
      });
      await using client = await WireClient.connect(server.port);
      await client.send(requestText("GET", "/b/k"));
      await arrived;
      expect(await server.listener.drain(50)).toBe(false);
      await server.listener.stop();
      expect((await sent.finished).isComplete).toBe(false);
      await client.rest();
      expect(server.listener.requestCount).toBe(0);
      await server.listener.stop();
    });

    test("the port is free after stop", async () => {
      const first = await serve(() => text("first"));
      await first.listener.stop();
      await using second = await serve(() => text("second"), { port: first.port });
      expect(second.port).toBe(first.port);
    });

    test("TLS serves the same contract", async () => {
      const source = new SourceProbe(3 * MIB, 100_000);
      await using server = await serve(
        async (inbound) =>
          inbound.body === null
            ? { status: 200, headers: [], body: { kind: "stream", source, lengthBytes: 3 * MIB } }
            : text(`${inbound.isSecure} ${(await readAll(inbound.body, MIB)).length}`),
        { tls: TLS_ONE },
      );
      await using client = await WireClient.connect(server.port, { tls: true });
      await client.send(requestText("PUT", "/b/k", ["Content-Length", "5"], "hello"));
      expect(Buffer.from((await client.response()).body).toString()).toBe("true 5");
      if (traits.keepsLengthOfLargeStreams) {
        await client.send(requestText("GET", "/b/k"));
        expect((await client.response()).body).toHaveLength(3 * MIB);
      }
      await using plain = await WireClient.connect(server.port);
      await plain.send(requestText("GET", "/b/k"));
      await plain.rest();
      await plain.ended;
    });

    test("TLS clients that offer HTTP/2 first are given HTTP/1.1", async () => {
      await using server = await serve(() => text("hello"), { tls: TLS_ONE });
      expect(["http/1.1", "false"]).toContain(await negotiatedProtocolOf(server.port));
    });

    test("a slow reader over TLS holds the source back and gets every byte", async () => {
      const path = patternFile("tls", 12 * MIB);
      await using server = await serve(
        () => ({
          status: 200,
          headers: ["Content-Type", "text/plain"],
          body: { kind: "file", file: new SliceProbe(path, 7, 12 * MIB - 7) },
        }),
        { tls: TLS_ONE },
      );
      await using client = await WireClient.connect(server.port, { tls: true });
      await client.send(requestText("GET", "/b/k"));
      await client.head();
      const received: Buffer[] = [];
      for (let round = 0; round < 12; round += 1) {
        await systemClock.sleep(5);
        received.push(await client.bytes(round < 11 ? MIB : MIB - 7));
      }
      expect(Buffer.compare(Buffer.concat(received), pattern(7, 12 * MIB - 7))).toBe(0);
    });

    if (traits.reloadsTls) {
      test("a reloaded certificate serves new connections and drops no old one", async () => {
        await using server = await serve(() => text("hello"), { tls: TLS_ONE });
        expect(await commonNameOf(server.port)).toBe("one");
        await using old = await WireClient.connect(server.port, { tls: true });
        server.listener.reloadTls(TLS_TWO);
        await untilCertificate(server.port, "two");
        await old.send(requestText("GET", "/b/k"));
        expect((await old.response()).status).toBe(200);
        expect(() => server.listener.reloadTls({ certificatePem: "x", keyPem: "y" })).toThrow();
        await untilCertificate(server.port, "two");
      });
    }
  });
}

/** For a moment after a reload, old and new certificate may both be given out. */
async function untilCertificate(port: number, name: string): Promise<void> {
  while ((await commonNameOf(port)) !== name) await systemClock.sleep(1);
}

function pairs(headers: readonly string[]): [string, string][] {
  const result: [string, string][] = [];
  for (let at = 0; at + 1 < headers.length; at += 2)
    result.push([headers[at] ?? "", headers[at + 1] ?? ""]);
  return result;
}
