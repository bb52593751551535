import { expect, test } from "bun:test";

import type { Flight } from "../../../src/coalesce/flight.ts";
import { Landings } from "../../../src/gateway/landings.ts";
import type { FileSlice } from "../../../src/http/exchange.ts";
import type { ByteRange } from "../../../src/http/range.ts";
import type {
  CommitOutcome,
  Fill,
  StoredBody,
  StoredObject,
} from "../../../src/storage/storage.ts";

const OBJECT = { sizeBytes: 10 } as StoredObject;

function slice(): FileSlice {
  return { descriptor: 1, path: "p", offsetBytes: 0, lengthBytes: 10, release: () => undefined };
}

/** A flight that settles when it is told to, and a fill that can break. */
function scene(
  read: (range: ByteRange) => StoredBody | undefined | Promise<StoredBody | undefined>,
) {
  const { promise: settled, resolve: settle } = Promise.withResolvers<CommitOutcome | undefined>();
  const flight = { settled } as unknown as Flight;
  const fill = {
    isBroken: false,
    write: () => undefined,
    abandon: () => undefined,
  };
  const landings = new Landings({ read: (_object, range) => read(range) });
  const watched = landings.watch(flight, fill as unknown as Fill);
  return { landings, flight, fill, watched, settle };
}

test("whoever waits gets a file of the whole object once it is committed, one read after the other", async () => {
  let running = 0;
  const { landings, flight, settle } = scene(async (range) => {
    expect(range).toEqual({ start: 0, end: 10 });
    running += 1;
    expect(running).toBe(1);
    await Promise.resolve();
    running -= 1;
    return { kind: "file", file: slice() };
  });
  const files = [landings.file(flight), landings.file(flight), landings.file(flight)];
  settle({ kind: "committed", object: OBJECT });
  for (const file of await Promise.all(files)) expect(file?.lengthBytes).toBe(10);
});

test.each<[string, CommitOutcome | undefined]>([
  ["a write came in between", { kind: "refused" }],
  ["the disk failed", { kind: "failed", reason: "full" }],
  ["the flight failed", undefined],
])("nobody gets a file when %s", async (_why, outcome) => {
  const { landings, flight, settle } = scene(() => ({ kind: "file", file: slice() }));
  const file = landings.file(flight);
  settle(outcome);
  expect(await file).toBeUndefined();
});

test("a fill that breaks ends the waiting, although the flight goes on", async () => {
  const { landings, flight, fill, watched } = scene(() => undefined);
  const file = landings.file(flight);
  fill.isBroken = true;
  void watched.write(0, new Uint8Array(1));
  expect(await file).toBeUndefined();
});

test("a body that is no file, is gone or cannot be read is no file, and a stream is closed", async () => {
  let closeCount = 0;
  const source = { read: async () => null, close: () => (closeCount += 1) };
  const bodies: (StoredBody | undefined | Error)[] = [
    undefined,
    { kind: "bytes", bytes: new Uint8Array(10) },
    { kind: "stream", source },
    new Error("unreadable"),
  ];
  for (const body of bodies) {
    const { landings, flight, settle } = scene(() => {
      if (body instanceof Error) throw body;
      return body;
    });
    settle({ kind: "committed", object: OBJECT });
    expect(await landings.file(flight)).toBeUndefined();
  }
  expect(closeCount).toBe(1);
});

test("a flight that is not stored has no file", async () => {
  const landings = new Landings({ read: () => undefined });
  expect(await landings.file({} as Flight)).toBeUndefined();
});
