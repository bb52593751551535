/**
 * Memory that several hold at the same time and that is free in the moment the last of them is done.
 *
 * Left to the collector, bodies of 100 KiB pile up by the hundred MiB: they lie outside of the JavaScript
 * heap, and those that were kept for a while are only found by a full collection, which holds everybody up.
 */

/**
 * Bytes in memory. With a `release` they are lent: they stay as they are until it was called, which
 * whoever sends them does exactly once, whatever happens; without one they never change.
 */
export interface LentBytes {
  readonly kind: "bytes";
  readonly bytes: Uint8Array;
  readonly release?: (() => void) | undefined;
  /** Of lent bytes: their memory never holds anything else, so what was made of them stays right. */
  readonly isConstant?: boolean;
  /** Of lent bytes: the same ones in a file, read from its pages in memory a moment ago. */
  readonly inFile?: FilePlace;
}

/** A place in a file that stays open, and unchanged there, as long as what lies there is lent. */
export interface FilePlace {
  readonly descriptor: number;
  readonly offsetBytes: number;
}

/** Below, memory is left to the collector, and lending it costs nothing. */
const COUNTED_BYTES_MIN = 16 * 1024;

/** Frees the memory of `bytes` at once; whoever still looks at any part of its buffer sees nothing. */
export function freeMemory(bytes: Uint8Array): void {
  if (bytes.buffer instanceof ArrayBuffer) bytes.buffer.transfer(0);
}

export class CountedBytes {
  /** Not to be looked at by who is done, and not to be changed once somebody else has it. */
  readonly bytes: Uint8Array;
  #holders = 1;

  /** For one holder, who made it. `bytes` must be all that anybody uses of its buffer. */
  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  /** One more holder; called by one, on behalf of the other. */
  hold(): this {
    this.#holders += 1;
    return this;
  }

  /** A holder is done; each says so once. Whoever forgets it leaves the memory to the collector. */
  release(): void {
    this.#holders -= 1;
    if (this.#holders === 0 && this.bytes.length >= COUNTED_BYTES_MIN) freeMemory(this.bytes);
  }

  /** The bytes `[start, end)` for a reply, which holds them until it releases them. */
  lend(start: number, end: number): LentBytes {
    const bytes = this.bytes.subarray(start, end);
    return this.bytes.length < COUNTED_BYTES_MIN ? { kind: "bytes", bytes } : this.#lent(bytes);
  }

  #lent(bytes: Uint8Array): LentBytes {
    this.#holders += 1;
    return { kind: "bytes", bytes, isConstant: true, release: () => this.release() };
  }
}
