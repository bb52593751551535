import { expect, test } from "bun:test";
import { join } from "node:path";
import { HeapGarbage } from "../../../src/base/heap-garbage.ts";
import { SimClock } from "../../support/sim-clock.ts";

const HEAP_FIGURES = join(import.meta.dir, "../../support/heap-figures.ts");
const MIB = 1024 * 1024;

/** A heap that grows when nothing in it is free, and gives half of what is free back. */
function heapOf(usedMib: number) {
  const heap = {
    /** Of it is in use. */
    usedMib,
    filledMib: usedMib,
    sizeMib: usedMib,
    collections: 0,
    make(mib: number) {
      heap.filledMib += mib;
      heap.sizeMib = Math.max(heap.sizeMib, heap.filledMib);
    },
    sizeBytes: () => heap.sizeMib * MIB,
    usedBytes: () => heap.usedMib * MIB,
    collectYoung() {
      heap.collections += 1;
      heap.filledMib = heap.usedMib;
      heap.sizeMib = (heap.sizeMib + heap.usedMib) / 2;
    },
  };
  return heap;
}

function watched(heap: ReturnType<typeof heapOf>, clock: SimClock): Disposable {
  const garbage = new HeapGarbage(clock, heap);
  return { [Symbol.dispose]: () => garbage.stop() };
}

test("what requests leave behind does not make the heap grow without bound", async () => {
  const heap = heapOf(20);
  const clock = new SimClock();
  using _ = watched(heap, clock);
  for (let step = 0; step < 1000; step += 1) {
    heap.make(8);
    await clock.advance(100);
    expect(heap.sizeMib).toBeLessThanOrEqual(20 + 48 + 8);
  }
  // Each finds at least what is worth it: nothing is collected in vain.
  expect(heap.collections).toBeGreaterThan(0);
  expect(heap.collections).toBeLessThanOrEqual((1000 * 8) / 48);
});

test("a heap that does not grow is left alone", async () => {
  const heap = heapOf(300);
  const clock = new SimClock();
  using _ = watched(heap, clock);
  await clock.advance(60_000);
  expect(heap.collections).toBe(0);
});

test("what comes to be in use is collected once for each step it grows by", async () => {
  const heap = heapOf(20);
  const clock = new SimClock();
  using _ = watched(heap, clock);
  for (let step = 0; step < 80; step += 1) {
    heap.make(6);
    heap.usedMib += 6;
    await clock.advance(1000);
  }
  expect(heap.collections).toBe(10);
});

test("room that is not given back is filled again before the next collection", async () => {
  const heap = heapOf(20);
  const clock = new SimClock();
  heap.collectYoung = () => {
    heap.collections += 1;
  };
  using _ = watched(heap, clock);
  heap.make(60);
  await clock.advance(60_000);
  expect(heap.collections).toBe(1);
  heap.make(8);
  await clock.advance(60_000);
  expect(heap.collections).toBe(2);
});

test("growth is counted from where the runtime gave room back", async () => {
  const heap = heapOf(100);
  heap.usedMib = 40;
  const clock = new SimClock();
  using _ = watched(heap, clock);
  heap.sizeMib = 80;
  await clock.advance(100);
  heap.sizeMib = 90;
  await clock.advance(100);
  expect(heap.collections).toBe(1);
});

test("nothing is looked at after the end", async () => {
  const heap = heapOf(20);
  const clock = new SimClock();
  const garbage = new HeapGarbage(clock, heap);
  garbage.stop();
  heap.make(100);
  await clock.advance(1000);
  expect(heap.collections).toBe(0);
});

// What the runtime calls its heap is read from figures it does not explain.
test("the runtime counts objects in use, and not buffers", () => {
  const run = Bun.spawnSync([process.execPath, HEAP_FIGURES]);
  expect(run.stderr.toString()).toBe("");
  const figures = JSON.parse(run.stdout.toString());
  expect(figures.kept).toBeGreaterThan(8 * MIB);
  expect(figures.size).toBeGreaterThan(figures.kept / 2);
  expect(Math.abs(figures.grown)).toBeLessThan(8 * MIB);
});
