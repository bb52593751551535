/** Requests as a listener would hand them to the gateway, made by hand. */

import { bytesSource } from "../../src/base/byte-source.ts";
import type { Inbound } from "../../src/http/exchange.ts";
import { Fields } from "../../src/http/fields.ts";
import type { RawHeaders } from "../../src/http/fields.ts";
import { parseRawTarget } from "../../src/http/raw-target.ts";
import type { RawTarget } from "../../src/http/raw-target.ts";

export interface RequestToMake {
  readonly method?: string;
  readonly rawTarget: string;
  readonly headers: RawHeaders;
  readonly body?: Uint8Array;
}

export function inboundOf(request: RequestToMake): Inbound {
  return {
    id: "0000000000000001",
    method: request.method ?? "GET",
    rawTarget: request.rawTarget,
    fields: new Fields(request.headers),
    body: request.body === undefined ? null : bytesSource(request.body),
    signal: new AbortController().signal,
    remoteAddress: "127.0.0.1",
    isSecure: false,
    receivedAtMs: 0,
  };
}

/** The parsed target; throws when it is not in origin form. */
export function targetOf(rawTarget: string): RawTarget {
  const target = parseRawTarget(rawTarget);
  if (target === undefined) throw new Error(`not an origin-form target: ${rawTarget}`);
  return target;
}
