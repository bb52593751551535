/**
 * An entry in memory: what the door shows of it, and what the engine needs to find its
 * bytes. One instance per version stays in the index until it is pushed out; a renewed
 * head (304) makes a new instance that shares the body.
 */

import { objectIdString, type ObjectId } from "../s3/object-id.ts";
import type { RawHeaders } from "../http/fields.ts";
import type { FileBody } from "./block-files.ts";
import type { Identity } from "./identity.ts";
import type { ObjectMeta, StoredObject, Tier } from "./storage.ts";

/** Where the body is. */
export type Place =
  | { readonly kind: "inline"; readonly body: Uint8Array }
  | { readonly kind: "file"; readonly body: FileBody };

export class Entry implements StoredObject {
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
  readonly place: Place;
  /** `objectIdString(id)`, the key of every map of entries. */
  readonly name: string;

  constructor(
    meta: ObjectMeta,
    parts: { readonly version: number; readonly identity: Identity; readonly place: Place },
  ) {
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
    this.place = parts.place;
    this.name = objectIdString(meta.id);
  }

  get tier(): Tier {
    return this.place.kind;
  }

  /** Rough bytes of memory this instance holds, for the bound of the index. */
  get memoryBytes(): number {
    let characters = 2 * this.name.length + this.etag.length;
    for (const text of this.headers) characters += text.length;
    const body = this.place.kind === "inline" ? this.place.body.length : 0;
    return FIXED_BYTES + characters + 24 * this.headers.length + body;
  }
}

/** Objects, map slots and list nodes around the strings; measured on 1 M entries. */
const FIXED_BYTES = 450;
