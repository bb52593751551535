/**
 * Goal: the thread that serves clients waits for a volume at most a fiftieth of its time.
 * Method: a file whose writes take as long as a simulated clock says.
 */

import { describe, expect, test } from "bun:test";
import type { DiskFile } from "../../../src/base/disk.ts";
import { WritePace } from "../../../src/storage/write-pace.ts";
import { SimClock } from "../../support/sim-clock.ts";

class TimedFile implements Pick<DiskFile, "write" | "writeSync"> {
  takesMs = 0;
  /** How often a write waits while it takes its time. */
  waitsEach = 1;
  waits = 0;
  atOnce = 0;
  byPool = 0;
  readonly #advance: (ms: number) => void;

  constructor(advance: (ms: number) => void) {
    this.#advance = advance;
  }

  async write(): Promise<void> {
    this.byPool += 1;
  }

  writeSync(): void {
    this.atOnce += 1;
    this.#advance(this.takesMs);
    this.waits += this.waitsEach;
  }
}

function world(knowsWaits = true) {
  let nowMs = 1000;
  const clock = Object.assign(new SimClock(), { monotonicMs: () => nowMs });
  const advance = (ms: number): void => {
    nowMs += ms;
  };
  const file = new TimedFile(advance);
  const pace = new WritePace(clock, () => (knowsWaits ? file.waits : undefined));
  const write = () => pace.write(file as unknown as DiskFile, [new Uint8Array(1)], 0);
  return { file, pace, write, advance };
}

describe("WritePace", () => {
  test("writes at once while that is quick", () => {
    const { file, write } = world();
    file.takesMs = 1;
    for (let count = 0; count < 100; count += 1) expect(write()).toBeUndefined();
    expect(file).toMatchObject({ atOnce: 100, byPool: 0 });
  });

  test("leaves the writing to the pool after a slow one, and tries again later", async () => {
    const { file, pace, write, advance } = world();
    file.takesMs = 200;
    void write();
    expect(pace.isQuick).toBe(false);
    advance(9_999);
    await write();
    expect(file).toMatchObject({ atOnce: 1, byPool: 1 });
    advance(1);
    expect(pace.isQuick).toBe(true);
    file.takesMs = 0;
    expect(write()).toBeUndefined();
    expect(file).toMatchObject({ atOnce: 2, byPool: 1 });
  });

  test("a write that did not wait is not slow: another thread had the core", () => {
    const { file, pace, write } = world();
    file.takesMs = 12;
    file.waitsEach = 0;
    void write();
    expect(pace.isQuick).toBe(true);
    file.waitsEach = 1;
    void write();
    expect(pace.isQuick).toBe(false);
  });

  test("where nobody says who waited, every long write is slow", () => {
    const { file, pace, write } = world(false);
    file.takesMs = 12;
    void write();
    expect(pace.isQuick).toBe(false);
  });

  test("passes a failure on", () => {
    const { file, write } = world();
    file.writeSync = () => {
      throw new Error("no room");
    };
    expect(write).toThrow("no room");
  });
});
