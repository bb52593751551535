// Goal: samples in compiled JavaScript get the name of the function whose code lay there.
// Method: a dump put together here, as the specification says.

import { expect, test } from "bun:test";

import { JitDump } from "../../scripts/bench/jit-dump.ts";

function record(id: number, body: Buffer): Buffer {
  const head = Buffer.alloc(16);
  head.writeUInt32LE(id, 0);
  head.writeUInt32LE(head.length + body.length, 4);
  return Buffer.concat([head, body]);
}

function load(address: number, sizeBytes: number, name: string): Buffer {
  const fixed = Buffer.alloc(40);
  fixed.writeBigUInt64LE(BigInt(address), 16);
  fixed.writeBigUInt64LE(BigInt(sizeBytes), 24);
  return record(0, Buffer.concat([fixed, Buffer.from(`${name}\0`), Buffer.alloc(sizeBytes)]));
}

function dump(...records: Buffer[]): Buffer {
  const head = Buffer.alloc(40);
  head.writeUInt32LE(0x4a695444, 0);
  head.writeUInt32LE(head.length, 8);
  return Buffer.concat([head, ...records]);
}

const CODE = 0x7f_0000_0000;

test("an address has the name of the code around it, and none between", () => {
  const read = JitDump.read(
    dump(
      load(CODE + 64, 32, "JSC-DFG: second#Ab1"),
      record(2, Buffer.alloc(8)),
      load(CODE, 16, "JSC-FTL: #first#Cd2"),
    ),
  );
  expect(
    [CODE, CODE + 15, CODE + 16, CODE + 64, CODE + 95, CODE + 96, 1].map((at) => read.nameAt(at)),
  ).toEqual(["#first", "#first", undefined, "second", "second", undefined, undefined]);
});

test("code that was replaced has its later name, and the engine's own keeps its text", () => {
  const read = JitDump.read(
    dump(load(CODE, 16, "JSC-Baseline: old#Ab1"), load(CODE, 16, "JSC-Thunk: DefaultCall")),
  );
  expect(read.nameAt(CODE)).toBe("JSC-Thunk: DefaultCall");
});

test("a dump that is still being written is read up to there, and another file is refused", () => {
  const whole = dump(load(CODE, 16, "JSC-FTL: kept#Ab1"), load(CODE + 64, 16, "JSC-FTL: cut#Cd2"));
  const read = JitDump.read(whole.subarray(0, -1));
  expect([read.nameAt(CODE), read.nameAt(CODE + 64)]).toEqual(["kept", undefined]);
  expect(() => JitDump.read(Buffer.from("something else"))).toThrow("not a jitdump");
});
