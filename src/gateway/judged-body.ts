/**
 * A successful answer that may turn out to be none: upstream says 200 at once, keeps the
 * connection alive with blanks, and tells in the body whether it worked (CopyObject,
 * CompleteMultipartUpload), or for which keys (DeleteObjects).
 *
 * Blanks are relayed as they come, which is what they are for. From the document on, the last
 * chunk is handed on only after the verdict, so that whoever has read the whole answer
 * finds the cache settled. A client that leaves before does not keep upstream from carrying
 * the write out, so the rest is heard out without it.
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
  #hasBegun = false;
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
    if (current === null) return null;
    this.#hasBegun ||= !isBlank(current);
    this.#held = this.#hasBegun ? await this.#next() : undefined;
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

function isBlank(chunk: Uint8Array): boolean {
  return chunk.every((byte) => byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09);
}
