// Who may do what at the dev origin: signatures in every form, rights, ACLs, and the protocol
// between a gateway and Tigris. Requests the SDK would never send are written by hand.

import { createDecipheriv } from "node:crypto";
import { beforeAll, afterAll, describe, expect, test } from "bun:test";
import {
  CreateBucketCommand,
  GetObjectAclCommand,
  GetObjectCommand,
  ListBucketsCommand,
  PutBucketAclCommand,
  PutObjectAclCommand,
  PutObjectCommand,
  type S3Client,
} from "@aws-sdk/client-s3";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";
import { systemClock } from "../../src/base/clock.ts";
import { formatAmzDate } from "../../src/http/date.ts";
import type { RawHeaders } from "../../src/http/fields.ts";
import { encodePath } from "../../src/http/raw-target.ts";
import { proxySignature } from "../../src/origin/proxy-protocol.ts";
import {
  deriveSigningKey,
  EMPTY_SHA256,
  type KeyPair,
  presign,
  signerFor,
  signRequest,
  UNSIGNED_PAYLOAD,
} from "../../src/s3/sigv4.ts";
import { chunkedBody } from "../support/aws-chunked.ts";
import type { RawAnswer } from "../support/raw-client.ts";
import { bytesOf, GATEWAY, TAGDEV, TAGOTHER, TestOrigin } from "../support/test-origin.ts";

const Bucket = "access";
const MINUTE_MS = 60_000;
let server: TestOrigin;
let s3: S3Client;

beforeAll(async () => {
  server = await TestOrigin.start();
  s3 = server.s3();
  await s3.send(new CreateBucketCommand({ Bucket }));
  await s3.send(new PutObjectCommand({ Bucket, Key: "k", Body: "secret" }));
});

afterAll(async () => {
  expect(server.errors).toEqual([]);
  await server[Symbol.asyncDispose]();
});

function codeOf(answer: RawAnswer): string {
  return (
    /<Code>(\w+)<\/Code>/.exec(Buffer.from(answer.body).toString())?.[1] ?? String(answer.status)
  );
}

interface Handmade {
  readonly method?: string;
  readonly rawTarget?: string;
  readonly headers?: RawHeaders;
  readonly pair?: KeyPair;
  readonly payloadHash?: string;
  readonly atMs?: number;
  /** The host that is signed, when it is not the one connected to. */
  readonly host?: string;
  /** Added behind the signature. */
  readonly unsigned?: RawHeaders;
  readonly body?: Uint8Array;
}

/** Signs by hand and sends with exactly these headers. */
function send(handmade: Handmade): Promise<RawAnswer> {
  const {
    method = "GET",
    rawTarget = `/${Bucket}/k`,
    headers = [],
    pair = TAGDEV,
    payloadHash = EMPTY_SHA256,
    atMs = systemClock.nowMs(),
    host = `127.0.0.1:${server.port}`,
    unsigned = [],
    body,
  } = handmade;
  const signed = signRequest(
    { method, rawTarget, headers: ["Host", host, ...headers], payloadHash },
    signerFor(pair, "auto", atMs),
    atMs,
  );
  const withoutHost = signed.slice(2);
  return server.anonymous().call({
    method,
    rawTarget,
    headers: [...withoutHost, ...unsigned],
    ...(body === undefined ? {} : { body }),
  });
}

describe("a signature in the header", () => {
  test("opens what the key may read", async () => {
    expect((await send({})).status).toBe(200);
  });

  test.each([
    {
      why: "an unknown key",
      how: { pair: { ...TAGDEV, accessKeyId: "nobody" } },
      code: "InvalidAccessKeyId",
    },
    {
      why: "a wrong secret",
      how: { pair: { ...TAGDEV, secretAccessKey: "x" } },
      code: "SignatureDoesNotMatch",
    },
    {
      why: "a date 16 minutes old",
      how: { atMs: systemClock.nowMs() - 16 * MINUTE_MS },
      code: "RequestTimeTooSkewed",
    },
    {
      why: "a date 16 minutes ahead",
      how: { atMs: systemClock.nowMs() + 16 * MINUTE_MS },
      code: "RequestTimeTooSkewed",
    },
    { why: "another host signed", how: { host: "elsewhere" }, code: "SignatureDoesNotMatch" },
    {
      why: "an unsigned x-amz header",
      how: { unsigned: ["x-amz-acl", "public-read"] },
      code: "AccessDenied",
    },
    { why: "a payload hash that is none", how: { payloadHash: "x" }, code: "InvalidArgument" },
    { why: "no rights", how: { pair: TAGOTHER }, code: "AccessDenied" },
  ] as { why: string; how: Handmade; code: string }[])(
    "is refused with $why",
    async ({ how, code }) => {
      const answer = await send(how);
      expect(codeOf(answer)).toBe(code);
      expect(answer.status).toBe(code === "InvalidArgument" ? 400 : 403);
    },
  );

  test("covers the body", async () => {
    const answer = await send({
      method: "PUT",
      rawTarget: `/${Bucket}/forged`,
      payloadHash: new Bun.CryptoHasher("sha256").update("right").digest("hex"),
      body: bytesOf("wrong"),
    });
    expect(codeOf(answer)).toBe("XAmzContentSHA256Mismatch");
  });

  test.each(["AWS tagdev:c2lnbmF0dXJl", "Bearer token"])(
    "of another scheme (%s) is not supported",
    async (authorization) => {
      const answer = await server.anonymous().get(Bucket, "k", ["Authorization", authorization]);
      expect(codeOf(answer)).toBe("InvalidRequest");
    },
  );
});

describe("a presigned URL", () => {
  test("made by the SDK reads and writes without further credentials", async () => {
    const put = await getSignedUrl(s3, new PutObjectCommand({ Bucket, Key: "pre signed" }), {
      expiresIn: 60,
    });
    expect((await fetch(put, { method: "PUT", body: "by url" })).status).toBe(200);
    const get = await getSignedUrl(s3, new GetObjectCommand({ Bucket, Key: "pre signed" }), {
      expiresIn: 60,
    });
    expect(await (await fetch(get)).text()).toBe("by url");
    expect((await fetch(get.replace("pre%20signed", "k"))).status).toBe(403);
  });

  test.each([
    [59, 200],
    [61, 403],
  ])("of a minute answers after %d seconds with %d", async (ageSeconds, status) => {
    const atMs = systemClock.nowMs() - ageSeconds * 1000;
    const rawTarget = presign(
      {
        method: "GET",
        rawTarget: `/${Bucket}/k`,
        headers: ["Host", `127.0.0.1:${server.port}`],
        expiresSeconds: 60,
      },
      signerFor(TAGDEV, "auto", atMs),
      atMs,
    );
    expect((await server.anonymous().call({ method: "GET", rawTarget })).status).toBe(status);
  });
});

describe("an aws-chunked body", () => {
  const timestampMs = (): number => Math.floor(systemClock.nowMs() / 1000) * 1000;

  /** A PUT whose chunks are signed; `forge` may damage the framed body. */
  async function putChunked(forge: (bytes: Uint8Array) => Uint8Array, isTrailed: boolean) {
    const atMs = timestampMs();
    const chunks = ["first chunk, ", "second chunk"];
    const decoded = chunks.join("");
    const payloadHash = `STREAMING-AWS4-HMAC-SHA256-PAYLOAD${isTrailed ? "-TRAILER" : ""}`;
    const rawTarget = `/${Bucket}/chunked`;
    const headers = [
      "Content-Encoding",
      "aws-chunked",
      "x-amz-decoded-content-length",
      String(decoded.length),
      ...(isTrailed ? ["x-amz-trailer", "x-amz-checksum-sha256"] : []),
    ];
    const signer = signerFor(TAGDEV, "auto", atMs);
    const host = `127.0.0.1:${server.port}`;
    const signed = signRequest(
      { method: "PUT", rawTarget, headers: ["Host", host, ...headers], payloadHash },
      signer,
      atMs,
    );
    const seedSignature = /Signature=(\w+)/.exec(signed.at(-1) ?? "")?.[1] ?? "";
    const key = deriveSigningKey(TAGDEV.secretAccessKey, signer.date, "auto");
    const sum = new Bun.CryptoHasher("sha256").update(decoded).digest("base64");
    const body = chunkedBody({
      chunks,
      signing: {
        key,
        seedSignature,
        timestamp: formatAmzDate(atMs),
        scope: `${signer.date}/auto/s3/aws4_request`,
      },
      ...(isTrailed ? { trailers: [["x-amz-checksum-sha256", sum]] as const } : {}),
    });
    return server
      .anonymous()
      .call({ method: "PUT", rawTarget, headers: signed.slice(2), body: forge(body) });
  }

  test.each([false, true])(
    "with signed chunks is stored without its framing (trailer: %p)",
    async (isTrailed) => {
      expect((await putChunked((bytes) => bytes, isTrailed)).status).toBe(200);
      const read = await s3.send(new GetObjectCommand({ Bucket, Key: "chunked" }));
      expect(await read.Body?.transformToString()).toBe("first chunk, second chunk");
      expect(read.ContentEncoding).toBeUndefined();
    },
  );

  test.each([false, true])("with a forged chunk is refused (trailer: %p)", async (isTrailed) => {
    const forge = (bytes: Uint8Array): Uint8Array => {
      const text = Buffer.from(bytes).toString("latin1").replace("second", "forged");
      return Buffer.from(text, "latin1");
    };
    expect(codeOf(await putChunked(forge, isTrailed))).toBe("SignatureDoesNotMatch");
  });

  test("without its decoded length is refused", async () => {
    const answer = await send({
      method: "PUT",
      rawTarget: `/${Bucket}/chunked`,
      payloadHash: "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
      body: chunkedBody({ chunks: ["x"] }),
    });
    expect(answer.status).toBe(411);
  });
});

describe("rights", () => {
  test("come and go while the origin runs", async () => {
    const read = () => send({ pair: TAGOTHER });
    const write = () =>
      send({
        pair: TAGOTHER,
        method: "PUT",
        rawTarget: `/${Bucket}/o`,
        payloadHash: UNSIGNED_PAYLOAD,
        body: bytesOf("x"),
      });
    expect([(await read()).status, (await write()).status]).toEqual([403, 403]);
    server.origin.grant("tagother", Bucket, "read");
    expect([(await read()).status, (await write()).status]).toEqual([200, 403]);
    server.origin.grant("tagother", Bucket, "write");
    expect([(await read()).status, (await write()).status]).toEqual([200, 200]);
    server.origin.revoke("tagother", Bucket);
    expect([(await read()).status, (await write()).status]).toEqual([403, 403]);
  });

  test("decide which buckets a key sees and may create", async () => {
    const other = server.s3(TAGOTHER);
    expect((await other.send(new ListBucketsCommand({}))).Buckets ?? []).toEqual([]);
    expect(
      (await server.raw(TAGOTHER).call({ method: "PUT", rawTarget: "/new-bucket" })).status,
    ).toBe(403);
    server.origin.grant("tagother", "new-bucket", "create");
    await other.send(new CreateBucketCommand({ Bucket: "new-bucket" }));
    const { Buckets } = await other.send(new ListBucketsCommand({}));
    expect(Buckets?.map(({ Name }) => Name)).toEqual(["new-bucket"]);
    await other.send(new PutObjectCommand({ Bucket: "new-bucket", Key: "mine", Body: "x" }));
    expect(
      codeOf(await server.raw(TAGOTHER).call({ method: "PUT", rawTarget: "/new-bucket" })),
    ).toBe("BucketAlreadyOwnedByYou");
    expect(codeOf(await server.raw(TAGDEV).call({ method: "PUT", rawTarget: "/new-bucket" }))).toBe(
      "BucketAlreadyExists",
    );
  });

  test("can be given by ACL, to a key or to everybody, for a bucket or one object", async () => {
    const bucket = "acl-bucket";
    await s3.send(new CreateBucketCommand({ Bucket: bucket }));
    await s3.send(new PutObjectCommand({ Bucket: bucket, Key: "a", Body: "x" }));
    await s3.send(
      new PutObjectCommand({ Bucket: bucket, Key: "closed", Body: "x", ACL: "private" }),
    );
    const statuses = async (key: string) => [
      (await server.anonymous().get(bucket, key)).status,
      (await server.raw(TAGOTHER).get(bucket, key)).status,
    ];
    expect(await statuses("a")).toEqual([403, 403]);
    await s3.send(new PutObjectAclCommand({ Bucket: bucket, Key: "a", GrantRead: "id=tagother" }));
    expect(await statuses("a")).toEqual([403, 200]);
    await s3.send(new PutObjectAclCommand({ Bucket: bucket, Key: "a", ACL: "public-read" }));
    expect(await statuses("a")).toEqual([200, 200]);
    await s3.send(new PutObjectCommand({ Bucket: bucket, Key: "a", Body: "new" }));
    expect(await statuses("a")).toEqual([403, 403]);
    await s3.send(new PutBucketAclCommand({ Bucket: bucket, ACL: "public-read" }));
    expect(await statuses("a")).toEqual([200, 200]);
    expect(await statuses("closed")).toEqual([403, 403]);
    expect(await statuses("missing")).toEqual([404, 404]);
    const { Grants } = await s3.send(new GetObjectAclCommand({ Bucket: bucket, Key: "closed" }));
    expect(Grants?.map(({ Grantee, Permission }) => [Grantee?.ID, Permission])).toEqual([
      ["tagdev", "FULL_CONTROL"],
    ]);
  });
});

describe("anonymous requests", () => {
  test("are refused where nothing is public, and never write", async () => {
    const anonymous = server.anonymous();
    expect((await anonymous.get(Bucket, "k")).status).toBe(403);
    expect((await anonymous.call({ method: "GET", rawTarget: "/" })).status).toBe(403);
    expect((await anonymous.put(Bucket, "k", bytesOf("x"))).status).toBe(403);
    await s3.send(new PutObjectCommand({ Bucket, Key: "pub", Body: "open", ACL: "public-read" }));
    expect((await anonymous.get(Bucket, "pub")).status).toBe(200);
    expect((await anonymous.put(Bucket, "pub", bytesOf("x"))).status).toBe(403);
    expect((await anonymous.get(Bucket, "pub", ["Cookie", "a=b"])).status).toBe(200);
  });

  test("may name the bucket in the host", async () => {
    await s3.send(
      new PutObjectCommand({ Bucket, Key: "dir/pub", Body: "open", ACL: "public-read" }),
    );
    const answer = await fetch(`${server.endpoint}/dir/pub`, {
      headers: { Host: `${Bucket}.localhost:9000` },
    });
    expect(await answer.text()).toBe("open");
  });
});

describe("the gateway protocol", () => {
  const clientHost = "tag.example:8080";

  interface Forwarded {
    readonly pair?: KeyPair | undefined;
    readonly rawTarget?: string;
    readonly gateway?: KeyPair;
    readonly atMs?: number;
    readonly path?: string;
    readonly rights?: "anonymous";
  }

  /** A client's request to `clientHost`, as a gateway forwards it. */
  function forward({
    pair = TAGDEV,
    rawTarget = `/${Bucket}/${encodePath("forwarded ü+?")}`,
    gateway = GATEWAY,
    atMs = systemClock.nowMs(),
    path = decodeURIComponent(rawTarget),
    rights,
  }: Forwarded): Promise<RawAnswer> {
    const timestamp = String(Math.floor(atMs / 1000));
    const identity = [
      "X-Tigris-Forwarded-Host",
      clientHost,
      "X-Tigris-Proxy-Access-Key",
      gateway.accessKeyId,
      "X-Tigris-Proxy-Timestamp",
      timestamp,
      "X-Tigris-Proxy-Signature",
      proxySignature(gateway.secretAccessKey, { host: clientHost, timestamp, method: "GET", path }),
    ];
    if (rights === "anonymous") {
      return server.anonymous().call({ method: "GET", rawTarget, headers: identity });
    }
    return send({ pair, rawTarget, host: clientHost, unsigned: identity });
  }

  beforeAll(async () => {
    await s3.send(new PutObjectCommand({ Bucket, Key: "forwarded ü+?", Body: "through" }));
  });

  function unwrap(header: string | undefined): unknown {
    const blob = Buffer.from(header ?? "", "base64");
    const key = new Bun.CryptoHasher("sha256").update(GATEWAY.secretAccessKey).digest();
    const decipher = createDecipheriv("aes-256-gcm", key, blob.subarray(0, 12));
    decipher.setAAD(Buffer.from(TAGDEV.accessKeyId));
    decipher.setAuthTag(blob.subarray(-16));
    return JSON.parse(
      decipher.update(blob.subarray(12, -16), undefined, "utf8") + decipher.final("utf8"),
    );
  }

  test("checks the client's signature against the forwarded host and hands out its keys", async () => {
    const answer = await forward({});
    expect(answer.status).toBe(200);
    expect(Buffer.from(answer.body).toString()).toBe("through");
    const today = formatAmzDate(systemClock.nowMs()).slice(0, 8);
    const yesterday = formatAmzDate(systemClock.nowMs() - 86_400_000).slice(0, 8);
    const hex = (date: string) =>
      Buffer.from(deriveSigningKey(TAGDEV.secretAccessKey, date, "auto")).toString("hex");
    expect(unwrap(answer.fields.get("x-tigris-proxy-signing-keys"))).toEqual(
      [today, yesterday].map((date) => ({ date, region: "auto", key: hex(date) })),
    );
  });

  test("hands out no keys to a client that talks to the origin itself", async () => {
    expect((await send({})).fields.has("x-tigris-proxy-signing-keys")).toBe(false);
  });

  test("hands out no keys with a refusal or to an anonymous client", async () => {
    const refused = await forward({ pair: TAGOTHER });
    expect(refused.status).toBe(403);
    expect(refused.fields.has("x-tigris-proxy-signing-keys")).toBe(false);
    await s3.send(new PutObjectCommand({ Bucket, Key: "open", Body: "x", ACL: "public-read" }));
    const anonymous = await forward({ rights: "anonymous", rawTarget: `/${Bucket}/open` });
    expect(anonymous.status).toBe(200);
    expect(anonymous.fields.has("x-tigris-proxy-signing-keys")).toBe(false);
  });

  test.each([
    { why: "an unknown gateway", how: { gateway: { accessKeyId: "tid_x", secretAccessKey: "x" } } },
    { why: "a wrong gateway secret", how: { gateway: { ...GATEWAY, secretAccessKey: "x" } } },
    { why: "a timestamp 16 minutes old", how: { atMs: systemClock.nowMs() - 16 * MINUTE_MS } },
    { why: "a signature over another path", how: { path: `/${Bucket}/other` } },
    { why: "a client signature that is wrong", how: { pair: { ...TAGDEV, secretAccessKey: "x" } } },
  ] as { why: string; how: Forwarded }[])("refuses $why", async ({ how }) => {
    const answer = await forward(how);
    expect(answer.status).toBe(403);
    expect(answer.fields.has("x-tigris-proxy-signing-keys")).toBe(false);
  });

  test("is written down in the request log", async () => {
    await forward({});
    expect(server.origin.requests.records.at(-1)).toMatchObject({
      operation: "GetObject",
      bucket: Bucket,
      key: "forwarded ü+?",
      status: 200,
      accessKeyId: "tagdev",
      isProxied: true,
      bytesSent: 7,
      isComplete: true,
    });
  });
});
