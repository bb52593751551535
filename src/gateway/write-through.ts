/**
 * Writes: invalidate, forward, and invalidate again unless upstream refused.
 *
 * Why twice: between the first invalidation and upstream's answer a read may fetch the old
 * version and store it. The second one removes that entry and voids the permit of a
 * fill that is still running (cache/tombstones.ts writes the interleaving down). It
 * happens before the client is told, so nobody who knows of the write reads the older
 * version through this node.
 */

import { bytesSource, type ByteSource, readAll } from "../base/byte-source.ts";
import type { WriteOutcome, WriteTargets } from "../cache/cache.ts";
import type { Reply } from "../http/exchange.ts";
import { Fields } from "../http/fields.ts";
import { announcedLength } from "../s3/aws-chunked.ts";
import { bodyIsError } from "../s3/error-xml.ts";
import { isS3Error, s3Error } from "../s3/error.ts";
import type { OperationName } from "../s3/operation.ts";
import { parseDeleteRequest } from "../s3/xml.ts";
import type { UpstreamResponse } from "../upstream/transport.ts";
import { type CopiedBody, readBack, storeCopy } from "./warm-on-write.ts";
import type { WriteState } from "./exchange-state.ts";
import { isReply, relayAnswer, sendOwn } from "./forward.ts";
import type { Parts } from "./parts.ts";

/** A DeleteObjects body names at most 1000 keys of 1024 bytes, escaped; S3 allows no more than 2 MiB. */
const DELETE_BODY_BYTES = 8 * 1024 * 1024;
/** How much of a 200 body is kept to see whether it is an `Error` document after all. */
const CAPTURE_BYTES = 64 * 1024;

export async function writeThrough(state: WriteState, parts: Parts): Promise<Reply> {
  const { operation, inbound } = state;
  const length = operation.name === "PutObject" ? announcedLength(inbound.fields) : undefined;
  if (isS3Error(length)) return parts.respond.error(state, length);
  let copy =
    operation.carriesObject && length !== undefined
      ? parts.warmOnWrite?.begin(inbound, length)
      : undefined;
  let body: ByteSource | undefined = copy?.body;
  let targets: WriteTargets;
  switch (operation.invalidates.kind) {
    case "object":
      targets = { kind: "objects", ids: [operation.invalidates.id] };
      break;
    case "objects":
      targets = { kind: "objects", ids: operation.invalidates.ids };
      break;
    case "bucket":
      targets = operation.invalidates;
      break;
    case "objects-in-body": {
      if (inbound.body === null)
        return parts.respond.error(state, s3Error("MissingRequestBodyError"));
      const bytes = await bounded(inbound.body);
      if (bytes === undefined) {
        return parts.respond.error(state, s3Error("MaxMessageLengthExceeded"));
      }
      body = bytesSource(bytes);
      targets = deletedObjects(operation.bucket, bytes);
      break;
    }
  }

  const write = beginWrite(parts, targets);
  try {
    const answer = await sendOwn(state, parts, body);
    if (isReply(answer)) {
      write.settle("rejected"); // refused here: upstream never saw it
      return answer;
    }
    const outcome = outcomeOf(answer);
    if (outcome === "succeeded" && operation.canFailInside200) {
      return relayJudged(state, parts, answer, write);
    }
    write.settle(outcome);
    if (outcome === "succeeded" && warm(state, parts, answer, copy)) copy = undefined;
    return relayAnswer(state, parts, answer);
  } catch (failure) {
    write.settle("unknown");
    throw failure;
  } finally {
    copy?.drop();
  }
}

/** Writes after which the object itself is another one. */
const WARMED = new Set<OperationName>(["PutObject", "CopyObject", "CompleteMultipartUpload"]);

/** Has what was written stored, when that is wanted; true when `copy` was taken over for it. */
function warm(
  state: WriteState,
  parts: Parts,
  answer: UpstreamResponse,
  copy: CopiedBody | undefined,
): boolean {
  const { id, name } = state.operation;
  if (parts.warmOnWrite === undefined || id === undefined || !WARMED.has(name)) return false;
  parts.observer.warmTriggered();
  const etag = new Fields(answer.headers).get("etag");
  if (copy !== undefined && etag !== undefined) {
    parts.background("warm on write", () => storeCopy(state, parts, id, etag, copy));
    return true;
  }
  parts.background("warm on write", () => readBack(state, parts, id));
  return false;
}

interface OpenWrite {
  settle(outcome: WriteOutcome): void;
}

function beginWrite(parts: Parts, targets: WriteTargets): OpenWrite {
  const ticket = parts.cache.beginWrite(targets);
  detach(parts, targets);
  let isSettled = false;
  return {
    settle(outcome) {
      if (isSettled) return;
      isSettled = true;
      ticket.settle(outcome);
      if (outcome !== "rejected") detach(parts, targets);
    },
  };
}

/** Readers that come from now on must not join what began before the write. */
function detach(parts: Parts, targets: WriteTargets): void {
  if (targets.kind === "bucket") parts.flights.detachBucket(targets.bucket);
  else for (const id of targets.ids) parts.flights.detach(id);
}

function outcomeOf(answer: UpstreamResponse): WriteOutcome {
  if (answer.status >= 200 && answer.status < 300) return "succeeded";
  return answer.status >= 500 ? "unknown" : "rejected";
}

/** Keys of a DeleteObjects body; the whole bucket when the body cannot be read, to be safe. */
function deletedObjects(bucket: string, bytes: Uint8Array): WriteTargets {
  const request = parseDeleteRequest(new TextDecoder().decode(bytes));
  if (request === undefined) return { kind: "bucket", bucket };
  return { kind: "objects", ids: request.objects.map(({ key }) => ({ bucket, key })) };
}

async function bounded(body: ByteSource): Promise<Uint8Array | undefined> {
  try {
    return await readAll(body, DELETE_BODY_BYTES);
  } catch (failure) {
    if (failure instanceof RangeError) return undefined;
    throw failure;
  }
}

/**
 * A 200 that may turn out to be an error (CopyObject, CompleteMultipartUpload): upstream
 * keeps the connection alive with blanks and decides in the body. The body is relayed as
 * it comes, but its last chunk only after the write was settled by what the body says.
 */
function relayJudged(
  state: WriteState,
  parts: Parts,
  answer: UpstreamResponse,
  write: OpenWrite,
): Reply {
  const seen: Uint8Array[] = [];
  let seenBytes = 0;
  let held: Uint8Array | null | undefined;
  const next = async (): Promise<Uint8Array | null> => {
    const chunk = await answer.body.read();
    if (chunk !== null && seenBytes < CAPTURE_BYTES) {
      seen.push(chunk);
      seenBytes += chunk.length;
    }
    return chunk;
  };
  let isSettled = false;
  const settle = () => {
    if (isSettled) return;
    isSettled = true;
    const outcome = judge(seen);
    write.settle(outcome);
    if (outcome === "succeeded") warm(state, parts, answer, undefined);
  };
  const source: ByteSource = {
    async read() {
      try {
        held ??= await next();
        if (held === null) {
          settle();
          return null;
        }
        const current = held;
        held = await next();
        if (held === null) settle();
        return current;
      } catch (failure) {
        write.settle("unknown");
        throw failure;
      }
    },
    close() {
      write.settle("unknown");
      answer.body.close();
    },
  };
  return relayAnswer(state, parts, { ...answer, body: source });
}

function judge(seen: readonly Uint8Array[]): WriteOutcome {
  const text = new TextDecoder().decode(Buffer.concat(seen));
  return bodyIsError(text) ? "rejected" : "succeeded";
}
