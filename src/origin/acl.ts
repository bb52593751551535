/**
 * Access control lists: the S3 way to open a bucket or an object to others.
 *
 * An ACL is a list of grants; a grantee is an access key id (the dev origin has no
 * accounts) or one of two groups. The owner is not listed: owners may do
 * everything, and replies show their FULL_CONTROL. XML lives in acl-operations.ts.
 */

import type { Fields } from "../http/fields.ts";
import { type S3Error, s3Error } from "../s3/error.ts";

export const EVERYONE = "http://acs.amazonaws.com/groups/global/AllUsers";
export const EVERY_KEY = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers";

const PERMISSIONS = ["READ", "WRITE", "READ_ACP", "WRITE_ACP", "FULL_CONTROL"] as const;
export type Permission = (typeof PERMISSIONS)[number];

export interface Grant {
  /** An access key id, or the URI of a group. */
  readonly grantee: string;
  readonly permission: Permission;
}

export type Acl = readonly Grant[];

export const PRIVATE: Acl = [];

export function isPermission(text: string): text is Permission {
  return (PERMISSIONS as readonly string[]).includes(text);
}

/** Whether `acl` grants `permission` to the key, or to anybody when `accessKeyId` is undefined. */
export function permits(
  acl: Acl,
  permission: Permission,
  accessKeyId: string | undefined,
): boolean {
  return acl.some(
    (grant) =>
      (grant.permission === permission || grant.permission === "FULL_CONTROL") &&
      (grant.grantee === EVERYONE ||
        (accessKeyId !== undefined &&
          (grant.grantee === EVERY_KEY || grant.grantee === accessKeyId))),
  );
}

/** The grants of a canned ACL (S3 user guide, "Canned ACL"); undefined for an unknown name. */
export function cannedAcl(name: string, bucketOwnerId: string): Acl | undefined {
  switch (name) {
    case "private":
      return PRIVATE;
    case "public-read":
      return [{ grantee: EVERYONE, permission: "READ" }];
    case "public-read-write":
      return [
        { grantee: EVERYONE, permission: "READ" },
        { grantee: EVERYONE, permission: "WRITE" },
      ];
    case "authenticated-read":
      return [{ grantee: EVERY_KEY, permission: "READ" }];
    case "bucket-owner-read":
      return [{ grantee: bucketOwnerId, permission: "READ" }];
    case "bucket-owner-full-control":
      return [{ grantee: bucketOwnerId, permission: "FULL_CONTROL" }];
    default:
      return undefined;
  }
}

const GRANT_FIELDS: readonly (readonly [string, Permission])[] = [
  ["x-amz-grant-read", "READ"],
  ["x-amz-grant-write", "WRITE"],
  ["x-amz-grant-read-acp", "READ_ACP"],
  ["x-amz-grant-write-acp", "WRITE_ACP"],
  ["x-amz-grant-full-control", "FULL_CONTROL"],
];

/** The ACL a request asks for with `x-amz-acl` or `x-amz-grant-*`; undefined when with neither. */
export function requestedAcl(fields: Fields, bucketOwnerId: string): Acl | S3Error | undefined {
  const canned = fields.get("x-amz-acl");
  if (canned !== undefined) {
    return cannedAcl(canned, bucketOwnerId) ?? s3Error("InvalidArgument");
  }
  const grants: Grant[] = [];
  for (const [name, permission] of GRANT_FIELDS) {
    for (const grantee of (fields.list(name) ?? "").split(",")) {
      if (grantee.trim() === "") continue;
      const match = /^\s*(?:id|uri)\s*=\s*"?([^"]*?)"?\s*$/i.exec(grantee);
      if (match === null) return s3Error("InvalidArgument");
      grants.push({ grantee: match[1] ?? "", permission });
    }
  }
  return grants.length === 0 ? undefined : grants;
}
