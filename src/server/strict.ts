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

import type { Setting } from "./inbound.ts";
import { DEFAULT_LIMITS, ListenError, plainAddress } from "./options.ts";
import type { Listener, ListenerOptions, TlsMaterial } from "./options.ts";
import { StrictExchange } from "./strict-exchange.ts";

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

  /** Nothing: what the kernel does not take is read again or held by its connection. */
  get replyMemoryBytes(): number {
    return 0;
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
    // An expectation that nobody knows may be ignored (the same section), and S3 ignores it.
    server.on("checkExpectation", (request, response) => this.#onRequest(request, response, false));
    server.on("clientError", refuse);
    server.on("connect", (_request, socket) => socket.destroy());
    return server;
  }

  #createTlsServer(tls: TlsMaterial): TlsServer {
    const server = createTlsServer(
      {
        cert: tls.certificatePem,
        key: tls.keyPem,
        ALPNProtocols: ["http/1.1"],
        handshakeTimeout: this.#setting.limits.headerTimeoutMs,
      },
      (socket) => this.#http.emit("connection", socket),
    );
    // A failed handshake is the client's affair; without a listener it would end the process.
    server.on("tlsClientError", (_error, socket) => socket.destroy());
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
    const exchange = new StrictExchange(
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
