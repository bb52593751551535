/** Makes a file cold, so that a test meets the disk where a program under load would. */

import { FFIType, dlopen } from "bun:ffi";
import { fsyncSync } from "node:fs";

const POSIX_FADV_DONTNEED = 4;

/** Drops a file's pages from the page cache (man 2 posix_fadvise), written ones included. */
export function makeCold(descriptor: number): void {
  fsyncSync(descriptor);
  const libc = dlopen("libc.so.6", {
    posix_fadvise: {
      args: [FFIType.i32, FFIType.i64_fast, FFIType.i64_fast, FFIType.i32],
      returns: FFIType.i32,
    },
  });
  libc.symbols.posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED);
  libc.close();
}
