/**
 * The seam to the object store: one request out, one response back, bytes
 * untouched. Implementations keep raw targets, header case, order and repeats,
 * never decompress and never follow redirects, because signatures cover all of
 * that (decision A4).
 *
 * Failures are `GatewayError`s with an `upstream_*` code. Every phase has its own
 * bound: connecting, waiting for the response header, and each pause between
 * bytes. There is no limit on the whole, so a large object may take its time.
 */

import type { ByteSource } from "../base/byte-source.ts";
import type { RawHeaders } from "../http/fields.ts";

export interface UpstreamRequest {
  readonly method: string;
  /** Raw path and query, sent byte for byte. */
  readonly rawTarget: string;
  /** Sent as they are, `Host` included; framing fields only when the body needs them. */
  readonly headers: RawHeaders;
  /**
   * Null: no body. A source needs either a `Content-Length` among the headers, then
   * exactly as many bytes must follow, or goes out chunked.
   */
  readonly body: ByteSource | null;
  /**
   * True: the sender of the body waits to be asked for it (`Expect: 100-continue`, RFC 9110
   * §10.1.1). Upstream is asked first, and the body read once upstream wants it or has said
   * nothing for a second.
   */
  readonly awaitsContinue?: boolean | undefined;
  /** Where to connect when it differs from the configured endpoint (virtual-host style). */
  readonly host?: string | undefined;
  /** Gives the request up: the connection is closed and the body source fails. */
  readonly signal?: AbortSignal | undefined;
}

export interface UpstreamResponse {
  readonly status: number;
  readonly headers: RawHeaders;
  /**
   * The body as framed. It fails with `upstream_wrong_length` when the connection
   * ends before the declared length, and must be read to the end or closed.
   */
  readonly body: ByteSource;
}

export interface UpstreamTransport {
  /** Resolves when the response header is complete (interim 1xx are consumed). */
  send(request: UpstreamRequest): Promise<UpstreamResponse>;
  /** Closes idle connections; running requests end on their own. */
  close(): void;
}
