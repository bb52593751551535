/**
 * Answers to CompleteMultipartUpload, kept for some seconds: a client that lost the answer on
 * its way repeats the request, and by then upstream may know nothing of the upload any
 * more. Only the access key that completed it is told again, and only when its signature
 * was checked here.
 */

import type { Clock } from "../base/clock.ts";
import { LruMap } from "../base/lru.ts";
import type { RawHeaders } from "../http/fields.ts";
import { queryValue } from "../http/raw-target.ts";
import { objectIdString } from "../s3/object-id.ts";
import type { WriteState } from "./exchange-state.ts";

export interface Completion {
  readonly status: number;
  readonly headers: RawHeaders;
  readonly bytes: Uint8Array;
}

const KEPT_MS = 5_000;
const KEPT_MAX = 1_000;

export class Completions {
  readonly #clock: Clock;
  readonly #kept = new LruMap<string, Completion & { readonly untilMs: number }>(KEPT_MAX);

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** What upstream answered to the same request of the same client a moment ago. */
  find(state: WriteState): Completion | undefined {
    const name = nameOf(state);
    const kept = name === undefined ? undefined : this.#kept.get(name);
    return kept !== undefined && this.#clock.monotonicMs() < kept.untilMs ? kept : undefined;
  }

  keep(state: WriteState, completion: Completion): void {
    const name = nameOf(state);
    if (name === undefined) return;
    this.#kept.set(name, { ...completion, untilMs: this.#clock.monotonicMs() + KEPT_MS }, 1);
  }
}

/** Undefined when the request is no completion, or nobody's. */
function nameOf({ operation, target, who }: WriteState): string | undefined {
  if (operation.name !== "CompleteMultipartUpload" || operation.id === undefined) return undefined;
  if (who.kind !== "valid") return undefined;
  const uploadId = queryValue(target, "uploadId") ?? "";
  return JSON.stringify([who.accessKeyId, uploadId, objectIdString(operation.id)]);
}
