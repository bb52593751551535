/**
 * What every listener is given and what it promises: the types behind the door.
 * They stand apart from listener.ts so that the implementations it offers can use
 * them without importing their own door.
 */

import { GatewayError } from "../base/errors.ts";
import type { Clock } from "../base/clock.ts";
import type { Handler } from "../http/exchange.ts";

/** Certificate chain and private key, both PEM. */
export interface TlsMaterial {
  readonly certificatePem: string;
  readonly keyPem: string;
}

export interface ListenerLimits {
  /** Request line and header fields together; beyond it the answer is 431. */
  readonly headerBytesMax: number;
  /** Open connections; one more is closed at once. */
  readonly connectionsMax: number;
  /** From the first byte (or the accept) to the end of the header; then 408. */
  readonly headerTimeoutMs: number;
  /** A connection without a request. Longer than the 60 s of common load balancers. */
  readonly idleTimeoutMs: number;
  /** A body, either way, that makes no progress for so long is given up. Never a total. */
  readonly stallTimeoutMs: number;
  /** What is left of a request body is read and dropped up to here; else the connection ends. */
  readonly unreadBodyBytesMax: number;
  /** Requests one connection may send ahead of their answers; more end it. */
  readonly pipelinedRequestsMax: number;
  /**
   * Zero-copy only: Bun opens a file through our descriptor after the handler returned (measured:
   * in the same turn of the event loop), so it is held for so long after a reply.
   */
  readonly fileGraceMs: number;
  /** Zero-copy only: a streamed reply up to here is held back so that its length is right. */
  readonly bufferedReplyBytes: number;
  /**
   * Zero-copy only: what all replies of `COUNTED_BYTES` (zero-copy-exchange.ts) or more that are held
   * back may take together; beyond it they go out chunked. Never less than `bufferedReplyBytes`.
   */
  readonly bufferedRepliesBytes: number;
}

export const DEFAULT_LIMITS: ListenerLimits = {
  headerBytesMax: 64 * 1024,
  connectionsMax: 16_384,
  headerTimeoutMs: 20_000,
  idleTimeoutMs: 75_000,
  stallTimeoutMs: 60_000,
  unreadBodyBytesMax: 256 * 1024,
  pipelinedRequestsMax: 64,
  fileGraceMs: 1000,
  bufferedReplyBytes: 16 * 1024 * 1024,
  bufferedRepliesBytes: 64 * 1024 * 1024,
};

/** Where a listener reports what no request can: the part of a log it needs. */
export interface ListenerLog {
  warn(message: string, fields?: Record<string, unknown>): void;
  error(message: string, fields?: Record<string, unknown>): void;
}

export interface ListenerOptions {
  /** Address to bind, v4 or v6; "0.0.0.0" for all. */
  readonly bindIp: string;
  /** 0: any free port, to be read from `Listener.port` after `start`. */
  readonly port: number;
  /** Present: the listener speaks TLS only. */
  readonly tls?: TlsMaterial | undefined;
  readonly handler: Handler;
  readonly clock: Clock;
  readonly log: ListenerLog;
  /** A new request id per call. */
  readonly newRequestId: () => string;
  readonly limits?: Partial<ListenerLimits> | undefined;
  /** Lets several processes share the port (SO_REUSEPORT). Then a busy port is no error. */
  readonly reusePort?: boolean | undefined;
}

export interface Listener {
  /** The bound port; the one asked for before `start`. */
  readonly port: number;
  /** Open connections. */
  readonly connectionCount: number;
  /** Bytes of replies that are held back, and of copies kept to be sent again. */
  readonly replyMemoryBytes: number;
  /** Requests whose reply is not finished. */
  readonly requestCount: number;
  /** Binds the port. Rejects with `ListenError` when it cannot. */
  start(): Promise<void>;
  /** Accepts no more connections, ends the idle ones; running requests go on. */
  stopAccepting(): void;
  /**
   * Stops accepting, says `Connection: close` on every further reply and resolves
   * when no request runs any more, or after `limitMs`; true in the first case.
   */
  drain(limitMs: number): Promise<boolean>;
  /** Cuts whatever is left. Resolves when the port is free. Safe to call twice. */
  stop(): Promise<void>;
  /** New connections get the new certificate; open ones keep theirs. Throws on bad PEM. */
  reloadTls(tls: TlsMaterial): void;
}

/** The port could not be bound. The message names the port, the reason and a cure. */
export class ListenError extends Error {
  /** The system's code: "EADDRINUSE", "EACCES", "EADDRNOTAVAIL" … */
  readonly code: string;

  constructor(bindIp: string, port: number, cause: unknown) {
    const code = systemCode(cause);
    super(`cannot listen on ${bindIp}:${port}: ${LISTEN_CURES[code] ?? String(cause)}`, { cause });
    this.name = "ListenError";
    this.code = code;
  }
}

const LISTEN_CURES: Readonly<Record<string, string>> = {
  EADDRINUSE:
    "the port is already in use; stop the process that holds it (ss -ltnp shows it) or choose another port",
  EACCES:
    "not permitted; ports below 1024 need root or CAP_NET_BIND_SERVICE, or choose another port",
  EADDRNOTAVAIL: "this machine has no such address; use one of its own, or 0.0.0.0 for all",
};

function systemCode(cause: unknown): string {
  if (typeof cause !== "object" || cause === null || !("code" in cause)) return "UNKNOWN";
  return String(cause.code);
}

/** What a body fails with, and a signal aborts with, when the client left. */
export function clientGone(): GatewayError {
  return new GatewayError("client_gone", "the client closed the connection");
}

/** An unexpected error as text for the log. */
export function describeError(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

/** A peer's address; a socket bound to "::" shows v4 peers as mapped addresses. */
export function plainAddress(address: string | undefined): string {
  if (address === undefined) return "";
  return address.startsWith("::ffff:") ? address.slice("::ffff:".length) : address;
}
