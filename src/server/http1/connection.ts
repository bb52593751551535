/**
 * The receiving half of a connection and its life: bytes become request headers, bodies and the
 * next request, one exchange at a time. Requests sent ahead wait as bytes, and when they are too many
 * the socket is not read any more, so a client can never make us hold more than a bounded piece
 * of what it sends.
 *
 * Time is one number, `deadlineMs`: the engine looks at all connections once in a while and calls
 * `onDeadline` on those that are late. So an exchange sets no timers.
 *
 *     idle --first byte--> head --complete--> exchange --sent--> idle
 *                            |                    |
 *                            +--refused--> lingering --> closed
 */

import type { Socket } from "bun";

import { Fields } from "../../http/fields.ts";
import type { RequestParts, Setting } from "../inbound.ts";
import { clientGone, plainAddress } from "../options.ts";
import { originForm } from "../target.ts";
import { Exchange } from "./exchange.ts";
import type { ExchangeHost } from "./exchange.ts";
import { parseHead } from "./head-parser.ts";
import type { RefusalStatus, RequestHead } from "./head-parser.ts";
import { writeHead } from "./head-writer.ts";
import { RequestBody } from "./request-body.ts";
import type { BodyHost } from "./request-body.ts";
import { Wire } from "./wire.ts";

/** Received beyond the current request; from here on the socket is not read. */
const AHEAD_BYTES_MAX = 64 * 1024;

/** How long, and how much, we listen to a client that should read our last words. */
const LINGER_MS = 2000;
const LINGER_BYTES = 1024 * 1024;

const CONTINUE = Buffer.from("HTTP/1.1 100 Continue\r\n\r\n");
const NEVER = Number.POSITIVE_INFINITY;

/** What a connection shares with all others of its engine. */
export interface EngineState extends Setting {
  /** Monotonic, as of the last look at the deadlines or the last request. */
  nowMs: number;
  dateLine: string;
  onExchange(change: 1 | -1): void;
}

type Phase = "idle" | "head" | "exchange" | "lingering" | "closed";

export class Connection implements ExchangeHost, BodyHost {
  readonly wire: Wire;
  readonly #socket: Socket<unknown>;
  readonly #engine: EngineState;
  readonly #remoteAddress: string;
  #phase: Phase = "head";
  #deadlineMs: number;
  /** Received and not yet parsed. */
  #input: Buffer = EMPTY;
  #exchange: Exchange | undefined;
  #body: RequestBody | null = null;
  #isPersistent = true;
  #awaitsContinue = false;
  #isPaused = false;
  #isAdvancing = false;
  #lingerBytes = 0;

  constructor(socket: Socket<unknown>, engine: EngineState) {
    this.#socket = socket;
    this.#engine = engine;
    this.wire = new Wire(socket, engine.tls === undefined, () => this.#renewDeadline());
    this.#remoteAddress = plainAddress(socket.remoteAddress);
    // A new connection owes us a header, and TLS its handshake first.
    this.#deadlineMs = engine.nowMs + engine.limits.headerTimeoutMs;
  }

  /** Monotonic time at which `onDeadline` is due. */
  get deadlineMs(): number {
    return this.#deadlineMs;
  }

  /** Gives the client `ms` more. */
  postpone(ms: number): void {
    this.#deadlineMs += ms;
  }

  get isIdle(): boolean {
    return this.#phase === "idle" || (this.#phase === "head" && this.#input.length === 0);
  }

  get dateLine(): string {
    return this.#engine.dateLine;
  }

  mustClose(): boolean {
    if (this.#engine.isDraining || !this.#isPersistent) return true;
    const body = this.#body;
    if (body === null) return false;
    if (body.isBroken || this.#awaitsContinue) return true;
    return !body.isNearlyComplete(this.#engine.limits.unreadBodyBytesMax);
  }

  onData(bytes: Buffer): void {
    switch (this.#phase) {
      case "closed":
        return;
      case "lingering":
        this.#lingerBytes += bytes.length;
        if (this.#lingerBytes > LINGER_BYTES) this.#socket.terminate();
        return;
      case "idle":
      case "head":
      case "exchange":
        break;
    }
    const rest = this.#receiveBody(bytes);
    if (rest.length > 0) {
      this.#input = this.#input.length === 0 ? rest : Buffer.concat([this.#input, rest]);
    }
    this.#advance();
  }

  onDrain(): void {
    try {
      if (this.wire.onDrain()) this.#renewDeadline();
    } catch {
      this.cut(); // the client left before Bun told us
    }
  }

  onClose(): void {
    if (this.#phase === "closed") return;
    this.#phase = "closed";
    this.#deadlineMs = NEVER;
    this.#body?.fail(clientGone());
    this.wire.onClose();
    const exchange = this.#exchange;
    this.#exchange = undefined;
    if (exchange === undefined) return;
    exchange.onClose();
    this.#engine.onExchange(-1);
  }

  /** The client ended its half. We take that as leaving, as nginx does: few ever half-close. */
  onEnd(): void {
    this.wire.flush();
    // An answer that has just gone out is complete before the connection is not.
    queueMicrotask(() => {
      this.onClose();
      this.#socket.end();
    });
  }

  onDeadline(): void {
    switch (this.#phase) {
      case "idle":
        this.#socket.end();
        break;
      case "head":
        // Bytes came, so somebody is there who may want to know. Without any, TLS may not even
        // have been agreed on, and there is nothing to end politely.
        if (this.#input.length > 0) this.#refuse(408);
        else this.#socket.terminate();
        break;
      case "exchange":
      case "lingering":
        this.#socket.terminate();
        break;
      case "closed":
        break;
    }
  }

  /** Ends the connection now, whatever it does. */
  cut(): void {
    this.wire.flush();
    this.#socket.terminate();
    this.onClose();
  }

  /** Ends it when nothing runs. */
  closeIfIdle(): void {
    if (this.isIdle) this.#socket.end();
  }

  onSent(isLast: boolean): void {
    this.#exchange = undefined;
    this.#engine.onExchange(-1);
    const isBodyOver = this.#body === null || this.#body.isComplete;
    if (isLast) {
      this.#end(isBodyOver && this.#input.length === 0);
      return;
    }
    // What is left of the body is received to find the next request behind it.
    this.#body?.close();
    this.#renewDeadline();
    this.#advance();
  }

  onBroken(): void {
    this.#exchange = undefined;
    this.#engine.onExchange(-1);
    this.cut();
  }

  onFirstRead(): void {
    if (!this.#awaitsContinue) return;
    this.#awaitsContinue = false;
    // Should it block, the wire keeps it and the reply behind it: nobody has to wait here.
    if (this.#exchange?.isUnanswered === true) this.#say(CONTINUE);
  }

  onRoom(): void {
    this.#regulate();
  }

  onWaiting(): void {
    this.#renewDeadline();
  }

  /** Gives the current body its share of `bytes` and returns the rest. */
  #receiveBody(bytes: Buffer): Buffer {
    if (this.#body === null || this.#body.isComplete) return bytes;
    // Behind broken framing nothing can be found any more.
    if (this.#body.isBroken) return EMPTY;
    const rest = this.#body.push(bytes);
    this.#renewDeadline();
    return rest;
  }

  /** Starts as many exchanges as the input has headers for, one after the other. */
  #advance(): void {
    // A handler that answers at once comes back here through onSent: the loop goes on instead.
    if (this.#isAdvancing) return;
    this.#isAdvancing = true;
    try {
      while (this.#exchange === undefined && this.#isOpen()) {
        if (this.#body !== null && !this.#body.isComplete) return;
        this.#body = null;
        if (!this.#startNext()) return;
      }
    } finally {
      this.#isAdvancing = false;
      this.#regulate();
    }
  }

  #startNext(): boolean {
    if (this.#input.length === 0) {
      if (this.#phase === "exchange") this.#becomeIdle();
      return false;
    }
    if (this.#phase !== "head") {
      this.#phase = "head";
      this.#deadlineMs = this.#engine.nowMs + this.#engine.limits.headerTimeoutMs;
    }
    const result = parseHead(this.#input, this.#engine.limits.headerBytesMax);
    switch (result.kind) {
      case "incomplete":
        return false;
      case "refused":
        this.#refuse(result.status);
        return false;
      case "complete": {
        this.#input =
          result.sizeBytes === this.#input.length ? EMPTY : this.#input.subarray(result.sizeBytes);
        this.#start(result.head);
        return true;
      }
    }
  }

  #start(head: RequestHead): void {
    const rawTarget = originForm(head.target, head.host);
    if (rawTarget === undefined) {
      this.#refuse(400);
      return;
    }
    this.#phase = "exchange";
    this.#isPersistent = head.isPersistent;
    this.#awaitsContinue = head.awaitsContinue;
    if (head.framing.kind !== "none") {
      this.#body = new RequestBody(head.framing, this);
      this.#input = this.#body.push(this.#input);
    } else if (head.awaitsContinue) {
      // Not owed when nothing is to come (RFC 9110 §10.1.1), but botocore expects it for an empty
      // file too, and without it takes the status of this answer for that of its next request.
      this.#awaitsContinue = false;
      if (!this.#say(CONTINUE)) return;
    }
    const parts: RequestParts = {
      method: head.method,
      rawTarget,
      fields: new Fields(head.headers),
      remoteAddress: this.#remoteAddress,
    };
    const exchange = new Exchange(parts, this.#body, head.minorVersion, this, this.#engine);
    this.#exchange = exchange;
    this.#engine.nowMs = exchange.receivedAtMs;
    this.#engine.onExchange(1);
    this.#renewDeadline();
    exchange.run();
  }

  #isOpen(): boolean {
    return this.#phase !== "lingering" && this.#phase !== "closed";
  }

  #becomeIdle(): void {
    this.#phase = "idle";
    this.#deadlineMs = this.#engine.nowMs + this.#engine.limits.idleTimeoutMs;
    if (this.#engine.isDraining) this.#socket.end();
  }

  /**
   * An exchange is late when the client does not do its part: it takes nothing of what we send,
   * sends nothing of the body somebody waits for, or nothing of the rest that nobody wants.
   */
  #renewDeadline(): void {
    if (this.#phase !== "exchange") return;
    const waitsForClient =
      this.wire.isBlocked ||
      this.#body?.isAwaited === true ||
      (this.#exchange === undefined && this.#body !== null);
    this.#deadlineMs = waitsForClient
      ? this.#engine.nowMs + this.#engine.limits.stallTimeoutMs
      : NEVER;
  }

  /** Reads the socket only while there is room for what comes. */
  #regulate(): void {
    if (!this.#isOpen()) return;
    const shouldPause = this.#body?.isFull === true || this.#input.length > AHEAD_BYTES_MAX;
    if (shouldPause === this.#isPaused) return;
    this.#isPaused = shouldPause;
    if (shouldPause) this.#socket.pause();
    else this.#socket.resume();
  }

  /** Answers what no handler should see, and ends the connection: its framing is not to be trusted. */
  #refuse(status: RefusalStatus | 408): void {
    const head = writeHead({
      status,
      headers: ["Content-Length", "0"],
      dateLine: this.#engine.dateLine,
      isLast: true,
      isChunked: false,
    });
    if (this.#say(Buffer.from(head, "latin1"))) this.#end(false);
  }

  /** Says something that nobody waits for. False: the client is gone, and so is the connection. */
  #say(bytes: Uint8Array): boolean {
    try {
      void this.wire.write(bytes)?.catch(() => undefined);
      return true;
    } catch {
      this.cut();
      return false;
    }
  }

  /**
   * Closing a socket with unread input sends a reset, which may reach the client before it has
   * read the reply. So we only end our half and listen on for a bounded while (RFC 9112 §9.6).
   */
  #end(isInputOver: boolean): void {
    this.#phase = "lingering";
    this.#deadlineMs = this.#engine.nowMs + LINGER_MS;
    this.#input = EMPTY;
    if (isInputOver) {
      this.#socket.end();
      return;
    }
    this.#socket.shutdown();
    if (this.#isPaused) this.#socket.resume();
  }
}

const EMPTY = Buffer.alloc(0);
