// Goal: whatever the order of fills, removals, renewals, reads and restarts, the store
// shows exactly what a simple model says, and never a byte of anything else.
// Method: seeded random operations against the engine and a Map. In one world nothing is
// evicted and the two must agree; in the other the cap is small, so an entry may be
// missing, but what is there must be right and what is gone must stay gone.

import { expect, test } from "bun:test";
import { IntervalSet } from "../../src/base/interval-set.ts";
import { seededRandom, type Random } from "../../src/base/random.ts";
import type { PolicyName } from "../../src/storage/open.ts";
import type { Fill, ObjectMeta, Storage } from "../../src/storage/storage.ts";
import { seeds } from "../support/seeds.ts";
import { bytesOf, metaOf, patternOf } from "../support/stored-objects.ts";
import { TempStore } from "../support/temp-store.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const BLOCK_BYTES = 16 * KIB;

/** What a world is like. */
interface WorldOptions {
  readonly capacityBytes: number;
  readonly policy: PolicyName;
  readonly shardCount: number;
  /**
   * Objects from this size on are held in blocks, smaller ones only whole. Less than what fits
   * into a record, because what does not is held in blocks too.
   */
  readonly blockThresholdBytes: number;
  readonly keys: number;
  readonly steps: number;
  /** An entry may be missing, because the cap is small. */
  readonly mayEvict: boolean;
}

interface ModelEntry {
  readonly meta: ObjectMeta;
  readonly body: Uint8Array;
  /** Bytes that are stored. */
  readonly present: IntervalSet;
}

interface OpenFill {
  readonly fill: Fill;
  readonly meta: ObjectMeta;
  readonly body: Uint8Array;
  readonly written: IntervalSet;
  /** What the entry it completes had. */
  readonly extends: ModelEntry | undefined;
}

class World {
  readonly #random: Random;
  readonly #temp: TempStore;
  readonly #options: WorldOptions;
  readonly #mayEvict: boolean;
  readonly #model = new Map<string, ModelEntry>();
  readonly #fills: OpenFill[] = [];
  #storage: Storage;
  #generation = 0;

  constructor(seed: number, temp: TempStore, storage: Storage, options: WorldOptions) {
    this.#random = seededRandom(seed);
    this.#temp = temp;
    this.#storage = storage;
    this.#options = options;
    this.#mayEvict = options.mayEvict;
  }

  async run(): Promise<void> {
    for (let step = 0; step < this.#options.steps; step += 1) {
      await this.#step();
      await this.#check(this.#someKey());
    }
    for (const open of this.#fills.splice(0)) open.fill.release();
    for (let key = 0; key < this.#options.keys; key += 1) await this.#check(`k${key}`);
    this.#checkList();
    await this.#restart();
    for (let key = 0; key < this.#options.keys; key += 1) await this.#check(`k${key}`);
    this.#checkList();
    expect(this.#storage.stats().damagedEntries).toBe(0);
  }

  async #step(): Promise<void> {
    // Where things are evicted anyway, fewer are removed: the store has to fill up first.
    const draw = this.#random.float() * (this.#mayEvict ? 0.8 : 1);
    if (draw < 0.25) this.#begin();
    else if (draw < 0.5) await this.#write();
    else if (draw < 0.7) await this.#commit();
    else if (draw < 0.75) this.#abandon();
    else if (draw < 0.85) this.#remove();
    else if (draw < 0.93) this.#renew();
    else if (draw < 0.95) this.#removePrefix();
    else if (draw < 0.97) this.#checkList();
    else await this.#restart();
  }

  #begin(): void {
    if (this.#fills.length > 5) return;
    const key = this.#someKey();
    const present = this.#model.get(key);
    const found = this.#storage.lookup({ bucket: "model", key });
    if (present !== undefined && found !== undefined && this.#random.float() < 0.5) {
      const fill = this.#storage.beginFill({ meta: present.meta, extend: found });
      if ("refused" in fill || isWhole(present)) {
        if (!("refused" in fill)) fill.release();
        return;
      }
      this.#fills.push({
        fill,
        meta: present.meta,
        body: present.body,
        written: new IntervalSet(),
        extends: present,
      });
      return;
    }
    this.#generation += 1;
    const sizeBytes = this.#someSize();
    const etag = `"${this.#generation}"`;
    const meta = metaOf({ bucket: "model", key }, sizeBytes, { etag });
    const fill = this.#storage.beginFill({ meta });
    if ("refused" in fill) {
      expect(this.#mayEvict).toBe(true);
      return;
    }
    const body = patternOf(`${key}#${this.#generation}`, sizeBytes);
    this.#fills.push({ fill, meta, body, written: new IntervalSet(), extends: undefined });
  }

  async #write(): Promise<void> {
    const open = this.#someFill();
    if (open === undefined) return;
    const { fill, body, written, meta } = open;
    const [gap] = this.#gaps(open);
    if (gap === undefined) return;
    const isAll = this.#random.float() < 0.5;
    const start = isAll ? gap.start : gap.start + this.#random.below(gap.end - gap.start);
    const end = isAll ? gap.end : start + 1 + this.#random.below(gap.end - start);
    for (let at = start; at < end; at += 64 * KIB) {
      const chunk = body.subarray(at, Math.min(end, at + 64 * KIB));
      await fill.write(at, chunk);
      written.add(at, at + chunk.length);
    }
    if (!fill.isBroken) {
      const from = start + this.#random.below(end - start);
      expect(fill.readableFrom(from)).toBeGreaterThan(0);
      const bytes = await fill.readBack(from, 100_000);
      expect(same(bytes, body.subarray(from, from + bytes.length))).toBe(true);
    }
    expect(fill.readableFrom(meta.sizeBytes)).toBe(0);
  }

  /** What a fill may still write: not twice, and not what the entry had. */
  #gaps(open: OpenFill): { start: number; end: number }[] {
    const gaps = open.written.gaps(0, open.meta.sizeBytes);
    if (open.extends === undefined) return gaps;
    const { present } = open.extends;
    return gaps.flatMap(({ start, end }) => present.gaps(start, end));
  }

  async #commit(): Promise<void> {
    const open = this.#someFill();
    if (open === undefined) return;
    const { fill, meta, written } = open;
    if (this.#random.float() < 0.6) {
      for (const gap of this.#gaps(open)) {
        await fill.write(gap.start, open.body.subarray(gap.start, gap.end));
        written.add(gap.start, gap.end);
      }
    }
    this.#fills.splice(this.#fills.indexOf(open), 1);
    const isPermitted = this.#random.float() < 0.9;
    let wasAsked = false;
    const before = this.#model.get(meta.id.key);
    const outcome = await fill.commit(() => {
      wasAsked = true;
      return isPermitted;
    });
    fill.release();
    const isBlocks = open.extends !== undefined || this.#isInBlocks(meta.sizeBytes);
    if (outcome.kind === "refused") expect(wasAsked && !isPermitted).toBe(true);
    if (outcome.kind === "committed") {
      expect(wasAsked && isPermitted).toBe(true);
      const present = isBlocks ? wholeBlocks(written, meta.sizeBytes) : written;
      // Another fill of the same body may have added to it since this one began.
      const added = before?.body === open.body ? before : open.extends;
      if (added !== undefined) {
        for (const { start, end } of runsOf(added.present, meta.sizeBytes)) present.add(start, end);
      }
      this.#model.set(meta.id.key, { meta: metaAfter(outcome.object), body: open.body, present });
      const found = this.#storage.lookup(meta.id);
      if (found?.version === outcome.object.version) {
        const whole = { start: 0, end: meta.sizeBytes };
        expect([...this.#storage.missing(found, whole)]).toEqual(present.gaps(0, meta.sizeBytes));
      }
    }
    if (outcome.kind === "failed" && !this.#mayEvict) {
      const isGone = open.extends !== undefined && before !== open.extends;
      const isShort = written.size < meta.sizeBytes;
      expect(isGone || isShort).toBe(true);
    }
  }

  #abandon(): void {
    const open = this.#someFill();
    if (open === undefined) return;
    this.#fills.splice(this.#fills.indexOf(open), 1);
    open.fill.abandon();
    open.fill.release();
  }

  #remove(): void {
    const keys = [this.#someKey(), this.#someKey()];
    const count = this.#storage.remove(keys.map((key) => ({ bucket: "model", key })));
    let expected = 0;
    for (const key of new Set(keys)) if (this.#model.delete(key)) expected += 1;
    if (!this.#mayEvict) expect(count).toBe(expected);
  }

  #removePrefix(): void {
    const prefix = this.#random.float() < 0.5 ? "k1" : "k";
    const count = this.#storage.removePrefix("model", prefix);
    let expected = 0;
    for (const key of this.#model.keys()) {
      if (key.startsWith(prefix) && this.#model.delete(key)) expected += 1;
    }
    if (!this.#mayEvict) expect(count).toBe(expected);
  }

  #renew(): void {
    const key = this.#someKey();
    const found = this.#storage.lookup({ bucket: "model", key });
    const present = this.#model.get(key);
    if (found === undefined || present === undefined) return;
    const meta = {
      ...present.meta,
      headers: ["X-Generation", String((this.#generation += 1))],
      freshUntilMs: this.#generation,
    };
    const renewed = this.#storage.refresh(found, meta);
    expect(renewed?.headers).toEqual(meta.headers);
    this.#model.set(key, { ...present, meta });
  }

  async #restart(): Promise<void> {
    for (const open of this.#fills.splice(0)) open.fill.release();
    this.#storage = await this.#temp.open(this.#options);
  }

  async #check(key: string): Promise<void> {
    const found = this.#storage.lookup({ bucket: "model", key });
    const expected = this.#model.get(key);
    if (found === undefined) {
      if (!this.#mayEvict) expect(expected).toBeUndefined();
      else this.#model.delete(key); // evicted: it must not come back
      return;
    }
    if (expected === undefined) throw new Error(`${key} is visible and should not be`);
    this.#storage.touch(found);
    expect(metaAfter(found)).toEqual(expected.meta);
    const size = expected.meta.sizeBytes;
    const start = this.#random.below(size + 1);
    const end = start + this.#random.below(size - start + 1);
    const isThere = expected.present.covers(start, end);
    expect(this.#storage.missing(found, { start, end }).length === 0).toBe(isThere);
    const bytes = await bytesOf(await this.#storage.read(found, { start, end }));
    if (bytes === undefined) {
      // Evicted between the two calls is possible only where there is eviction.
      if (isThere) expect(this.#mayEvict).toBe(true);
    } else {
      expect(isThere).toBe(true);
      expect(same(bytes, expected.body.subarray(start, end))).toBe(true);
    }
  }

  #checkList(): void {
    const listed = [...this.#storage.list("model", "")].map((entry) => entry.id.key);
    expect(new Set(listed).size).toBe(listed.length);
    if (this.#mayEvict) {
      for (const key of listed) expect(this.#model.has(key)).toBe(true);
    } else {
      expect(listed.toSorted()).toEqual([...this.#model.keys()].toSorted());
    }
  }

  #someKey(): string {
    return `k${this.#random.below(this.#options.keys)}`;
  }

  #someFill(): OpenFill | undefined {
    return this.#fills[this.#random.below(Math.max(1, this.#fills.length))];
  }

  /** Every tier, and the borders between them. */
  #someSize(): number {
    const draw = this.#random.float();
    if (draw < 0.1) return this.#random.below(3);
    if (draw < 0.3) return 200 + this.#random.below(120);
    if (draw < 0.6) return this.#random.below(70 * KIB);
    if (draw < 0.8) return this.#random.below(400 * KIB);
    return this.#random.below(3 * MIB);
  }

  /** Whether the engine keeps an object of this size in blocks: it says so by taking gaps. */
  #isInBlocks(sizeBytes: number): boolean {
    return sizeBytes >= this.#options.blockThresholdBytes;
  }
}

/** What of an entry a fill or a renewal determines. */
function metaAfter(entry: ObjectMeta): ObjectMeta {
  const { id, sizeBytes, etag, lastModified, headers, storedAtMs, freshUntilMs, isPublic } = entry;
  return { id, sizeBytes, etag, lastModified, headers, storedAtMs, freshUntilMs, isPublic };
}

function isWhole(entry: ModelEntry): boolean {
  return entry.present.covers(0, entry.meta.sizeBytes);
}

function wholeBlocks(written: IntervalSet, sizeBytes: number): IntervalSet {
  const whole = new IntervalSet();
  for (let start = 0; start < sizeBytes; start += BLOCK_BYTES) {
    const end = Math.min(sizeBytes, start + BLOCK_BYTES);
    if (written.covers(start, end)) whole.add(start, end);
  }
  return whole;
}

function runsOf(set: IntervalSet, sizeBytes: number): { start: number; end: number }[] {
  const runs: { start: number; end: number }[] = [];
  let at = set.firstFrom(0);
  while (at !== undefined && at < sizeBytes) {
    const end = set.endOfRun(at);
    runs.push({ start: at, end });
    at = set.firstFrom(end);
  }
  return runs;
}

function same(left: Uint8Array, right: Uint8Array): boolean {
  return Buffer.compare(left, right) === 0;
}

async function explore(seed: number, world: Partial<WorldOptions>): Promise<void> {
  await using temp = new TempStore();
  const options: WorldOptions = {
    capacityBytes: 512 * MIB,
    policy: (["auto", "lru", "fifo"] as const)[seed % 3] ?? "auto",
    shardCount: 2,
    blockThresholdBytes: 500 * KIB,
    keys: 12,
    steps: 120,
    mayEvict: false,
    ...world,
  };
  await new World(seed, temp, await temp.open(options), options).run();
}

test.each(seeds(20))(
  "the store agrees with a simple model (seed %d)",
  (seed) => explore(seed, {}),
  60_000,
);

test.each(seeds(20))(
  "a store that evicts shows nothing wrong and nothing twice (seed %d)",
  (seed) =>
    explore(seed, {
      capacityBytes: 8 * MIB,
      blockThresholdBytes: 100 * KIB,
      keys: 50,
      steps: 350,
      mayEvict: true,
    }),
  60_000,
);
