/**
 * What Linux can do with a file that is in the page cache, and Bun has no call for: read it
 * without ever waiting for the disk, and send it to a socket without copying it through here.
 *
 * A read of resident pages costs microseconds and is best done at once; a read that has to go to the
 * disk would hold up every other request of this thread and belongs in the thread pool. preadv2
 * with RWF_NOWAIT tells the two apart (256 KiB in 7.6 µs here, like an ordinary read). Before sendfile
 * takes a range, cachestat tells whether pages are missing (1 MiB in 0.9 µs), but it counts those that are
 * still on their way too, and sendfile would wait for them; a read of single bytes tells. sendfile itself
 * spares the copy in and the copy out: 64 MiB on loopback 70 ms of CPU with copies, 10 ms without.
 *
 * libc is asked directly. Where a call is missing (macOS, musl, Linux before 6.5) nothing
 * counts as resident, and the caller takes the slower way it needs anyway. tmpfs cannot read with
 * RWF_NOWAIT, but all of it is ready to be sent.
 */

import { FFIType, dlopen, ptr, read } from "bun:ffi";
import type { Pointer } from "bun:ffi";

import { fromLibc, LIBC, MSG_DONTWAIT } from "./libc.ts";

const RWF_NOWAIT = 8;
const POSIX_FADV_WILLNEED = 3;
const MSG_NOSIGNAL = 0x4000;
const MSG_MORE = 0x8000;

/** cachestat(2); numbers from 424 on are the same on every architecture. */
const SYS_CACHESTAT = 451;

/** All page sizes of the machines we run on are multiples of it. */
const PAGE_BYTES = 4096;

/**
 * One byte in so many is asked for: pages that are read ahead together become readable nearly together. Where
 * one in between comes later, sendfile waits for it, no longer.
 */
export const PROBE_STEP_BYTES = 128 * 1024;

const EOPNOTSUPP = 95;

interface KernelFiles {
  readonly read: typeof readResident;
  readonly bytesReady: typeof bytesReady;
  readonly prefetch: typeof prefetch;
  readonly send: typeof sendFile;
  readonly sendBefore: typeof sendBefore;
}

const NONE: KernelFiles = {
  read: () => 0,
  bytesReady: () => undefined,
  prefetch: () => undefined,
  send: () => 0,
  sendBefore: () => 0,
};

const TWO_32 = 2 ** 32;

/** Numbers of 64 bits in memory that the kernel reads and writes; a BigInt for each would be an object for each. */
class Uint64s {
  /** Of the first one; stays right as long as this object is used. */
  readonly address: Pointer;
  /** Two words each, the low one first, as all machines have it that we run on. */
  readonly #words: Uint32Array;

  constructor(count: number) {
    this.#words = new Uint32Array(2 * count);
    this.address = ptr(this.#words);
  }

  /** @param value whole, at most `Number.MAX_SAFE_INTEGER` */
  set(index: number, value: number): void {
    this.#words[2 * index] = value % TWO_32;
    this.#words[2 * index + 1] = Math.floor(value / TWO_32);
  }

  get(index: number): number {
    return (this.#words[2 * index] ?? 0) + (this.#words[2 * index + 1] ?? 0) * TWO_32;
  }
}

const kernelFiles = fromLibc(open, NONE);

/**
 * Reads up to `count` bytes of the file at `fileOffset` into `target` without waiting for the
 * disk. Returns how many were read: 0 when the first one is not resident or lies beyond the end
 * of the file, or when the system cannot tell.
 */
export function readResident(
  descriptor: number,
  target: Uint8Array,
  targetOffset: number,
  count: number,
  fileOffset: number,
): number {
  return kernelFiles().read(descriptor, target, targetOffset, count, fileOffset);
}

/**
 * How many of the `count` bytes of the file at `fileOffset` can be sent without waiting for the disk: all of
 * them, or the first few multiples of `PROBE_STEP_BYTES`, or 0; undefined when the system cannot tell.
 */
export function bytesReady(
  descriptor: number,
  fileOffset: number,
  count: number,
): number | undefined {
  return kernelFiles().bytesReady(descriptor, fileOffset, count);
}

/** Begins to read `count` bytes of the file at `fileOffset` into memory, and does not wait for them. */
export function prefetch(descriptor: number, fileOffset: number, count: number): void {
  kernelFiles().prefetch(descriptor, fileOffset, count);
}

/**
 * Sends up to `count` bytes of the file at `fileOffset` to a socket that does not block; waits for the disk
 * where they are not resident. Returns how many the socket took: 0 when it is full or gone, or when
 * the system cannot.
 */
export function sendFile(
  socketDescriptor: number,
  descriptor: number,
  fileOffset: number,
  count: number,
): number {
  return kernelFiles().send(socketDescriptor, descriptor, fileOffset, count);
}

/**
 * Sends the first `count` bytes to a socket that does not block, which may keep them back until more follow at once
 * (MSG_MORE): header and file leave together. Returns how many it took, as `sendFile` does.
 */
export function sendBefore(socketDescriptor: number, bytes: Uint8Array, count: number): number {
  return kernelFiles().sendBefore(socketDescriptor, bytes, count);
}

function open(): KernelFiles {
  const { i32, ptr: pointer, i64_fast: i64 } = FFIType;
  const { symbols } = dlopen(LIBC, {
    __errno_location: { args: [], returns: pointer },
    preadv2: { args: [i32, pointer, i32, i64, i32], returns: i64 },
    posix_fadvise: { args: [i32, i64, i64, i32], returns: i32 },
    send: { args: [i32, pointer, i64, i32], returns: i64 },
    sendfile: { args: [i32, i32, pointer, i64], returns: i64 },
    syscall: { args: [i64, i64, pointer, pointer, i64], returns: i64 },
  });
  // struct iovec { void *iov_base; size_t iov_len; }
  const iovec = new Uint64s(2);
  // struct cachestat_range { __u64 off; __u64 len; }
  const range = new Uint64s(2);
  // struct cachestat { __u64 nr_cache, nr_dirty, nr_writeback, nr_evicted, nr_recently_evicted; }
  const figures = new Uint64s(5);
  const probe = new Uint8Array(1);
  const probeAddress = ptr(probe);
  const position = new Uint64s(1);

  /** Whether every page is there, or on its way; undefined when the system cannot tell. */
  const isCached = (descriptor: number, fileOffset: number, count: number): boolean | undefined => {
    range.set(0, fileOffset);
    range.set(1, count);
    const result = symbols.syscall(SYS_CACHESTAT, descriptor, range.address, figures.address, 0);
    if (Number(result) !== 0) return undefined;
    const first = Math.floor(fileOffset / PAGE_BYTES);
    const last = Math.floor((fileOffset + count - 1) / PAGE_BYTES);
    return figures.get(0) > last - first;
  };
  /** True also where a read cannot be told not to wait (tmpfs: there is no disk to wait for). */
  const canRead = (descriptor: number, fileOffset: number): boolean => {
    iovec.set(0, probeAddress);
    iovec.set(1, 1);
    const result = symbols.preadv2(descriptor, iovec.address, 1, fileOffset, RWF_NOWAIT);
    if (Number(result) === 1) return true;
    const errno = symbols.__errno_location();
    return Number(result) < 0 && errno !== null && read.i32(errno) === EOPNOTSUPP;
  };

  return {
    read: (descriptor, target, targetOffset, count, fileOffset) => {
      iovec.set(0, ptr(target, targetOffset));
      iovec.set(1, count);
      const result = symbols.preadv2(descriptor, iovec.address, 1, fileOffset, RWF_NOWAIT);
      return Math.max(0, Number(result));
    },
    bytesReady: (descriptor, fileOffset, count) => {
      let reach = count;
      const isWhole = isCached(descriptor, fileOffset, count);
      if (isWhole !== true) {
        reach = Math.min(PROBE_STEP_BYTES, count);
        const isBegun = isWhole === false && isCached(descriptor, fileOffset, reach);
        if (isBegun !== true) return isWhole === undefined ? undefined : 0;
      }
      for (let at = 0; at < reach; at += PROBE_STEP_BYTES) {
        const last = Math.min(at + PROBE_STEP_BYTES, reach) - 1;
        if (!canRead(descriptor, fileOffset + last)) return at;
      }
      return reach;
    },
    prefetch: (descriptor, fileOffset, count) => {
      symbols.posix_fadvise(descriptor, fileOffset, count, POSIX_FADV_WILLNEED);
    },
    send: (socketDescriptor, descriptor, fileOffset, count) => {
      position.set(0, fileOffset);
      const result = symbols.sendfile(socketDescriptor, descriptor, position.address, count);
      return Math.max(0, Number(result));
    },
    sendBefore: (socketDescriptor, bytes, count) => {
      const flags = MSG_MORE | MSG_DONTWAIT | MSG_NOSIGNAL;
      return Math.max(0, Number(symbols.send(socketDescriptor, ptr(bytes), count, flags)));
    },
  };
}
