/**
 * The header of an HTTP/1.1 request, from bytes to meaning (RFC 9112). Pure.
 *
 * A gateway sits between clients and caches of other people: when two parsers disagree where a
 * message ends, a request can be smuggled past the one in front. So whatever RFC 9112 leaves open
 * or lets a lenient server repair is refused here: both framings at once, repeated or signed
 * lengths, unknown transfer codings, folded lines, bare CR or LF, blanks before a colon, anything
 * but one Host. What is accepted has exactly one reading.
 *
 * Text is Latin-1: one character per byte, so nothing is lost whatever the client meant.
 */

import { isNamed } from "../../http/fields.ts";
import { hasToken } from "../framing.ts";

/** How the body of a request is delimited (RFC 9112 §6.3). */
export type RequestFraming =
  | { readonly kind: "none" }
  | { readonly kind: "length"; readonly lengthBytes: number }
  | { readonly kind: "chunked" };

export interface RequestHead {
  readonly method: string;
  /** As received: origin, absolute, authority or asterisk form. */
  readonly target: string;
  readonly minorVersion: 0 | 1;
  /** `[name, value, …]` in order, values without surrounding blanks. */
  readonly headers: readonly string[];
  readonly host: string | undefined;
  readonly framing: RequestFraming;
  /** False: the client wants the connection closed after this exchange. */
  readonly isPersistent: boolean;
  /** The client waits for `100 Continue` before it sends the body, if there is one. */
  readonly awaitsContinue: boolean;
}

export type HeadResult =
  /** More bytes are needed. */
  | { readonly kind: "incomplete" }
  /** `sizeBytes`: where the body, or the next request, begins. */
  | { readonly kind: "complete"; readonly head: RequestHead; readonly sizeBytes: number }
  | { readonly kind: "refused"; readonly status: RefusalStatus; readonly reason: string };

export type RefusalStatus = 400 | 431 | 501 | 505;

const INCOMPLETE: HeadResult = { kind: "incomplete" };
const NO_BODY: RequestFraming = { kind: "none" };
const CHUNKED: RequestFraming = { kind: "chunked" };

// RFC 9110 §5.6.2 (token) and §5.5 (field-value; obs-text is allowed, S3 metadata uses it).
const REQUEST_LINE = /[\w!#$%&'*+\-.^`|~]+ [\x21-\x7e]+ HTTP\/\d\.\d\r\n/y;
const FIELD_LINES = /(?:[\w!#$%&'*+\-.^`|~]+:[\t\x20-\x7e\x80-\xff]*\r\n)*\r\n/y;
// uri-host [":" port] without userinfo (RFC 9110 §7.2); empty when the target has no authority.
const HOST = /^(?:\[[\da-fA-F:.]+\]|[\w\-.~%!$&'()*+,;=]*)(?::\d*)?$/;
const DIGITS = /^\d{1,15}$/;

const CR = 13;
const LF = 10;
const ZERO = 48;
const ONE = 49;

/** As bytes: searching for text makes them each time. */
const HEAD_END = Buffer.from("\r\n\r\n");
/** Of ` HTTP/1.1` and the line end. */
const VERSION_CHARS = 11;

/**
 * Parses the header at the start of `bytes`. A single empty line before it is skipped
 * (RFC 9112 §2.2). Never throws.
 *
 * @param limitBytes longest header accepted, empty line included; longer is 431
 */
export function parseHead(bytes: Buffer, limitBytes: number): HeadResult {
  const start = bytes[0] === CR && bytes[1] === LF ? 2 : 0;
  const end = bytes.indexOf(HEAD_END, start);
  if (end === -1) return judgeIncomplete(bytes, start, limitBytes);
  const sizeBytes = end + 4;
  if (sizeBytes > limitBytes) return refuse(431, "the request header is too large");

  const text = bytes.toString("latin1", start, sizeBytes);
  // Matching without captures makes nothing; the parts are cut out by position.
  REQUEST_LINE.lastIndex = 0;
  if (!REQUEST_LINE.test(text)) return refuse(400, "malformed request line");
  const lineChars = REQUEST_LINE.lastIndex;
  if (text.charCodeAt(lineChars - 5) !== ONE) {
    return refuse(505, "only HTTP/1.1 and HTTP/1.0 are spoken here");
  }
  const minorVersion = text.charCodeAt(lineChars - 3) === ZERO ? 0 : 1;
  FIELD_LINES.lastIndex = lineChars;
  // The empty line must be the one that was found, not one before it.
  if (!FIELD_LINES.test(text) || FIELD_LINES.lastIndex !== text.length) {
    return refuse(400, "malformed header field");
  }
  const space = text.indexOf(" ");
  const method = text.slice(0, space);
  const target = text.slice(space + 1, lineChars - VERSION_CHARS);
  return readFields(text, lineChars, method, target, minorVersion, sizeBytes);
}

function readFields(
  text: string,
  start: number,
  method: string,
  target: string,
  minorVersion: 0 | 1,
  sizeBytes: number,
): HeadResult {
  const headers: string[] = [];
  let host: string | undefined;
  let contentLength: string | undefined;
  let transferEncoding: string | undefined;
  let connection: string | undefined;
  let expect: string | undefined;

  for (let at = start; at < text.length - 2;) {
    const colon = text.indexOf(":", at);
    const end = text.indexOf("\r\n", colon);
    const name = nameAt(text, at, colon);
    const value = trimBlanks(text, colon + 1, end);
    headers.push(name, value);
    at = end + 2;
    // Only five fields mean something here.
    if (isNamed(name, "host")) {
      if (host !== undefined) return refuse(400, "more than one Host");
      if (!HOST.test(value)) return refuse(400, "malformed Host");
      host = value;
    } else if (isNamed(name, "expect")) {
      expect = expect === undefined ? value : `${expect},${value}`;
    } else if (isNamed(name, "connection")) {
      connection = connection === undefined ? value : `${connection},${value}`;
    } else if (isNamed(name, "content-length")) {
      if (contentLength !== undefined) return refuse(400, "more than one Content-Length");
      contentLength = value;
    } else if (isNamed(name, "transfer-encoding")) {
      if (transferEncoding !== undefined) return refuse(400, "more than one Transfer-Encoding");
      transferEncoding = value;
    }
  }

  if (host === undefined && minorVersion === 1) return refuse(400, "no Host");
  let framing = NO_BODY;
  if (transferEncoding !== undefined) {
    if (contentLength !== undefined) {
      return refuse(400, "both Content-Length and Transfer-Encoding");
    }
    if (minorVersion === 0) return refuse(400, "Transfer-Encoding in HTTP/1.0");
    if (transferEncoding.toLowerCase() !== "chunked") {
      return refuse(501, "no transfer coding but chunked is known here");
    }
    framing = CHUNKED;
  } else if (contentLength !== undefined) {
    if (!DIGITS.test(contentLength)) return refuse(400, "malformed Content-Length");
    const lengthBytes = Number(contentLength);
    if (lengthBytes > 0) framing = { kind: "length", lengthBytes };
  }
  const head: RequestHead = {
    method,
    target,
    minorVersion,
    headers,
    host,
    framing,
    isPersistent: minorVersion === 1 && !hasToken(connection, "close"),
    // An HTTP/1.0 client does not know the interim answer (RFC 9110 §10.1.1). Expectations that
    // nobody knows may be ignored, and S3 ignores them.
    awaitsContinue: hasToken(expect, "100-continue") && minorVersion === 1,
  };
  return { kind: "complete", head, sizeBytes };
}

/** Names that came before; the first of a slot stays, so nobody can have those of others put out. */
const knownNames: string[] = Array.from({ length: 256 }, () => "");
/** Longer ones are not kept. */
const KNOWN_NAME_CHARS_MAX = 64;

/**
 * The name that stands there. One that came before is not cut out again, which would make a text that has to be made
 * whole before it can be compared. Its length and both ends tell where to look.
 */
function nameAt(text: string, from: number, to: number): string {
  const length = to - from;
  const slot = (31 * length + 7 * text.charCodeAt(from) + text.charCodeAt(to - 1)) & 255;
  const known = knownNames[slot] ?? "";
  if (known.length === length && text.startsWith(known, from)) return known;
  const name = text.slice(from, to);
  if (known === "" && length <= KNOWN_NAME_CHARS_MAX) {
    // A copy, as what is cut out keeps all of its text in memory.
    knownNames[slot] = Buffer.from(name, "latin1").toString("latin1");
  }
  return name;
}

/**
 * What can be said of a header whose end has not come: garbage is refused at once instead of being
 * collected until the time is up, and a line end that will never become a header end is garbage.
 */
function judgeIncomplete(bytes: Buffer, start: number, limitBytes: number): HeadResult {
  if (bytes.length >= limitBytes) return refuse(431, "the request header is too large");
  for (let at = start; at < bytes.length; at += 1) {
    const byte = bytes[at] ?? 0;
    if (byte >= 32 && byte !== 127) continue;
    if (byte === 9) continue;
    if (byte === LF && bytes[at - 1] === CR) continue;
    if (byte === CR && (at + 1 === bytes.length || bytes[at + 1] === LF)) continue;
    return refuse(400, "a control character in the request header");
  }
  return INCOMPLETE;
}

function trimBlanks(text: string, from: number, to: number): string {
  let start = from;
  let end = to;
  while (start < end && isBlank(text.charCodeAt(start))) start += 1;
  while (end > start && isBlank(text.charCodeAt(end - 1))) end -= 1;
  return text.slice(start, end);
}

function isBlank(code: number): boolean {
  return code === 32 || code === 9;
}

function refuse(status: RefusalStatus, reason: string): HeadResult {
  return { kind: "refused", status, reason };
}
