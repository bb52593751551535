/**
 * The body of one request: what the connection receives goes in with `push`, what the handler
 * wants comes out with `read`, and between them waits a bounded queue. When it is full the
 * connection stops reading the socket, so a slow handler slows its client and nobody's memory.
 */

import type { ByteSource } from "../../base/byte-source.ts";
import { GatewayError } from "../../base/errors.ts";
import { ChunkedDecoder, ChunkedError } from "./chunked-decoder.ts";
import type { RequestFraming } from "./head-parser.ts";

/** Queued bytes at which the connection should stop reading. */
const QUEUE_BYTES_MAX = 256 * 1024;

/** What the body asks of its connection. */
export interface BodyHost {
  /** The handler reads for the first time: the moment for `100 Continue`. */
  onFirstRead(): void;
  /** There is room in the queue again. */
  onRoom(): void;
  /** A read begins to wait for the client, or no longer does. */
  onWaiting(): void;
}

export class RequestBody implements ByteSource {
  readonly #host: BodyHost;
  readonly #decoder: ChunkedDecoder | undefined;
  readonly #queue: Uint8Array[] = [];
  #queuedBytes = 0;
  /** Still to come, for a body with a length. */
  #missingBytes: number;
  #isStarted = false;
  #isDropped = false;
  #isAwaited = false;
  #failure: GatewayError | undefined;
  #wake: (() => void) | undefined;

  constructor(framing: Exclude<RequestFraming, { kind: "none" }>, host: BodyHost) {
    this.#host = host;
    this.#decoder = framing.kind === "chunked" ? new ChunkedDecoder() : undefined;
    this.#missingBytes = framing.kind === "length" ? framing.lengthBytes : 0;
  }

  /** All of it has been received, read or not. */
  get isComplete(): boolean {
    return this.#decoder === undefined ? this.#missingBytes === 0 : this.#decoder.isDone;
  }

  /** No more should be received for now. */
  get isFull(): boolean {
    return this.#queuedBytes >= QUEUE_BYTES_MAX;
  }

  /** True when the rest is known to be at most `limitBytes`, so that dropping it is cheap. */
  isNearlyComplete(limitBytes: number): boolean {
    if (this.isComplete) return true;
    return this.#decoder === undefined && this.#missingBytes <= limitBytes;
  }

  /**
   * Takes received bytes and returns those behind the end of the body. Broken chunk framing fails
   * the body with `client_body_invalid` and returns nothing: what follows has no meaning.
   */
  push(bytes: Buffer): Buffer {
    let usedBytes: number;
    if (this.#decoder === undefined) {
      usedBytes = Math.min(bytes.length, this.#missingBytes);
      this.#missingBytes -= usedBytes;
      this.#enqueue(usedBytes === bytes.length ? bytes : bytes.subarray(0, usedBytes));
    } else {
      try {
        usedBytes = this.#decoder.push(bytes, (data) => this.#enqueue(data));
      } catch (error) {
        if (!(error instanceof ChunkedError)) throw error;
        this.fail(new GatewayError("client_body_invalid", `chunked body: ${error.message}`));
        return bytes.subarray(bytes.length);
      }
    }
    this.#wake?.();
    return bytes.subarray(usedBytes);
  }

  /** Ends the body with an error for whoever reads it; the first one counts. */
  fail(failure: GatewayError): void {
    this.#failure ??= failure;
    this.#wake?.();
  }

  /** A read waits for the client to send more. */
  get isAwaited(): boolean {
    return this.#isAwaited;
  }

  /** It failed: its end, and so the next request, will never be found. */
  get isBroken(): boolean {
    return this.#failure !== undefined;
  }

  async read(): Promise<Uint8Array | null> {
    if (!this.#isStarted) {
      this.#isStarted = true;
      this.#host.onFirstRead();
    }
    for (;;) {
      const chunk = this.#queue.shift();
      if (chunk !== undefined) {
        const wasFull = this.isFull;
        this.#queuedBytes -= chunk.length;
        if (wasFull && !this.isFull) this.#host.onRoom();
        return chunk;
      }
      if (this.#isDropped || this.isComplete) return null;
      if (this.#failure !== undefined) throw this.#failure;
      this.#isAwaited = true;
      this.#host.onWaiting();
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
      this.#isAwaited = false;
      this.#host.onWaiting();
    }
  }

  /** From now on the body is received only to find its end. */
  close(): void {
    this.#isDropped = true;
    const wasFull = this.isFull;
    this.#queue.length = 0;
    this.#queuedBytes = 0;
    if (wasFull) this.#host.onRoom();
    this.#wake?.();
  }

  #enqueue(data: Uint8Array): void {
    if (this.#isDropped || data.length === 0) return;
    this.#queue.push(data);
    this.#queuedBytes += data.length;
  }
}
