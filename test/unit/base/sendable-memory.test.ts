// Goal: bytes in sendable memory are the same in the mapping and in the file, nobody ever sees others in their
// place, not even whoever the kernel is still sending them to, and all of it is given back. Method: real files
// in memory, a real connection whose client does not read yet, and a seeded run against a list of what is in.

import { describe, expect, test } from "bun:test";
import { readlinkSync } from "node:fs";

import type { CountedBytes } from "../../../src/base/counted-bytes.ts";
import { sendFile } from "../../../src/base/page-cache.ts";
import { seededRandom } from "../../../src/base/random.ts";
import { SENDABLE_BYTES_MIN as MIN, SendableMemory } from "../../../src/base/sendable-memory.ts";
import { descriptorOf, ownDescriptors } from "../../../src/base/socket-calls.ts";
import { pausedConnection } from "../../support/paused-connection.ts";
import { seeds } from "../../support/seeds.ts";
import { inFileOf, patternOf } from "../../support/stored-objects.ts";

const KIB = 1024;
const SIZE = 100 * KIB;
const MAX = 256 * KIB;
const isHere = process.platform === "linux";

function take(memory: SendableMemory, seed: string, sizeBytes = SIZE): CountedBytes {
  const copy = memory.copyOf(patternOf(seed, sizeBytes));
  if (copy === undefined) throw new Error("not taken");
  return copy;
}

/** Where a reply finds all of `bytes`; given back at once, as the holder keeps them there. */
function placeOf(held: CountedBytes) {
  const { inFile, release } = held.lend(0, held.bytes.length);
  release?.();
  if (inFile === undefined) throw new Error("not in a file");
  return inFile;
}

const isFreed = ({ bytes }: CountedBytes) => bytes.buffer.byteLength === 0;

/** Files in memory of this program that are open. */
function filesInMemory(): number {
  return ownDescriptors().filter((descriptor) => {
    try {
      return readlinkSync(`/proc/self/fd/${descriptor}`).includes("tag-memory-tier");
    } catch {
      return false; // the one the list was read from
    }
  }).length;
}

describe.skipIf(!isHere)("sendable memory", () => {
  test("holds a copy that is the same in the mapping and in the file, whole and in part", () => {
    const memory = new SendableMemory(4 * SIZE, MIN, MAX);
    const source = patternOf("one", SIZE);
    const held = memory.copyOf(source);
    if (held === undefined) throw new Error("not taken");
    source.fill(0);
    expect(held.bytes).toEqual(patternOf("one", SIZE));
    const part = held.lend(70_001, 90_000);
    expect(part.bytes).toEqual(patternOf("one", SIZE).subarray(70_001, 90_000));
    expect(part.inFile?.isMemory).toBe(true);
    if (part.inFile !== undefined) expect(inFileOf(part.inFile, 19_999)).toEqual(part.bytes);
    part.release?.();
    held.release();
    memory.close();
  });

  test("is empty where nobody holds anything, and used again", () => {
    const memory = new SendableMemory(4 * SIZE, MIN, MAX);
    const first = take(memory, "one");
    const place = placeOf(first);
    const lent = first.lend(0, SIZE);
    first.release();
    expect(isFreed(first)).toBe(false);
    expect(inFileOf(place, SIZE)).toEqual(patternOf("one", SIZE));
    lent.release?.();
    expect(isFreed(first)).toBe(true);
    expect(inFileOf(place, SIZE)).toEqual(new Uint8Array(SIZE));
    const second = take(memory, "two", SIZE - 5);
    expect(placeOf(second)).toEqual(place);
    expect(second.bytes).toEqual(patternOf("two", SIZE - 5));
    second.release();
    memory.close();
  });

  test("what the kernel is still sending stays what it was when its place gets other bytes", async () => {
    const memory = new SendableMemory(4 * SIZE, MIN, MAX);
    using connection = await pausedConnection();
    const held = take(memory, "one");
    const place = placeOf(held);
    const sentBytes = sendFile(
      descriptorOf(connection.sender),
      place.descriptor,
      place.offsetBytes,
      held.bytes.length,
    );
    expect(sentBytes).toBeGreaterThan(0);
    held.release();
    const other = take(memory, "two");
    expect(placeOf(other)).toEqual(place);
    connection.sender.end();
    connection.receiver.resume();
    expect(await connection.received).toEqual(
      Buffer.from(patternOf("one", SIZE).subarray(0, sentBytes)),
    );
    expect(other.bytes).toEqual(patternOf("two", SIZE));
    other.release();
    memory.close();
  });

  test.each(seeds(3))("keeps everybody's bytes apart, seed %d", (seed) => {
    const random = seededRandom(seed);
    const limitBytes = 2 * 1024 * KIB;
    const memory = new SendableMemory(limitBytes, MIN, MAX);
    const held = new Map<string, CountedBytes>();
    let heldBytes = 0;
    for (let step = 0; step < 2000; step += 1) {
      const sizeBytes = MIN + random.below(MAX - MIN + 1);
      while (heldBytes + sizeBytes > limitBytes) {
        const [name, one] = [...held][random.below(held.size)] ?? [];
        if (name === undefined || one === undefined) throw new Error("more than nothing is held");
        expect(Buffer.compare(one.bytes, patternOf(name, one.bytes.length))).toBe(0);
        heldBytes -= one.bytes.length;
        held.delete(name);
        one.release();
        expect(isFreed(one)).toBe(true);
      }
      held.set(`${step}`, take(memory, `${step}`, sizeBytes)); // within the limit there is always room
      heldBytes += sizeBytes;
    }
    for (const one of held.values()) one.release();
    memory.close();
  });

  test("takes nothing beyond its addresses, and nothing once it is closed", () => {
    const memory = new SendableMemory(SIZE, SIZE, SIZE);
    const held: CountedBytes[] = [];
    for (;;) {
      const copy = memory.copyOf(patternOf("one", SIZE));
      if (copy === undefined) break;
      held.push(copy);
    }
    expect(held.length).toBeWithin(1, 9);
    held.pop()?.release();
    expect(memory.copyOf(patternOf("one", SIZE))?.release()).toBeUndefined();
    memory.close();
    expect(memory.copyOf(patternOf("one", SIZE))).toBeUndefined();
    for (const one of held) one.release();
  });

  test("the file goes when it is closed and the last holder is done, and not before", () => {
    const before = filesInMemory();
    const memory = new SendableMemory(4 * SIZE, MIN, MAX);
    expect(filesInMemory()).toBe(before);
    const held = take(memory, "one");
    const lent = held.lend(0, SIZE);
    held.release();
    memory.close();
    expect(filesInMemory()).toBe(before + 1);
    expect(lent.bytes).toEqual(patternOf("one", SIZE));
    lent.release?.();
    expect(filesInMemory()).toBe(before);
  });
});
