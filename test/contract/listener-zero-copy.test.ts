import { connect } from "node:net";
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "bun:test";

import { bytesSource } from "../../src/base/byte-source.ts";
import type { ByteSource } from "../../src/base/byte-source.ts";
import { systemClock } from "../../src/base/clock.ts";
import { NO_BODY } from "../../src/http/exchange.ts";
import type { FileSlice, Handler, Reply, ReplyBody } from "../../src/http/exchange.ts";
import type { ListenerLimits } from "../../src/server/listener.ts";
import { ZeroCopyListener } from "../../src/server/zero-copy.ts";
import { eventually } from "../support/eventually.ts";
import { WireClient, requestText } from "../support/wire-client.ts";
import type { WireResponse } from "../support/wire-client.ts";
import { listenerContract } from "./listener.suite.ts";

const MIB = 1024 * 1024;

listenerContract({
  name: "zero-copy (Bun.serve)",
  create: (options) => new ZeroCopyListener(options),
  keepsRawTargets: false,
  keepsRequestHeaders: false,
  replyHeaders: "repeats-joined",
  keepsLengthOfLargeStreams: false,
  continuesOnRead: false,
  noticesLeavingWhileBodyUnread: true,
  allowsHalfClose: false,
  boundsHeaderTime: false,
  pipelines: false,
  countsConnections: false,
  reloadsTls: true,
});

async function serve(
  handler: Handler,
  limits: Partial<ListenerLimits> = {},
  onError: (...said: unknown[]) => void = () => undefined,
) {
  const listener = new ZeroCopyListener({
    bindIp: "127.0.0.1",
    port: 0,
    handler,
    clock: systemClock,
    log: { warn: () => undefined, error: onError },
    newRequestId: () => "id",
    limits,
  });
  await listener.start();
  return {
    port: listener.port,
    memoryBytes: () => listener.replyMemoryBytes,
    requestCount: () => listener.requestCount,
    [Symbol.asyncDispose]: () => listener.stop(),
  };
}

async function get(port: number): Promise<WireResponse> {
  await using client = await WireClient.connect(port);
  await client.send(requestText("GET", "/b/k"));
  return await client.response();
}

const bytesBody = (text: string): ReplyBody => ({ kind: "bytes", bytes: Buffer.from(text) });

/** How many of `count` requests that are sent at once are answered. */
async function answersToPipelined(count: number, handler: Handler): Promise<number> {
  await using server = await serve(handler);
  await using client = await WireClient.connect(server.port);
  const requests = Array.from({ length: count }, (_, index) =>
    requestText("GET", `/${index}`, index + 1 === count ? ["Connection", "close"] : []),
  );
  await client.send(requests.join(""));
  const received = await client.rest();
  return received.toString("latin1").split("HTTP/1.1 2").length - 1;
}

test("a request pipelined behind a slow answer ends the connection (difference 6)", async () => {
  const answers = await answersToPipelined(2, async () => {
    await systemClock.sleep(20);
    return { status: 204, headers: [], body: NO_BODY };
  });
  expect(answers).toBeLessThan(2);
});

// Small replies but the first wait for the end of the turn, which is slow in that sense. Larger ones must not, as Bun
// would send every part of their header by itself.
test.each([
  ["without a body", 0, 1],
  ["of 8191 bytes", 8 * 1024 - 1, 1],
  ["of 8 KiB", 8 * 1024, 3],
  ["of 100 KiB", 100 * 1024, 3],
])(
  "of three replies %s in one turn, %i bytes, %i are sent at once",
  async (_, sizeBytes, atOnce) => {
    const bytes = new Uint8Array(sizeBytes);
    const body: ReplyBody = sizeBytes === 0 ? NO_BODY : { kind: "bytes", bytes };
    const answers = await answersToPipelined(3, () => ({ status: 200, headers: [], body }));
    expect(answers).toBe(atOnce);
  },
);

// A lone client only sees the first reply of a turn, which every other test is about. Here it is the second.
test.each<[string, string, Reply]>([
  ["bytes", "GET", { status: 200, headers: ["A", "b"], body: bytesBody("hello") }],
  ["an error", "GET", { status: 404, headers: [], body: bytesBody("<Error/>") }],
  ["HEAD", "HEAD", { status: 200, headers: ["Content-Length", "5"], body: NO_BODY }],
  ["204", "GET", { status: 204, headers: [], body: NO_BODY }],
  ["304", "GET", { status: 304, headers: ["ETag", '"x"'], body: NO_BODY }],
  ["an empty body", "GET", { status: 200, headers: ["Content-Length", "0"], body: NO_BODY }],
])("a reply that waits for the end of the turn is the same: %s", async (_, method, reply) => {
  const first: Reply = { status: 200, headers: [], body: bytesBody("first") };
  await using server = await serve(({ rawTarget }) => (rawTarget === "/first" ? first : reply));
  const textOf = async (ahead: string): Promise<string> => {
    await using client = await WireClient.connect(server.port);
    await client.send(ahead + requestText(method, "/it", ["Connection", "close"]));
    const received = (await client.rest()).toString("latin1");
    const text = received.slice(received.lastIndexOf("HTTP/1.1"));
    return text.replace(/^date: .*$/im, "").toLowerCase();
  };
  expect(await textOf(requestText("GET", "/first"))).toBe(await textOf(""));
});

// Goal: what is held back to declare its length has one bound for all replies together.
// Method: ten replies whose sources bring nothing before all ten were asked for; the bound has room for three.
test("replies held in memory are bounded together, and those beyond go out chunked", async () => {
  const readers = 10;
  const bytes = new Uint8Array(2 * MIB).fill(7);
  const lengthBytes = bytes.length;
  let asked = 0;
  let expected = readers;
  let allAsked = Promise.withResolvers<void>();
  await using server = await serve(
    () => {
      const inner = bytesSource(bytes);
      let isFirst = true;
      const source = {
        async read() {
          if (isFirst && (asked += 1) === expected) allAsked.resolve();
          isFirst = false;
          await allAsked.promise;
          return inner.read();
        },
        close: () => inner.close(),
      };
      return { status: 200, headers: [], body: { kind: "stream", source, lengthBytes } };
    },
    { bufferedReplyBytes: 4 * MIB, bufferedRepliesBytes: 7 * MIB },
  );
  const responses = await Promise.all(Array.from({ length: readers }, () => get(server.port)));
  expect(responses.map(({ framing }) => framing).toSorted()).toEqual([
    ...Array.from({ length: readers - 3 }, () => "chunked" as const),
    "length",
    "length",
    "length",
  ]);
  for (const { body, isTruncated } of responses) {
    expect(isTruncated).toBe(false);
    expect(Buffer.compare(body, bytes)).toBe(0);
  }
  // They are gone, so there is room again.
  asked = 0;
  expected = 3;
  allAsked = Promise.withResolvers<void>();
  const later = await Promise.all([get(server.port), get(server.port), get(server.port)]);
  expect(later.map(({ framing }) => framing)).toEqual(["length", "length", "length"]);
});

test("a reply that broke while it was held back gives its room back", async () => {
  let isBroken = true;
  await using server = await serve(
    () => {
      const source = isBroken ? bytesSource(new Uint8Array(5)) : bytesSource(new Uint8Array(MIB));
      return { status: 200, headers: [], body: { kind: "stream", source, lengthBytes: MIB } };
    },
    { bufferedReplyBytes: MIB, bufferedRepliesBytes: MIB },
  );
  for (let count = 0; count < 3; count += 1) expect((await get(server.port)).status).toBe(500);
  isBroken = false;
  expect((await get(server.port)).framing).toBe("length");
});

// Goal: a client that left before it was answered takes no other reply's place in the count. Bun forgets its
// request at once, we only when the handler is done. Method: three of them, while one reply is on its way to a
// client that does not read, and another is asked for.
test("clients that left unanswered do not hide what is held for others", async () => {
  const lengthBytes = 16 * MIB;
  const bytes = new Uint8Array(lengthBytes).fill(7);
  const answered = Promise.withResolvers<void>();
  let waiting = 0;
  await using server = await serve(
    async ({ rawTarget }) => {
      if (rawTarget === "/wait") {
        waiting += 1;
        await answered.promise;
      }
      const source = bytesSource(bytes);
      return { status: 200, headers: [], body: { kind: "stream", source, lengthBytes } };
    },
    { bufferedReplyBytes: lengthBytes, bufferedRepliesBytes: 3 * lengthBytes },
  );
  await using idle = await WireClient.connect(server.port);
  await idle.send(requestText("GET", "/held"));
  expect((await idle.head()).status).toBe(200);
  expect(server.memoryBytes()).toBe(lengthBytes);

  const leaving = await Promise.all([1, 2, 3].map(() => WireClient.connect(server.port)));
  for (const client of leaving) await client.send(requestText("GET", "/wait"));
  await eventually(() => waiting === 3);
  for (const client of leaving) await client[Symbol.asyncDispose]();
  await eventually(() => server.requestCount() === 1);

  expect(server.memoryBytes()).toBe(lengthBytes);
  const other = await get(server.port);
  expect([other.status, other.framing]).toEqual([200, "length"]);
  expect(Buffer.compare(other.body, bytes)).toBe(0);
  answered.resolve();
});

test("a client that leaves while the next chunk is read is no error, and the chunk is given back", async () => {
  const errors: unknown[] = [];
  const asked = Promise.withResolvers<void>();
  const left = Promise.withResolvers<void>();
  const released: Uint8Array[] = [];
  const finished = Promise.withResolvers<unknown>();
  const late = new Uint8Array(100);
  let reads = 0;
  await using server = await serve(
    () => {
      const source: ByteSource = {
        async read() {
          reads += 1;
          if (reads === 1) return new Uint8Array(10);
          asked.resolve();
          await left.promise;
          return late;
        },
        release: (chunk) => released.push(chunk),
        close: () => undefined,
      };
      return {
        status: 200,
        headers: [],
        body: { kind: "stream", source, lengthBytes: undefined },
        onFinish: (sent) => finished.resolve(sent),
      };
    },
    {},
    (...said) => errors.push(said),
  );
  const client = await WireClient.connect(server.port);
  await client.send(requestText("GET", "/b/k"));
  await asked.promise;
  await client[Symbol.asyncDispose]();
  expect(await finished.promise).toEqual({ bytesSent: 10, isComplete: false });
  left.resolve();
  await eventually(() => released.includes(late));
  expect(errors).toEqual([]);
});

/** A stream of `bytes` that will also be a file, once `file` resolves; counts what was done to it. */
function storedStream(bytes: Uint8Array, file: Promise<FileSlice | undefined>) {
  const counts = { read: 0, closed: 0 };
  const inner = bytesSource(bytes);
  const body: ReplyBody = {
    kind: "stream",
    source: {
      read() {
        counts.read += 1;
        return inner.read();
      },
      close() {
        counts.closed += 1;
      },
    },
    lengthBytes: bytes.length,
    stored: () => file,
  };
  return { body, counts };
}

test("a reply that gets stored is sent from its file, unread, and both are released once", async () => {
  const folder = mkdtempSync(join(tmpdir(), "tag-stored-"));
  const bytes = Buffer.alloc(5 * MIB, "stored");
  const path = join(folder, "body");
  writeFileSync(path, Buffer.concat([Buffer.from("before"), bytes]));
  const descriptor = openSync(path, "r");
  let releaseCount = 0;
  const released = Promise.withResolvers<void>();
  const release = () => {
    releaseCount += 1;
    released.resolve();
  };
  const file = { descriptor, path, offsetBytes: 6, lengthBytes: bytes.length, release };
  const { body, counts } = storedStream(bytes, Promise.resolve(file));
  const finished = Promise.withResolvers<unknown>();
  await using server = await serve(
    () => ({ status: 200, headers: [], body, onFinish: (sent) => finished.resolve(sent) }),
    { fileGraceMs: 0 },
  );
  const response = await get(server.port);
  expect(response.framing).toBe("length");
  expect(Buffer.compare(response.body, bytes)).toBe(0);
  expect(await finished.promise).toEqual({ bytesSent: bytes.length, isComplete: true });
  await released.promise;
  expect(counts).toEqual({ read: 0, closed: 1 });
  expect(releaseCount).toBe(1);
  closeSync(descriptor);
  rmSync(folder, { recursive: true });
});

test("a reply that was to be stored and is not is sent from its source", async () => {
  const bytes = Buffer.alloc(5 * MIB, "passing");
  const { body, counts } = storedStream(bytes, Promise.resolve(undefined));
  await using server = await serve(() => ({ status: 200, headers: [], body }));
  const response = await get(server.port);
  expect(response.framing).toBe("length");
  expect(Buffer.compare(response.body, bytes)).toBe(0);
  expect(counts.closed).toBe(1);
});

// Memory that may be used again changes under the same address; what is remembered must not be taken for it.
test.each([
  ["sent again and again", false],
  ["in memory that is used again", true],
])("a body %s arrives whole every time, with the headers of its reply", async (_why, isReused) => {
  const bytes = new Uint8Array(100 * 1024);
  let count = 0;
  await using server = await serve(() => {
    if (isReused) bytes.fill((count += 1));
    const headers = ["Content-Type", "text/plain", "x-amz-meta-a", "1", "x-amz-meta-a", "2"];
    const more = isReused ? { release: () => undefined } : {};
    return { status: 200, headers, body: { kind: "bytes", bytes, ...more } };
  });
  for (let round = 0; round < 5; round += 1) {
    const response = await get(server.port);
    expect(response.framing).toBe("length");
    expect(Buffer.compare(response.body, bytes)).toBe(0);
    const own = new Headers();
    for (let at = 0; at < response.headers.length; at += 2) {
      own.append(response.headers[at] ?? "", response.headers[at + 1] ?? "");
    }
    expect(own.get("content-type")).toBe("text/plain");
    expect(own.get("x-amz-meta-a")).toBe("1, 2");
    expect(own.get("content-length")).toBe(String(bytes.length));
  }
  expect(server.memoryBytes()).toBe(isReused ? 0 : bytes.length);
});

// Goal: memory that a stream takes back while Bun sends it never reaches a client.
// Method: chunks of all sizes are overwritten the moment they are given back; one client reads as fast as it
// can, one stops after every piece, so that Bun has to keep what the socket does not take.
test.each([0, 2])(
  "chunks are given back once Bun is done with them (a client that rests %i ms)",
  async (restMs) => {
    const sizes = [1, 512 * 1024, 100, 64 * 1024, MIB, 3, 700_001];
    const lengthBytes = 24 * MIB;
    const byteAt = (at: number): number => (at * 7 + (at >> 11)) & 127;
    let givenBack = 0;
    const openSource = (): ByteSource => {
      let at = 0;
      let turn = 0;
      return {
        read: async () => {
          if (at === lengthBytes) return null;
          const start = at;
          const chunk = new Uint8Array(Math.min(sizes[turn % sizes.length] ?? 1, lengthBytes - at));
          for (let index = 0; index < chunk.length; index += 1)
            chunk[index] = byteAt(start + index);
          at += chunk.length;
          turn += 1;
          return chunk;
        },
        release: (chunk) => {
          givenBack += chunk.length;
          chunk.fill(0xff);
        },
        close: () => undefined,
      };
    };
    await using server = await serve(
      () => ({
        status: 200,
        headers: [],
        body: { kind: "stream", source: openSource(), lengthBytes },
      }),
      { bufferedReplyBytes: MIB },
    );
    const wire = await readAll(server.port, restMs);
    let next = wire.indexOf("\r\n\r\n") + 4;
    expect(wire.toString("latin1", 0, next)).toContain("ransfer-Encoding: chunked");
    let received = 0;
    let wrong = 0;
    for (;;) {
      const start = wire.indexOf("\r\n", next) + 2;
      const end = start + Number.parseInt(wire.toString("latin1", next, start), 16);
      if (end === start) break;
      for (const byte of wire.subarray(start, end)) {
        if (byte !== byteAt(received)) wrong += 1;
        received += 1;
      }
      next = end + 2;
    }
    expect(received).toBe(lengthBytes);
    expect(wrong).toBe(0);
    expect(givenBack).toBe(lengthBytes);
  },
);

/** Everything a server sends for one request; with `restMs`, the socket rests after every piece. */
async function readAll(port: number, restMs: number): Promise<Buffer> {
  const pieces: Buffer[] = [];
  const socket = connect(port, "127.0.0.1");
  socket.write("GET /b/k HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  for await (const piece of socket) {
    pieces.push(piece as Buffer);
    if (restMs > 0) await systemClock.sleep(restMs);
  }
  return Buffer.concat(pieces);
}
