/**
 * A strict HTTP/1.1 response parser (RFC 9112): bytes in, head, body and end out.
 *
 * Strict because its output is cached and handed to other clients: whatever could be read in
 * two ways (two lengths, a length and a transfer coding, a bare line feed, a folded line)
 * is refused with `upstream_protocol` instead of guessed at, which leaves nothing for a
 * smuggled response to hide in. It owns no socket and no timer; connection.ts feeds it.
 *
 * One parser serves one response: `push` until the sink was told `end`. Body bytes are views
 * of what was pushed, never copies.
 */

import { GatewayError } from "../base/errors.ts";
import type { RawHeaders } from "../http/fields.ts";

export interface ResponseHead {
  readonly status: number;
  /** Names and values in the order, case and number they came in, as Latin-1 text. */
  readonly headers: RawHeaders;
  /** False when the connection cannot carry another exchange after this response. */
  readonly keepsAlive: boolean;
  /** How long the server says it keeps an idle connection (`Keep-Alive: timeout=`), if it does. */
  readonly keepAliveHintMs: number | undefined;
}

/** What the parser reports, in this order: head once, body any number of times, end once. */
export interface ResponseSink {
  /** `100 Continue`, before the head. Other interim responses are nobody's business. */
  onContinue(): void;
  head(head: ResponseHead): void;
  body(chunk: Uint8Array): void;
  /** `isClean` is false when bytes followed that nobody asked for: do not reuse the connection. */
  end(isClean: boolean): void;
}

/** The states in which a whole line is awaited. */
type LineState = "status-line" | "header-line" | "chunk-size" | "chunk-end" | "trailer-line";

type State = LineState | "body-by-length" | "body-until-close" | "chunk-data" | "done";

/** Status line and fields together. S3 answers stay below 16 KiB; nginx and Go allow similar. */
const HEAD_BYTES_MAX = 64 * 1024;
/** A chunk size with its extensions. */
const CHUNK_LINE_BYTES_MAX = 4 * 1024;
const INTERIM_RESPONSES_MAX = 16;

const LF = 0x0a;
const STATUS_LINE = /^HTTP\/1\.([01]) ([1-9]\d{2})(?: [\t\x20-\x7e\x80-\xff]*)?$/;
// field-name ":" OWS field-value OWS (RFC 9112 §5): no blank before the colon, no folding.
// oxlint-disable-next-line eslint/no-control-regex -- control characters are what it refuses
const FIELD_LINE = /^([!#$%&'*+\-.^_`|~\dA-Za-z]+):[\t ]*([^\x00-\x08\x0a-\x1f\x7f]*?)[\t ]*$/;
// Fifteen digits keep every length below 2^53, where numbers are still exact.
const CONTENT_LENGTH = /^\d{1,15}$/;
const CHUNK_SIZE = /^([\dA-Fa-f]{1,12})[\t ]*(?:;[\t\x20-\x7e\x80-\xff]*)?$/;

export class ResponseParser {
  readonly #sink: ResponseSink;
  readonly #isHeadRequest: boolean;
  #state: State = "status-line";
  /** The unfinished line at the end of the last push. */
  #line = "";
  /** Head or trailer bytes that may still come. */
  #lineBytesLeft = HEAD_BYTES_MAX;
  #remainingBytes = 0;
  #interimCount = 0;
  #status = 0;
  #isHttp10 = false;
  #headers: string[] = [];

  /** Parses the response to a request with this method: HEAD has no body. */
  constructor(method: string, sink: ResponseSink) {
    this.#isHeadRequest = method === "HEAD";
    this.#sink = sink;
  }

  /** Body bytes of the declared length that did not come yet; undefined when none is declared. */
  get remainingBytes(): number | undefined {
    return this.#state === "body-by-length" ? this.#remainingBytes : undefined;
  }

  /** Takes the next bytes. Throws `upstream_protocol` when they are not a valid response. */
  push(bytes: Buffer): void {
    let at = 0;
    while (at < bytes.length) {
      switch (this.#state) {
        case "done":
          // The sink was told that its end was not clean.
          return;
        case "body-by-length":
          at = this.#takeKnownLength(bytes, at);
          break;
        case "body-until-close":
          this.#sink.body(at === 0 ? bytes : bytes.subarray(at));
          return;
        case "chunk-data":
          at = this.#takeChunkData(bytes, at);
          break;
        case "status-line":
        case "header-line":
        case "chunk-size":
        case "chunk-end":
        case "trailer-line":
          at = this.#takeLine(this.#state, bytes, at);
          break;
      }
    }
  }

  /**
   * The server closed its side. Ends a body without a declared length; throws
   * `upstream_wrong_length` inside any other body and `upstream_reset` before it.
   */
  finish(): void {
    switch (this.#state) {
      case "done":
        return;
      case "body-until-close":
        this.#end(false);
        return;
      case "status-line":
      case "header-line":
        throw new GatewayError("upstream_reset", "upstream closed before its response header");
      case "body-by-length":
        throw new GatewayError(
          "upstream_wrong_length",
          `upstream closed ${this.#remainingBytes} bytes before the end of the body`,
        );
      case "chunk-size":
      case "chunk-data":
      case "chunk-end":
      case "trailer-line":
        throw new GatewayError("upstream_wrong_length", "upstream closed inside a chunked body");
    }
  }

  #expectHead(): void {
    this.#state = "status-line";
    this.#line = "";
    this.#lineBytesLeft = HEAD_BYTES_MAX;
    this.#headers = [];
  }

  #takeKnownLength(bytes: Buffer, at: number): number {
    const availableBytes = bytes.length - at;
    if (availableBytes > this.#remainingBytes) {
      // Refused before the last chunk is handed on: a reader that counts to the declared
      // length must not take this body for a whole one.
      throw violation("the body is longer than its Content-Length");
    }
    this.#remainingBytes -= availableBytes;
    this.#sink.body(at === 0 ? bytes : bytes.subarray(at));
    if (this.#remainingBytes === 0) this.#end(true);
    return bytes.length;
  }

  #takeChunkData(bytes: Buffer, at: number): number {
    const end = Math.min(bytes.length, at + this.#remainingBytes);
    this.#remainingBytes -= end - at;
    this.#sink.body(bytes.subarray(at, end));
    if (this.#remainingBytes === 0) this.#expectLine("chunk-end", 2);
    return end;
  }

  #takeLine(state: LineState, bytes: Buffer, at: number): number {
    const lineFeedAt = bytes.indexOf(LF, at);
    const end = lineFeedAt === -1 ? bytes.length : lineFeedAt + 1;
    this.#lineBytesLeft -= end - at;
    if (this.#lineBytesLeft < 0) throw violation(`an oversized ${state}`);
    const text = bytes.toString("latin1", at, end);
    if (lineFeedAt === -1) {
      this.#line += text;
      return end;
    }
    const line = this.#line + text;
    this.#line = "";
    // RFC 9112 §2.2 allows a bare line feed as a line end; no object store sends one.
    if (!line.endsWith("\r\n")) throw violation(`a bare line feed in a ${state}`);
    this.#onLine(state, line.slice(0, -2), end === bytes.length);
    return end;
  }

  #onLine(state: LineState, line: string, isLastOfPush: boolean): void {
    switch (state) {
      case "status-line": {
        const match = STATUS_LINE.exec(line);
        if (match === null) throw violation("not an HTTP/1 status line");
        this.#isHttp10 = match[1] === "0";
        this.#status = Number(match[2]);
        this.#state = "header-line";
        return;
      }
      case "header-line": {
        if (line === "") {
          this.#onHeadComplete(isLastOfPush);
          return;
        }
        const match = FIELD_LINE.exec(line);
        if (match === null) throw violation("a malformed header field");
        this.#headers.push(match[1] ?? "", match[2] ?? "");
        return;
      }
      case "chunk-size": {
        const match = CHUNK_SIZE.exec(line);
        if (match === null) throw violation("a malformed chunk size");
        this.#remainingBytes = Number.parseInt(match[1] ?? "", 16);
        if (this.#remainingBytes === 0) this.#expectLine("trailer-line", HEAD_BYTES_MAX);
        else this.#state = "chunk-data";
        return;
      }
      case "chunk-end":
        if (line !== "") throw violation("a chunk longer than its size");
        this.#expectLine("chunk-size", CHUNK_LINE_BYTES_MAX);
        return;
      case "trailer-line":
        // Trailers are checked and dropped: nothing in S3 reads them from a response.
        if (line === "") {
          if (!isLastOfPush) throw violation("bytes after the last chunk");
          this.#end(true);
        } else if (!FIELD_LINE.test(line)) throw violation("a malformed trailer field");
    }
  }

  #onHeadComplete(isLastOfPush: boolean): void {
    const status = this.#status;
    if (status < 200) {
      // RFC 9110 §15.2: interim responses are consumed. We never ask for an upgrade.
      this.#interimCount += 1;
      if (status === 101) throw violation("an upgrade nobody asked for");
      if (this.#interimCount > INTERIM_RESPONSES_MAX) throw violation("endless 1xx responses");
      if (status === 100) this.#sink.onContinue();
      this.#expectHead();
      return;
    }
    const framing = frame(this.#headers, this.#isHttp10);
    const hasNoBody =
      this.#isHeadRequest || status === 204 || status === 304 || framing.lengthBytes === 0;
    this.#sink.head({
      status,
      headers: this.#headers,
      keepsAlive: framing.keepsAlive && (hasNoBody || framing.kind !== "until-close"),
      keepAliveHintMs: framing.keepAliveHintMs,
    });
    if (hasNoBody) {
      // Some servers send an error body even to HEAD: harmless, once the connection is given up.
      if (!isLastOfPush && framing.lengthBytes === 0 && !this.#isHeadRequest) {
        throw violation("the body is longer than its Content-Length");
      }
      this.#end(isLastOfPush);
      return;
    }
    switch (framing.kind) {
      case "length":
        this.#state = "body-by-length";
        this.#remainingBytes = framing.lengthBytes;
        return;
      case "chunked":
        this.#expectLine("chunk-size", CHUNK_LINE_BYTES_MAX);
        return;
      case "until-close":
        this.#state = "body-until-close";
        return;
    }
  }

  #expectLine(state: State, limitBytes: number): void {
    this.#state = state;
    this.#lineBytesLeft = limitBytes;
  }

  #end(isClean: boolean): void {
    this.#state = "done";
    this.#sink.end(isClean);
  }
}

type Framing = {
  readonly keepsAlive: boolean;
  readonly keepAliveHintMs: number | undefined;
} & (
  | { readonly kind: "length"; readonly lengthBytes: number }
  | { readonly kind: "chunked" | "until-close"; readonly lengthBytes?: undefined }
);

/** Message body length, RFC 9112 §6.3, with every ambiguity refused. */
function frame(headers: RawHeaders, isHttp10: boolean): Framing {
  let lengthBytes: number | undefined;
  let isChunked = false;
  let keepsAlive = !isHttp10;
  let keepAliveHintMs: number | undefined;
  for (let at = 0; at + 1 < headers.length; at += 2) {
    const name = headers[at] ?? "";
    const value = headers[at + 1] ?? "";
    // The lengths of the four names that matter; spares lower-casing the rest.
    if (name.length !== 10 && name.length !== 14 && name.length !== 17) continue;
    switch (name.toLowerCase()) {
      case "content-length":
        if (lengthBytes !== undefined) throw violation("a repeated Content-Length");
        if (!CONTENT_LENGTH.test(value)) throw violation("a malformed Content-Length");
        lengthBytes = Number(value);
        break;
      case "transfer-encoding":
        if (isChunked || value.toLowerCase() !== "chunked" || isHttp10) {
          throw violation("an unknown Transfer-Encoding");
        }
        isChunked = true;
        break;
      case "connection": {
        const tokens = value.toLowerCase();
        if (/(?:^|[,\t ])close(?:$|[,\t ])/.test(tokens)) keepsAlive = false;
        break;
      }
      case "keep-alive": {
        const seconds = /(?:^|[,;\t ])timeout=(\d{1,6})/i.exec(value)?.[1];
        if (seconds !== undefined) keepAliveHintMs = Number(seconds) * 1_000;
        break;
      }
      default:
    }
  }
  if (isChunked && lengthBytes !== undefined) {
    // The classic of response smuggling: two truths about where the body ends.
    throw violation("both Content-Length and Transfer-Encoding");
  }
  if (isChunked) return { kind: "chunked", keepsAlive, keepAliveHintMs };
  if (lengthBytes !== undefined)
    return { kind: "length", lengthBytes, keepsAlive, keepAliveHintMs };
  return { kind: "until-close", keepsAlive, keepAliveHintMs };
}

function violation(what: string): GatewayError {
  return new GatewayError("upstream_protocol", `upstream sent ${what}`);
}
