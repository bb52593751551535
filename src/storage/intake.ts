/**
 * The way in: decides whether a body is taken, and in which tier, and makes its fill.
 */

import type { CountedBytes } from "../base/counted-bytes.ts";
import { blockBytesFor, FileBody, type BlockFiles, type FileLayout } from "./block-files.ts";
import type { FileReader } from "./block-reader.ts";
import type { Entries } from "./entries.ts";
import { Entry } from "./entry.ts";
import type { Evictor } from "./evictor.ts";
import { type FillMemory, MemoryFill, type StoredParts, StreamFill } from "./fill.ts";
import { encodeHead } from "./head.ts";
import type { DiskHealth } from "./health.ts";
import { identityOf, type Identity } from "./identity.ts";
import type { MemoryTier } from "./memory-tier.ts";
import type { OpenFiles } from "./open-files.ts";
import { groupOf, type EvictionPolicy } from "./policy.ts";
import type { Pins } from "./pins.ts";
import { inlineBytes, ROOM_PAUSE_MS, ROOM_TRIES, type Publisher } from "./publisher.ts";
import type { Quotas } from "./quotas.ts";
import { BLOCK_BYTES, decodeTable, recordBytes } from "./segment-format.ts";
import { SegmentPlace } from "./segment-reader.ts";
import { CacheFull, RecordTarget, smallRecord } from "./segment-writer.ts";
import type { Segments } from "./segments.ts";
import type { Space } from "./space.ts";
import type { CommitOutcome, Fill, FillRefusal, FillRequest, ObjectMeta } from "./storage.ts";
import type { WritePace } from "./write-pace.ts";

export interface IntakeOptions {
  readonly entries: Entries;
  readonly publisher: Publisher;
  readonly segments: Segments;
  readonly memoryTier: MemoryTier;
  readonly fileReader: FileReader;
  readonly openFiles: OpenFiles;
  readonly files: BlockFiles;
  readonly space: Space;
  readonly evictor: Evictor;
  readonly policy: EvictionPolicy;
  readonly pins: Pins;
  readonly quotas: Quotas;
  readonly health: DiskHealth;
  readonly memory: FillMemory;
  readonly pace: WritePace;
  readonly fillsMax: number;
  /** Objects from this size on are held in blocks, whatever fits into a segment. */
  readonly blockThresholdBytes: number;
  readonly chunkBytes: (blockBytes: number) => number;
  readonly shardCount: number;
  readonly nextStamp: () => number;
  /** Unlinks the files of a body that was not published. */
  readonly removeFiles: (layout: FileLayout, sizeBytes: number) => void;
}

/** Bodies up to this live in their catalog row. */
const INLINE_BYTES = 256;
/** Bodies up to this wait in memory until they are complete. */
const MEMORY_FILL_BYTES = 256 * 1024;
/** What a fill of the file tier finds free when it begins; it takes more as it grows. */
const FILE_ROOM_BYTES = 8 * 1024 * 1024;
/** What a file may take more than its bytes, because volumes give out whole blocks. */
const FILE_ROUNDING_BYTES = 16 * 1024;
/** An object larger than this share of the cap would throw out everything else. */
const LARGEST_SHARE = 0.5;

export class Intake {
  readonly #options: IntakeOptions;
  readonly #sleep: (ms: number) => Promise<void>;
  readonly #running = new Set<MemoryFill | StreamFill>();
  /** Bodies that a fill adds to, by version: never two instances of one. */
  readonly #growing = new Map<number, FileBody>();
  #isClosed = false;

  constructor(options: IntakeOptions, sleep: (ms: number) => Promise<void>) {
    this.#options = options;
    this.#sleep = sleep;
  }

  get runningCount(): number {
    return this.#running.size;
  }

  /** The body of a version that a fill is adding to. */
  growing(version: number): FileBody | undefined {
    return this.#growing.get(version);
  }

  begin({ meta, extend, expectedBytes }: FillRequest): Fill | { readonly refused: FillRefusal } {
    const refused = this.#refusal();
    if (refused !== undefined) return { refused };
    const { entries, segments, quotas, policy, pins, evictor, blockThresholdBytes } = this.#options;
    const identity = identityOf(meta.id, this.#options.shardCount);
    const group = groupOf(meta.id);
    policy.noteRequest(group, identity.h, meta.sizeBytes);

    const extended = extend === undefined ? undefined : entries.current(extend);
    if (extended?.place.kind === "file" && isSameBody(extended, meta)) {
      if (this.#isTooLarge(this.#options.files.allocatedBytes(extended.place.body.layout))) {
        return { refused: "too_large" };
      }
      if (!quotas.hasRoom(meta.id.bucket, 0)) return { refused: "quota" };
      return evictor.hasRoom(Math.min(meta.sizeBytes, FILE_ROOM_BYTES))
        ? this.#extend(meta, extended, extended.place.body)
        : { refused: "disk_full" };
    }
    const head = encodeHead(meta);
    const recordLength = recordBytes(head.length, meta.sizeBytes);
    const isInBlocks =
      recordLength > segments.recordBytesMax || meta.sizeBytes >= blockThresholdBytes;
    // Of an object in blocks only what is read takes room.
    const neededBytes = isInBlocks
      ? (expectedBytes ?? meta.sizeBytes) + FILE_ROUNDING_BYTES
      : Math.max(recordLength, inlineBytes(head.length, meta.sizeBytes));
    if (this.#isTooLarge(neededBytes)) return { refused: "too_large" };
    const isFull = evictor.isFull || quotas.isFull(meta.id.bucket);
    const isWanted = policy.admits(group, isFull) || pins.wants(meta.id, neededBytes);
    if (!isWanted) return { refused: "not_admitted" };
    if (!quotas.hasRoom(meta.id.bucket, neededBytes)) return { refused: "quota" };

    const version = this.#options.nextStamp();
    const start = { meta, identity, group, version, neededBytes };
    if (meta.sizeBytes <= INLINE_BYTES) {
      return evictor.hasRoom(0) ? this.#fillInline(start) : { refused: "disk_full" };
    }
    if (isInBlocks) {
      return evictor.hasRoom(Math.min(neededBytes, FILE_ROOM_BYTES))
        ? this.#fillFile(start)
        : { refused: "disk_full" };
    }
    evictor.poke();
    if (!segments.hasRoom(recordLength)) return { refused: "disk_full" };
    return meta.sizeBytes <= MEMORY_FILL_BYTES
      ? this.#fillRecord(start, head)
      : this.#streamRecord(start, head);
  }

  /** Takes nothing any more; what runs may finish. */
  close(): void {
    this.#isClosed = true;
  }

  /** Ends every running fill without publishing. */
  breakAll(reason: string): void {
    for (const fill of this.#running) fill.break(reason);
  }

  #refusal(): FillRefusal | undefined {
    const { health, memory, fillsMax } = this.#options;
    if (this.#isClosed) return "closing";
    if (health.degradedBecause !== undefined) return health.isFull ? "disk_full" : "store_failed";
    if (this.#running.size >= fillsMax) return "too_many_fills";
    if (memory.isFull) return "fill_memory";
    return undefined;
  }

  #isTooLarge(sizeBytes: number): boolean {
    return sizeBytes > this.#options.space.capacityBytes * LARGEST_SHARE;
  }

  #fillInline(start: Start): Fill {
    return this.#memoryFill(start, (body) => {
      const place = { kind: "inline", body: body.bytes.slice() } as const;
      const entry = new Entry(start.meta, { ...start, place, hasHeadInRow: true });
      return this.#options.publisher.publish(entry);
    });
  }

  #fillRecord(start: Start, head: Uint8Array): Fill {
    return this.#memoryFill(start, (body) => {
      const { publisher, memoryTier } = this.#options;
      const record = smallRecord(start.identity, start.version, head, body.bytes);
      const crcs = record.table && decodeTable(record.table);
      const place = new SegmentPlace(record.header, { unwritten: body }, crcs);
      const entry = new Entry(start.meta, { ...start, place, hasHeadInRow: false });
      memoryTier.keep(start.version, body);
      return publisher.publishRecord(entry, record);
    });
  }

  #memoryFill(start: Start, publish: (body: CountedBytes) => Promise<CommitOutcome>): Fill {
    const { memory, health } = this.#options;
    const unreserve = this.#reserve(start);
    const fill = new MemoryFill(start.meta.sizeBytes, memory, {
      publish: (self, stillPermitted) =>
        stillPermitted() ? publish(self.body) : { kind: "refused" },
      finished: (self) => {
        this.#running.delete(self);
        unreserve();
      },
      failed: (error) => health.fail(error),
    });
    this.#running.add(fill);
    return fill;
  }

  #streamRecord(start: Start, head: Uint8Array): Fill {
    const { meta, identity, version } = start;
    const { segments, openFiles, publisher, memory, pace, health } = this.#options;
    const record = { head, bodyLength: meta.sizeBytes };
    const target = new RecordTarget(segments, openFiles, pace, record);
    const unreserve = this.#reserve(start);
    let isHandedOver = false;
    const fill = new StreamFill(
      { sizeBytes: meta.sizeBytes, blockBytes: BLOCK_BYTES, mayHaveGaps: false, target, memory },
      {
        publish: async (self, stillPermitted) => {
          const sorted = [...self.blockCrcs].toSorted(([left], [right]) => left - right);
          const crcs = sorted.map(([, crc]) => crc);
          const header = await target.complete(identity, version, crcs);
          const { extent } = target;
          if (extent === undefined) return { kind: "failed", reason: "no byte was written" };
          if (!stillPermitted()) return { kind: "refused" };
          const location = { segment: extent.segment, offset: extent.offset };
          const place = new SegmentPlace(header, { location }, Uint32Array.from(crcs));
          const entry = new Entry(meta, { ...start, place, hasHeadInRow: false });
          isHandedOver = true; // the publisher settles the place together with the row
          return publisher.publishAt(entry, extent);
        },
        finished: (self) => {
          this.#running.delete(self);
          unreserve();
          if (!isHandedOver) target.abandon();
        },
        failed: (error) => {
          if (!(error instanceof CacheFull)) health.fail(error);
        },
      },
    );
    this.#running.add(fill);
    return fill;
  }

  #fillFile(start: Start): Fill {
    const { meta, identity, version } = start;
    const blockBytes = blockBytesFor(meta.sizeBytes);
    const layout: FileLayout = {
      version,
      shard: identity.shard,
      sizeBytes: meta.sizeBytes,
      blockBytes,
      chunkBytes: this.#options.chunkBytes(blockBytes),
    };
    const body = new FileBody(layout, { isComplete: false, load: () => undefined });
    return this.#fillBody(meta.id.bucket, body, undefined, (stillPermitted, fill) => {
      if (!stillPermitted()) return { kind: "refused" };
      for (const [block, crc] of fill.blockCrcs) body.add(block, crc);
      if (fill.blockCrcs.size === 0) return { kind: "failed", reason: "no whole block came" };
      body.isComplete = fill.isWhole;
      const place = { kind: "file", body } as const;
      const entry = new Entry(meta, { ...start, place, hasHeadInRow: true });
      return this.#options.publisher.publish(entry);
    });
  }

  #extend(meta: ObjectMeta, extended: Entry, body: FileBody): Fill {
    this.#growing.set(body.layout.version, body);
    const stored: StoredParts = {
      ranges: body.present(),
      read: (range) => this.#options.fileReader.bytes(body, range),
    };
    return this.#fillBody(meta.id.bucket, body, stored, (stillPermitted, fill) => {
      if (!stillPermitted()) return { kind: "refused" };
      const entry = this.#options.entries.find(meta.id);
      if (entry?.version !== extended.version) {
        return { kind: "failed", reason: "the entry to extend is gone" };
      }
      for (const [block, crc] of fill.blockCrcs) body.add(block, crc);
      body.updateCompleteness();
      return this.#options.publisher.renew(new Entry(meta, entry));
    });
  }

  #fillBody(
    bucket: string,
    body: FileBody,
    stored: StoredParts | undefined,
    publish: (
      stillPermitted: () => boolean,
      fill: StreamFill,
    ) => CommitOutcome | Promise<CommitOutcome>,
  ): Fill {
    const { files, space, quotas, memory, pace, health, removeFiles } = this.#options;
    const { layout } = body;
    const isNew = stored === undefined;
    let writtenBytes = 0;
    let roundingBytes = 0;
    const reserve = (sizeBytes: number): Promise<void> | undefined => {
      const addedBytes = sizeBytes + FILE_ROUNDING_BYTES - roundingBytes;
      return this.#makeRoom(bucket, addedBytes, () => {
        quotas.reserve(bucket, sizeBytes + FILE_ROUNDING_BYTES - roundingBytes);
        roundingBytes = FILE_ROUNDING_BYTES;
        writtenBytes += sizeBytes;
        space.growingBytes += sizeBytes;
      });
    };
    body.writers += 1;
    const options = {
      sizeBytes: layout.sizeBytes,
      blockBytes: layout.blockBytes,
      mayHaveGaps: true,
      target: files.target(layout, { isNew, reserve, pace }),
      memory,
      ...(stored === undefined ? {} : { stored }),
    };
    const fill = new StreamFill(options, {
      publish: (self, stillPermitted) => publish(stillPermitted, self),
      finished: (self, isPublished) => {
        this.#running.delete(self);
        space.growingBytes -= writtenBytes;
        quotas.reserve(bucket, -writtenBytes - roundingBytes);
        body.writers -= 1;
        if (body.writers === 0) this.#growing.delete(layout.version);
        if (isNew && !isPublished) removeFiles(layout, writtenBytes);
      },
      failed: (error) => {
        if (!(error instanceof CacheFull)) health.fail(error);
      },
    });
    this.#running.add(fill);
    return fill;
  }

  /** Counts what a fill is going to write against its bucket, until it is called back. */
  #reserve({ meta, neededBytes }: Start): () => void {
    const { quotas } = this.#options;
    quotas.reserve(meta.id.bucket, neededBytes);
    return () => quotas.reserve(meta.id.bucket, -neededBytes);
  }

  /**
   * Takes room: undefined when there was some. Else waits a little for eviction, and rejects with
   * `CacheFull` when that does not help.
   */
  #makeRoom(bucket: string, sizeBytes: number, take: () => void): Promise<void> | undefined {
    return this.#takeRoom(bucket, sizeBytes, take)
      ? undefined
      : this.#awaitRoom(bucket, sizeBytes, take);
  }

  async #awaitRoom(bucket: string, sizeBytes: number, take: () => void): Promise<void> {
    for (let attempt = 1; attempt < ROOM_TRIES; attempt += 1) {
      await this.#sleep(ROOM_PAUSE_MS);
      if (this.#takeRoom(bucket, sizeBytes, take)) return;
    }
    throw new CacheFull();
  }

  /** Taken in the same turn: two fills that look one after the other must not see the same room. */
  #takeRoom(bucket: string, sizeBytes: number, take: () => void): boolean {
    const { evictor, quotas } = this.#options;
    if (!evictor.hasRoom(sizeBytes) || !quotas.hasRoom(bucket, sizeBytes)) return false;
    take();
    return true;
  }
}

/** What is known when a fill begins. */
interface Start {
  readonly meta: ObjectMeta;
  readonly identity: Identity;
  readonly group: number;
  readonly version: number;
  /** What it is going to take on disk, as far as that is known. */
  readonly neededBytes: number;
}

function isSameBody(entry: Entry, meta: ObjectMeta): boolean {
  return entry.etag === meta.etag && entry.sizeBytes === meta.sizeBytes;
}
