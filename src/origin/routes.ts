/**
 * Which function answers which operation, and what the caller must be allowed to do.
 *
 * `route` finds the bucket, judges the caller and only then runs the operation; the
 * operations themselves never ask who is there, but for creating a bucket and
 * reading the source of a copy.
 */

import { unreachable } from "../base/assert.ts";
import { queryValue } from "../http/raw-target.ts";
import { type S3Error, type S3ErrorCode, s3Error } from "../s3/error.ts";
import type { Operation, OperationName } from "../s3/operation.ts";
import type { Permission } from "./acl.ts";
import { getBucketAcl, getObjectAcl, putBucketAcl, putObjectAcl } from "./acl-operations.ts";
import {
  createBucket,
  deleteBucket,
  getBucketLocation,
  getBucketVersioning,
  headBucket,
  listBuckets,
  putBucketVersioning,
} from "./buckets.ts";
import {
  type Answer,
  type BucketCall,
  emptyReply,
  type ObjectCall,
  type OriginParts,
  type ServiceCall,
  xmlReply,
} from "./call.ts";
import { completeUpload } from "./complete-upload.ts";
import { copyObject } from "./copy.ts";
import { answerPreflight, deleteBucketCors, getBucketCors, putBucketCors } from "./cors.ts";
import { listObjects, listObjectsV2, listObjectVersions } from "./list-objects.ts";
import { listParts, listUploads } from "./list-uploads.ts";
import { abortUpload, createUpload, uploadPart, uploadPartCopy } from "./multipart.ts";
import { getObject, getObjectAttributes, headObject } from "./read-object.ts";
import {
  deleteBucketTagging,
  deleteObjectTagging,
  getBucketTagging,
  getObjectTagging,
  putBucketTagging,
  putObjectTagging,
} from "./tags.ts";
import { deleteObject, deleteObjects, judgeVersion, putObject } from "./write-object.ts";

type Result = Answer | Promise<Answer>;

interface BucketRoute {
  readonly needs: Permission;
  readonly run: (call: BucketCall, parts: OriginParts) => Result;
}

interface ObjectRoute {
  readonly needs: Permission;
  readonly run: (call: ObjectCall, parts: OriginParts) => Result;
}

const BUCKET_ROUTES: Partial<Record<OperationName, BucketRoute>> = {
  ListObjects: { needs: "READ", run: listObjects },
  ListObjectsV2: { needs: "READ", run: listObjectsV2 },
  ListObjectVersions: { needs: "READ", run: listObjectVersions },
  ListMultipartUploads: { needs: "READ", run: listUploads },
  HeadBucket: { needs: "READ", run: headBucket },
  DeleteBucket: { needs: "FULL_CONTROL", run: deleteBucket },
  DeleteObjects: { needs: "WRITE", run: deleteObjects },
  GetBucketLocation: { needs: "READ", run: getBucketLocation },
  GetBucketVersioning: { needs: "READ", run: getBucketVersioning },
  PutBucketVersioning: { needs: "FULL_CONTROL", run: putBucketVersioning },
  GetBucketAcl: { needs: "READ_ACP", run: getBucketAcl },
  PutBucketAcl: { needs: "WRITE_ACP", run: putBucketAcl },
  GetBucketTagging: { needs: "FULL_CONTROL", run: getBucketTagging },
  PutBucketTagging: { needs: "FULL_CONTROL", run: putBucketTagging },
  DeleteBucketTagging: { needs: "FULL_CONTROL", run: deleteBucketTagging },
  GetBucketCors: { needs: "FULL_CONTROL", run: getBucketCors },
  PutBucketCors: { needs: "FULL_CONTROL", run: putBucketCors },
  DeleteBucketCors: { needs: "FULL_CONTROL", run: deleteBucketCors },

  // Settings nobody can make here, and what S3 says of a bucket without them.
  GetBucketPolicy: absent("NoSuchBucketPolicy"),
  GetBucketPolicyStatus: absent("NoSuchBucketPolicy"),
  GetBucketLifecycleConfiguration: absent("NoSuchLifecycleConfiguration"),
  GetBucketEncryption: absent("ServerSideEncryptionConfigurationNotFoundError"),
  GetObjectLockConfiguration: absent("ObjectLockConfigurationNotFoundError"),
  GetBucketLogging: empty("BucketLoggingStatus"),
  GetBucketNotificationConfiguration: empty("NotificationConfiguration"),
  GetBucketAccelerateConfiguration: empty("AccelerateConfiguration"),
  GetBucketRequestPayment: {
    needs: "READ",
    run: () => xmlReply("RequestPaymentConfiguration", { Payer: "BucketOwner" }),
  },
  DeleteBucketPolicy: nothingToDelete(),
  DeleteBucketLifecycle: nothingToDelete(),
  DeleteBucketEncryption: nothingToDelete(),
  DeleteBucketWebsite: nothingToDelete(),
  DeletePublicAccessBlock: nothingToDelete(),
};

/** Reads ask the object's ACL; writes change what the bucket holds, so they ask the bucket's. */
const OBJECT_ROUTES: Partial<Record<OperationName, ObjectRoute>> = {
  PutObject: { needs: "WRITE", run: putObject },
  CopyObject: { needs: "WRITE", run: copyObject },
  DeleteObject: { needs: "WRITE", run: deleteObject },
  GetObjectAttributes: { needs: "READ", run: getObjectAttributes },
  GetObjectAcl: { needs: "READ_ACP", run: getObjectAcl },
  PutObjectAcl: { needs: "WRITE_ACP", run: putObjectAcl },
  GetObjectTagging: { needs: "READ", run: getObjectTagging },
  PutObjectTagging: { needs: "WRITE", run: putObjectTagging },
  DeleteObjectTagging: { needs: "WRITE", run: deleteObjectTagging },
  CreateMultipartUpload: { needs: "WRITE", run: createUpload },
  UploadPart: { needs: "WRITE", run: uploadPart },
  UploadPartCopy: { needs: "WRITE", run: uploadPartCopy },
  CompleteMultipartUpload: { needs: "WRITE", run: completeUpload },
  AbortMultipartUpload: { needs: "WRITE", run: abortUpload },
  ListParts: { needs: "WRITE", run: listParts },
};

/** Answers an authenticated call. */
export function route(call: ServiceCall, operation: Operation, parts: OriginParts): Result {
  const place = placeOf(operation);
  if (operation.name === "ListBuckets") return listBuckets(call, parts);
  if (place.bucket === undefined) return s3Error("NotImplemented");
  if (operation.name === "CreateBucket") return createBucket(call, parts, place.bucket);

  const bucket = parts.store.catalog.bucket(place.bucket);
  if (bucket === undefined) {
    return s3Error("NoSuchBucket", { details: { BucketName: place.bucket } });
  }
  if (operation.name === "Preflight") return answerPreflight(call.inbound, bucket);
  // A client that says whose bucket it expects wants nothing from anybody else's.
  const expectedOwner = call.inbound.fields.get("x-amz-expected-bucket-owner");
  if (expectedOwner !== undefined && expectedOwner !== bucket.ownerId) {
    return s3Error("AccessDenied");
  }
  const bucketCall: BucketCall = { ...call, bucket };
  if (place.key === undefined) {
    const found = BUCKET_ROUTES[operation.name];
    if (found === undefined) return notImplemented(operation.name);
    return parts.access.may(call.caller, found.needs, bucket)
      ? found.run(bucketCall, parts)
      : s3Error("AccessDenied");
  }
  return routeObject({ ...bucketCall, key: place.key }, operation, parts);
}

function routeObject(call: ObjectCall, operation: Operation, parts: OriginParts): Result {
  const found: ObjectRoute | undefined =
    operation.kind === "read"
      ? {
          needs: "READ",
          run: (read) =>
            (operation.name === "GetObject" ? getObject : headObject)(
              { ...read, overrides: operation.overrides },
              parts,
            ),
        }
      : OBJECT_ROUTES[operation.name];
  if (found === undefined) return notImplemented(operation.name);
  const object =
    found.needs === "WRITE" ? undefined : parts.store.catalog.object(call.bucket.name, call.key);
  if (!parts.access.may(call.caller, found.needs, call.bucket, object)) {
    return s3Error("AccessDenied");
  }
  return judgeVersion(call, queryValue(call.target, "versionId")) ?? found.run(call, parts);
}

/** Bucket and key of an operation, as far as it has them. */
export function placeOf(operation: Operation): {
  readonly bucket: string | undefined;
  readonly key: string | undefined;
} {
  switch (operation.kind) {
    case "read":
      return operation.id;
    case "write":
      return { bucket: operation.bucket, key: operation.id?.key };
    case "other":
      return { bucket: operation.bucket, key: operation.key };
    default:
      return unreachable(operation);
  }
}

function notImplemented(name: OperationName): S3Error {
  return s3Error("NotImplemented", { message: `The dev origin does not implement ${name}.` });
}

function absent(code: S3ErrorCode): BucketRoute {
  return {
    needs: "FULL_CONTROL",
    run: (call) => s3Error(code, { details: { BucketName: call.bucket.name } }),
  };
}

function empty(root: string): BucketRoute {
  return { needs: "FULL_CONTROL", run: () => xmlReply(root, {}) };
}

function nothingToDelete(): BucketRoute {
  return { needs: "FULL_CONTROL", run: () => emptyReply(204) };
}
