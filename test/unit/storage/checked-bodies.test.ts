// Goal: bodies that are only checked before a slice of their file goes out are checked in a fixed number
// of buffers, however many ask at the same time, and each gets his own bytes. Method: a store opened anew, so that
// nothing counts as checked, on a disk that keeps nothing in memory, so that reads overlap, and
// more readers at once than there are buffers. One that waits for ever or shares a buffer is noticed;
// memory made beside the pool is not, since only the pool counts.

import { expect, setDefaultTimeout, test } from "bun:test";
import { FaultyDisk } from "../../support/faulty-disk.ts";
import { bytesOf, metaOf, patternOf, store } from "../../support/stored-objects.ts";
import { TempStore } from "../../support/temp-store.ts";

setDefaultTimeout(60_000);

const MIB = 1024 * 1024;
const READERS = 24;
const BUFFERS_BYTES_MAX = 8 * MIB;

test.each([
  ["records of a segment", 300_000],
  ["records of more than one buffer", 2 * MIB + 77],
  ["files of their own", 9 * MIB + 5],
])("more readers than buffers: %s", async (_where, size) => {
  await using temp = new TempStore();
  const names = Array.from({ length: READERS }, (_, n) => `object-${n}`);
  const writing = await temp.open({ memoryBytes: 0 });
  for (const name of names) {
    await store(writing, metaOf({ bucket: "b", key: name }, size), patternOf(name, size));
  }
  const storage = await temp.open({ memoryBytes: 0, disk: new FaultyDisk() });
  const bodies = await Promise.all(
    names.map(async (name) => {
      const object = storage.lookup({ bucket: "b", key: name });
      return object === undefined ? undefined : storage.read(object, { start: 1, end: size });
    }),
  );
  for (const [n, name] of names.entries()) {
    const body = bodies[n];
    expect(body?.kind).toBe("file");
    expect(await bytesOf(body)).toEqual(patternOf(name, size).subarray(1));
  }
  expect(storage.resources().readBufferBytes).toBe(BUFFERS_BYTES_MAX);
});
