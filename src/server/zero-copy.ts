/**
 * The zero-copy listener on `Bun.serve`: large files go from the page cache to the socket by
 * sendfile, and this process never touches their bytes.
 *
 * It keeps the contract of listener.ts with these differences, all of them Bun's (1.4.5) and all
 * pinned by test/contract/listener-zero-copy.test.ts:
 * 1. A streamed reply larger than `bufferedReplyBytes` goes out chunked, without `Content-Length`
 *    (Bun issue 10507). Smaller ones are held back until they are complete.
 * 2. Targets are normalised (`..`, `%2e`, `\`), so keys with dot segments cannot be addressed.
 * 3. Header names and repeats are Bun's: request names arrive in lower case, repeats are joined
 *    by ", ", replies are spelled and ordered as Bun likes.
 * 4. A file body of `SENDFILE_BYTES` or more without a `Content-Disposition` of its own gets an
 *    empty one; otherwise Bun would put the descriptor's number there as a file name.
 * 5. Nobody tells us when a body of known length has left: `onFinish` of bytes and files is called
 *    when Bun takes them over. `requestCount` knows better.
 * 6. A request pipelined behind one whose answer takes a turn of the event loop ends the connection.
 * 7. `100 Continue` is said at once, and only to `100-continue` in lower case; connections are not counted and have one limit, on idleness.
 */

import { fstatSync } from "node:fs";

import type { Server } from "bun";

import { unreachable } from "../base/assert.ts";
import type { ByteSource } from "../base/byte-source.ts";
import type { Clock, Timer } from "../base/clock.ts";
import { GatewayError } from "../base/errors.ts";
import type { FileSlice, Inbound, Reply } from "../http/exchange.ts";
import { Fields } from "../http/fields.ts";
import { fieldValue, frameReply, hasToken, requestHasBody } from "./framing.ts";
import type { Framing } from "./framing.ts";
import { DEFAULT_LIMITS, ListenError, clientGone, describeError, plainAddress } from "./options.ts";
import type { Listener, ListenerLimits, ListenerOptions, TlsMaterial } from "./options.ts";
import { fileSource, readFirstChunk, wrongLength } from "./pump.ts";

/**
 * From here on Bun uses sendfile. Below, it would open the file again and read it on this thread:
 * our own read of the open descriptor is a third of that work (100 KiB: 50 µs against 17 µs).
 */
const SENDFILE_BYTES = 1024 * 1024;

/** The longest idle time Bun accepts, in seconds. */
const IDLE_SECONDS_MAX = 255;

interface Setting extends ListenerOptions {
  readonly limits: ListenerLimits;
  isDraining: boolean;
}

export class ZeroCopyListener implements Listener {
  readonly #setting: Setting;
  /** The one that accepts comes last; earlier ones finish what a TLS reload left them. */
  readonly #servers: Server<undefined>[] = [];
  #port: number;

  constructor(options: ListenerOptions) {
    this.#setting = {
      ...options,
      limits: { ...DEFAULT_LIMITS, ...options.limits },
      isDraining: false,
    };
    this.#port = options.port;
  }

  get port(): number {
    return this.#port;
  }

  /** Bun counts requests only. */
  get connectionCount(): number {
    return this.requestCount;
  }

  get requestCount(): number {
    return this.#servers.reduce((sum, server) => sum + server.pendingRequests, 0);
  }

  async start(): Promise<void> {
    const { bindIp, port, tls, reusePort } = this.#setting;
    try {
      // A reload binds the port a second time, which needs SO_REUSEPORT from the beginning; but
      // then a busy port would go unnoticed. So the port is first taken without.
      const mayReload = tls !== undefined && reusePort !== true;
      if (mayReload) {
        const probe = this.#serve(port, tls, false);
        this.#port = probe.port ?? port;
        await probe.stop(true);
      }
      const server = this.#serve(this.#port, tls, reusePort === true || mayReload);
      this.#servers.push(server);
      this.#port = server.port ?? port;
    } catch (cause) {
      throw new ListenError(bindIp, port, cause);
    }
  }

  stopAccepting(): void {
    this.#setting.isDraining = true;
    for (const server of this.#servers) void server.stop(false);
  }

  async drain(limitMs: number): Promise<boolean> {
    this.stopAccepting();
    const ended = Promise.all(this.#servers.map((server) => server.stop(false))).then(() => true);
    return new Promise((resolve) => {
      const timer = this.#setting.clock.after(limitMs, () => resolve(false));
      void ended.then(() => {
        timer.cancel();
        resolve(true);
      });
    });
  }

  async stop(): Promise<void> {
    this.#setting.isDraining = true;
    await Promise.all(this.#servers.map((server) => server.stop(true)));
  }

  /** As Bun cannot swap a certificate, a second server takes the port over; idle connections end. */
  reloadTls(tls: TlsMaterial): void {
    if (this.#setting.tls === undefined) throw new Error("this listener does not speak TLS");
    const successor = this.#serve(this.#port, tls, true);
    const predecessor = this.#servers.at(-1);
    this.#servers.push(successor);
    void predecessor?.stop(false).then(() => {
      this.#servers.splice(this.#servers.indexOf(predecessor), 1);
    });
  }

  #serve(port: number, tls: TlsMaterial | undefined, reusePort: boolean): Server<undefined> {
    const { limits, log, bindIp } = this.#setting;
    return Bun.serve({
      hostname: bindIp,
      port,
      reusePort,
      ...(tls === undefined ? {} : { tls: { cert: tls.certificatePem, key: tls.keyPem } }),
      maxRequestBodySize: Number.MAX_SAFE_INTEGER,
      idleTimeout: secondsOf(limits.idleTimeoutMs),
      development: false,
      fetch: (request, server) => this.#answer(request, server),
      // Without a handler Bun prints source code to standard error.
      error: (error) => {
        log.error("reply failed", { error: describeError(error) });
        return new Response(null, { status: 500 });
      },
    });
  }

  #answer(request: Request, server: Server<undefined>): Response | Promise<Response> {
    const exchange = new Exchange(request, server, this.#setting);
    try {
      const reply = this.#setting.handler(exchange);
      if (!(reply instanceof Promise)) return exchange.respond(reply);
      return reply.then(
        (ready) => exchange.respond(ready),
        (error: unknown) => exchange.fail(error),
      );
    } catch (error) {
      return exchange.fail(error);
    }
  }
}

class Exchange implements Inbound {
  readonly id: string;
  readonly method: string;
  readonly rawTarget: string;
  readonly fields: Fields;
  readonly isSecure: boolean;
  readonly remoteAddress: string;
  readonly receivedAtMs: number;
  readonly body: RequestBody | null;
  readonly #request: Request;
  readonly #server: Server<undefined>;
  readonly #setting: Setting;
  #controller: AbortController | undefined;
  #isFinished = false;

  constructor(request: Request, server: Server<undefined>, setting: Setting) {
    this.#request = request;
    this.#server = server;
    this.#setting = setting;
    this.id = setting.newRequestId();
    this.method = request.method;
    this.rawTarget = targetOf(request.url);
    this.fields = new Fields(Object.entries(request.headers.toJSON()).flat() as string[]);
    this.isSecure = setting.tls !== undefined;
    this.remoteAddress = plainAddress(server.requestIP(request)?.address);
    this.receivedAtMs = setting.clock.monotonicMs();
    this.body = requestHasBody(this.fields)
      ? new RequestBody(request, this.fields, setting.clock, setting.limits.stallTimeoutMs)
      : null;
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      const controller = new AbortController();
      const { signal } = this.#request;
      const abort = () => controller.abort(clientGone());
      if (signal.aborted) abort();
      else signal.addEventListener("abort", abort, { once: true });
      this.#controller = controller;
    }
    return this.#controller.signal;
  }

  async respond(reply: Reply): Promise<Response> {
    try {
      if (this.#controller?.signal.aborted === true) return this.#giveUp(reply);
      const framing = frameReply(this.method, reply);
      const init = { status: reply.status, headers: this.#headersOf(framing) };
      return await this.#responseTo(reply, framing, init);
    } catch (error) {
      // Nothing was sent yet, so the client can be told instead of being cut off.
      releaseBody(reply);
      this.#finish(reply, 0, false);
      return this.fail(error);
    }
  }

  /** The handler threw, or its reply cannot be sent: we are wrong, and say no more than that. */
  fail(error: unknown): Response {
    const { log } = this.#setting;
    log.error("request failed", { requestId: this.id, error: describeError(error) });
    return new Response(null, { status: 500 });
  }

  async #responseTo(reply: Reply, framing: Framing, init: ReplyInit): Promise<Response> {
    const { body } = reply;
    if (framing.body.kind === "empty") {
      releaseBody(reply);
      this.#finish(reply, 0, true);
      return new Response(null, init);
    }
    switch (body.kind) {
      case "none":
        this.#finish(reply, 0, true);
        return new Response(null, init);
      case "bytes":
        this.#finish(reply, body.bytes.length, true);
        return new Response(body.bytes as Uint8Array<ArrayBuffer>, init);
      case "file":
        return this.#fileResponse(reply, body.file, init);
      case "stream": {
        const lengthBytes = framing.body.kind === "length" ? framing.body.lengthBytes : undefined;
        return this.#streamResponse(reply, body.source, lengthBytes, init);
      }
      default:
        return unreachable(body);
    }
  }

  async #fileResponse(reply: Reply, file: FileSlice, init: ReplyInit): Promise<Response> {
    const { offsetBytes, lengthBytes, descriptor } = file;
    if (lengthBytes < SENDFILE_BYTES) {
      const bytes = readFirstChunk(file, lengthBytes);
      file.release();
      this.#finish(reply, lengthBytes, true);
      return new Response(bytes as Uint8Array<ArrayBuffer>, init);
    }
    const sizeBytes = fstatSync(descriptor).size;
    if (sizeBytes < offsetBytes + lengthBytes) {
      // Bun would shorten the declared length and so call the truncated body whole.
      throw new GatewayError("corrupt_entry", `${file.path} ends inside an entry`);
    }
    if (reply.status === 200 && lengthBytes === sizeBytes && this.fields.has("range")) {
      // Bun would apply the client's Range itself to a whole file; the handler decided not to.
      const source = fileSource(file);
      const releasing = { read: () => source.read(), close: () => file.release() };
      return this.#streamResponse(reply, releasing, lengthBytes, init);
    }
    if (fieldValue(init.headers.flat(), "content-disposition") === undefined) {
      init.headers.push(["Content-Disposition", ""]);
    }
    const { clock, limits } = this.#setting;
    // Bun opens its own descriptor through ours, after this handler returned.
    clock.after(limits.fileGraceMs, () => file.release());
    this.#finish(reply, lengthBytes, true);
    this.#server.timeout(this.#request, secondsOf(limits.stallTimeoutMs));
    const end = offsetBytes + lengthBytes;
    const type = fieldValue(init.headers.flat(), "content-type") ?? "application/octet-stream";
    return new Response(Bun.file(pathOf(file)).slice(offsetBytes, end, type), init);
  }

  async #streamResponse(
    reply: Reply,
    source: ByteSource,
    lengthBytes: number | undefined,
    init: ReplyInit,
  ): Promise<Response> {
    const { limits } = this.#setting;
    if (lengthBytes !== undefined && lengthBytes <= limits.bufferedReplyBytes) {
      const bytes = await readExactly(source, lengthBytes);
      source.close();
      this.#finish(reply, lengthBytes, true);
      return new Response(bytes as Uint8Array<ArrayBuffer>, init);
    }
    return new Response(this.#bodyStream(reply, source, lengthBytes), init);
  }

  #bodyStream(
    reply: Reply,
    source: ByteSource,
    lengthBytes: number | undefined,
  ): ReadableStream<Uint8Array> {
    const { clock, limits } = this.#setting;
    let sentBytes = 0;
    let stallTimer: Timer | undefined;
    const finish = (isComplete: boolean) => {
      stallTimer?.cancel();
      source.close();
      this.#finish(reply, sentBytes, isComplete);
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
          try {
            const chunk = await source.read();
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
            // The next pull comes when the client took this; if it never does, nobody waits.
            stallTimer = clock.after(limits.stallTimeoutMs, () => cut(controller, clientGone()));
          } catch (error) {
            cut(controller, error);
          }
        },
        cancel: () => finish(false),
      },
      // Nothing is read before Bun asks for it: that is the back-pressure.
      { highWaterMark: 0 },
    );
  }

  #headersOf(framing: Framing): [string, string][] {
    const result: [string, string][] = [];
    const { headers } = framing;
    for (let at = 0; at + 1 < headers.length; at += 2) {
      result.push([headers[at] ?? "", headers[at + 1] ?? ""]);
    }
    const { isDraining, limits } = this.#setting;
    const leavesBody = this.body?.isNearlyRead(limits.unreadBodyBytesMax) === false;
    const isLast = hasToken(this.fields.get("connection"), "close");
    if (isDraining || leavesBody || isLast) result.push(["Connection", "close"]);
    if (this.method === "HEAD" && fieldValue(headers, "date") === undefined) {
      // Bun dates every reply but those to HEAD.
      result.push(["Date", new Date(this.#setting.clock.nowMs()).toUTCString()]);
    }
    return result;
  }

  #reportBroken(error: unknown): void {
    if (error instanceof GatewayError) return;
    const { log } = this.#setting;
    log.error("reply body failed", { requestId: this.id, error: describeError(error) });
  }

  #giveUp(reply: Reply): Response {
    releaseBody(reply);
    this.#finish(reply, 0, false);
    return new Response(null, { status: 499 });
  }

  #finish(reply: Reply, bytesSent: number, isComplete: boolean): void {
    if (this.#isFinished) return;
    this.#isFinished = true;
    reply.onFinish?.({ bytesSent, isComplete });
  }
}

interface ReplyInit {
  readonly status: number;
  readonly headers: [string, string][];
}

/** What we use of a stream's reader; bun-types and the DOM do not agree on the rest. */
interface ChunkReader {
  read(): Promise<{ readonly done: boolean; readonly value?: Uint8Array | undefined }>;
  cancel(): Promise<void>;
}

/** The request body; Bun reads it no faster than we do. */
class RequestBody implements ByteSource {
  readonly #request: Request;
  readonly #clock: Clock;
  readonly #stallTimeoutMs: number;
  #reader: ChunkReader | undefined;
  /** Undefined for a chunked body. */
  #remainingBytes: number | undefined;
  #isEnded = false;
  #isBroken = false;

  constructor(request: Request, fields: Fields, clock: Clock, stallTimeoutMs: number) {
    this.#request = request;
    this.#clock = clock;
    this.#stallTimeoutMs = stallTimeoutMs;
    const declared = fields.get("content-length");
    this.#remainingBytes = declared === undefined ? undefined : Number(declared);
  }

  async read(): Promise<Uint8Array | null> {
    if (this.#isEnded) return null;
    this.#reader ??= this.#request.body?.getReader();
    if (this.#reader === undefined) return null;
    const { promise: stalled, reject } = Promise.withResolvers<never>();
    const timer = this.#clock.after(this.#stallTimeoutMs, () => reject(clientGone()));
    try {
      for (;;) {
        const next = await Promise.race([this.#reader.read(), stalled]);
        if (next.done || next.value === undefined) {
          this.#isEnded = true;
          return null;
        }
        if (this.#remainingBytes !== undefined) this.#remainingBytes -= next.value.length;
        if (next.value.length > 0) return next.value;
      }
    } catch (cause) {
      this.#isBroken = true;
      throw new GatewayError("client_gone", "the request body broke off", { cause });
    } finally {
      timer.cancel();
    }
  }

  close(): void {
    this.#isEnded = true;
    void this.#reader?.cancel().catch(() => undefined);
  }

  /** True when at most `limitBytes` are still to come, so that dropping them is cheap. */
  isNearlyRead(limitBytes: number): boolean {
    if (this.#isBroken) return false;
    if (this.#remainingBytes === undefined) return this.#isEnded;
    return this.#remainingBytes <= limitBytes;
  }
}

function releaseBody(reply: Reply): void {
  if (reply.body.kind === "file") reply.body.file.release();
  else if (reply.body.kind === "stream") reply.body.source.close();
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
  }
  if (filled < lengthBytes) throw wrongLength(lengthBytes, filled);
  return whole;
}

function secondsOf(ms: number): number {
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
