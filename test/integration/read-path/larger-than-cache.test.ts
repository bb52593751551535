// An object that is larger than the whole cache: the ranges that are read of it are kept, it never
// takes more than its share, and reading all of it works and keeps the cap.

import { expect, setDefaultTimeout, test } from "bun:test";
import { Pattern } from "../../support/scripted-upstream.ts";
import { BUCKET, MIB, World } from "./world.ts";

setDefaultTimeout(60_000);

const CAP_BYTES = 64 * MIB;
const SIZE_BYTES = 256 * MIB;

test("ranges of an object larger than the cache are kept, up to its share", async () => {
  await using w = await World.open({
    TAG_CACHE_MAX_DISK_USAGE: String(CAP_BYTES),
    TAG_CACHE_SIZE_THRESHOLD: "1GiB",
  });
  const pattern = new Pattern(3);
  w.s3.putPattern(BUCKET, "huge", pattern, SIZE_BYTES);
  await w.teach(w.alice);
  const read = async (start: number, length: number) => {
    const range = `bytes=${start}-${start + length - 1}`;
    const answer = await w.alice.get("huge", ["Range", range]);
    expect([start, answer.status, answer.body.length]).toEqual([start, 206, length]);
    expect(pattern.matches(start, answer.body)).toBe(true);
    return answer.xCache;
  };

  expect(await read(100 * MIB, MIB)).toBe("MISS");
  expect(await read(100 * MIB, MIB)).toBe("HIT");
  expect(await read(200 * MIB, MIB)).toBe("MISS");
  expect(await read(200 * MIB, MIB)).toBe("HIT");
  expect(await read(100 * MIB, MIB)).toBe("HIT");

  for (let start = 0; start < SIZE_BYTES; start += 4 * MIB) {
    await read(start, 4 * MIB);
    expect(await w.metric("tag_cache_disk_bytes")).toBeLessThanOrEqual(CAP_BYTES);
  }
  expect(await w.metric("tag_cache_damaged_entries_total")).toBe(0);
});
