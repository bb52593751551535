/**
 * One HTTP exchange as the handlers see it: an `Inbound` request and the `Reply`
 * to it. This is the seam between the HTTP servers (server/) and what answers
 * (gateway/, origin/): the handlers do not know which server carries them out
 * (decision A1 of docs/architecture.md).
 */

import type { ByteSource } from "../base/byte-source.ts";
import type { LentBytes } from "../base/counted-bytes.ts";
import type { Fields, RawHeaders } from "./fields.ts";

export interface Inbound {
  /** Request id: unique, goes into `x-amz-request-id`, the logs and error bodies. */
  readonly id: string;
  readonly method: string;
  /** The request target exactly as received, still encoded (RFC 9112 §3.2). */
  readonly rawTarget: string;
  readonly fields: Fields;
  /** The request body as framed by HTTP; null when the request has none. */
  readonly body: ByteSource | null;
  /** Aborts when the client is gone before its reply was complete. Made on first use. */
  readonly signal: AbortSignal;
  /** Address of the TCP peer, without port. */
  readonly remoteAddress: string;
  /** True when the connection to the client is TLS. */
  readonly isSecure: boolean;
  /** Monotonic time at which the request header was complete. */
  readonly receivedAtMs: number;
}

/**
 * Part of an open file. The descriptor stays open and names the same bytes until
 * `release` was called, which the listener does exactly once, whatever happens.
 */
export interface FileSlice {
  readonly descriptor: number;
  /** Where the file is, for platforms that cannot reopen a descriptor (macOS). */
  readonly path: string;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  release(): void;
}

export type ReplyBody =
  | { readonly kind: "none" }
  | LentBytes
  | { readonly kind: "file"; readonly file: FileSlice }
  /** `lengthBytes` undefined: the length is not known, so the body goes out chunked. */
  | {
      readonly kind: "stream";
      readonly source: ByteSource;
      readonly lengthBytes: number | undefined;
      /**
       * Waits until all of the body lies in a file, to be sent instead of `source`; undefined when it
       * will not. For a listener that cannot declare the length of a stream. To be called before
       * anything was read from `source`, which is closed afterwards as ever. Never rejects.
       */
      readonly stored?: (() => Promise<FileSlice | undefined>) | undefined;
    };

export const NO_BODY: ReplyBody = { kind: "none" };

/**
 * An answer. `headers` are sent as they are, in order; the listener adds only
 * `Date`, `Connection` and framing, and `Content-Length` when a body of known length
 * came without one. A reply to HEAD has `kind: "none"` and may declare a length.
 *
 * A stream that throws, or ends early, makes the listener cut the connection, so
 * that a truncated body is never taken for a whole one.
 */
export interface Reply {
  readonly status: number;
  readonly headers: RawHeaders;
  readonly body: ReplyBody;
  /** Called once when nothing more will be sent. Must not throw. */
  readonly onFinish?: ((sent: SendOutcome) => void) | undefined;
}

export interface SendOutcome {
  /** Body bytes handed to the socket. */
  readonly bytesSent: number;
  /** False when the client left or the body broke before the end. */
  readonly isComplete: boolean;
}

export type Handler = (inbound: Inbound) => Reply | Promise<Reply>;
