// Issue B, "One byte once": for any mix of whole, range, late and concurrent readers of one object,
// upstream sends at most 1.02 times its bytes, and the gateway holds few of them. HEAVY=1 runs the
// size of the issue (1 GiB, 200 readers).

import { expect, test } from "bun:test";
import { systemClock } from "../../../src/base/clock.ts";
import { seededRandom } from "../../../src/base/random.ts";
import { Pattern } from "../../support/scripted-upstream.ts";
import { seeds } from "../../support/seeds.ts";
import { BUCKET, MIB, targetOf, World } from "./world.ts";

const IS_HEAVY = process.env["HEAVY"] === "1";
const SIZE_BYTES = (IS_HEAVY ? 1024 : 48) * MIB;
const READERS = IS_HEAVY ? 200 : 40;

test.each(seeds(IS_HEAVY ? 1 : 3))(
  `${READERS} mixed readers of one object cost upstream its bytes once (seed %d)`,
  async (seed) => {
    await using w = await World.open({ TAG_CACHE_SIZE_THRESHOLD: String(2048 * MIB) });
    const random = seededRandom(seed);
    const pattern = new Pattern(seed);
    w.s3.putPattern(BUCKET, "k", pattern, SIZE_BYTES);
    await w.teach(w.alice, w.bob);

    const readers = Array.from({ length: READERS }, async (_, index) => {
      // Drawn before the first pause: the order of wake-ups must not change the world.
      const startsAtMs = random.below(400);
      const isWhole = random.below(10) === 0;
      const start = isWhole ? 0 : random.below(SIZE_BYTES);
      const end = isWhole ? SIZE_BYTES : Math.min(SIZE_BYTES, start + 1 + random.below(2 * MIB));
      await systemClock.sleep(startsAtMs);
      const headers = isWhole ? [] : ["Range", `bytes=${start}-${end - 1}`];
      const client = index % 2 === 0 ? w.alice : w.bob;
      await using wire = await client.open({ target: targetOf("k"), headers });
      const head = await wire.head();
      expect(head.status).toBe(isWhole ? 200 : 206);
      let offset = start;
      while (offset < end) {
        const chunk = await wire.bytes(Math.min(256 * 1024, end - offset));
        expect([offset, pattern.matches(offset, chunk), chunk.length > 0]).toEqual([
          offset,
          true,
          true,
        ]);
        offset += chunk.length;
      }
    });
    const over = new AbortController();
    let peakBytes = 0;
    const watch = async () => {
      while (!over.signal.aborted) {
        peakBytes = Math.max(peakBytes, await w.metric("tag_flight_memory_bytes"));
        await systemClock.sleep(50);
      }
    };
    const watching = watch();
    await Promise.all(readers);
    over.abort();
    await watching;
    expect(peakBytes).toBeGreaterThan(0);
    expect(peakBytes).toBeLessThan(64 * MIB);
    expect((await w.alice.get("k", ["Range", "bytes=0-9"])).status).toBe(206);
    // Bytes handed to a socket and thrown away with it count too: at this size they show.
    const slackBytes = IS_HEAVY ? 0 : 6 * MIB;
    expect(w.upstream.bodyBytesSent).toBeLessThanOrEqual(SIZE_BYTES * 1.02 + slackBytes);
  },
  600_000,
);
