/**
 * `UpstreamTransport` over HTTP/1.1: our own client on Bun sockets.
 *
 * It adds nothing to a request and takes nothing from a response (decision A4): raw targets,
 * field case, order and repeats go through both ways, bodies are neither decompressed nor
 * redirected. What it does add is time: every phase has its limit, and a kept
 * connection that turns out dead costs a read one silent repetition instead of an error.
 *
 * The parts: connection-pool.ts (who gets which connection), connection.ts (the socket),
 * exchange.ts (one request on it), response-parser.ts and request-head.ts (the grammar).
 * Whether a failed request is worth repeating is decided above, in upstream.ts.
 */

import type { Clock } from "../base/clock.ts";
import { errorCode } from "../base/errors.ts";
import { BulkReads } from "./bulk-reads.ts";
import { ConnectionPool } from "./connection-pool.ts";
import { endpointTarget, hostTarget, type UpstreamTls } from "./endpoint.ts";
import { encodeRequestHead } from "./request-head.ts";
import { isRepeatable } from "./retry.ts";
import type { UpstreamTransport } from "./transport.ts";

export interface HttpTransportOptions {
  /** Scheme, host and port to connect to; its path is not looked at. */
  readonly endpoint: URL;
  /** Idle connections kept per host. */
  readonly maxIdlePerHost: number;
  /** Connections in all; requests beyond wait, at most `connectTimeoutMs`. */
  readonly maxConnections: number;
  /** Until a connection is ready: name lookup, TCP and TLS, or a place among the connections. */
  readonly connectTimeoutMs: number;
  /** From the end of the request to the end of the response header. */
  readonly headerTimeoutMs: number;
  /** Each pause between bytes in which we wait and upstream does nothing. */
  readonly stallTimeoutMs: number;
  /** How long an unused connection is kept; default 90 s, less when the server says so. */
  readonly idleTimeoutMs?: number | undefined;
  readonly clock: Clock;
  /** For `https:` endpoints; undefined: the system's trust store, certificates checked. */
  readonly tls?: UpstreamTls | undefined;
}

export interface HttpTransport extends UpstreamTransport {
  /** Connections open or being opened, busy and idle: a gauge. */
  connectionCount(): number;
  /** Connections kept for later: a gauge. */
  idleConnectionCount(): number;
}

const DEFAULT_IDLE_TIMEOUT_MS = 90_000;

/**
 * A request that cannot be repeated only gets a connection that was in use a moment ago: no
 * server closes one that soon, so it is not lost to a close that crosses it on the wire.
 */
const TRUSTED_IDLE_MS = 2_000;

export function createHttpTransport(options: HttpTransportOptions): HttpTransport {
  const { clock } = options;
  const idleTimeoutMs = options.idleTimeoutMs ?? DEFAULT_IDLE_TIMEOUT_MS;
  const pool = new ConnectionPool({
    maxIdlePerHost: options.maxIdlePerHost,
    maxConnections: options.maxConnections,
    connectTimeoutMs: options.connectTimeoutMs,
    idleTimeoutMs,
    clock,
    limits: {
      headerTimeoutMs: options.headerTimeoutMs,
      stallTimeoutMs: options.stallTimeoutMs,
      handshakeTimeoutMs: options.connectTimeoutMs,
      bulk: new BulkReads(),
      clock,
    },
  });
  const ownTarget = endpointTarget(options.endpoint, options.tls);

  return {
    async send(request) {
      try {
        const head = encodeRequestHead(request);
        const target = request.host === undefined ? ownTarget : hostTarget(request.host, ownTarget);
        const { signal } = request;
        const mayRepeat = isRepeatable(request);
        const maxIdleMs = mayRepeat ? Infinity : TRUSTED_IDLE_MS;
        const { connection, isFresh } = await pool.acquire(target, { maxIdleMs, signal });
        try {
          return await connection.send(request, head);
        } catch (error) {
          const isStale =
            !isFresh && !connection.hasReceived && errorCode(error) === "upstream_reset";
          if (!isStale || !mayRepeat) throw error;
        }
        // Step 1: the server closes an idle connection. Step 2: we send on it before its close
        // arrives here. Step 3: it answers with a reset, never having seen the request.
        const lease = await pool.acquire(target, { maxIdleMs: 0, signal });
        return await lease.connection.send(request, head);
      } catch (error) {
        request.body?.close();
        throw error;
      }
    },
    close: () => pool.close(),
    connectionCount: () => pool.count,
    idleConnectionCount: () => pool.idleCount,
  };
}
