/**
 * Our own HTTP/1.1 server on `Bun.listen`: a strict parser, exact replies, and one system call for a
 * small one. It keeps the whole contract of listener.ts.
 *
 * The engine owns the port and the connections; the rest of the folder is what happens on one of
 * them. Time limits are kept by one sweep over all connections, a few times per second at most.
 */

import type { Socket, TCPSocketListener } from "bun";

import type { Timer } from "../../base/clock.ts";
import { descriptorOf } from "../../base/socket-calls.ts";
import { formatHttpDate } from "../../http/date.ts";
import { DEFAULT_LIMITS, ListenError, describeError } from "../options.ts";
import type { Listener, ListenerOptions, TlsMaterial } from "../options.ts";
import { withoutLocalPacing } from "../pacing.ts";
import type { Pacing } from "../pacing.ts";
import { Connection } from "./connection.ts";
import type { EngineState } from "./connection.ts";

/** Longest pause between two looks at the deadlines; also how late `Date` may be. */
const SWEEP_MS = 1000;
/** Half of the time in which the old and the new certificate are both given out. */
const OVERLAP_MS = 10;

/** RFC 7301 §3.1: a list of names, each behind its length. */
const ALPN_HTTP1 = Buffer.from("\x08http/1.1", "latin1");

export class Http1Engine implements Listener {
  readonly #state: EngineState;
  readonly #connections = new Set<Connection>();
  readonly #idleWaiters: (() => void)[] = [];
  #acceptor: TCPSocketListener<Connection | undefined> | undefined;
  /** Acceptors with an older certificate, until their queues are empty. */
  readonly #predecessors = new Set<TCPSocketListener<Connection | undefined>>();
  #pacing: Pacing | undefined;
  #sweepTimer: Timer | undefined;
  /** Monotonic time at which the next sweep is due. */
  #sweepDueMs = Number.POSITIVE_INFINITY;
  #requestCount = 0;
  #port: number;

  constructor(options: ListenerOptions) {
    this.#port = options.port;
    this.#state = {
      ...options,
      limits: { ...DEFAULT_LIMITS, ...options.limits },
      isDraining: false,
      nowMs: 0,
      dateLine: "",
      onExchange: (change) => this.#onExchange(change),
    };
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

  async start(): Promise<void> {
    const { bindIp, port, tls, reusePort } = this.#state;
    this.#sweep();
    try {
      // A reload binds the port a second time, which needs SO_REUSEPORT from the beginning; but
      // then a busy port would go unnoticed. So the port is first taken without.
      const mayReload = tls !== undefined && reusePort !== true;
      if (mayReload) {
        const probe = this.#listen(port, tls, false);
        this.#port = probe.port;
        probe.stop(true);
      }
      this.#acceptor = this.#listen(this.#port, tls, reusePort === true || mayReload);
      this.#port = this.#acceptor.port;
    } catch (cause) {
      this.#sweepTimer?.cancel();
      throw new ListenError(bindIp, port, cause);
    }
  }

  stopAccepting(): void {
    this.#state.isDraining = true;
    this.#acceptor?.stop(false);
    this.#acceptor = undefined;
    for (const predecessor of this.#predecessors) this.#retire(predecessor);
    for (const connection of this.#connections) connection.closeIfIdle();
  }

  async drain(limitMs: number): Promise<boolean> {
    this.stopAccepting();
    if (this.#requestCount === 0) return true;
    return new Promise((resolve) => {
      const timer = this.#state.clock.after(limitMs, () => resolve(false));
      this.#idleWaiters.push(() => {
        timer.cancel();
        resolve(true);
      });
    });
  }

  async stop(): Promise<void> {
    this.stopAccepting();
    this.#sweepTimer?.cancel();
    for (const connection of this.#connections) connection.cut();
    this.#connections.clear();
  }

  /** The successor takes the port over; whoever is connected stays with the old certificate. */
  reloadTls(tls: TlsMaterial): void {
    if (this.#state.tls === undefined) throw new Error("this listener does not speak TLS");
    const predecessor = this.#acceptor;
    this.#acceptor = this.#listen(this.#port, tls, true);
    if (predecessor === undefined) return;
    // Closing resets whoever waits in the kernel's queue, such as those who came while the certificate
    // was read. So it goes on until the event loop has surely looked there once more; for these
    // milliseconds both certificates are given out.
    this.#predecessors.add(predecessor);
    const { clock } = this.#state;
    clock.after(OVERLAP_MS, () => clock.after(OVERLAP_MS, () => this.#retire(predecessor)));
  }

  #listen(
    port: number,
    tls: TlsMaterial | undefined,
    reusePort: boolean,
  ): TCPSocketListener<Connection | undefined> {
    const address = { hostname: this.#state.bindIp, port, reusePort };
    const acceptor = Bun.listen<Connection | undefined>({
      ...address,
      ...(tls === undefined
        ? {}
        : { tls: { cert: tls.certificatePem, key: tls.keyPem, ALPNProtocols: ALPN_HTTP1 } }),
      socket: {
        open: (socket) => this.#onOpen(socket),
        // Because of it Bun shows a TLS connection before its handshake, so that one which never
        // finishes it is counted and ended like any other.
        handshake: () => undefined,
        data: (socket, bytes) => socket.data?.onData(bytes),
        drain: (socket) => socket.data?.onDrain(),
        end: (socket) => socket.data?.onEnd(),
        close: (socket) => this.#onClose(socket),
        error: (socket, error) => this.#onError(socket, error),
      },
    });
    this.#pacing = withoutLocalPacing(descriptorOf(acceptor));
    return acceptor;
  }

  #onOpen(socket: Socket<Connection | undefined>): void {
    if (this.#connections.size >= this.#state.limits.connectionsMax) {
      socket.data = undefined;
      socket.terminate();
      return;
    }
    socket.setNoDelay(true);
    this.#pacing?.onAccepted({
      descriptor: descriptorOf(socket),
      localAddress: socket.localAddress,
      remoteAddress: socket.remoteAddress,
    });
    const connection = new Connection(socket, this.#state);
    socket.data = connection;
    this.#connections.add(connection);
  }

  #onClose(socket: Socket<Connection | undefined>): void {
    const connection = socket.data;
    if (connection === undefined) return;
    this.#connections.delete(connection);
    connection.onClose();
  }

  #retire(predecessor: TCPSocketListener<Connection | undefined>): void {
    if (this.#predecessors.delete(predecessor)) predecessor.stop(false);
  }

  /** What a handler of ours above threw: a bug, which must not take other connections along. */
  #onError(socket: Socket<Connection | undefined>, error: Error): void {
    // A system error is the network's; the close that follows says all there is to say.
    if ("syscall" in error) return;
    this.#state.log.error("connection failed", { error: describeError(error) });
    socket.data?.cut();
  }

  #onExchange(change: 1 | -1): void {
    this.#requestCount += change;
    if (this.#requestCount > 0 || !this.#state.isDraining) return;
    for (const wake of this.#idleWaiters.splice(0)) wake();
  }

  #sweep(): void {
    const { clock, limits } = this.#state;
    const nowMs = clock.monotonicMs();
    this.#state.nowMs = nowMs;
    this.#state.dateLine = `Date: ${formatHttpDate(clock.nowMs())}\r\n`;
    // What clients sent while this process stood still waits in their sockets, so it is not their delay.
    const standstillMs = Math.max(0, nowMs - this.#sweepDueMs);
    for (const connection of this.#connections) {
      connection.postpone(standstillMs);
      if (connection.deadlineMs <= nowMs) connection.onDeadline();
    }
    const shortestMs = Math.min(
      limits.headerTimeoutMs,
      limits.idleTimeoutMs,
      limits.stallTimeoutMs,
    );
    const pauseMs = Math.min(SWEEP_MS, Math.max(10, shortestMs / 4));
    this.#sweepDueMs = nowMs + pauseMs;
    this.#sweepTimer = clock.after(pauseMs, () => this.#sweep());
  }
}
