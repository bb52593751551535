/**
 * The story of a request: parse, admit, classify, authenticate, and then read, write or
 * forward. All branching on what a request is, is here; how each is done is in the file
 * that bears its name.
 *
 * A hit on a small object goes through without an `await`: `handle` answers in the same
 * turn of the event loop.
 */

import { unreachable } from "../base/assert.ts";
import type { Handler, Inbound, Reply } from "../http/exchange.ts";
import { parseRawTarget } from "../http/raw-target.ts";
import { isS3Error, s3Error } from "../s3/error.ts";
import { classify, type VirtualHost } from "../s3/operation.ts";
import { Completions } from "./completions.ts";
import type { ExchangeState, ReadState, WriteState } from "./exchange-state.ts";
import { forwardOther } from "./forward.ts";
import { InflightLimit, type InflightSlot } from "./inflight-limit.ts";
import { Landings } from "./landings.ts";
import { Lessons } from "./lessons.ts";
import type { GatewayOptions, Parts } from "./parts.ts";
import { WarmCredit } from "./range-plan.ts";
import { readObject } from "./read-object.ts";
import { errorOfFailure, Responder } from "./respond.ts";
import { BodyCopies } from "./warm-on-write.ts";
import { writeThrough } from "./write-through.ts";

export interface Gateway {
  readonly handle: Handler;
  /** S3 requests being answered now, for the gauge. */
  readonly inflightCount: number;
}

/** Bound on (access key, bucket) pairs that are being learned at the same time. */
const LESSONS_MAX = 10_000;

export function createGateway(
  parts: Omit<
    Parts,
    "landings" | "lessons" | "respond" | "warmOnWrite" | "warmCredit" | "completions"
  >,
  options: GatewayOptions,
): Gateway {
  const inflight = new InflightLimit(options.inflightMax);
  const whole: Parts = {
    ...parts,
    landings: new Landings(parts.cache),
    lessons: new Lessons(parts.clock, options.lessonTimeoutMs, LESSONS_MAX),
    respond: new Responder({ hostId: options.hostId }),
    warmCredit: new WarmCredit(),
    completions: new Completions(parts.clock),
    warmOnWrite: options.warmOnWrite ? new BodyCopies() : undefined,
  };
  return {
    handle: (inbound) => handle(inbound, whole, options, inflight),
    get inflightCount() {
      return inflight.activeCount;
    },
  };
}

function handle(
  inbound: Inbound,
  parts: Parts,
  options: GatewayOptions,
  inflight: InflightLimit,
): Reply | Promise<Reply> {
  const { respond, observer } = parts;
  const target = parseRawTarget(inbound.rawTarget);
  if (target === undefined) {
    const error = s3Error("InvalidURI");
    const reply = respond.errorAt(inbound.id, inbound.method, inbound.rawTarget, error);
    return observer.refused(inbound, reply, "InvalidURI");
  }
  const virtualHost = virtualHostOf(inbound, options.virtualHostDomain);
  const operation = classify(inbound.method, target, inbound.fields, virtualHost);
  if (isS3Error(operation)) {
    return observer.refused(inbound, respond.error({ inbound, target }, operation), operation.code);
  }
  const slot = inflight.tryEnter();
  if (slot === undefined) {
    const reply = respond.error({ inbound, target }, s3Error("SlowDown"));
    return observer.refused(inbound, reply, "SlowDown");
  }
  return admitted({ inbound, target, operation, virtualHost }, parts, slot);
}

/** From here on a place is taken, and given back when the last byte is out. */
function admitted(
  request: Pick<ExchangeState, "inbound" | "target" | "operation" | "virtualHost">,
  parts: Parts,
  slot: InflightSlot,
): Reply | Promise<Reply> {
  const { inbound, target, operation, virtualHost } = request;
  const state: ExchangeState = {
    inbound,
    target,
    operation,
    virtualHost,
    who: { kind: "anonymous" },
    xCache: undefined,
    source: "gateway",
    reason: undefined,
    isRevalidated: false,
    errorCode: undefined,
    upstreamRequestId: undefined,
    slot,
  };
  try {
    const reply = dispatch(state, parts);
    return reply instanceof Promise
      ? repliedLate(state, parts, reply)
      : parts.observer.replied(state, reply);
  } catch (failure) {
    return failed(state, parts, failure);
  }
}

async function repliedLate(
  state: ExchangeState,
  parts: Parts,
  reply: Promise<Reply>,
): Promise<Reply> {
  let ready: Reply;
  try {
    ready = await reply;
  } catch (failure) {
    return failed(state, parts, failure);
  }
  return parts.observer.replied(state, ready);
}

function failed(state: ExchangeState, { observer, respond }: Parts, failure: unknown): Reply {
  const error = errorOfFailure(failure);
  observer.failed(state, failure, error);
  return observer.replied(state, respond.error(state, error));
}

function dispatch(state: ExchangeState, parts: Parts): Reply | Promise<Reply> {
  const { auth, respond, observer } = parts;
  const { inbound, target, operation } = state;
  const who = auth.authenticate(inbound, target);
  if (isS3Error(who)) {
    observer.authRefused(inbound, who.reason);
    return respond.error(state, who);
  }
  state.who = who;
  switch (operation.kind) {
    case "read":
      return readObject(state as ReadState, parts);
    case "write":
      if (!auth.mayWrite(who, operation.bucket)) {
        return respond.error(state, s3Error("AccessDenied"));
      }
      return writeThrough(state as WriteState, parts);
    case "other":
      return forwardOther(state, parts);
    default:
      return unreachable(operation);
  }
}

/** The bucket when the host names one below the configured domain; undefined: path style. */
function virtualHostOf(inbound: Inbound, domain: string | undefined): VirtualHost | undefined {
  if (domain === undefined) return undefined;
  const host = inbound.fields.get("host")?.replace(/:\d+$/, "").toLowerCase();
  if (host === undefined || !host.endsWith(`.${domain}`)) return undefined;
  return { bucket: host.slice(0, -domain.length - 1) };
}
