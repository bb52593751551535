// Shared reads: a crowd's reads from disk, made once for all.

import { describe, expect, test } from "bun:test";
import { FlightMemory } from "../../../src/coalesce/flight-memory.ts";
import { SharedReads } from "../../../src/coalesce/shared-reads.ts";
import { MemoryFill } from "../../support/memory-fill.ts";

const KIB = 1024;
const BLOCK_BYTES = 64 * KIB;
const SIZE_BYTES = 6 * 1024 * KIB + 1_000;

/** A fill that counts its reads, gives out at most `pieceBytes` of each, and fails when told to. */
class CountedFill extends MemoryFill {
  reads = 0;
  pieceBytes = SIZE_BYTES;
  failure: Error | undefined;

  override async readBack(start: number, limitBytes: number): Promise<Uint8Array> {
    this.reads += 1;
    if (this.failure !== undefined) throw this.failure;
    return super.readBack(start, Math.min(limitBytes, this.pieceBytes));
  }
}

function body(start: number, end: number): Uint8Array {
  return Uint8Array.from({ length: end - start }, (_, at) => ((start + at) * 31 + 7) % 251);
}

function world(presentBytes = SIZE_BYTES, limitBytes = 64 * 1024 * KIB, floorBytes?: number) {
  const fill = new CountedFill({ sizeBytes: SIZE_BYTES });
  void fill.write(0, body(0, presentBytes));
  const memory = new FlightMemory(limitBytes, floorBytes);
  return { fill, memory, reads: new SharedReads(fill, memory) };
}

describe("a crowd that reads back", () => {
  test("asks the disk once for a block, however many read it, now or while it is asked", async () => {
    const { fill, reads } = world();
    const atOnce = Array.from({ length: 20 }, async () => reads.read(0, 32 * KIB, SIZE_BYTES));
    for (const bytes of await Promise.all(atOnce)) expect(bytes).toEqual(body(0, 32 * KIB));
    expect(await reads.read(32 * KIB, 32 * KIB, SIZE_BYTES)).toEqual(body(32 * KIB, 64 * KIB));
    expect(fill.reads).toBe(1);
  });

  test("gets what is in memory without waiting", async () => {
    const { reads } = world();
    await reads.read(0, 10, SIZE_BYTES);
    expect(reads.read(100, 10, SIZE_BYTES)).toEqual(body(100, 110));
  });

  test("gets the right bytes at every edge of a block, and at the end of the object", async () => {
    const { reads } = world();
    const last = SIZE_BYTES - 1;
    for (const at of [
      0,
      1,
      BLOCK_BYTES - 1,
      BLOCK_BYTES,
      BLOCK_BYTES + 1,
      SIZE_BYTES - 999,
      last,
    ]) {
      const blockEnd = Math.min((Math.floor(at / BLOCK_BYTES) + 1) * BLOCK_BYTES, SIZE_BYTES);
      const end = Math.min(at + 500, blockEnd);
      expect(await reads.read(at, 500, SIZE_BYTES)).toEqual(body(at, end));
    }
  });

  test("gets a block whole that the fill has in several places", async () => {
    const { fill, reads } = world();
    fill.pieceBytes = 10_000;
    expect(await reads.read(1_000, BLOCK_BYTES, SIZE_BYTES)).toEqual(body(1_000, BLOCK_BYTES));
  });

  test("reads alone where the block has not come as a whole, and shares it once it has", async () => {
    const { fill, reads } = world(BLOCK_BYTES + 5_000);
    const first = await reads.read(BLOCK_BYTES + 10, 32 * KIB, SIZE_BYTES);
    expect(first).toEqual(body(BLOCK_BYTES + 10, BLOCK_BYTES + 5_000));
    expect(reads.heldBytes).toBe(0);
    void fill.write(BLOCK_BYTES + 5_000, body(BLOCK_BYTES + 5_000, SIZE_BYTES));
    const second = await reads.read(BLOCK_BYTES + 5_000, 10, SIZE_BYTES);
    expect(second).toEqual(body(BLOCK_BYTES + 5_000, BLOCK_BYTES + 5_010));
    expect(reads.heldBytes).toBe(BLOCK_BYTES);
  });

  test("of an object without a known length, reads blocks that are there as a whole", async () => {
    const { reads } = world();
    expect(await reads.read(5, 10, undefined)).toEqual(body(5, 15));
    expect(reads.heldBytes).toBe(BLOCK_BYTES);
  });
});

describe("the memory of a crowd", () => {
  test("holds 4 MiB at most, and forgets what was not read for longest", async () => {
    const { fill, memory, reads } = world();
    for (let at = 0; at < SIZE_BYTES; at += BLOCK_BYTES) {
      await reads.read(at, 10, SIZE_BYTES);
      await reads.read(0, 10, SIZE_BYTES); // the first block stays in use
      expect(reads.heldBytes).toBeLessThanOrEqual(4 * 1024 * KIB);
      expect(memory.usedBytes).toBe(reads.heldBytes);
    }
    const before = fill.reads;
    await reads.read(0, 10, SIZE_BYTES);
    expect(fill.reads).toBe(before);
    await reads.read(BLOCK_BYTES, 10, SIZE_BYTES);
    expect(fill.reads).toBe(before + 1);
  });

  test("is that of all flights: without room there, each reader reads for itself", async () => {
    const { fill, memory, reads } = world(SIZE_BYTES, 1_000, 0);
    memory.take(1_000);
    expect(await reads.read(3, 10, SIZE_BYTES)).toEqual(body(3, 13));
    expect(await reads.read(3, 10, SIZE_BYTES)).toEqual(body(3, 13));
    expect([fill.reads, reads.heldBytes]).toEqual([2, 0]);
  });

  test("is given back when the flight is over, and nothing is kept after", async () => {
    const { memory, reads } = world();
    await reads.read(0, 10, SIZE_BYTES);
    reads.close();
    expect([reads.heldBytes, memory.usedBytes]).toEqual([0, 0]);
    await reads.read(0, 10, SIZE_BYTES);
    expect([reads.heldBytes, memory.usedBytes]).toEqual([0, 0]);
  });
});

test("a read that fails is told to all who waited for it, and made again for the next", async () => {
  const { fill, memory, reads } = world();
  fill.failure = new Error("EIO");
  const atOnce = [0, 1, 2].map(async (at) => reads.read(at, 10, SIZE_BYTES));
  for (const outcome of await Promise.allSettled(atOnce)) expect(outcome.status).toBe("rejected");
  expect(memory.usedBytes).toBe(0);
  fill.failure = undefined;
  expect(await reads.read(0, 10, SIZE_BYTES)).toEqual(body(0, 10));
});
