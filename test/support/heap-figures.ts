/**
 * A process of its own for one question: what of the things a program keeps does the runtime call its heap?
 * Prints JSON, in bytes: `kept` and `size` with half a million objects in use, `grown` by a buffer of 256 MiB. The
 * other two figures only keep them in use until then.
 * Beside other tests it could not be asked: what they leave is collected at any time, and is counted too.
 */

import { runtimeHeap } from "../../src/base/heap-garbage.ts";

Bun.gc(true);
const before = runtimeHeap.usedBytes();
const kept = Array.from({ length: 500_000 }, (_, no) => ({ no, twice: 2 * no }));
runtimeHeap.collectYoung();
const withKept = runtimeHeap.usedBytes();
const size = runtimeHeap.sizeBytes();
const buffer = new Uint8Array(256 * 1024 * 1024);
runtimeHeap.collectYoung();
const withBuffer = runtimeHeap.usedBytes();
console.log(
  JSON.stringify({
    objects: kept.length,
    bufferBytes: buffer.length,
    kept: withKept - before,
    size: size - before,
    grown: withBuffer - withKept,
  }),
);
