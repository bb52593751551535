/**
 * Buffers of one size that are used again. Bytes that are only looked at, or gone to a socket a moment
 * later, would else leave a buffer of garbage each: a data set larger than the memory tier did so by
 * the gigabyte.
 */

export class BufferPool {
  readonly bufferBytes: number;
  readonly #buffersMax: number;
  readonly #spare: Uint8Array[] = [];
  #count = 0;

  /** Buffers are made when they are first needed and then kept, at most `buffersMax`. */
  constructor(bufferBytes: number, buffersMax: number) {
    this.bufferBytes = bufferBytes;
    this.#buffersMax = buffersMax;
  }

  /** Memory of all buffers, in use or not. */
  get heldBytes(): number {
    return this.#count * this.bufferBytes;
  }

  /** A buffer with whatever it held before, to be given back once; undefined when all are in use. */
  take(): Uint8Array | undefined {
    const spare = this.#spare.pop();
    if (spare !== undefined || this.#count >= this.#buffersMax) return spare;
    this.#count += 1;
    return new Uint8Array(this.bufferBytes);
  }

  /** Nobody looks at a buffer of `take` any more. */
  give(buffer: Uint8Array): void {
    this.#spare.push(buffer);
  }
}
