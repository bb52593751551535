/**
 * Reading and changing ACLs: `?acl` of buckets and objects, with canned ACLs, grant
 * headers or a policy document (PutBucketAcl, PutObjectAcl, S3 API Reference).
 */

import { isS3Error, type S3Error, s3Error } from "../s3/error.ts";
import { child, children, childText, parseXml } from "../s3/xml.ts";
import { type Acl, type Grant, isPermission, privateAcl, requestedAcl } from "./acl.ts";
import {
  type Answer,
  type BucketCall,
  emptyReply,
  noSuchKey,
  type ObjectCall,
  type OriginParts,
  xmlReply,
} from "./call.ts";
import { receiveText } from "./receive-body.ts";

const XSI = "http://www.w3.org/2001/XMLSchema-instance";

export function getBucketAcl(call: BucketCall): Answer {
  return aclReply(call.bucket.acl, call.bucket.ownerId);
}

export async function putBucketAcl(call: BucketCall, { store }: OriginParts): Promise<Answer> {
  const acl = await receiveAcl(call, call.bucket.ownerId);
  if (isS3Error(acl)) return acl;
  const bucket = store.catalog.bucket(call.bucket.name);
  if (bucket === undefined) return s3Error("NoSuchBucket");
  store.catalog.putBucket({ ...bucket, acl });
  return emptyReply(200);
}

export function getObjectAcl(call: ObjectCall, { store }: OriginParts): Answer {
  const object = store.catalog.object(call.bucket.name, call.key);
  if (object === undefined) return noSuchKey(call);
  return aclReply(object.acl ?? inheritedAcl(call.bucket.acl, object.ownerId), object.ownerId);
}

export async function putObjectAcl(call: ObjectCall, { store }: OriginParts): Promise<Answer> {
  const bucketName = call.bucket.name;
  const before = store.catalog.object(bucketName, call.key);
  if (before === undefined) return noSuchKey(call);
  const acl = await receiveAcl(call, before.ownerId);
  if (isS3Error(acl)) return acl;
  const object = store.catalog.object(bucketName, call.key);
  if (object === undefined) return noSuchKey(call);
  store.catalog.putObject(bucketName, { ...object, acl });
  return emptyReply(200);
}

/** What an object without an ACL of its own has: its owner's grant, and the bucket's to groups. */
function inheritedAcl(bucketAcl: Acl, ownerId: string): Acl {
  return [...bucketAcl.filter(({ grantee }) => isGroup(grantee)), ...privateAcl(ownerId)];
}

/** From the headers or, without them, from the document. */
async function receiveAcl(call: BucketCall, ownerId: string): Promise<Acl | S3Error> {
  const text = await receiveText(call);
  if (isS3Error(text)) return text;
  const requested = requestedAcl(call.inbound.fields, {
    ownerId,
    bucketOwnerId: call.bucket.ownerId,
  });
  if (requested !== undefined) return requested;
  if (text === "") return s3Error("MissingSecurityHeader");
  return parseAccessControlPolicy(text);
}

function parseAccessControlPolicy(text: string): Acl | S3Error {
  const document = parseXml(text);
  if (document?.root !== "AccessControlPolicy") return s3Error("MalformedACLError");
  const list = child(document.content, "AccessControlList");
  if (list === undefined) return s3Error("MalformedACLError");
  const grants: Grant[] = [];
  for (const node of children(list, "Grant")) {
    const grantee = child(node, "Grantee");
    const name = childText(grantee, "URI") ?? childText(grantee, "ID");
    const permission = childText(node, "Permission") ?? "";
    if (name === undefined || !isPermission(permission)) return s3Error("MalformedACLError");
    grants.push({ grantee: name, permission });
  }
  return grants;
}

function aclReply(acl: Acl, ownerId: string): Answer {
  return xmlReply("AccessControlPolicy", {
    Owner: { ID: ownerId, DisplayName: ownerId },
    AccessControlList: {
      Grant: acl.map(({ grantee, permission }) => {
        const isUri = isGroup(grantee);
        return {
          Grantee: {
            "@xmlns:xsi": XSI,
            "@xsi:type": isUri ? "Group" : "CanonicalUser",
            ...(isUri ? { URI: grantee } : { ID: grantee, DisplayName: grantee }),
          },
          Permission: permission,
        };
      }),
    },
  });
}

function isGroup(grantee: string): boolean {
  return grantee.startsWith("http://");
}
