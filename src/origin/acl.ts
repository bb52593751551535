/**
 * Access control lists: the S3 way to open a bucket or an object to others.
 *
 * An ACL is a list of grants; a grantee is an access key id (the dev origin has no
 * accounts) or one of two groups. It is kept as it was given, the owner's own grant
 * included, although owners may do everything anyway. XML is acl-operations.ts.
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

/** What a bucket or object has that nobody said anything about. */
export function privateAcl(ownerId: string): Acl {
  return [{ grantee: ownerId, permission: "FULL_CONTROL" }];
}

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

/** Who the owners are that canned ACLs speak of; the same for a bucket's own ACL. */
export interface Owners {
  readonly ownerId: string;
  readonly bucketOwnerId: string;
}

/** The grants of a canned ACL (S3 user guide, "Canned ACL"); undefined for an unknown name. */
export function cannedAcl(name: string, { ownerId, bucketOwnerId }: Owners): Acl | undefined {
  const own = privateAcl(ownerId);
  switch (name) {
    case "private":
      return own;
    case "public-read":
      return [{ grantee: EVERYONE, permission: "READ" }, ...own];
    case "public-read-write":
      return [
        { grantee: EVERYONE, permission: "READ" },
        { grantee: EVERYONE, permission: "WRITE" },
        ...own,
      ];
    case "authenticated-read":
      return [{ grantee: EVERY_KEY, permission: "READ" }, ...own];
    case "bucket-owner-read":
      return [...own, { grantee: bucketOwnerId, permission: "READ" }];
    case "bucket-owner-full-control":
      return [...own, { grantee: bucketOwnerId, permission: "FULL_CONTROL" }];
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
export function requestedAcl(fields: Fields, owners: Owners): Acl | S3Error | undefined {
  const canned = fields.get("x-amz-acl");
  if (canned !== undefined) {
    return cannedAcl(canned, owners) ?? s3Error("InvalidArgument");
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
