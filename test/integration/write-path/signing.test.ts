// Issue C, "Signing mode serves any S3": the client's signature ends at the gateway, and upstream gets
// the same object, key and rights under its own pair; checked by the oracle's own SigV4.

import { createHash } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { AWKWARD_KEYS } from "../../support/awkward-keys.ts";
import { BUCKET, targetOf, World } from "../read-path/world.ts";
import { begin, type Coding, crc32, send, type Write } from "./writer.ts";

/** Rights and identities: what a client is called here, and what it is upstream. */
const CONFIG = `
upstream:
  transparent_proxy: false
credentials:
  pairs:
    - access_key_id: writer
      secret_access_key: writer-secret
      buckets: [bucket]
      rights: [write]
    - access_key_id: reader
      secret_access_key: reader-secret
      rights: [read]
    - access_key_id: mapped
      secret_access_key: mapped-secret
      upstream_access_key_id: upstream
      upstream_secret_access_key: upstream-secret
      session_token: upstream-token
`;

const OWN = { accessKeyId: "tid_gateway", secretAccessKey: "gateway-secret" };
const WRITER = { accessKeyId: "writer", secretAccessKey: "writer-secret" };
const READER = { accessKeyId: "reader", secretAccessKey: "reader-secret" };
const MAPPED = { accessKeyId: "mapped", secretAccessKey: "mapped-secret" };

let folder: string;
let w: World;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tag-signing-"));
  await writeFile(join(folder, "tag.yaml"), CONFIG);
  w = await World.open({
    TAG_CONFIG: join(folder, "tag.yaml"),
    TAG_VIRTUAL_HOST_DOMAIN: "s3.test",
  });
  // Pairs without one of their own upstream are used as they are.
  w.s3.allow("upstream", "upstream-secret", BUCKET);
  w.s3.allow("writer", "writer-secret", BUCKET);
  w.s3.allow("reader", "reader-secret", BUCKET, "other-bucket");
});

afterAll(async () => {
  await w[Symbol.asyncDispose]();
  await rm(folder, { recursive: true });
});

beforeEach(() => {
  w.upstream.requests.length = 0;
});

const body = (sizeBytes: number) => Buffer.alloc(sizeBytes, "the quick brown fox ");

function put(more: Partial<Write> = {}): Write {
  return { method: "PUT", target: targetOf("k"), body: body(20_000), pair: OWN, ...more };
}

/** The object in what upstream got: framing by plain rules, nothing of ours. */
function objectIn(bytes: Buffer, isFramed: boolean): Buffer {
  if (!isFramed) return bytes;
  const parts: Buffer[] = [];
  for (let at = 0; ;) {
    const lineEnd = bytes.indexOf("\r\n", at);
    const sizeBytes = Number.parseInt(bytes.toString("latin1", at, lineEnd), 16);
    if (sizeBytes === 0) return Buffer.concat(parts);
    parts.push(bytes.subarray(lineEnd + 2, lineEnd + 2 + sizeBytes));
    at = lineEnd + 2 + sizeBytes + 2;
  }
}

describe.each<Coding>([
  "plain",
  "sha256",
  "signed-chunks",
  "signed-chunks-trailer",
  "unsigned-trailer",
])("a %s body", (coding) => {
  test.each([0, 1, 8192, 100_000])("of %d bytes is the same object upstream", async (sizeBytes) => {
    const seen = await send(w, put({ coding, body: body(sizeBytes) }));
    expect([seen.status, w.s3.refusals]).toEqual([200, []]);
    const [got] = w.upstream.requests;
    const isFramed = got?.field("content-encoding")?.includes("aws-chunked") === true;
    expect(objectIn(got?.body ?? Buffer.alloc(0), isFramed).equals(body(sizeBytes))).toBe(true);
    expect(got?.field("transfer-encoding")).toBeUndefined();
    expect(got?.field("content-length")).toBe(String(got?.body.length));
    // A checksum is only sent where it can still be wrong: behind the body.
    const hasTrailer = coding.endsWith("trailer");
    expect(isFramed).toBe(hasTrailer);
    if (hasTrailer) {
      expect(got?.body.toString("latin1")).toContain(
        `x-amz-checksum-crc32:${crc32(body(sizeBytes))}`,
      );
    } else {
      expect(got?.field("x-amz-decoded-content-length")).toBeUndefined();
    }
  });
});

describe("a body that is not what was signed", () => {
  test.each<[string, Partial<Write>, string]>([
    [
      "a wrong chunk signature",
      { coding: "signed-chunks", damage: "chunk" },
      "SignatureDoesNotMatch",
    ],
    [
      "a wrong chunk signature before a trailer",
      { coding: "signed-chunks-trailer", damage: "chunk" },
      "SignatureDoesNotMatch",
    ],
    ["a wrong trailing checksum", { coding: "unsigned-trailer", damage: "checksum" }, "BadDigest"],
  ])("%s is refused, and never whole upstream", async (_what, more, code) => {
    w.s3.put(BUCKET, "k", "before");
    const seen = await send(w, put(more));
    expect(seen.body.toString()).toContain(`<Code>${code}</Code>`);
    expect([400, 403]).toContain(seen.status);
    for (const request of w.upstream.requests) expect(request.bodySha256).toBeUndefined();
    expect((await w.client(OWN.accessKeyId, OWN.secretAccessKey).get("k")).body.toString()).toBe(
      "before",
    );
  });

  test("a hash that does not fit goes to upstream, which is told the signed hash", async () => {
    const signed = createHash("sha256").update("another body").digest("hex");
    await send(w, put({ payloadHash: signed }));
    expect(w.upstream.requests[0]?.field("x-amz-content-sha256")).toBe(signed);
  });
});

describe("who may write", () => {
  test.each<[string, Partial<Write>, number, string | undefined]>([
    ["a pair with the right", { pair: WRITER }, 200, undefined],
    ["a pair that may only read", { pair: READER }, 403, "AccessDenied"],
    ["a pair on another bucket", { pair: WRITER, target: "/other-bucket/k" }, 403, "AccessDenied"],
    [
      "a pair nobody knows",
      { pair: { ...OWN, accessKeyId: "stranger" } },
      403,
      "InvalidAccessKeyId",
    ],
    ["a wrong secret", { pair: { ...OWN, secretAccessKey: "no" } }, 403, "SignatureDoesNotMatch"],
    ["nobody", { isUnsigned: true }, 400, "AuthorizationHeaderMalformed"],
  ])("%s", async (_what, more, status, code) => {
    const seen = await send(w, put(more));
    expect(seen.status).toBe(status);
    if (code !== undefined) {
      expect(seen.body.toString()).toContain(`<Code>${code}</Code>`);
      expect(w.upstream.requests).toHaveLength(0);
    }
    expect(w.s3.refusals).toEqual([]);
  });

  test("a refused write leaves the cache alone", async () => {
    w.s3.put(BUCKET, "kept", "old");
    const reader = w.client(READER.accessKeyId, READER.secretAccessKey);
    await w.warm("kept", reader);
    expect((await send(w, put({ target: targetOf("kept"), pair: READER }))).status).toBe(403);
    expect((await reader.get("kept")).xCache).toBe("HIT");
  });
});

test("a pair that is another upstream signs as that, with its session token", async () => {
  expect((await send(w, put({ pair: MAPPED }))).status).toBe(200);
  const [got] = w.upstream.requests;
  expect(got?.field("authorization")).toContain("Credential=upstream/");
  expect(got?.field("x-amz-security-token")).toBe("upstream-token");
  expect(w.s3.refusals).toEqual([]);
});

test("a presigned PUT becomes an ordinary one", async () => {
  expect((await send(w, put({ isPresigned: true }))).status).toBe(200);
  const [got] = w.upstream.requests;
  expect(got?.target).toBe(targetOf("k"));
  expect(got?.field("authorization")).toContain("Credential=tid_gateway/");
  expect(got?.body.equals(body(20_000))).toBe(true);
});

test.each(AWKWARD_KEYS)("a key with $name is the same upstream", async ({ key }) => {
  expect((await send(w, put({ target: targetOf(key), body: "x" }))).status).toBe(200);
  expect(w.s3.refusals).toEqual([]);
  const owner = w.client(OWN.accessKeyId, OWN.secretAccessKey);
  expect((await owner.get(key)).body.toString()).toBe("x");
});

test("a bucket in the client's host goes into the path, or where upstream wants it", async () => {
  const open = await begin(w, put({ target: "/virtual/key", host: `${BUCKET}.s3.test` }));
  await open.wire.send(open.framed);
  expect((await open.answer()).status).toBe(200);
  await open[Symbol.asyncDispose]();
  expect(w.upstream.requests[0]?.target).toBe(`/${BUCKET}/virtual/key`);
  expect(w.s3.refusals).toEqual([]);
  const owner = w.client(OWN.accessKeyId, OWN.secretAccessKey);
  expect((await owner.get("virtual/key")).status).toBe(200);
});

test("a part of an upload without a length goes on without one", async () => {
  const target = `${targetOf("k")}?partNumber=1&uploadId=u`;
  await send(w, put({ target, framing: "chunked" }));
  expect(w.upstream.requests[0]?.field("transfer-encoding")).toBe("chunked");
  expect(w.upstream.requests[0]?.body.equals(body(20_000))).toBe(true);
});

test("a write through one pair is seen by another at once", async () => {
  const owner = w.client(OWN.accessKeyId, OWN.secretAccessKey);
  const reader = w.client(READER.accessKeyId, READER.secretAccessKey);
  w.s3.put(BUCKET, "shared", "old");
  await w.warm("shared", owner);
  await w.warm("shared", reader);
  await send(
    w,
    put({ target: targetOf("shared"), body: "new", pair: WRITER, coding: "signed-chunks" }),
  );
  for (const client of [owner, reader]) {
    expect((await client.get("shared")).body.toString()).toBe("new");
  }
});
