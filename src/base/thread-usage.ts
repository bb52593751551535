/**
 * What Linux counts of the calling thread, and Bun only tells of the whole process (getrusage(2)).
 *
 * libc is asked directly; where it cannot be (macOS, musl) nothing is known. Asking takes a fifth of a microsecond (0.16 to 0.24).
 */

import { dlopen, FFIType, ptr } from "bun:ffi";

import { fromLibc, LIBC } from "./libc.ts";

const RUSAGE_THREAD = 1;
/** struct rusage: two struct timeval, then fourteen longs, all of 64 bits on the machines we run on. */
const RUSAGE_BYTES = 144;
/** ru_nvcsw, the last but one. */
const VOLUNTARY_OFFSET = 128;

/**
 * How often this thread gave its core up to wait for something: a disk, a lock, time. Not when another thread took the
 * core from it. Undefined when the system does not say.
 */
export function voluntaryWaits(): number | undefined {
  return ask()();
}

const ask = fromLibc(open, () => undefined);

function open(): () => number | undefined {
  const { symbols } = dlopen(LIBC, {
    getrusage: { args: [FFIType.i32, FFIType.ptr], returns: FFIType.i32 },
  });
  const usage = new DataView(new ArrayBuffer(RUSAGE_BYTES));
  const address = ptr(usage);
  return () => {
    if (symbols.getrusage(RUSAGE_THREAD, address) !== 0) return undefined;
    // The low half: enough to see a change by.
    return usage.getUint32(VOLUNTARY_OFFSET, true);
  };
}
