// Goal: bodies past the memory tier are lent in buffers that are used again, and nobody ever sees
// another body in the one he was lent. Method: a store without a memory tier, and readers that keep
// what they got.

import { expect, setDefaultTimeout, test } from "bun:test";
import type { LentBytes } from "../../../src/base/counted-bytes.ts";
import type { Storage, StoredObject } from "../../../src/storage/storage.ts";
import { bytesOf, inFileOf, metaOf, patternOf, store } from "../../support/stored-objects.ts";
import { TempStore } from "../../support/temp-store.ts";

setDefaultTimeout(30_000);

const SIZE = 100_000;
/** As many buffers as there are. */
const LENT_MAX = 64;

function put(storage: Storage, name: string): Promise<StoredObject> {
  return store(storage, metaOf({ bucket: "b", key: name }, SIZE), patternOf(name, SIZE));
}

async function lend(storage: Storage, object: StoredObject, start = 0): Promise<LentBytes> {
  const body = await storage.read(object, { start, end: SIZE });
  if (body?.kind !== "bytes") throw new Error(`not lent: ${body?.kind ?? "missed"}`);
  return body;
}

test("what is lent stays as it is until it is released, and then the buffer is used again", async () => {
  await using temp = new TempStore();
  const storage = await temp.open({ memoryBytes: 0 });
  const [one, other] = [await put(storage, "one"), await put(storage, "other")];
  const first = await lend(storage, one);
  const second = await lend(storage, other, 70_001);
  expect(first.bytes).toEqual(patternOf("one", SIZE));
  expect(second.bytes).toEqual(patternOf("other", SIZE).subarray(70_001));
  expect(first.bytes.buffer).not.toBe(second.bytes.buffer);
  first.release?.();
  const third = await lend(storage, other);
  expect(third.bytes.buffer).toBe(first.bytes.buffer);
  expect(storage.resources().readBufferBytes).toBe(first.bytes.buffer.byteLength * 2);
  expect(third.bytes).toEqual(patternOf("other", SIZE));
  expect(second.bytes).toEqual(patternOf("other", SIZE).subarray(70_001));
});

test("when everything is lent, slices of the file go out, until something comes back", async () => {
  await using temp = new TempStore();
  const storage = await temp.open({ memoryBytes: 0 });
  const object = await put(storage, "one");
  const lent: LentBytes[] = [];
  for (let n = 0; n < LENT_MAX; n += 1) lent.push(await lend(storage, object));
  const body = await storage.read(object, { start: 10, end: SIZE });
  expect(body?.kind).toBe("file");
  expect(await bytesOf(body)).toEqual(patternOf("one", SIZE).subarray(10));
  for (const { release } of lent) release?.();
  expect((await lend(storage, object)).bytes).toEqual(patternOf("one", SIZE));
});

test("the place of what is lent in its file is as good as the bytes, until it is released", async () => {
  await using temp = new TempStore();
  const storage = await temp.open({ memoryBytes: 0 });
  const object = await put(storage, "one");
  const { bytes, inFile, release } = await lend(storage, object, 30_001);
  storage.remove([object.id]);
  await storage.close();
  if (inFile === undefined) throw new Error("not in a file");
  expect(inFileOf(inFile, bytes.length)).toEqual(bytes);
  release?.();
  expect(() => inFileOf(inFile, bytes.length)).toThrow("EBADF");
});
