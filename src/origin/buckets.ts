/**
 * Buckets: list, create, delete, head, and the settings the dev origin answers
 * about without having them (region, versioning).
 */

import { isS3Error, type S3Error, s3Error } from "../s3/error.ts";
import { childText, parseXml } from "../s3/xml.ts";
import { type Acl, privateAcl, requestedAcl } from "./acl.ts";
import {
  type Answer,
  type BucketCall,
  emptyReply,
  integerParameter,
  type OriginParts,
  parameter,
  type ServiceCall,
  xmlReply,
} from "./call.ts";
import { receiveText } from "./receive-body.ts";
import type { BucketRecord } from "./records.ts";

/** Most buckets of one ListBuckets answer; one page unless the client asks for less. */
const BUCKETS_PAGE_MAX = 10_000;

export function listBuckets(call: ServiceCall, { store, access }: OriginParts): Answer {
  const { accessKeyId } = call.caller;
  if (accessKeyId === undefined) return s3Error("AccessDenied");
  const bounds = { min: 1, max: BUCKETS_PAGE_MAX, fallback: BUCKETS_PAGE_MAX };
  const maxBuckets = integerParameter(call, "max-buckets", bounds);
  if (isS3Error(maxBuckets)) return maxBuckets;
  const prefix = parameter(call, "prefix");
  const token = parameter(call, "continuation-token");
  const after = Buffer.from(token, "base64url").toString();
  const visible = store.catalog
    .buckets()
    .filter(
      (bucket) =>
        access.maySee(call.caller, bucket) && bucket.name.startsWith(prefix) && bucket.name > after,
    );
  const page = visible.slice(0, maxBuckets);
  const next = visible.length > page.length ? page.at(-1)?.name : undefined;
  return xmlReply("ListAllMyBucketsResult", {
    Owner: { ID: accessKeyId, DisplayName: accessKeyId },
    Buckets: {
      Bucket: page.map((bucket) => ({
        Name: bucket.name,
        // With milliseconds: creation is not shown in any header that would disagree.
        CreationDate: new Date(bucket.createdAtMs).toISOString(),
      })),
    },
    ContinuationToken: next === undefined ? undefined : Buffer.from(next).toString("base64url"),
    Prefix: prefix === "" ? undefined : prefix,
  });
}

/** The bucket need not exist, so rights are judged here. */
export async function createBucket(
  call: ServiceCall,
  { store, access }: OriginParts,
  name: string,
): Promise<Answer> {
  const { accessKeyId } = call.caller;
  if (accessKeyId === undefined) return s3Error("AccessDenied");
  if (call.inbound.fields.get("x-amz-bucket-object-lock-enabled")?.toLowerCase() === "true") {
    return s3Error("NotImplemented", { message: "The dev origin locks no objects." });
  }
  const owners = { ownerId: accessKeyId, bucketOwnerId: accessKeyId };
  const acl = requestedAcl(call.inbound.fields, owners) ?? privateAcl(accessKeyId);
  if (isS3Error(acl)) return acl;
  const text = await receiveText(call);
  if (isS3Error(text)) return text;
  const problem = judgeConfiguration(text);
  if (problem !== undefined) return problem;
  if (looksLikeAddress(name))
    return s3Error("InvalidBucketName", { details: { BucketName: name } });
  // Names are global, so that a name is taken is no secret and comes before rights.
  const present = store.catalog.bucket(name);
  if (present !== undefined) return taken(present, accessKeyId, acl);
  if (!access.mayCreate(call.caller, name)) return s3Error("AccessDenied");
  store.catalog.putBucket({
    name,
    createdAtMs: call.nowMs,
    ownerId: accessKeyId,
    acl,
    tags: undefined,
  });
  return emptyReply(200, ["Location", `/${name}`]);
}

/** Asking again for the very bucket one has is told apart from asking for another one. */
function taken(present: BucketRecord, accessKeyId: string, acl: Acl): S3Error {
  const isSame =
    present.ownerId === accessKeyId && JSON.stringify(present.acl) === JSON.stringify(acl);
  return s3Error(isSame ? "BucketAlreadyOwnedByYou" : "BucketAlreadyExists", {
    details: { BucketName: present.name },
  });
}

/** S3 creates no bucket that a host name could mistake for an IPv4 address. */
function looksLikeAddress(name: string): boolean {
  return /^\d{1,3}(\.\d{1,3}){3}$/.test(name);
}

/** Any location is accepted, because a folder is nowhere in particular. */
function judgeConfiguration(text: string): S3Error | undefined {
  if (text === "") return undefined;
  const document = parseXml(text);
  return document?.root === "CreateBucketConfiguration" ? undefined : s3Error("MalformedXML");
}

export function deleteBucket(call: BucketCall, { store }: OriginParts): Answer {
  const { name } = call.bucket;
  const bodies = store.catalog.deleteBucket(name);
  if (bodies === undefined) return s3Error("BucketNotEmpty", { details: { BucketName: name } });
  store.discard(bodies);
  return emptyReply(204);
}

export function headBucket(_call: BucketCall, { region }: OriginParts): Answer {
  return emptyReply(200, ["x-amz-bucket-region", region, "Content-Type", "application/xml"]);
}

export function getBucketLocation(_call: BucketCall, { region }: OriginParts): Answer {
  return xmlReply("LocationConstraint", { "#text": region });
}

/** Nothing is versioned: an empty configuration, which is what S3 answers then. */
export function getBucketVersioning(): Answer {
  return xmlReply("VersioningConfiguration", {});
}

/** Suspending what never ran is no change; turning it on cannot be done. */
export async function putBucketVersioning(call: BucketCall): Promise<Answer> {
  const text = await receiveText(call);
  if (isS3Error(text)) return text;
  const document = parseXml(text);
  if (document?.root !== "VersioningConfiguration") return s3Error("MalformedXML");
  return childText(document.content, "Status") === "Suspended"
    ? emptyReply(200)
    : s3Error("NotImplemented", { message: "The dev origin keeps no versions." });
}
