/**
 * The path of a request through the origin: understand it, let distance and faults
 * happen, find out who asks, let the routes answer, and put around the answer what
 * every answer has.
 */

import { unreachable } from "../base/assert.ts";
import { GatewayError } from "../base/errors.ts";
import type { Inbound, Reply } from "../http/exchange.ts";
import { NO_BODY } from "../http/exchange.ts";
import { parseRawTarget, type RawTarget } from "../http/raw-target.ts";
import { isS3Error, type S3Error, type S3ErrorCode, s3Error } from "../s3/error.ts";
import { renderErrorXml } from "../s3/error-xml.ts";
import { classify, type Operation } from "../s3/operation.ts";
import { ANONYMOUS, type Caller } from "./access.ts";
import type { Answer, OriginParts } from "./call.ts";
import { corsFields } from "./cors.ts";
import type { Faults, FaultTarget } from "./faults.ts";
import { SIGNING_KEYS_FIELD } from "./proxy-protocol.ts";
import { bodyLengthBytes, bodySource, faulty, throttled, untilAborted } from "./reply-stream.ts";
import type { RequestLog } from "./request-log.ts";
import { placeOf, route } from "./routes.ts";
import { bucketOfHost } from "./virtual-host.ts";

/** Where the origin reports what no client can: the part of a log it needs. */
export interface OriginLog {
  error(message: string, fields?: Record<string, unknown>): void;
}

export interface PipelineOptions {
  readonly latencyMs: number;
  /** Undefined: unlimited. */
  readonly bandwidthBytesPerSecond: number | undefined;
  readonly hosts: readonly string[];
  readonly faults: Faults;
  readonly requests: RequestLog;
  readonly log: OriginLog;
}

/** What is known of a request before it is answered; undefined as far as it made no sense. */
interface Context {
  readonly inbound: Inbound;
  readonly atMs: number;
  readonly target: RawTarget | undefined;
  readonly operation: Operation | S3Error;
  readonly place: { readonly bucket: string | undefined; readonly key: string | undefined };
}

export class Pipeline {
  readonly #options: PipelineOptions;
  readonly #parts: OriginParts;

  constructor(options: PipelineOptions, parts: OriginParts) {
    this.#options = options;
    this.#parts = parts;
  }

  async handle(inbound: Inbound): Promise<Reply> {
    const context = this.#understand(inbound);
    try {
      return await this.#serve(context);
    } catch (error) {
      // A client that left ends waits and bodies with a failure that is not ours to report.
      if (!isClientGone(error, inbound.signal)) {
        this.#options.log.error("the dev origin failed", { requestId: inbound.id, error });
      }
      return this.#finish(context, s3Error("InternalError"), undefined);
    }
  }

  async #serve(context: Context): Promise<Reply> {
    const { latencyMs } = this.#options;
    if (latencyMs > 0) await this.#parts.clock.sleep(latencyMs, context.inbound.signal);
    const instead = await this.#sufferFault(context);
    if (instead !== undefined) return this.#finish(context, instead, undefined);
    const caller = this.#authenticate(context);
    if (isS3Error(caller)) return this.#finish(context, caller, undefined);
    return this.#finish(context, await this.#answer(context, caller), caller);
  }

  #understand(inbound: Inbound): Context {
    const atMs = this.#parts.clock.nowMs();
    const target = parseRawTarget(inbound.rawTarget);
    const bucket = bucketOfHost(inbound.fields.get("host"), this.#options.hosts);
    const operation =
      target === undefined
        ? s3Error("InvalidURI")
        : classify(
            inbound.method,
            target,
            inbound.fields,
            bucket === undefined ? undefined : { bucket },
          );
    const place = isS3Error(operation) ? { bucket: undefined, key: undefined } : placeOf(operation);
    return { inbound, atMs, target, operation, place };
  }

  /** Lets the fault due to this request happen; answers what is sent instead, if anything. */
  async #sufferFault(context: Context): Promise<Answer | undefined> {
    const fault = this.#options.faults.beforeAnswer(faultTarget(context));
    switch (fault?.kind) {
      case undefined:
        return undefined;
      case "delay":
        await this.#parts.clock.sleep(fault.delayMs, context.inbound.signal);
        return undefined;
      case "hang":
        return untilAborted(context.inbound.signal);
      case "status":
        return errorOfStatus(fault.status);
      case "error-in-200":
        return { ...errorReply(context, s3Error("InternalError")), status: 200 };
      default:
        return unreachable(fault);
    }
  }

  #authenticate({ inbound, target, operation }: Context): Caller | S3Error {
    // Who is asking cannot be told for a target that cannot be read: nothing was signed.
    if (target === undefined) return s3Error("InvalidURI");
    // A preflight carries no credentials of its own (Fetch standard, CORS protocol).
    if (!isS3Error(operation) && operation.name === "Preflight") return ANONYMOUS;
    const caller = this.#parts.access.authenticate(inbound, target);
    return isS3Error(caller) || !isS3Error(operation) ? caller : operation;
  }

  #answer({ inbound, target, operation, atMs }: Context, caller: Caller): Answer | Promise<Answer> {
    if (target === undefined || isS3Error(operation)) return s3Error("InvalidURI");
    return route({ inbound, target, caller, nowMs: atMs }, operation, this.#parts);
  }

  #finish(context: Context, answer: Answer, caller: Caller | undefined): Reply {
    const { inbound } = context;
    const reply = isS3Error(answer) ? errorReply(context, answer) : answer;
    const headers = ["x-amz-request-id", inbound.id, "x-amz-id-2", HOST_ID, ...reply.headers];
    const keys =
      caller === undefined || reply.status === 403
        ? undefined
        : this.#parts.access.signingKeysFor(caller);
    if (keys !== undefined) headers.push(SIGNING_KEYS_FIELD, keys);
    headers.push(...this.#corsFields(context), "Server", "tag-origin");
    const body = inbound.method === "HEAD" ? NO_BODY : this.#deliver(context, reply);
    return {
      status: reply.status,
      headers,
      body,
      onFinish: ({ bytesSent, isComplete }) =>
        this.#options.requests.add({
          ...faultTarget(context),
          requestId: inbound.id,
          atMs: context.atMs,
          status: reply.status,
          accessKeyId: caller?.accessKeyId,
          isProxied: caller?.isProxied ?? false,
          range: inbound.fields.get("range"),
          ifNoneMatch: inbound.fields.get("if-none-match"),
          bytesSent,
          isComplete,
        }),
    };
  }

  #corsFields({ inbound, place }: Context): readonly string[] {
    if (place.bucket === undefined || !inbound.fields.has("origin")) return [];
    const bucket = this.#parts.store.catalog.bucket(place.bucket);
    return bucket === undefined ? [] : corsFields(inbound, bucket);
  }

  /** The body as the simulated line carries it. */
  #deliver(context: Context, reply: Reply): Reply["body"] {
    const { signal } = context.inbound;
    const lengthBytes = bodyLengthBytes(reply.body) ?? 0;
    const fault =
      reply.status < 300
        ? this.#options.faults.inBody(faultTarget(context), lengthBytes)
        : undefined;
    const bytesPerSecond = lengthBytes > 0 ? this.#options.bandwidthBytesPerSecond : undefined;
    if (fault === undefined && bytesPerSecond === undefined) return reply.body;
    let source = bodySource(reply.body);
    if (bytesPerSecond !== undefined) {
      source = throttled(source, bytesPerSecond, this.#parts.clock, signal);
    }
    if (fault !== undefined) source = faulty(source, fault, lengthBytes, signal);
    return { kind: "stream", source, lengthBytes };
  }
}

function isClientGone(error: unknown, signal: AbortSignal): boolean {
  return signal.aborted || (error instanceof GatewayError && error.code === "client_gone");
}

/** There is one host; clients print the field in support requests. */
const HOST_ID = "dev-origin";

function errorReply({ inbound, target }: Context, error: S3Error): Reply {
  const text = renderErrorXml(error, {
    resource: target?.path ?? inbound.rawTarget,
    requestId: inbound.id,
    hostId: HOST_ID,
  });
  return {
    status: error.status,
    headers: ["Content-Type", "application/xml", ...error.headers],
    body: { kind: "bytes", bytes: new TextEncoder().encode(text) },
  };
}

function faultTarget({ inbound, operation, place }: Context): FaultTarget {
  const name = isS3Error(operation) ? "Unknown" : operation.name;
  return { method: inbound.method, operation: name, bucket: place.bucket, key: place.key };
}

/** The error S3 would most likely send with that status. */
function errorOfStatus(status: number): S3Error {
  const code = CODE_OF_STATUS[status];
  return { ...s3Error(code ?? "InternalError"), status };
}

const CODE_OF_STATUS: Readonly<Record<number, S3ErrorCode>> = {
  400: "InvalidRequest",
  403: "AccessDenied",
  404: "NoSuchKey",
  409: "OperationAborted",
  412: "PreconditionFailed",
  500: "InternalError",
  503: "SlowDown",
};
