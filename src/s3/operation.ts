/**
 * Which S3 operation a request is, and what it means to a cache: a read of an object,
 * a write that makes stored answers wrong, or something that is only passed on.
 *
 * Two tables say it all. `ROUTES` names the operation by scope, method and
 * subresource, `EFFECTS` says what the named operation does to stored answers. A query
 * parameter selects a row by being there, whatever its value, as in S3. Two rules
 * keep a gap in the tables harmless:
 *
 * - A read is plain (may be answered from, or fill, the entry of its key) only when
 *   everything about it is known not to select another representation.
 * - A PUT or DELETE on an object that no row explains counts as a write of it.
 *
 * Nothing here knows of credentials, of the cache or of how an answer looks.
 */

import { unreachable } from "../base/assert.ts";
import type { Fields } from "../http/fields.ts";
import { decodePercent, queryValue } from "../http/raw-target.ts";
import type { QueryParam, RawTarget } from "../http/raw-target.ts";
import { s3Error } from "./error.ts";
import type { S3Error } from "./error.ts";
import type { ObjectId } from "./object-id.ts";

/** What the path names: the service (`/`), a bucket (`/b`, `/b/`) or an object (`/b/k`). */
type Scope = "service" | "bucket" | "object";

/**
 * Operation names of the S3 API reference, by scope, method and subresource; "" is the
 * row without one. Rows are tried in order. HEAD borrows the subresources of GET.
 */
const ROUTES = {
  service: {
    GET: { "": "ListBuckets" },
    HEAD: { "": "ListBuckets" },
    OPTIONS: { "": "Preflight" },
  },
  object: {
    // uploadId comes first: with it a PUT brings a part, never the object itself.
    GET: {
      uploadId: "ListParts",
      acl: "GetObjectAcl",
      tagging: "GetObjectTagging",
      retention: "GetObjectRetention",
      "legal-hold": "GetObjectLegalHold",
      attributes: "GetObjectAttributes",
      torrent: "GetObjectTorrent",
      "": "GetObject",
    },
    HEAD: { "": "HeadObject" },
    PUT: {
      uploadId: "UploadPart",
      acl: "PutObjectAcl",
      tagging: "PutObjectTagging",
      retention: "PutObjectRetention",
      "legal-hold": "PutObjectLegalHold",
      encryption: "UpdateObjectEncryption",
      renameObject: "RenameObject",
      "": "PutObject",
    },
    POST: {
      uploadId: "CompleteMultipartUpload",
      uploads: "CreateMultipartUpload",
      select: "SelectObjectContent",
      restore: "RestoreObject",
    },
    DELETE: {
      uploadId: "AbortMultipartUpload",
      tagging: "DeleteObjectTagging",
      "": "DeleteObject",
    },
    OPTIONS: { "": "Preflight" },
  },
  bucket: {
    GET: {
      "list-type": "ListObjectsV2",
      versions: "ListObjectVersions",
      uploads: "ListMultipartUploads",
      location: "GetBucketLocation",
      accelerate: "GetBucketAccelerateConfiguration",
      acl: "GetBucketAcl",
      analytics: "GetBucketAnalyticsConfiguration",
      cors: "GetBucketCors",
      encryption: "GetBucketEncryption",
      "intelligent-tiering": "GetBucketIntelligentTieringConfiguration",
      inventory: "GetBucketInventoryConfiguration",
      lifecycle: "GetBucketLifecycleConfiguration",
      logging: "GetBucketLogging",
      metadataConfiguration: "GetBucketMetadataConfiguration",
      metadataTable: "GetBucketMetadataTableConfiguration",
      metrics: "GetBucketMetricsConfiguration",
      notification: "GetBucketNotificationConfiguration",
      "object-lock": "GetObjectLockConfiguration",
      ownershipControls: "GetBucketOwnershipControls",
      policy: "GetBucketPolicy",
      policyStatus: "GetBucketPolicyStatus",
      publicAccessBlock: "GetPublicAccessBlock",
      replication: "GetBucketReplication",
      requestPayment: "GetBucketRequestPayment",
      session: "CreateSession",
      tagging: "GetBucketTagging",
      versioning: "GetBucketVersioning",
      website: "GetBucketWebsite",
      "": "ListObjects",
    },
    HEAD: { "": "HeadBucket" },
    PUT: {
      accelerate: "PutBucketAccelerateConfiguration",
      acl: "PutBucketAcl",
      analytics: "PutBucketAnalyticsConfiguration",
      cors: "PutBucketCors",
      encryption: "PutBucketEncryption",
      "intelligent-tiering": "PutBucketIntelligentTieringConfiguration",
      inventory: "PutBucketInventoryConfiguration",
      lifecycle: "PutBucketLifecycleConfiguration",
      logging: "PutBucketLogging",
      metadataInventoryTable: "UpdateBucketMetadataInventoryTableConfiguration",
      metadataJournalTable: "UpdateBucketMetadataJournalTableConfiguration",
      metrics: "PutBucketMetricsConfiguration",
      notification: "PutBucketNotificationConfiguration",
      "object-lock": "PutObjectLockConfiguration",
      ownershipControls: "PutBucketOwnershipControls",
      policy: "PutBucketPolicy",
      publicAccessBlock: "PutPublicAccessBlock",
      replication: "PutBucketReplication",
      requestPayment: "PutBucketRequestPayment",
      tagging: "PutBucketTagging",
      versioning: "PutBucketVersioning",
      website: "PutBucketWebsite",
      "": "CreateBucket",
    },
    POST: {
      delete: "DeleteObjects",
      metadataConfiguration: "CreateBucketMetadataConfiguration",
      metadataTable: "CreateBucketMetadataTableConfiguration",
      "": "PostObject",
    },
    DELETE: {
      analytics: "DeleteBucketAnalyticsConfiguration",
      cors: "DeleteBucketCors",
      encryption: "DeleteBucketEncryption",
      "intelligent-tiering": "DeleteBucketIntelligentTieringConfiguration",
      inventory: "DeleteBucketInventoryConfiguration",
      lifecycle: "DeleteBucketLifecycle",
      metadataConfiguration: "DeleteBucketMetadataConfiguration",
      metadataTable: "DeleteBucketMetadataTableConfiguration",
      metrics: "DeleteBucketMetricsConfiguration",
      ownershipControls: "DeleteBucketOwnershipControls",
      policy: "DeleteBucketPolicy",
      publicAccessBlock: "DeletePublicAccessBlock",
      replication: "DeleteBucketReplication",
      tagging: "DeleteBucketTagging",
      website: "DeleteBucketWebsite",
      "": "DeleteBucket",
    },
    OPTIONS: { "": "Preflight" },
  },
} as const satisfies Record<Scope, Record<string, Readonly<Record<string, string>>>>;

/** With a copy source these operations are another one. */
const FROM_COPY_SOURCE = { PutObject: "CopyObject", UploadPart: "UploadPartCopy" } as const;

type Leaves<T> = T extends string ? T : { [K in keyof T]: Leaves<T[K]> }[keyof T];

/** A closed set, so that it may label metrics. */
export type OperationName = Leaves<typeof ROUTES> | Leaves<typeof FROM_COPY_SOURCE>;

type Rows = readonly (readonly [subresource: string, name: OperationName])[];

/** The routes as the search wants them: the rows of "GET bucket" and so on, in order. */
const ROWS: ReadonlyMap<string, Rows> = new Map(
  Object.entries(ROUTES).flatMap(([scope, methods]) => {
    const subresourcesOfGet = Object.entries<OperationName>(methods.GET).filter(([when]) => when);
    return Object.entries(methods).map(([method, rows]): [string, Rows] => {
      const own = Object.entries<OperationName>(rows);
      return [`${method} ${scope}`, method === "HEAD" ? [...subresourcesOfGet, ...own] : own];
    });
  }),
);

/** Every operation name once. */
export const OPERATION_NAMES: readonly OperationName[] = [
  ...new Set([
    ...[...ROWS.values()].flatMap((rows) => rows.map(([, name]) => name)),
    ...Object.values(FROM_COPY_SOURCE),
  ]),
];

/** Stored answers that an operation makes wrong. Operations without a row make none wrong. */
const EFFECTS: Readonly<
  Partial<Record<OperationName, "object" | "object-in-form" | "objects-in-body" | "bucket">>
> = {
  PutObject: "object",
  CopyObject: "object",
  RenameObject: "object",
  CompleteMultipartUpload: "object",
  DeleteObject: "object",
  DeleteObjects: "objects-in-body",
  // Not the bytes, but who may read them or which headers come with them.
  PutObjectAcl: "object",
  PutObjectTagging: "object",
  DeleteObjectTagging: "object",
  PutObjectRetention: "object",
  PutObjectLegalHold: "object",
  UpdateObjectEncryption: "object",
  RestoreObject: "object",
  PostObject: "object-in-form",
  // Who may read anything in the bucket, or the CORS headers that hits replay.
  DeleteBucket: "bucket",
  PutBucketAcl: "bucket",
  PutBucketPolicy: "bucket",
  DeleteBucketPolicy: "bucket",
  PutBucketOwnershipControls: "bucket",
  DeleteBucketOwnershipControls: "bucket",
  PutPublicAccessBlock: "bucket",
  DeletePublicAccessBlock: "bucket",
  PutBucketRequestPayment: "bucket",
  PutBucketCors: "bucket",
  DeleteBucketCors: "bucket",
  // CreateBucket has no row on purpose: tools "create" the bucket they use before every copy.
};

/** A `response-…` parameter of a read: which header of the answer it replaces, and by what. */
export interface ResponseOverride {
  /** In S3's spelling. */
  readonly header: string;
  /** Printable ASCII, so it can stand in a header as it is. */
  readonly value: string;
}

/** Which stored answers a write makes wrong. */
export type Invalidation =
  | { readonly kind: "object"; readonly id: ObjectId }
  /** A rename: the new name and the old one. */
  | { readonly kind: "objects"; readonly ids: readonly ObjectId[] }
  | { readonly kind: "objects-in-body"; readonly bucket: string }
  /** A form upload, which names its key in a field of the form. */
  | { readonly kind: "object-in-form"; readonly bucket: string }
  | { readonly kind: "bucket"; readonly bucket: string };

export interface ReadOperation {
  readonly kind: "read";
  readonly name: "GetObject" | "HeadObject";
  readonly id: ObjectId;
  /**
   * The current object as it is, so its entry may be served and filled: no version, no
   * part, no customer key, nothing unknown. Overrides do not count against it.
   */
  readonly isPlain: boolean;
  /** To be applied to a successful answer, and only when the request is signed (S3's rule). */
  readonly overrides: readonly ResponseOverride[];
}

export interface WriteOperation {
  readonly kind: "write";
  readonly name: OperationName;
  readonly bucket: string;
  /** The object written; undefined for operations on a bucket, and in a bucket of another tenant. */
  readonly id?: ObjectId | undefined;
  readonly invalidates: Invalidation;
  /** A 200 whose body is an `Error` document is a failure (CopyObject, CompleteMultipartUpload). */
  readonly canFailInside200: boolean;
  /** The request body is the whole new object, so a copy of it may be stored: a plain PutObject. */
  readonly carriesObject: boolean;
}

export interface OtherOperation {
  readonly kind: "other";
  readonly name: OperationName;
  readonly bucket: string | undefined;
  readonly key: string | undefined;
}

export type Operation = ReadOperation | WriteOperation | OtherOperation;

/** The bucket was named by the host (`bucket.example.com`), so the whole path is the key. */
export interface VirtualHost {
  readonly bucket: string;
}

/**
 * Finds the operation of a request.
 *
 * The bucket ends at the first slash of the raw path: `/b//k` is the key `/k`, and an
 * encoded `%2F` belongs to a name. Keys keep dots, doubled and trailing slashes
 * untouched. By another tenant's name (`TENANT`) nothing is cached, and a write invalidates what
 * is cached by the plain one. Refusals: `InvalidBucketName` and `KeyTooLongError` (400),
 * `MethodNotAllowed` (405, with `Allow`).
 */
export function classify(
  method: string,
  target: RawTarget,
  fields: Fields,
  virtualHost?: VirtualHost,
): Operation | S3Error {
  const { bucket, key } =
    virtualHost === undefined ? placeOf(target) : placeOn(virtualHost, target);
  const plain = bucket?.replace(TENANT, "");
  if (bucket !== undefined && plain !== undefined && !isValidBucketName(plain)) {
    return s3Error("InvalidBucketName", { details: { BucketName: bucket } });
  }
  if (key !== undefined && isTooLong(key)) {
    return s3Error("KeyTooLongError", { details: { MaxSizeAllowed: String(KEY_BYTES_MAX) } });
  }

  const scope = bucket === undefined ? "service" : key === undefined ? "bucket" : "object";
  const name = nameOf(scope, method, target, fields);
  if (name === undefined) return methodNotAllowed(method, scope);

  if (bucket === undefined || plain === undefined) return { kind: "other", name, bucket, key };
  const isForeign = bucket !== plain;
  if (key !== undefined && (name === "GetObject" || name === "HeadObject")) {
    const { isPlain, overrides } = inspectRead(target.query, fields);
    return { kind: "read", name, id: { bucket, key }, isPlain: isPlain && !isForeign, overrides };
  }
  const effect = EFFECTS[name];
  switch (effect) {
    case undefined:
      return { kind: "other", name, bucket, key };
    case "bucket":
    case "object-in-form":
    case "objects-in-body":
      return {
        kind: "write",
        name,
        bucket,
        invalidates: { kind: effect, bucket: plain },
        canFailInside200: false,
        carriesObject: false,
      };
    case "object": {
      const id = { bucket: plain, key: key ?? "" };
      return {
        kind: "write",
        name,
        bucket,
        id: isForeign ? undefined : id,
        invalidates: invalidationOf(name, id, fields),
        canFailInside200: name === "CopyObject" || name === "CompleteMultipartUpload",
        carriesObject: name === "PutObject" && !isForeign && carriesObject(target.query, fields),
      };
    }
    default:
      return unreachable(effect);
  }
}

interface Place {
  readonly bucket: string | undefined;
  readonly key: string | undefined;
}

function placeOf(target: RawTarget): Place {
  const { rawPath } = target;
  if (rawPath === "/") return { bucket: undefined, key: undefined };
  const slash = rawPath.indexOf("/", 1);
  const rawBucket = slash === -1 ? rawPath.slice(1) : rawPath.slice(1, slash);
  const rawKey = slash === -1 ? "" : rawPath.slice(slash + 1);
  return { bucket: decoded(rawBucket), key: rawKey === "" ? undefined : decoded(rawKey) };
}

function placeOn(host: VirtualHost, target: RawTarget): Place {
  return { bucket: host.bucket, key: target.path === "/" ? undefined : target.path.slice(1) };
}

// The path as a whole decodes (a RawTarget says so), and a slash never splits a character.
function decoded(rawName: string): string {
  return decodePercent(rawName) ?? rawName;
}

// S3's rule for new buckets (3 to 63 characters, DNS labels) without its ban on names that look
// like IP addresses. It also keeps "/" out, which object-id.ts relies on.
const BUCKET_NAME = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/;
const BAD_DOTS = /\.\.|\.-|-\./;
/** Ceph's tenants have namespaces of their own: `tenant:bucket`; those without a tenant are in "". */
const TENANT = /^\w*:/;

/** Whether a bucket may be called so; older buckets with capitals or underscores may not. */
export function isValidBucketName(name: string): boolean {
  return BUCKET_NAME.test(name) && !(name.includes(".") && BAD_DOTS.test(name));
}

/** Longest key in bytes of UTF-8 (S3 user guide, "Naming Amazon S3 objects"). */
const KEY_BYTES_MAX = 1024;

function isTooLong(key: string): boolean {
  // A character takes one to three bytes of UTF-8 (a surrogate pair four), so most need no count.
  if (key.length * 3 <= KEY_BYTES_MAX) return false;
  return key.length > KEY_BYTES_MAX || Buffer.byteLength(key) > KEY_BYTES_MAX;
}

function nameOf(
  scope: Scope,
  method: string,
  target: RawTarget,
  fields: Fields,
): OperationName | undefined {
  for (const [when, name] of ROWS.get(`${method} ${scope}`) ?? []) {
    if (when !== "" && queryValue(target, when) === undefined) continue;
    if (name !== "PutObject" && name !== "UploadPart") return name;
    return fields.get("x-amz-copy-source") ? FROM_COPY_SOURCE[name] : name;
  }
  return undefined;
}

function methodNotAllowed(method: string, scope: Scope): S3Error {
  const methods = Object.entries<object>(ROUTES[scope]);
  const allowed = methods.filter(([, rows]) => "" in rows).map(([name]) => name);
  return s3Error("MethodNotAllowed", {
    headers: ["Allow", allowed.join(", ")],
    details: { Method: method, ResourceType: scope.toUpperCase() },
  });
}

/**
 * Parameters (lower case) that leave open what is read: who asks and how it was signed, the
 * operation's name that SDKs add, and the wish to see checksums.
 */
const NEUTRAL_PARAMETERS: ReadonlySet<string> = new Set([
  "x-id",
  "x-amz-algorithm",
  "x-amz-checksum-mode",
  "x-amz-content-sha256",
  "x-amz-credential",
  "x-amz-date",
  "x-amz-expires",
  "x-amz-security-token",
  "x-amz-signature",
  "x-amz-signedheaders",
  "x-amz-user-agent",
]);

function isNeutral(param: QueryParam): boolean {
  return NEUTRAL_PARAMETERS.has(param.name.toLowerCase());
}

const OVERRIDES: ReadonlyMap<string, string> = new Map([
  ["response-cache-control", "Cache-Control"],
  ["response-content-disposition", "Content-Disposition"],
  ["response-content-encoding", "Content-Encoding"],
  ["response-content-language", "Content-Language"],
  ["response-content-type", "Content-Type"],
  ["response-expires", "Expires"],
]);

// Anything else could end the header or needs an encoding that is upstream's to choose.
const PRINTABLE = /^[\x20-\x7e]+$/;

/**
 * Request headers that select another representation, or may turn a 200 into a refusal
 * that depends on them: customer keys (SSE-C) and the expected owner of the bucket.
 */
const SELECTING_HEADERS = [
  "x-amz-server-side-encryption-customer-algorithm",
  "x-amz-server-side-encryption-customer-key",
  "x-amz-expected-bucket-owner",
] as const;

function inspectRead(
  query: readonly QueryParam[],
  fields: Fields,
): { readonly isPlain: boolean; readonly overrides: readonly ResponseOverride[] } {
  let isPlain = !hasSelectingHeader(fields) && !hasTigrisWish(fields);
  let overrides: readonly ResponseOverride[] = NO_OVERRIDES;
  for (const param of query) {
    const header = OVERRIDES.get(param.name);
    if (header === undefined) {
      isPlain &&= isNeutral(param);
    } else if (!PRINTABLE.test(param.value)) {
      isPlain = false;
    } else if (!overrides.some((override) => override.header === header)) {
      overrides = [...overrides, { header, value: param.value }];
    }
  }
  return { isPlain, overrides };
}

const NO_OVERRIDES: readonly ResponseOverride[] = [];

function hasSelectingHeader(fields: Fields): boolean {
  for (const name of SELECTING_HEADERS) if (fields.has(name)) return true;
  return false;
}

/** Tigris reads snapshots, other regions or at a stronger consistency by such headers. */
function hasTigrisWish(fields: Fields): boolean {
  return fields.namesWith("x-tigris-").length > 0;
}

function carriesObject(query: readonly QueryParam[], fields: Fields): boolean {
  // An append (S3 Express) brings only the end of the object.
  return query.every(isNeutral) && !fields.has("x-amz-write-offset-bytes");
}

/** Renames take their source away: RenameObject, and CopyObject with Tigris's rename header. */
function invalidationOf(name: OperationName, id: ObjectId, fields: Fields): Invalidation {
  const isTigrisRename = name === "CopyObject" && fields.get("x-tigris-rename") !== undefined;
  if (name !== "RenameObject" && !isTigrisRename) return { kind: "object", id };
  const header = isTigrisRename ? "x-amz-copy-source" : "x-amz-rename-source";
  const source = parseCopySource(fields.get(header) ?? "");
  return source === undefined
    ? { kind: "bucket", bucket: id.bucket }
    : { kind: "objects", ids: [id, source] };
}

/** Where a copy comes from. */
export interface CopySource extends ObjectId {
  readonly versionId: string | undefined;
}

/**
 * Reads `x-amz-copy-source`: `/bucket/key?versionId=…`, percent-encoded, the first slash
 * optional. Undefined when it names no object.
 */
export function parseCopySource(header: string): CopySource | undefined {
  const mark = header.indexOf("?versionId=");
  const rawPath = mark === -1 ? header : header.slice(0, mark);
  const path = decodePercent(rawPath.startsWith("/") ? rawPath.slice(1) : rawPath);
  if (path === undefined) return undefined;
  const slash = path.indexOf("/");
  if (slash < 1 || slash === path.length - 1) return undefined;
  return {
    bucket: path.slice(0, slash),
    key: path.slice(slash + 1),
    versionId: mark === -1 ? undefined : header.slice(mark + "?versionId=".length),
  };
}
