/**
 * The door of the cache: entries, whether they may be used, and who may replace them.
 *
 * It adds to the store what a store does not know: freshness, admission, and the order
 * of writes and fills. It never looks at who asks; gateway/ has settled that before.
 */

import { unreachable } from "../base/assert.ts";
import type { Clock, Timer } from "../base/clock.ts";
import { Fields, type RawHeaders } from "../http/fields.ts";
import type { ByteRange } from "../http/range.ts";
import type { ObjectId } from "../s3/object-id.ts";
import type {
  Fill,
  FillRefusal,
  Storage,
  StorageStats,
  StoredBody,
  StoredObject,
} from "../storage/storage.ts";
import { admit, type Candidate, isDefaultVariant, type SkipReason } from "./admission.ts";
import { type CacheDecision, decideRead, mayServeStale, type ReadWishes } from "./decision.ts";
import { metaOf, refreshedHeaders } from "./entry.ts";
import { freshUntilMs } from "./freshness.ts";
import type { Rules } from "./rules.ts";
import { type FillPermit, Tombstones } from "./tombstones.ts";
import type { WriteNote, WriteNotes } from "./write-notes.ts";
import type { WriteOutcome, WriteTargets } from "./write-targets.ts";
import { type WriteUnderWay, WritesUnderWay } from "./writes-under-way.ts";

/** How much of an entry the store is asked about at a time. */
const STRETCH_BYTES = 64 * 1024 * 1024;

export type { FillPermit } from "./tombstones.ts";
export { type CacheRule, pinsOf, Rules } from "./rules.ts";
export { type LeftNote, openWriteNotes, type WriteNotes } from "./write-notes.ts";
export type { WriteOutcome, WriteTargets } from "./write-targets.ts";

export interface CacheOptions {
  /** Longest time an entry is used without asking upstream. */
  readonly ttlMs: number;
  readonly sizeThresholdBytes: number;
  /** What holds for some buckets or prefixes. */
  readonly rules?: Rules | undefined;
  /** How long after that an entry may stand in for an upstream that fails. */
  readonly staleIfErrorMs: number;
  /** Bound on remembered writes, objects and buckets each. */
  readonly tombstonesMax: number;
}

export interface CacheEvents {
  fillSkipped(id: ObjectId, reason: SkipReason | FillRefusal): void;
  invalidated(targets: WriteTargets, entries: number): void;
}

export interface FillOffer extends Candidate {
  readonly permit: FillPermit;
  /** Headers of the whole object's 200 answer. */
  readonly headers: RawHeaders;
  readonly isPublic: boolean;
  /** A partly present entry of the same version, to be completed. */
  readonly extend?: StoredObject | undefined;
  /** How much of the body is on its way, where that is only a part; undefined: all of it. */
  readonly expectedBytes?: number | undefined;
}

/** Entries purged in one go: some ten milliseconds. */
const PURGE_SLICE = 256;

/** How long upstream may take to carry out a write it never answered. */
const UNCERTAIN_MS = 60_000;

export class Cache {
  /** Undefined when caching is off. */
  readonly #storage: Storage | undefined;
  readonly #clock: Clock;
  readonly #options: CacheOptions;
  readonly #events: CacheEvents;
  readonly #tombstones: Tombstones;
  readonly #notes: WriteNotes | undefined;
  readonly #rules: Rules | undefined;
  readonly #writes = new WritesUnderWay();
  /** Of writes without an answer. */
  readonly #timers = new Set<Timer>();

  /** Without `notes`, what is stored of an object goes before a write of it is forwarded. */
  constructor(
    storage: Storage | undefined,
    clock: Clock,
    options: CacheOptions,
    events: CacheEvents,
    notes?: WriteNotes,
  ) {
    this.#storage = storage;
    this.#clock = clock;
    this.#options = options;
    this.#rules = options.rules;
    this.#events = events;
    this.#tombstones = new Tombstones(options.tombstonesMax);
    this.#notes = storage === undefined ? undefined : notes;
    for (const note of this.#notes?.left ?? []) {
      this.#leaveUncertain(this.#begin(note.targets, note));
    }
  }

  get isEnabled(): boolean {
    return this.#storage !== undefined;
  }

  get tombstoneCount(): number {
    return this.#tombstones.count;
  }

  /** False when a rule keeps the object out of the cache: neither read from it nor stored. */
  admits(id: ObjectId): boolean {
    return this.#rules === undefined || !this.isEnabled || this.#rules.admits(id);
  }

  /** The entry a request may be answered with, as far as the request's own fields go. */
  lookup(id: ObjectId, request: Fields): StoredObject | undefined {
    const object = this.#storage?.lookup(id);
    if (object === undefined) return undefined;
    return isDefaultVariant(fieldsOf(object), request) ? object : undefined;
  }

  /** What to do with a read of `object`, given what the client wishes. */
  decide(object: StoredObject | undefined, wishes: ReadWishes): CacheDecision<StoredObject> {
    const isDoubted = object !== undefined && this.#writes.doubts(object);
    return decideRead(object, wishes, this.#clock.nowMs(), this.isEnabled, isDoubted);
  }

  /** Whether `object` may be served although upstream failed to confirm it. */
  mayServeStale(object: StoredObject): boolean {
    return mayServeStale(object, this.#clock.nowMs(), this.#options.staleIfErrorMs);
  }

  /** Seconds since upstream sent or confirmed the entry (`Age`, RFC 9111 §5.1). */
  ageSeconds(object: StoredObject): number {
    return Math.max(0, Math.floor((this.#clock.nowMs() - object.storedAtMs) / 1000));
  }

  /** See `Storage.read`; the use is noted for eviction. */
  read(
    object: StoredObject,
    range: ByteRange,
  ): StoredBody | undefined | Promise<StoredBody | undefined> {
    this.#storage?.touch(object);
    return this.#storage?.read(object, range);
  }

  /** Notes a use that needed no body: HEAD, 304, 412, 416. */
  touch(object: StoredObject): void {
    this.#storage?.touch(object);
  }

  /** The parts of `range` that are not stored. */
  missing(object: StoredObject, range: ByteRange): readonly ByteRange[] {
    return this.#storage?.missing(object, range) ?? [range];
  }

  /** Whether every byte of the entry is stored. */
  isComplete(object: StoredObject): boolean {
    // A large entry knows many parts; the first missing one settles it.
    for (let start = 0; start < object.sizeBytes; start += STRETCH_BYTES) {
      const end = Math.min(object.sizeBytes, start + STRETCH_BYTES);
      if (this.missing(object, { start, end }).length > 0) return false;
    }
    return true;
  }

  /** To be taken before the upstream request whose answer may be stored. */
  permit(id: ObjectId): FillPermit {
    return this.#tombstones.permit(id);
  }

  isValid(permit: FillPermit): boolean {
    return this.#tombstones.isValid(permit) && !this.#writes.voids(permit);
  }

  /** Starts storing an answer, or undefined when it is not to be stored. */
  beginFill(offer: FillOffer): Fill | undefined {
    const { id } = offer.permit;
    const admission = admit(offer, {
      isEnabled: this.isEnabled,
      isIncluded: this.admits(id),
      sizeThresholdBytes: this.#options.sizeThresholdBytes,
    });
    if (admission.kind === "skip" || this.#storage === undefined || offer.sizeBytes === undefined) {
      const reason = admission.kind === "skip" ? admission.reason : "disabled";
      if (reason !== "disabled") this.#events.fillSkipped(id, reason);
      return undefined;
    }
    const meta = metaOf({
      id,
      headers: offer.headers,
      sizeBytes: offer.sizeBytes,
      receivedAtMs: this.#clock.nowMs(),
      ttlMs: this.#ttlMsOf(id),
      isPublic: offer.isPublic,
    });
    const fill = this.#storage.beginFill({
      meta,
      extend: offer.extend,
      expectedBytes: offer.expectedBytes,
    });
    if (!("refused" in fill)) return fill;
    this.#events.fillSkipped(id, fill.refused);
    return undefined;
  }

  /**
   * Upstream confirmed `object` with an answer (a 304, or a 200 with the same
   * validator). `isPublic` tells whether it answered an unsigned request, which proves again
   * that everybody may read. Undefined when the entry is not there any more.
   *
   * A signed answer proves nothing to the public, so it may not prolong a public entry: one
   * that is fresh stays as it is, one that has expired is private from now on.
   */
  refresh(object: StoredObject, answer: RawHeaders, isPublic: boolean): StoredObject | undefined {
    const nowMs = this.#clock.nowMs();
    if (object.isPublic && !isPublic && nowMs < object.freshUntilMs) return this.#present(object);
    const headers = refreshedHeaders(object.headers, answer);
    // `Age` and `Date` decide freshness but are not replayed, so they come from the answer.
    const dated = new Fields([...headers, ...datesOf(answer)]);
    return this.#storage?.refresh(object, {
      headers,
      storedAtMs: nowMs,
      freshUntilMs: freshUntilMs(dated, nowMs, this.#ttlMsOf(object.id)),
      isPublic,
    });
  }

  /** Drops exactly this entry: upstream has none, or another one. Running fills are not affected. */
  forget(object: StoredObject): void {
    if (this.#present(object) !== undefined) this.#storage?.remove([object.id]);
  }

  /**
   * A write is about to be forwarded: what is stored of its targets is used only when
   * upstream confirms it, and fills that began before cannot commit. Call `settle` with how
   * it ended, once and before the client is told; `changed` are the targets a success
   * has changed, of which there may be fewer.
   */
  beginWrite(targets: WriteTargets): {
    settle(outcome: WriteOutcome, changed: WriteTargets): void;
  } {
    const write = this.#begin(targets, this.#notes?.write(targets));
    // Unnoted, nothing may be there that a restart could take for good.
    if (write.note === undefined) this.#invalidate(targets);
    return {
      settle: (outcome, changed) => {
        switch (outcome) {
          case "rejected":
            this.#writes.end(write);
            return;
          case "succeeded":
            this.#invalidate(changed);
            this.#writes.end(write);
            return;
          case "unknown":
            this.#leaveUncertain(write);
            return;
          default:
            unreachable(outcome);
        }
      },
    };
  }

  /**
   * Drops everything of a bucket whose key starts with `prefix`, on an operator's word, and
   * voids the fills of the bucket that are under way, so that none brings it back. Resolves to
   * the number of entries once nothing of it is served any more; in slices, because there may
   * be millions.
   */
  async purge(bucket: string, prefix: string): Promise<number> {
    this.#tombstones.markBucket(bucket);
    if (this.#storage === undefined) return 0;
    let entries = 0;
    let slice: ObjectId[] = [];
    for (const { id } of this.#storage.list(bucket, prefix)) {
      if (slice.push(id) < PURGE_SLICE) continue;
      entries += this.#storage.remove(slice);
      slice = [];
      await this.#clock.sleep(0);
    }
    // What is left, and what was stored or extended between two slices.
    this.#tombstones.markBucket(bucket);
    return entries + this.#storage.removePrefix(bucket, prefix);
  }

  /** Gives up waiting. Notes of writes whose outcome is not known stay for the next process. */
  close(): void {
    for (const timer of this.#timers) timer.cancel();
    this.#timers.clear();
    this.#notes?.close();
  }

  stats(): StorageStats | undefined {
    return this.#storage?.stats();
  }

  #ttlMsOf(id: ObjectId): number {
    return this.#rules?.ttlMs(id) ?? this.#options.ttlMs;
  }

  /** The entry as it is stored now, if it still is this version. */
  #present({ id, version }: StoredObject): StoredObject | undefined {
    const object = this.#storage?.lookup(id);
    return object?.version === version ? object : undefined;
  }

  #begin(targets: WriteTargets, note: WriteNote | undefined): WriteUnderWay {
    const write: WriteUnderWay = {
      targets,
      beganAtMs: this.#clock.nowMs(),
      // Unnoted, nothing may become durable either.
      voidsBelow: note === undefined ? Number.POSITIVE_INFINITY : this.#tombstones.advance(),
      note,
      isUncertain: false,
    };
    this.#writes.begin(write);
    return write;
  }

  /** Upstream may have carried the write out, or may still do it. */
  #leaveUncertain(write: WriteUnderWay): void {
    write.isUncertain = true;
    this.#invalidate(write.targets);
    this.#later(UNCERTAIN_MS, () => {
      this.#invalidate(write.targets);
      this.#writes.end(write);
    });
  }

  #later(ms: number, run: () => void): void {
    const timer = this.#clock.after(ms, () => {
      this.#timers.delete(timer);
      run();
    });
    this.#timers.add(timer);
  }

  #invalidate(targets: WriteTargets): void {
    switch (targets.kind) {
      case "objects": {
        if (targets.ids.length === 0) return;
        for (const id of targets.ids) this.#tombstones.markObject(id);
        this.#events.invalidated(targets, this.#storage?.remove(targets.ids) ?? 0);
        return;
      }
      case "bucket": {
        this.#tombstones.markBucket(targets.bucket);
        this.#events.invalidated(targets, this.#storage?.removePrefix(targets.bucket, "") ?? 0);
        return;
      }
    }
  }
}

/** One index per entry, however often it is looked up. */
const indexed = new WeakMap<StoredObject, Fields>();

/** The stored headers of an entry as `Fields`. */
export function fieldsOf(object: StoredObject): Fields {
  let fields = indexed.get(object);
  if (fields === undefined) {
    fields = new Fields(object.headers);
    indexed.set(object, fields);
  }
  return fields;
}

function datesOf(headers: RawHeaders): string[] {
  const fields = new Fields(headers);
  return ["Age", "Date"].flatMap((name) => {
    const value = fields.get(name.toLowerCase());
    return value === undefined ? [] : [name, value];
  });
}
