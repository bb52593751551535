import { expect, test } from "bun:test";
import { LruMap } from "../../../src/base/lru.ts";
import { seededRandom } from "../../../src/base/random.ts";

test("the least recently used goes first, and a look without use does not count", () => {
  const evicted: string[] = [];
  const map = new LruMap<string, number>(3, (key) => evicted.push(key));
  for (const key of ["a", "b", "c"]) map.set(key, 1, 1);
  map.get("a");
  map.peek("b");
  map.set("d", 1, 1);
  map.set("e", 1, 1);
  expect(evicted).toEqual(["b", "c"]);
  expect(map.size).toBe(3);
});

test("weights are summed, replaced and bounded", () => {
  const map = new LruMap<string, number>(10);
  map.set("a", 1, 4);
  map.set("b", 2, 4);
  map.set("a", 3, 6);
  expect(map.weight).toBe(10);
  expect(map.get("a")).toBe(3);
  map.set("c", 4, 1);
  expect(map.get("b")).toBeUndefined();
  map.set("huge", 5, 11);
  expect(map.get("huge")).toBeUndefined();
  expect(map.weight).toBeLessThanOrEqual(10);
  map.resize(0);
  expect(map.size).toBe(0);
});

test("agrees with a slow, obvious version under random use", () => {
  const random = seededRandom(3);
  const map = new LruMap<number, number>(50);
  let slow: { key: number; value: number; weight: number }[] = [];
  const forget = (key: number): void => {
    slow = slow.filter((item) => item.key !== key);
  };
  for (let step = 0; step < 20_000; step += 1) {
    const key = random.below(30);
    const draw = random.below(4);
    if (draw === 0) {
      const weight = 1 + random.below(9);
      map.set(key, step, weight);
      forget(key);
      slow.push({ key, value: step, weight });
      while (slow.reduce((sum, item) => sum + item.weight, 0) > 50) slow.shift();
    } else if (draw === 1) {
      expect(map.delete(key)).toBe(slow.some((item) => item.key === key));
      forget(key);
    } else {
      const item = slow.find((candidate) => candidate.key === key);
      expect(map.get(key)).toBe(item?.value as number);
      if (item !== undefined) {
        forget(key);
        slow.push(item);
      }
    }
    expect(map.size).toBe(slow.length);
  }
});
