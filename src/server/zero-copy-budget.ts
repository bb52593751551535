/**
 * A bound on the replies that the zero-copy listener collects in memory to declare their length.
 *
 * One such reply is bounded by `bufferedReplyBytes`; a hundred of them at once were 1.8 GiB. The
 * difficulty is to know when one is gone: Bun takes a body over and does not tell when its client
 * has read it. But it counts requests. If Bun is still sending `n` replies, then of those handed over
 * no more than the `n` largest can be in memory, and that is what they are taken for.
 */

export class ReplyBudget {
  readonly #limitBytes: number;
  readonly #sendingCount: () => number;
  /** Lengths of what is being collected: all of it is held. */
  #collectingBytes = 0;
  /** Lengths of what Bun took over, largest first, as many as it may still be sending. */
  #handedOver: number[] = [];

  /**
   * `limitBytes`: of all collected replies together. `sendingCount`: how many replies of any kind Bun has
   * taken over and not finished; too many is safe, too few is not.
   */
  constructor(limitBytes: number, sendingCount: () => number) {
    this.#limitBytes = limitBytes;
    this.#sendingCount = sendingCount;
  }

  /** The most that collected replies may take now, in bytes. */
  get heldBytes(): number {
    // Bun may forget a request whose client left before the listener is told: one less than none for a moment.
    const count = Math.max(0, this.#sendingCount());
    // The largest are kept: which ones are gone is not known, and this is never too little.
    if (this.#handedOver.length > count) this.#handedOver.length = count;
    return this.#handedOver.reduce((sum, bytes) => sum + bytes, this.#collectingBytes);
  }

  /** Whether `lengthBytes` more may be collected; then call `handOver` or `abandon` once. */
  tryCollect(lengthBytes: number): boolean {
    if (this.heldBytes + lengthBytes > this.#limitBytes) return false;
    this.#collectingBytes += lengthBytes;
    return true;
  }

  /** A reply is complete and Bun's from now on. */
  handOver(lengthBytes: number): void {
    this.#collectingBytes -= lengthBytes;
    const at = this.#handedOver.findIndex((other) => other < lengthBytes);
    this.#handedOver.splice(at === -1 ? this.#handedOver.length : at, 0, lengthBytes);
  }

  /** A reply broke while it was collected. */
  abandon(lengthBytes: number): void {
    this.#collectingBytes -= lengthBytes;
  }
}
