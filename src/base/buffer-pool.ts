/**
 * Buffers of one size that are used again. Bytes that are only looked at, or gone to a socket a moment
 * later, would else leave a buffer of garbage each: a data set larger than the memory tier did so by
 * the gigabyte.
 */

export class BufferPool {
  readonly bufferBytes: number;
  readonly #buffersMax: number;
  readonly #spare: Uint8Array[] = [];
  readonly #waiting: ((buffer: Uint8Array) => void)[] = [];
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

  /**
   * The same, but waits for one; who came first gets it first. Never rejects. Those who wait are requests
   * in progress, and as many at most.
   */
  borrow(): Uint8Array | Promise<Uint8Array> {
    const buffer = this.take();
    if (buffer !== undefined) return buffer;
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Nobody looks at a buffer of `take` or `borrow` any more. */
  give(buffer: Uint8Array): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#spare.push(buffer);
    else next(buffer);
  }
}
