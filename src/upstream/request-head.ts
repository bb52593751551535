/**
 * The head of an upstream request: from an `UpstreamRequest` to the bytes on the wire.
 *
 * Signatures cover path and fields, so both go out as they came, byte for byte. The one
 * thing decided here is how the body is framed (RFC 9112 §6), and the one field replaced is
 * `Expect`: it says what is true of this connection, whatever the client's own was.
 */

import { assert } from "../base/assert.ts";
import { isNamed } from "../http/fields.ts";
import type { RawHeaders } from "../http/fields.ts";
import type { UpstreamRequest } from "./transport.ts";

export type RequestFraming =
  | { readonly kind: "none" }
  | { readonly kind: "length"; readonly lengthBytes: number }
  | { readonly kind: "chunked" };

export interface RequestHead {
  readonly bytes: Buffer;
  readonly framing: RequestFraming;
}

// What could end the request line or a field early (request splitting) never leaves.
// oxlint-disable-next-line eslint/no-control-regex -- control characters are what it refuses
const UNSAFE_IN_TARGET = /[^\x21-\x7e\x80-\xff]/;
// oxlint-disable-next-line eslint/no-control-regex -- control characters are what it refuses
const UNSAFE_IN_VALUE = /[^\t\x20-\x7e\x80-\xff]/;
const FIELD_NAME = /^[!#$%&'*+\-.^_`|~\dA-Za-z]+$/;
const METHOD = /^[A-Z]+$/;
const CONTENT_LENGTH = /^\d{1,15}$/;

/**
 * Encodes the head of `request`. Throws (a bug of the caller) when a part of it would break the
 * framing: a line break, two lengths, a length without a body.
 */
export function encodeRequestHead(request: UpstreamRequest): RequestHead {
  assert(METHOD.test(request.method), "the method is a token");
  assert(!UNSAFE_IN_TARGET.test(request.rawTarget), "the target is one word of bytes");
  const framing = framingOf(request);
  let text = `${request.method} ${request.rawTarget} HTTP/1.1\r\n`;
  const raw = request.headers;
  let isMarkedChunked = false;
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const name = raw[at] ?? "";
    const value = raw[at + 1] ?? "";
    assert(FIELD_NAME.test(name), "a field name is a token");
    assert(!UNSAFE_IN_VALUE.test(value), "a field value is one line of bytes");
    if (isNamed(name, "expect")) continue;
    if (isNamed(name, "transfer-encoding")) isMarkedChunked = true;
    text += `${name}: ${value}\r\n`;
  }
  if (framing.kind === "chunked" && !isMarkedChunked) text += "Transfer-Encoding: chunked\r\n";
  if (request.awaitsContinue === true && request.body !== null) text += "Expect: 100-continue\r\n";
  return { bytes: Buffer.from(`${text}\r\n`, "latin1"), framing };
}

function framingOf(request: UpstreamRequest): RequestFraming {
  const lengths = valuesOf(request.headers, "content-length");
  const codings = valuesOf(request.headers, "transfer-encoding");
  assert(lengths.length + codings.length <= 1, "a request has one framing field at most");
  const length = lengths[0];
  if (length !== undefined) assert(CONTENT_LENGTH.test(length), "Content-Length is a number");
  const coding = codings[0];
  if (coding !== undefined) assert(coding.toLowerCase() === "chunked", "the coding is chunked");
  if (request.body === null) {
    assert(coding === undefined, "a chunked request has a body");
    assert(length === undefined || Number(length) === 0, "a declared length needs a body");
    return { kind: "none" };
  }
  if (length === undefined) return { kind: "chunked" };
  return { kind: "length", lengthBytes: Number(length) };
}

function valuesOf(raw: RawHeaders, lowerName: string): string[] {
  const values: string[] = [];
  for (let at = 0; at + 1 < raw.length; at += 2) {
    if (isNamed(raw[at] ?? "", lowerName)) values.push(raw[at + 1] ?? "");
  }
  return values;
}
