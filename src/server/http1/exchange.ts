/**
 * One request and its reply on a connection of our own engine: the `Inbound` the handler sees,
 * and the carrying out of what it answers.
 */

import { unreachable } from "../../base/assert.ts";
import type { ByteSource } from "../../base/byte-source.ts";
import type { FilePlace } from "../../base/counted-bytes.ts";
import { GatewayError } from "../../base/errors.ts";
import { nextTurn } from "../../base/next-turn.ts";
import type { Reply } from "../../http/exchange.ts";
import { frameReply } from "../framing.ts";
import type { Framing } from "../framing.ts";
import { INTERNAL_ERROR, OutgoingReply, ServerInbound } from "../inbound.ts";
import type { RequestParts, Setting } from "../inbound.ts";
import { describeError } from "../options.ts";
import type { Departing } from "../outbox.ts";
import { pumpSource } from "../pump.ts";
import { writeHead } from "./head-writer.ts";
import type { RequestBody } from "./request-body.ts";
import { fitsTogether } from "./wire.ts";
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

/** Header and body of a reply that goes out in one write. */
interface WholeReply {
  readonly head: string;
  readonly body: Uint8Array;
  readonly inFile: FilePlace | undefined;
}

export class Exchange extends ServerInbound implements Departing {
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
  /** Waits for the end of the turn. */
  #whole: WholeReply | undefined;
  /** What was left of it when it was sent. */
  #sending: Promise<void> | undefined;
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
      if (reply instanceof Promise) this.#await(reply);
      else this.#carryOut(reply);
    } catch (error) {
      this.#fail(error);
    }
  }

  depart(): void {
    if (this.#whole === undefined || this.#isOver) return;
    const { head, body, inFile } = this.#whole;
    this.#whole = undefined;
    try {
      this.#sending = this.#host.wire.writeTogether(head, body, inFile);
    } catch (error) {
      this.#onBroken(error);
    }
  }

  onDeparted(): void {
    this.#follow(this.#sending);
  }

  /** The connection is gone. */
  onClose(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.markGone();
    this.#finish(false);
  }

  #await(reply: Promise<Reply>): void {
    reply.then(
      (ready) => this.#carryOut(ready),
      (error: unknown) => this.#fail(error),
    );
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
      this.#send(reply, framing, head);
    } catch (error) {
      this.#onBroken(error);
    }
  }

  #send(reply: Reply, framing: Framing, head: string): void {
    const { body } = reply;
    if (framing.body.kind === "empty") {
      this.#sendWhole(head, NOTHING);
      return;
    }
    switch (body.kind) {
      case "none":
        this.#sendWhole(head, NOTHING);
        return;
      case "bytes":
        this.#sendWhole(head, body.bytes, body.inFile);
        return;
      case "file":
        this.#follow(this.#host.wire.writeFile(head, body.file));
        return;
      case "stream": {
        const lengthBytes = framing.body.kind === "length" ? framing.body.lengthBytes : undefined;
        this.#follow(this.#sendStream(body.source, lengthBytes, head));
        return;
      }
      default:
        unreachable(body);
    }
  }

  #sendWhole(head: string, body: Uint8Array, inFile?: FilePlace): void {
    const { wire } = this.#host;
    if (!fitsTogether(head, body)) {
      this.#follow(wire.writeWithHead(head, body));
      return;
    }
    this.#whole = { head, body, inFile };
    wire.defer(head, body, this);
  }

  /** Undefined: the kernel took everything at once, as it does with small replies. */
  #follow(sending: Promise<void> | undefined): void {
    if (sending === undefined) this.#onSent();
    else this.#awaitSent(sending);
  }

  #awaitSent(sending: Promise<void>): void {
    sending.then(
      () => this.#onSent(),
      (error: unknown) => this.#onBroken(error),
    );
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
