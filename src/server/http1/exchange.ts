/**
 * One request and its reply on a connection of our own engine: the `Inbound` the handler sees,
 * and the carrying out of what it answers.
 */

import { unreachable } from "../../base/assert.ts";
import type { ByteSource } from "../../base/byte-source.ts";
import { GatewayError } from "../../base/errors.ts";
import { nextTurn } from "../../base/next-turn.ts";
import type { Reply } from "../../http/exchange.ts";
import { frameReply } from "../framing.ts";
import type { Framing } from "../framing.ts";
import { INTERNAL_ERROR, OutgoingReply, ServerInbound } from "../inbound.ts";
import type { RequestParts, Setting } from "../inbound.ts";
import { describeError } from "../options.ts";
import { pumpSource } from "../pump.ts";
import { writeHead } from "./head-writer.ts";
import type { RequestBody } from "./request-body.ts";
import type { Wire } from "./wire.ts";

const NOTHING = new Uint8Array(0);

/** What an exchange needs of its connection. */
export interface ExchangeHost {
  readonly wire: Wire;
  /** `Date: …\r\n` of this second. */
  readonly dateLine: string;
  /** True when no further request is wanted on this connection. */
  mustClose(): boolean;
  /** Header and body are with the kernel. */
  onSent(isLast: boolean): void;
  /** The body broke after the header was sent: all that is left is to end the connection. */
  onBroken(): void;
}

export class Exchange extends ServerInbound {
  readonly body: RequestBody | null;
  readonly #host: ExchangeHost;
  readonly #setting: Setting;
  readonly #minorVersion: 0 | 1;
  #outgoing: OutgoingReply | undefined;
  #isLast = false;
  /** What the wire will have accepted before the first byte of the body. */
  #bodyStartBytes = 0;
  /** Handed over of a stream, without any framing. */
  #streamedBytes = 0;
  #isOver = false;

  constructor(
    parts: RequestParts,
    body: RequestBody | null,
    minorVersion: 0 | 1,
    host: ExchangeHost,
    setting: Setting,
  ) {
    super(parts, setting);
    this.body = body;
    this.#minorVersion = minorVersion;
    this.#host = host;
    this.#setting = setting;
  }

  /** The header of the final reply has not been written yet. */
  get isUnanswered(): boolean {
    return this.#outgoing === undefined;
  }

  run(): void {
    try {
      const reply = this.#setting.handler(this);
      if (!(reply instanceof Promise)) this.#carryOut(reply);
      else {
        reply.then(
          (ready) => this.#carryOut(ready),
          (error: unknown) => this.#fail(error),
        );
      }
    } catch (error) {
      this.#fail(error);
    }
  }

  /** The connection is gone. */
  onClose(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.markGone();
    this.#finish(false);
  }

  #carryOut(reply: Reply): void {
    const outgoing = new OutgoingReply(reply);
    if (this.#isOver) {
      outgoing.finish(0, false);
      return;
    }
    let framing: Framing;
    let head: string;
    try {
      framing = frameReply(this.method, reply);
      this.#isLast = this.#host.mustClose() || this.#minorVersion === 0;
      head = writeHead({
        status: reply.status,
        headers: framing.headers,
        dateLine: this.#host.dateLine,
        isLast: this.#isLast,
        isChunked: framing.body.kind === "chunked" && this.#minorVersion === 1,
      });
    } catch (error) {
      outgoing.finish(0, false);
      this.#fail(error);
      return;
    }
    this.#outgoing = outgoing;
    this.#bodyStartBytes = this.#host.wire.acceptedBytes + head.length;
    try {
      const sending = this.#send(reply, framing, head);
      if (sending === undefined) this.#onSent();
      else {
        sending.then(
          () => this.#onSent(),
          (error: unknown) => this.#onBroken(error),
        );
      }
    } catch (error) {
      this.#onBroken(error);
    }
  }

  /** Undefined when the kernel took everything at once, as it does with small replies. */
  #send(reply: Reply, framing: Framing, head: string): Promise<void> | undefined {
    const { wire } = this.#host;
    const { body } = reply;
    if (framing.body.kind === "empty") return wire.writeWithHead(head, NOTHING);
    switch (body.kind) {
      case "none":
        return wire.writeWithHead(head, NOTHING);
      case "bytes":
        return wire.writeWithHead(head, body.bytes, body.inFile);
      case "file":
        return wire.writeFile(head, body.file);
      case "stream":
        return framing.body.kind === "length"
          ? this.#sendStream(body.source, framing.body.lengthBytes, head)
          : this.#sendStream(body.source, undefined, head);
      default:
        return unreachable(body);
    }
  }

  async #sendStream(
    source: ByteSource,
    lengthBytes: number | undefined,
    head: string,
  ): Promise<void> {
    const { wire } = this.#host;
    const isChunked = lengthBytes === undefined && this.#minorVersion === 1;
    let unsentHead = head;
    let first: Promise<Uint8Array | null> | undefined = source.read();
    // The header waits for the first chunk, but only if that is about to come anyway.
    if (!(await settlesThisTurn(first))) {
      unsentHead = "";
      await wire.write(Buffer.from(head, "latin1"));
    }
    const resumed: ByteSource = {
      read: () => {
        const next = first ?? source.read();
        first = undefined;
        return next;
      },
      release: (chunk) => source.release?.(chunk),
      close: () => source.close(),
    };
    await pumpSource(resumed, lengthBytes, {
      keepsNothing: wire.keepsNothing,
      write: (chunk) => {
        const text = unsentHead;
        unsentHead = "";
        this.#streamedBytes += chunk.length;
        return isChunked ? wire.writeChunk(text, chunk) : wire.writeWithHead(text, chunk);
      },
    });
    if (unsentHead !== "") await wire.write(Buffer.from(unsentHead, "latin1"));
    if (isChunked) await wire.writeLastChunk();
  }

  #onSent(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#finish(true);
    this.#host.onSent(this.#isLast);
  }

  #onBroken(error: unknown): void {
    if (this.#isOver) return;
    this.#isOver = true;
    if (!(error instanceof GatewayError)) {
      const { log } = this.#setting;
      log.error("reply body failed", { requestId: this.id, error: describeError(error) });
    }
    this.markGone();
    this.#finish(false);
    this.#host.onBroken();
  }

  #fail(error: unknown): void {
    const { log } = this.#setting;
    log.error("request failed", { requestId: this.id, error: describeError(error) });
    if (!this.#isOver) this.#carryOut(INTERNAL_ERROR);
  }

  #finish(isComplete: boolean): void {
    const acceptedBytes = this.#host.wire.acceptedBytes - this.#bodyStartBytes;
    const isStream = this.#outgoing?.reply.body.kind === "stream";
    this.#outgoing?.finish(isStream ? this.#streamedBytes : Math.max(0, acceptedBytes), isComplete);
  }
}

/** Whether `promise` settles before the event loop turns to something else. */
function settlesThisTurn(promise: Promise<unknown>): Promise<boolean> {
  const settled = promise.then(
    () => true,
    () => true,
  );
  return Promise.race([settled, nextTurn().then(() => false)]);
}
