/**
 * Writes: forward, and see to it that nobody is served what they replaced.
 *
 * A write begins in the cache before it is forwarded (nothing from before is used
 * unconfirmed) and is settled before the client is told, so nobody who knows of a write
 * reads the older version through this node. What is stored goes when the write succeeded
 * or may have, and stays when it was refused (cache/writes-under-way.ts).
 *
 * Once upstream has the whole request, a client that leaves changes nothing about it: the
 * answer is waited for all the same, because the entry depends on it.
 */

import { bytesSource, type ByteSource, readAll } from "../base/byte-source.ts";
import type { WriteOutcome, WriteTargets } from "../cache/cache.ts";
import type { Inbound, Reply } from "../http/exchange.ts";
import { Fields } from "../http/fields.ts";
import { announcedLength } from "../s3/aws-chunked.ts";
import { isS3Error, s3Error } from "../s3/error.ts";
import type { OperationName } from "../s3/operation.ts";
import { parseDeleteRequest } from "../s3/xml.ts";
import type { UpstreamResponse } from "../upstream/transport.ts";
import { type CopiedBody, objectBytes, readBack, storeCopy } from "./warm-on-write.ts";
import type { Completion } from "./completions.ts";
import type { WriteState } from "./exchange-state.ts";
import { readForm } from "./form-upload.ts";
import { isReply, relayAnswer, sendOwn } from "./forward.ts";
import { JudgedBody } from "./judged-body.ts";
import type { Parts } from "./parts.ts";
import { deletedOf, outcomeOfBody, outcomeOfFailure, outcomeOfStatus } from "./write-outcome.ts";

/** A DeleteObjects body names at most 1000 keys of 1024 bytes, escaped; S3 allows no more than 2 MiB. */
const DELETE_BODY_BYTES = 8 * 1024 * 1024;
/** How much of a 200 body is kept to see what it says: an error document, or a result per key. */
const CAPTURE_BYTES = 64 * 1024;

export async function writeThrough(state: WriteState, parts: Parts): Promise<Reply> {
  const { operation, inbound } = state;
  const length = operation.name === "PutObject" ? announcedLength(inbound.fields) : undefined;
  if (isS3Error(length)) return parts.respond.error(state, length);
  let copy =
    operation.carriesObject && length !== undefined
      ? parts.warmOnWrite?.begin(inbound, length)
      : undefined;
  const completed = parts.completions.find(state);
  if (completed !== undefined) return repeat(state, parts, completed);
  let body: ByteSource | null | undefined = copy?.body;
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
    case "object-in-form": {
      const { bucket } = operation.invalidates;
      targets = { kind: "bucket", bucket };
      if (inbound.body === null) break;
      const form = await readForm(inbound.fields.get("content-type") ?? "", inbound.body);
      body = form.body;
      if (form.key !== undefined) targets = { kind: "objects", ids: [{ bucket, key: form.key }] };
      break;
    }
    case "objects-in-body": {
      if (inbound.body === null)
        return parts.respond.error(state, s3Error("MissingRequestBodyError"));
      const bytes = await bounded(inbound.body);
      if (bytes === undefined) {
        return parts.respond.error(state, s3Error("MaxMessageLengthExceeded"));
      }
      body = bytesSource(bytes);
      targets = await deletedObjects(operation.invalidates.bucket, inbound, bytes);
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
    const outcome = outcomeOfStatus(answer.status);
    if (outcome === "succeeded" && saysMoreInside(state)) {
      return relayJudged(state, parts, answer, targets, write);
    }
    write.settle(outcome);
    if (outcome === "succeeded" && warm(state, parts, answer, copy)) copy = undefined;
    return relayAnswer(state, parts, answer);
  } catch (failure) {
    write.settle(outcomeOfFailure(failure));
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

/** The answer of a moment ago once more; the body, which says the same as then, is read past. */
async function repeat(state: WriteState, parts: Parts, completed: Completion): Promise<Reply> {
  const { inbound } = state;
  if (inbound.body !== null && (await bounded(inbound.body)) === undefined) {
    return parts.respond.error(state, s3Error("MaxMessageLengthExceeded"));
  }
  state.reason = "completed_before";
  const { status, headers, bytes } = completed;
  return parts.respond.relay(state, status, headers, { kind: "bytes", bytes });
}

interface OpenWrite {
  /** `changed`: all of the targets when undefined. Later calls have no effect. */
  settle(outcome: WriteOutcome, changed?: WriteTargets): void;
}

function beginWrite(parts: Parts, targets: WriteTargets): OpenWrite {
  const ticket = parts.cache.beginWrite(targets);
  detach(parts, targets);
  let isSettled = false;
  return {
    settle(outcome, changed = targets) {
      if (isSettled) return;
      isSettled = true;
      ticket.settle(outcome, changed);
      if (outcome !== "rejected") detach(parts, changed);
    },
  };
}

/** Readers that come from now on must not join what began before the write. */
function detach(parts: Parts, targets: WriteTargets): void {
  if (targets.kind === "bucket") parts.flights.detachBucket(targets.bucket);
  else for (const id of targets.ids) parts.flights.detach(id);
}

/** Keys of a DeleteObjects body; the whole bucket when the body cannot be read, to be safe. */
async function deletedObjects(
  bucket: string,
  { fields }: Inbound,
  sent: Uint8Array,
): Promise<WriteTargets> {
  const length = announcedLength(fields);
  const bytes = isS3Error(length) ? sent : await objectBytes(fields, [sent], length);
  const request =
    bytes === undefined ? undefined : parseDeleteRequest(new TextDecoder().decode(bytes));
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

function saysMoreInside({ operation }: WriteState): boolean {
  return operation.canFailInside200 || operation.name === "DeleteObjects";
}

/** Relays a 200 whose body says what became of the write, and settles it by that. */
function relayJudged(
  state: WriteState,
  parts: Parts,
  answer: UpstreamResponse,
  targets: WriteTargets,
  write: OpenWrite,
): Reply {
  const isBulk = state.operation.name === "DeleteObjects";
  const body = new JudgedBody(
    answer.body,
    isBulk ? DELETE_BODY_BYTES : CAPTURE_BYTES,
    {
      judge(bytes) {
        const outcome = outcomeOfBody(bytes);
        if (outcome === "succeeded" && isBulk && targets.kind === "objects") {
          write.settle(outcome, { kind: "objects", ids: deletedOf(targets.ids, bytes) });
          return;
        }
        write.settle(outcome);
        if (outcome !== "succeeded") return;
        warm(state, parts, answer, undefined);
        if (bytes !== undefined) parts.completions.keep(state, { ...answer, bytes });
      },
      giveUp: () => write.settle("unknown"),
    },
    (run) => parts.background("hear a write out", run),
  );
  return relayAnswer(state, parts, { ...answer, body });
}
