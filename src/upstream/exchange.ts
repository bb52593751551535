/**
 * One request and its response on one connection: who waits for whom, and for how long.
 *
 * Upload and response run side by side, because a server may answer (403, 400) long before
 * it read 5 GiB: the answer is delivered and the rest of the upload given up. Back-pressure
 * holds in both directions: the source is read only as the socket takes bytes, and the socket
 * is read only as the reader takes chunks.
 *
 * Every wait for upstream has a limit and no other wait has one: a client that is slow to
 * send or to read is not upstream's fault, and is bounded by the listener.
 */

import { assert } from "../base/assert.ts";
import { GatewayError } from "../base/errors.ts";
import type { ByteSource } from "../base/byte-source.ts";
import type { Clock } from "../base/clock.ts";
import type { BulkReads } from "./bulk-reads.ts";
import { BodyQueue, type BodyQueueOwner } from "./body-queue.ts";
import { Deadline } from "./deadline.ts";
import type { RequestFraming, RequestHead } from "./request-head.ts";
import { ResponseParser, type ResponseHead, type ResponseSink } from "./response-parser.ts";
import type { UpstreamRequest, UpstreamResponse } from "./transport.ts";

/** What an exchange may do with its connection. */
export interface Wire {
  /** Undefined when the socket took everything, else a promise of the moment it has. */
  write(bytes: Uint8Array): Promise<void> | undefined;
  /** Undefined: what came cannot be taken before the connection reports it. */
  readonly bulk: BulkReads | undefined;
  /** What has come while it is paused; undefined when nothing has (see `BulkReads.read`). */
  take(): Buffer | undefined;
  pause(): void;
  resume(): void;
  /** Breaks the connection at once. */
  destroy(): void;
}

export interface ExchangeLimits {
  /** From the last byte of the request to the end of the response header. */
  readonly headerTimeoutMs: number;
  /** Without progress while we want to send, or while somebody waits for the body. */
  readonly stallTimeoutMs: number;
  readonly clock: Clock;
}

export interface ExchangeOutcome {
  /** The connection may carry the next exchange. */
  readonly canReuse: boolean;
  /** How long the server says it keeps an idle connection, if it does. */
  readonly keepAliveHintMs: number | undefined;
}

/** A body remainder up to this size is read and thrown away to keep the connection. */
const DISCARD_BYTES_MAX = 64 * 1024;
const DISCARD_TIMEOUT_MS = 1_000;
/** How long a server that knows nothing of `Expect` may keep silent before the body is sent anyway. */
const CONTINUE_TIMEOUT_MS = 1_000;

/** A read of so many bytes says that the sender is quick, */
const BULK_READ_BYTES = 64 * 1024;
/** and with so many left of the body it pays to take them by ourselves. */
const BULK_REST_BYTES = 128 * 1024;

/** What is being waited for; undefined: nothing upstream would owe us. */
type Phase = "continue" | "drain" | "header" | "body" | "discard" | undefined;

export class Exchange implements ResponseSink, BodyQueueOwner {
  readonly #request: UpstreamRequest;
  readonly #wire: Wire;
  readonly #limits: ExchangeLimits;
  readonly #onOver: (outcome: ExchangeOutcome) => void;
  readonly #parser: ResponseParser;
  readonly #queue: BodyQueue;
  readonly #deadline: Deadline;
  readonly #answer = Promise.withResolvers<UpstreamResponse>();
  readonly #onAbort = () => this.#fail(this.#request.signal?.reason);
  #upload: "running" | "done" | "abandoned" = "running";
  #isBlocked = false;
  /** Set while the body waits to be asked for. */
  #onPermission: (() => void) | undefined;
  #isPaused = false;
  /** The connection is paused so that what it brings is taken when the reader wants it. */
  #isTaking = false;
  /** Counted among the bodies that are read like this. */
  #isBulk = false;
  #isDiscarding = false;
  #hasReceived = false;
  #head: ResponseHead | undefined;
  #isOver = false;

  constructor(
    request: UpstreamRequest,
    wire: Wire,
    limits: ExchangeLimits,
    onOver: (outcome: ExchangeOutcome) => void,
  ) {
    this.#request = request;
    this.#wire = wire;
    this.#limits = limits;
    this.#onOver = onOver;
    this.#parser = new ResponseParser(request.method, this);
    this.#queue = new BodyQueue(this);
    this.#deadline = new Deadline(limits.clock, () => this.#onExpire());
  }

  /** True once a byte of the response arrived: from then on the request was certainly seen. */
  get hasReceived(): boolean {
    return this.#hasReceived;
  }

  /** Sends the request; resolves with the final response head. Called once. */
  start(head: RequestHead): Promise<UpstreamResponse> {
    const signal = this.#request.signal;
    if (signal?.aborted === true) {
      this.#fail(signal.reason);
    } else {
      signal?.addEventListener("abort", this.#onAbort, { once: true });
      void this.#send(head);
    }
    return this.#answer.promise;
  }

  // ── What the connection reports ─────────────────────────────────────────────────────

  onData(bytes: Buffer): void {
    this.#hasReceived = true;
    try {
      this.#parser.push(bytes);
    } catch (error) {
      this.#fail(error);
    }
  }

  /** The socket took a part of what is being written. */
  onWriteProgress(): void {
    this.#watch();
  }

  /** Upstream closed its side in good order. */
  onEnd(): void {
    try {
      this.#parser.finish();
    } catch (error) {
      this.#fail(error);
    }
  }

  /** The connection is gone, without an orderly end before. */
  onClose(cause?: Error): void {
    this.#fail(new GatewayError("upstream_reset", "upstream broke the connection", { cause }));
  }

  // ── What the parser reports ─────────────────────────────────────────────────────────

  onContinue(): void {
    this.#onPermission?.();
  }

  head(head: ResponseHead): void {
    this.#head = head;
    // An answer that is not a success will not change by what is still to be sent.
    if (head.status >= 300) this.#abandonUpload();
    this.#onPermission?.();
    this.#answer.resolve({ status: head.status, headers: head.headers, body: this.#queue });
    this.#watch();
  }

  body(chunk: Uint8Array): void {
    this.#queue.push(chunk);
    if (!this.#isPaused) {
      this.#isTaking = this.#isWorthTaking(chunk);
      if (this.#isTaking || this.#queue.isFull) {
        this.#isPaused = true;
        this.#wire.pause();
      }
    }
    if (!this.#isDiscarding) this.#watch();
  }

  end(isClean: boolean): void {
    this.#abandonUpload();
    this.#over(isClean && this.#upload === "done" && this.#head?.keepsAlive === true);
    this.#queue.end();
  }

  // ── What the reader of the body does ────────────────────────────────────────────────

  onWanted(): void {
    if (!this.#isTaking || this.#isOver) return;
    const { bulk } = this.#wire;
    assert(bulk !== undefined, "else nothing is taken");
    const turn = bulk.turns.enter(bulk.pieceBytes);
    if (turn === undefined) this.#take();
    else void turn.then(() => this.#take());
  }

  onDemand(): void {
    if (this.#isOver) return;
    if (!this.#isTaking) this.#resume();
    this.#watch();
  }

  onReaderGone(): void {
    if (this.#isOver) return;
    this.#isTaking = false;
    const remainingBytes = this.#parser.remainingBytes ?? Infinity;
    if (this.#upload === "done" && remainingBytes <= DISCARD_BYTES_MAX) {
      // Cheaper than a new connection; the queue drops what still comes.
      this.#isDiscarding = true;
      this.#resume();
      this.#watch();
    } else {
      this.#over(false);
    }
  }

  /** Whether more is there, or will be when the reader wants it. */
  #isWorthTaking(chunk: Uint8Array): boolean {
    const { bulk } = this.#wire;
    if (bulk === undefined || chunk.length < BULK_READ_BYTES) return false;
    // Only of a known length: there an end that comes too early is always seen.
    if ((this.#parser.remainingBytes ?? 0) < BULK_REST_BYTES) return false;
    if (!this.#isBulk) bulk.enter();
    this.#isBulk = true;
    return true;
  }

  /** Takes what has come for the reader that waits; waits for more like any other when nothing has. */
  #take(): void {
    if (!this.#isTaking || this.#isOver) return;
    try {
      const bytes = this.#wire.take();
      if (bytes !== undefined) {
        this.onData(bytes);
        return;
      }
      this.#isTaking = false;
      this.#resume();
    } catch (error) {
      this.#fail(error);
    }
  }

  // ── The upload ──────────────────────────────────────────────────────────────────────

  async #send(head: RequestHead): Promise<void> {
    const source = this.#request.body;
    try {
      await this.#write(head.bytes);
      if (source !== null) {
        if (this.#request.awaitsContinue === true) await this.#permission();
        if (this.#upload === "running") await this.#sendBody(source, head.framing);
      }
    } catch (error) {
      if (this.#upload === "running") this.#fail(error);
      return;
    }
    if (this.#upload !== "running") return;
    this.#upload = "done";
    this.#watch();
  }

  /** Resolves when upstream asks for the body, answers without it, ends, or kept silent for long. */
  async #permission(): Promise<void> {
    if (this.#head !== undefined || this.#isOver) return;
    await new Promise<void>((resolve) => {
      this.#onPermission = resolve;
      this.#watch();
    });
    this.#onPermission = undefined;
    this.#watch();
  }

  /**
   * Sends the body as the socket takes it. The last piece is held back until the source has
   * confirmed its end: a body that turns out broken there (a bad trailing checksum or
   * signature) must never have been received whole, or upstream would store it.
   */
  async #sendBody(source: ByteSource, framing: RequestFraming): Promise<void> {
    const declaredBytes = framing.kind === "length" ? framing.lengthBytes : undefined;
    let sentBytes = 0;
    let next = await source.read();
    while (next !== null && this.#upload === "running") {
      const chunk = next;
      sentBytes += chunk.length;
      if (declaredBytes !== undefined && sentBytes >= declaredBytes) {
        const isAll = sentBytes === declaredBytes && (await source.read()) === null;
        if (this.#upload !== "running") return;
        if (!isAll) throw bodyInvalid("is longer than its Content-Length");
        await this.#write(chunk);
        return;
      }
      if (declaredBytes === undefined) await this.#write(chunkFrame(chunk));
      else await this.#write(chunk);
      if (this.#upload !== "running") return;
      next = await source.read();
    }
    if (this.#upload !== "running") return;
    if (declaredBytes === undefined) await this.#write(LAST_CHUNK);
    else if (sentBytes < declaredBytes) throw bodyInvalid("is shorter than its Content-Length");
  }

  async #write(bytes: Uint8Array): Promise<void> {
    const written = this.#wire.write(bytes);
    if (written === undefined) return;
    this.#isBlocked = true;
    this.#watch();
    try {
      await written;
    } finally {
      this.#isBlocked = false;
      this.#watch();
    }
  }

  #abandonUpload(): void {
    if (this.#upload !== "running") return;
    this.#upload = "abandoned";
    this.#request.body?.close();
  }

  // ── Time and ends ───────────────────────────────────────────────────────────────────

  #phase(): Phase {
    if (this.#isOver) return undefined;
    if (this.#isDiscarding) return "discard";
    if (this.#onPermission !== undefined) return "continue";
    if (this.#isBlocked && this.#upload === "running") return "drain";
    if (this.#head === undefined) return this.#upload === "done" ? "header" : undefined;
    return this.#queue.isWaiting ? "body" : undefined;
  }

  /** Sets the deadline for what is being waited for now; called at every step of progress. */
  #watch(): void {
    switch (this.#phase()) {
      case undefined:
        this.#deadline.clear();
        return;
      case "header":
        this.#deadline.set(this.#limits.headerTimeoutMs);
        return;
      case "discard":
        this.#deadline.set(DISCARD_TIMEOUT_MS);
        return;
      case "continue":
        this.#deadline.set(CONTINUE_TIMEOUT_MS);
        return;
      case "drain":
      case "body":
        this.#deadline.set(this.#limits.stallTimeoutMs);
    }
  }

  #onExpire(): void {
    switch (this.#phase()) {
      case "header":
        this.#fail(
          new GatewayError(
            "upstream_header_timeout",
            `no response header within ${this.#limits.headerTimeoutMs} ms`,
          ),
        );
        return;
      case "discard":
        this.#over(false);
        return;
      case "continue":
        this.#onPermission?.();
        return;
      case "drain":
      case "body":
        this.#fail(
          new GatewayError("upstream_stalled", `no progress for ${this.#limits.stallTimeoutMs} ms`),
        );
        return;
      case undefined:
    }
  }

  #resume(): void {
    if (!this.#isPaused || this.#queue.isFull) return;
    this.#isPaused = false;
    this.#wire.resume();
  }

  #fail(error: unknown): void {
    if (this.#isOver) return;
    this.#over(false);
    if (this.#head === undefined) this.#answer.reject(error);
    else this.#queue.fail(error);
  }

  /** Ends the exchange, whatever the reason; the connection is reused or broken. */
  #over(canReuse: boolean): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#abandonUpload();
    this.#onPermission?.();
    this.#deadline.dispose();
    if (this.#isBulk) this.#wire.bulk?.leave();
    this.#request.signal?.removeEventListener("abort", this.#onAbort);
    if (canReuse) {
      if (this.#isPaused) this.#wire.resume();
    } else {
      this.#wire.destroy();
    }
    this.#onOver({ canReuse, keepAliveHintMs: this.#head?.keepAliveHintMs });
  }
}

const LAST_CHUNK = Buffer.from("0\r\n\r\n", "latin1");

/** One chunk as chunked coding frames it (RFC 9112 §7.1), in one piece for one write. */
function chunkFrame(chunk: Uint8Array): Buffer {
  return Buffer.concat([
    Buffer.from(`${chunk.length.toString(16)}\r\n`, "latin1"),
    chunk,
    Buffer.from("\r\n", "latin1"),
  ]);
}

function bodyInvalid(what: string): GatewayError {
  return new GatewayError("client_body_invalid", `the request body ${what}`);
}
