/**
 * What happens inside the gateway that somebody may have to explain later: each event
 * counts and speaks in one call, so that a number on a dashboard always has its line
 * in the log.
 *
 * A broken upstream makes thousands of equal lines a minute, and the first ten say it
 * all. So each event may fill only so many lines per interval; the next line says how
 * many were left out. Counters count every time.
 */

import type { Clock } from "../base/clock.ts";
import { errorCode } from "../base/errors.ts";
import { maskAccessKey } from "./access-log.ts";
import type { Log, LogFields, LogLevel } from "./log.ts";
import type { Metrics } from "./metrics.ts";

/** The object an event is about. */
export interface EventObject {
  readonly bucket: string;
  readonly key: string;
}

const LINES_MAX = 10;
const INTERVAL_MS = 10_000;

interface Speech {
  intervalStartMs: number;
  lines: number;
  suppressed: number;
}

export class Events {
  readonly #metrics: Metrics;
  readonly #log: Log;
  readonly #clock: Clock;
  readonly #logs = new Map<string, Log>();
  /** By message, of which there are only the ones below. */
  readonly #speeches = new Map<string, Speech>();

  constructor(parts: { readonly metrics: Metrics; readonly log: Log; readonly clock: Clock }) {
    this.#metrics = parts.metrics;
    this.#log = parts.log;
    this.#clock = parts.clock;
  }

  /** A write made answers wrong; `entries` is how many entries there were. */
  invalidated(what: {
    readonly scope: "object" | "objects" | "bucket";
    readonly bucket: string;
    /** The object, when it was one. */
    readonly key?: string | undefined;
    readonly entries: number;
  }): void {
    this.#metrics.cacheInvalidationsTotal.inc({ scope: what.scope });
    this.#metrics.cacheOperationsTotal.inc({ operation: "delete", result: "success" });
    this.#say("debug", "cache", "invalidated", what);
  }

  fillCommitted(object: EventObject, sizeBytes: number): void {
    this.#metrics.cacheFillsTotal.inc({ outcome: "committed" });
    this.#say("debug", "cache", "stored", { ...place(object), bytes: sizeBytes });
  }

  /** A write came between the fetch and its end, so what was fetched is not stored. */
  fillRefused(object: EventObject): void {
    this.#metrics.cacheFillsTotal.inc({ outcome: "refused" });
    this.#say("debug", "cache", "not stored: a write came in between", place(object));
  }

  /** A fill broke: wrong length, upstream or disk trouble. */
  fillFailed(object: EventObject, reason: string): void {
    this.#metrics.cacheFillsTotal.inc({ outcome: "failed" });
    this.#say("warn", "cache", "not stored: the fill failed", { ...place(object), reason });
  }

  /** An answer was served but could not be stored, or may not be. */
  populateSkipped(object: EventObject, reason: string): void {
    this.#metrics.cachePopulateSkippedTotal.inc({ reason });
    this.#say("debug", "cache", "not stored", { ...place(object), reason });
  }

  /** A reader was cut because it lagged and nothing held what it missed. */
  slowConsumerCut(laggingBytes: number, object?: EventObject): void {
    this.#metrics.broadcastSlowConsumersTotal.inc();
    this.#say("warn", "coalesce", "slow consumer cut off", {
      ...(object === undefined ? {} : place(object)),
      lagging_bytes: laggingBytes,
    });
  }

  /** A stale copy was served because upstream could not answer. */
  staleServed(
    object: EventObject,
    because: "unreachable" | "timeout" | "server_error",
    ageMs: number,
  ): void {
    this.#metrics.revalidationsStaleServedTotal.inc();
    this.#metrics.staleServedTotal.inc({ reason: because });
    this.#say("warn", "cache", "stale copy served", {
      ...place(object),
      reason: because,
      age_s: Math.round(ageMs / 1000),
    });
  }

  /** Bytes of an entry were damaged or gone. The store counts these itself. */
  entryDamaged(object: EventObject, reason: string): void {
    this.#say("warn", "store", "damaged entry dropped", { ...place(object), reason });
  }

  /** Upstream sent signing keys of a client. */
  keyLearned(accessKeyId: string, count: number): void {
    this.#metrics.proxySigningKeysReceivedTotal.inc();
    this.#say("debug", "auth", "signing keys learned", {
      access_key: maskAccessKey(accessKeyId),
      count,
    });
  }

  /** Upstream sent signing keys that could not be read; the answer was delivered all the same. */
  keyUnreadable(accessKeyId: string, reason: string): void {
    this.#say("warn", "auth", "signing keys cannot be read", {
      access_key: maskAccessKey(accessKeyId),
      reason,
    });
  }

  grantLearned(accessKeyId: string, bucket: string): void {
    this.#say("debug", "auth", "grant learned", { access_key: maskAccessKey(accessKeyId), bucket });
  }

  /** Upstream refused a read that a live grant would have allowed. */
  grantRevoked(accessKeyId: string, bucket: string): void {
    this.#metrics.grantsRevokedTotal.inc();
    this.#say("info", "auth", "grant revoked", { access_key: maskAccessKey(accessKeyId), bucket });
  }

  /** A request was refused here for its credentials. */
  authRefused(reason: string, requestId: string, accessKeyId?: string): void {
    this.#metrics.authFailuresTotal.inc({ reason });
    this.#say("warn", "auth", "request refused", {
      id: requestId,
      reason,
      access_key: maskAccessKey(accessKeyId),
    });
  }

  /** No slot was free, so the request was answered 503 SlowDown. */
  requestShed(requestId: string): void {
    this.#metrics.admissionShedTotal.inc();
    this.#say("warn", "gateway", "request shed: too many in progress", { id: requestId });
  }

  /** An upstream request failed on the way; `error` says where. */
  upstreamFailed(method: string, error: unknown, requestId?: string): void {
    this.#metrics.upstreamErrorsTotal.inc({ method });
    this.#countError(error);
    this.#say("warn", "upstream", "upstream request failed", { id: requestId, method, error });
  }

  /** The disk cannot be written; answers are passed through until it can. */
  storeDegraded(reason: string): void {
    this.#say("error", "store", "the cache only passes through", { reason });
  }

  /** Pinned bodies take all they may; told once until there is room again. */
  pinsFull(maxBytes: number): void {
    this.#say("warn", "store", "pinned objects take all they may, more are not protected", {
      maxBytes,
    });
  }

  storeRecovered(): void {
    this.#say("info", "store", "the cache stores again", {});
  }

  /** A request ended in a way nobody planned for. */
  requestFailed(requestId: string, error: unknown): void {
    this.#countError(error);
    this.#say("error", "gateway", "request failed", { id: requestId, error });
  }

  /** A background task ended with an error; fits `TasksOptions.onFailure`. */
  readonly taskFailed = (name: string, error: unknown): void => {
    this.#metrics.taskFailuresTotal.inc({ task: name });
    this.#say("error", "app", "background task failed", { task: name, error });
  };

  #countError(error: unknown): void {
    this.#metrics.errorsTotal.inc({ code: errorCode(error) ?? "unexpected" });
  }

  #say(level: LogLevel, module: string, message: string, fields: LogFields): void {
    const log = this.#logOf(module);
    if (!log.isEnabled(level)) return;
    if (level === "debug") {
      log.debug(message, fields); // whoever turned it on wants all of it
      return;
    }
    const turn = this.#turnOf(message);
    if (turn.kind === "wait") {
      this.#metrics.logLinesSuppressedTotal.inc();
      return;
    }
    log[level](
      message,
      turn.suppressed === 0 ? fields : { ...fields, suppressed: turn.suppressed },
    );
  }

  #logOf(module: string): Log {
    let log = this.#logs.get(module);
    if (log === undefined) this.#logs.set(module, (log = this.#log.child({ module })));
    return log;
  }

  #turnOf(message: string): { kind: "speak"; suppressed: number } | { kind: "wait" } {
    const nowMs = this.#clock.monotonicMs();
    let speech = this.#speeches.get(message);
    if (speech === undefined || nowMs - speech.intervalStartMs >= INTERVAL_MS) {
      const suppressed = speech?.suppressed ?? 0;
      speech = { intervalStartMs: nowMs, lines: 1, suppressed: 0 };
      this.#speeches.set(message, speech);
      return { kind: "speak", suppressed };
    }
    if (speech.lines >= LINES_MAX) {
      speech.suppressed += 1;
      return { kind: "wait" };
    }
    speech.lines += 1;
    return { kind: "speak", suppressed: 0 };
  }
}

function place(object: EventObject): LogFields {
  return { bucket: object.bucket, key: object.key };
}
