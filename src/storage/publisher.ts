/**
 * From complete bytes to a visible and then durable entry.
 *
 * Every way ends in the same two steps: `reveal` (synchronous, asked for permission just
 * before) and the row, with the next group commit. What differs is where the bytes are
 * in between: in the row itself, in memory until their record is written, or on disk.
 */

import type { Location } from "./segment-reader.ts";
import { FLAG_COMPLETE, FLAG_PINNED, TIERS, type CatalogRow } from "./catalog.ts";
import type { BlockFiles, FileBody } from "./block-files.ts";
import type { Committer } from "./committer.ts";
import { READY, type Entries, type Pending } from "./entries.ts";
import type { Entry } from "./entry.ts";
import { FileUnit, type FileUnits } from "./file-units.ts";
import { encodeHead } from "./head.ts";
import { recordBytes, type FooterEntry } from "./segment-format.ts";
import { SegmentPlace } from "./segment-reader.ts";
import { CacheFull, type RecordWriter, type SmallRecord } from "./segment-writer.ts";
import type { Extent, Segments } from "./segments.ts";
import type { CommitOutcome } from "./storage.ts";

export interface PublisherOptions {
  readonly entries: Entries;
  readonly committer: Committer;
  readonly segments: Segments;
  readonly writer: RecordWriter;
  readonly files: BlockFiles;
  readonly units: FileUnits;
  /** Whether a body of so many bytes on the volume is to be written as pinned. */
  readonly holds: (entry: Entry, diskBytes: number) => boolean;
  readonly nextStamp: () => number;
  readonly sleep: (ms: number) => Promise<void>;
  /** Frees what a replaced row pointed at. */
  readonly releaseRow: (row: CatalogRow, entry: Entry) => void;
  /** A row was written whose body takes so many more bytes on the volume than before. */
  readonly onStored: (sizeBytes: number) => void;
  /** The disk failed. */
  readonly onFailure: (error: unknown) => void;
}

/** Bytes that find no room wait for eviction this often, this long. */
export const ROOM_TRIES = 20;
export const ROOM_PAUSE_MS = 25;

export class Publisher {
  readonly #options: PublisherOptions;

  constructor(options: PublisherOptions) {
    this.#options = options;
  }

  /** An entry whose body is in its row, or on disk already. Visible when this returns. */
  publish(entry: Entry): Promise<CommitOutcome> {
    return this.#record(this.#options.entries.reveal(entry, READY), undefined);
  }

  /** An entry whose record was streamed into `extent`. Visible when this returns. */
  publishAt(entry: Entry, extent: Extent): Promise<CommitOutcome> {
    return this.#record(this.#options.entries.reveal(entry, READY), Promise.resolve(extent));
  }

  /** An entry whose record is in memory. Visible when this returns, and served from there. */
  publishRecord(entry: Entry, record: SmallRecord): Promise<CommitOutcome> {
    const { entries, onFailure } = this.#options;
    const written = this.#append(record).then(
      (extent) => {
        if (entry.place instanceof SegmentPlace) entry.place.written(locationOf(extent));
        return extent;
      },
      (error: unknown) => {
        if (!(error instanceof CacheFull)) onFailure(error);
        return undefined;
      },
    );
    const pending = entries.reveal(
      entry,
      written.then((extent) => extent !== undefined),
    );
    return this.#record(pending, written);
  }

  /** The same version with another head. Visible when this returns. */
  renew(entry: Entry): Promise<CommitOutcome> {
    const { entries } = this.#options;
    const bodyReady = entries.bodyReadyOf(entry);
    return this.#record(entries.reveal(entry, bodyReady), undefined);
  }

  /** Waits a little for eviction; rejects with `CacheFull` when that does not help. */
  async #append(record: SmallRecord): Promise<Extent> {
    const { writer, sleep } = this.#options;
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await writer.append(record, false);
      } catch (error) {
        if (!(error instanceof CacheFull) || attempt === ROOM_TRIES) throw error;
      }
      await sleep(ROOM_PAUSE_MS);
    }
  }

  /** Writes the row of a revealed entry. `extent` is where its record is, if it made one. */
  async #record(
    pending: Pending,
    extent: Promise<Extent | undefined> | undefined,
  ): Promise<CommitOutcome> {
    const { entries, committer, segments, nextStamp, releaseRow, onStored, onFailure } =
      this.#options;
    const { entry } = pending;
    const isReady = await pending.bodyReady;
    const place = await extent;
    if (!isReady) {
      entries.withdraw(pending);
      return { kind: "failed", reason: "there was no place for the body" };
    }
    if (pending.isCancelled) {
      // It was visible, and was removed or replaced since.
      if (place !== undefined) segments.settle(place, undefined);
      return { kind: "committed", object: entry };
    }
    const body = entry.place.kind === "file" ? entry.place.body : undefined;
    const parts = body?.takeChanges() ?? [];
    let written: CatalogRow | undefined;
    let replaced: CatalogRow | undefined;
    pending.change = committer.enqueue(entry.identity, (shard) => {
      // Made here, not before: the record may have moved while this waited its turn.
      written = this.#rowOf(entry, nextStamp());
      replaced = shard.put(entry.id, written);
      for (const { part, data } of parts) shard.putBlock(entry.version, part, data);
    });
    const settled = await pending.change.settled;
    const isWritten = settled === "written";
    if (place !== undefined) {
      segments.settle(
        place,
        isWritten ? footerEntryOf(entry, place) : undefined,
        written !== undefined && isPinned(written),
      );
    }
    if (isWritten) {
      entries.settle(pending);
      if (body !== undefined) {
        this.#noteUnit(entry, body, written !== undefined && isPinned(written));
      }
      onStored(addedBytes(written, replaced));
      if (replaced !== undefined && replaced.version !== entry.version) {
        releaseRow(replaced, entry);
      }
    } else if (settled !== "cancelled") {
      body?.restoreChanges(parts.map(({ part }) => part));
      onFailure(settled.error);
      entries.withdraw(pending);
      return { kind: "failed", reason: "the catalog refused the entry" };
    }
    return { kind: "committed", object: entry };
  }

  #noteUnit(entry: Entry, body: FileBody, isPinnedNow: boolean): void {
    const { units, files } = this.#options;
    units.set(
      new FileUnit({
        version: entry.version,
        shard: entry.identity.shard,
        h: entry.identity.h,
        h2: entry.identity.h2,
        group: entry.group,
        sizeBytes: files.allocatedBytes(body.layout),
        isPinned: isPinnedNow,
      }),
    );
  }

  #rowOf(entry: Entry, written: number): CatalogRow {
    const row = this.#plainRowOf(entry, written);
    return this.#options.holds(entry, row.disk) ? { ...row, flags: row.flags | FLAG_PINNED } : row;
  }

  #plainRowOf(entry: Entry, written: number): CatalogRow {
    const { place } = entry;
    const head = entry.hasHeadInRow ? encodeHead(entry) : null;
    const common = {
      h: entry.identity.h,
      h2: entry.identity.h2,
      version: entry.version,
      written,
      tier: TIERS.indexOf(entry.tier),
      grp: entry.group,
      size: entry.sizeBytes,
      head,
    };
    switch (place.kind) {
      case "inline":
        return {
          ...common,
          place: 0,
          offset: 0,
          disk: inlineBytes(head?.length ?? 0, place.body.length),
          flags: FLAG_COMPLETE,
          body: place.body,
        };
      case "segment": {
        if (place.location === undefined) throw new Error("a row for a record without a place");
        return {
          ...common,
          place: place.location.segment.id,
          offset: place.location.offset,
          disk: recordBytes(place.header.headLength, place.header.bodyLength),
          flags: FLAG_COMPLETE,
          body: null,
        };
      }
      case "file": {
        const { layout, isComplete } = place.body;
        return {
          ...common,
          place: layout.chunkBytes,
          offset: layout.blockBytes,
          disk: this.#options.files.allocatedBytes(layout),
          flags: isComplete ? FLAG_COMPLETE : 0,
          body: null,
        };
      }
    }
  }
}

/** Bytes a row names that it, or the row of the same body before it, did not name yet. */
function addedBytes(written: CatalogRow | undefined, replaced: CatalogRow | undefined): number {
  const isSameBody = replaced !== undefined && replaced.version === written?.version;
  return Math.max(0, (written?.disk ?? 0) - (isSameBody ? replaced.disk : 0));
}

function isPinned({ flags }: CatalogRow): boolean {
  return (flags & FLAG_PINNED) !== 0;
}

/** What a row costs besides head and body. */
const ROW_BYTES = 150;

/** What an object of the inline tier counts as taking on disk. */
export function inlineBytes(headLength: number, bodyLength: number): number {
  return ROW_BYTES + headLength + bodyLength;
}

function locationOf(extent: Extent): Location {
  return { segment: extent.segment, offset: extent.offset };
}

function footerEntryOf(entry: Entry, extent: Extent): FooterEntry {
  return {
    h: entry.identity.h,
    h2: entry.identity.h2,
    version: entry.version,
    offset: extent.offset,
    length: extent.length,
    bodyLength: entry.sizeBytes,
    group: entry.group,
    shard: entry.identity.shard,
    bucket: entry.id.bucket,
    key: entry.id.key,
  };
}
