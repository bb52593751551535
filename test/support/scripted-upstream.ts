/**
 * An HTTP upstream made of raw sockets that does exactly what a test tells it to: what no real
 * server would do on demand (hang, reset, lie about lengths, trickle), byte by byte.
 *
 * A script is a function of one `Call`: it reads the request body when it wants to, writes
 * whatever bytes it likes and ends, resets or hangs. Ready-made scripts for the usual
 * troubles are below. Every request is recorded (head bytes as they came, body length and
 * hash), and body bytes sent are counted, so that a test can prove what upstream was asked.
 *
 *     await using upstream = await ScriptedUpstream.start();
 *     upstream.on("GET", "/bucket/key", answer({ body: "hello" }));
 *
 * It knows nothing of the gateway and shares no code with it: node:net and a parser of its
 * own, so a bug on one side is not mirrored by the other. Objects with ranges and
 * validators, and Tigris's part of the proxy protocol, are in scripted-s3.ts.
 */

import { createHash } from "node:crypto";
import net from "node:net";
import tls from "node:tls";
import { systemClock } from "../../src/base/clock.ts";

export interface RecordedRequest {
  /** Which connection carried it, counted from 0. */
  readonly connection: number;
  readonly method: string;
  readonly target: string;
  /** `[name, value, …]` as they came. */
  readonly headers: readonly string[];
  /** Request line and fields, untouched, the empty line included. */
  readonly headBytes: Buffer;
  /** First value of the field, or undefined. */
  field(lowerName: string): string | undefined;
  /** Body bytes received so far, transfer coding removed. */
  bodySizeBytes: number;
  /** Hex SHA-256 of the whole body; undefined until it is complete. */
  bodySha256: string | undefined;
  /** The body's first MiB. */
  body: Buffer;
}

export type Script = (call: Call) => void | Promise<void>;

/** Something a script waits for until the test says so. */
export class Gate {
  readonly #opened = Promise.withResolvers<void>();

  get opened(): Promise<void> {
    return this.#opened.promise;
  }

  open(): void {
    this.#opened.resolve();
  }
}

export interface ScriptedUpstreamOptions {
  /** Address to listen on; default 127.0.0.1. */
  readonly host?: string;
  readonly tls?: { readonly key: string; readonly cert: string };
}

export class ScriptedUpstream {
  readonly requests: RecordedRequest[] = [];
  /** Response body bytes handed to sockets, framing not counted. */
  bodyBytesSent = 0;
  /** Connections accepted so far. */
  connectionCount = 0;
  /** SNI names of the TLS handshakes so far. */
  readonly serverNames: string[] = [];
  readonly #options: ScriptedUpstreamOptions;
  readonly #routes: { readonly matches: (call: Call) => boolean; readonly script: Script }[] = [];
  readonly #sockets = new Set<net.Socket>();
  readonly #arrivals = new Set<() => void>();
  #fallback: Script = answer({ status: 404, body: "no script for this request" });
  #server: net.Server;
  #port = 0;

  private constructor(options: ScriptedUpstreamOptions) {
    this.#options = options;
    this.#server = this.#createServer();
  }

  static async start(options: ScriptedUpstreamOptions = {}): Promise<ScriptedUpstream> {
    const upstream = new ScriptedUpstream(options);
    await upstream.listen();
    return upstream;
  }

  get port(): number {
    return this.#port;
  }

  get url(): URL {
    const { host = "127.0.0.1", tls: isTls } = this.#options;
    const name = host.includes(":") ? `[${host}]` : host;
    return new URL(`${isTls === undefined ? "http" : "https"}://${name}:${this.#port}`);
  }

  /** Connections open right now. */
  get openConnections(): number {
    return this.#sockets.size;
  }

  /**
   * Scripts requests of this method (`*`: any) and target: a string is compared with the raw
   * target before its query, a RegExp is tried on all of it. Later scripts win.
   */
  on(method: string, target: string | RegExp, script: Script): void {
    this.#routes.unshift({ matches: matcher(method, target), script });
  }

  /** As `on`, for the next such request only. */
  once(method: string, target: string | RegExp, script: Script): void {
    const route = { matches: matcher(method, target), script };
    const use: Script = (call) => {
      this.#routes.splice(this.#routes.indexOf(entry), 1);
      return route.script(call);
    };
    const entry = { matches: route.matches, script: use };
    this.#routes.unshift(entry);
  }

  /** What happens to requests no script was given for; at first a 404. */
  otherwise(script: Script): void {
    this.#fallback = script;
  }

  /** Requests so far that match. */
  requestsFor(method: string, target: string | RegExp): RecordedRequest[] {
    const matches = matcher(method, target);
    return this.requests.filter((request) => matches({ request }));
  }

  /** Resolves once `count` requests have arrived in all (their heads). */
  async received(count: number): Promise<void> {
    while (this.requests.length < count) {
      await new Promise<void>((resolve) => {
        this.#arrivals.add(resolve);
      });
    }
  }

  /** Refuses new connections and resets those that are open. */
  async refuse(): Promise<void> {
    const closed = new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
    });
    this.resetAll();
    await closed;
  }

  /** Listens, on the same port as before if there was one. */
  async listen(): Promise<void> {
    this.#server = this.#createServer();
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen(this.#port, this.#options.host ?? "127.0.0.1", resolve);
    });
    const address = this.#server.address();
    if (address !== null && typeof address === "object") this.#port = address.port;
  }

  /** Breaks every open connection. */
  resetAll(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  /** Closes every connection in good order (FIN), as a server does with idle ones. */
  endAll(): void {
    for (const socket of this.#sockets) socket.end();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
    });
  }

  #createServer(): net.Server {
    const accept = (socket: net.Socket) => {
      void this.#serve(socket);
    };
    if (this.#options.tls === undefined) return net.createServer({ allowHalfOpen: true }, accept);
    const { key, cert } = this.#options.tls;
    const server = tls.createServer(
      {
        key,
        cert,
        allowHalfOpen: true,
        SNICallback: (name, done) => {
          this.serverNames.push(name);
          done(null);
        },
      },
      accept,
    );
    return server.on("tlsClientError", () => undefined);
  }

  async #serve(socket: net.Socket): Promise<void> {
    const connection = this.connectionCount;
    this.connectionCount += 1;
    this.#sockets.add(socket);
    socket.on("close", () => this.#sockets.delete(socket));
    socket.on("error", () => undefined);
    socket.setNoDelay(true);
    const reader = new SocketReader(socket);
    try {
      for (;;) {
        const headBytes = await reader.readUntil("\r\n\r\n");
        if (headBytes === undefined) break;
        const request = parseHead(headBytes, connection);
        const call = new Call(this, request, socket, reader);
        this.requests.push(request);
        for (const resolve of this.#arrivals) resolve();
        this.#arrivals.clear();
        const route = this.#routes.find((candidate) => candidate.matches(call));
        await (route?.script ?? this.#fallback)(call);
        if (call.isOver || socket.destroyed) return;
        await call.readBody();
      }
      socket.end();
    } catch (error) {
      // A script that fails because its peer left is part of the game; others are bugs.
      if (!socket.destroyed && !(error instanceof PeerGone)) {
        socket.destroy();
        throw error;
      }
    }
  }
}

const KEPT_BODY_BYTES = 1 << 20;

class PeerGone extends Error {}

/** One request as a script sees it. */
export class Call {
  readonly request: RecordedRequest;
  readonly #upstream: ScriptedUpstream;
  readonly #socket: net.Socket;
  readonly #reader: SocketReader;
  #isBodyRead = false;
  #isOver = false;

  constructor(
    upstream: ScriptedUpstream,
    request: RecordedRequest,
    socket: net.Socket,
    reader: SocketReader,
  ) {
    this.#upstream = upstream;
    this.request = request;
    this.#socket = socket;
    this.#reader = reader;
  }

  /** True once the script ended or reset the connection. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** Resolves when the other side is gone. */
  get gone(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#socket.destroyed || this.#socket.readableEnded) resolve();
      this.#socket.once("close", () => resolve());
      this.#socket.once("end", () => resolve());
      // Something must read, or the end is never seen.
      this.#reader.unpause();
    });
  }

  /** Reads the request body to its end; rejects when the client breaks it off. */
  async readBody(): Promise<void> {
    if (this.#isBodyRead) return;
    this.#isBodyRead = true;
    const { request } = this;
    const hash = createHash("sha256");
    for await (const chunk of this.#bodyChunks()) {
      hash.update(chunk);
      const keepBytes = KEPT_BODY_BYTES - request.body.length;
      if (keepBytes > 0) request.body = Buffer.concat([request.body, chunk.subarray(0, keepBytes)]);
      request.bodySizeBytes += chunk.length;
    }
    request.bodySha256 = hash.digest("hex");
  }

  /** Sends bytes that are no body; resolves when the socket took them. */
  async write(data: string | Uint8Array): Promise<void> {
    const bytes = typeof data === "string" ? Buffer.from(data, "latin1") : data;
    if (bytes.length === 0) return;
    if (this.#socket.destroyed || this.#isOver) throw new PeerGone();
    if (this.#socket.write(bytes)) return;
    await new Promise<void>((resolve, reject) => {
      const onDrain = () => {
        this.#socket.off("close", onClose);
        resolve();
      };
      const onClose = () => {
        this.#socket.off("drain", onDrain);
        reject(new PeerGone());
      };
      this.#socket.once("drain", onDrain);
      this.#socket.once("close", onClose);
    });
  }

  /** Sends body bytes, counted. */
  async writeBody(data: string | Uint8Array): Promise<void> {
    const bytes = typeof data === "string" ? Buffer.from(data, "latin1") : data;
    this.#upstream.bodyBytesSent += bytes.length;
    await this.write(bytes);
  }

  /** Sends a status line and fields as given. */
  async writeHead(status: number, headers: readonly string[] = [], reason = "X"): Promise<void> {
    let text = `HTTP/1.1 ${status} ${reason}\r\n`;
    for (let at = 0; at + 1 < headers.length; at += 2)
      text += `${headers[at]}: ${headers[at + 1]}\r\n`;
    await this.write(`${text}\r\n`);
  }

  /** Closes in good order (FIN). */
  end(): void {
    this.#isOver = true;
    this.#socket.end();
  }

  /** Breaks the connection (RST). */
  reset(): void {
    this.#isOver = true;
    this.#socket.resetAndDestroy();
  }

  /** Does nothing more until the other side leaves. */
  async hang(): Promise<void> {
    await this.gone;
    this.#isOver = true;
    this.#socket.destroy();
  }

  async *#bodyChunks(): AsyncGenerator<Buffer, void, undefined> {
    if (/chunked/i.test(this.request.field("transfer-encoding") ?? "")) {
      for (;;) {
        const line = await this.#need(this.#reader.readUntil("\r\n"));
        const sizeBytes = Number.parseInt(line.toString("latin1"), 16);
        if (sizeBytes === 0) {
          await this.#need(this.#reader.readUntil("\r\n"));
          return;
        }
        yield* this.#exactly(sizeBytes);
        await this.#need(this.#reader.readUntil("\r\n"));
      }
    }
    yield* this.#exactly(Number(this.request.field("content-length") ?? 0));
  }

  async *#exactly(sizeBytes: number): AsyncGenerator<Buffer, void, undefined> {
    let leftBytes = sizeBytes;
    while (leftBytes > 0) {
      const chunk = await this.#need(this.#reader.readSome(leftBytes));
      leftBytes -= chunk.length;
      yield chunk;
    }
  }

  async #need(pending: Promise<Buffer | undefined>): Promise<Buffer> {
    const bytes = await pending;
    if (bytes === undefined) throw new PeerGone();
    return bytes;
  }
}

// ── Ready-made scripts ─────────────────────────────────────────────────────────────────

export interface Answer {
  readonly status?: number;
  readonly reason?: string;
  /** Fields beside the framing ones. */
  readonly headers?: readonly string[];
  readonly body?: string | Uint8Array | Iterable<Uint8Array>;
  /** Needed for an iterable body with framing `length`. */
  readonly sizeBytes?: number;
  /** How the end of the body is told; default `length`. `none` writes no body. */
  readonly framing?: "length" | "chunked" | "close" | "none";
  /** Splits the body in pieces of this size. */
  readonly pieceBytes?: number;
  /** Waited for after the head and before each piece. */
  readonly beforePiece?: (index: number, offsetBytes: number) => void | Promise<void>;
}

/** A well-behaved answer. The request body is read first; HEAD gets no body. */
export function answer(options: Answer = {}): Script {
  return async (call) => {
    await call.readBody();
    await sendAnswer(call, options);
  };
}

/** The sending half of `answer`, for scripts that did something else before. */
export async function sendAnswer(call: Call, options: Answer): Promise<void> {
  const { status = 200, reason = "OK", headers = [], framing = "length" } = options;
  const body = options.body ?? "";
  const whole = typeof body === "string" ? Buffer.from(body, "latin1") : body;
  const sizeBytes = whole instanceof Uint8Array ? whole.length : (options.sizeBytes ?? 0);
  const framingFields = {
    length: ["Content-Length", String(sizeBytes)],
    chunked: ["Transfer-Encoding", "chunked"],
    close: ["Connection", "close"],
    none: [],
  }[framing];
  await call.writeHead(status, [...headers, ...framingFields], reason);
  if (call.request.method === "HEAD" || framing === "none") return;
  let index = 0;
  let offsetBytes = 0;
  for (const piece of pieces(whole, options.pieceBytes)) {
    await options.beforePiece?.(index, offsetBytes);
    if (framing === "chunked") {
      await call.write(`${piece.length.toString(16)}\r\n`);
      await call.writeBody(piece);
      await call.write("\r\n");
    } else {
      await call.writeBody(piece);
    }
    index += 1;
    offsetBytes += piece.length;
  }
  if (framing === "chunked") await call.write("0\r\n\r\n");
  if (framing === "close") call.end();
}

function* pieces(
  body: Uint8Array | Iterable<Uint8Array>,
  pieceBytes = Infinity,
): Generator<Uint8Array, void, undefined> {
  for (const chunk of body instanceof Uint8Array ? [body] : body) {
    for (let at = 0; at < chunk.length; at += pieceBytes) {
      yield chunk.subarray(at, Math.min(chunk.length, at + pieceBytes));
    }
  }
}

/** Exactly these bytes, then nothing; the connection stays open. */
export function raw(data: string | Uint8Array): Script {
  return async (call) => {
    await call.readBody();
    await call.write(data);
  };
}

/** Exactly these bytes, then FIN. */
export function rawThenEnd(data: string | Uint8Array): Script {
  return async (call) => {
    await call.readBody();
    await call.write(data);
    call.end();
  };
}

/** Takes the request and never says a word. */
export const hangBeforeHeaders: Script = async (call) => {
  await call.readBody();
  await call.hang();
};

/** Takes the request, then breaks the connection. */
export const resetBeforeHeaders: Script = async (call) => {
  await call.readBody();
  call.reset();
};

/** Takes the request, then closes without an answer. */
export const endBeforeHeaders: Script = async (call) => {
  await call.readBody();
  call.end();
};

/**
 * Declares `sizeBytes`, sends `sentBytes`, and then: `close` closes in good order, `reset` breaks,
 * `stall` keeps the connection open and says nothing more.
 */
export function brokenBody(options: {
  readonly sizeBytes: number;
  readonly sentBytes: number;
  readonly ending: "close" | "reset" | "stall";
  readonly headers?: readonly string[];
  readonly fill?: string;
}): Script {
  return async (call) => {
    await call.readBody();
    const { sizeBytes, sentBytes, headers = [], fill = "x" } = options;
    await call.writeHead(200, [...headers, "Content-Length", String(sizeBytes)], "OK");
    await call.writeBody(fill.repeat(sentBytes));
    switch (options.ending) {
      case "close":
        call.end();
        return;
      case "reset":
        // Behind the bytes, not over them: a reset discards what the other side has not read.
        await systemClock.sleep(50);
        call.reset();
        return;
      case "stall":
        await call.hang();
    }
  };
}

/** One piece after the other, `everyMs` apart. */
export function trickle(
  options: Answer & { readonly pieceBytes: number; readonly everyMs: number },
): Script {
  return answer({ ...options, beforePiece: () => systemClock.sleep(options.everyMs) });
}

/** `100 Continue` (or others) first, then the script. */
export function interim(text: string, script: Script): Script {
  return async (call) => {
    await call.write(text);
    await script(call);
  };
}

// ── Bodies that can be checked anywhere ────────────────────────────────────────────────

/**
 * Endless bytes that depend on their offset: any two windows differ, none is ever stored. The
 * period is a prime, so that a shift by a block of any power of two is noticed.
 */
export class Pattern {
  static readonly #PERIOD = 1_048_573;
  readonly #table: Buffer;

  constructor(seed = 1) {
    const period = Buffer.alloc(Pattern.#PERIOD);
    let state = seed >>> 0 || 1;
    for (let at = 0; at < period.length; at += 1) {
      // xorshift32
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      period[at] = state & 0xff;
    }
    this.#table = Buffer.concat([period, period]);
  }

  /** The bytes of `[start, end)` in pieces of at most `pieceBytes`; views, not copies. */
  *slice(start: number, end: number, pieceBytes = 256 * 1024): Generator<Buffer, void, undefined> {
    for (let at = start; at < end; at += pieceBytes) {
      yield this.#at(at, Math.min(pieceBytes, end - at));
    }
  }

  /** The bytes of `[start, end)` in one piece. */
  bytes(start: number, end: number): Buffer {
    return Buffer.concat(Array.from(this.slice(start, end)));
  }

  /** True when `chunk` is what stands at `offsetBytes`. */
  matches(offsetBytes: number, chunk: Uint8Array): boolean {
    for (let at = 0; at < chunk.length; at += Pattern.#PERIOD) {
      const part = chunk.subarray(at, at + Pattern.#PERIOD);
      if (!this.#at(offsetBytes + at, part.length).equals(part)) return false;
    }
    return true;
  }

  #at(offsetBytes: number, lengthBytes: number): Buffer {
    const start = offsetBytes % Pattern.#PERIOD;
    return this.#table.subarray(start, start + lengthBytes);
  }
}

// ── Sockets and grammar ────────────────────────────────────────────────────────────────

function matcher(
  method: string,
  target: string | RegExp,
): (call: { readonly request: RecordedRequest }) => boolean {
  return ({ request }) => {
    if (method !== "*" && method !== request.method) return false;
    if (typeof target === "string") return request.target.split("?", 1)[0] === target;
    return target.test(request.target);
  };
}

function parseHead(headBytes: Buffer, connection: number): RecordedRequest {
  const [requestLine = "", ...lines] = headBytes.toString("latin1").slice(0, -4).split("\r\n");
  const [method = "", target = ""] = requestLine.split(" ");
  const headers: string[] = [];
  for (const line of lines) {
    const colonAt = line.indexOf(":");
    headers.push(line.slice(0, colonAt), line.slice(colonAt + 1).trim());
  }
  return {
    connection,
    method,
    target,
    headers,
    headBytes,
    field(lowerName) {
      const at = headers.findIndex(
        (name, index) => index % 2 === 0 && name.toLowerCase() === lowerName,
      );
      return at === -1 ? undefined : headers[at + 1];
    },
    bodySizeBytes: 0,
    bodySha256: undefined,
    body: Buffer.alloc(0),
  };
}

/** Pulls bytes out of a socket; what nobody pulls stays in the kernel. */
class SocketReader {
  readonly #socket: net.Socket;
  #buffered: Buffer = Buffer.alloc(0);
  #isEnded = false;
  #wake: (() => void) | undefined;

  constructor(socket: net.Socket) {
    this.#socket = socket;
    socket.on("data", (chunk: Buffer) => {
      this.#buffered = this.#buffered.length === 0 ? chunk : Buffer.concat([this.#buffered, chunk]);
      socket.pause();
      this.#wake?.();
    });
    for (const event of ["end", "close", "error"]) {
      socket.on(event, () => {
        this.#isEnded = true;
        this.#wake?.();
      });
    }
    socket.pause();
  }

  unpause(): void {
    this.#socket.resume();
  }

  /** Everything up to and including `mark`; undefined when the other side ended first. */
  async readUntil(mark: string): Promise<Buffer | undefined> {
    for (;;) {
      const at = this.#buffered.indexOf(mark, 0, "latin1");
      if (at !== -1) return this.#take(at + mark.length);
      if (!(await this.#more())) return undefined;
    }
  }

  /** At least one and at most `maxBytes` bytes; undefined when the other side ended first. */
  async readSome(maxBytes: number): Promise<Buffer | undefined> {
    while (this.#buffered.length === 0) {
      if (!(await this.#more())) return undefined;
    }
    return this.#take(Math.min(maxBytes, this.#buffered.length));
  }

  #take(sizeBytes: number): Buffer {
    const taken = this.#buffered.subarray(0, sizeBytes);
    this.#buffered = this.#buffered.subarray(sizeBytes);
    return taken;
  }

  async #more(): Promise<boolean> {
    if (this.#isEnded) return false;
    const before = this.#buffered.length;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      this.#socket.resume();
    });
    this.#wake = undefined;
    return this.#buffered.length > before || !this.#isEnded;
  }
}
