import { describe, expect, test } from "bun:test";
import { Fields } from "../../../src/http/fields.ts";
import { isS3Error } from "../../../src/s3/error.ts";
import { type Acl, cannedAcl, EVERYONE, permits, requestedAcl } from "../../../src/origin/acl.ts";
import { DEFAULT_CREDENTIALS, KeyRing } from "../../../src/origin/key-ring.ts";
import { bucketOfHost } from "../../../src/origin/virtual-host.ts";

const OWNERS = { ownerId: "me", bucketOwnerId: "landlord" };

describe("KeyRing", () => {
  test("has one key for everything and one for nothing by default", () => {
    const ring = new KeyRing(DEFAULT_CREDENTIALS);
    expect(ring.has("tagdev", "any", "write")).toBe(true);
    expect(ring.has("tagother", "any", "read")).toBe(false);
    expect(ring.secretOf("nobody")).toBeUndefined();
  });

  test("gives and takes rights bucket by bucket", () => {
    const ring = new KeyRing(DEFAULT_CREDENTIALS);
    ring.grant("tagother", "photos", "read");
    expect(ring.has("tagother", "photos", "read")).toBe(true);
    expect(ring.has("tagother", "photos", "write")).toBe(false);
    expect(ring.has("tagother", "films", "read")).toBe(false);
    ring.grant("tagother", "photos", "write");
    ring.revoke("tagother", "photos", "read");
    expect(ring.has("tagother", "photos", "read")).toBe(false);
    expect(ring.has("tagother", "photos", "write")).toBe(true);
    ring.revoke("tagother", "photos");
    expect(ring.hasAny("tagother", "photos")).toBe(false);
  });

  test("refuses to change the rights of a key it does not know", () => {
    expect(() => new KeyRing([]).grant("nobody", "b", "read")).toThrow(RangeError);
  });

  test("does not let one right stand for another, but own for all", () => {
    const ring = new KeyRing([
      { accessKeyId: "k", secretAccessKey: "s", rights: { a: ["write"], b: ["own"] } },
    ]);
    expect(ring.has("k", "a", "read")).toBe(false);
    expect(ring.has("k", "a", "create")).toBe(false);
    expect(ring.has("k", "b", "create")).toBe(true);
  });
});

describe("ACLs", () => {
  test.each([
    ["private", false, false],
    ["public-read", true, true],
    ["authenticated-read", false, true],
  ] as const)("%s lets anybody read: %p, and any key: %p", (name, anybody, anyKey) => {
    const acl = cannedAcl(name, OWNERS) ?? [];
    expect(permits(acl, "READ", undefined)).toBe(anybody);
    expect(permits(acl, "READ", "stranger")).toBe(anyKey);
    expect(permits(acl, "WRITE", "stranger")).toBe(false);
    expect(permits(acl, "READ", "me")).toBe(true);
  });

  test("full control is every permission", () => {
    const acl: Acl = [{ grantee: EVERYONE, permission: "FULL_CONTROL" }];
    expect(permits(acl, "WRITE_ACP", undefined)).toBe(true);
  });

  test("grant headers name keys and groups, several in one header", () => {
    const fields = new Fields([
      "x-amz-grant-read",
      `id="a", uri=${EVERYONE}`,
      "X-Amz-Grant-Write",
      "id=b",
    ]);
    expect(requestedAcl(fields, OWNERS)).toEqual([
      { grantee: "a", permission: "READ" },
      { grantee: EVERYONE, permission: "READ" },
      { grantee: "b", permission: "WRITE" },
    ]);
  });

  test("an unknown canned ACL and a grantee that cannot be read are invalid arguments", () => {
    for (const raw of [
      ["x-amz-acl", "public-ready"],
      ["x-amz-grant-read", "somebody"],
    ]) {
      const acl = requestedAcl(new Fields(raw), OWNERS);
      expect(isS3Error(acl) && acl.code).toBe("InvalidArgument");
    }
  });
});

test.each([
  ["photos.localhost:9000", "photos"],
  ["a.b.LOCALHOST", "a.b"],
  ["photos.s3.example.org", "photos"],
  ["localhost:9000", undefined],
  ["notlocalhost", undefined],
  ["127.0.0.1:9000", undefined],
  [undefined, undefined],
])("the host %p names the bucket %p", (host, bucket) => {
  expect(bucketOfHost(host, ["localhost", "s3.example.org"])).toBe(bucket);
});
