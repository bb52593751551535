// A large body on its way to a disk that is behind: what is read back, and when chunks are done with.
// What fills promise in general is in test/contract/storage.suite.ts.

import { expect, test } from "bun:test";
import { FillMemory, StreamFill, type BodyTarget } from "../../../src/storage/fill.ts";

const SIZE = 512 * 1024;

/** A fill whose writes end when the test says so. */
function slowFill() {
  const { promise, resolve } = Promise.withResolvers<void>();
  const target: BodyTarget = {
    write: () => promise,
    read: (into) => Promise.resolve(into.fill(2).length),
    close: () => undefined,
  };
  const memory = new FillMemory(SIZE * 4);
  const fill = new StreamFill(
    { sizeBytes: SIZE, blockBytes: SIZE, mayHaveGaps: false, target, memory },
    {
      publish: () => ({ kind: "refused" }),
      finished: () => undefined,
      failed: () => undefined,
    },
  );
  const finishWrites = async () => {
    resolve();
    await promise;
    await Promise.resolve();
  };
  return { fill, memory, finishWrites };
}

test("a chunk is done with once it was written, and only then", async () => {
  const { fill, finishWrites } = slowFill();
  void fill.write(0, new Uint8Array(SIZE / 2).fill(1));
  expect(fill.isDoneWith(0, SIZE / 2)).toBe(false);
  await finishWrites();
  expect(fill.isDoneWith(0, SIZE / 2)).toBe(true);
  expect(fill.isDoneWith(0, SIZE)).toBe(false);
});

test("what was read back before it was on disk stays as it was when the chunk's memory changes", async () => {
  const { fill, finishWrites } = slowFill();
  const chunk = new Uint8Array(SIZE / 2).fill(1);
  void fill.write(0, chunk);
  const back = await fill.readBack(10, 100);
  await finishWrites();
  chunk.fill(9);
  expect(back).toEqual(new Uint8Array(100).fill(1));
  expect(await fill.readBack(10, 100)).toEqual(new Uint8Array(100).fill(2));
});

test("bytes wait in memory, counted, until they are written", async () => {
  const { fill, memory, finishWrites } = slowFill();
  void fill.write(0, new Uint8Array(SIZE / 2));
  expect(memory.usedBytes).toBe(SIZE / 2);
  await finishWrites();
  expect(memory.usedBytes).toBe(0);
});
