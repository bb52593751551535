/**
 * Goal: pieces of a fair size, in memory of their own, and nothing taken for what it is not.
 * Method: real sockets that Bun does not read. What bodies, ends and failures make of it is tested through
 * the transport (test/contract/upstream-transport.test.ts). Linux only, like the code.
 */

import { afterEach, describe, expect, test } from "bun:test";
import { descriptorOf } from "../../../src/base/socket-calls.ts";
import { BulkReads } from "../../../src/upstream/bulk-reads.ts";
import { eventually } from "../../support/eventually.ts";
import { pausedConnection } from "../../support/paused-connection.ts";

const KIB = 1024;

const open: Disposable[] = [];
afterEach(() => {
  for (const each of open.splice(0)) each[Symbol.dispose]();
});

/** A connection whose receiving end is paused; `send` gives all of it to the kernel. */
async function connection() {
  const paused = await pausedConnection();
  open.push(paused);
  const { sender, receiver } = paused;
  return {
    sender,
    descriptor: descriptorOf(receiver),
    send: (bytes: Uint8Array): void => expect(sender.write(bytes)).toBe(bytes.length),
  };
}

/** The next bytes, as soon as there are some. */
async function next(reads: BulkReads, descriptor: number): Promise<Buffer> {
  let bytes: Buffer | undefined;
  await eventually(() => (bytes = reads.read(descriptor)) !== undefined);
  return bytes ?? Buffer.alloc(0);
}

describe.skipIf(process.platform !== "linux")("BulkReads", () => {
  test("the fewer bodies, the larger the pieces", () => {
    const reads = new BulkReads();
    const sizes = [reads.pieceBytes];
    for (let count = 0; count < 8; count += 1) {
      reads.enter();
      sizes.push(reads.pieceBytes);
    }
    expect(sizes.map((bytes) => Math.floor(bytes / KIB))).toEqual([
      512, 512, 256, 170, 128, 128, 128, 128, 128,
    ]);
    for (let count = 0; count < 8; count += 1) reads.leave();
    expect(reads.pieceBytes).toBe(512 * KIB);
  });

  test("nothing is there yet, then a few bytes, in memory no larger than they", async () => {
    const reads = new BulkReads();
    const { descriptor, send } = await connection();
    expect(reads.read(descriptor)).toBeUndefined();
    send(Buffer.from("abc"));
    const bytes = await next(reads, descriptor);
    expect(bytes.toString()).toBe("abc");
    expect(bytes.buffer.byteLength).toBe(3);
    expect(reads.read(descriptor)).toBeUndefined();
  });

  test("what was read stays as it is when more is", async () => {
    const reads = new BulkReads();
    for (let count = 0; count < 4; count += 1) reads.enter();
    const { descriptor, send } = await connection();
    const pieces: Buffer[] = [];
    let sizeBytes = 0;
    for (const byte of [1, 2, 3, 4, 5, 6]) {
      const count = byte % 2 === 0 ? 100 * KIB : 10 * KIB;
      send(Buffer.alloc(count, byte));
      for (let readBytes = 0; readBytes < count;) {
        const piece = await next(reads, descriptor);
        pieces.push(piece);
        readBytes += piece.length;
      }
      sizeBytes += count;
    }
    const all = Buffer.concat(pieces);
    expect(all).toHaveLength(sizeBytes);
    expect(new Set(pieces.map((piece) => piece.buffer)).size).toBe(pieces.length);
    let at = 0;
    for (const byte of [1, 2, 3, 4, 5, 6]) {
      const count = byte % 2 === 0 ? 100 * KIB : 10 * KIB;
      expect(all.subarray(at, at + count)).toEqual(Buffer.alloc(count, byte));
      at += count;
    }
  });

  test("an end is left for Bun to find, a failure is told", async () => {
    const reads = new BulkReads();
    const ended = await connection();
    ended.send(Buffer.from("abc"));
    ended.sender.end();
    expect((await next(reads, ended.descriptor)).toString()).toBe("abc");
    expect(reads.read(ended.descriptor)).toBeUndefined();
    expect(reads.read(ended.descriptor)).toBeUndefined();
    expect(() => reads.read(-1)).toThrow("upstream broke the connection");
  });

  test("a turn is for one piece", async () => {
    const reads = new BulkReads();
    expect(reads.turns.enter(reads.pieceBytes)).toBeUndefined();
    const turn = reads.turns.enter(reads.pieceBytes);
    expect(turn).toBeInstanceOf(Promise);
    await turn;
  });
});
