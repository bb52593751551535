/**
 * A read that shares nothing on its way to upstream: of an asker nothing is known of yet, of
 * a variant that has no entry, or with a condition only upstream can judge. What its
 * answer teaches and brings is shared afterwards.
 */

import type { Reply } from "../http/exchange.ts";
import { departOrRelay } from "./departure.ts";
import type { ReadState, XCache } from "./exchange-state.ts";
import { isReply, relayAnswer, sendOwn } from "./forward.ts";
import type { Lesson } from "./lessons.ts";
import type { Parts } from "./parts.ts";

export interface AloneOptions {
  readonly mayStore: boolean;
  /** Ended as soon as the answer has taught what it can. */
  readonly lesson?: Lesson | undefined;
}

/** A read on the client's own signature, joined by nobody until upstream has answered 200. */
export async function readAlone(
  state: ReadState,
  parts: Parts,
  xCache: XCache,
  reason: string,
  options: AloneOptions,
): Promise<Reply> {
  state.reason = reason;
  const permit = parts.cache.permit(state.operation.id);
  try {
    const answer = await sendOwn(state, parts);
    if (isReply(answer)) return answer;
    if (!options.mayStore || state.operation.overrides.length > 0) {
      return relayAnswer(state, parts, answer, xCache);
    }
    return departOrRelay(state, parts, parts.flights.create(), permit, answer, xCache);
  } finally {
    options.lesson?.end();
  }
}
