/**
 * What must hold of everything a client saw, asked of the model's memory. Each function throws
 * an error that tells the exchange when its property is broken.
 */

import { parseContentRange } from "../../../src/http/range.ts";
import { resolveRange } from "../../../src/http/range.ts";
import { type KeyState, typeOf } from "./model-store.ts";
import type { Seen, World } from "./world.ts";

/** What was true when a request began; see `Judge.begin`. */
export interface Moment {
  /** Index of the newest state that a write through this gateway was acknowledged for. */
  readonly floor: number;
}

/** A time during which a write through the gateway was under way. */
interface WriteSpan {
  readonly key: string;
  readonly fromMs: number;
  untilMs: number;
}

const READS = new Set(["GET", "HEAD"]);

export class Judge {
  readonly #world: World;
  readonly #floors = new Map<string, number>();
  readonly #writes: WriteSpan[] = [];

  constructor(world: World) {
    this.#world = world;
  }

  begin(key: string): Moment {
    return { floor: this.#floors.get(key) ?? -1 };
  }

  /** A write begins; `settle` when its client knows how it ended. */
  beginWrite(keys: readonly string[]): { settle(seen: Seen): void } {
    const fromMs = this.#world.clock.monotonicMs();
    const spans = keys.map((key) => ({ key, fromMs, untilMs: Number.POSITIVE_INFINITY }));
    this.#writes.push(...spans);
    return {
      settle: (seen) => {
        for (const span of spans) span.untilMs = this.#world.clock.monotonicMs();
        const isAcknowledged =
          seen.status >= 200 &&
          seen.status < 300 &&
          seen.isComplete &&
          !seen.body.includes("<Error>");
        if (!isAcknowledged) return;
        for (const pair of (seen.fields.get("x-sim-states") ?? "").split(",")) {
          const [key = "", index = "-1"] = pair.split("=");
          this.#floors.set(key, Math.max(this.#floors.get(key) ?? -1, Number(index)));
        }
      },
    };
  }

  /** Every property of one read. */
  read(seen: Seen, moment: Moment): void {
    if (!READS.has(seen.ask.method ?? "GET") || seen.ask.key === "") return;
    const isOfObject = [200, 206, 304].includes(seen.status);
    if (isOfObject) this.#mayHave(seen);
    if (isOfObject || seen.status === 404) this.#isOfSomeState(seen, moment);
    this.#saysWhenStale(seen);
  }

  /** A copy older than the time to live is served only with a warning. */
  #saysWhenStale(seen: Seen): void {
    const ageMs = Number(seen.fields.get("age") ?? 0) * 1000;
    if (ageMs > this.#world.options.ttlMs && !seen.fields.has("warning")) {
      broken("a stale copy was served as a fresh one", seen);
    }
  }

  /** Nobody gets what upstream would have refused, outside of a live grant or a public proof. */
  #mayHave(seen: Seen): void {
    const { ask, startedAtMs, endedAtMs } = seen;
    const { options, store } = this.#world;
    if (ask.isForged === true) broken("a forged signature was answered", seen);
    if (ask.who === undefined) return; // see #isOfSomeState
    const fromMs = startedAtMs - options.authzTtlMs - store.longestMs;
    if (!store.couldRead(ask.who, fromMs, endedAtMs)) {
      broken("a principal without right or grant was answered", seen);
    }
  }

  #isOfSomeState(seen: Seen, moment: Moment): void {
    const candidates = this.#candidates(seen, moment);
    const isFound = candidates.some((state) => this.#agrees(seen, state));
    if (isFound) return;
    const history = this.#world.store.statesOf(seen.ask.key);
    broken(
      `no state it may show agrees; floor ${moment.floor} of ${JSON.stringify(
        history.map(({ index, version, isPublic, sinceMs, untilMs }) => [
          index,
          version?.number,
          version?.body.length,
          isPublic,
          sinceMs,
          untilMs,
        ]),
      )}`,
      seen,
    );
  }

  /** The states an answer may show: new enough for acknowledged writes, for its wishes and for the time to live. */
  #candidates(seen: Seen, { floor }: Moment): KeyState[] {
    const { ask, startedAtMs, endedAtMs } = seen;
    const { options, store } = this.#world;
    const wanted = /versionId=(\d+)/.exec(ask.query ?? "")?.[1];
    const history = store.statesOf(ask.key);
    if (wanted !== undefined) {
      return seen.status === 404
        ? history.filter((state) => state.version === undefined)
        : history.filter((state) => String(state.version?.number) === wanted);
    }
    const isStale = seen.fields.has("warning");
    const wishes = ask.headers?.join(" ").toLowerCase() ?? "";
    const isFresh = /no-cache|max-age=0|no-store/.test(wishes) && !isStale;
    const ageMs = options.ttlMs + store.longestMs + (isStale ? options.staleIfErrorMs : 0);
    const newerThanMs = isFresh ? startedAtMs : startedAtMs - ageMs;
    return history.filter(
      (state) =>
        state.index >= floor &&
        state.untilMs >= newerThanMs &&
        state.sinceMs <= endedAtMs &&
        (ask.who !== undefined || state.isPublic || seen.status === 404),
    );
  }

  /** Status, validators, headers and bytes are those of this one state. */
  #agrees(seen: Seen, { version }: KeyState): boolean {
    const { ask, status, fields, body, isComplete } = seen;
    if (status === 404) return version === undefined;
    if (version === undefined || fields.get("etag") !== version.etag) return false;
    if (status === 304) return true;
    if (fields.get("x-amz-meta-number") !== String(version.number)) return false;
    const override = /response-content-type=([^&]+)/.exec(ask.query ?? "")?.[1];
    const type = override === undefined ? typeOf(version) : decodeURIComponent(override);
    if (fields.get("content-type") !== type) return false;

    const sizeBytes = version.body.length;
    let range = { start: 0, end: sizeBytes };
    if (status === 206) {
      const told = parseContentRange(fields.get("content-range") ?? "");
      if (told?.range === undefined || told.sizeBytes !== sizeBytes) return false;
      range = told.range;
      const asked = resolveRange(rangeOf(seen), sizeBytes);
      const isPart = ask.query?.includes("partNumber") === true;
      if (!isPart) {
        if (asked.kind !== "partial") return false;
        if (asked.range.start !== range.start || asked.range.end !== range.end) return false;
      }
    }
    if (fields.get("content-length") !== String(range.end - range.start)) return false;
    if (ask.method === "HEAD") return body.length === 0;
    const expected = version.body.subarray(range.start, range.start + body.length);
    if (Buffer.compare(body, expected) !== 0) return false;
    return !isComplete || body.length === range.end - range.start;
  }

  /**
   * At most one whole fetch per object at a time for those who may share: two overlap only
   * when the object changed, or a write through the gateway was under way, in between.
   */
  fetchesDoNotOverlap(): void {
    const { store, options } = this.#world;
    const fetches = store.wholeFetches.toSorted((a, b) => a.sentAtMs - b.sentAtMs);
    for (const [at, first] of fetches.entries()) {
      for (const second of fetches.slice(at + 1)) {
        if (second.sentAtMs >= first.endedAtMs || second.key !== first.key) continue;
        const isWritten = this.#writes.some(
          ({ key, fromMs, untilMs }) =>
            key === first.key && fromMs <= second.sentAtMs && untilMs >= first.sentAtMs,
        );
        const isChanged = store
          .statesOf(first.key)
          .some(
            ({ sinceMs }) =>
              sinceMs >= first.sentAtMs - options.latencyMs && sinceMs <= second.sentAtMs,
          );
        if (isWritten || isChanged) continue;
        throw new Error(
          `two whole fetches at a time: ${JSON.stringify(first)} and ${JSON.stringify(second)}`,
        );
      }
    }
  }

  /** Nothing is left of what has ended. */
  nothingLeaks(): void {
    const { gateway, flights, storage, store, clock } = this.#world;
    const left = {
      inflight: gateway.inflightCount,
      flights: flights.activeCount,
      flightBytes: flights.heldBytes,
      fills: storage.stats().activeFills,
      upstreamBodies: store.openBodies,
      timers: clock.pendingTimers,
      replies: this.#world.unfinished,
    };
    if (Object.values(left).some((count) => count !== 0)) {
      throw new Error(`left over: ${JSON.stringify(left)}`);
    }
  }
}

function rangeOf(seen: Seen): string | undefined {
  const headers = seen.ask.headers ?? [];
  const at = headers.findIndex((name) => name.toLowerCase() === "range");
  return at === -1 ? undefined : headers[at + 1];
}

function broken(what: string, seen: Seen): never {
  const { ask, startedAtMs, headAtMs, endedAtMs, status, fields, body, isComplete } = seen;
  throw new Error(
    `${what}: ${JSON.stringify({
      ask,
      startedAtMs,
      headAtMs,
      endedAtMs,
      status,
      headers: fields.raw,
      bytes: body.length,
      isComplete,
    })}`,
  );
}
