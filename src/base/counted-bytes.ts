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
  /** Of lent bytes: the same ones in a file, whose pages were in memory a moment ago. */
  readonly inFile?: FilePlace | undefined;
}

/** A place in a file that stays open, and unchanged there, as long as what lies there is lent. */
export interface FilePlace {
  readonly descriptor: number;
  readonly offsetBytes: number;
  /** No disk is behind it: its pages are all there is. */
  readonly isMemory: boolean;
}

/** Memory that the allocator knows nothing of. */
export interface Home {
  readonly place: FilePlace;
  /** Nobody needs the bytes there any more. Called once. */
  readonly leave: () => void;
}

/** Below, memory is left to the collector, and lending it costs nothing. */
export const COUNTED_BYTES_MIN = 16 * 1024;

/** Frees the memory of `bytes` at once; whoever still looks at any part of its buffer sees nothing. */
export function freeMemory(bytes: Uint8Array): void {
  if (bytes.buffer instanceof ArrayBuffer) bytes.buffer.transfer(0);
}

export class CountedBytes {
  /** Not to be looked at by who is done, and not to be changed once somebody else has it. */
  readonly bytes: Uint8Array;
  readonly #home: Home | undefined;
  #holders = 1;
  #wasLent = false;

  /** For one holder, who made it. `bytes` must be all that anybody uses of its buffer; `home`: where that is. */
  constructor(bytes: Uint8Array, home?: Home) {
    this.bytes = bytes;
    this.#home = home;
  }

  /** Whether a reply was ever made of them; not told of a body that is left to the collector. */
  get wasLent(): boolean {
    return this.#wasLent;
  }

  /** Whether the kernel can send them as they are. */
  get isSendable(): boolean {
    return this.#home !== undefined;
  }

  /** One more holder; called by one, on behalf of the other. */
  hold(): this {
    this.#holders += 1;
    return this;
  }

  /** A holder is done; each says so once. Forgotten, memory is left to the collector, and a home is never left. */
  release(): void {
    this.#holders -= 1;
    if (this.#holders !== 0 || this.bytes.length < COUNTED_BYTES_MIN) return;
    freeMemory(this.bytes);
    this.#home?.leave();
  }

  /** The bytes `[start, end)` for a reply, which holds them until it releases them. */
  lend(start: number, end: number): LentBytes {
    const bytes = this.bytes.subarray(start, end);
    if (this.bytes.length < COUNTED_BYTES_MIN) return { kind: "bytes", bytes };
    return this.#lent(bytes, this.#home && placeIn(this.#home.place, start));
  }

  #lent(bytes: Uint8Array, inFile: FilePlace | undefined): LentBytes {
    this.#holders += 1;
    this.#wasLent = true;
    return { kind: "bytes", bytes, isConstant: true, inFile, release: () => this.release() };
  }
}

function placeIn(place: FilePlace, start: number): FilePlace {
  return start === 0 ? place : { ...place, offsetBytes: place.offsetBytes + start };
}
