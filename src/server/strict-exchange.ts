/**
 * One request and its reply on the strict listener: the `Inbound` the handler sees, the sink of the
 * body, and the carrying out of what the handler answers through `node:http`.
 */

import type { IncomingMessage, ServerResponse } from "node:http";

import { unreachable } from "../base/assert.ts";
import type { Timer } from "../base/clock.ts";
import { GatewayError } from "../base/errors.ts";
import type { Reply, ReplyBody } from "../http/exchange.ts";
import { Fields } from "../http/fields.ts";
import { frameReply, hasToken, requestHasBody } from "./framing.ts";
import type { BodyFraming, Framing } from "./framing.ts";
import { BAD_REQUEST, INTERNAL_ERROR, OutgoingReply, ServerInbound } from "./inbound.ts";
import type { Setting } from "./inbound.ts";
import { clientGone, describeError } from "./options.ts";
import { pumpBytes, pumpFile, pumpSource, readChunk, readChunkNow } from "./pump.ts";
import type { BodySink } from "./pump.ts";
import { StrictBody } from "./strict-body.ts";
import { originForm } from "./target.ts";

/** Whole bodies up to here go out in one write with the header. */
const SINGLE_WRITE_BYTES = 1024 * 1024;

/** One request and its reply. It is the `Inbound` the handler sees and the sink of the body. */
export class StrictExchange extends ServerInbound implements BodySink {
  /** node:http queues what the socket does not take. */
  readonly keepsNothing = false;
  readonly body: StrictBody | null;
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #setting: Setting;
  readonly #isRefused: boolean;
  /** An expectation with nothing behind it; see `run`. */
  readonly #mustContinue: boolean;
  #outgoing: OutgoingReply | undefined;
  #sentBytes = 0;
  #isClosed = false;
  #stallTimer: Timer | undefined;

  constructor(
    request: IncomingMessage,
    response: ServerResponse,
    awaitsContinue: boolean,
    remoteAddress: string,
    setting: Setting,
  ) {
    const fields = new Fields(request.rawHeaders);
    const rawTarget = isAmbiguous(fields)
      ? undefined
      : originForm(request.url ?? "", fields.get("host"));
    const method = request.method ?? "";
    super({ method, rawTarget: rawTarget ?? "", fields, remoteAddress }, setting);
    this.#request = request;
    this.#response = response;
    this.#setting = setting;
    this.#isRefused = rawTarget === undefined;
    this.body = requestHasBody(fields)
      ? new StrictBody(request, response, awaitsContinue, setting)
      : null;
    this.#mustContinue = awaitsContinue && this.body === null;
  }

  run(): void {
    if (this.#isClosed) return;
    // Nothing is to come, so no 100 is owed (RFC 9110 §10.1.1). But botocore expects it for an
    // empty file too, and without it takes the status of this answer for that of its next request.
    if (this.#mustContinue) this.#response.writeContinue();
    try {
      const reply = this.#isRefused ? BAD_REQUEST : this.#setting.handler(this);
      if (reply instanceof Promise) {
        reply.then(
          (ready) => this.#carryOut(ready),
          (error: unknown) => this.#fail(error),
        );
      } else this.#carryOut(reply);
    } catch (error) {
      this.#fail(error);
    }
  }

  /** The response is over, for good or bad; called once. */
  onClose(): void {
    this.#isClosed = true;
    this.#stallTimer?.cancel();
    this.body?.onClose();
    if (!this.#response.writableFinished) this.markGone();
    this.#outgoing?.finish(this.#sentBytes, !this.isGone);
  }

  write(chunk: Uint8Array): Promise<void> | undefined {
    if (this.#isClosed) return Promise.reject(clientGone());
    this.#sentBytes += chunk.length;
    if (this.#response.write(chunk)) return undefined;
    this.#watchProgress();
    return this.#drained();
  }

  #carryOut(reply: Reply): void {
    const outgoing = new OutgoingReply(reply);
    if (this.#isClosed) {
      outgoing.finish(0, false);
      return;
    }
    let framing: Framing;
    try {
      framing = frameReply(this.method, reply);
      this.#writeHead(reply, framing);
    } catch (error) {
      outgoing.finish(0, false);
      this.#fail(error);
      return;
    }
    this.#outgoing = outgoing;
    this.#send(reply.body, framing.body).catch((error: unknown) => this.#cut(error));
  }

  #writeHead(reply: Reply, framing: Framing): void {
    const mustClose =
      this.#isRefused ||
      this.#setting.isDraining ||
      this.#request.httpVersionMinor === 0 ||
      hasToken(this.fields.list("connection"), "close") ||
      (this.body !== null && !this.body.isNearlyRead(this.#setting.limits.unreadBodyBytesMax));
    this.#response.writeHead(reply.status, [
      ...framing.headers,
      // Said in any case: node:http would add a Keep-Alive field of its own otherwise.
      "Connection",
      mustClose ? "close" : "keep-alive",
    ]);
  }

  async #send(body: ReplyBody, framing: BodyFraming): Promise<void> {
    if (framing.kind === "empty") return this.#end();
    switch (body.kind) {
      case "none":
        return this.#end();
      case "bytes":
        return this.#sendBytes(body.release === undefined ? body.bytes : body.bytes.slice());
      case "file": {
        const first = readChunkNow(body.file, 0) ?? (await readChunk(body.file, 0));
        if (first.length === body.file.lengthBytes) return this.#end(first);
        await this.write(first);
        await pumpFile(body.file, first.length, this);
        return this.#end();
      }
      case "stream": {
        const lengthBytes = framing.kind === "length" ? framing.lengthBytes : undefined;
        await pumpSource(body.source, lengthBytes, this);
        return this.#end();
      }
      default:
        return unreachable(body);
    }
  }

  /** node:http keeps what the client does not take yet, so these must not change. */
  async #sendBytes(bytes: Uint8Array): Promise<void> {
    if (bytes.length <= SINGLE_WRITE_BYTES) return this.#end(bytes);
    await pumpBytes(bytes, this);
    return this.#end();
  }

  #end(last?: Uint8Array): void {
    if (this.#isClosed) return;
    this.#sentBytes += last?.length ?? 0;
    this.#response.end(last);
    // Nothing more is needed from the body: do not hold it while the client reads the rest.
    this.#outgoing?.release();
    if (this.#response.writableLength > 0) this.#watchProgress();
  }

  /** Resolves with the next drain, rejects when the connection is gone before. */
  #drained(): Promise<void> {
    const response = this.#response;
    return new Promise((resolve, reject) => {
      const onDrain = () => {
        response.off("close", onClose);
        this.#stallTimer?.cancel();
        resolve();
      };
      const onClose = () => {
        response.off("drain", onDrain);
        reject(clientGone());
      };
      response.once("drain", onDrain);
      response.once("close", onClose);
    });
  }

  /** Cuts the connection when the client takes nothing for the stall limit. */
  #watchProgress(): void {
    this.#stallTimer?.cancel();
    const before = this.#response.writableLength;
    this.#stallTimer = this.#setting.clock.after(this.#setting.limits.stallTimeoutMs, () => {
      if (this.#response.writableLength < before) this.#watchProgress();
      else this.#response.destroy();
    });
  }

  /** A broken body must never look like a whole one: the connection ends before the length. */
  #cut(error: unknown): void {
    if (!(error instanceof GatewayError)) {
      this.#setting.log.error("reply body failed", {
        requestId: this.id,
        error: describeError(error),
      });
    }
    this.#response.destroy();
  }

  /** The handler threw: we are wrong. The client learns no more than that. */
  #fail(error: unknown): void {
    this.#setting.log.error("request failed", { requestId: this.id, error: describeError(error) });
    if (this.#isClosed) return;
    this.#carryOut(INTERNAL_ERROR);
  }
}

/**
 * What node:http lets pass and a proxy before us may have read otherwise: a second Host, and
 * transfer codings around the one it acts on. Found by test/conformance/ and test/fuzz/http1.test.ts.
 */
function isAmbiguous(fields: Fields): boolean {
  if (fields.all("host").length > 1) return true;
  const coding = fields.list("transfer-encoding");
  return coding !== undefined && coding.toLowerCase() !== "chunked";
}
