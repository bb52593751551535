// The dev origin through the AWS SDK: objects, ranges, conditions, copies, tags, checksums.
// What the SDK cannot send goes through the raw client.

import { Readable } from "node:stream";
import { beforeAll, afterAll, describe, expect, test } from "bun:test";
import {
  CopyObjectCommand,
  CreateBucketCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  DeleteObjectTaggingCommand,
  GetObjectAttributesCommand,
  GetObjectCommand,
  GetObjectTaggingCommand,
  HeadObjectCommand,
  PutObjectCommand,
  PutObjectTaggingCommand,
  type S3Client,
} from "@aws-sdk/client-s3";
import { checksumOf, CHECKSUM_ALGORITHMS, checksumField } from "../../src/s3/checksum.ts";
import { AWKWARD_KEYS } from "../support/awkward-keys.ts";
import { RawClient } from "../support/raw-client.ts";
import { bytesOf, patternedBytes, TestOrigin } from "../support/test-origin.ts";

let server: TestOrigin;
let s3: S3Client;
const Bucket = "objects";

beforeAll(async () => {
  server = await TestOrigin.start();
  s3 = server.s3();
  await s3.send(new CreateBucketCommand({ Bucket }));
});

afterAll(async () => {
  expect(server.errors).toEqual([]);
  await server[Symbol.asyncDispose]();
});

/** The S3 code and the status a command fails with. */
async function failure(promise: Promise<unknown>): Promise<{ code: string; status: number }> {
  try {
    await promise;
  } catch (error) {
    const { name, $metadata } = error as { name: string; $metadata: { httpStatusCode: number } };
    return { code: name, status: $metadata.httpStatusCode };
  }
  throw new Error("the command succeeded");
}

async function put(Key: string, text = Key) {
  return s3.send(new PutObjectCommand({ Bucket, Key, Body: text }));
}

async function get(Key: string) {
  const { Body } = await s3.send(new GetObjectCommand({ Bucket, Key }));
  return Body?.transformToString();
}

describe("put, get, head and delete", () => {
  test("what was put comes back with its headers and metadata", async () => {
    const Expires = new Date("2030-01-01T00:00:00Z");
    const given = {
      ContentType: "text/plain; charset=utf-8",
      CacheControl: "max-age=60",
      ContentDisposition: 'attachment; filename="a b.txt"',
      ContentEncoding: "gzip, br",
      ContentLanguage: "de",
      Metadata: { owner: "me", empty: "" },
    };
    const { ETag } = await s3.send(
      new PutObjectCommand({ Bucket, Key: "full", Body: "hello", Expires, ...given }),
    );
    expect(ETag).toBe('"5d41402abc4b2a76b9719d911017c592"');
    const read = await s3.send(new GetObjectCommand({ Bucket, Key: "full" }));
    expect(await read.Body?.transformToString()).toBe("hello");
    expect(read).toMatchObject({ ...given, ETag, ContentLength: 5, AcceptRanges: "bytes" });
    expect(read.ExpiresString).toBe("Tue, 01 Jan 2030 00:00:00 GMT");
    const head = await s3.send(new HeadObjectCommand({ Bucket, Key: "full" }));
    expect(head).toMatchObject({ ...given, ETag, ContentLength: 5 });
    expect(head.LastModified).toEqual(read.LastModified as Date);
  });

  test("an object of no bytes is an object", async () => {
    await put("zero", "");
    const read = await s3.send(new GetObjectCommand({ Bucket, Key: "zero" }));
    expect(read.ContentLength).toBe(0);
    expect(await read.Body?.transformToString()).toBe("");
  });

  test("without a content type an object is binary/octet-stream", async () => {
    await server.raw().put(Bucket, "typeless", bytesOf("x"));
    const { fields } = await server.raw().get(Bucket, "typeless");
    expect(fields.get("content-type")).toBe("binary/octet-stream");
  });

  test("a body of several MiB comes back bit by bit", async () => {
    const Body = patternedBytes(9 * 2 ** 20 + 7);
    await s3.send(new PutObjectCommand({ Bucket, Key: "large", Body }));
    const read = await s3.send(new GetObjectCommand({ Bucket, Key: "large" }));
    const bytes = await read.Body?.transformToByteArray();
    expect(Buffer.compare(bytes ?? new Uint8Array(0), Body)).toBe(0);
  });

  test("replacing takes body, headers and metadata together", async () => {
    await s3.send(new PutObjectCommand({ Bucket, Key: "r", Body: "1", Metadata: { a: "1" } }));
    await s3.send(new PutObjectCommand({ Bucket, Key: "r", Body: "22", Metadata: { b: "2" } }));
    const read = await s3.send(new GetObjectCommand({ Bucket, Key: "r" }));
    expect(read.Metadata).toEqual({ b: "2" });
    expect(await read.Body?.transformToString()).toBe("22");
  });

  test("a missing key is NoSuchKey on GET and a bare 404 on HEAD", async () => {
    const Key = "missing";
    expect(await failure(s3.send(new GetObjectCommand({ Bucket, Key })))).toEqual({
      code: "NoSuchKey",
      status: 404,
    });
    expect((await failure(s3.send(new HeadObjectCommand({ Bucket, Key })))).status).toBe(404);
  });

  test("deleting is done when there is nothing to delete", async () => {
    await put("gone");
    for (let round = 0; round < 2; round += 1) {
      const { $metadata } = await s3.send(new DeleteObjectCommand({ Bucket, Key: "gone" }));
      expect($metadata.httpStatusCode).toBe(204);
    }
    expect((await failure(s3.send(new GetObjectCommand({ Bucket, Key: "gone" })))).status).toBe(
      404,
    );
  });

  test("DeleteObjects deletes, and lists what it deleted unless told to be quiet", async () => {
    await Promise.all(["d1", "d2", "d3"].map((key) => put(key)));
    const loud = await s3.send(
      new DeleteObjectsCommand({ Bucket, Delete: { Objects: [{ Key: "d1" }, { Key: "nope" }] } }),
    );
    expect(loud.Deleted?.map(({ Key }) => Key)).toEqual(["d1", "nope"]);
    const quiet = await s3.send(
      new DeleteObjectsCommand({ Bucket, Delete: { Objects: [{ Key: "d2" }], Quiet: true } }),
    );
    expect(quiet.Deleted).toBeUndefined();
    expect(await get("d3")).toBe("d3");
  });

  test.each(AWKWARD_KEYS)("a key with $name is read back as itself", async ({ key }) => {
    const raw = server.raw();
    const body = bytesOf(`body of ${key}`);
    expect((await raw.put(Bucket, key, body)).status).toBe(200);
    const read = await raw.get(Bucket, key);
    expect(Buffer.from(read.body).toString()).toBe(`body of ${key}`);
  });

  test("a key of 1025 bytes is too long", async () => {
    const answer = await server.raw().put(Bucket, "k".repeat(1025), bytesOf("x"));
    expect(answer.status).toBe(400);
    expect(Buffer.from(answer.body).toString()).toContain("<Code>KeyTooLongError</Code>");
  });

  test("more than 2 KiB of metadata is refused", async () => {
    const Metadata = { big: "x".repeat(2048) };
    const command = new PutObjectCommand({ Bucket, Key: "meta", Body: "x", Metadata });
    expect((await failure(s3.send(command))).code).toBe("MetadataTooLarge");
  });
});

describe("ranges", () => {
  const text = "0123456789";
  beforeAll(async () => void (await put("digits", text)));

  test.each([
    ["bytes=0-3", "0123", "bytes 0-3/10"],
    ["bytes=4-", "456789", "bytes 4-9/10"],
    ["bytes=-3", "789", "bytes 7-9/10"],
    ["bytes=8-100", "89", "bytes 8-9/10"],
    ["bytes=0-0", "0", "bytes 0-0/10"],
  ])("%s is answered with 206", async (Range, part, contentRange) => {
    const read = await s3.send(new GetObjectCommand({ Bucket, Key: "digits", Range }));
    expect(read.$metadata.httpStatusCode).toBe(206);
    expect(read.ContentRange).toBe(contentRange);
    expect(await read.Body?.transformToString()).toBe(part);
    const head = await s3.send(new HeadObjectCommand({ Bucket, Key: "digits", Range }));
    expect(head.$metadata.httpStatusCode).toBe(206);
    expect(head.ContentLength).toBe(part.length);
  });

  test.each(["bytes=5-2", "lines=1-2", "bytes=0-1,3-4"])(
    "%s is the whole object",
    async (Range) => {
      const { status, body } = await server.raw().get(Bucket, "digits", ["Range", Range]);
      expect([status, body.length]).toEqual([200, 10]);
    },
  );

  test("a range behind the end is InvalidRange and names the size", async () => {
    const { status, fields, body } = await server
      .raw()
      .get(Bucket, "digits", ["Range", "bytes=10-"]);
    expect(status).toBe(416);
    expect(fields.get("content-range")).toBe("bytes */10");
    expect(Buffer.from(body).toString()).toContain("<Code>InvalidRange</Code>");
  });

  test("If-Range with another ETag makes it the whole object", async () => {
    const headers = ["Range", "bytes=0-1", "If-Range", '"other"'];
    expect((await server.raw().get(Bucket, "digits", headers)).status).toBe(200);
  });
});

describe("conditions", () => {
  test("reads honour ETags and dates", async () => {
    const { ETag } = await put("c");
    const Key = "c";
    const ask = (condition: object) => s3.send(new GetObjectCommand({ Bucket, Key, ...condition }));
    const future = new Date("2040-01-01");
    const past = new Date("2001-01-01");
    expect((await ask({ IfMatch: ETag })).$metadata.httpStatusCode).toBe(200);
    expect((await failure(ask({ IfMatch: '"x"' }))).code).toBe("PreconditionFailed");
    expect((await failure(ask({ IfNoneMatch: ETag }))).status).toBe(304);
    expect((await ask({ IfNoneMatch: '"x"' })).$metadata.httpStatusCode).toBe(200);
    expect((await failure(ask({ IfModifiedSince: future }))).status).toBe(304);
    expect((await failure(ask({ IfUnmodifiedSince: past }))).status).toBe(412);
  });

  test("a 304 carries what renews a stored answer, and no body", async () => {
    const { ETag = "" } = await s3.send(
      new PutObjectCommand({ Bucket, Key: "c304", Body: "x", CacheControl: "max-age=1" }),
    );
    const answer = await server.raw().get(Bucket, "c304", ["If-None-Match", ETag]);
    expect(answer.status).toBe(304);
    expect(answer.body.length).toBe(0);
    expect(answer.fields.get("etag")).toBe(ETag);
    expect(answer.fields.get("cache-control")).toBe("max-age=1");
    expect(answer.fields.has("last-modified")).toBe(true);
    expect(answer.fields.has("content-type")).toBe(false);
  });

  test("writes can ask for the key to be new, or to be what it was", async () => {
    const Key = "w";
    const write = (condition: object) =>
      s3.send(new PutObjectCommand({ Bucket, Key, Body: "x", ...condition }));
    expect(await failure(write({ IfMatch: '"x"' }))).toEqual({ code: "NoSuchKey", status: 404 });
    const { ETag } = await write({ IfNoneMatch: "*" });
    expect((await failure(write({ IfNoneMatch: "*" }))).code).toBe("PreconditionFailed");
    expect((await failure(write({ IfMatch: '"x"' }))).code).toBe("PreconditionFailed");
    expect((await write({ IfMatch: ETag })).$metadata.httpStatusCode).toBe(200);
  });

  test("of many writers that want the key to be new, one wins", async () => {
    const writes = Array.from({ length: 8 }, (_, index) =>
      s3.send(new PutObjectCommand({ Bucket, Key: "race", Body: `${index}`, IfNoneMatch: "*" })),
    );
    const settled = await Promise.allSettled(writes);
    expect(settled.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    const winner = settled.findIndex(({ status }) => status === "fulfilled");
    expect(await get("race")).toBe(String(winner));
  });

  test("a delete can ask for the object to be what it was", async () => {
    const { ETag } = await put("cd");
    const remove = (IfMatch = "*") =>
      s3.send(new DeleteObjectCommand({ Bucket, Key: "cd", IfMatch }));
    expect((await failure(remove('"x"'))).code).toBe("PreconditionFailed");
    expect((await remove(ETag)).$metadata.httpStatusCode).toBe(204);
  });
});

describe("copies", () => {
  test("carry metadata along, or replace it", async () => {
    await s3.send(
      new PutObjectCommand({
        Bucket,
        Key: "src",
        Body: "bytes",
        ContentType: "text/x",
        Metadata: { a: "1" },
        Tagging: "t=1",
      }),
    );
    const CopySource = `${Bucket}/src`;
    const { CopyObjectResult } = await s3.send(
      new CopyObjectCommand({ Bucket, Key: "copy", CopySource }),
    );
    expect(CopyObjectResult?.ETag).toBe('"4b3a6218bb3e3a7303e8a171a60fcf92"');
    const copied = await s3.send(new GetObjectCommand({ Bucket, Key: "copy" }));
    expect(copied).toMatchObject({ ContentType: "text/x", Metadata: { a: "1" }, TagCount: 1 });
    await s3.send(
      new CopyObjectCommand({
        Bucket,
        Key: "copy",
        CopySource,
        MetadataDirective: "REPLACE",
        TaggingDirective: "REPLACE",
        Metadata: { b: "2" },
      }),
    );
    const replaced = await s3.send(new GetObjectCommand({ Bucket, Key: "copy" }));
    expect(replaced.Metadata).toEqual({ b: "2" });
    expect(replaced.TagCount).toBeUndefined();
    expect(await replaced.Body?.transformToString()).toBe("bytes");
  });

  test("of an object onto itself need something to change", async () => {
    await put("self");
    const CopySource = `/${Bucket}/self`;
    const copy = (more: object) =>
      s3.send(new CopyObjectCommand({ Bucket, Key: "self", CopySource, ...more }));
    expect((await failure(copy({}))).code).toBe("InvalidRequest");
    await copy({ MetadataDirective: "REPLACE", Metadata: { new: "1" } });
    expect(await get("self")).toBe("self");
  });

  test("honour conditions on the source", async () => {
    const { ETag } = await put("cs");
    const copy = (more: object) =>
      s3.send(new CopyObjectCommand({ Bucket, Key: "cs2", CopySource: `${Bucket}/cs`, ...more }));
    for (const refused of [
      { CopySourceIfMatch: '"x"' },
      { CopySourceIfNoneMatch: ETag },
      { CopySourceIfModifiedSince: new Date("2040-01-01") },
      { CopySourceIfUnmodifiedSince: new Date("2001-01-01") },
    ]) {
      expect(await failure(copy(refused))).toEqual({ code: "PreconditionFailed", status: 412 });
    }
    await copy({ CopySourceIfMatch: ETag });
    expect(await get("cs2")).toBe("cs");
  });

  test("of a key with awkward characters find it", async () => {
    const Key = "a b+c%/ü?&";
    await put(Key, "awkward");
    const CopySource = `${Bucket}/${encodeURIComponent(Key)}`;
    await s3.send(new CopyObjectCommand({ Bucket, Key: "awkward-copy", CopySource }));
    expect(await get("awkward-copy")).toBe("awkward");
  });

  test("of nothing are NoSuchKey or NoSuchBucket", async () => {
    const copy = (CopySource: string) =>
      failure(s3.send(new CopyObjectCommand({ Bucket, Key: "x", CopySource })));
    expect((await copy(`${Bucket}/missing`)).code).toBe("NoSuchKey");
    expect((await copy("no-such-bucket/k")).code).toBe("NoSuchBucket");
    expect((await copy("nothing")).code).toBe("InvalidArgument");
  });
});

describe("tags", () => {
  test("are put with the object or after it, and deleted", async () => {
    const Key = "tagged";
    await s3.send(new PutObjectCommand({ Bucket, Key, Body: "x", Tagging: "b=2&a=x%20y+z" }));
    const tags = async () => (await s3.send(new GetObjectTaggingCommand({ Bucket, Key }))).TagSet;
    expect(await tags()).toEqual([
      { Key: "a", Value: "x y z" },
      { Key: "b", Value: "2" },
    ]);
    const TagSet = [{ Key: "c", Value: "" }];
    await s3.send(new PutObjectTaggingCommand({ Bucket, Key, Tagging: { TagSet } }));
    expect(await tags()).toEqual(TagSet);
    expect(await get(Key)).toBe("x");
    await s3.send(new DeleteObjectTaggingCommand({ Bucket, Key }));
    expect(await tags()).toEqual([]);
  });

  test.each([
    {
      why: "eleven tags",
      TagSet: Array.from({ length: 11 }, (_, i) => ({ Key: `${i}`, Value: "" })),
    },
    { why: "a key of 129 characters", TagSet: [{ Key: "k".repeat(129), Value: "" }] },
    { why: "a value of 257 characters", TagSet: [{ Key: "k", Value: "v".repeat(257) }] },
    {
      why: "a key twice",
      TagSet: [
        { Key: "k", Value: "1" },
        { Key: "k", Value: "2" },
      ],
    },
  ])("$why is InvalidTag", async ({ TagSet }) => {
    await put("limits");
    const command = new PutObjectTaggingCommand({
      Bucket,
      Key: "limits",
      Tagging: { TagSet: [...TagSet] },
    });
    expect(await failure(s3.send(command))).toEqual({ code: "InvalidTag", status: 400 });
  });
});

describe("checksums", () => {
  test.each([...CHECKSUM_ALGORITHMS])(
    "%s is verified, stored and shown when asked for",
    async (algorithm) => {
      const Key = `sum-${algorithm}`;
      const body = patternedBytes(100_000);
      const value = checksumOf(algorithm, body);
      const field = `Checksum${algorithm}`;
      // In a trailer, as the SDK does it for streams, then as a header.
      const stream = Readable.from([body.subarray(0, 70_000), body.subarray(70_000)]);
      await s3.send(
        new PutObjectCommand({
          Bucket,
          Key,
          Body: stream,
          ContentLength: body.length,
          ChecksumAlgorithm: algorithm,
        }),
      );
      const head = (mode?: "ENABLED") =>
        s3.send(
          new HeadObjectCommand({
            Bucket,
            Key,
            ...(mode === undefined ? {} : { ChecksumMode: mode }),
          }),
        );
      expect(await head("ENABLED")).toMatchObject({ [field]: value, ChecksumType: "FULL_OBJECT" });
      expect((await head()) as object).not.toHaveProperty(field);
      const again = await server.raw().call({
        method: "PUT",
        rawTarget: RawClient.targetOf(Bucket, Key),
        headers: [checksumField(algorithm), value],
        body,
      });
      expect(again.fields.get(checksumField(algorithm))).toBe(value);
      const attributes = await s3.send(
        new GetObjectAttributesCommand({
          Bucket,
          Key,
          ObjectAttributes: ["Checksum", "ObjectSize"],
        }),
      );
      expect(attributes).toMatchObject({ Checksum: { [field]: value }, ObjectSize: body.length });
    },
  );

  test.each([
    {
      why: "a checksum of other bytes",
      headers: ["x-amz-checksum-crc32", checksumOf("CRC32", bytesOf("no"))],
      code: "BadDigest",
    },
    {
      why: "a checksum that is none",
      headers: ["x-amz-checksum-crc32", "abc"],
      code: "InvalidRequest",
    },
    {
      why: "two checksums",
      headers: [
        "x-amz-checksum-crc32",
        checksumOf("CRC32", bytesOf("body")),
        "x-amz-checksum-sha1",
        checksumOf("SHA1", bytesOf("body")),
      ],
      code: "InvalidRequest",
    },
    {
      why: "the MD5 of other bytes",
      headers: ["Content-MD5", "rL0Y20zC+Fzt72VPzMSk2A=="],
      code: "BadDigest",
    },
    {
      why: "an MD5 that is none",
      headers: ["Content-MD5", "YWJyYWNhZGFicmE="],
      code: "InvalidDigest",
    },
    {
      why: "server-side encryption",
      headers: ["x-amz-server-side-encryption", "AES256"],
      code: "NotImplemented",
    },
    {
      why: "an unknown storage class",
      headers: ["x-amz-storage-class", "PAPER"],
      code: "InvalidStorageClass",
    },
  ])("$why is refused and stores nothing", async ({ headers, code }) => {
    const rawTarget = RawClient.targetOf(Bucket, "refused");
    const answer = await server
      .raw()
      .call({ method: "PUT", rawTarget, headers, body: bytesOf("body") });
    expect(Buffer.from(answer.body).toString()).toContain(`<Code>${code}</Code>`);
    expect((await server.raw().get(Bucket, "refused")).status).toBe(404);
  });
});

describe("answers", () => {
  test("carry the same request id in header and error body", async () => {
    const { fields, body } = await server.raw().get(Bucket, "missing");
    const id = fields.get("x-amz-request-id");
    expect(id).toStartWith("REQUEST");
    expect(Buffer.from(body).toString()).toContain(`<RequestId>${id}</RequestId>`);
  });

  test("replace headers as response- parameters say, for signed requests only", async () => {
    await put("override");
    const read = await s3.send(
      new GetObjectCommand({
        Bucket,
        Key: "override",
        ResponseContentType: "text/x",
        ResponseCacheControl: "no-store",
      }),
    );
    expect(read).toMatchObject({ ContentType: "text/x", CacheControl: "no-store" });
    await s3.send(new PutObjectCommand({ Bucket, Key: "pub", Body: "x", ACL: "public-read" }));
    const rawTarget = `/${Bucket}/pub?response-content-type=text/x`;
    const answer = await server.anonymous().call({ method: "GET", rawTarget });
    expect(answer.status).toBe(400);
  });

  test("name the only version there is, and no other", async () => {
    await put("v");
    const ask = (versionId: string) =>
      server.raw().call({ method: "GET", rawTarget: `/${Bucket}/v?versionId=${versionId}` });
    expect((await ask("null")).status).toBe(200);
    expect((await ask("3HL4kqtJvjVBH40Nrjfkd")).status).toBe(404);
  });
});
