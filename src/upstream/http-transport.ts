/**
 * The upstream client over plain HTTP/1.1 (interim: on node:http agents, which keep
 * raw paths and header case; see docs/architecture.md A4).
 */

import { once } from "node:events";
import http from "node:http";
import https from "node:https";
import type { ByteSource } from "../base/byte-source.ts";
import type { Clock, Timer } from "../base/clock.ts";
import { GatewayError, type ErrorCode } from "../base/errors.ts";
import type { RawHeaders } from "../http/fields.ts";
import type { UpstreamRequest, UpstreamResponse, UpstreamTransport } from "./transport.ts";

export interface HttpTransportOptions {
  /** Scheme, host and port to connect to; its path is not used here. */
  readonly endpoint: URL;
  readonly maxIdlePerHost: number;
  readonly maxConnections: number;
  readonly connectTimeoutMs: number;
  readonly headerTimeoutMs: number;
  readonly stallTimeoutMs: number;
  readonly clock: Clock;
  readonly tls?: TlsOptions | undefined;
}

export interface TlsOptions {
  /** PEM bundle that replaces the system's trust store. */
  readonly ca?: string | undefined;
  readonly rejectUnauthorized?: boolean | undefined;
}

export interface HttpTransport extends UpstreamTransport {
  /** Open connections, busy and idle: a gauge. */
  connectionCount(): number;
}

export function createHttpTransport(options: HttpTransportOptions): HttpTransport {
  const { endpoint, clock } = options;
  const isTls = endpoint.protocol === "https:";
  const agent = isTls
    ? new https.Agent({
        keepAlive: true,
        maxFreeSockets: options.maxIdlePerHost,
        maxTotalSockets: options.maxConnections,
        rejectUnauthorized: options.tls?.rejectUnauthorized ?? true,
        ...(options.tls?.ca === undefined ? {} : { ca: options.tls.ca }),
      })
    : new http.Agent({
        keepAlive: true,
        maxFreeSockets: options.maxIdlePerHost,
        maxTotalSockets: options.maxConnections,
      });

  return {
    send: (request) => {
      const { promise, resolve, reject } = Promise.withResolvers<UpstreamResponse>();
      const hostname = (request.host ?? endpoint.hostname).replace(/^\[|\]$/g, "");
      const outgoing = (isTls ? https : http).request({
        agent,
        host: hostname,
        port: endpoint.port === "" ? (isTls ? 443 : 80) : Number(endpoint.port),
        method: request.method,
        path: request.rawTarget,
        headers: toOutgoing(request.headers),
        setHost: false,
      });
      const fail = (code: ErrorCode, message: string, cause?: unknown) => {
        timer.cancel();
        reject(new GatewayError(code, message, { cause }));
        outgoing.destroy();
      };
      let timer: Timer = clock.after(options.connectTimeoutMs + options.headerTimeoutMs, () =>
        fail("upstream_header_timeout", "no response header in time"),
      );
      outgoing.on("socket", (socket) => {
        socket.setNoDelay(true);
        if (!socket.connecting) return;
        timer.cancel();
        timer = clock.after(options.connectTimeoutMs, () =>
          fail("upstream_connect_timeout", `no connection to ${hostname} in time`),
        );
        socket.once("connect", () => {
          timer.cancel();
          timer = clock.after(options.headerTimeoutMs, () =>
            fail("upstream_header_timeout", "no response header in time"),
          );
        });
      });
      outgoing.on("error", (error: Error & { code?: string }) => {
        const code = error.code ?? "";
        fail(
          /ECONNREFUSED|ENOTFOUND|EAI_|CERT|TLS|SSL|FailedToOpenSocket/.test(code)
            ? "upstream_unreachable"
            : /HPE_/.test(code)
              ? "upstream_protocol"
              : "upstream_reset",
          error.message,
          error,
        );
      });
      outgoing.on("response", (incoming) => {
        timer.cancel();
        resolve({
          status: incoming.statusCode ?? 0,
          headers: incoming.rawHeaders as RawHeaders,
          body: incomingBody(incoming, outgoing, request.method, options),
        });
      });
      const signal = request.signal;
      if (signal !== undefined) {
        const abort = () => {
          timer.cancel();
          reject(signal.reason);
          outgoing.destroy();
        };
        if (signal.aborted) abort();
        else signal.addEventListener("abort", abort, { once: true });
      }
      if (request.body === null) outgoing.end();
      else void upload(request.body, outgoing, (error) => fail("client_gone", "upload broke", error));
      return promise;
    },
    close: () => agent.destroy(),
    connectionCount: () =>
      [...Object.values(agent.sockets), ...Object.values(agent.freeSockets)].reduce(
        (sum, sockets) => sum + (sockets?.length ?? 0),
        0,
      ),
  };
}

function toOutgoing(raw: RawHeaders): Record<string, string | string[]> {
  const headers: Record<string, string | string[]> = {};
  const spelling = new Map<string, string>();
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const name = raw[at] ?? "";
    const value = raw[at + 1] ?? "";
    const key = spelling.get(name.toLowerCase());
    const present = key === undefined ? undefined : headers[key];
    if (key === undefined || present === undefined) {
      spelling.set(name.toLowerCase(), name);
      headers[name] = value;
    } else headers[key] = Array.isArray(present) ? [...present, value] : [present, value];
  }
  return headers;
}

async function upload(
  source: ByteSource,
  outgoing: http.ClientRequest,
  onBroken: (error: unknown) => void,
): Promise<void> {
  try {
    for (;;) {
      const chunk = await source.read();
      if (chunk === null) break;
      if (outgoing.destroyed) return source.close();
      if (!outgoing.write(chunk)) await once(outgoing, "drain");
    }
    outgoing.end();
  } catch (error) {
    source.close();
    if (!outgoing.destroyed) onBroken(error);
  }
}

function incomingBody(
  incoming: http.IncomingMessage,
  outgoing: http.ClientRequest,
  method: string,
  options: HttpTransportOptions,
): ByteSource {
  const declared = Number(incoming.headers["content-length"] ?? Number.NaN);
  const hasBody =
    method !== "HEAD" && incoming.statusCode !== 204 && incoming.statusCode !== 304;
  let receivedBytes = 0;
  let broken: Error | undefined;
  incoming.on("error", (error) => {
    broken = error;
  });
  const iterator = incoming[Symbol.asyncIterator]();
  return {
    async read() {
      const timer = options.clock.after(options.stallTimeoutMs, () => {
        broken = new GatewayError("upstream_stalled", "the response body made no progress");
        incoming.destroy(broken);
      });
      try {
        const next = await iterator.next();
        if (next.done !== true) {
          const chunk = next.value as Uint8Array;
          receivedBytes += chunk.length;
          return chunk;
        }
        if (broken !== undefined) throw broken;
      } catch (error) {
        if (error instanceof GatewayError) throw error;
        throw new GatewayError("upstream_reset", "the connection broke inside the body", {
          cause: error,
        });
      } finally {
        timer.cancel();
      }
      if (hasBody && !Number.isNaN(declared) && receivedBytes !== declared) {
        throw new GatewayError(
          "upstream_wrong_length",
          `got ${receivedBytes} of ${declared} bytes`,
        );
      }
      return null;
    },
    close() {
      if (!incoming.complete) outgoing.destroy();
    },
  };
}

export type { UpstreamRequest };
