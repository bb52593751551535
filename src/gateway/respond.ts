/**
 * The only builder of S3 replies: X-Cache, ranges, 304, 412, 416, HEAD, error XML, and
 * what is relayed from upstream. Whoever sets X-Cache does it here, so the header, the
 * counters and the log cannot disagree.
 */

import { unreachable } from "../base/assert.ts";
import { fieldsOf } from "../cache/cache.ts";
import type { FlightHead, SharedAnswer } from "../coalesce/flight.ts";
import type { ByteSource } from "../base/byte-source.ts";
import { errorCode, type ErrorCode } from "../base/errors.ts";
import { type FileSlice, NO_BODY, type Reply, type ReplyBody } from "../http/exchange.ts";
import { Fields, type RawHeaders, withoutFields } from "../http/fields.ts";
import { stripHopByHop } from "../http/hop-by-hop.ts";
import { type ByteRange, formatUnsatisfiedRange } from "../http/range.ts";
import { AwsChunkedError } from "../s3/aws-chunked.ts";
import { renderErrorXml } from "../s3/error-xml.ts";
import { s3Error, type S3Error, type S3ErrorCode } from "../s3/error.ts";
import type { StoredBody, StoredObject } from "../storage/storage.ts";
import type { AnswerSource, ExchangeState, ReadState, XCache } from "./exchange-state.ts";
import {
  notModifiedHeaders,
  overriddenHeaders,
  partialHeaders,
  type Representation,
  selectRepresentation,
} from "./representation.ts";

/** What replies say about the gateway itself. */
export interface ResponderOptions {
  /** Goes into `x-amz-id-2` and `HostId`: which node answered. */
  readonly hostId: string;
}

/** An object as a reply needs it, from the cache or from a flight. */
interface Source {
  readonly headers: RawHeaders;
  readonly fields: Fields;
  readonly sizeBytes: number;
  readonly etag: string | undefined;
  readonly lastModified: string | undefined;
}

/** Where the bytes of stored entries come from. */
export interface Bodies {
  /** As `Storage.read`; undefined: the body is gone or damaged. */
  read(
    object: StoredObject,
    range: ByteRange,
  ): StoredBody | undefined | Promise<StoredBody | undefined>;
}

/** An answer but for its body. */
interface Draft {
  readonly source: Source;
  readonly chosen: Representation;
  readonly xCache: XCache;
  readonly from: AnswerSource;
  /** Headers besides those of the object. */
  readonly extra: RawHeaders;
}

export class Responder {
  readonly #options: ResponderOptions;

  constructor(options: ResponderOptions) {
    this.#options = options;
  }

  /**
   * Answers from a stored entry. `bodies` is asked only when bytes are needed; when it
   * has none the result is undefined and the caller goes upstream. `more` are further
   * headers, such as `Warning` on a stale copy.
   */
  fromEntry(
    state: ReadState,
    object: StoredObject,
    xCache: XCache,
    ageSeconds: number,
    bodies: Bodies,
    more: RawHeaders = [],
  ): Reply | undefined | Promise<Reply | undefined> {
    const source = sourceOf(object);
    const chosen = this.#select(state, source);
    const extra = ["Age", String(ageSeconds), ...more];
    const draft: Draft = { source, chosen, xCache, from: "cache", extra };
    const range = bodyRange(chosen, object.sizeBytes);
    if (range === undefined || state.inbound.method === "HEAD") {
      return this.#represent(state, draft, NO_BODY);
    }
    const body = bodies.read(object, range);
    return body instanceof Promise
      ? this.#whenRead(state, draft, range, body)
      : this.#withBody(state, draft, range, body);
  }

  /**
   * Answers from a flight of known size; `open` starts the reader of the bytes wanted, `stored` waits
   * for the file all of them will lie in.
   */
  fromFlight(
    state: ReadState,
    head: FlightHead,
    sizeBytes: number,
    xCache: XCache,
    open: (range: ByteRange) => ByteSource,
    stored?: () => Promise<FileSlice | undefined>,
  ): Reply {
    const source: Source = { ...head, sizeBytes, fields: new Fields(head.headers) };
    const chosen = this.#select(state, source);
    const range = bodyRange(chosen, sizeBytes);
    const lengthBytes = range === undefined ? 0 : range.end - range.start;
    const body: ReplyBody =
      range === undefined || state.inbound.method === "HEAD"
        ? NO_BODY
        : {
            kind: "stream",
            source: open(range),
            lengthBytes,
            // Of an object that is read in parts the rest may never come.
            stored: lengthBytes === sizeBytes ? stored : undefined,
          };
    return this.#represent(state, { source, chosen, xCache, from: "flight", extra: [] }, body);
  }

  /** The part of the object a flight reader is going to need, before it is opened. */
  wantedFrom(state: ReadState, head: FlightHead, sizeBytes: number): ByteRange | undefined {
    const source: Source = { ...head, sizeBytes, fields: new Fields(head.headers) };
    return bodyRange(this.#select(state, source), sizeBytes);
  }

  /** Passes upstream's answer on: its status, its headers less those of the connection, and a body. */
  relay(
    state: ExchangeState,
    status: number,
    headers: RawHeaders,
    body: ReplyBody,
    xCache?: XCache,
  ): Reply {
    state.source = "upstream";
    const relayed = withoutFields(stripHopByHop(headers), (name) => NOT_RELAYED.has(name));
    const fields = new Fields(headers);
    state.upstreamRequestId = fields.get("x-amz-request-id");
    if (!fields.has("x-amz-request-id")) relayed.push("x-amz-request-id", state.inbound.id);
    this.#mark(state, relayed, xCache);
    return { status, headers: relayed, body };
  }

  /** A small answer a flight shares among all who waited for it. */
  shared(state: ExchangeState, answer: SharedAnswer, xCache: XCache): Reply {
    const headers = [...answer.headers, "x-amz-request-id", state.inbound.id];
    state.source = "flight";
    this.#mark(state, headers, xCache);
    const hasBody = state.inbound.method !== "HEAD" && answer.bytes.length > 0;
    return {
      status: answer.status,
      headers,
      body: hasBody ? { kind: "bytes", bytes: answer.bytes } : NO_BODY,
    };
  }

  /** An S3 error as XML; only the length of it for HEAD. */
  error(
    state: Pick<ExchangeState, "inbound" | "target"> & { errorCode?: S3ErrorCode | undefined },
    error: S3Error,
  ): Reply {
    state.errorCode = error.code;
    return this.errorAt(state.inbound.id, state.inbound.method, state.target.path, error);
  }

  /** The same before a target could be parsed. */
  errorAt(requestId: string, method: string, resource: string, error: S3Error): Reply {
    const bytes = new TextEncoder().encode(
      renderErrorXml(error, { resource, requestId, hostId: this.#options.hostId }),
    );
    const headers = [
      "Content-Type",
      "application/xml",
      "Content-Length",
      String(bytes.length),
      ...error.headers,
      "x-amz-request-id",
      requestId,
      "x-amz-id-2",
      this.#options.hostId,
    ];
    const body: ReplyBody = method === "HEAD" ? NO_BODY : { kind: "bytes", bytes };
    return { status: error.status, headers, body };
  }

  #select(state: ReadState, source: Source): Representation {
    return selectRepresentation(
      state.inbound.fields,
      state.inbound.method,
      { etag: source.etag, lastModified: source.lastModified },
      source.sizeBytes,
    );
  }

  async #whenRead(
    state: ReadState,
    draft: Draft,
    range: ByteRange,
    body: Promise<StoredBody | undefined>,
  ): Promise<Reply | undefined> {
    return this.#withBody(state, draft, range, await body);
  }

  #withBody(
    state: ReadState,
    draft: Draft,
    range: ByteRange,
    body: StoredBody | undefined,
  ): Reply | undefined {
    return body === undefined ? undefined : this.#represent(state, draft, replyBody(body, range));
  }

  #represent(state: ReadState, draft: Draft, body: ReplyBody): Reply {
    const { source, chosen, xCache, extra } = draft;
    state.source = draft.from;
    switch (chosen.kind) {
      case "whole": {
        const headers = [...overriddenHeaders(source.headers, state.operation.overrides), ...extra];
        return this.#finish(state, 200, headers, body, xCache);
      }
      case "partial": {
        const whole = overriddenHeaders(source.headers, state.operation.overrides);
        const headers = [...partialHeaders(whole, chosen.range, source.sizeBytes), ...extra];
        return this.#finish(state, 206, headers, body, xCache);
      }
      case "not-modified":
        return this.#finish(
          state,
          304,
          [...notModifiedHeaders(source.headers), ...extra],
          NO_BODY,
          xCache,
        );
      case "precondition-failed":
        return this.#refused(state, s3Error("PreconditionFailed"), xCache);
      case "unsatisfiable":
        return this.#refused(
          state,
          s3Error("InvalidRange", {
            headers: ["Content-Range", formatUnsatisfiedRange(source.sizeBytes)],
            details: {
              RangeRequested: state.inbound.fields.get("range") ?? "",
              ActualObjectSize: String(source.sizeBytes),
            },
          }),
          xCache,
        );
      default:
        return unreachable(chosen);
    }
  }

  #refused(state: ReadState, error: S3Error, xCache: XCache): Reply {
    const reply = this.error(state, error);
    const headers = [...reply.headers];
    this.#mark(state, headers, xCache);
    return { ...reply, headers };
  }

  #finish(
    state: ReadState,
    status: number,
    headers: string[],
    body: ReplyBody,
    xCache: XCache,
  ): Reply {
    headers.push("x-amz-request-id", state.inbound.id);
    this.#mark(state, headers, xCache);
    return { status, headers, body };
  }

  #mark(state: ExchangeState, headers: string[], xCache: XCache | undefined): void {
    if (xCache === undefined) return;
    state.xCache = xCache;
    headers.push("X-Cache", xCache);
  }
}

/** How failures that reach the client before its headers are told in S3's words; anything else is a 500. */
const S3_CODE_OF_FAILURE: Partial<Record<ErrorCode, S3ErrorCode>> = {
  upstream_unreachable: "BadGateway",
  upstream_reset: "BadGateway",
  upstream_wrong_length: "BadGateway",
  upstream_protocol: "BadGateway",
  upstream_changed: "BadGateway",
  upstream_connect_timeout: "GatewayTimeout",
  upstream_header_timeout: "GatewayTimeout",
  upstream_stalled: "GatewayTimeout",
  client_body_invalid: "IncompleteBody",
  // Nobody reads this answer; it is for the access log, and not a fault of ours.
  client_gone: "RequestTimeout",
  slow_consumer: "ServiceUnavailable",
  shutting_down: "ServiceUnavailable",
};

/** The S3 error for a failure of upstream, the cache or ourselves, before headers were sent. */
export function errorOfFailure(failure: unknown): S3Error {
  if (failure instanceof AwsChunkedError) return s3Error(failure.s3Code);
  const code = errorCode(failure);
  return s3Error((code === undefined ? undefined : S3_CODE_OF_FAILURE[code]) ?? "InternalError");
}

/** Field by field: copying an entry whole costs a microsecond. */
function sourceOf(object: StoredObject): Source {
  const { headers, sizeBytes, etag, lastModified } = object;
  return { headers, fields: fieldsOf(object), sizeBytes, etag, lastModified };
}

/** Fields of an upstream answer that are the listener's or the gateway's business. */
const NOT_RELAYED = new Set(["x-cache", "date"]);

/** The bytes a representation consists of; undefined when it has no body at all. */
function bodyRange(chosen: Representation, sizeBytes: number): ByteRange | undefined {
  switch (chosen.kind) {
    case "whole":
      return { start: 0, end: sizeBytes };
    case "partial":
      return chosen.range;
    case "not-modified":
    case "precondition-failed":
    case "unsatisfiable":
      return undefined;
    default:
      return unreachable(chosen);
  }
}

function replyBody(body: StoredBody, range: ByteRange): ReplyBody {
  switch (body.kind) {
    case "bytes":
      return body.bytes.length === 0 ? NO_BODY : body;
    case "file":
      return body;
    case "stream":
      return { kind: "stream", source: body.source, lengthBytes: range.end - range.start };
    default:
      return unreachable(body);
  }
}
