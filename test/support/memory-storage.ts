/**
 * A store on memory behind the real door, for tests of what is above it. It keeps every
 * promise of the contract suite (test/contract/storage.suite.ts) except survival, and
 * lets a test break it: `refuseFills`, `failCommits`, `loseBody`.
 */

import { IntervalSet } from "../../src/base/interval-set.ts";
import type { ByteRange } from "../../src/http/range.ts";
import { objectIdString, type ObjectId } from "../../src/s3/object-id.ts";
import type {
  CommitOutcome,
  Fill,
  FillRefusal,
  FillRequest,
  ObjectMeta,
  Pin,
  Pinning,
  PinReport,
  Refreshment,
  Storage,
  StorageStats,
  StoredBody,
  StoredObject,
  Tier,
} from "../../src/storage/storage.ts";

/** Bodies from this size on are held in blocks and may be partly present. */
const BLOCKS_FROM_BYTES = 64 * 1024;
const BLOCK_BYTES = 16 * 1024;

interface Body {
  readonly bytes: Uint8Array;
  readonly present: IntervalSet;
}

class MemoryEntry implements StoredObject {
  readonly id: ObjectId;
  readonly sizeBytes: number;
  readonly etag: string;
  readonly lastModified: string | undefined;
  readonly headers: readonly string[];
  readonly storedAtMs: number;
  readonly freshUntilMs: number;
  readonly isPublic: boolean;
  readonly version: number;
  readonly body: Body;

  constructor(meta: ObjectMeta, version: number, body: Body) {
    this.id = meta.id;
    this.sizeBytes = meta.sizeBytes;
    this.etag = meta.etag;
    this.lastModified = meta.lastModified;
    this.headers = meta.headers;
    this.storedAtMs = meta.storedAtMs;
    this.freshUntilMs = meta.freshUntilMs;
    this.isPublic = meta.isPublic;
    this.version = version;
    this.body = body;
  }

  get tier(): Tier {
    return this.sizeBytes < BLOCKS_FROM_BYTES ? "inline" : "file";
  }
}

export interface MemoryStorage extends Storage, Pinning {
  /** Answers every `beginFill` with this; undefined ends it. */
  refuseFills: FillRefusal | undefined;
  /** Makes every commit fail, as a broken disk would. */
  failCommits: boolean;
  /** Damages a body: the next read of it is a miss and the entry is forgotten. */
  loseBody(id: ObjectId): void;
}

export function createMemoryStorage(
  options: { readonly capacityBytes?: number } = {},
): MemoryStorage {
  const capacityBytes = options.capacityBytes ?? 1024 * 1024 * 1024;
  const entries = new Map<string, MemoryEntry>();
  const lost = new WeakSet<Body>();
  const activeFills = new Set<Fill>();
  const pins: Pin[] = [];
  /** Names of the entries that are marked. */
  const pinned = new Set<string>();
  const pinnedMaxBytes = 0.8 * capacityBytes;
  let refusedPins = 0;
  let versions = 0;
  let damagedEntries = 0;
  let isClosing = false;

  const current = (object: StoredObject): MemoryEntry | undefined => {
    const entry = entries.get(objectIdString(object.id));
    return entry?.version === object.version ? entry : undefined;
  };

  const pinnedBytes = (): number => {
    let sizeBytes = 0;
    for (const name of pinned) sizeBytes += entries.get(name)?.sizeBytes ?? 0;
    return sizeBytes;
  };

  /** Marks an entry, or not, as the pins and their bound say. */
  function judgePin(entry: MemoryEntry): void {
    const name = objectIdString(entry.id);
    pinned.delete(name);
    const isWanted = pins.some(
      ({ bucket, prefix }) => bucket === entry.id.bucket && entry.id.key.startsWith(prefix),
    );
    if (!isWanted) return;
    if (pinnedBytes() + entry.sizeBytes <= pinnedMaxBytes) pinned.add(name);
    else refusedPins += 1;
  }

  function judgePins(bucket: string, prefix: string): PinReport {
    const report = { entries: 0, bytes: 0, refusedEntries: 0 };
    const before = refusedPins;
    for (const entry of entries.values()) {
      if (entry.id.bucket !== bucket || !entry.id.key.startsWith(prefix)) continue;
      judgePin(entry);
      if (!pinned.has(objectIdString(entry.id))) continue;
      report.entries += 1;
      report.bytes += entry.sizeBytes;
    }
    return { ...report, refusedEntries: refusedPins - before };
  }

  function forget(id: ObjectId): boolean {
    pinned.delete(objectIdString(id));
    return entries.delete(objectIdString(id));
  }

  function createFill(meta: ObjectMeta, extended: MemoryEntry | undefined): Fill {
    const bytes = extended?.body.bytes ?? new Uint8Array(meta.sizeBytes);
    const received = new IntervalSet();
    const readable = extended?.body.present.copy() ?? new IntervalSet();
    let state: "open" | "committing" | "ended" = "open";
    let failure: string | undefined;
    const fill: Fill = {
      get isBroken() {
        return failure !== undefined;
      },
      write(offset, chunk) {
        if (failure !== undefined || state !== "open" || chunk.length === 0) return;
        if (offset < 0 || offset + chunk.length > meta.sizeBytes) {
          failure = "more bytes than announced";
          return;
        }
        bytes.set(chunk, offset);
        received.add(offset, offset + chunk.length);
        readable.add(offset, offset + chunk.length);
      },
      readableFrom: (start) => readable.endOfRun(start) - start,
      async readBack(start, limitBytes) {
        const end = Math.min(readable.endOfRun(start), start + limitBytes);
        if (end === start) throw new Error(`nothing was written at ${start}`);
        return bytes.subarray(start, end);
      },
      isDoneWith: () => true,
      async commit(stillPermitted): Promise<CommitOutcome> {
        if (state !== "open") return { kind: "failed", reason: failure ?? "committed twice" };
        state = "ended";
        if (storage.failCommits) failure ??= "told to fail";
        const isWhole = received.size === meta.sizeBytes;
        const whole = wholeBlocks(received, meta.sizeBytes);
        if (!isWhole && (meta.sizeBytes < BLOCKS_FROM_BYTES || whole.size === 0)) {
          failure ??= `${received.size} bytes instead of ${meta.sizeBytes}`;
        }
        if (failure !== undefined) return { kind: "failed", reason: failure };
        if (!stillPermitted()) return { kind: "refused" };
        const name = objectIdString(meta.id);
        if (extended !== undefined && current(extended) === undefined) {
          return { kind: "failed", reason: "the entry to extend is gone" };
        }
        const body = extended?.body ?? { bytes, present: new IntervalSet() };
        for (const { start, end } of wholeRuns(whole, meta.sizeBytes)) body.present.add(start, end);
        const version = extended?.version ?? (versions += 1);
        const entry = new MemoryEntry(meta, version, body);
        entries.set(name, entry);
        judgePin(entry);
        return { kind: "committed", object: entry };
      },
      abandon() {
        failure ??= "abandoned";
        state = "ended";
      },
      release() {
        activeFills.delete(fill);
      },
    };
    activeFills.add(fill);
    return fill;
  }

  const storage: MemoryStorage = {
    refuseFills: undefined,
    failCommits: false,
    loseBody(id) {
      const entry = entries.get(objectIdString(id));
      if (entry !== undefined) lost.add(entry.body);
    },
    lookup: (id) => entries.get(objectIdString(id)),
    read(object, range): StoredBody | undefined {
      const entry = current(object);
      if (entry === undefined || range.start < 0 || range.end > entry.sizeBytes) return undefined;
      if (range.start > range.end) return undefined;
      if (lost.has(entry.body)) {
        damagedEntries += 1;
        forget(entry.id);
        return undefined;
      }
      if (!entry.body.present.covers(range.start, range.end)) return undefined;
      return { kind: "bytes", bytes: entry.body.bytes.subarray(range.start, range.end) };
    },
    missing(object, range): readonly ByteRange[] {
      const entry = current(object);
      if (entry === undefined) return range.end > range.start ? [range] : [];
      if (range.end <= range.start) return [];
      const start = Math.floor(range.start / BLOCK_BYTES) * BLOCK_BYTES;
      const end = Math.min(entry.sizeBytes, Math.ceil(range.end / BLOCK_BYTES) * BLOCK_BYTES);
      return entry.body.present.gaps(start, end);
    },
    touch() {
      // Nothing is evicted for space here.
    },
    beginFill({ meta, extend }: FillRequest) {
      if (isClosing) return { refused: "closing" };
      if (storage.refuseFills !== undefined) return { refused: storage.refuseFills };
      if (meta.sizeBytes > capacityBytes) return { refused: "too_large" };
      const extended = extend === undefined ? undefined : current(extend);
      const isSame = extended?.etag === meta.etag && extended.sizeBytes === meta.sizeBytes;
      return createFill(meta, isSame ? extended : undefined);
    },
    refresh(object, news: Refreshment) {
      const entry = current(object);
      if (entry === undefined) return undefined;
      const meta: ObjectMeta = {
        id: entry.id,
        sizeBytes: entry.sizeBytes,
        etag: entry.etag,
        lastModified: entry.lastModified,
        ...news,
      };
      const renewed = new MemoryEntry(meta, entry.version, entry.body);
      entries.set(objectIdString(entry.id), renewed);
      return renewed;
    },
    remove(ids) {
      let count = 0;
      for (const id of ids) if (forget(id)) count += 1;
      return count;
    },
    removePrefix(bucket, prefix) {
      return storage.remove([...storage.list(bucket, prefix)].map((entry) => entry.id));
    },
    *list(bucket, prefix) {
      for (const entry of entries.values()) {
        if (bucket !== undefined && entry.id.bucket !== bucket) continue;
        if (entry.id.key.startsWith(prefix)) yield entry;
      }
    },
    stats(): StorageStats {
      let logicalBytes = 0;
      for (const entry of entries.values()) logicalBytes += entry.sizeBytes;
      return {
        entries: entries.size,
        logicalBytes,
        physicalBytes: logicalBytes,
        capacityBytes,
        evictedEntries: 0,
        evictedBytes: 0,
        damagedEntries,
        activeFills: activeFills.size,
        degradedBecause: undefined,
      };
    },
    async pin(bucket, prefix) {
      const isKnown = pins.some((pin) => pin.bucket === bucket && pin.prefix === prefix);
      if (!isKnown) pins.push({ bucket, prefix, origin: "operator" });
      return judgePins(bucket, prefix);
    },
    async unpin(bucket, prefix) {
      const at = pins.findIndex((pin) => pin.bucket === bucket && pin.prefix === prefix);
      if (at === -1) return undefined;
      pins.splice(at, 1);
      const { entries: left, bytes } = judgePins(bucket, prefix);
      for (const pin of pins) judgePins(pin.bucket, pin.prefix);
      return { entries: left, bytes, refusedEntries: 0 };
    },
    pinFigures: () => ({
      pins: [...pins],
      entries: pinned.size,
      bytes: pinnedBytes(),
      maxBytes: pinnedMaxBytes,
      refusedEntries: refusedPins,
    }),
    async close() {
      isClosing = true;
    },
  };
  return storage;
}

function wholeBlocks(received: IntervalSet, sizeBytes: number): Set<number> {
  const blocks = new Set<number>();
  for (let block = 0; block * BLOCK_BYTES < sizeBytes; block += 1) {
    const start = block * BLOCK_BYTES;
    if (received.covers(start, Math.min(sizeBytes, start + BLOCK_BYTES))) blocks.add(block);
  }
  return blocks;
}

function wholeRuns(blocks: ReadonlySet<number>, sizeBytes: number): ByteRange[] {
  return [...blocks].map((block) => ({
    start: block * BLOCK_BYTES,
    end: Math.min(sizeBytes, (block + 1) * BLOCK_BYTES),
  }));
}
