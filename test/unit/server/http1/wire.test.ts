// Goal: on each connection exactly the bytes of its replies, in order, although whole replies wait for the end of
// the turn, everybody shares one buffer, and a socket takes as much as it likes. And what was
// answered goes out before a connection is ended.
// Method: sockets that write down what they take and what becomes of them.

import { afterAll, describe, expect, test } from "bun:test";
import type { Socket } from "bun";
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { nextTurn } from "../../../../src/base/next-turn.ts";
import { systemClock } from "../../../../src/base/clock.ts";
import { Connection } from "../../../../src/server/http1/connection.ts";
import type { EngineState } from "../../../../src/server/http1/connection.ts";
import { Wire } from "../../../../src/server/http1/wire.ts";
import { DEFAULT_LIMITS } from "../../../../src/server/options.ts";

const KIB = 1024;
const GONE = -1;

class FakeSocket {
  readonly fd = -1;
  readonly remoteAddress = "127.0.0.1";
  /** What happened, writes as their text. */
  readonly events: string[] = [];
  /** How many bytes it takes before it is full; GONE: the client has left. */
  room = Number.POSITIVE_INFINITY;

  get text(): string {
    return this.events.join("");
  }

  onWrite = (): unknown => undefined;

  write(bytes: Uint8Array, from = 0, length = bytes.length): number {
    if (this.room === GONE) return GONE;
    this.onWrite();
    const count = Math.min(length, this.room);
    this.room -= count;
    if (count > 0) {
      this.events.push(Buffer.from(bytes.subarray(from, from + count)).toString("latin1"));
    }
    return count;
  }
  end = () => this.events.push("(end)");
  shutdown = () => this.events.push("(shutdown)");
  terminate = () => this.events.push("(terminate)");
  pause = () => undefined;
  resume = () => undefined;
}

function open() {
  const socket = new FakeSocket();
  const wire = new Wire(socket as unknown as Socket<unknown>, true, () => undefined);
  return { socket, wire };
}

const folder = mkdtempSync(join(tmpdir(), "tag-wire-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const SMALL = Buffer.alloc(1 * KIB, "s");
const LARGE = Buffer.alloc(100 * KIB, "l");
const FILE = "f".repeat(50 * KIB);
writeFileSync(join(folder, "file"), FILE);

function fileSlice(name = "file") {
  const descriptor = openSync(join(folder, name), "r");
  return {
    descriptor,
    path: "file",
    offsetBytes: 0,
    lengthBytes: FILE.length,
    release: () => closeSync(descriptor),
  };
}

describe("what is sent at once comes behind what waits", () => {
  /** Each way of sending, and what it puts on the wire. */
  const WAYS: Record<string, (wire: Wire) => readonly [string, Promise<void> | undefined]> = {
    bytes: (wire) => ["bytes", wire.write(Buffer.from("bytes"))],
    "a chunk": (wire) => ["5\r\nchunk\r\n", wire.writeChunk("", Buffer.from("chunk"))],
    "the last chunk": (wire) => ["0\r\n\r\n", wire.writeLastChunk()],
    "a header and a large chunk": (wire) => [
      `head${(100 * KIB).toString(16)}\r\n${LARGE.toString()}\r\n`,
      wire.writeChunk("head", LARGE),
    ],
    "a file": (wire) => {
      const slice = fileSlice();
      return [`file-head${FILE}`, wire.writeFile("file-head", slice).finally(slice.release)];
    },
    "a header of more than the buffer": (wire) => [
      `${"h".repeat(40 * KIB)}body`,
      wire.writeWithHead("h".repeat(40 * KIB), Buffer.from("body")),
    ],
  };

  test.each(Object.entries(WAYS))("%s", async (_way, send) => {
    const [one, other] = [open(), open()];
    expect(one.wire.writeWithHead("small-", SMALL)).toBeUndefined();
    const waiting = one.wire.writeWithHead("large-", LARGE);
    expect(waiting).toBeDefined();
    const elsewhere = other.wire.writeWithHead("other-", LARGE);
    expect(one.socket.text).toBe("");
    const [expected, sending] = send(one.wire);
    await Promise.all([waiting, elsewhere, sending]);
    await nextTurn();
    const before = `small-${SMALL.toString()}large-${LARGE.toString()}`;
    expect(one.socket.text).toBe(before + expected);
    expect(one.wire.acceptedBytes).toBe(before.length + expected.length);
    expect(other.socket.text).toBe(`other-${LARGE.toString()}`);
  });
});

test("what waits goes out before the next helping of a large file", async () => {
  const order: string[] = [];
  const [large, small] = [open(), open()];
  large.socket.onWrite = () => order.push("file");
  small.socket.onWrite = () => order.push("small");
  const content = Buffer.alloc(4 * KIB * KIB, "f");
  writeFileSync(join(folder, "large"), content);
  const slice = { ...fileSlice("large"), lengthBytes: content.length };
  const sending = large.wire.writeFile("head", slice).finally(slice.release);
  await nextTurn();
  const helpings = order.length;
  void small.wire.writeWithHead("small", SMALL);
  await sending;
  expect(order.length).toBeGreaterThan(helpings + 1);
  expect(order[helpings]).toBe("small");
  expect(large.socket.text.length).toBe("head".length + content.length);
});

test.each([0, 3, 500, 1030, 2000, 60 * KIB])(
  "a socket that is full after %i bytes gets the rest when it has room, and then what followed",
  async (roomBytes) => {
    const { socket, wire } = open();
    socket.room = roomBytes;
    expect(wire.writeWithHead("small-", SMALL)).toBeUndefined();
    const large = wire.writeWithHead("large-", LARGE);
    await nextTurn();
    const next = wire.writeWithHead("next-", SMALL);
    await nextTurn();
    expect(socket.text.length).toBe(roomBytes);
    expect(wire.isBlocked).toBe(true);
    socket.room = 10 * KIB;
    expect(wire.onDrain()).toBe(true);
    socket.room = Number.POSITIVE_INFINITY;
    wire.onDrain();
    await Promise.all([large, next]);
    await nextTurn();
    expect(socket.text).toBe(
      `small-${SMALL.toString()}large-${LARGE.toString()}next-${SMALL.toString()}`,
    );
    expect(wire.isBlocked).toBe(false);
    expect(wire.acceptedBytes).toBe(socket.text.length);
  },
);

describe("a client that is gone at the end of the turn", () => {
  const outcomeOf = (sending: Promise<void> | undefined) =>
    sending?.then(
      () => "sent",
      () => "gone",
    );

  test("is told to who waits, and to nobody else", async () => {
    const [one, other] = [open(), open()];
    void one.wire.writeWithHead("small-", SMALL);
    const large = outcomeOf(one.wire.writeWithHead("large-", LARGE));
    void other.wire.writeWithHead("other-", SMALL);
    one.socket.room = GONE;
    expect(await large).toBe("gone");
    expect(other.socket.text).toBe(`other-${SMALL.toString()}`);
  });

  test("gets nothing once its connection is closed", async () => {
    const { socket, wire } = open();
    void wire.writeWithHead("small-", SMALL);
    const large = outcomeOf(wire.writeWithHead("large-", LARGE));
    wire.onClose();
    expect(await large).toBe("gone");
    expect(socket.events).toEqual([]);
  });
});

describe("what was answered goes out before the connection is ended", () => {
  const REQUEST = Buffer.from("GET / HTTP/1.1\r\nHost: h\r\n\r\n");

  function answered() {
    const socket = new FakeSocket();
    const state: EngineState = {
      bindIp: "127.0.0.1",
      port: 0,
      handler: () => ({ status: 204, headers: [], body: { kind: "none" } }),
      clock: systemClock,
      log: { warn: () => undefined, error: () => undefined },
      newRequestId: () => "id",
      limits: DEFAULT_LIMITS,
      isDraining: false,
      nowMs: 0,
      dateLine: "",
      onExchange: () => undefined,
    };
    const connection = new Connection(socket as unknown as Socket<unknown>, state);
    return { connection, socket, state };
  }

  const ENDINGS: Record<
    string,
    (world: ReturnType<typeof answered>) => "(end)" | "(shutdown)" | "(terminate)"
  > = {
    "by the client's half": ({ connection }) => {
      connection.onData(REQUEST);
      connection.onEnd();
      return "(end)";
    },
    "as it is idle": ({ connection }) => {
      connection.onData(REQUEST);
      connection.closeIfIdle();
      return "(end)";
    },
    "as nothing came": ({ connection }) => {
      connection.onData(REQUEST);
      connection.onDeadline();
      return "(end)";
    },
    "while the server drains": ({ connection, state }) => {
      state.isDraining = true;
      connection.onData(REQUEST);
      return "(end)";
    },
    "by the wish of the client": ({ connection }) => {
      connection.onData(Buffer.from("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"));
      return "(end)";
    },
    "by a request that is none": ({ connection }) => {
      connection.onData(Buffer.concat([REQUEST, Buffer.from("nonsense\r\n\r\n")]));
      return "(shutdown)";
    },
    "as the server stops": ({ connection }) => {
      connection.onData(REQUEST);
      connection.cut();
      return "(terminate)";
    },
  };

  test.each(Object.entries(ENDINGS))("%s", async (_ending, run) => {
    const world = answered();
    const ending = run(world);
    const { events } = world.socket;
    expect(events.filter((event) => event.startsWith("HTTP/1.1 204 ")).length).toBe(1);
    expect(events.at(-1)).toBe(ending);
    await nextTurn();
    expect(events.at(-1)).toBe(ending);
  });
});
