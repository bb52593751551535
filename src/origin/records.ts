/**
 * What the dev origin remembers: buckets, objects, unfinished uploads and their
 * parts. Plain data, shared by the catalog, which keeps it, and the operations,
 * which read and make it.
 */

import type { RawHeaders } from "../http/fields.ts";
import type { ChecksumAlgorithm, ChecksumType } from "../s3/checksum.ts";
import type { Acl } from "./acl.ts";

/** A checksum over a whole object, or over the checksums of its parts (`COMPOSITE`). */
export interface StoredChecksum {
  readonly algorithm: ChecksumAlgorithm;
  /** As S3 writes it: base64, followed by `-<parts>` for a composite one. */
  readonly value: string;
  readonly type: ChecksumType;
}

/** A tag set in the order of its keys. */
export type TagSet = readonly Tag[];

export interface Tag {
  readonly key: string;
  readonly value: string;
}

export interface BucketRecord {
  readonly name: string;
  readonly createdAtMs: number;
  /** Access key id of the creator, who may do everything in the bucket. */
  readonly ownerId: string;
  readonly acl: Acl;
  /** Undefined when no tag set was ever put, which S3 reports as NoSuchTagSet. */
  readonly tags: TagSet | undefined;
  /** In the order they are tried; undefined when the bucket has none. */
  readonly cors?: readonly CorsRule[] | undefined;
}

/** Which pages may read what, as the bucket's owner put it; in patterns one `*` stands for anything. */
export interface CorsRule {
  readonly id: string | undefined;
  readonly methods: readonly string[];
  /** Patterns of origins such as `https://*.example`. */
  readonly origins: readonly string[];
  /** Patterns of the header names a preflight may ask for. */
  readonly headers: readonly string[];
  /** Names of response headers a page may see. */
  readonly exposed: readonly string[];
  /** How long a browser may remember a preflight's answer. */
  readonly maxAgeSeconds: number | undefined;
}

/** What a client says about an object when it creates it; an upload keeps it until completed. */
export interface ObjectDescription {
  /** Content-Type and its kin, then `x-amz-meta-*`: replayed with every read, in this order. */
  readonly fields: RawHeaders;
  readonly tags: TagSet;
  /** Undefined: the object is as public as its bucket. */
  readonly acl: Acl | undefined;
  readonly ownerId: string;
  /** `STANDARD` is not shown in replies, as in S3. */
  readonly storageClass: string;
}

export interface ObjectRecord extends ObjectDescription {
  readonly key: string;
  readonly sizeBytes: number;
  /** Without quotes. */
  readonly etag: string;
  readonly modifiedAtMs: number;
  /** Name of the body file. */
  readonly body: string;
  readonly checksum: StoredChecksum | undefined;
  /** In order; undefined for an object that was put in one piece. */
  readonly parts: readonly ObjectPart[] | undefined;
}

/** What is remembered of a part once it is inside an object: it can still be read by number. */
export interface ObjectPart {
  readonly sizeBytes: number;
  /** Base64, in the algorithm of the object's checksum; undefined when it has none. */
  readonly checksum: string | undefined;
}

export interface UploadRecord extends ObjectDescription {
  readonly id: string;
  readonly bucket: string;
  readonly key: string;
  readonly initiatedAtMs: number;
  /** Undefined when the client asked for no checksum. */
  readonly checksum:
    | { readonly algorithm: ChecksumAlgorithm; readonly type: ChecksumType }
    | undefined;
  /**
   * ETag of the object it became. Kept for a while, because a client that missed the
   * answer to CompleteMultipartUpload asks again and must be told the same.
   */
  readonly completedEtag: string | undefined;
}

export interface PartRecord {
  readonly number: number;
  readonly sizeBytes: number;
  /** Hex MD5 of the part, without quotes. */
  readonly etag: string;
  readonly modifiedAtMs: number;
  readonly body: string;
  /** Base64 checksum in the algorithm of the upload, or in the one the part came with. */
  readonly checksum: { readonly algorithm: ChecksumAlgorithm; readonly value: string } | undefined;
}
