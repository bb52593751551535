/**
 * Memory whose pages Linux can send as they are: a file that exists only in memory (memfd_create(2)), of which
 * this process sees the same pages through a mapping.
 *
 * Bytes that lie elsewhere are copied twice on their way out, behind their header and into the socket, and
 * have to be fetched into the processor's cache for it. Pages of a file are only pointed at by sendfile: a hit
 * of 100 KiB takes 27 µs of CPU in place of 55.
 *
 * The kernel may still be sending pages after whoever sent them is done, so a place must not be written to again
 * as it is: its pages are taken out of the file first (fallocate(2), FALLOC_FL_PUNCH_HOLE). What is on its way
 * keeps them, and the place gets others.
 *
 * libc is asked directly; where a call is missing (macOS, musl) nothing is taken.
 */

import { dlopen, FFIType, toArrayBuffer } from "bun:ffi";
import type { Pointer } from "bun:ffi";
import { closeSync, writeSync } from "node:fs";

import { COUNTED_BYTES_MIN, CountedBytes } from "./counted-bytes.ts";
import { fromLibc, LIBC } from "./libc.ts";

const MFD_CLOEXEC = 1;
/** Some systems insist on it (vm.memfd_noexec), Linux before 6.3 does not know it. */
const MFD_NOEXEC_SEAL = 8;
const PROT_READ = 1;
const MAP_SHARED = 1;
const MAP_NORESERVE = 0x4000;
const FALLOC_FL_KEEP_SIZE = 1;
const FALLOC_FL_PUNCH_HOLE = 2;

/**
 * Places begin and end at multiples of it: of all page sizes of the machines we run on, because of a page that is
 * only partly in a hole the kernel would clear the part instead of taking the page out.
 */
const STEP_BYTES = 64 * 1024;

const calls = fromLibc(open, null);

/**
 * Fewer bytes are copied, and nobody counts who uses them. Sent as they are, so many cost 19 µs of CPU per hit where
 * their copies took 24.
 */
export const SENDABLE_BYTES_MIN = COUNTED_BYTES_MIN;

/** What this process calls the file (`/proc/PID/fd`). */
const NAME = Buffer.from("tag-memory-tier\0");

/** The file, and where this process sees it. */
interface Mapping {
  readonly descriptor: number;
  readonly address: Pointer;
}

export class SendableMemory {
  /** Of the addresses it may use; pages are only there where bytes are. */
  readonly #spanBytes: number;
  /** Undefined until something is taken; null when the system cannot. */
  #mapping: Mapping | null | undefined;
  /** Free places by the number of steps they have. */
  readonly #free: number[][] = [];
  /** Nothing was ever beyond. */
  #usedBytes = 0;
  #placeCount = 0;
  #isClosed = false;

  /**
   * For bodies of up to `limitBytes` together, each from `bodyMin` to `bodyMax`. Places are never joined or divided,
   * so for each length there are addresses for as many as there can be.
   */
  constructor(limitBytes: number, bodyMin: number, bodyMax: number) {
    let steps = Math.ceil(limitBytes / bodyMin); // that many of one step, and then of two, of three …
    for (let length = 2; length <= stepsFor(bodyMax); length += 1) {
      steps += Math.ceil(limitBytes / ((length - 1) * STEP_BYTES)) * length;
    }
    this.#spanBytes = steps * STEP_BYTES;
  }

  /**
   * A copy of `bytes`, not empty, for one holder: its `lend` tells where the kernel finds it. Undefined where the
   * system cannot, and when there is no room.
   */
  copyOf(bytes: Uint8Array): CountedBytes | undefined {
    if (this.#isClosed) return undefined;
    if (this.#mapping === undefined) this.#mapping = map(this.#spanBytes);
    if (this.#mapping === null) return undefined;
    const { descriptor, address } = this.#mapping;
    const steps = stepsFor(bytes.length);
    const offsetBytes = this.#take(steps);
    if (offsetBytes === undefined) return undefined;
    if (!write(descriptor, bytes, offsetBytes)) {
      this.#giveBack(offsetBytes, steps);
      return undefined;
    }
    const copy = new Uint8Array(toArrayBuffer(address, offsetBytes, bytes.length));
    return new CountedBytes(copy, {
      place: { descriptor, offsetBytes, isMemory: true },
      leave: () => this.#giveBack(offsetBytes, steps),
    });
  }

  /** Takes nothing any more. The file goes with the last of its holders. */
  close(): void {
    this.#isClosed = true;
    if (this.#placeCount > 0 || !this.#mapping) return;
    calls()?.munmap(this.#mapping.address, this.#spanBytes);
    closeSync(this.#mapping.descriptor);
    this.#mapping = null;
  }

  #take(steps: number): number | undefined {
    let offsetBytes = this.#free[steps]?.pop();
    if (offsetBytes === undefined) {
      offsetBytes = this.#usedBytes;
      if (offsetBytes + steps * STEP_BYTES > this.#spanBytes) return undefined;
      this.#usedBytes += steps * STEP_BYTES;
    }
    this.#placeCount += 1;
    return offsetBytes;
  }

  #giveBack(offsetBytes: number, steps: number): void {
    this.#placeCount -= 1;
    const mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    const descriptor = this.#mapping?.descriptor ?? -1;
    const isEmpty = calls()?.fallocate(descriptor, mode, offsetBytes, steps * STEP_BYTES) === 0;
    // With its old pages, which may be on their way to somebody, a place is never used again.
    if (isEmpty) (this.#free[steps] ??= []).push(offsetBytes);
    if (this.#isClosed) this.close();
  }
}

function stepsFor(sizeBytes: number): number {
  return Math.max(1, Math.ceil(sizeBytes / STEP_BYTES));
}

/** False when there is no memory for it. */
function write(descriptor: number, bytes: Uint8Array, offsetBytes: number): boolean {
  try {
    return writeSync(descriptor, bytes, 0, bytes.length, offsetBytes) === bytes.length;
  } catch {
    return false;
  }
}

function map(spanBytes: number): Mapping | null {
  const libc = calls();
  if (libc === null) return null;
  let descriptor = libc.memfd_create(NAME, MFD_CLOEXEC | MFD_NOEXEC_SEAL);
  if (descriptor < 0) descriptor = libc.memfd_create(NAME, MFD_CLOEXEC);
  if (descriptor < 0) return null;
  const flags = MAP_SHARED | MAP_NORESERVE;
  const address = Number(libc.mmap(null, spanBytes, PROT_READ, flags, descriptor, 0));
  // MAP_FAILED is all ones.
  if (address > 0 && Number.isSafeInteger(address)) {
    return { descriptor, address: address as Pointer };
  }
  closeSync(descriptor);
  return null;
}

function open() {
  const { i32, i64_fast: i64, ptr: pointer, u64_fast: u64 } = FFIType;
  return dlopen(LIBC, {
    memfd_create: { args: [pointer, i32], returns: i32 },
    mmap: { args: [pointer, u64, i32, i32, i32, i64], returns: pointer },
    munmap: { args: [pointer, u64], returns: i32 },
    fallocate: { args: [i32, i32, i64, i64], returns: i32 },
  }).symbols;
}
