import { afterAll, expect, test } from "bun:test";
import {
  closeSync,
  fsyncSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";

import { pumpFile, readWhole, touchByte } from "../../../src/server/pump.ts";
import { errorCode } from "../../../src/base/errors.ts";
import {
  bytesReady,
  PROBE_STEP_BYTES,
  prefetch,
  readResident,
  sendFile,
} from "../../../src/base/page-cache.ts";
import { makeCold } from "../../support/page-cache.ts";

// tmpfs cannot tell what is resident, so the files are put where the sources are.
const folder = mkdtempSync(join(import.meta.dir, "resident-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const SIZE = 1024 * 1024;
const content = Buffer.from(Array.from({ length: SIZE }, (_, at) => (at * 7 + (at >> 8)) & 255));

function openFile(name: string, times = 1): { descriptor: number; path: string } {
  const path = join(folder, name);
  const descriptor = openSync(path, "w+");
  for (let time = 0; time < times; time += 1) writeSync(descriptor, content);
  fsyncSync(descriptor);
  return { descriptor, path };
}

test("what was just written is resident and read at the right place", () => {
  const { descriptor } = openFile("hot");
  const target = Buffer.alloc(100);
  const readBytes = readResident(descriptor, target, 10, 50, 12_345);
  expect(readBytes).toBe(50);
  expect(target.subarray(10, 60)).toEqual(content.subarray(12_345, 12_395));
  expect(target[9]).toBe(0);
  expect(target[60]).toBe(0);
  closeSync(descriptor);
});

test("the end of the file and a bad descriptor read as nothing", () => {
  const { descriptor } = openFile("end");
  expect(readResident(descriptor, Buffer.alloc(10), 0, 10, SIZE)).toBe(0);
  closeSync(descriptor);
  expect(readResident(-1, Buffer.alloc(10), 0, 10, 0)).toBe(0);
});

test("cold pages are not waited for, and the slower ways still read all of them", async () => {
  const { descriptor, path } = openFile("cold");
  const file = {
    descriptor,
    path,
    offsetBytes: 5,
    lengthBytes: SIZE - 5,
    release: () => undefined,
  };
  makeCold(descriptor);
  expect(readResident(descriptor, Buffer.alloc(SIZE), 0, SIZE, 0)).toBeLessThan(SIZE);
  expect(Buffer.compare(await readWhole(file), content.subarray(5))).toBe(0);
  makeCold(descriptor);
  const parts: Uint8Array[] = [];
  await pumpFile(file, 0, { keepsNothing: false, write: (chunk) => void parts.push(chunk) });
  expect(Buffer.compare(Buffer.concat(parts), content.subarray(5))).toBe(0);
  closeSync(descriptor);
});

test("what is resident is known, and brought in without waiting for it", async () => {
  const { descriptor, path } = openFile("known");
  expect(bytesReady(descriptor, 0, SIZE)).toBe(SIZE);
  expect(bytesReady(descriptor, 4095, 2)).toBe(2);
  makeCold(descriptor);
  expect(bytesReady(descriptor, 0, SIZE)).toBe(0);
  prefetch(descriptor, 0, SIZE);
  const file = { descriptor, path, offsetBytes: 0, lengthBytes: SIZE, release: () => undefined };
  await touchByte(file, SIZE - 1);
  expect(bytesReady(descriptor, 0, SIZE)).toBe(SIZE);
  closeSync(descriptor);
  expect(bytesReady(descriptor, 0, SIZE)).toBeUndefined();
  expect(await touchByte(file, 0).catch(errorCode)).toBe("storage_io");
});

// Pages that are still being read count as cached, and sendfile would wait for them.
test("what is said to be ready can be read without waiting, also while the disk is reading", async () => {
  const { descriptor, path } = openFile("on its way", 24);
  const sizeBytes = 24 * SIZE;
  const file = {
    descriptor,
    path,
    offsetBytes: 0,
    lengthBytes: sizeBytes,
    release: () => undefined,
  };
  const target = Buffer.alloc(SIZE);
  makeCold(descriptor);
  prefetch(descriptor, 0, sizeBytes);
  for (let at = 0; at < sizeBytes;) {
    const count = Math.min(SIZE, sizeBytes - at);
    const ready = bytesReady(descriptor, at, count) ?? 0;
    if (ready === 0) {
      prefetch(descriptor, at, count); // the kernel does not take everything at once
      await touchByte(file, at + Math.min(PROBE_STEP_BYTES, count) - 1);
    }
    // The last page of each stretch is what was asked for.
    for (let end = PROBE_STEP_BYTES; end <= ready; end += PROBE_STEP_BYTES) {
      expect(readResident(descriptor, target, 0, 1, at + end - 1)).toBe(1);
    }
    at += ready;
  }
  closeSync(descriptor);
});

test("a file goes to another descriptor, and nothing to a bad one", () => {
  const { descriptor } = openFile("send");
  expect(sendFile(-1, descriptor, 0, SIZE)).toBe(0);
  const { descriptor: other, path } = openFile("target");
  expect(sendFile(other, descriptor, 5, 100)).toBe(100);
  expect(readFileSync(path).subarray(SIZE, SIZE + 100)).toEqual(content.subarray(5, 105));
  closeSync(descriptor);
  closeSync(other);
});
