// Goal: whatever the AWS SDK signs, header form and presigned, for awkward keys, queries and
// metadata, verifies here; and what our own signer makes, the SDK's signer would make too.
// Method: the SDK's client with a request handler that captures instead of sending, so the
// two implementations share nothing but the bytes on the wire.
import {
  CopyObjectCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import type { S3ClientConfig } from "@aws-sdk/client-s3";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";
import { describe, expect, test } from "bun:test";
import { Readable } from "node:stream";
import { bytesSource, iterableSource, readAll } from "../../src/base/byte-source.ts";
import { Fields } from "../../src/http/fields.ts";
import type { RawHeaders } from "../../src/http/fields.ts";
import {
  awsChunkedVariant,
  decodeAwsChunked,
  parseTrailerNames,
} from "../../src/s3/aws-chunked.ts";
import {
  SigningKey,
  deriveSigningKey,
  judgeTime,
  parseAuthorization,
  unsignedAmzFields,
  verifySignature,
} from "../../src/s3/sigv4.ts";
import type { SignatureClaim } from "../../src/s3/sigv4.ts";
import { AWKWARD_KEYS } from "../support/awkward-keys.ts";
import { targetOf } from "../support/inbound.ts";

const CREDENTIALS = { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "wJalr/XUtn+FEMI" };
const REGION = "eu-west-1";

interface Captured {
  readonly method: string;
  readonly rawTarget: string;
  readonly headers: RawHeaders;
  readonly body: unknown;
}

interface HandlerRequest {
  readonly method: string;
  readonly path: string;
  readonly query?: Record<string, string | string[] | null>;
  readonly headers: Record<string, string>;
  readonly body?: unknown;
}

const encode = (text: string): string =>
  encodeURIComponent(text).replaceAll(
    /[!'()*]/g,
    (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`,
  );

/** The target as the SDK's own handlers put it together. */
function rawTargetOf({ path, query = {} }: HandlerRequest): string {
  const pairs = Object.entries(query).flatMap(([name, value]) =>
    (Array.isArray(value) ? value : [value]).map((one) =>
      one === null ? encode(name) : `${encode(name)}=${encode(one)}`,
    ),
  );
  return pairs.length === 0 ? path : `${path}?${pairs.join("&")}`;
}

class Captor {
  captured: Captured | undefined;
  readonly metadata = { handlerProtocol: "http/1.1" };

  async handle(request: HandlerRequest): Promise<never> {
    this.captured = {
      method: request.method,
      rawTarget: rawTargetOf(request),
      headers: Object.entries(request.headers).flatMap(([name, value]) => [
        name,
        Buffer.from(value).toString("latin1"), // as the bytes would arrive
      ]),
      body: request.body,
    };
    throw new Error("captured");
  }
}

function clientOf(captor: Captor, options: S3ClientConfig = {}): S3Client {
  return new S3Client({
    region: REGION,
    endpoint: "http://127.0.0.1:8080",
    forcePathStyle: true,
    credentials: CREDENTIALS,
    maxAttempts: 1,
    requestHandler: captor as never,
    ...options,
  });
}

/** Runs `send` on a client that captures, and hands out what would have gone over the wire. */
async function capture(
  send: (client: S3Client) => Promise<unknown>,
  options?: S3ClientConfig,
): Promise<Captured> {
  const captor = new Captor();
  const failure = await send(clientOf(captor, options)).catch((error: unknown) => error);
  if (captor.captured === undefined) throw failure;
  return captor.captured;
}

function claimOf(request: Captured): SignatureClaim {
  const parsed = parseAuthorization(new Fields(request.headers), targetOf(request.rawTarget));
  if (parsed.kind !== "signed") throw new Error(JSON.stringify(parsed));
  return parsed.claim;
}

function verifies(request: Captured, secret = CREDENTIALS.secretAccessKey): boolean {
  const claim = claimOf(request);
  const fields = new Fields(request.headers);
  const key = new SigningKey(deriveSigningKey(secret, claim.date, claim.region));
  const target = targetOf(request.rawTarget);
  expect(unsignedAmzFields(claim, fields)).toEqual([]);
  expect(judgeTime(claim, claim.signedAtMs + 60_000)).toBe("valid");
  return verifySignature(claim, { method: request.method, target, fields }, key);
}

describe.each(AWKWARD_KEYS)("a key with $name", ({ key }) => {
  const input = { Bucket: "bucket", Key: key };

  test("GET in header form verifies, and only with the right secret", async () => {
    const request = await capture((client) => client.send(new GetObjectCommand(input)));
    expect(targetOf(request.rawTarget).path).toBe(`/bucket/${key}`);
    expect(verifies(request)).toBe(true);
    expect(verifies(request, "another secret")).toBe(false);
  });

  test("a presigned GET verifies as its URL is sent", async () => {
    const url = await getSignedUrl(clientOf(new Captor()), new GetObjectCommand(input), {
      expiresIn: 900,
    });
    // Not through URL, which would resolve dot segments before anything is sent.
    const rawTarget = url.slice("http://127.0.0.1:8080".length);
    const request = {
      method: "GET",
      rawTarget,
      headers: ["Host", "127.0.0.1:8080"],
      body: undefined,
    };
    expect(claimOf(request).expiresSeconds).toBe(900);
    expect(verifies(request)).toBe(true);
    expect(verifies({ ...request, rawTarget: rawTarget.replace("/bucket/", "/bucke2/") })).toBe(
      false,
    );
  });

  test("PUT with metadata verifies", async () => {
    const request = await capture((client) =>
      client.send(
        new PutObjectCommand({
          ...input,
          Body: "body",
          Metadata: { plain: "x", spaces: "  two  spaces ", "with-dash": "a,b;c" },
          ContentType: "text/plain; charset=utf-8",
          CacheControl: "max-age=1",
        }),
      ),
    );
    expect(verifies(request)).toBe(true);
  });
});

const COMMANDS = {
  HeadObject: new HeadObjectCommand({
    Bucket: "b",
    Key: "k",
    IfNoneMatch: '"x"',
    Range: "bytes=0-1",
  }),
  ListObjectsV2: new ListObjectsV2Command({
    Bucket: "b",
    Prefix: "a b/+&=ü",
    Delimiter: "/",
    ContinuationToken: "t==",
    StartAfter: "~!*'()",
  }),
  CopyObject: new CopyObjectCommand({
    Bucket: "b",
    Key: "k",
    CopySource: encodeURIComponent("src/a b/ü+.txt"),
    MetadataDirective: "REPLACE",
  }),
  DeleteObjects: new DeleteObjectsCommand({ Bucket: "b", Delete: { Objects: [{ Key: "k" }] } }),
  UploadPart: new UploadPartCommand({
    Bucket: "b",
    Key: "k",
    UploadId: "a+/=",
    PartNumber: 1,
    Body: "x",
  }),
  GetObject: new GetObjectCommand({
    Bucket: "b",
    Key: "k",
    VersionId: "v/1+",
    ResponseContentDisposition: 'attachment; filename="a b.txt"',
  }),
};

test.each(Object.entries(COMMANDS))(
  "%s with awkward parameters verifies in header form and presigned",
  async (_name, command) => {
    const request = await capture((client) => client.send(command as never));
    expect(verifies(request)).toBe(true);

    const url = await getSignedUrl(clientOf(new Captor()), command as never, { expiresIn: 60 });
    const presigned = { ...request, rawTarget: url.slice("http://127.0.0.1:8080".length) };
    const withoutSignature = new Fields(request.headers);
    const { signedHeaders } = claimOf({ ...presigned, headers: [] });
    const headers = signedHeaders.flatMap((name) => [name, withoutSignature.get(name) ?? ""]);
    expect(verifies({ ...presigned, headers })).toBe(true);
  },
);

test("temporary credentials and virtual-host style verify", async () => {
  const options = {
    credentials: { ...CREDENTIALS, sessionToken: "FQoGZXIvYXdzE//w+==" },
    endpoint: "http://s3.example.com:8080",
    forcePathStyle: false,
  };
  const request = await capture(
    (client) => client.send(new GetObjectCommand({ Bucket: "bucket", Key: "a b" })),
    options,
  );
  expect(request.rawTarget).toStartWith("/a%20b");
  expect(new Fields(request.headers).get("host")).toBe("bucket.s3.example.com:8080");
  expect(claimOf(request).sessionToken).toBe(options.credentials.sessionToken);
  expect(verifies(request)).toBe(true);
});

test.each(["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"] as const)(
  "a streamed PUT with a trailing %s decodes and its checksum is right",
  async (algorithm) => {
    const body = Readable.from(["hello ", "streamed ", "world"].map((text) => Buffer.from(text)));
    const request = await capture(
      (client) =>
        client.send(
          new PutObjectCommand({
            Bucket: "b",
            Key: "k",
            Body: body,
            ContentLength: 20,
            ChecksumAlgorithm: algorithm,
          }),
        ),
      { endpoint: "https://127.0.0.1:8080" },
    );
    expect(verifies(request)).toBe(true);
    const fields = new Fields(request.headers);
    const variant = awsChunkedVariant(fields.get("x-amz-content-sha256"));
    expect(variant).toEqual({ signature: "none", hasTrailer: true });
    if (variant === undefined) return;
    const framed = await readAll(iterableSource(request.body as AsyncIterable<Uint8Array>), 10_000);
    const decoded = decodeAwsChunked(bytesSource(framed), {
      variant,
      decodedLengthBytes: Number(fields.get("x-amz-decoded-content-length")),
      trailerNames: parseTrailerNames(fields.get("x-amz-trailer")),
    });
    expect(Buffer.from(await readAll(decoded, 10_000)).toString()).toBe("hello streamed world");
    expect(decoded.trailers[0]).toBe(`x-amz-checksum-${algorithm.toLowerCase()}`);
  },
);
