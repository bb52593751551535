// Goal: `auto` keeps what epochs of training need and loses nothing on skewed traffic
// (docs/eviction.md), and `lru` and `fifo` do what their names say.
// Method: the real policies on a model of the engine: equal objects, segments, evacuation,
// two segments kept free. No disk, no time; the same numbers on every run.

import { describe, expect, test } from "bun:test";
import { seededRandom, type Random } from "../../src/base/random.ts";
import {
  createPolicy,
  groupOf,
  type EvictionPolicy,
  type EvictionUnit,
  type PolicyName,
} from "../../src/storage/policy.ts";

const OBJECTS = 6000;
const SEGMENTS = 64;

interface ModelSegment extends EvictionUnit {
  readonly objects: number[];
  readonly groups: Map<number, number>;
  liveBytes: number;
}

/** A cache of objects of one byte each, with the engine's way of evicting. */
class ModelCache {
  readonly #policy: EvictionPolicy;
  readonly #capacity: number;
  readonly #segmentSize: number;
  readonly #groupOf: (object: number) => number;
  readonly #sealed = new Set<ModelSegment>();
  readonly #where = new Map<number, ModelSegment>();
  readonly #heat = new Map<number, number>();
  #fresh: ModelSegment | undefined;
  #kept: ModelSegment | undefined;
  #order = 0;
  #isFull = false;

  constructor(name: PolicyName, capacity: number, group: (object: number) => number) {
    this.#capacity = capacity;
    this.#segmentSize = Math.max(1, Math.floor(capacity / SEGMENTS));
    this.#groupOf = group;
    const random = seededRandom(42);
    this.#policy = createPolicy(name, { capacityBytes: capacity, random });
  }

  /** Returns whether it was a hit. */
  request(object: number): boolean {
    const group = this.#groupOf(object);
    this.#policy.noteRequest(group, hashOf(object), 1);
    if (this.#where.has(object)) {
      this.#heat.set(object, Math.min(3, (this.#heat.get(object) ?? 0) + 1));
      return true;
    }
    if (this.#policy.admits(group, this.#isFull)) {
      this.#put(object, false);
      this.#evict();
    }
    return false;
  }

  #put(object: number, isKept: boolean): void {
    let segment = isKept ? this.#kept : this.#fresh;
    if (segment === undefined || segment.objects.length >= this.#segmentSize) {
      if (segment !== undefined) this.#sealed.add(segment);
      segment = {
        order: (this.#order += 1),
        isKept,
        objects: [],
        groups: new Map(),
        liveBytes: 0,
      };
      if (isKept) this.#kept = segment;
      else this.#fresh = segment;
    }
    const group = this.#groupOf(object);
    segment.objects.push(object);
    segment.groups.set(group, (segment.groups.get(group) ?? 0) + 1);
    segment.liveBytes += 1;
    this.#where.set(object, segment);
  }

  #evict(): void {
    for (;;) {
      const open = (this.#fresh === undefined ? 0 : 1) + (this.#kept === undefined ? 0 : 1);
      const used = (this.#sealed.size + open) * this.#segmentSize;
      if (this.#capacity - used >= 2 * this.#segmentSize) return;
      this.#isFull = true;
      const oldestFirst = [...this.#sealed].toSorted((left, right) => left.order - right.order);
      const victim = this.#policy.choose(oldestFirst);
      if (victim === undefined) return;
      this.#sealed.delete(victim);
      let allowed = Math.floor(this.#policy.evacuatedShareMax * this.#segmentSize);
      const live = victim.objects
        .filter((object) => this.#where.get(object) === victim)
        .toSorted((left, right) => this.#heatOf(right) - this.#heatOf(left));
      for (const object of live) {
        this.#where.delete(object);
        if (this.#heatOf(object) === 0 || allowed === 0) continue;
        if (this.#policy.isIdle(this.#groupOf(object))) continue;
        this.#heat.set(object, this.#heatOf(object) - 1);
        allowed -= 1;
        this.#put(object, true);
      }
    }
  }

  #heatOf(object: number): number {
    return this.#heat.get(object) ?? 0;
  }
}

function hashOf(object: number): number {
  return Bun.hash.crc32(`object ${object}`);
}

/** Datasets of their own prefix; `deep` spreads each over a hundred folders. */
const FLAT = (object: number): number =>
  groupOf({ bucket: "b", key: `set${Math.floor(object / OBJECTS)}/train/${object}` });
const DEEP = (object: number): number =>
  groupOf({
    bucket: "b",
    key: `set${Math.floor(object / OBJECTS)}/train/class${object % 100}/${object}`,
  });

function shuffled(objects: readonly number[], random: Random): number[] {
  const result = [...objects];
  for (let at = result.length - 1; at > 0; at -= 1) {
    const other = random.below(at + 1);
    [result[at], result[other]] = [result[other] ?? 0, result[at] ?? 0];
  }
  return result;
}

interface Epochs {
  readonly policy: PolicyName;
  readonly share: number;
  readonly order: "shuffled" | "cyclic";
  readonly group?: (object: number) => number;
}

/** Hit ratio of each epoch: eight over one dataset, then three over another. */
function runEpochs({ policy, share, order, group = FLAT }: Epochs): number[] {
  const cache = new ModelCache(policy, OBJECTS * share, group);
  const random = seededRandom(7);
  return Array.from({ length: 11 }, (_, epoch) => {
    const first = epoch < 8 ? 0 : OBJECTS;
    const dataset = Array.from({ length: OBJECTS }, (_none, object) => first + object);
    const requests = order === "shuffled" ? shuffled(dataset, random) : dataset;
    return requests.filter((object) => cache.request(object)).length / OBJECTS;
  });
}

function runZipf(policy: PolicyName, share: number): number {
  const cache = new ModelCache(policy, OBJECTS * share, FLAT);
  const random = seededRandom(9);
  const sums: number[] = [];
  let sum = 0;
  for (let rank = 1; rank <= OBJECTS; rank += 1) sums.push((sum += rank ** -0.9));
  const draw = (): number => {
    const at = random.float() * sum;
    let low = 0;
    let high = OBJECTS - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((sums[middle] ?? 0) < at) low = middle + 1;
      else high = middle;
    }
    return (low * 7919) % OBJECTS;
  };
  let hits = 0;
  for (let request = 0; request < 200_000; request += 1) {
    if (cache.request(draw()) && request >= 100_000) hits += 1;
  }
  return hits / 100_000;
}

/**
 * A hot set of a quarter of the cache, asked for once in eight requests among objects that
 * come once and fill the cache five times; what share of its reads were hits. It was loaded
 * just before, each object once: a scan looks the same to whoever counts uses only.
 */
function runFlood(policy: PolicyName): number {
  const capacity = OBJECTS;
  const hotSet = capacity / 4;
  const cache = new ModelCache(policy, capacity, (object) =>
    groupOf({ bucket: "b", key: object < hotSet ? "hot/1" : `flood/${object % 4}/1` }),
  );
  const random = seededRandom(5);
  for (let object = 0; object < hotSet; object += 1) cache.request(object);
  let reads = 0;
  let hits = 0;
  for (let object = hotSet; object < 5 * capacity; object += 1) {
    cache.request(object);
    if (object % 7 !== 0) continue;
    reads += 1;
    if (cache.request(random.below(hotSet))) hits += 1;
  }
  return hits / reads;
}

const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length;

describe("auto", () => {
  test.each([
    [0.25, "shuffled", 0.21],
    [0.5, "shuffled", 0.45],
    [0.75, "shuffled", 0.69],
    [0.9, "shuffled", 0.84],
    [0.25, "cyclic", 0.21],
    [0.5, "cyclic", 0.45],
    [0.9, "cyclic", 0.84],
  ] as const)("keeps a fixed part of a dataset (cache %d, %s)", (share, order, least) => {
    const ratios = runEpochs({ policy: "auto", share, order });
    expect(mean(ratios.slice(2, 8))).toBeGreaterThan(least);
  });

  test.each([
    ["one folder", FLAT],
    ["a hundred folders", DEEP],
  ])("adopts a new dataset within two epochs (%s)", (_what, group) => {
    const ratios = runEpochs({ policy: "auto", share: 0.5, order: "shuffled", group });
    expect(ratios[9]).toBeGreaterThan(0.4);
    expect(ratios[10]).toBeGreaterThan(0.43);
  });

  test.each([0.1, 0.25, 0.5])("loses nothing against lru on skewed traffic (cache %d)", (share) => {
    expect(runZipf("auto", share)).toBeGreaterThan(runZipf("lru", share) - 0.01);
  });

  test("lets a flood of objects that come once run through beside a hot set", () => {
    expect(runFlood("auto")).toBeGreaterThan(0.98);
    expect(runFlood("lru")).toBeLessThan(0.9);
  });
});

describe("lru and fifo", () => {
  test("lose everything on cyclic access, which is why auto exists", () => {
    for (const policy of ["lru", "fifo"] as const) {
      const ratios = runEpochs({ policy, share: 0.5, order: "cyclic" });
      expect(mean(ratios.slice(2, 8))).toBeLessThan(0.01);
    }
  });

  test("lru keeps the hot part of skewed traffic better than fifo", () => {
    expect(runZipf("lru", 0.25)).toBeGreaterThan(runZipf("fifo", 0.25) + 0.03);
  });
});
