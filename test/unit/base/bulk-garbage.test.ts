import { expect, test } from "bun:test";
import { BulkGarbage } from "../../../src/base/bulk-garbage.ts";

const MIB = 1024 * 1024;

/** Memory in which `usedMib` is in use and the rest waits to be collected. */
function memoryOf(usedMib: number) {
  const memory = {
    usedMib,
    heldMib: usedMib,
    /** Of what waits, not to be had by a young collection. */
    oldMib: 0,
    young: 0,
    begun: 0,
    full: 0,
    isPrompt: true,
    /** Freed, but still counted as held until the next collection. */
    freedMib: 0,
    heldBytes: () => (memory.heldMib + memory.freedMib) * MIB,
    residentBytes: () => (100 + memory.heldMib) * MIB,
    collectYoung() {
      memory.young += 1;
      memory.heldMib = memory.usedMib + memory.oldMib;
      memory.freedMib = 0;
    },
    beginAll() {
      memory.begun += 1;
      if (memory.isPrompt) memory.oldMib = 0;
    },
    collectAll() {
      memory.full += 1;
      memory.oldMib = 0;
      memory.heldMib = memory.usedMib;
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
    expect(memory.heldMib).toBeLessThan(10 + 32 + 32);
  }
  expect(memory).toMatchObject({ begun: 0, full: 0 });
});

test("nothing is collected when little lies around", () => {
  const memory = memoryOf(20);
  const garbage = new BulkGarbage(memory);
  for (let passedMib = 0; passedMib < 1000; passedMib += 1) garbage.passed(MIB);
  expect(memory).toMatchObject({ young: 0, full: 0 });
});

test("nothing is collected for what was freed already, although the runtime still counts it", () => {
  const memory = memoryOf(10);
  const garbage = new BulkGarbage(memory);
  for (let passedMib = 0; passedMib < 1000; passedMib += 1) {
    memory.freedMib += 1;
    garbage.passed(MIB);
  }
  expect(memory.young).toBeLessThanOrEqual(1);
});

test("what is in use is not collected again and again", () => {
  const memory = memoryOf(500);
  const garbage = new BulkGarbage(memory);
  for (let passedMib = 0; passedMib < 1000; passedMib += 1) garbage.passed(MIB);
  expect(memory).toMatchObject({ young: 1, full: 1 });
});

test.each([
  ["in the background", true, 64],
  ["and waited for, when the background comes late", false, 128],
] as const)("what young collections leave behind is collected %s", (_, isPrompt, boundMib) => {
  const memory = memoryOf(10);
  memory.isPrompt = isPrompt;
  const garbage = new BulkGarbage(memory);
  for (let passedMib = 0; passedMib < 5000; passedMib += 1) {
    memory.heldMib += 1;
    if (passedMib % 2 === 0) memory.oldMib += 1;
    garbage.passed(MIB);
    expect(memory.heldMib).toBeLessThan(10 + boundMib + 3 * 32);
  }
  expect(memory.begun).toBeGreaterThan(0);
  expect(memory.full > 0).toBe(!isPrompt);
  expect(memory.begun + memory.full).toBeLessThan(memory.young);
});
