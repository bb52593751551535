/**
 * `BodyQueue`: a `ByteSource` that a socket pushes into.
 *
 * It holds what arrived and was not read yet. The owner pauses the socket when it is full
 * and is told when the reader takes or waits, so memory stays at one high-water mark however
 * slow the reader is. Chunks pushed before a failure are still delivered: they are good
 * bytes, and the failure follows them. `null` always means that the whole body was read.
 *
 * Bun hands every read of a socket out in memory of its own, up to 512 KiB. Left to the collector
 * that piles up by the hundred MiB, and every chunk comes to lie in memory that is touched for the first time.
 * So the reader says when it is done with one (`release`).
 */

import type { ByteSource } from "../base/byte-source.ts";
import { freeMemory } from "../base/counted-bytes.ts";
import { GatewayError } from "../base/errors.ts";

export interface BodyQueueOwner {
  /** The reader wants a chunk and none is here: one may be pushed at once, before this returns. */
  onWanted(): void;
  /** The reader took a chunk or began to wait for one. */
  onDemand(): void;
  /** The reader gave up before the end. Called at most once. */
  onReaderGone(): void;
}

/** About one socket read of Bun (up to 512 KiB) may arrive on top of this. */
const FULL_BYTES = 256 * 1024;
/** Bounds what a sender of tiny packets costs in objects. */
const FULL_CHUNKS = 64;

interface Waiter {
  readonly resolve: (chunk: Uint8Array | null) => void;
  readonly reject: (error: unknown) => void;
}

export class BodyQueue implements ByteSource {
  readonly #owner: BodyQueueOwner;
  readonly #chunks: Uint8Array[] = [];
  #queuedBytes = 0;
  #end: { readonly error: unknown } | "clean" | undefined;
  /** Memory that several chunks are views of: with chunked coding a read may bring many. */
  readonly #shared = new WeakSet<ArrayBufferLike>();
  #lastBuffer: ArrayBufferLike | undefined;
  #isClosed = false;
  #waiter: Waiter | undefined;

  constructor(owner: BodyQueueOwner) {
    this.#owner = owner;
  }

  /** The sender should pause. */
  get isFull(): boolean {
    return this.#queuedBytes >= FULL_BYTES || this.#chunks.length >= FULL_CHUNKS;
  }

  /** True while somebody waits in `read`: only then is silence of the sender a stall. */
  get isWaiting(): boolean {
    return this.#waiter !== undefined;
  }

  /** Takes a chunk; nobody else may use its buffer. Those of one buffer come in one turn of the event loop. */
  push(chunk: Uint8Array): void {
    if (this.#isClosed || this.#end !== undefined) return;
    if (chunk.buffer === this.#lastBuffer) this.#shared.add(chunk.buffer);
    this.#lastBuffer = chunk.buffer;
    const waiter = this.#takeWaiter();
    if (waiter !== undefined) {
      waiter.resolve(chunk);
      return;
    }
    this.#chunks.push(chunk);
    this.#queuedBytes += chunk.length;
  }

  end(): void {
    this.#end ??= "clean";
    this.#takeWaiter()?.resolve(null);
  }

  fail(error: unknown): void {
    this.#end ??= { error };
    this.#takeWaiter()?.reject(error);
  }

  read(): Promise<Uint8Array | null> {
    if (this.#waiter !== undefined) throw new Error("a body has one reader at a time");
    if (this.#chunks.length === 0 && this.#end === undefined) this.#owner.onWanted();
    const chunk = this.#chunks.shift();
    if (chunk !== undefined) {
      this.#queuedBytes -= chunk.length;
      if (this.#end === undefined) this.#owner.onDemand();
      return Promise.resolve(chunk);
    }
    if (this.#end === "clean") return Promise.resolve(null);
    if (this.#end !== undefined) return Promise.reject(this.#end.error);
    return new Promise((resolve, reject) => {
      this.#waiter = { resolve, reject };
      this.#owner.onDemand();
    });
  }

  /** Frees the memory of a chunk, unless another one was cut out of the same read of the socket. */
  release(chunk: Uint8Array): void {
    if (!this.#shared.has(chunk.buffer)) freeMemory(chunk);
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    const isUnfinished = this.#end === undefined;
    if (isUnfinished || this.#chunks.length > 0) {
      // Whoever reads on must not see an end that never came.
      const error = new GatewayError("client_gone", "the body was closed before its end");
      this.#chunks.length = 0;
      this.#queuedBytes = 0;
      this.#end = { error };
      this.#takeWaiter()?.reject(error);
    }
    if (isUnfinished) this.#owner.onReaderGone();
  }

  #takeWaiter(): Waiter | undefined {
    const waiter = this.#waiter;
    this.#waiter = undefined;
    return waiter;
  }
}
