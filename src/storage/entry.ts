/**
 * An entry in memory: what the door shows of it, and what the engine needs to find its
 * bytes. One instance per version stays in the index until it is pushed out; a renewed
 * head (304) makes a new instance that shares the body.
 */

import type { RawHeaders } from "../http/fields.ts";
import { objectIdString, type ObjectId } from "../s3/object-id.ts";
import type { FileBody } from "./block-files.ts";
import type { Identity } from "./identity.ts";
import type { SegmentPlace } from "./segment-reader.ts";
import type { ObjectMeta, StoredObject, Tier } from "./storage.ts";

/** Where the body is. */
export type Place = InlinePlace | SegmentPlace | FilePlace;

export interface InlinePlace {
  readonly kind: "inline";
  readonly body: Uint8Array;
}

export interface FilePlace {
  readonly kind: "file";
  readonly body: FileBody;
}

export interface EntryParts {
  readonly version: number;
  readonly identity: Identity;
  /** Of bucket and leading folders; see policy.ts. */
  readonly group: number;
  readonly place: Place;
  /** True when the head is in the row: always but for records whose head still holds. */
  readonly hasHeadInRow: boolean;
}

export class Entry implements StoredObject, EntryParts {
  readonly id: ObjectId;
  readonly sizeBytes: number;
  readonly etag: string;
  readonly lastModified: string | undefined;
  readonly headers: RawHeaders;
  readonly storedAtMs: number;
  readonly freshUntilMs: number;
  readonly isPublic: boolean;
  readonly version: number;
  readonly identity: Identity;
  readonly group: number;
  readonly place: Place;
  readonly hasHeadInRow: boolean;
  /** `objectIdString(id)`, the key of every map of entries. */
  readonly name: string;

  constructor(meta: ObjectMeta, parts: EntryParts) {
    this.id = meta.id;
    this.sizeBytes = meta.sizeBytes;
    this.etag = meta.etag;
    this.lastModified = meta.lastModified;
    this.headers = meta.headers;
    this.storedAtMs = meta.storedAtMs;
    this.freshUntilMs = meta.freshUntilMs;
    this.isPublic = meta.isPublic;
    this.version = parts.version;
    this.identity = parts.identity;
    this.group = parts.group;
    this.place = parts.place;
    this.hasHeadInRow = parts.hasHeadInRow;
    this.name = objectIdString(meta.id);
  }

  get tier(): Tier {
    return this.place.kind;
  }

  /** True when the segment that held the body was evicted: the entry is a miss. */
  get isGone(): boolean {
    return this.place.kind === "segment" && this.place.isGone;
  }

  get meta(): ObjectMeta {
    return {
      id: this.id,
      sizeBytes: this.sizeBytes,
      etag: this.etag,
      lastModified: this.lastModified,
      headers: this.headers,
      storedAtMs: this.storedAtMs,
      freshUntilMs: this.freshUntilMs,
      isPublic: this.isPublic,
    };
  }

  /** Rough bytes of memory this instance holds, for the bound of the index. */
  get memoryBytes(): number {
    let characters = 2 * this.name.length + this.etag.length;
    for (const text of this.headers) characters += text.length;
    const body = this.place.kind === "inline" ? this.place.body.length : 0;
    return FIXED_BYTES + characters + 24 * this.headers.length + body;
  }
}

/** Objects, map slots and list nodes around the strings. */
const FIXED_BYTES = 600;
