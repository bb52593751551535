// The operation matrix: what every request of the S3 API is called and what it means to the
// cache. Rows are written as a client would send them, so the table reads like the API reference.

import { describe, expect, test } from "bun:test";
import { Fields } from "../../src/http/fields.ts";
import { encodePath, parseRawTarget } from "../../src/http/raw-target.ts";
import { isS3Error, type S3Error } from "../../src/s3/error.ts";
import {
  classify,
  isValidBucketName,
  type Operation,
  OPERATION_NAMES,
  parseCopySource,
} from "../../src/s3/operation.ts";
import { AWKWARD_KEYS } from "../support/awkward-keys.ts";

function ask(method: string, rawTarget: string, headers: readonly string[] = []) {
  const target = parseRawTarget(rawTarget);
  if (target === undefined) throw new Error(`not a target: ${rawTarget}`);
  return classify(method, target, new Fields(headers));
}

function operation(method: string, rawTarget: string, headers: readonly string[] = []): Operation {
  const answer = ask(method, rawTarget, headers);
  if (isS3Error(answer)) throw new Error(`refused: ${answer.code}`);
  return answer;
}

function refusal(method: string, rawTarget: string): S3Error {
  const answer = ask(method, rawTarget);
  if (!isS3Error(answer)) throw new Error(`accepted: ${answer.name}`);
  return answer;
}

/** What a request means, in one word: plain or special read, the scope a write spoils, or other. */
function meaning(answer: Operation): string {
  if (answer.kind === "read") return answer.isPlain ? "plain" : "special";
  return answer.kind === "write" ? answer.invalidates.kind : "other";
}

const COPY = ["x-amz-copy-source", "/src/from"];

/** [method, target, name, meaning, headers] */
const matrix: readonly (readonly [string, string, string, string, (readonly string[])?])[] = [
  ["GET", "/", "ListBuckets", "other"],
  ["GET", "/?x-id=ListBuckets", "ListBuckets", "other"],
  ["HEAD", "/", "ListBuckets", "other"],
  ["OPTIONS", "/", "Preflight", "other"],

  // Reading objects.
  ["GET", "/bkt/k", "GetObject", "plain"],
  ["HEAD", "/bkt/k", "HeadObject", "plain"],
  ["GET", "/bkt/k?x-id=GetObject", "GetObject", "plain"],
  ["GET", "/bkt/k?versionId=v1", "GetObject", "special"],
  ["GET", "/bkt/k?versionId=null", "GetObject", "special"],
  ["GET", "/bkt/k?partNumber=1", "GetObject", "special"],
  ["HEAD", "/bkt/k?partNumber=1", "HeadObject", "special"],
  ["HEAD", "/bkt/k?versionId=v1", "HeadObject", "special"],
  ["GET", "/bkt/k?foo", "GetObject", "special"],
  ["GET", "/bkt/k?policy", "GetObject", "special"],
  ["GET", "/bkt/k?uploads", "GetObject", "special"],
  ["GET", "/bkt/k?ACL", "GetObject", "special"],
  ["GET", "/bkt/k?%61cl", "GetObjectAcl", "other"],
  ["GET", "/bkt/k?acl", "GetObjectAcl", "other"],
  ["GET", "/bkt/k?acl=", "GetObjectAcl", "other"],
  ["GET", "/bkt/k?acl=x&versionId=v", "GetObjectAcl", "other"],
  ["HEAD", "/bkt/k?acl", "GetObjectAcl", "other"],
  ["GET", "/bkt/k?tagging", "GetObjectTagging", "other"],
  ["HEAD", "/bkt/k?tagging", "GetObjectTagging", "other"],
  ["GET", "/bkt/k?uploadId=u", "ListParts", "other"],
  ["HEAD", "/bkt/k?uploadId=u", "ListParts", "other"],
  ["GET", "/bkt/k?uploadId=u&partNumber=1", "ListParts", "other"],
  ["GET", "/bkt/k?retention", "GetObjectRetention", "other"],
  ["GET", "/bkt/k?legal-hold", "GetObjectLegalHold", "other"],
  ["HEAD", "/bkt/k?legal-hold", "GetObjectLegalHold", "other"],
  ["GET", "/bkt/k?attributes", "GetObjectAttributes", "other"],
  ["GET", "/bkt/k?torrent", "GetObjectTorrent", "other"],
  ["OPTIONS", "/bkt/k", "Preflight", "other"],

  // Writing objects.
  ["PUT", "/bkt/k", "PutObject", "object"],
  ["PUT", "/bkt/k?x-id=PutObject", "PutObject", "object"],
  ["PUT", "/bkt/k?partNumber=1", "PutObject", "object"],
  ["PUT", "/bkt/k?unheard-of", "PutObject", "object"],
  ["PUT", "/bkt/k", "CopyObject", "object", COPY],
  ["PUT", "/bkt/k", "PutObject", "object", ["X-Amz-Copy-Source", ""]],
  ["PUT", "/bkt/k?uploadId=u&partNumber=1", "UploadPart", "other"],
  ["PUT", "/bkt/k?partNumber=1&uploadId=u", "UploadPart", "other"],
  ["PUT", "/bkt/k?uploadId=u&partNumber=1", "UploadPartCopy", "other", COPY],
  ["PUT", "/bkt/k?acl", "PutObjectAcl", "object"],
  ["PUT", "/bkt/k?acl&versionId=v", "PutObjectAcl", "object"],
  ["PUT", "/bkt/k?tagging", "PutObjectTagging", "object"],
  ["PUT", "/bkt/k?retention", "PutObjectRetention", "object"],
  ["PUT", "/bkt/k?legal-hold", "PutObjectLegalHold", "object"],
  ["PUT", "/bkt/k?encryption", "UpdateObjectEncryption", "object"],
  ["PUT", "/bkt/k?renameObject", "RenameObject", "objects", ["x-amz-rename-source", "/bkt/old"]],
  ["PUT", "/bkt/k", "CopyObject", "objects", [...COPY, "X-Tigris-Rename", "true"]],
  ["DELETE", "/bkt/k", "DeleteObject", "object"],
  ["DELETE", "/bkt/k?versionId=v", "DeleteObject", "object"],
  ["DELETE", "/bkt/k?acl", "DeleteObject", "object"],
  ["DELETE", "/bkt/k?tagging", "DeleteObjectTagging", "object"],
  ["DELETE", "/bkt/k?uploadId=u", "AbortMultipartUpload", "other"],
  ["POST", "/bkt/k?uploads", "CreateMultipartUpload", "other"],
  ["POST", "/bkt/k?uploadId=u", "CompleteMultipartUpload", "object"],
  ["POST", "/bkt/k?restore", "RestoreObject", "object"],
  ["POST", "/bkt/k?restore&versionId=v", "RestoreObject", "object"],
  ["POST", "/bkt/k?select&select-type=2", "SelectObjectContent", "other"],

  // Buckets, with and without the trailing slash.
  ["GET", "/bkt", "ListObjects", "other"],
  ["GET", "/bkt/", "ListObjects", "other"],
  ["GET", "/bkt?prefix=a&delimiter=/", "ListObjects", "other"],
  ["GET", "/bkt?list-type=2&prefix=acl", "ListObjectsV2", "other"],
  ["GET", "/bkt?versions", "ListObjectVersions", "other"],
  ["GET", "/bkt?uploads", "ListMultipartUploads", "other"],
  ["GET", "/bkt?location", "GetBucketLocation", "other"],
  ["GET", "/bkt/?location", "GetBucketLocation", "other"],
  ["HEAD", "/bkt", "HeadBucket", "other"],
  ["HEAD", "/bkt/", "HeadBucket", "other"],
  ["HEAD", "/bkt?location", "GetBucketLocation", "other"],
  ["GET", "/bkt?policy", "GetBucketPolicy", "other"],
  ["GET", "/bkt?policyStatus", "GetBucketPolicyStatus", "other"],
  ["GET", "/bkt?session", "CreateSession", "other"],
  ["PUT", "/bkt", "CreateBucket", "other"],
  ["PUT", "/bkt/", "CreateBucket", "other"],
  ["PUT", "/bkt?versioning", "PutBucketVersioning", "other"],
  ["PUT", "/bkt?lifecycle", "PutBucketLifecycleConfiguration", "other"],
  ["PUT", "/bkt?tagging", "PutBucketTagging", "other"],
  ["PUT", "/bkt?encryption", "PutBucketEncryption", "other"],
  ["PUT", "/bkt?notification", "PutBucketNotificationConfiguration", "other"],
  ["PUT", "/bkt?policy", "PutBucketPolicy", "bucket"],
  ["PUT", "/bkt/?policy", "PutBucketPolicy", "bucket"],
  ["PUT", "/bkt?acl", "PutBucketAcl", "bucket"],
  ["PUT", "/bkt?cors", "PutBucketCors", "bucket"],
  ["PUT", "/bkt?publicAccessBlock", "PutPublicAccessBlock", "bucket"],
  ["PUT", "/bkt?ownershipControls", "PutBucketOwnershipControls", "bucket"],
  ["PUT", "/bkt?requestPayment", "PutBucketRequestPayment", "bucket"],
  ["DELETE", "/bkt", "DeleteBucket", "bucket"],
  ["DELETE", "/bkt?policy", "DeleteBucketPolicy", "bucket"],
  ["DELETE", "/bkt?cors", "DeleteBucketCors", "bucket"],
  ["DELETE", "/bkt?publicAccessBlock", "DeletePublicAccessBlock", "bucket"],
  ["DELETE", "/bkt?ownershipControls", "DeleteBucketOwnershipControls", "bucket"],
  ["DELETE", "/bkt?lifecycle", "DeleteBucketLifecycle", "other"],
  ["DELETE", "/bkt?tagging", "DeleteBucketTagging", "other"],
  ["POST", "/bkt?delete", "DeleteObjects", "objects-in-body"],
  ["POST", "/bkt/?delete=", "DeleteObjects", "objects-in-body"],
  ["POST", "/bkt", "PostObject", "object-in-form"],
  ["POST", "/bkt/", "PostObject", "object-in-form"],
  ["POST", "/bkt?metadataTable", "CreateBucketMetadataTableConfiguration", "other"],
  ["OPTIONS", "/bkt", "Preflight", "other"],
];

describe("the operation of", () => {
  test.each(matrix)("%s %s is %s (%s)", (method, rawTarget, name, expected, headers = []) => {
    const answer = operation(method, rawTarget, headers);
    expect(answer.name as string).toBe(name);
    expect(meaning(answer)).toBe(expected);
  });

  // The table of tag-behaviour 3.2, kept so that no call of the original gets lost.
  const originals = [
    "lifecycle",
    "policy",
    "cors",
    "tagging",
    "versioning",
    "acl",
    "encryption",
    "notification",
    "policyStatus",
    "uploads",
    "versions",
    "location",
    "list-type=2",
    "logging",
    "website",
    "replication",
    "inventory",
    "metrics",
    "analytics",
    "accelerate",
    "requestPayment",
    "object-lock",
    "publicAccessBlock",
    "ownershipControls",
    "intelligent-tiering",
  ]; // as parameters of a bucket
  test.each(originals)("GET /bkt?%s has a name of its own", (parameter) => {
    const { name, kind } = operation("GET", `/bkt?${parameter}`);
    expect(name).not.toBe("ListObjects");
    expect(kind).toBe("other");
  });

  test("its name is one of a closed set without doubles", () => {
    const seen = new Set<string>(matrix.map(([, , name]) => name));
    expect(new Set(OPERATION_NAMES).size).toBe(OPERATION_NAMES.length);
    for (const name of seen) expect(OPERATION_NAMES as readonly string[]).toContain(name);
  });
});

describe("a write", () => {
  test("may fail inside a 200 only where S3 does so", () => {
    const may = matrix
      .map(([method, target, , , headers]) => operation(method, target, headers))
      .filter((answer) => answer.kind === "write" && answer.canFailInside200)
      .map((answer) => answer.name);
    expect(new Set<string>(may)).toEqual(new Set(["CopyObject", "CompleteMultipartUpload"]));
  });

  test.each([
    ["/bkt/k", [], true, "the body is the object"],
    ["/bkt/k?x-id=PutObject&X-Amz-Signature=abc", [], true, "signing does not change that"],
    ["/bkt/k?foo", [], false, "an unknown parameter may mean anything"],
    ["/bkt/k?partNumber=1", [], false, "a part is not the object"],
    ["/bkt/k?acl", [], false, "the body is an ACL"],
    ["/bkt/k", COPY, false, "a copy has no body"],
    ["/bkt/k", ["x-amz-write-offset-bytes", "10"], false, "an append is the end of the object"],
  ] as const)("PUT %s with %j carries the object: %p (%s)", (target, headers, expected) => {
    const answer = operation("PUT", target, headers);
    expect(answer.kind === "write" && answer.carriesObject).toBe(expected);
  });

  test("a rename spoils both names, and the bucket when the source cannot be read", () => {
    const rename = (source: string) =>
      operation("PUT", "/bkt/new?renameObject", ["x-amz-rename-source", source]);
    expect(rename("/bkt/old%20one")).toMatchObject({
      invalidates: {
        kind: "objects",
        ids: [
          { bucket: "bkt", key: "new" },
          { bucket: "bkt", key: "old one" },
        ],
      },
    });
    expect(rename("%")).toMatchObject({ invalidates: { kind: "bucket", bucket: "bkt" } });
  });

  test("names its object only when it is about one", () => {
    expect(operation("PUT", "/bkt/k")).toMatchObject({ id: { bucket: "bkt", key: "k" } });
    expect(operation("PUT", "/bkt?policy")).not.toHaveProperty("id");
  });
});

describe("a read", () => {
  test.each([
    [
      "X-Amz-Algorithm=a&X-Amz-Credential=b&X-Amz-Date=c&X-Amz-Expires=9&X-Amz-SignedHeaders=host&X-Amz-Signature=d",
      "a presigned URL",
    ],
    ["X-Amz-Security-Token=t", "with a session token"],
    ["X-Amz-Content-Sha256=UNSIGNED-PAYLOAD", "with a payload hash"],
    ["x-amz-checksum-mode=ENABLED&x-id=GetObject", "as the JavaScript SDK presigns"],
    ["x-amz-signature=d", "in lower case"],
    ["response-content-type=text/plain", "with an override"],
  ])("is plain with ?%s: %s", (query) => {
    expect(operation("GET", `/bkt/k?${query}`)).toMatchObject({ isPlain: true });
    expect(operation("HEAD", `/bkt/k?${query}`)).toMatchObject({ isPlain: true });
  });

  test.each([
    ["versionId=1", "a version"],
    ["x-id=GetObject&versionId=1", "a version among neutral ones"],
    ["partNumber=2", "a part"],
    ["X-Amz-Server-Side-Encryption-Customer-Algorithm=AES256", "a customer key in the URL"],
    ["response-content-foo=x", "an override S3 does not have"],
    ["Response-Content-Type=x", "an override in another case"],
    ["AWSAccessKeyId=a&Signature=b&Expires=1", "a version 2 signature"],
    ["x-amz-website-redirect-location=x", "some other parameter of AWS"],
    ["=", "a parameter without a name"],
    ["%zz", "a parameter that cannot be decoded"],
  ])("is special with ?%s: %s", (query) => {
    expect(operation("GET", `/bkt/k?${query}`)).toMatchObject({ isPlain: false });
  });

  test.each([
    [["x-amz-server-side-encryption-customer-algorithm", "AES256"], "a customer key"],
    [["X-Amz-Expected-Bucket-Owner", "1234"], "an expected owner"],
    [["X-Tigris-Snapshot-Version", "1"], "a snapshot"],
    [["X-Tigris-Consistent", "true"], "a wish for consistency"],
  ])("is special with %j: %s", (headers) => {
    expect(operation("GET", "/bkt/k", headers)).toMatchObject({ isPlain: false });
  });

  test("is plain with the headers every client sends", () => {
    const headers = [
      "Host",
      "h",
      "Authorization",
      "AWS4-HMAC-SHA256 …",
      "X-Amz-Date",
      "20260724T000000Z",
      "x-amz-content-sha256",
      "UNSIGNED-PAYLOAD",
      "x-amz-security-token",
      "t",
      "Range",
      "bytes=0-1",
      "If-None-Match",
      '"a"',
      "x-amz-checksum-mode",
      "ENABLED",
      "x-amz-request-payer",
      "requester",
    ];
    expect(operation("GET", "/bkt/k", headers)).toMatchObject({ isPlain: true, overrides: [] });
  });

  test("carries its overrides in S3's spelling, the first of repeated ones", () => {
    const answer = operation(
      "GET",
      "/bkt/k?response-content-type=text%2Fplain%3B%20charset%3Dutf-8&response-expires=0" +
        "&response-cache-control=no-cache&response-content-language=de&response-content-encoding=gzip" +
        "&response-content-disposition=attachment%3B%20filename%3D%22a%20b%22&response-expires=1",
    );
    expect(answer).toMatchObject({
      isPlain: true,
      overrides: [
        { header: "Content-Type", value: "text/plain; charset=utf-8" },
        { header: "Expires", value: "0" },
        { header: "Cache-Control", value: "no-cache" },
        { header: "Content-Language", value: "de" },
        { header: "Content-Encoding", value: "gzip" },
        { header: "Content-Disposition", value: 'attachment; filename="a b"' },
      ],
    });
  });

  test.each([
    ["response-content-type=a%0d%0aX-Evil:%201", "would end the header"],
    ["response-content-type=%00", "is a control character"],
    ["response-content-disposition=%E6%97%A5", "is not ASCII"],
    ["response-content-type=", "is empty"],
  ])("leaves ?%s to upstream: the value %s", (query) => {
    expect(operation("GET", `/bkt/k?${query}`)).toMatchObject({ isPlain: false, overrides: [] });
  });
});

describe("bucket and key", () => {
  test.each([
    ["/bkt//key", "/key", "the first slash ends the bucket, the second belongs to the key"],
    ["/bkt///", "//", "a key may be slashes only"],
    ["/bkt/a/", "a/", "a trailing slash stays"],
    ["/bkt/.", ".", "a dot is a key"],
    ["/bkt/..", "..", "so are two"],
    ["/bkt/a/../b", "a/../b", "dots are not resolved"],
    ["/bkt/%2e%2e/b", "../b", "encoded or not"],
    ["/bkt/%2F", "/", "an encoded slash is part of the key"],
    ["/bkt/a%252Fb", "a%2Fb", "decoded once only"],
    ["/bkt/a+b", "a+b", "a plus is a plus"],
    ["/bkt/what%3Fx", "what?x", "an encoded question mark is part of the key"],
    ["/b%6Bt/k", "k", "the bucket is decoded too"],
    ["/bkt/%00", "\u0000", "upstream judges odd characters"],
  ])("of %s: key %j, because %s", (rawTarget, key) => {
    expect(operation("GET", rawTarget)).toMatchObject({ id: { bucket: "bkt", key } });
  });

  test.each(AWKWARD_KEYS)("of a key with $name come out as they went in", ({ key }) => {
    for (const method of ["GET", "HEAD"]) {
      const answer = operation(method, `/bkt/${encodePath(key)}`);
      expect(answer).toMatchObject({ kind: "read", id: { bucket: "bkt", key }, isPlain: true });
    }
    expect(operation("PUT", `/bkt/${encodePath(key)}`)).toMatchObject({
      invalidates: { kind: "object", id: { bucket: "bkt", key } },
    });
  });

  test.each(AWKWARD_KEYS)("on a virtual host, with $name", ({ key }) => {
    const target = parseRawTarget(`/${encodePath(key)}`);
    if (target === undefined) throw new Error("not a target");
    const answer = classify("GET", target, new Fields([]), { bucket: "bkt" });
    expect(answer).toMatchObject({ kind: "read", id: { bucket: "bkt", key } });
  });

  test.each([
    ["GET", "/", "ListObjects"],
    ["PUT", "/", "CreateBucket"],
    ["POST", "/?delete", "DeleteObjects"],
    ["GET", "/bkt/k", "GetObject"],
  ])("on a virtual host: %s %s is %s", (method, rawTarget, name) => {
    const target = parseRawTarget(rawTarget);
    if (target === undefined) throw new Error("not a target");
    const answer = classify(method, target, new Fields([]), { bucket: "bkt" });
    expect(answer).toMatchObject({ name });
  });
});

describe("a refusal", () => {
  test.each([
    ["PATCH", "/bkt/k", "GET, HEAD, PUT, DELETE, OPTIONS"],
    ["POST", "/bkt/k", "GET, HEAD, PUT, DELETE, OPTIONS"],
    ["POST", "/bkt/k?unheard-of", "GET, HEAD, PUT, DELETE, OPTIONS"],
    ["TRACE", "/bkt", "GET, HEAD, PUT, POST, DELETE, OPTIONS"],
    ["PUT", "/", "GET, HEAD, OPTIONS"],
    ["DELETE", "/", "GET, HEAD, OPTIONS"],
    ["POST", "/", "GET, HEAD, OPTIONS"],
    ["get", "/bkt/k", "GET, HEAD, PUT, DELETE, OPTIONS"],
    ["", "/bkt", "GET, HEAD, PUT, POST, DELETE, OPTIONS"],
  ])("%j %s is not allowed, and what is is said: %s", (method, rawTarget, allow) => {
    const error = refusal(method, rawTarget);
    expect(error).toMatchObject({ code: "MethodNotAllowed", status: 405 });
    expect(error.headers).toEqual(["Allow", allow]);
  });

  test.each([
    "//key",
    "//",
    "/B/k",
    "/ab/k",
    "/-ab/k",
    "/bkt%2Fk/x",
    "/b_t/k",
    "/b%20t/k",
    "/b..t",
  ])("%s has no valid bucket name", (rawTarget) => {
    expect(refusal("GET", rawTarget)).toMatchObject({ code: "InvalidBucketName", status: 400 });
  });

  test("a key of 1024 bytes is taken, one of 1025 is not, and bytes are counted", () => {
    expect(operation("GET", `/bkt/${"k".repeat(1024)}`).kind).toBe("read");
    expect(refusal("GET", `/bkt/${"k".repeat(1025)}`).code).toBe("KeyTooLongError");
    expect(operation("GET", `/bkt/${"%C3%BC".repeat(512)}`).kind).toBe("read");
    expect(refusal("GET", `/bkt/${"%C3%BC".repeat(512)}x`).code).toBe("KeyTooLongError");
    expect(refusal("PUT", `/bkt/${"%F0%9F%9A%80".repeat(257)}`).code).toBe("KeyTooLongError");
  });
});

// tag-behaviour 3.3.
describe("a bucket name", () => {
  test.each([
    "abc",
    "a1b",
    "my-bucket",
    "my.bucket",
    "123",
    "1.2.3.4",
    "a".repeat(63),
    "a--b",
    "xn--a",
  ])("%s is valid", (name) => {
    expect(isValidBucketName(name)).toBe(true);
  });

  test.each([
    ["", "empty"],
    ["ab", "too short"],
    ["a".repeat(64), "too long"],
    ["Abc", "a capital"],
    ["a_b", "an underscore"],
    ["-ab", "starts with a hyphen"],
    ["ab-", "ends with a hyphen"],
    [".ab", "starts with a dot"],
    ["ab.", "ends with a dot"],
    ["a..b", "two dots"],
    ["a.-b", "a dot before a hyphen"],
    ["a-.b", "a hyphen before a dot"],
    ["a/b", "a slash"],
    ["a b", "a space"],
    ["abc\n", "a newline"],
    ["büro", "not ASCII"],
  ])("%j is not: %s", (name) => {
    expect(isValidBucketName(name)).toBe(false);
  });
});

describe("a bucket of another tenant, as Ceph names it", () => {
  test.each(["/corp:pics/k", "/:pics/k", "/corp%3Apics/k"])(
    "%s is read, and never stored",
    (path) => {
      const bucket = decodeURIComponent(path.split("/")[1] ?? "");
      expect(ask("GET", path)).toMatchObject({
        kind: "read",
        id: { bucket, key: "k" },
        isPlain: false,
      });
    },
  );

  test("is written under both its names", () => {
    expect(ask("PUT", "/corp:pics/k")).toMatchObject({
      bucket: "corp:pics",
      id: undefined,
      carriesObject: false,
      invalidates: { kind: "object", id: { bucket: "pics", key: "k" } },
    });
    for (const [method, rest] of [
      ["PUT", "?policy"],
      ["POST", "?delete"],
    ] as const) {
      expect(ask(method, `/corp:pics${rest}`)).toMatchObject({
        bucket: "corp:pics",
        invalidates: { bucket: "pics" },
      });
    }
  });

  test.each(["/a b:pics/k", "/corp:Pics/k", "/a:b:pics/k", "/corp:/k"])("%s is none", (path) => {
    expect(ask("GET", encodeURI(path))).toMatchObject({ code: "InvalidBucketName" });
  });
});

describe("a copy source", () => {
  test.each([
    ["/bkt/key", { bucket: "bkt", key: "key", versionId: undefined }],
    ["bkt/key", { bucket: "bkt", key: "key", versionId: undefined }],
    ["bkt/a%2Fb%20c+d", { bucket: "bkt", key: "a/b c+d", versionId: undefined }],
    ["bkt%2Fkey", { bucket: "bkt", key: "key", versionId: undefined }],
    ["/bkt/key?versionId=v1", { bucket: "bkt", key: "key", versionId: "v1" }],
    ["/bkt/what%3Fx", { bucket: "bkt", key: "what?x", versionId: undefined }],
    ["/bkt//key", { bucket: "bkt", key: "/key", versionId: undefined }],
  ])("%s", (header, expected) => {
    expect(parseCopySource(header)).toEqual(expected);
  });

  test.each(["", "/", "bkt", "/bkt", "/bkt/", "//key", "bkt/%zz"])(
    "%j names no object",
    (header) => {
      expect(parseCopySource(header)).toBeUndefined();
    },
  );
});
