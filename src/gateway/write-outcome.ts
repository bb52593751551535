/**
 * How a write ended, as far as its answer or the lack of one tells. Pure: what goes with the
 * outcome is the cache's business (cache/writes-under-way.ts).
 *
 * In doubt a write is `unknown`, which costs the entry; `rejected` is only what certainly
 * changed nothing.
 */

import { errorCode, type ErrorCode } from "../base/errors.ts";
import type { WriteOutcome } from "../cache/cache.ts";
import { AwsChunkedError } from "../s3/aws-chunked.ts";
import { bodyIsError, parseErrorXml } from "../s3/error-xml.ts";
import type { ObjectId } from "../s3/object-id.ts";
import { parseDeleteResult } from "../s3/xml.ts";

/** By the status alone. A server error may come from something in front of what did the work. */
export function outcomeOfStatus(status: number): WriteOutcome {
  if (status >= 200 && status < 300) return "succeeded";
  return status < 500 || status === 501 ? "rejected" : "unknown";
}

/** Failures before upstream had the request as a whole: it cannot have acted on it. */
const NEVER_WHOLE: ReadonlySet<ErrorCode | undefined> = new Set<ErrorCode>([
  "upstream_unreachable",
  "upstream_connect_timeout",
  "client_gone",
  "client_body_invalid",
]);

/** By the failure to get an answer. A body that broke was never sent to its end (upstream/exchange.ts). */
export function outcomeOfFailure(failure: unknown): WriteOutcome {
  if (failure instanceof AwsChunkedError) return "rejected";
  return NEVER_WHOLE.has(errorCode(failure)) ? "rejected" : "unknown";
}

/** Codes of errors inside a 200 after which upstream itself does not know. */
const SERVER_CODES = new Set(["InternalError", "ServiceUnavailable", "SlowDown", "RequestTimeout"]);

/** By the body of a 200; undefined: too long to be an error document. */
export function outcomeOfBody(body: Uint8Array | undefined): WriteOutcome {
  if (body === undefined) return "succeeded";
  const text = new TextDecoder().decode(body);
  if (!bodyIsError(text)) return "succeeded";
  const code = parseErrorXml(text)?.code;
  return code === undefined || SERVER_CODES.has(code) ? "unknown" : "rejected";
}

/**
 * Which of the objects named in a DeleteObjects request may have changed, by its 200 answer.
 *
 * Counted by key: a request may name several versions of one, and servers answer with
 * "null" or a version of their own. An object is untouched only when every mention of it
 * came back as an error. Without a readable answer all of them may have changed.
 */
export function deletedOf(ids: readonly ObjectId[], body: Uint8Array | undefined): ObjectId[] {
  const result = body === undefined ? undefined : parseDeleteResult(new TextDecoder().decode(body));
  if (result === undefined) return [...ids];
  const failures = new Map<string, number>();
  for (const { key } of result.errors) failures.set(key, (failures.get(key) ?? 0) + 1);
  if (failures.size === 0) return [...ids];
  const mentions = new Map<string, number>();
  for (const { key } of ids) mentions.set(key, (mentions.get(key) ?? 0) + 1);
  return ids.filter(({ key }) => (mentions.get(key) ?? 0) > (failures.get(key) ?? 0));
}
