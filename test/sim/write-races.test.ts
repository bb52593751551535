// Goal: whatever a write races with, a reader that begins after its acknowledgement sees it or a later
// one; and what a killed gateway leaves is never older than what upstream already held.
// Method: worlds of sim/gateway/ with one object in the middle of everything: each race begins its
// requests within the time an upstream answer takes. `SIM_SEEDS=1000` for a long look.
import { expect, test } from "bun:test";
import { type Random } from "../../src/base/random.ts";
import { seeds } from "../support/seeds.ts";
import { NO_FAULTS } from "./gateway/model-store.ts";
import { Judge } from "./gateway/properties.ts";
import { type Ask, KIB, type Seen, World, type WorldOptions } from "./gateway/world.ts";

const KEYS = ["a", "b", "c", "d"];

/** A world, its judge, and the requests of a race. */
class Race {
  readonly world: World;
  readonly judge: Judge;
  readonly random: Random;
  readonly spreadMs: number;
  #isKilled = false;

  constructor(seed: number, more: Partial<WorldOptions> = {}) {
    const draw = new World({ seed }).random;
    const latencyMs = [5, 50, 200][draw.below(3)] ?? 50;
    this.world = new World({
      seed,
      latencyMs,
      chunkMs: draw.float() < 0.7 ? draw.below(12) : 0,
      chunkBytes: 1 + draw.below(16 * KIB),
      storeDelay: draw.float() < 0.3 ? 0.2 : 0,
      warmOnWrite: draw.float() < 0.3,
      ...more,
    });
    this.judge = new Judge(this.world);
    this.random = this.world.random;
    this.spreadMs = latencyMs * (1 + draw.below(4));
    if (draw.float() < 0.3) this.world.store.faults = { head: 0.02, body: 0.005, bulk: 0.3 };
    else this.world.store.faults = { ...NO_FAULTS, bulk: 0.3 };
    for (const key of [...KEYS, "lesson"]) this.world.store.change(key, this.body());
  }

  body(): Uint8Array {
    const { random } = this;
    const sizes = [random.below(100), random.below(10 * KIB), random.below(150 * KIB)];
    return new Uint8Array(2 + (sizes[random.below(3)] ?? 0)).fill(random.below(256));
  }

  /** Some objects are cached when the race begins, some are on their way. */
  async begin(): Promise<void> {
    for (const who of ["alice", "bob"]) this.world.allow(who, true);
    for (const key of KEYS) {
      if (this.random.float() < 0.6) await this.world.exchange({ who: "alice", key });
    }
  }

  pause(): Promise<void> {
    return this.world.clock.sleep(this.random.float() * this.spreadMs);
  }

  async read(key: string, headers: readonly string[] = []): Promise<void> {
    await this.pause();
    const who = this.random.float() < 0.5 ? "alice" : "bob";
    const moment = this.judge.begin(key);
    const seen = await this.world.exchange({ who, key, headers });
    if (!this.#isKilled) this.judge.read(seen, moment);
  }

  async readRange(key: string): Promise<void> {
    const start = this.random.below(100 * KIB);
    const last = start + this.random.below(50 * KIB);
    await this.read(key, ["Range", `bytes=${start}-${last}`]);
  }

  reads(key: string, count: number): Promise<void>[] {
    return Array.from({ length: count }, () =>
      this.random.float() < 0.3 ? this.readRange(key) : this.read(key),
    );
  }

  /** A write, and readers that begin when its client has been told. */
  async write(ask: Omit<Ask, "who">, keys: readonly string[] = [ask.key]): Promise<Seen> {
    await this.pause();
    const write = this.judge.beginWrite(keys);
    const isLeaving = this.random.float() < 0.1;
    const seen = await this.world.exchange({
      ...ask,
      who: "alice",
      ...(isLeaving ? { leavesAfterMs: this.random.float() * this.spreadMs } : {}),
    });
    if (this.#isKilled) return seen;
    write.settle(seen);
    await Promise.all(keys.flatMap((key) => this.reads(key, 2)));
    return seen;
  }

  put(key: string): Promise<Seen> {
    return this.write({ method: "PUT", key, body: this.body() });
  }

  delete(key: string): Promise<Seen> {
    return this.write({ method: "DELETE", key });
  }

  deleteAll(keys: readonly string[]): Promise<Seen> {
    const objects = keys.flatMap((key) => {
      const object = `<Object><Key>${key}</Key>${this.#someVersion(key)}</Object>`;
      return this.random.float() < 0.3 ? [object, object] : [object];
    });
    const body = new TextEncoder().encode(`<Delete>${objects.join("")}</Delete>`);
    return this.write({ method: "POST", key: "", query: "?delete", body }, keys);
  }

  /** Often none, else one the key has or had. */
  #someVersion(key: string): string {
    if (this.random.float() < 0.6) return "";
    const states = this.world.store.statesOf(key);
    const number = states[this.random.below(states.length)]?.version?.number;
    return number === undefined ? "" : `<VersionId>${number}</VersionId>`;
  }

  complete(key: string, body: Uint8Array): Promise<Seen> {
    return this.write({ method: "POST", key, query: "?uploadId=u", body });
  }

  /** Runs the race, and what it leaves behind, to the end. */
  async run(requests: readonly Promise<unknown>[]): Promise<void> {
    const { clock, store } = this.world;
    await clock.run(Promise.all(requests));
    store.faults = NO_FAULTS;
    for (let turn = 0; turn < 3; turn += 1) {
      await clock.run(Promise.all(KEYS.map((key) => this.read(key))));
    }
    await clock.advance(600_000);
    this.judge.nothingLeaks();
    expect(this.world.outcomes.internalErrors).toEqual([]);
    expect(this.world.notes.size).toBe(0);
  }

  kill(): void {
    this.#isKilled = true;
    this.world.kill();
  }
}

/** A race by name: what runs at the same time. */
const RACES: Readonly<Record<string, (race: Race) => readonly Promise<unknown>[]>> = {
  "a write against a running fill": (race) => [...race.reads("a", 6), race.put("a")],
  "a write against a write": (race) => [
    race.put("a"),
    race.random.float() < 0.3 ? race.delete("a") : race.put("a"),
    race.put("a"),
    ...race.reads("a", 4),
  ],
  "a deletion against ranges that warm": (race) => [
    race.delete("a"),
    ...Array.from({ length: 6 }, () => race.readRange("a")),
  ],
  "an upload completed twice": (race) => {
    const body = race.body();
    return [race.complete("a", body), race.complete("a", body), ...race.reads("a", 4)];
  },
  "a bulk deletion with failures and versions": (race) => [
    race.put("a"), // so that there is a version below the current one
    race.deleteAll(KEYS),
    ...KEYS.flatMap((key) => race.reads(key, 2)),
  ],
};

for (const [name, requests] of Object.entries(RACES)) {
  test.each(seeds(20))(`${name} (seed %d)`, async (seed) => {
    const race = new Race(seed);
    await race.world.clock.run(race.begin());
    await race.run(requests(race));
  });

  test.each(seeds(20))(`${name}, and a kill in the middle (seed %d)`, async (seed) => {
    const race = new Race(seed);
    const { world, random } = race;
    const { clock, store } = world;
    await clock.run(race.begin());
    const racing = requests(race);
    void Promise.allSettled(racing);
    await clock.advance(random.float() * race.spreadMs * 3);
    race.kill();

    // Whatever upstream holds by now, the next process must not serve less.
    const floors = new Map(KEYS.map((key) => [key, store.current(key)?.index ?? -1]));
    const next = new World(world.options, world);
    for (const who of ["alice", "bob"]) next.allow(who, true);
    const judge = new Judge(next);
    const read = async (key: string): Promise<void> => {
      const moment = { floor: floors.get(key) ?? -1 };
      judge.read(await next.exchange({ who: "alice", key }), moment);
    };
    store.faults = NO_FAULTS;
    // The first read of an asker always goes upstream: let it be one that could not go wrong.
    await clock.run(next.exchange({ who: "alice", key: "lesson" }));
    for (let turn = 0; turn < 5; turn += 1) {
      await clock.run(Promise.all(KEYS.map(read)));
      // What was on its way to upstream may still arrive: it is the floor from then on.
      await clock.advance(random.float() * world.options.latencyMs);
      for (const key of KEYS) floors.set(key, store.current(key)?.index ?? -1);
    }
    await clock.advance(600_000);
    for (const key of KEYS) await clock.run(read(key));
    expect(next.outcomes.internalErrors).toEqual([]);
    expect(next.notes.size).toBe(0);
  });
}
