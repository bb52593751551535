/**
 * Framing of replies: from a `Reply` to the header as it will be sent and the number
 * of body bytes that must follow (RFC 9112 §6, RFC 9110 §8.6). Pure, and shared by every listener, so that
 * they cannot disagree about when a body is complete.
 */

import { unreachable } from "../base/assert.ts";
import type { Reply } from "../http/exchange.ts";
import { fieldValue } from "../http/fields.ts";
import type { Fields, RawHeaders } from "../http/fields.ts";

export type BodyFraming =
  /** Nothing follows the header, whatever it declares. */
  | { readonly kind: "empty" }
  /** Exactly so many bytes follow, or the connection is cut. */
  | { readonly kind: "length"; readonly lengthBytes: number }
  /** The length is not known: chunked, or until close for HTTP/1.0. */
  | { readonly kind: "chunked" };

export interface Framing {
  /** The reply's own headers, completed with `Content-Length` where that was missing. */
  readonly headers: RawHeaders;
  readonly body: BodyFraming;
}

const EMPTY: BodyFraming = { kind: "empty" };
const CHUNKED: BodyFraming = { kind: "chunked" };

/**
 * Decides the framing of `reply` to a request of `method`.
 *
 * Throws when the reply contradicts itself (a `Content-Length` that is not the
 * length of its body): sending it would desynchronise the connection.
 */
export function frameReply(method: string, reply: Reply): Framing {
  const { body, headers, status } = reply;
  if (fieldValue(headers, "transfer-encoding") !== undefined) {
    throw new Error("a reply leaves its framing to the listener, but has a Transfer-Encoding");
  }
  const declared = declaredLength(headers);
  const known = knownLength(reply);

  if (!mayHaveBody(method, status)) {
    // HEAD describes the GET it stands for; 204 must not declare a length (RFC 9110 §8.6).
    if (method !== "HEAD" || status === 204 || status === 304) return { headers, body: EMPTY };
    if (declared !== undefined || known === undefined || body.kind === "none") {
      return { headers, body: EMPTY };
    }
    return { headers: [...headers, "Content-Length", String(known)], body: EMPTY };
  }

  if (known === undefined) {
    if (declared === undefined) return { headers, body: CHUNKED };
    return { headers, body: { kind: "length", lengthBytes: declared } };
  }
  if (declared !== undefined && declared !== known) {
    throw new Error(`reply declares ${declared} bytes but has a body of ${known}`);
  }
  return {
    headers: declared === undefined ? [...headers, "Content-Length", String(known)] : headers,
    body: known === 0 ? EMPTY : { kind: "length", lengthBytes: known },
  };
}

/** RFC 9112 §6.3: a request has a body exactly when it says so; zero bytes are none. */
export function requestHasBody(fields: Fields): boolean {
  const length = fields.get("content-length");
  return (length !== undefined && length !== "0") || fields.has("transfer-encoding");
}

/** RFC 9112 §6.3, rules 1 and 2. */
function mayHaveBody(method: string, status: number): boolean {
  return method !== "HEAD" && status !== 204 && status !== 304 && status >= 200;
}

function knownLength(reply: Reply): number | undefined {
  const { body } = reply;
  switch (body.kind) {
    case "none":
      return 0;
    case "bytes":
      return body.bytes.length;
    case "file":
      return body.file.lengthBytes;
    case "stream":
      return body.lengthBytes;
    default:
      return unreachable(body);
  }
}

function declaredLength(headers: RawHeaders): number | undefined {
  const value = fieldValue(headers, "content-length");
  if (value === undefined) return undefined;
  const length = Number(value);
  if (!/^\d+$/.test(value) || !Number.isSafeInteger(length)) {
    throw new Error(`reply has an invalid Content-Length: ${value}`);
  }
  return length;
}

/** Whether a comma-separated field value has `token`, in any case. */
export function hasToken(list: string | undefined, token: string): boolean {
  if (list === undefined) return false;
  for (const item of list.split(",")) if (item.trim().toLowerCase() === token) return true;
  return false;
}
