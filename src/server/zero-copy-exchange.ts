/**
 * One request and its reply on the zero-copy listener: the `Inbound` the handler sees, and the
 * `Response` that makes Bun do what the handler answered, no more and no less.
 */

import { fstatSync } from "node:fs";

import type { Server } from "bun";

import { unreachable } from "../base/assert.ts";
import type { ByteSource } from "../base/byte-source.ts";
import { freeMemory } from "../base/counted-bytes.ts";
import type { Timer } from "../base/clock.ts";
import { GatewayError } from "../base/errors.ts";
import type { FileSlice, Reply, ReplyBody } from "../http/exchange.ts";
import { Fields, fieldValue } from "../http/fields.ts";
import { frameReply, hasToken, requestHasBody } from "./framing.ts";
import type { Framing } from "./framing.ts";
import { OutgoingReply, ServerInbound } from "./inbound.ts";
import type { Setting } from "./inbound.ts";
import { clientGone, describeError, plainAddress } from "./options.ts";
import type { PacingByPort } from "./pacing.ts";
import { fileSource, readChunkNow, readWhole, wrongLength } from "./pump.ts";
import { ZeroCopyBody } from "./zero-copy-body.ts";
import type { HotBlobs } from "./zero-copy-blobs.ts";
import type { ReplyBudget } from "./zero-copy-budget.ts";

/**
 * From here on Bun uses sendfile. Below, it would open the file again and read it on this thread:
 * our own read of the open descriptor is a third of that work (100 KiB: 50 µs against 17 µs).
 */
const SENDFILE_BYTES = 1024 * 1024;

/**
 * Collected replies from here on count against the budget. Smaller ones take what a hit of their
 * size does: one piece of memory per connection.
 */
const COUNTED_BYTES = SENDFILE_BYTES;

/**
 * From here on a reply that will be stored is rather sent from its file. A file is there some 12 ms
 * after the last byte came, which is what copying this much twice costs too: the first byte of 1 MiB
 * came after 2.5 ms collected and after 15 ms as a file, that of 8 MiB after 24 and 28.
 */
const AWAITED_BYTES = 4 * 1024 * 1024;

/** The longest idle time Bun accepts, in seconds. */
const IDLE_SECONDS_MAX = 255;

/**
 * Smaller replies wait for those of the other connections. A response that Bun (1.4.5) gets by a promise goes out
 * in forty pieces, one for each part of its header, unless it fits into the 16 KiB in which its server gathers
 * what it writes (strace; 130 in place of 40 µs for 16 KiB).
 */
export const DEFERRED_BYTES = 8 * 1024;

/** What nginx logs for a client that left; nobody reads this reply. */
const CLIENT_CLOSED_REQUEST = 499;

export class ZeroCopyExchange extends ServerInbound {
  readonly body: ZeroCopyBody | null;
  readonly #request: Request;
  readonly #server: Server<undefined>;
  readonly #setting: Setting;
  readonly #memory: ReplyMemory;
  readonly #pacing: PacingByPort | undefined;
  #isSmallReply = false;

  constructor(
    request: Request,
    server: Server<undefined>,
    setting: Setting,
    memory: ReplyMemory,
    pacing: PacingByPort | undefined,
  ) {
    const fields = new Fields(rawHeadersOf(request));
    const remoteAddress = plainAddress(server.requestIP(request)?.address);
    super(
      { method: request.method, rawTarget: targetOf(request.url), fields, remoteAddress },
      setting,
    );
    this.#request = request;
    this.#server = server;
    this.#setting = setting;
    this.#memory = memory;
    this.#pacing = pacing;
    this.body = requestHasBody(fields)
      ? new ZeroCopyBody(request, fields, setting.clock, setting.limits.stallTimeoutMs)
      : null;
  }

  /** The reply that was made is so small that it does better to go out with others. */
  get isSmallReply(): boolean {
    return this.#isSmallReply;
  }

  /** At once for what is in memory: a promise costs Bun another turn of the event loop. */
  respond(reply: Reply): Response | Promise<Response> {
    const outgoing = new OutgoingReply(reply);
    if (this.isGone) {
      outgoing.finish(0, false);
      return new Response(null, { status: CLIENT_CLOSED_REQUEST });
    }
    try {
      const framing = frameReply(this.method, reply);
      this.#isSmallReply = isSmall(framing);
      const init = { status: reply.status, headers: this.#headersOf(framing) };
      const response = this.#responseTo(outgoing, framing, init);
      return response instanceof Promise ? this.#orGivenUp(outgoing, response) : response;
    } catch (error) {
      return this.#giveUp(outgoing, error);
    }
  }

  /** The handler threw, or its reply cannot be sent: we are wrong, and say no more than that. */
  fail(error: unknown): Response {
    const { log } = this.#setting;
    log.error("request failed", { requestId: this.id, error: describeError(error) });
    return new Response(null, { status: 500 });
  }

  protected override onSignalWanted(): void {
    const { signal } = this.#request;
    if (signal.aborted) this.markGone();
    else signal.addEventListener("abort", () => this.markGone(), { once: true });
  }

  async #orGivenUp(outgoing: OutgoingReply, response: Promise<Response>): Promise<Response> {
    try {
      return await response;
    } catch (error) {
      return this.#giveUp(outgoing, error);
    }
  }

  /** As long as nothing was sent, the client can be told instead of being cut off. */
  #giveUp(outgoing: OutgoingReply, error: unknown): Response {
    outgoing.finish(0, false);
    return this.fail(error);
  }

  #responseTo(
    outgoing: OutgoingReply,
    framing: Framing,
    init: ReplyInit,
  ): Response | Promise<Response> {
    const { body } = outgoing.reply;
    if (framing.body.kind === "empty") {
      outgoing.finish(0, true);
      return responseOf(null, init);
    }
    if (framing.body.kind === "chunked" || framing.body.lengthBytes >= SENDFILE_BYTES) {
      this.#beforeLargeReply();
    }
    switch (body.kind) {
      case "none":
        outgoing.finish(0, true);
        return responseOf(null, init);
      case "bytes":
        return this.#bytesResponse(
          outgoing,
          body.bytes,
          init,
          body.release === undefined || body.isConstant === true,
        );
      case "file":
        return this.#fileResponse(outgoing, body.file, init);
      case "stream": {
        const lengthBytes = framing.body.kind === "length" ? framing.body.lengthBytes : undefined;
        return this.#streamResponse(outgoing, body, lengthBytes, init);
      }
      default:
        return unreachable(body);
    }
  }

  #fileResponse(
    outgoing: OutgoingReply,
    file: FileSlice,
    init: ReplyInit,
  ): Response | Promise<Response> {
    const { offsetBytes, lengthBytes, descriptor } = file;
    if (lengthBytes < SENDFILE_BYTES) {
      const bytes = readChunkNow(file, 0, lengthBytes);
      return bytes?.length === lengthBytes
        ? this.#copyResponse(outgoing, bytes, init)
        : this.#readResponse(outgoing, file, init);
    }
    const sizeBytes = fstatSync(descriptor).size;
    if (sizeBytes < offsetBytes + lengthBytes) {
      // Bun would shorten the declared length and so call the truncated body whole.
      throw new GatewayError("corrupt_entry", `${file.path} ends inside an entry`);
    }
    if (init.status === 200 && lengthBytes === sizeBytes && this.fields.has("range")) {
      // Bun would apply the client's Range itself to a whole file; the handler decided not to.
      const source = fileSource(file);
      return this.#streamResponse(
        outgoing,
        { kind: "stream", source, lengthBytes },
        lengthBytes,
        init,
      );
    }
    if (fieldValue(init.headers, "content-disposition") === undefined) {
      init.headers.push("Content-Disposition", "");
    }
    const { clock, limits } = this.#setting;
    // Bun opens its own descriptor through ours, after this handler returned.
    clock.after(limits.fileGraceMs, outgoing.detachBody());
    outgoing.finish(lengthBytes, true);
    this.#server.timeout(this.#request, secondsOf(limits.stallTimeoutMs));
    const end = offsetBytes + lengthBytes;
    const type = fieldValue(init.headers, "content-type") ?? "application/octet-stream";
    const body = Bun.file(pathOf(file)).slice(offsetBytes, end, type);
    // All at once: what is appended to the headers of such a response doubles its Content-Type.
    return new Response(body, { status: init.status, headers: pairsOf(init.headers) });
  }

  async #readResponse(
    outgoing: OutgoingReply,
    file: FileSlice,
    init: ReplyInit,
  ): Promise<Response> {
    return this.#copyResponse(outgoing, await readWhole(file), init);
  }

  async #streamResponse(
    outgoing: OutgoingReply,
    body: StreamBody,
    lengthBytes: number | undefined,
    init: ReplyInit,
  ): Promise<Response> {
    const { source } = body;
    if (lengthBytes !== undefined && lengthBytes <= this.#setting.limits.bufferedReplyBytes) {
      if (lengthBytes < COUNTED_BYTES) {
        return this.#copyResponse(outgoing, await readExactly(source, lengthBytes), init);
      }
      let mayCollect = lengthBytes < AWAITED_BYTES && this.#memory.budget.tryCollect(lengthBytes);
      if (!mayCollect) {
        const file = await body.stored?.();
        if (file?.lengthBytes === lengthBytes) {
          outgoing.replaceBody({ kind: "file", file });
          return this.#fileResponse(outgoing, file, init);
        }
        file?.release();
        mayCollect = this.#memory.budget.tryCollect(lengthBytes);
      }
      if (mayCollect) return this.#collectedResponse(outgoing, source, lengthBytes, init);
    }
    return responseOf(this.#bodyStream(outgoing, source, lengthBytes), init);
  }

  async #collectedResponse(
    outgoing: OutgoingReply,
    source: ByteSource,
    lengthBytes: number,
    init: ReplyInit,
  ): Promise<Response> {
    let bytes: Uint8Array;
    try {
      bytes = await readExactly(source, lengthBytes);
    } catch (error) {
      this.#memory.budget.abandon(lengthBytes);
      throw error;
    }
    this.#memory.budget.handOver(lengthBytes);
    return this.#copyResponse(outgoing, bytes, init);
  }

  /** For bytes that were put together for this response. */
  #copyResponse(outgoing: OutgoingReply, bytes: Uint8Array, init: ReplyInit): Response {
    const response = this.#bytesResponse(outgoing, bytes, init, false);
    freeMemory(bytes);
    return response;
  }

  /** `mayBeHot`: the bytes never change, and may come again. */
  #bytesResponse(
    outgoing: OutgoingReply,
    bytes: Uint8Array,
    init: ReplyInit,
    mayBeHot: boolean,
  ): Response {
    const body = mayBeHot ? this.#memory.blobs.bodyOf(bytes) : bytes;
    // The response has a copy of the bytes from here on, whatever becomes of them.
    const response = responseOf(body, init);
    outgoing.finish(bytes.length, true);
    return response;
  }

  #bodyStream(
    outgoing: OutgoingReply,
    source: ByteSource,
    lengthBytes: number | undefined,
  ): ReadableStream<Uint8Array> {
    const { clock, limits } = this.#setting;
    let sentBytes = 0;
    let stallTimer: Timer | undefined;
    let passedOn: Uint8Array | undefined;
    let isOver = false;
    const finish = (isComplete: boolean) => {
      isOver = true;
      stallTimer?.cancel();
      outgoing.finish(sentBytes, isComplete);
    };
    const cut = (controller: ReadableStreamDefaultController<Uint8Array>, error: unknown) => {
      this.#reportBroken(error);
      finish(false);
      // Without a reason: Bun would print it, with the source code around it.
      controller.error();
    };
    return new ReadableStream<Uint8Array>(
      {
        pull: async (controller) => {
          stallTimer?.cancel();
          // Bun has written the chunk before this one, or copied what the socket did not take. The chunk a
          // reply breaks off with is left to the collector.
          if (passedOn !== undefined) source.release?.(passedOn);
          passedOn = undefined;
          try {
            const chunk = await source.read();
            if (isOver) {
              // The client left meanwhile.
              if (chunk !== null) source.release?.(chunk);
              return;
            }
            sentBytes += chunk?.length ?? 0;
            const isTooLong = lengthBytes !== undefined && sentBytes > lengthBytes;
            const isTooShort =
              chunk === null && lengthBytes !== undefined && sentBytes < lengthBytes;
            if (isTooLong || isTooShort) throw wrongLength(lengthBytes, sentBytes);
            if (chunk === null) {
              finish(true);
              controller.close();
              return;
            }
            controller.enqueue(chunk);
            passedOn = chunk;
            // The next pull comes when the client took this; if it never does, nobody waits.
            stallTimer = clock.after(limits.stallTimeoutMs, () => cut(controller, clientGone()));
          } catch (error) {
            if (!isOver) cut(controller, error);
          }
        },
        cancel: () => finish(false),
      },
      // Nothing is read before Bun asks for it: that is the back-pressure.
      { highWaterMark: 0 },
    );
  }

  #beforeLargeReply(): void {
    const client = this.#pacing === undefined ? null : this.#server.requestIP(this.#request);
    if (client === null) return;
    this.#pacing?.beforeLargeReply({
      address: plainAddress(client.address),
      port: client.port,
    });
  }

  #headersOf({ headers }: Framing): string[] {
    const result = [...headers];
    const { isDraining, limits } = this.#setting;
    const leavesBody = this.body?.isNearlyRead(limits.unreadBodyBytesMax) === false;
    const isLast = hasToken(this.fields.get("connection"), "close");
    if (isDraining || leavesBody || isLast) result.push("Connection", "close");
    if (this.method === "HEAD" && fieldValue(headers, "date") === undefined) {
      // Bun dates every reply but those to HEAD.
      result.push("Date", new Date(this.#setting.clock.nowMs()).toUTCString());
    }
    return result;
  }

  #reportBroken(error: unknown): void {
    if (error instanceof GatewayError) return;
    const { log } = this.#setting;
    log.error("reply body failed", { requestId: this.id, error: describeError(error) });
  }
}

type StreamBody = Extract<ReplyBody, { readonly kind: "stream" }>;

interface ReplyInit {
  readonly status: number;
  /** `[name, value, …]` */
  readonly headers: string[];
}

/** What the replies of one listener share. */
export interface ReplyMemory {
  readonly budget: ReplyBudget;
  readonly blobs: HotBlobs;
}

function isSmall({ body }: Framing): boolean {
  return body.kind === "empty" || (body.kind === "length" && body.lengthBytes < DEFERRED_BYTES);
}

/**
 * A response whose headers are filled in afterwards: nine fields given to the constructor, as pairs
 * or by name, cost 1.7 µs, appended 1.1.
 */
function responseOf(
  body: Uint8Array | Blob | ReadableStream<Uint8Array> | null,
  { status, headers }: ReplyInit,
): Response {
  const content = body as Exclude<typeof body, Uint8Array> | Uint8Array<ArrayBuffer>;
  const response = status === 200 ? new Response(content) : new Response(content, { status });
  const fields = response.headers;
  for (let at = 0; at + 1 < headers.length; at += 2) {
    fields.append(headers[at] ?? "", headers[at + 1] ?? "");
  }
  return response;
}

function pairsOf(headers: readonly string[]): [string, string][] {
  const pairs: [string, string][] = [];
  for (let at = 0; at + 1 < headers.length; at += 2) {
    pairs.push([headers[at] ?? "", headers[at + 1] ?? ""]);
  }
  return pairs;
}

/** `[name, value, …]`; 0.4 µs, where flattened entries took 0.7. */
function rawHeadersOf({ headers }: Request): string[] {
  const byName = headers.toJSON();
  const raw: string[] = [];
  for (const name of Object.keys(byName)) raw.push(name, byName[name] as string);
  return raw;
}

/** Everything of `source`, which must be exactly `lengthBytes`. */
async function readExactly(source: ByteSource, lengthBytes: number): Promise<Uint8Array> {
  const whole = new Uint8Array(lengthBytes);
  let filled = 0;
  for (;;) {
    const chunk = await source.read();
    if (chunk === null) break;
    if (filled + chunk.length > lengthBytes) throw wrongLength(lengthBytes, filled + chunk.length);
    whole.set(chunk, filled);
    filled += chunk.length;
    source.release?.(chunk);
  }
  if (filled < lengthBytes) throw wrongLength(lengthBytes, filled);
  return whole;
}

/** A limit as Bun takes it. */
export function secondsOf(ms: number): number {
  return Math.min(IDLE_SECONDS_MAX, Math.ceil(ms / 1000));
}

/** Path and query of the URL Bun made of the request target. */
function targetOf(url: string): string {
  const start = url.indexOf("/", url.indexOf("://") + 3);
  return start === -1 ? "/" : url.slice(start);
}

/** A path that opens what the descriptor has open, unlinked files included; Linux only. */
function pathOf(file: FileSlice): string {
  return process.platform === "linux" ? `/proc/self/fd/${file.descriptor}` : file.path;
}
