// Multipart uploads of the dev origin through the AWS SDK, and their races through its parts.

import { beforeAll, afterAll, describe, expect, test } from "bun:test";
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  type CompletedPart,
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListPartsCommand,
  PutObjectCommand,
  type S3Client,
  UploadPartCommand,
  UploadPartCopyCommand,
} from "@aws-sdk/client-s3";
import { checksumOf, compositeChecksum } from "../../src/s3/checksum.ts";
import { patternedBytes, TestOrigin } from "../support/test-origin.ts";

const MIB = 2 ** 20;
const Bucket = "multipart";
let server: TestOrigin;
let s3: S3Client;

beforeAll(async () => {
  server = await TestOrigin.start();
  s3 = server.s3();
  await s3.send(new CreateBucketCommand({ Bucket }));
});

afterAll(async () => {
  expect(server.errors).toEqual([]);
  await server[Symbol.asyncDispose]();
});

async function create(Key: string, more: object = {}): Promise<string> {
  const { UploadId = "" } = await s3.send(
    new CreateMultipartUploadCommand({ Bucket, Key, ...more }),
  );
  return UploadId;
}

async function uploadPart(
  Key: string,
  UploadId: string,
  PartNumber: number,
  Body: Uint8Array,
): Promise<CompletedPart> {
  const { ETag } = await s3.send(
    new UploadPartCommand({ Bucket, Key, UploadId, PartNumber, Body }),
  );
  return { PartNumber, ETag };
}

function complete(Key: string, UploadId: string, Parts: CompletedPart[], more: object = {}) {
  return s3.send(
    new CompleteMultipartUploadCommand({
      Bucket,
      Key,
      UploadId,
      MultipartUpload: { Parts },
      ...more,
    }),
  );
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => "success",
    (error: unknown) => (error as Error).name,
  );
}

describe("an upload", () => {
  test("becomes an object of its parts in order, whatever order they came in", async () => {
    const Key = "whole";
    const bytes = patternedBytes(11 * MIB);
    const UploadId = await create(Key, {
      ContentType: "x/y",
      Metadata: { m: "1" },
      Tagging: "t=1",
    });
    const last = await uploadPart(Key, UploadId, 7, bytes.subarray(10 * MIB));
    const first = await uploadPart(Key, UploadId, 1, bytes.subarray(0, 5 * MIB));
    const middle = await uploadPart(Key, UploadId, 3, bytes.subarray(5 * MIB, 10 * MIB));
    const { ETag, Location } = await complete(Key, UploadId, [first, middle, last]);
    expect(ETag).toMatch(/^"[0-9a-f]{32}-3"$/);
    expect(Location).toBe(`${server.endpoint}/${Bucket}/${Key}`);
    const read = await s3.send(new GetObjectCommand({ Bucket, Key }));
    expect(read).toMatchObject({ ETag, ContentType: "x/y", Metadata: { m: "1" }, TagCount: 1 });
    expect(
      Buffer.compare((await read.Body?.transformToByteArray()) ?? bytes.subarray(1), bytes),
    ).toBe(0);
    const part = await s3.send(new GetObjectCommand({ Bucket, Key, PartNumber: 2 }));
    expect(part).toMatchObject({
      PartsCount: 3,
      ContentLength: 5 * MIB,
      ContentRange: `bytes ${5 * MIB}-${10 * MIB - 1}/${11 * MIB}`,
    });
    await part.Body?.transformToByteArray();
    const missing = s3.send(new HeadObjectCommand({ Bucket, Key, PartNumber: 4 }));
    expect(missing).rejects.toMatchObject({ $metadata: { httpStatusCode: 416 } });
    const again = await complete(Key, UploadId, [first, middle, last]);
    expect(again.ETag).toBe(ETag);
  });

  test("is not visible before it is complete, nor after it was aborted", async () => {
    const Key = "aborted";
    const UploadId = await create(Key);
    const part = await uploadPart(Key, UploadId, 1, patternedBytes(10));
    expect(await codeOf(s3.send(new GetObjectCommand({ Bucket, Key })))).toBe("NoSuchKey");
    await s3.send(new AbortMultipartUploadCommand({ Bucket, Key, UploadId }));
    expect(await codeOf(complete(Key, UploadId, [part]))).toBe("NoSuchUpload");
    expect(await codeOf(uploadPart(Key, UploadId, 2, patternedBytes(1)))).toBe("NoSuchUpload");
  });

  test("takes the last version of a part that was sent twice", async () => {
    const Key = "resent";
    const UploadId = await create(Key);
    const old = await uploadPart(Key, UploadId, 1, patternedBytes(10));
    const part = await uploadPart(Key, UploadId, 1, patternedBytes(20));
    expect(await codeOf(complete(Key, UploadId, [old]))).toBe("InvalidPart");
    await complete(Key, UploadId, [part]);
    const { ContentLength } = await s3.send(new HeadObjectCommand({ Bucket, Key }));
    expect(ContentLength).toBe(20);
  });

  test.each([
    { why: "no part", parts: [], code: "MalformedXML" },
    {
      why: "a part that was never sent",
      parts: [{ PartNumber: 9, ETag: "x" }],
      code: "InvalidPart",
    },
    {
      why: "a part with another ETag",
      parts: [{ PartNumber: 1, ETag: '"x"' }],
      code: "InvalidPart",
    },
    { why: "parts out of order", parts: [2, 1], code: "InvalidPartOrder" },
    { why: "a part twice", parts: [1, 1], code: "InvalidPartOrder" },
    { why: "a small part that is not the last", parts: [1, 2], code: "EntityTooSmall" },
  ])("cannot be completed with $why", async ({ parts, code }) => {
    const Key = "incomplete";
    const UploadId = await create(Key);
    const sent = [
      await uploadPart(Key, UploadId, 1, patternedBytes(100)),
      await uploadPart(Key, UploadId, 2, patternedBytes(200)),
    ];
    const named = parts.map((part) => (typeof part === "number" ? (sent[part - 1] ?? {}) : part));
    expect(await codeOf(complete(Key, UploadId, named))).toBe(code);
    const { Parts } = await s3.send(new ListPartsCommand({ Bucket, Key, UploadId }));
    expect(Parts).toHaveLength(2);
  });

  test("honours the size and the conditions given at completion", async () => {
    const Key = "conditions";
    const UploadId = await create(Key);
    const part = await uploadPart(Key, UploadId, 1, patternedBytes(100));
    const tooBig = complete(Key, UploadId, [part], { MpuObjectSize: 101 });
    expect(await codeOf(tooBig)).toBe("InvalidRequest");
    await s3.send(new PutObjectCommand({ Bucket, Key, Body: "there" }));
    const onlyNew = complete(Key, UploadId, [part], { IfNoneMatch: "*" });
    expect(await codeOf(onlyNew)).toBe("PreconditionFailed");
    await complete(Key, UploadId, [part], { MpuObjectSize: 100 });
  });

  test("that is completed twice at once gives both the same answer, or tells one it is over", async () => {
    const Key = "twice";
    const UploadId = await create(Key);
    const part = await uploadPart(Key, UploadId, 1, patternedBytes(6 * MIB));
    const [one, two] = await Promise.all([
      complete(Key, UploadId, [part]),
      complete(Key, UploadId, [part]),
    ]);
    expect(one.ETag).toBe(two.ETag as string);
    const { ContentLength } = await s3.send(new HeadObjectCommand({ Bucket, Key }));
    expect(ContentLength).toBe(6 * MIB);
  });

  test("refuses part numbers outside 1 to 10000", async () => {
    const UploadId = await create("numbers");
    for (const number of ["0", "10001", "x", ""]) {
      const rawTarget = `/${Bucket}/numbers?partNumber=${number}&uploadId=${UploadId}`;
      const { status } = await server
        .raw()
        .call({ method: "PUT", rawTarget, body: patternedBytes(1) });
      expect(status).toBe(400);
    }
  });
});

describe("checksums of uploads", () => {
  test("of the composite kind are the checksum of the parts' checksums", async () => {
    const Key = "composite";
    const bodies = [patternedBytes(5 * MIB), patternedBytes(77)];
    const UploadId = await create(Key, { ChecksumAlgorithm: "SHA256" });
    const parts: CompletedPart[] = [];
    for (const [index, Body] of bodies.entries()) {
      const PartNumber = index + 1;
      const sent = await s3.send(
        new UploadPartCommand({
          Bucket,
          Key,
          UploadId,
          PartNumber,
          Body,
          ChecksumAlgorithm: "SHA256",
        }),
      );
      parts.push({ PartNumber, ETag: sent.ETag, ChecksumSHA256: sent.ChecksumSHA256 });
    }
    const expected = compositeChecksum(
      "SHA256",
      bodies.map((body) => checksumOf("SHA256", body)),
    );
    const done = await complete(Key, UploadId, parts);
    expect(done).toMatchObject({ ChecksumSHA256: expected, ChecksumType: "COMPOSITE" });
    const head = await s3.send(new HeadObjectCommand({ Bucket, Key, ChecksumMode: "ENABLED" }));
    expect(head).toMatchObject({ ChecksumSHA256: expected, ChecksumType: "COMPOSITE" });
  });

  test("of the full-object kind are those of the whole", async () => {
    const Key = "full-object";
    const whole = patternedBytes(5 * MIB + 77);
    const UploadId = await create(Key, {
      ChecksumAlgorithm: "CRC64NVME",
      ChecksumType: "FULL_OBJECT",
    });
    const parts: CompletedPart[] = [];
    for (const [index, Body] of [whole.subarray(0, 5 * MIB), whole.subarray(5 * MIB)].entries()) {
      const PartNumber = index + 1;
      const sent = await s3.send(
        new UploadPartCommand({
          Bucket,
          Key,
          UploadId,
          PartNumber,
          Body,
          ChecksumAlgorithm: "CRC64NVME",
        }),
      );
      parts.push({ PartNumber, ETag: sent.ETag });
    }
    const expected = checksumOf("CRC64NVME", whole);
    const wrong = complete(Key, UploadId, parts, {
      ChecksumCRC64NVME: checksumOf("CRC64NVME", whole.subarray(1)),
    });
    expect(await codeOf(wrong)).toBe("BadDigest");
    const done = await complete(Key, UploadId, parts, { ChecksumCRC64NVME: expected });
    expect(done).toMatchObject({ ChecksumCRC64NVME: expected, ChecksumType: "FULL_OBJECT" });
  });

  test("that S3 does not offer are refused when the upload is created", async () => {
    const made = create("x", { ChecksumAlgorithm: "SHA256", ChecksumType: "FULL_OBJECT" });
    expect(await codeOf(made)).toBe("InvalidRequest");
  });
});

describe("parts from other objects", () => {
  test("are copied whole or by range", async () => {
    const source = patternedBytes(6 * MIB);
    await s3.send(new PutObjectCommand({ Bucket, Key: "src ü", Body: source }));
    const Key = "from-copies";
    const CopySource = `${Bucket}/${encodeURIComponent("src ü")}`;
    const UploadId = await create(Key);
    const copy = async (PartNumber: number, CopySourceRange?: string): Promise<CompletedPart> => {
      const { CopyPartResult } = await s3.send(
        new UploadPartCopyCommand({
          Bucket,
          Key,
          UploadId,
          PartNumber,
          CopySource,
          CopySourceRange,
        }),
      );
      return { PartNumber, ETag: CopyPartResult?.ETag };
    };
    const parts = [await copy(1), await copy(2, "bytes=1000-1999")];
    expect(await codeOf(copy(3, `bytes=0-${6 * MIB}`))).toBe("InvalidRange");
    expect(await codeOf(copy(3, "bytes=5-"))).toBe("InvalidArgument");
    await complete(Key, UploadId, parts);
    const read = await s3.send(new GetObjectCommand({ Bucket, Key }));
    const bytes = (await read.Body?.transformToByteArray()) ?? new Uint8Array(0);
    expect(Buffer.compare(bytes, Buffer.concat([source, source.subarray(1000, 2000)]))).toBe(0);
  });
});

describe("listings", () => {
  test("show uploads page by page, grouped by delimiter", async () => {
    await using other = await TestOrigin.start();
    const client = other.s3();
    await client.send(new CreateBucketCommand({ Bucket }));
    for (const Key of ["a/1", "a/2", "b", "b", "c"]) {
      await client.send(new CreateMultipartUploadCommand({ Bucket, Key }));
    }
    const list = (more: object = {}) =>
      client.send(new ListMultipartUploadsCommand({ Bucket, ...more }));
    expect((await list()).Uploads?.map(({ Key }) => Key)).toEqual(["a/1", "a/2", "b", "b", "c"]);
    const grouped = await list({ Delimiter: "/" });
    expect(grouped.Uploads?.map(({ Key }) => Key)).toEqual(["b", "b", "c"]);
    expect(grouped.CommonPrefixes).toEqual([{ Prefix: "a/" }]);
    const keys: string[] = [];
    let page = await list({ MaxUploads: 1 });
    for (;;) {
      keys.push(...(page.Uploads ?? []).map(({ Key = "" }) => Key));
      if (page.IsTruncated !== true) break;
      const { NextKeyMarker: KeyMarker, NextUploadIdMarker: UploadIdMarker } = page;
      page = await list({ MaxUploads: 1, KeyMarker, UploadIdMarker });
    }
    expect(keys).toEqual(["a/1", "a/2", "b", "b", "c"]);
  });

  test("show parts page by page", async () => {
    const Key = "parts";
    const UploadId = await create(Key);
    for (const number of [1, 2, 5]) await uploadPart(Key, UploadId, number, patternedBytes(number));
    const first = await s3.send(new ListPartsCommand({ Bucket, Key, UploadId, MaxParts: 2 }));
    expect(first.Parts?.map(({ PartNumber, Size }) => [PartNumber, Size])).toEqual([
      [1, 1],
      [2, 2],
    ]);
    expect(first).toMatchObject({ IsTruncated: true, NextPartNumberMarker: "2" });
    const PartNumberMarker = first.NextPartNumberMarker;
    const rest = await s3.send(new ListPartsCommand({ Bucket, Key, UploadId, PartNumberMarker }));
    expect(rest.Parts?.map(({ PartNumber }) => PartNumber)).toEqual([5]);
    expect(rest.IsTruncated).toBe(false);
  });
});
