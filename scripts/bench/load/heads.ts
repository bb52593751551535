/**
 * Request headers made before the run: the bytes of every planned request, signed once, in one
 * buffer. So the signature costs the generator nothing while it measures, and the server under test
 * still has to check one for every request. A date is good for fifteen minutes, far longer than a run.
 */

import { EMPTY_SHA256, signerFor, signRequest } from "../../../src/s3/sigv4.ts";
import type { LoadPlan, PlannedRequest } from "./plan.ts";

export interface PreparedHeads {
  readonly bytes: Buffer;
  /** Where each request's header begins; one more than there are requests. */
  readonly offsets: readonly number[];
}

export function prepareHeads(
  plan: Pick<LoadPlan, "requests" | "hostField" | "credentials">,
  nowMs: number,
): PreparedHeads {
  const { credentials, hostField } = plan;
  const signer =
    credentials === undefined ? undefined : signerFor(credentials, credentials.region, nowMs);
  const offsets = [0];
  const heads: Buffer[] = [];
  for (const { method, rawTarget, range } of plan.requests) {
    const plain = plainHeaders(hostField, range);
    const headers =
      signer === undefined
        ? plain
        : signRequest(
            { method, rawTarget, headers: plain, payloadHash: EMPTY_SHA256 },
            signer,
            nowMs,
          );
    const head = Buffer.from(headText(method, rawTarget, headers), "latin1");
    heads.push(head);
    offsets.push((offsets.at(-1) ?? 0) + head.length);
  }
  return { bytes: Buffer.concat(heads), offsets };
}

/** What a common client sends (boto3), less what only identifies it. */
function plainHeaders(hostField: string, range: PlannedRequest["range"]): string[] {
  return [
    "Host",
    hostField,
    "User-Agent",
    "tag-bench/1 (like Boto3/1.40)",
    "Accept-Encoding",
    "identity",
    ...(range === undefined ? [] : ["Range", range]),
  ];
}

function headText(method: string, rawTarget: string, headers: readonly string[]): string {
  let text = `${method} ${rawTarget} HTTP/1.1\r\n`;
  for (let at = 0; at + 1 < headers.length; at += 2)
    text += `${headers[at]}: ${headers[at + 1]}\r\n`;
  return `${text}\r\n`;
}
