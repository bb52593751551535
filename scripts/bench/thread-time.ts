/** The processor time of the calling thread, which no other process on the machine can lengthen. */

import { dlopen, FFIType, ptr } from "bun:ffi";

const { symbols: libc } = dlopen("libc.so.6", {
  clock_gettime: { args: [FFIType.i32, FFIType.ptr], returns: FFIType.i32 },
});

const CLOCK_THREAD_CPUTIME_ID = 3;

const timespec = new BigInt64Array(2);
const address = ptr(timespec);

/** Nanoseconds this thread has spent on a core since it started. */
export function threadTimeNs(): number {
  libc.clock_gettime(CLOCK_THREAD_CPUTIME_ID, address);
  return Number(timespec[0]) * 1e9 + Number(timespec[1]);
}
