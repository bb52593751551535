// Goal: on each connection exactly the bytes of its reply, although whole replies wait for the end of the turn,
// everybody shares one buffer, and a socket takes as much as it likes. And what was answered goes out, all of it,
// before a connection is ended.
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

test("replies of many connections share a buffer, and each has its own bytes", async () => {
  const all = Array.from({ length: 40 }, () => open());
  const slice = fileSlice();
  const sending = all.map(async ({ wire }, no) => {
    if (no === 20) await wire.writeFile("file-", slice).finally(slice.release);
    else await wire.writeWithHead(`${no}-`, no % 2 === 0 ? SMALL : LARGE);
  });
  // Of those there are ten that go out early, as they are more than a helping, and a file at once.
  await Promise.all(sending);
  for (const [no, { socket, wire }] of all.entries()) {
    const body = no % 2 === 0 ? SMALL : LARGE;
    const expected = no === 20 ? `file-${FILE}` : `${no}-${body.toString()}`;
    expect(socket.text).toBe(expected);
    expect(wire.acceptedBytes).toBe(expected.length);
  }
});

test("a whole reply waits for the end of the turn", async () => {
  const { socket, wire } = open();
  const sending = wire.writeWithHead("head-", SMALL);
  await Promise.resolve();
  expect(socket.text).toBe("");
  await sending;
  expect(socket.text).toBe(`head-${SMALL.toString()}`);
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

test.each([0, 3, 500, 1000, 60 * KIB])(
  "a socket that is full after %i bytes gets the rest when it has room, and the reply is sent then",
  async (roomBytes) => {
    const { socket, wire } = open();
    socket.room = roomBytes;
    let isSent = false;
    const sending = wire.writeWithHead("large-", LARGE)?.then(() => (isSent = true));
    await nextTurn();
    expect(socket.text.length).toBe(roomBytes);
    expect(wire.isBlocked).toBe(true);
    socket.room = 10 * KIB;
    expect(wire.onDrain()).toBe(true);
    await nextTurn();
    expect(isSent).toBe(false);
    socket.room = Number.POSITIVE_INFINITY;
    wire.onDrain();
    await sending;
    expect(socket.text).toBe(`large-${LARGE.toString()}`);
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
    const sending = outcomeOf(one.wire.writeWithHead("small-", SMALL));
    void other.wire.writeWithHead("other-", SMALL);
    one.socket.room = GONE;
    expect(await sending).toBe("gone");
    expect(other.socket.text).toBe(`other-${SMALL.toString()}`);
  });

  test("gets nothing once its connection is closed", async () => {
    const { socket, wire } = open();
    const sending = outcomeOf(wire.writeWithHead("small-", SMALL));
    wire.onClose();
    expect(await sending).toBe("gone");
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

  interface Ending {
    readonly request?: Buffer;
    readonly run?: (world: ReturnType<typeof answered>) => void;
    /** When the connection has nothing to do any more. */
    readonly runIdle?: (world: ReturnType<typeof answered>) => void;
    readonly ends: "(end)" | "(shutdown)" | "(terminate)";
  }
  const CLOSE = Buffer.from("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  const NONSENSE = Buffer.concat([REQUEST, Buffer.from("nonsense\r\n\r\n")]);
  const drain = ({ connection, state }: ReturnType<typeof answered>): void => {
    state.isDraining = true;
    connection.closeIfIdle();
  };

  /** Those that hold also for a client that makes no room for the answer at first. */
  const PATIENT: Record<string, Ending> = {
    "while the server drains": { run: drain, ends: "(end)" },
    "as it is idle and the server drains": { runIdle: drain, ends: "(end)" },
    "as nothing came": { runIdle: ({ connection }) => connection.onDeadline(), ends: "(end)" },
    "by the wish of the client": { request: CLOSE, ends: "(end)" },
    "by a request that is none": { request: NONSENSE, ends: "(shutdown)" },
  };
  const AT_ONCE: Record<string, Ending> = {
    "by the client's half": { run: ({ connection }) => connection.onEnd(), ends: "(end)" },
    "as the server stops": { run: ({ connection }) => connection.cut(), ends: "(terminate)" },
  };

  test.each([...Object.entries(PATIENT), ...Object.entries(AT_ONCE)])(
    "%s",
    async (_ending, { request = REQUEST, run, runIdle, ends }) => {
      const world = answered();
      world.connection.onData(request);
      run?.(world);
      await nextTurn();
      await nextTurn();
      runIdle?.(world);
      const { events } = world.socket;
      expect(events.filter((event) => event.startsWith("HTTP/1.1 204 ")).length).toBe(1);
      expect(events.at(-1)).toBe(ends);
    },
  );

  test.each(Object.entries(PATIENT))(
    "%s, when there is room for it",
    async (_ending, { request = REQUEST, run, runIdle, ends }) => {
      const world = answered();
      world.socket.room = 10;
      world.connection.onData(request);
      run?.(world);
      await nextTurn();
      await nextTurn();
      expect(world.socket.events).toEqual(["HTTP/1.1 2"]);
      world.socket.room = Number.POSITIVE_INFINITY;
      world.connection.onDrain();
      await nextTurn();
      await nextTurn();
      runIdle?.(world);
      expect(world.socket.text.split("\r\n")[0]).toBe("HTTP/1.1 204 No Content");
      expect(world.socket.text).toContain("\r\n\r\n");
      expect(world.socket.events.at(-1)).toBe(ends);
    },
  );
});
