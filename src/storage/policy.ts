/**
 * Eviction policies: what is let in when the cache is full, and what goes first.
 *
 * `fifo` and `lru` are the names of the owner's documents. `lru` is FIFO over segments
 * with second chances (records used since the last pass are moved on), which follows
 * real LRU within a point without writing anything on a hit.
 *
 * `auto` knows that training reads whole datasets in epochs. On cyclic or shuffled
 * access, any policy that admits everything throws each object out just before it is
 * needed; keeping a fixed part of the dataset is optimal (hit ratio = cache / dataset).
 * Four ideas make that safe:
 *
 * - Bimodal insertion (Qureshi et al., ISCA 2007): once full, one miss in 32 is admitted.
 * - Dueling (same paper, with sampled shadow caches instead of leader sets): two miniature
 *   caches see a sample of the keys, one admitting everything, one in 32; the rule that
 *   hits more there is used. Skewed traffic gets plain LRU, epochs get bimodal insertion.
 * - Idle groups go first: objects form groups by bucket and leading folders, and while there
 *   are bytes of a group nobody asks for any more, those go and every miss is admitted.
 *   That is how a new dataset replaces a finished one within an epoch.
 * - Then groups nobody was seen to come back to, as long as they hold more than new arrivals need
 *   to prove themselves: a scan runs through a part of the cache and leaves the rest alone.
 *
 * docs/eviction.md has the measured table.
 *
 * Time is counted in requested bytes, not seconds: a slow job is not an idle one.
 */

import type { Random } from "../base/random.ts";
import type { ObjectId } from "../s3/object-id.ts";

export type PolicyName = "auto" | "lru" | "fifo";

/** What is evicted as a whole: a segment, or a body of the file tier. */
export interface EvictionUnit {
  /** Larger is younger: a stamp, see control.ts. */
  readonly order: number;
  readonly liveBytes: number;
  /** Made of records that were moved on, because they were in use when their segment went. */
  readonly isKept: boolean;
  /** Live bytes by group. */
  readonly groups: ReadonlyMap<number, number>;
}

/** A unit some of which must stay. */
export interface HeldUnit {
  /** Bytes that come back when it is gone. */
  readonly fileBytes: number;
  /** Of these, what is pinned. */
  readonly pinnedBytes: number;
}

/** Moving on more than this share of a segment gives too little back for the writing. */
const PINNED_SHARES_MAX = [0.75, 0.95] as const;

/**
 * What may be offered to a policy: policies never hear of pins. A segment may go although some
 * of it is pinned, when that has somewhere to move to and is not most of it.
 *
 * @param movableBytes what can be moved on now; 0 for a body that is one file
 * @param effort 0 at first; 1 when nothing was found that costs less
 */
export function mayEvict(unit: HeldUnit, movableBytes: number, effort: 0 | 1): boolean {
  if (unit.pinnedBytes <= 0) return true;
  return (
    unit.pinnedBytes <= movableBytes &&
    unit.pinnedBytes <= PINNED_SHARES_MAX[effort] * unit.fileBytes
  );
}

export interface EvictionPolicy {
  readonly name: PolicyName;
  /** At most this share of a segment is moved on instead of evicted. */
  readonly evacuatedShareMax: number;
  /** Notes a request for an object, hit or miss; `h` is its row id, used as a hash. */
  noteRequest(group: number, h: number, sizeBytes: number): void;
  /** Whether a missed object is stored; `isFull`: something else would have to go for it. */
  admits(group: number, isFull: boolean): boolean;
  /** True when nobody seems to want the group any more. */
  isIdle(group: number): boolean;
  /** Of the units, in order of age, the one to evict; undefined when there is none. */
  choose<U extends EvictionUnit>(oldestFirst: Iterable<U>): U | undefined;
}

export interface PolicyOptions {
  readonly capacityBytes: number;
  readonly random: Random;
}

export function createPolicy(name: PolicyName, options: PolicyOptions): EvictionPolicy {
  switch (name) {
    case "fifo":
      return new QueuePolicy("fifo", 0);
    case "lru":
      return new QueuePolicy("lru", 0.5);
    case "auto":
      return new EpochPolicy(options);
  }
}

/** The group of an object: its bucket and up to three leading folders, as a number. */
export function groupOf(id: ObjectId): number {
  let end = 0;
  for (let depth = 0; depth < GROUP_DEPTH; depth += 1) {
    const slash = id.key.indexOf("/", end);
    if (slash === -1) break;
    end = slash + 1;
  }
  return Bun.hash.crc32(`${id.bucket}/${id.key.slice(0, end)}`);
}

const GROUP_DEPTH = 3;

/** First in, first out; what was used in between may be moved on. */
class QueuePolicy implements EvictionPolicy {
  readonly name: PolicyName;
  readonly evacuatedShareMax: number;

  constructor(name: PolicyName, evacuatedShareMax: number) {
    this.name = name;
    this.evacuatedShareMax = evacuatedShareMax;
  }

  noteRequest(): void {
    // Age alone decides.
  }

  admits(): boolean {
    return true;
  }

  isIdle(): boolean {
    return false;
  }

  choose<U extends EvictionUnit>(oldestFirst: Iterable<U>): U | undefined {
    for (const unit of oldestFirst) return unit;
    return undefined;
  }
}

/** One miss in this many is admitted into a full cache. */
const ADMIT_ONE_IN = 32;
/** A group is idle when its silence is this many times its usual pause between requests, … */
const IDLE_PAUSES = 8;
/** … and in any case not before this share of the cache was requested from others. */
const IDLE_SHARE_MIN = 0.05;
/** Beyond this silence (in caches' worth of requests) nothing is busy. */
const IDLE_SHARE_MAX = 2;
/** A unit counts as idle, or as a scan's, when at most this share of it is of other groups. */
const OTHER_SHARE_MAX = 0.5;
/** What was never moved on goes first while it is more than this share of the cache. */
const FRESH_SHARE = 0.1;
/** People come back to a group when at least this share of its sampled requests was a repeat. */
const REPEAT_SHARE_MIN = 0.05;
/** Sampled requests of a group over which that is judged: then both counts are halved. */
const SAMPLED_MAX = 256;
const GROUPS_MAX = 65_536;

interface GroupActivity {
  /** When it was last asked for, in requested bytes. */
  lastAt: number;
  /** Smoothed pause between requests, in requested bytes. */
  pauseBytes: number;
  /** Requests that were in the sample of the duel, lately. */
  sampled: number;
  /** Of these, how many a cache of this size could have known. */
  repeated: number;
}

/** Units of one kind, as they are met on the way from old to young. */
class Candidates<U extends EvictionUnit> {
  totalBytes = 0;
  #freshBytes = 0;
  #oldestFresh: U | undefined;
  #oldestKept: U | undefined;

  add(unit: U): void {
    this.totalBytes += unit.liveBytes;
    if (unit.isKept) {
      this.#oldestKept ??= unit;
    } else {
      this.#freshBytes += unit.liveBytes;
      this.#oldestFresh ??= unit;
    }
  }

  /** New arrivals prove themselves in a tenth of the cache (S3-FIFO, SOSP 2023). */
  choose(): U | undefined {
    return this.#freshBytes > FRESH_SHARE * this.totalBytes
      ? (this.#oldestFresh ?? this.#oldestKept)
      : (this.#oldestKept ?? this.#oldestFresh);
  }
}

class EpochPolicy implements EvictionPolicy {
  readonly name = "auto";
  readonly evacuatedShareMax = 0.75;
  readonly #options: PolicyOptions;
  readonly #groups = new Map<number, GroupActivity>();
  readonly #duel: Duel;
  /** The clock: bytes requested so far. */
  #requestedBytes = 0;
  /** Whether eviction found something idle lately: then misses are worth admitting. */
  #idleFoundAt = Number.NEGATIVE_INFINITY;

  constructor(options: PolicyOptions) {
    this.#options = options;
    this.#duel = new Duel(options);
  }

  noteRequest(group: number, h: number, sizeBytes: number): void {
    const sample = this.#duel.noteRequest(h, sizeBytes, this.#isMakingRoomFromIdle());
    this.#requestedBytes += sizeBytes;
    const now = this.#requestedBytes;
    let activity = this.#groups.get(group);
    if (activity === undefined) {
      if (this.#groups.size >= GROUPS_MAX) this.#forgetOldest();
      // A new group's usual pause is unknown; assume a busy one that may prove otherwise.
      activity = { lastAt: now, pauseBytes: 0, sampled: 0, repeated: 0 };
      this.#groups.set(group, activity);
    } else {
      activity.pauseBytes += (now - activity.lastAt - activity.pauseBytes) / 16;
      activity.lastAt = now;
    }
    if (sample === undefined) return;
    activity.sampled += 1;
    if (sample === "repeat") activity.repeated += 1;
    if (activity.sampled >= SAMPLED_MAX) {
      activity.sampled /= 2;
      activity.repeated /= 2;
    }
  }

  admits(_group: number, isFull: boolean): boolean {
    if (!isFull || this.#isMakingRoomFromIdle() || !this.#duel.isBimodalBetter) return true;
    return this.#options.random.below(ADMIT_ONE_IN) === 0;
  }

  isIdle(group: number): boolean {
    const activity = this.#groups.get(group);
    if (activity === undefined) return this.#requestedBytes > this.#shareBytes(IDLE_SHARE_MIN);
    const silenceBytes = this.#requestedBytes - activity.lastAt;
    const patienceBytes = Math.max(
      this.#shareBytes(IDLE_SHARE_MIN),
      Math.min(IDLE_PAUSES * activity.pauseBytes, this.#shareBytes(IDLE_SHARE_MAX)),
    );
    return silenceBytes > patienceBytes;
  }

  choose<U extends EvictionUnit>(oldestFirst: Iterable<U>): U | undefined {
    const all = new Candidates<U>();
    const unproven = new Candidates<U>();
    for (const unit of oldestFirst) {
      if (this.#isMostly(unit, (group) => this.isIdle(group))) {
        this.#idleFoundAt = this.#requestedBytes;
        return unit;
      }
      all.add(unit);
      if (this.#isMostly(unit, (group) => !this.#isReturnedTo(group))) unproven.add(unit);
    }
    const isScan = unproven.totalBytes > FRESH_SHARE * all.totalBytes;
    return isScan ? unproven.choose() : all.choose();
  }

  /** Whether requests for the group were seen to repeat, within what this cache can hold. */
  #isReturnedTo(group: number): boolean {
    const activity = this.#groups.get(group);
    return (
      activity !== undefined &&
      activity.repeated > 0 &&
      activity.repeated >= REPEAT_SHARE_MIN * activity.sampled
    );
  }

  /** Whether at least half of a unit's bytes belong to groups that are `such`. */
  #isMostly(unit: EvictionUnit, isSuch: (group: number) => boolean): boolean {
    let otherBytes = 0;
    for (const [group, sizeBytes] of unit.groups) {
      if (!isSuch(group)) otherBytes += sizeBytes;
    }
    return unit.groups.size > 0 && otherBytes <= OTHER_SHARE_MAX * unit.liveBytes;
  }

  #isMakingRoomFromIdle(): boolean {
    return this.#requestedBytes - this.#idleFoundAt < this.#shareBytes(IDLE_SHARE_MIN);
  }

  #shareBytes(share: number): number {
    return share * this.#options.capacityBytes;
  }

  #forgetOldest(): void {
    let oldest: number | undefined;
    let oldestAt = Number.POSITIVE_INFINITY;
    for (const [group, { lastAt }] of this.#groups) {
      if (lastAt < oldestAt) [oldest, oldestAt] = [group, lastAt];
    }
    if (oldest !== undefined) this.#groups.delete(oldest);
  }
}

/** Sampled keys a shadow cache may hold; beyond, the sample gets thinner. */
const SHADOW_ENTRIES_MAX = 4096;
/** The sample starts with one key in this many. */
const SAMPLE_ONE_IN = 16;
/** Requests of the sample over which the scores are smoothed. */
const SCORE_SPAN = 4096;
/** Bimodal insertion must win by this hit ratio: admitting everything follows changes faster. */
const BIMODAL_LEAD = 0.02;
/** The lead it is granted at first, until the shadows have seen an epoch. */
const FIRST_LEAD = 0.05;

/**
 * Two miniature LRU caches over a sample of the keys, scaled down as the sample is
 * (spatial sampling as in SHARDS, Waldspurger et al., FAST 2015).
 */
class Duel {
  readonly #options: PolicyOptions;
  readonly #admitAll = new Shadow();
  readonly #bimodal = new Shadow();
  /** Keys whose hash modulo this is zero are in the sample. */
  #oneIn = SAMPLE_ONE_IN;
  #admitAllScore = 0;
  #bimodalScore = FIRST_LEAD;

  constructor(options: PolicyOptions) {
    this.#options = options;
  }

  get isBimodalBetter(): boolean {
    return this.#bimodalScore >= this.#admitAllScore + BIMODAL_LEAD;
  }

  /**
   * Answers whether one of the shadows had it, or undefined for a key that is not in the sample.
   *
   * @param isAdmittingAll whether the real cache lets everything in, because something idle goes
   */
  noteRequest(h: number, sizeBytes: number, isAdmittingAll: boolean): Sample | undefined {
    if (h % this.#oneIn !== 0) return undefined;
    const { capacityBytes, random } = this.#options;
    const limitBytes = capacityBytes / this.#oneIn;
    const hitA = this.#admitAll.request(h, sizeBytes, limitBytes, () => true);
    const hitB = this.#bimodal.request(
      h,
      sizeBytes,
      limitBytes,
      () => isAdmittingAll || random.below(ADMIT_ONE_IN) === 0,
    );
    this.#admitAllScore += ((hitA ? 1 : 0) - this.#admitAllScore) / SCORE_SPAN;
    this.#bimodalScore += ((hitB ? 1 : 0) - this.#bimodalScore) / SCORE_SPAN;
    if (Math.max(this.#admitAll.size, this.#bimodal.size) > SHADOW_ENTRIES_MAX) {
      this.#oneIn *= 2;
      this.#admitAll.thin(this.#oneIn);
      this.#bimodal.thin(this.#oneIn);
    }
    return hitA || hitB ? "repeat" : "first";
  }
}

/** What the shadow caches know of a key. */
type Sample = "first" | "repeat";

/** An LRU cache without bodies. */
class Shadow {
  /** Sizes by hash, least recently used first. */
  readonly #entries = new Map<number, number>();
  #usedBytes = 0;

  get size(): number {
    return this.#entries.size;
  }

  /** Returns whether it was a hit; a miss is let in when there is room or `admits` says so. */
  request(h: number, sizeBytes: number, limitBytes: number, admits: () => boolean): boolean {
    const present = this.#entries.get(h);
    if (present !== undefined) {
      this.#entries.delete(h);
      this.#entries.set(h, present);
      return true;
    }
    if (sizeBytes > limitBytes) return false;
    if (this.#usedBytes + sizeBytes > limitBytes && !admits()) return false;
    this.#entries.set(h, sizeBytes);
    this.#usedBytes += sizeBytes;
    for (const [oldest, oldBytes] of this.#entries) {
      if (this.#usedBytes <= limitBytes) break;
      this.#entries.delete(oldest);
      this.#usedBytes -= oldBytes;
    }
    return false;
  }

  /** Keeps only keys of a thinner sample. */
  thin(oneIn: number): void {
    for (const [h, sizeBytes] of this.#entries) {
      if (h % oneIn === 0) continue;
      this.#entries.delete(h);
      this.#usedBytes -= sizeBytes;
    }
  }
}
