/**
 * Requests that go upstream as the client made them, and answers that come back as
 * upstream made them.
 */

import { bytesSource, type ByteSource } from "../base/byte-source.ts";
import { type Inbound, NO_BODY, type Reply, type ReplyBody } from "../http/exchange.ts";
import { Fields, type RawHeaders } from "../http/fields.ts";
import { s3Error } from "../s3/error.ts";
import type { UpstreamResponse } from "../upstream/transport.ts";
import type { ExchangeState, XCache } from "./exchange-state.ts";
import type { Parts } from "./parts.ts";

/** Sends the client's own request; the answer has taught auth and carries nothing secret any more. */
export async function sendOwn(
  state: ExchangeState,
  parts: Parts,
  body?: ByteSource | null,
): Promise<UpstreamResponse | Reply> {
  const { auth, upstream, respond } = parts;
  const { inbound, target } = state;
  if (!state.slot.enterUpstream()) return respond.error(state, s3Error("SlowDown"));
  const call = auth.forward(
    body === undefined ? inbound : withBody(inbound, body),
    target,
    state.who,
    state.virtualHost,
  );
  if ("kind" in call) return respond.error(state, call);
  const response = await upstream.send({
    ...call,
    signal: ownSignal(state),
    awaitsContinue: awaitsContinue(inbound),
  });
  return learned(state, parts, response);
}

/**
 * A GET may outlive its client, since others can join it. A write that upstream has received
 * happens whether its client waits or not, and one it has not received as a whole breaks
 * with its body. Everything else ends with its client.
 */
function ownSignal({ inbound, operation }: ExchangeState): AbortSignal | undefined {
  return inbound.method === "GET" || operation.kind === "write" ? undefined : inbound.signal;
}

/**
 * The client sends its body when it is asked to. Upstream decides whether it is, so that a body
 * that is refused is never sent (RFC 9110 §10.1.1 asks this of an intermediary).
 */
function awaitsContinue({ fields, body }: Inbound): boolean {
  return body !== null && /(?:^|[\s,])100-continue(?:$|[\s,])/i.test(fields.get("expect") ?? "");
}

/** The same request with a body that was read already. */
function withBody(inbound: Inbound, body: ByteSource | null): Inbound {
  const { id, method, rawTarget, fields, remoteAddress, isSecure, receivedAtMs } = inbound;
  return {
    id,
    method,
    rawTarget,
    fields,
    body,
    get signal() {
      return inbound.signal;
    },
    remoteAddress,
    isSecure,
    receivedAtMs,
  };
}

/** Lets auth learn from an answer, and takes what was meant for the gateway alone out of it. */
export function learned(
  state: ExchangeState,
  parts: Parts,
  response: UpstreamResponse,
): UpstreamResponse {
  const { auth, cache, flights } = parts;
  const { operation } = state;
  const isPublic =
    operation.kind === "read" &&
    (cache.lookup(operation.id, state.inbound.fields) ?? flights.find(operation.id)?.head)
      ?.isPublic === true;
  auth.learn(state.who, {
    isObjectRead: operation.kind === "read",
    bucket: bucketOf(operation) ?? "",
    status: response.status,
    headers: response.headers,
    isPublic,
  });
  return { ...response, headers: auth.stripLearned(response.headers) };
}

function bucketOf(operation: ExchangeState["operation"]): string | undefined {
  return operation.kind === "read" ? operation.id.bucket : operation.bucket;
}

/** True when `sendOwn` answered the client itself instead of asking upstream. */
export function isReply(answer: UpstreamResponse | Reply): answer is Reply {
  return "kind" in answer.body;
}

/** An operation the cache has no part in. */
export async function forwardOther(state: ExchangeState, parts: Parts): Promise<Reply> {
  const answer = await sendOwn(state, parts);
  return isReply(answer) ? answer : relayAnswer(state, parts, answer);
}

/** Upstream's answer as it is, streamed. */
export function relayAnswer(
  state: ExchangeState,
  parts: Parts,
  answer: UpstreamResponse,
  xCache?: XCache,
): Reply {
  return parts.respond.relay(
    state,
    answer.status,
    answer.headers,
    streamBody(state.inbound.method, answer),
    xCache,
  );
}

/** The body of an answer as declared; none for HEAD and for statuses that have none. */
export function streamBody(method: string, answer: UpstreamResponse): ReplyBody {
  if (method === "HEAD" || answer.status === 204 || answer.status === 304) {
    answer.body.close();
    return NO_BODY;
  }
  return {
    kind: "stream",
    source: answer.body,
    lengthBytes: declaredLength(answer.headers),
  };
}

/** `Content-Length` in bytes; undefined when absent or unreadable. */
export function declaredLength(headers: RawHeaders): number | undefined {
  const value = new Fields(headers).get("content-length");
  return value !== undefined && /^\d{1,15}$/.test(value) ? Number(value) : undefined;
}

/** An answer whose body was read already, to be relayed. */
export function bufferedAnswer(answer: UpstreamResponse, bytes: Uint8Array): UpstreamResponse {
  return { ...answer, body: bytesSource(bytes) };
}
