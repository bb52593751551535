/**
 * `GatewayError`: the world failed (a socket, a disk, a peer), as opposed to an
 * expected outcome, which is a value. The code is a stable string an operator can
 * search for; docs/operations.md lists each with the action to take.
 */

export type ErrorSource = "client" | "upstream" | "peer" | "storage" | "internal";

/** Whether trying again may help: at once, after a pause, or not at all. */
export type RetryAdvice = "never" | "now" | "later";

/** Every code there is, with where it comes from and whether a retry may help. */
export const ERROR_CODES = {
  /** The client went away before its request was answered or its body was complete. */
  client_gone: { source: "client", retry: "never" },
  /** The client's body broke its framing or announced length. */
  client_body_invalid: { source: "client", retry: "never" },
  /** No connection to upstream: refused, unresolvable, TLS failed. */
  upstream_unreachable: { source: "upstream", retry: "now" },
  /** The connection was not established in time. */
  upstream_connect_timeout: { source: "upstream", retry: "later" },
  /** Connected, but no response header arrived in time. */
  upstream_header_timeout: { source: "upstream", retry: "later" },
  /** The response body made no progress for too long. */
  upstream_stalled: { source: "upstream", retry: "later" },
  /** The connection broke before or inside the response. */
  upstream_reset: { source: "upstream", retry: "now" },
  /** The body ended before or went beyond its declared length. */
  upstream_wrong_length: { source: "upstream", retry: "now" },
  /** A response that is not HTTP, or that HTTP does not allow. */
  upstream_protocol: { source: "upstream", retry: "never" },
  /** The object changed while its parts were being fetched. */
  upstream_changed: { source: "upstream", retry: "now" },
  /** A consumer could not keep up and nothing held the bytes it missed. */
  slow_consumer: { source: "client", retry: "now" },
  /** The cache disk failed: no space, I/O error, read-only. */
  storage_io: { source: "storage", retry: "later" },
  /** Bytes on disk are not what was written. */
  corrupt_entry: { source: "storage", retry: "never" },
  /** Another process holds the store. */
  storage_locked: { source: "storage", retry: "never" },
  /** The process is draining. */
  shutting_down: { source: "internal", retry: "later" },
} as const satisfies Record<string, { source: ErrorSource; retry: RetryAdvice }>;

export type ErrorCode = keyof typeof ERROR_CODES;

export class GatewayError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options: { cause?: unknown } = {}) {
    super(message, options);
    this.name = "GatewayError";
    this.code = code;
  }

  get source(): ErrorSource {
    return ERROR_CODES[this.code].source;
  }

  get retry(): RetryAdvice {
    return ERROR_CODES[this.code].retry;
  }
}

/** The code of `error` when it is a `GatewayError`, else undefined. */
export function errorCode(error: unknown): ErrorCode | undefined {
  return error instanceof GatewayError ? error.code : undefined;
}
