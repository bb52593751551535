// Files on the wire: exactly the bytes of the slice, wherever the kernel stops taking them.
// Method: the "socket" is a pipe of known capacity for sendfile (or a pair of sockets, where a header goes ahead), so
// that it takes just so many bytes, and a list for ordinary writes, which takes everything. The file goes on behind
// the slice, with other bytes.

import { afterAll, expect, test } from "bun:test";
import { dlopen, FFIType, ptr } from "bun:ffi";
import {
  closeSync,
  fsyncSync,
  mkdtempSync,
  openSync,
  readSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { Socket } from "bun";

import { bytesReady } from "../../../src/base/page-cache.ts";
import type { FileSlice } from "../../../src/http/exchange.ts";
import { FIRST_BYTES, Wire } from "../../../src/server/http1/wire.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const PIPE_BYTES = 512 * KIB;
/** The first bytes go out with the header, what follows by sendfile. */
const SLICE_BYTES = FIRST_BYTES + 512 * KIB;
const HEAD = "HTTP/1.1 200 OK\r\n\r\n";
const LONG_HEAD = `HTTP/1.1 200 OK\r\nA: ${"a".repeat(30 * KIB)}\r\n\r\n`;

const { i32, ptr: pointer } = FFIType;
const O_NONBLOCK = 0o4000;
const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOL_SOCKET = 1;
const SO_SNDBUF = 7;
const POSIX_FADV_DONTNEED = 4;
const F_SETPIPE_SZ = 1031;

const folder = mkdtempSync(join(tmpdir(), "tag-wire-"));
/** On a file system that refuses to read without waiting, so that nothing counts as readable at once. */
const noReading = process.platform === "linux" ? mkdtempSync("/dev/shm/tag-wire-") : folder;
afterAll(() => {
  for (const one of [folder, noReading]) rmSync(one, { recursive: true, force: true });
});

/** A pipe that takes `roomBytes` (a multiple of the page size) and no more. */
function pipeWithRoom(roomBytes: number) {
  const libc = dlopen("libc.so.6", {
    pipe2: { args: [pointer, i32], returns: i32 },
    fcntl: { args: [i32, i32, i32], returns: i32 },
    write: { args: [i32, pointer, i32], returns: i32 },
  }).symbols;
  const ends = new Int32Array(2);
  if (libc.pipe2(ptr(ends), O_NONBLOCK) !== 0) throw new Error("no pipe");
  const [readEnd = -1, writeEnd = -1] = ends;
  expect(libc.fcntl(writeEnd, F_SETPIPE_SZ, PIPE_BYTES)).toBe(PIPE_BYTES);
  const filler = new Uint8Array(PIPE_BYTES - roomBytes);
  if (filler.length > 0)
    expect(libc.write(writeEnd, ptr(filler), filler.length)).toBe(filler.length);
  return {
    writeEnd,
    /** What sendfile put in. */
    taken(): Buffer {
      const all = Buffer.alloc(PIPE_BYTES);
      const count = readSync(readEnd, all);
      return all.subarray(filler.length, count);
    },
    close() {
      closeSync(readEnd);
      closeSync(writeEnd);
    },
  };
}

/** A slice in the middle of a file, all of it in memory. */
function sliceOfLargerFile(inFolder = folder) {
  const body = Buffer.from(Uint8Array.from({ length: SLICE_BYTES }, (_, at) => (at * 7) & 127));
  const others = Buffer.alloc(64 * KIB, 0xff); // never a byte of the body
  const path = join(inFolder, "file");
  writeFileSync(path, Buffer.concat([others, body, others]));
  const descriptor = openSync(path, "r");
  const slice: FileSlice = {
    descriptor,
    path,
    offsetBytes: others.length,
    lengthBytes: SLICE_BYTES,
    release: () => closeSync(descriptor),
  };
  return { body, slice };
}

test.skipIf(process.platform !== "linux").each([
  ["all of it", 512 * KIB],
  ["all but less than an ordinary write", 508 * KIB],
  ["all but an ordinary write", 496 * KIB],
  ["a little", 4 * KIB],
  ["nothing", 0],
])("a slice ends where it ends when sendfile takes %s", async (_what, roomBytes) => {
  const { body, slice } = sliceOfLargerFile();
  const pipe = pipeWithRoom(roomBytes);
  /** What was taken, in order; sendfile's part is known by its length only until it is read. */
  const written: Buffer[] = [];
  const socket = {
    fd: pipe.writeEnd,
    write(bytes: Uint8Array, from: number, length: number) {
      written.push(Buffer.from(bytes.subarray(from, from + length)));
      return length;
    },
  };
  const wire = new Wire(socket as unknown as Socket<unknown>, true, () => undefined);
  try {
    await wire.writeFile(HEAD, slice);
    const direct = pipe.taken();
    const [first = Buffer.alloc(0), ...rest] = written;
    expect(first.subarray(0, HEAD.length).toString()).toBe(HEAD);
    const sent = Buffer.concat([first.subarray(HEAD.length), direct, ...rest]);
    expect(sent.length).toBe(SLICE_BYTES);
    expect(Buffer.compare(sent, body)).toBe(0);
    expect(wire.acceptedBytes).toBe(HEAD.length + SLICE_BYTES);
  } finally {
    slice.release();
    pipe.close();
  }
});

test.skipIf(process.platform !== "linux")(
  "of a file that has to be waited for as much is read as goes out with the header, and given back",
  async () => {
    const { body, slice } = sliceOfLargerFile(noReading);
    const pipe = pipeWithRoom(PIPE_BYTES);
    const taken: Uint8Array[] = [];
    let first = Buffer.alloc(0);
    const socket = {
      fd: pipe.writeEnd,
      write(bytes: Uint8Array, from: number, length: number) {
        if (taken.length === 0) first = Buffer.from(bytes.subarray(from, from + length));
        taken.push(bytes);
        return length;
      },
    };
    const wire = new Wire(socket as unknown as Socket<unknown>, true, () => undefined);
    try {
      await wire.writeFile(HEAD, slice);
      expect(first.subarray(0, HEAD.length).toString()).toBe(HEAD);
      expect(Buffer.compare(first.subarray(HEAD.length), body.subarray(0, FIRST_BYTES))).toBe(0);
      expect(Buffer.compare(pipe.taken(), body.subarray(FIRST_BYTES))).toBe(0);
      expect(taken.map(({ byteLength }) => byteLength)).toEqual([0]); // its memory is gone
    } finally {
      slice.release();
      pipe.close();
    }
  },
);

/** Makes the kernel give up the pages of a file; false where it does not (tmpfs). */
function dropPages({ descriptor, offsetBytes, lengthBytes }: FileSlice): boolean {
  const libc = dlopen("libc.so.6", {
    posix_fadvise: { args: [i32, FFIType.i64_fast, FFIType.i64_fast, i32], returns: i32 },
  }).symbols;
  fsyncSync(descriptor);
  libc.posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED);
  return bytesReady(descriptor, offsetBytes, lengthBytes) === 0;
}

/** A socket that takes some `sndbufBytes` and no more, or nothing at all. */
function socketWithRoom(sndbufBytes: number) {
  const libc = dlopen("libc.so.6", {
    socketpair: { args: [i32, i32, i32, pointer], returns: i32 },
    setsockopt: { args: [i32, i32, i32, pointer, i32], returns: i32 },
    send: { args: [i32, pointer, i32, i32], returns: i32 },
  }).symbols;
  const ends = new Int32Array(2);
  expect(libc.socketpair(AF_UNIX, SOCK_STREAM | O_NONBLOCK, 0, ptr(ends))).toBe(0);
  const [readEnd = -1, writeEnd = -1] = ends;
  const size = new Int32Array([sndbufBytes]);
  expect(libc.setsockopt(writeEnd, SOL_SOCKET, SO_SNDBUF, ptr(size), 4)).toBe(0);
  let fillerBytes = 0;
  if (sndbufBytes === 0) {
    const filler = new Uint8Array(KIB);
    for (let sent = 0; sent >= 0; sent = libc.send(writeEnd, ptr(filler), KIB, 0))
      fillerBytes += sent;
  }
  return {
    writeEnd,
    taken(): Buffer {
      const all = Buffer.alloc(MIB);
      let count = 0;
      for (;;) {
        try {
          count += readSync(readEnd, all, count, all.length - count, null);
        } catch {
          return all.subarray(fillerBytes, count); // there is no more
        }
      }
    },
    close() {
      closeSync(readEnd);
      closeSync(writeEnd);
    },
  };
}

test.skipIf(process.platform !== "linux").each([
  ["takes all of it", MIB, true, HEAD, 100],
  ["takes all of it, but the pages are gone", MIB, true, HEAD, 100],
  ["takes all of it, and it is not asked for pages of memory", MIB, true, HEAD, 100],
  ["takes all of it, and it is little from memory", MIB, true, HEAD, 16],
  ["takes all of it, but less is copied, also from memory", MIB, true, HEAD, 15],
  ["takes a part", 8 * KIB, true, HEAD, 100],
  ["takes a part of the header", 8 * KIB, true, LONG_HEAD, 100],
  ["is full", 0, true, HEAD, 100],
  ["is not what the client reads (TLS)", MIB, false, HEAD, 100],
])(
  "bytes that also lie in a file go out once when the socket %s",
  async (what, sndbufBytes, isPlain, head, lengthKib) => {
    const { body, slice } = sliceOfLargerFile();
    const socket = socketWithRoom(sndbufBytes);
    const written: Buffer[] = [];
    const wire = new Wire(
      {
        fd: socket.writeEnd,
        write(bytes: Uint8Array, from = 0, length = bytes.length) {
          written.push(Buffer.from(bytes.subarray(from, from + length)));
          return length;
        },
      } as unknown as Socket<unknown>,
      isPlain,
      () => undefined,
    );
    const lengthBytes = lengthKib * KIB;
    // The bytes in memory have a bit more than those in the file, to tell who was sent.
    const inMemory = body.subarray(0, lengthBytes).map((byte) => byte | 0x80);
    const mustCopy = lengthKib < 16 || (what.endsWith("gone") && dropPages(slice));
    const isMemory = what.endsWith("memory");
    // A file stands in for memory: had anybody asked, its pages would be gone.
    if (isMemory) dropPages(slice);
    try {
      await wire.writeTogether(head, inMemory, { ...slice, isMemory });
      const direct = socket.taken();
      const sent = Buffer.concat([direct, ...written]);
      expect(sent.subarray(0, head.length).toString()).toBe(head);
      expect(sent.length).toBe(head.length + lengthBytes);
      const ofBody = sent.subarray(head.length);
      expect(
        Buffer.compare(
          ofBody.map((byte) => byte & 0x7f),
          body.subarray(0, lengthBytes),
        ),
      ).toBe(0);
      expect(wire.acceptedBytes).toBe(head.length + lengthBytes);
      const fromFile = ofBody.reduce((count, byte) => count + (byte < 0x80 ? 1 : 0), 0);
      expect(fromFile).toBe(Math.max(0, direct.length - head.length));
      if (mustCopy || !isPlain || sndbufBytes === 0 || head === LONG_HEAD) expect(fromFile).toBe(0);
      else if (sndbufBytes === MIB) expect(fromFile).toBe(lengthBytes);
      else expect(fromFile).toBeWithin(1, lengthBytes);
    } finally {
      slice.release();
      socket.close();
    }
  },
);
