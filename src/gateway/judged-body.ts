/**
 * A successful answer that may turn out to be none: upstream says 200 at once, keeps the
 * connection alive with blanks, and tells in the body whether it worked (CopyObject,
 * CompleteMultipartUpload), or for which keys (DeleteObjects).
 *
 * The body is relayed as it comes, but its last chunk only after the verdict: whoever has
 * the whole answer reads what it says. A client that leaves before does not keep
 * upstream from carrying the write out, so the rest is heard out without it.
 */

import type { ByteSource } from "../base/byte-source.ts";

export interface Verdict {
  /** The whole body; undefined when it was longer than `captureBytes`. */
  judge(body: Uint8Array | undefined): void;
  /** The body broke, or nobody is left to wait for its end. */
  giveUp(): void;
}

export class JudgedBody implements ByteSource {
  readonly #source: ByteSource;
  readonly #captureBytes: number;
  readonly #verdict: Verdict;
  readonly #hearOut: (run: (signal: AbortSignal) => Promise<void>) => void;
  #seen: Uint8Array[] | undefined = [];
  #seenBytes = 0;
  /** What was read but not handed on yet; null: the end. */
  #held: Uint8Array | null | undefined;
  #reading: Promise<unknown> = Promise.resolve();
  #isJudged = false;
  #isClosed = false;

  /** `hearOut` runs what has to go on when the client is gone, with a signal to stop it. */
  constructor(
    source: ByteSource,
    captureBytes: number,
    verdict: Verdict,
    hearOut: (run: (signal: AbortSignal) => Promise<void>) => void,
  ) {
    this.#source = source;
    this.#captureBytes = captureBytes;
    this.#verdict = verdict;
    this.#hearOut = hearOut;
  }

  async read(): Promise<Uint8Array | null> {
    if (this.#held === undefined) this.#held = await this.#next();
    if (this.#isClosed) return null; // the rest is read by `#finish`
    const current = this.#held;
    if (current !== null) this.#held = await this.#next();
    return current;
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (this.#isJudged) this.#source.close();
    else this.#hearOut((signal) => this.#finish(signal));
  }

  async #finish(signal: AbortSignal): Promise<void> {
    const stop = () => {
      this.#giveUp();
      this.#source.close();
    };
    signal.addEventListener("abort", stop, { once: true });
    if (signal.aborted) stop();
    try {
      await this.#reading;
      while (!this.#isJudged) await this.#next();
    } catch {
      // The verdict is that there is none; upstream's failure was counted where it broke.
    } finally {
      signal.removeEventListener("abort", stop);
      this.#source.close();
    }
  }

  #next(): Promise<Uint8Array | null> {
    const reading = this.#take();
    this.#reading = reading;
    return reading;
  }

  async #take(): Promise<Uint8Array | null> {
    let chunk: Uint8Array | null;
    try {
      chunk = await this.#source.read();
    } catch (failure) {
      this.#giveUp();
      throw failure;
    }
    if (chunk === null) this.#judge();
    else this.#capture(chunk);
    return chunk;
  }

  #capture(chunk: Uint8Array): void {
    this.#seenBytes += chunk.length;
    if (this.#seenBytes > this.#captureBytes) this.#seen = undefined;
    this.#seen?.push(chunk);
  }

  #judge(): void {
    if (this.#isJudged) return;
    this.#isJudged = true;
    this.#verdict.judge(this.#seen === undefined ? undefined : Buffer.concat(this.#seen));
    this.#seen = undefined;
  }

  #giveUp(): void {
    if (this.#isJudged) return;
    this.#isJudged = true;
    this.#seen = undefined;
    this.#verdict.giveUp();
  }
}
