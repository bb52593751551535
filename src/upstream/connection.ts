/**
 * One connection to upstream: a Bun socket (TCP or TLS) that carries one exchange at a time.
 *
 * It is written on `Bun.connect` and not on node:http because of what passes through it:
 * whole objects. A MiB costs half the CPU time it costs through node:http and a small request
 * a third, and raw targets and field bytes need no coaxing (the measurements are in
 * docs/decisions/0022-upstream-client.md). The protocol lives in exchange.ts; this file
 * knows sockets only: partial writes, pausing, TLS, and the two ways a peer can leave.
 */

import { canReceive, descriptorOf } from "../base/socket-calls.ts";
import type { Timer } from "../base/clock.ts";
import { GatewayError } from "../base/errors.ts";
import type { BulkReads } from "./bulk-reads.ts";
import type { ConnectTarget } from "./endpoint.ts";
import { Exchange, type ExchangeLimits, type ExchangeOutcome, type Wire } from "./exchange.ts";
import type { RequestHead } from "./request-head.ts";
import type { UpstreamRequest, UpstreamResponse } from "./transport.ts";

export interface ConnectionLimits extends ExchangeLimits {
  /** For the TLS handshake, from the moment TCP is up. */
  readonly handshakeTimeoutMs: number;
  /** Shared by all connections. */
  readonly bulk: BulkReads;
}

export interface ConnectionOwner {
  /** The exchange ended and the connection may carry another. */
  onIdle(connection: Connection): void;
  /** The socket is gone. Called exactly once. */
  onClosed(connection: Connection): void;
}

interface PendingWrite {
  readonly bytes: Uint8Array;
  offsetBytes: number;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

export class Connection implements Wire {
  readonly target: ConnectTarget;
  readonly bulk: BulkReads | undefined;
  readonly #limits: ConnectionLimits;
  readonly #owner: ConnectionOwner;
  readonly #opened = Promise.withResolvers<void>();
  #socket: Bun.Socket<Connection> | undefined;
  #exchange: Exchange | undefined;
  #pendingWrite: PendingWrite | undefined;
  #handshakeTimer: Timer | undefined;
  #isOpen = false;
  #isBusy = false;
  #isClosed = false;
  #keepAliveHintMs: number | undefined;
  /** Why we broke the socket ourselves, or what Bun said before it did. */
  #error: Error | undefined;

  private constructor(target: ConnectTarget, limits: ConnectionLimits, owner: ConnectionOwner) {
    this.target = target;
    // What TLS brings is ciphertext until Bun has read it.
    this.bulk = target.tls === undefined && canReceive() ? limits.bulk : undefined;
    this.#limits = limits;
    this.#owner = owner;
  }

  /**
   * Connects, TLS included. Rejects with `upstream_unreachable`. Bun cannot stop a TCP connect,
   * so the kernel's limit (two minutes) is the only one there; the pool stops waiting earlier.
   */
  static async open(
    target: ConnectTarget,
    limits: ConnectionLimits,
    owner: ConnectionOwner,
  ): Promise<Connection> {
    const connection = new Connection(target, limits, owner);
    const { tls } = target;
    try {
      await Promise.all([
        connection.#opened.promise,
        Bun.connect<Connection>({
          hostname: target.hostname,
          port: target.port,
          data: connection,
          socket: HANDLERS,
          ...(tls === undefined
            ? {}
            : {
                tls: {
                  serverName: target.hostname,
                  rejectUnauthorized: tls.rejectUnauthorized ?? true,
                  ...(tls.ca === undefined ? {} : { ca: tls.ca }),
                },
              }),
        }),
      ]);
    } catch (error) {
      const cause = connection.#error ?? error;
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new GatewayError("upstream_unreachable", `no connection to ${target.key}: ${reason}`, {
        cause,
      });
    }
    return connection;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** True when the running or last exchange got at least one byte of its response. */
  get hasReceived(): boolean {
    return this.#exchange?.hasReceived === true;
  }

  /** How long the server said it keeps this connection when idle, if it did. */
  get keepAliveHintMs(): number | undefined {
    return this.#keepAliveHintMs;
  }

  /** Runs one exchange. The connection must be idle. */
  send(request: UpstreamRequest, head: RequestHead): Promise<UpstreamResponse> {
    this.#isBusy = true;
    const exchange = new Exchange(request, this, this.#limits, (outcome) =>
      this.#onExchangeOver(outcome),
    );
    this.#exchange = exchange;
    return exchange.start(head);
  }

  /** Closes an idle connection politely. */
  close(): void {
    this.#socket?.end();
  }

  // ── Wire ────────────────────────────────────────────────────────────────────────────

  write(bytes: Uint8Array): Promise<void> | undefined {
    const writtenBytes = this.#socket?.write(bytes) ?? -1;
    if (writtenBytes === bytes.length) return undefined;
    return new Promise((resolve, reject) => {
      // -1 means that the socket is closing: its close event will reject this.
      this.#pendingWrite = { bytes, offsetBytes: Math.max(0, writtenBytes), resolve, reject };
    });
  }

  take(): Buffer | undefined {
    if (this.#socket === undefined || this.#isClosed) return undefined;
    return this.bulk?.read(descriptorOf(this.#socket));
  }

  pause(): void {
    this.#socket?.pause();
  }

  resume(): void {
    if (!this.#isClosed) this.#socket?.resume();
  }

  destroy(): void {
    this.#socket?.terminate();
  }

  // ── What the socket reports ─────────────────────────────────────────────────────────

  onOpen(socket: Bun.Socket<Connection>): void {
    this.#socket = socket;
    if (this.target.tls === undefined) {
      this.#onReady();
      return;
    }
    const { clock, handshakeTimeoutMs } = this.#limits;
    this.#handshakeTimer = clock.after(handshakeTimeoutMs, () =>
      this.onError(new Error(`no TLS handshake within ${handshakeTimeoutMs} ms`)),
    );
  }

  onHandshake(isTrusted: boolean, error: Error | null): void {
    this.#handshakeTimer?.cancel();
    if (isTrusted) this.#onReady();
    else this.onError(error ?? new Error("the TLS handshake failed"));
  }

  onData(bytes: Buffer): void {
    // Bytes nobody asked for: whatever they are, nothing may be read from here again.
    if (this.#isBusy) this.#exchange?.onData(bytes);
    else this.destroy();
  }

  onDrain(): void {
    const pending = this.#pendingWrite;
    if (pending === undefined) return;
    const { bytes, offsetBytes } = pending;
    const writtenBytes = this.#socket?.write(bytes, offsetBytes, bytes.length - offsetBytes) ?? -1;
    if (writtenBytes <= 0) return;
    pending.offsetBytes += writtenBytes;
    if (pending.offsetBytes < bytes.length) {
      this.#exchange?.onWriteProgress();
      return;
    }
    this.#pendingWrite = undefined;
    pending.resolve();
  }

  onEnd(): void {
    if (this.#isBusy) this.#exchange?.onEnd();
  }

  onError(error: Error): void {
    this.#error ??= error;
    this.destroy();
  }

  onClose(error: Error | undefined): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#handshakeTimer?.cancel();
    this.#error ??= error;
    const cause = this.#error;
    this.#opened.reject(cause ?? new Error("closed while connecting"));
    this.#pendingWrite?.reject(new GatewayError("upstream_reset", "the write broke", { cause }));
    this.#pendingWrite = undefined;
    if (this.#isBusy) this.#exchange?.onClose(cause);
    if (this.#isOpen) this.#owner.onClosed(this);
  }

  #onReady(): void {
    this.#isOpen = true;
    this.#opened.resolve();
  }

  #onExchangeOver(outcome: ExchangeOutcome): void {
    this.#isBusy = false;
    this.#keepAliveHintMs = outcome.keepAliveHintMs;
    if (outcome.canReuse && !this.#isClosed) this.#owner.onIdle(this);
  }
}

const HANDLERS: Bun.SocketHandler<Connection> = {
  binaryType: "buffer",
  open: (socket) => socket.data.onOpen(socket),
  handshake: (socket, isTrusted, error) => socket.data.onHandshake(isTrusted, error),
  data: (socket, bytes) => socket.data.onData(bytes),
  drain: (socket) => socket.data.onDrain(),
  end: (socket) => socket.data.onEnd(),
  error: (socket, error) => socket.data.onError(error),
  close: (socket, error) => socket.data.onClose(error),
};
