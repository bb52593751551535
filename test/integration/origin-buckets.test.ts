// Buckets and listings of the dev origin through the AWS SDK.

import { beforeAll, afterAll, describe, expect, test } from "bun:test";
import {
  CreateBucketCommand,
  DeleteBucketCommand,
  DeleteBucketTaggingCommand,
  DeleteObjectCommand,
  GetBucketLocationCommand,
  GetBucketTaggingCommand,
  GetBucketVersioningCommand,
  HeadBucketCommand,
  ListBucketsCommand,
  ListObjectsCommand,
  ListObjectsV2Command,
  ListObjectVersionsCommand,
  PutBucketTaggingCommand,
  PutObjectCommand,
  type S3Client,
} from "@aws-sdk/client-s3";
import { TestOrigin } from "../support/test-origin.ts";

let server: TestOrigin;
let s3: S3Client;

beforeAll(async () => {
  server = await TestOrigin.start();
  s3 = server.s3();
  await s3.send(new CreateBucketCommand({ Bucket: "unset" }));
});

afterAll(async () => {
  expect(server.errors).toEqual([]);
  await server[Symbol.asyncDispose]();
});

async function failure(promise: Promise<unknown>): Promise<[string, number | undefined]> {
  return promise.then(
    () => ["success", undefined],
    (error: unknown) => {
      const { name, $metadata } = error as { name: string; $metadata: { httpStatusCode: number } };
      return [name, $metadata.httpStatusCode];
    },
  );
}

describe("buckets", () => {
  test("are created, seen, and deleted when empty", async () => {
    const Bucket = "life-cycle";
    expect((await failure(s3.send(new HeadBucketCommand({ Bucket }))))[1]).toBe(404);
    const { Location } = await s3.send(new CreateBucketCommand({ Bucket }));
    expect(Location).toBe("/life-cycle");
    await s3.send(new HeadBucketCommand({ Bucket }));
    const { Buckets } = await s3.send(new ListBucketsCommand({}));
    expect(Buckets?.map(({ Name }) => Name)).toContain(Bucket);
    await s3.send(new PutObjectCommand({ Bucket, Key: "k", Body: "x" }));
    expect(await failure(s3.send(new DeleteBucketCommand({ Bucket })))).toEqual([
      "BucketNotEmpty",
      409,
    ]);
    await s3.send(new DeleteObjectCommand({ Bucket, Key: "k" }));
    await s3.send(new DeleteBucketCommand({ Bucket }));
    expect(await failure(s3.send(new DeleteBucketCommand({ Bucket })))).toEqual([
      "NoSuchBucket",
      404,
    ]);
    expect(await failure(s3.send(new PutObjectCommand({ Bucket, Key: "k", Body: "x" })))).toEqual([
      "NoSuchBucket",
      404,
    ]);
  });

  test("that are one's own already are told apart", async () => {
    const Bucket = "twice";
    await s3.send(new CreateBucketCommand({ Bucket }));
    expect(await failure(s3.send(new CreateBucketCommand({ Bucket })))).toEqual([
      "BucketAlreadyOwnedByYou",
      409,
    ]);
  });

  test.each(["ab", "Upper", "under_score", "-dash", "dot..dot", "192.168.1.1", "a".repeat(64)])(
    "cannot be called %s",
    async (name) => {
      const answer = await server.raw().call({ method: "PUT", rawTarget: `/${name}` });
      expect(answer.status).toBe(400);
      expect(Buffer.from(answer.body).toString()).toContain("<Code>InvalidBucketName</Code>");
    },
  );

  test("have a location, no versions, and tags once they are put", async () => {
    const Bucket = "settings";
    await s3.send(new CreateBucketCommand({ Bucket }));
    expect(
      (await s3.send(new GetBucketLocationCommand({ Bucket }))).LocationConstraint as string,
    ).toBe("auto");
    expect((await s3.send(new GetBucketVersioningCommand({ Bucket }))).Status).toBeUndefined();
    const tags = () => s3.send(new GetBucketTaggingCommand({ Bucket }));
    expect(await failure(tags())).toEqual(["NoSuchTagSet", 404]);
    const TagSet = [{ Key: "a", Value: "ü & <b>" }];
    await s3.send(new PutBucketTaggingCommand({ Bucket, Tagging: { TagSet } }));
    expect((await tags()).TagSet).toEqual(TagSet);
    await s3.send(new DeleteBucketTaggingCommand({ Bucket }));
    expect(await failure(tags())).toEqual(["NoSuchTagSet", 404]);
  });

  test("are listed page by page", async () => {
    await using other = await TestOrigin.start();
    const client = other.s3();
    for (const Bucket of ["one", "two", "three"])
      await client.send(new CreateBucketCommand({ Bucket }));
    const first = await client.send(new ListBucketsCommand({ MaxBuckets: 2 }));
    expect(first.Buckets?.map(({ Name }) => Name)).toEqual(["one", "three"]);
    const { ContinuationToken } = first;
    const rest = await client.send(
      new ListBucketsCommand(
        ContinuationToken === undefined ? {} : { MaxBuckets: 2, ContinuationToken },
      ),
    );
    expect(rest.Buckets?.map(({ Name }) => Name)).toEqual(["two"]);
  });

  test.each([
    ["POST", "/unset/k?select&select-type=2", 501],
    ["PUT", "/unset?policy", 501],
    ["PATCH", "/unset/k", 405],
    ["GET", "/unset?policy", 404],
    ["GET", "/unset?cors", 404],
    ["DELETE", "/unset?policy", 204],
  ])("%s %s is answered with %d, and XML where it fails", async (method, rawTarget, status) => {
    const answer = await server.raw().call({ method, rawTarget });
    expect(answer.status).toBe(status);
    if (status >= 400) expect(Buffer.from(answer.body).toString()).toContain("<Error><Code>");
  });
});

describe("listings", () => {
  const Bucket = "listings";
  const keys = ["a b+c", "dir/1", "dir/2", "dir/sub/3", "ümlaut", "z"];

  beforeAll(async () => {
    await s3.send(new CreateBucketCommand({ Bucket }));
    for (const Key of keys) await s3.send(new PutObjectCommand({ Bucket, Key, Body: Key }));
  });

  test("of version 2 page through everything with tokens", async () => {
    const seen: string[] = [];
    let token: string | undefined;
    do {
      const page = await s3.send(
        new ListObjectsV2Command({
          Bucket,
          MaxKeys: 2,
          ...(token === undefined ? {} : { ContinuationToken: token }),
        }),
      );
      expect(page.KeyCount).toBe(page.Contents?.length as number);
      seen.push(...(page.Contents ?? []).map(({ Key = "" }) => Key));
      token = page.NextContinuationToken;
    } while (token !== undefined);
    expect(seen).toEqual(["a b+c", "dir/1", "dir/2", "dir/sub/3", "z", "ümlaut"]);
  });

  test("of version 2 group by delimiter, start where told, and show owners when asked", async () => {
    const page = await s3.send(
      new ListObjectsV2Command({ Bucket, Delimiter: "/", StartAfter: "a b+c", FetchOwner: true }),
    );
    expect(page.CommonPrefixes).toEqual([{ Prefix: "dir/" }]);
    expect(page.Contents?.map(({ Key }) => Key)).toEqual(["z", "ümlaut"]);
    expect(page.Contents?.[0]?.Owner?.ID).toBe("tagdev");
    const plain = await s3.send(new ListObjectsV2Command({ Bucket, Prefix: "dir/" }));
    expect(plain.Contents?.[0]).toMatchObject({ Key: "dir/1", Size: 5, StorageClass: "STANDARD" });
    expect(plain.Contents?.[0]?.Owner).toBeUndefined();
  });

  test("of version 1 name the next marker when they group", async () => {
    const first = await s3.send(new ListObjectsCommand({ Bucket, Delimiter: "/", MaxKeys: 2 }));
    expect(first.Contents?.map(({ Key }) => Key)).toEqual(["a b+c"]);
    expect(first.CommonPrefixes).toEqual([{ Prefix: "dir/" }]);
    expect(first).toMatchObject({ IsTruncated: true, NextMarker: "dir/" });
    const rest = await s3.send(new ListObjectsCommand({ Bucket, Delimiter: "/", Marker: "dir/" }));
    expect(rest.Contents?.map(({ Key }) => Key)).toEqual(["z", "ümlaut"]);
  });

  test("encode keys when asked to", async () => {
    const page = await s3.send(new ListObjectsV2Command({ Bucket, EncodingType: "url" }));
    expect(page.Contents?.map(({ Key }) => Key)).toContain("a%20b%2Bc");
    expect(page.EncodingType).toBe("url");
  });

  test("hold keys with characters XML would change", async () => {
    const Key = " \r\n\t<&>'\" ";
    await s3.send(new PutObjectCommand({ Bucket, Key, Body: "x" }));
    const page = await s3.send(new ListObjectsV2Command({ Bucket, Prefix: " " }));
    expect(page.Contents?.map((object) => object.Key)).toEqual([Key]);
    await s3.send(new DeleteObjectCommand({ Bucket, Key }));
  });

  test("of versions show every object as the one version it is", async () => {
    const { Versions, IsTruncated } = await s3.send(new ListObjectVersionsCommand({ Bucket }));
    expect(Versions?.map(({ VersionId, IsLatest }) => [VersionId, IsLatest])).toEqual(
      keys.map(() => ["null", true]),
    );
    expect(IsTruncated).toBe(false);
  });

  test.each([
    "max-keys=x",
    "max-keys=-1",
    "encoding-type=morse",
    "list-type=2&continuation-token=x",
  ])("refuse %s", async (query) => {
    const answer = await server.raw().call({ method: "GET", rawTarget: `/${Bucket}?${query}` });
    expect(answer.status).toBe(400);
    expect(Buffer.from(answer.body).toString()).toContain("<Code>InvalidArgument</Code>");
  });
});
