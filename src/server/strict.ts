/**
 * The strict listener on `node:http`: raw targets, raw headers, and the declared length kept on
 * every reply. It turns sockets into `Inbound`s and carries out `Reply`s; what is asked and
 * answered is none of its business.
 *
 * What Bun's `node:http` (1.4.5) cannot do, and the engine in http1/ can:
 * - repeated reply headers are sent next to each other, in the spelling of the first one;
 * - a client that leaves while its request body waits unread is noticed only when somebody reads on;
 * - a client that half-closes its connection counts as gone;
 * - a connection is seen with its first request, so silent ones are bounded by time only.
 *
 * Certificates are swapped by `tls.Server.setSecureContext`; `https.Server` lacks it on Bun, so
 * TLS connections are accepted by a `tls.Server` and handed to the HTTP server as they come.
 */

import { createServer } from "node:http";
import type { IncomingMessage, Server as HttpServer, ServerResponse } from "node:http";
import type { Server as NetServer, Socket } from "node:net";
import { createServer as createTlsServer } from "node:tls";
import type { Server as TlsServer } from "node:tls";

import type { ByteSource } from "../base/byte-source.ts";
import type { Clock, Timer } from "../base/clock.ts";
import { GatewayError } from "../base/errors.ts";
import type { Inbound, Reply, ReplyBody } from "../http/exchange.ts";
import { Fields } from "../http/fields.ts";
import { frameReply, hasToken, requestHasBody } from "./framing.ts";
import type { BodyFraming, Framing } from "./framing.ts";
import { DEFAULT_LIMITS, ListenError, clientGone, describeError, plainAddress } from "./options.ts";
import type { Listener, ListenerLimits, ListenerOptions, TlsMaterial } from "./options.ts";
import { CHUNK_BYTES, pumpBytes, pumpFile, pumpSource, readFirstChunk } from "./pump.ts";
import type { BodySink } from "./pump.ts";
import { originForm } from "./target.ts";

/** Whole bodies up to here go out in one write with the header. */
const SINGLE_WRITE_BYTES = 1024 * 1024;

/** What a listener shares with its exchanges. */
interface Setting extends ListenerOptions {
  readonly limits: ListenerLimits;
  isDraining: boolean;
}

export class StrictListener implements Listener {
  readonly #setting: Setting;
  readonly #http: HttpServer;
  /** What accepts connections: the HTTP server itself, or the TLS server before it. */
  readonly #acceptor: NetServer;
  readonly #tls: TlsServer | undefined;
  readonly #connections = new Map<Socket, Connection>();
  readonly #idleWaiters: (() => void)[] = [];
  #requestCount = 0;
  #port: number;

  constructor(options: ListenerOptions) {
    this.#setting = {
      ...options,
      limits: { ...DEFAULT_LIMITS, ...options.limits },
      isDraining: false,
    };
    this.#port = options.port;
    this.#http = this.#createHttpServer();
    this.#tls = options.tls === undefined ? undefined : this.#createTlsServer(options.tls);
    this.#acceptor = this.#tls ?? this.#http;
  }

  get port(): number {
    return this.#port;
  }

  get connectionCount(): number {
    return this.#connections.size;
  }

  get requestCount(): number {
    return this.#requestCount;
  }

  start(): Promise<void> {
    const { bindIp, port } = this.#setting;
    return new Promise((resolve, reject) => {
      const onError = (cause: unknown) => reject(new ListenError(bindIp, port, cause));
      this.#acceptor.once("error", onError);
      this.#acceptor.listen({ host: bindIp, port }, () => {
        this.#acceptor.off("error", onError);
        this.#acceptor.on("error", (error) => {
          this.#setting.log.error("listener failed", { error: String(error) });
        });
        const address = this.#acceptor.address();
        if (typeof address === "object" && address !== null) this.#port = address.port;
        resolve();
      });
    });
  }

  stopAccepting(): void {
    this.#setting.isDraining = true;
    this.#acceptor.close();
    for (const [socket, connection] of this.#connections) {
      if (connection.isIdle) socket.destroySoon();
    }
    // Bun shows a connection only with its first request; the server knows the others.
    this.#http.closeIdleConnections();
  }

  async drain(limitMs: number): Promise<boolean> {
    this.stopAccepting();
    if (this.#requestCount === 0) return true;
    return new Promise((resolve) => {
      const timer = this.#setting.clock.after(limitMs, () => resolve(false));
      this.#idleWaiters.push(() => {
        timer.cancel();
        resolve(true);
      });
    });
  }

  async stop(): Promise<void> {
    this.stopAccepting();
    for (const socket of this.#connections.keys()) socket.destroy();
    this.#http.closeAllConnections();
    // Their close events finish the replies that were cut.
    while (this.#requestCount > 0) await this.#setting.clock.sleep(1);
  }

  reloadTls(tls: TlsMaterial): void {
    if (this.#tls === undefined) throw new Error("this listener does not speak TLS");
    this.#tls.setSecureContext({ cert: tls.certificatePem, key: tls.keyPem });
  }

  #createHttpServer(): HttpServer {
    const { headerTimeoutMs, idleTimeoutMs, headerBytesMax } = this.#setting.limits;
    const server = createServer({
      maxHeaderSize: headerBytesMax,
      headersTimeout: headerTimeoutMs,
      keepAliveTimeout: idleTimeoutMs,
      requestTimeout: 0,
      connectionsCheckingInterval: Math.max(100, headerTimeoutMs / 4),
    });
    server.on("connection", (socket) => this.#onConnection(socket));
    server.on("request", (request, response) => this.#onRequest(request, response, false));
    // The permission to send the body is given when somebody reads it, so that a refusal
    // costs the client no upload (RFC 9110 §10.1.1).
    server.on("checkContinue", (request, response) => this.#onRequest(request, response, true));
    server.on("clientError", refuse);
    server.on("connect", (_request, socket) => socket.destroy());
    return server;
  }

  #createTlsServer(tls: TlsMaterial): TlsServer {
    const server = createTlsServer(
      { cert: tls.certificatePem, key: tls.keyPem, ALPNProtocols: ["http/1.1"] },
      (socket) => this.#http.emit("connection", socket),
    );
    // A failed handshake is the client's affair; without a listener it would end the process.
    server.on("tlsClientError", () => undefined);
    return server;
  }

  #onConnection(socket: Socket): void {
    if (this.#connections.size >= this.#setting.limits.connectionsMax) {
      socket.destroy();
      return;
    }
    this.#connections.set(socket, new Connection(plainAddress(socket.remoteAddress)));
    socket.once("close", () => this.#connections.delete(socket));
  }

  #onRequest(request: IncomingMessage, response: ServerResponse, awaitsContinue: boolean): void {
    const { socket } = request;
    const connection = this.#connections.get(socket);
    if (connection === undefined) {
      socket.destroy();
      return;
    }
    this.#requestCount += 1;
    const exchange = new Exchange(
      request,
      response,
      awaitsContinue,
      connection.remoteAddress,
      this.#setting,
    );
    response.once("close", () => {
      exchange.onClose();
      this.#requestCount -= 1;
      if (this.#setting.isDraining && this.#requestCount === 0) {
        for (const wake of this.#idleWaiters.splice(0)) wake();
      }
      connection.next();
    });
    // Replies go out one after the other anyway; running pipelined requests one after the
    // other too bounds what a single client can make us hold.
    connection.run(() => exchange.run());
    if (connection.waiting > this.#setting.limits.pipelinedRequestsMax) socket.destroy();
  }
}

/** The requests of one connection, run one at a time in the order they came. */
class Connection {
  readonly remoteAddress: string;
  readonly #waiting: (() => void)[] = [];
  #isBusy = false;

  constructor(remoteAddress: string) {
    this.remoteAddress = remoteAddress;
  }

  get isIdle(): boolean {
    return !this.#isBusy;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  run(start: () => void): void {
    if (this.#isBusy) {
      this.#waiting.push(start);
      return;
    }
    this.#isBusy = true;
    start();
  }

  next(): void {
    const start = this.#waiting.shift();
    if (start === undefined) this.#isBusy = false;
    else start();
  }
}

/** One request and its reply. It is the `Inbound` the handler sees and the sink of the body. */
class Exchange implements Inbound, BodySink {
  readonly id: string;
  readonly method: string;
  readonly rawTarget: string;
  readonly fields: Fields;
  readonly remoteAddress: string;
  readonly isSecure: boolean;
  readonly receivedAtMs: number;
  readonly body: RequestBody | null;
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #setting: Setting;
  readonly #isRefused: boolean;
  #controller: AbortController | undefined;
  #reply: Reply | undefined;
  #sentBytes = 0;
  #isClosed = false;
  /** Closed before the reply was complete. */
  #isGone = false;
  #isReleased = false;
  #stallTimer: Timer | undefined;

  constructor(
    request: IncomingMessage,
    response: ServerResponse,
    awaitsContinue: boolean,
    remoteAddress: string,
    setting: Setting,
  ) {
    this.#request = request;
    this.#response = response;
    this.#setting = setting;
    this.id = setting.newRequestId();
    this.method = request.method ?? "";
    this.fields = new Fields(request.rawHeaders);
    const target = originForm(request.url ?? "", this.fields.get("host"));
    this.#isRefused = target === undefined;
    this.rawTarget = target ?? "";
    this.remoteAddress = remoteAddress;
    this.isSecure = setting.tls !== undefined;
    this.receivedAtMs = setting.clock.monotonicMs();
    this.body = requestHasBody(this.fields)
      ? new RequestBody(request, response, awaitsContinue, setting)
      : null;
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#isGone) this.#controller.abort(clientGone());
    }
    return this.#controller.signal;
  }

  run(): void {
    if (this.#isClosed) return;
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
    this.#isGone = !this.#response.writableFinished;
    if (this.#isGone) this.#controller?.abort(clientGone());
    if (this.#reply !== undefined) this.#finish(this.#reply, !this.#isGone);
  }

  write(chunk: Uint8Array): Promise<void> | undefined {
    if (this.#isClosed) return Promise.reject(clientGone());
    this.#sentBytes += chunk.length;
    if (this.#response.write(chunk)) return undefined;
    this.#watchProgress();
    return this.#drained();
  }

  #carryOut(reply: Reply): void {
    this.#reply = reply;
    if (this.#isClosed) {
      this.#finish(reply, false);
      return;
    }
    let framing: Framing;
    try {
      framing = frameReply(this.method, reply);
      this.#writeHead(reply, framing);
    } catch (error) {
      this.#finish(reply, false);
      this.#reply = undefined;
      this.#fail(error);
      return;
    }
    this.#send(reply.body, framing.body).catch((error: unknown) => this.#cut(error));
  }

  #writeHead(reply: Reply, framing: Framing): void {
    const mustClose =
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
        if (body.bytes.length <= SINGLE_WRITE_BYTES) return this.#end(body.bytes);
        await pumpBytes(body.bytes, this);
        return this.#end();
      case "file": {
        const first = readFirstChunk(body.file, CHUNK_BYTES);
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
    }
  }

  #end(last?: Uint8Array): void {
    if (this.#isClosed) return;
    this.#sentBytes += last?.length ?? 0;
    this.#response.end(last);
    // Nothing more is needed from the body: do not hold it while the client reads the rest.
    if (this.#reply !== undefined) this.#releaseBody(this.#reply.body);
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

  #finish(reply: Reply, isComplete: boolean): void {
    this.#releaseBody(reply.body);
    reply.onFinish?.({ bytesSent: this.#sentBytes, isComplete });
  }

  #releaseBody(body: ReplyBody): void {
    if (this.#isReleased) return;
    this.#isReleased = true;
    if (body.kind === "file") body.file.release();
    else if (body.kind === "stream") body.source.close();
  }
}

const BAD_REQUEST: Reply = { status: 400, headers: [], body: { kind: "none" } };
const INTERNAL_ERROR: Reply = { status: 500, headers: [], body: { kind: "none" } };

/** The request body, pulled from the socket as it is read. */
class RequestBody implements ByteSource {
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #clock: Clock;
  readonly #stallTimeoutMs: number;
  #awaitsContinue: boolean;
  #isStarted = false;
  #isGivenUp = false;
  /** Undefined for a chunked body. */
  #remainingBytes: number | undefined;
  #failure: GatewayError | undefined;
  #wake: (() => void) | undefined;

  constructor(
    request: IncomingMessage,
    response: ServerResponse,
    awaitsContinue: boolean,
    setting: Setting,
  ) {
    this.#request = request;
    this.#response = response;
    this.#awaitsContinue = awaitsContinue;
    this.#clock = setting.clock;
    this.#stallTimeoutMs = setting.limits.stallTimeoutMs;
    const declared = request.headers["content-length"];
    this.#remainingBytes = declared === undefined ? undefined : Number(declared);
  }

  async read(): Promise<Uint8Array | null> {
    this.#start();
    for (;;) {
      if (this.#isGivenUp) return null;
      const chunk = this.#request.read() as Uint8Array | null;
      if (chunk !== null) {
        if (this.#remainingBytes !== undefined) this.#remainingBytes -= chunk.length;
        return chunk;
      }
      if (this.#request.readableEnded) return null;
      if (this.#failure !== undefined) throw this.#failure;
      await this.#progress();
    }
  }

  close(): void {
    this.#isGivenUp = true;
    this.#wake?.();
  }

  /** True when at most `limitBytes` are still to come, so that dropping them is cheap. */
  isNearlyRead(limitBytes: number): boolean {
    if (this.#request.readableEnded) return true;
    if (this.#remainingBytes === 0) return true;
    if (this.#awaitsContinue || this.#remainingBytes === undefined) return false;
    return this.#remainingBytes <= limitBytes;
  }

  /** The exchange is over: what nobody read is of no use. */
  onClose(): void {
    this.#fail();
    if (this.#request.readableEnded) return;
    // The next request of the connection stands behind the rest of this body.
    this.#request.resume();
    const { socket } = this.#request;
    const timer = this.#clock.after(this.#stallTimeoutMs, () => socket.destroy());
    this.#request.once("close", () => timer.cancel());
  }

  #start(): void {
    if (this.#isStarted) return;
    this.#isStarted = true;
    const wake = () => this.#wake?.();
    this.#request.on("readable", wake);
    this.#request.on("end", wake);
    this.#request.on("error", () => this.#fail());
    this.#request.on("aborted", () => this.#fail());
    if (!this.#awaitsContinue) return;
    this.#awaitsContinue = false;
    this.#response.writeContinue();
  }

  #fail(): void {
    this.#failure ??= clientGone();
    this.#wake?.();
  }

  /** Waits for more of the body, its end, or the stall limit. */
  async #progress(): Promise<void> {
    const timer = this.#clock.after(this.#stallTimeoutMs, () => {
      this.#fail();
      this.#request.socket.destroy();
    });
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    this.#wake = undefined;
    timer.cancel();
  }
}

/** Answers what is not HTTP: nobody can say where the next request would begin, so it ends here. */
function refuse(error: NodeJS.ErrnoException, socket: Socket): void {
  const status = CLIENT_ERROR_STATUS[error.code ?? ""] ?? "400 Bad Request";
  if (!socket.writable || error.code === "ECONNRESET") socket.destroy();
  else socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
}

const CLIENT_ERROR_STATUS: Readonly<Record<string, string>> = {
  HPE_HEADER_OVERFLOW: "431 Request Header Fields Too Large",
  ERR_HTTP_REQUEST_TIMEOUT: "408 Request Timeout",
};
