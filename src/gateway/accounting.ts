/**
 * What the gateway reports about its work. One narrow interface, so that a test can
 * listen in and the handlers know neither metric names nor log formats.
 */

import type { Inbound, Reply } from "../http/exchange.ts";
import type { S3Error, S3ErrorCode } from "../s3/error.ts";
import type { ObjectId } from "../s3/object-id.ts";
import type { CommitOutcome } from "../storage/storage.ts";
import type { ExchangeState } from "./exchange-state.ts";

export interface GatewayObserver {
  /** A request that was refused before it took a place. Answers with the reply to send. */
  refused(inbound: Inbound, reply: Reply, code: S3ErrorCode): Reply;
  /**
   * A reply is about to be sent. Answers with the same reply, wired so that the request
   * is counted and logged, and `done` called, when its last byte is out.
   */
  replied(state: ExchangeState, reply: Reply, done: () => void): Reply;
  /** The world, or we, failed; the client gets `error`. */
  failed(state: ExchangeState, failure: unknown, error: S3Error): void;
  /** A reader went upstream for an object nobody else was fetching. */
  flightBegan(): void;
  /** A reader was given the bytes of a fetch that was running already. */
  flightShared(): void;
  /** A fetch is over; undefined: nothing was to be stored. */
  fillSettled(id: ObjectId, outcome: CommitOutcome | undefined): void;
  revalidation(step: "triggered" | "not_modified" | "updated" | "failed"): void;
  /** A hit that upstream confirmed first. */
  revalidatedHit(): void;
  /** A copy that could not be confirmed was served all the same. */
  staleServed(id: ObjectId): void;
}
