/**
 * Goal: an object is fetched in parallel when its line is slow, and not because others were handled meanwhile.
 * Method: flights on a simulated clock, whose responses take as long as the test says.
 */

import { describe, expect, test } from "bun:test";
import { bytesSource, readAll } from "../../../src/base/byte-source.ts";
import type { ByteSource } from "../../../src/base/byte-source.ts";
import { Coalescer } from "../../../src/coalesce/coalescer.ts";
import { MemoryFill } from "../../support/memory-fill.ts";
import { SimClock } from "../../support/sim-clock.ts";

const KIB = 1024;
const PARALLEL_AFTER_MS = 500;

function world() {
  const clock = new SimClock();
  const flights = new Coalescer(
    {
      windowBytes: 64 * KIB,
      windowWithFillBytes: 64 * KIB,
      slowConsumerMs: 10_000,
      pieceBytes: 8 * KIB,
      legsMax: 4,
      parallelLegs: 3,
      parallelAfterMs: PARALLEL_AFTER_MS,
      crowdReaders: 16,
      memoryBytes: 256 * KIB,
      orphansMax: 2,
    },
    clock,
    {
      slowConsumer: () => undefined,
      continuesAlone: () => undefined,
      endedAlone: () => undefined,
    },
  );
  /** A large object, read whole; each 4 KiB of it take `waitMs` of their number. Answers with the parts fetched beside. */
  async function read(sizeBytes: number, waitMs: (count: number) => number): Promise<number> {
    let parts = 0;
    const flight = flights.create();
    flight.depart({
      head: { headers: [], sizeBytes, etag: '"e"', lastModified: undefined, isPublic: false },
      start: 0,
      end: sizeBytes,
      source: slowly(sizeBytes, waitMs),
      fill: new MemoryFill({ sizeBytes }),
      missing: undefined,
      fetchesRest: true,
      alignBytes: 4 * KIB,
      stillPermitted: () => true,
      fetchPart: async ({ start, end }) => {
        parts += 1;
        return bytesSource(new Uint8Array(end - start));
      },
    });
    await readAll(flight.reader(undefined), sizeBytes);
    await flight.settled;
    return parts;
  }

  function slowly(sizeBytes: number, waitMs: (count: number) => number): ByteSource {
    let count = 0;
    return {
      async read() {
        if (count * 4 * KIB >= sizeBytes) return null;
        await clock.sleep(waitMs(count));
        count += 1;
        return new Uint8Array(4 * KIB);
      },
      close: () => undefined,
    };
  }
  return { clock, read };
}

/** The first four pieces of 4 KiB come slowly, the others do not. */
const slowAtFirst = (count: number): number => (count < 4 ? 200 : 1);

describe("a large object", () => {
  test("that is alone on a slow line is fetched in parallel", async () => {
    const { clock, read } = world();
    expect(await clock.run(read(96 * KIB, slowAtFirst))).toBeGreaterThan(0);
  });

  test("does not take for a slow line what it waited beside another one, also when that has ended", async () => {
    const { clock, read } = world();
    const [longer] = await clock.run(
      Promise.all([read(96 * KIB, slowAtFirst), read(16 * KIB, () => 200)]),
    );
    expect(longer).toBe(0);
  });
});
