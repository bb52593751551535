import { expect, test } from "bun:test";
import { BulkGarbage } from "../../../src/base/bulk-garbage.ts";

const MIB = 1024 * 1024;

/** Memory in which `usedMib` is in use and the rest waits to be collected. */
function memoryOf(usedMib: number) {
  const memory = {
    heldMib: usedMib,
    collections: 0,
    heldBytes: () => memory.heldMib * MIB,
    collect() {
      memory.collections += 1;
      memory.heldMib = usedMib;
    },
  };
  return memory;
}

test("what passing bytes leave behind never grows beyond some steps", () => {
  const memory = memoryOf(10);
  const garbage = new BulkGarbage(memory);
  for (let passedMib = 0; passedMib < 5000; passedMib += 1) {
    memory.heldMib += 1;
    garbage.passed(MIB);
    expect(memory.heldMib).toBeLessThan(10 + 64 + 64);
  }
});

test("nothing is collected when little lies around", () => {
  const memory = memoryOf(40);
  const garbage = new BulkGarbage(memory);
  for (let passedMib = 0; passedMib < 1000; passedMib += 1) garbage.passed(MIB);
  expect(memory.collections).toBe(0);
});

test("what is in use is not collected again and again", () => {
  const memory = memoryOf(500);
  const garbage = new BulkGarbage(memory);
  for (let passedMib = 0; passedMib < 1000; passedMib += 1) garbage.passed(MIB);
  expect(memory.collections).toBe(1);
});
