/**
 * What an operation of the origin gets and gives: the parts it works with, the call it
 * answers, and the answers themselves.
 *
 * An operation runs after the call was authenticated and authorized for its scope, so
 * it can think about S3 only. It answers a reply or an S3 error; ids, error bodies,
 * faults and bandwidth are added around it by origin.ts.
 */

import type { Clock } from "../base/clock.ts";
import type { Random } from "../base/random.ts";
import type { Inbound, Reply } from "../http/exchange.ts";
import { NO_BODY } from "../http/exchange.ts";
import type { RawHeaders } from "../http/fields.ts";
import { queryValue, type RawTarget } from "../http/raw-target.ts";
import { type S3Error, s3Error } from "../s3/error.ts";
import { renderXml, type XmlContent } from "../s3/xml.ts";
import type { Access, Caller } from "./access.ts";
import type { FolderStore } from "./folder-store.ts";
import type { BucketRecord } from "./records.ts";

export interface OriginParts {
  readonly store: FolderStore;
  readonly access: Access;
  readonly clock: Clock;
  readonly random: Random;
  /** What GetBucketLocation answers. */
  readonly region: string;
}

/** A call about the service as a whole. */
export interface ServiceCall {
  readonly inbound: Inbound;
  readonly target: RawTarget;
  readonly caller: Caller;
  /** Unix milliseconds of the clock when the call began. */
  readonly nowMs: number;
}

/** A call about a bucket that exists. */
export interface BucketCall extends ServiceCall {
  readonly bucket: BucketRecord;
}

/** A call about a key, whether or not there is an object. */
export interface ObjectCall extends BucketCall {
  readonly key: string;
}

export type Answer = Reply | S3Error;

export function emptyReply(status: number, headers: RawHeaders = []): Reply {
  return { status, headers, body: NO_BODY };
}

/** A 200 with a result document in S3's namespace. */
export function xmlReply(root: string, content: XmlContent, headers: RawHeaders = []): Reply {
  const bytes = new TextEncoder().encode(renderXml(root, content));
  return {
    status: 200,
    headers: ["Content-Type", "application/xml", ...headers],
    body: { kind: "bytes", bytes },
  };
}

/** Whether a flag or parameter of that name is in the query. */
export function hasParameter(call: ServiceCall, name: string): boolean {
  return queryValue(call.target, name) !== undefined;
}

/** A parameter of the query; "" when it is absent. */
export function parameter(call: ServiceCall, name: string): string {
  return queryValue(call.target, name) ?? "";
}

/**
 * A whole number from the query within `[min, max]`; `fallback` when it is absent or
 * empty, InvalidArgument when it is anything else.
 */
export function integerParameter(
  call: ServiceCall,
  name: string,
  bounds: { readonly min: number; readonly max: number; readonly fallback: number },
): number | S3Error {
  const text = parameter(call, name);
  if (text === "") return bounds.fallback;
  const value = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
  if (value >= bounds.min && value <= bounds.max) return value;
  return s3Error("InvalidArgument", {
    message: `${name} must be an integer between ${bounds.min} and ${bounds.max}`,
    details: { ArgumentName: name, ArgumentValue: text },
  });
}

/** ISO 8601 in whole seconds with `.000`, as S3 writes times in XML: it agrees with `Last-Modified`. */
export function xmlTime(atMs: number): string {
  return new Date(Math.floor(atMs / 1000) * 1000).toISOString();
}

/** NoSuchKey for the key of this call. */
export function noSuchKey(call: ObjectCall): S3Error {
  return s3Error("NoSuchKey", { details: { Key: call.key } });
}

/** An ETag as it stands in headers and XML. */
export function quoted(etag: string): string {
  return `"${etag}"`;
}
