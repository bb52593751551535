// Goal: the oracle itself agrees with the published vectors (tag-behaviour 4.6), so that a
// gateway that agrees with the oracle agrees with Tigris.

import { createDecipheriv, createHash } from "node:crypto";
import { describe, expect, test } from "bun:test";
import { claimOf, ScriptedS3, verify } from "../../support/scripted-s3.ts";
import { ScriptedUpstream, type RecordedRequest } from "../../support/scripted-upstream.ts";

const EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const PATH = "/my-bucket/dir/a%20b%2Bc.txt";

function recorded(target: string, headers: readonly string[]): RecordedRequest {
  return {
    connection: 0,
    method: "GET",
    target,
    headers,
    headBytes: Buffer.alloc(0),
    field: (lowerName) => {
      const at = headers.findIndex(
        (name, index) => index % 2 === 0 && name.toLowerCase() === lowerName,
      );
      return at === -1 ? undefined : headers[at + 1];
    },
    bodySizeBytes: 0,
    bodySha256: undefined,
    body: Buffer.alloc(0),
  };
}

const AUTHORIZATION =
  "AWS4-HMAC-SHA256 Credential=tid_client/20260724/auto/s3/aws4_request, " +
  "SignedHeaders=host;x-amz-content-sha256;x-amz-date, " +
  "Signature=00c177f0d0cb9047d724551b2f26b8806e9f741d5f154d7f2d5629b288394cf3";
const SIGNED = [
  "Host",
  "localhost:8080",
  "X-Amz-Date",
  "20260724T000000Z",
  "X-Amz-Content-Sha256",
  EMPTY_SHA256,
  "Authorization",
  AUTHORIZATION,
];
const PRESIGNED =
  "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=tid_client%2F20260724%2Fauto%2Fs3%2Faws4_request" +
  "&X-Amz-Date=20260724T000000Z&X-Amz-Expires=900&X-Amz-SignedHeaders=host" +
  "&X-Amz-Signature=bb958dd51cde0b6f357720790cbf8a0e46dd8bcf5bd31c249feea1e2f6f2bf08";

describe("the scripted store", () => {
  test.each([
    ["a header signature", PATH, "", SIGNED],
    ["a presigned URL", PATH, PRESIGNED, ["Host", "localhost:8080"]],
  ])("verifies the published vector of %s and nothing near it", (_what, path, query, headers) => {
    const request = recorded(`${path}?${query}`, headers);
    const claim = claimOf(request, query);
    if (claim === undefined) throw new Error("no claim was found");
    expect(verify(request, path, query, claim, "client_secret")).toBe(true);
    expect(verify(request, path, query, claim, "another_secret")).toBe(false);
    expect(verify(request, `${path}x`, query, claim, "client_secret")).toBe(false);
    expect(verify(request, path, `${query}&a=`, claim, "client_secret")).toBe(false);
  });

  test("hands out the client's derived key, sealed for the gateway", async () => {
    await using upstream = await ScriptedUpstream.start();
    const s3 = new ScriptedS3(upstream, {
      proxyAccess: { accessKeyId: "tid_proxy", secretKey: "tsec_test_secret" },
    });
    s3.allow("tid_client", "client_secret", "my-bucket");
    s3.put("my-bucket", "dir/a b+c.txt", "hello");
    const answer = await fetch(`${upstream.url.origin}${PATH}`, {
      headers: Array.from({ length: SIGNED.length / 2 }, (_, at) => [
        SIGNED[at * 2] ?? "",
        SIGNED[at * 2 + 1] ?? "",
      ]),
    });
    expect(s3.refusals).toEqual([]);
    expect(await answer.text()).toBe("hello");
    const sealed = Buffer.from(answer.headers.get("x-tigris-proxy-signing-keys") ?? "", "base64");
    const opener = createDecipheriv(
      "aes-256-gcm",
      createHash("sha256").update("tsec_test_secret").digest(),
      sealed.subarray(0, 12),
    );
    opener.setAAD(Buffer.from("tid_client"));
    opener.setAuthTag(sealed.subarray(-16));
    const text = Buffer.concat([
      opener.update(sealed.subarray(12, -16)),
      opener.final(),
    ]).toString();
    expect(JSON.parse(text)).toEqual([
      {
        date: "20260724",
        region: "auto",
        key: "90f2822624b9c7a26b85ac60e3035c4a8616332c07aa4283177199354823bdbb",
      },
    ]);
  });

  test("refuses whom it was not told to allow, and remembers why", async () => {
    await using upstream = await ScriptedUpstream.start();
    const s3 = new ScriptedS3(upstream);
    s3.put("b", "private", "secret");
    s3.put("b", "public", "news", { isPublic: true });
    expect((await fetch(new URL("/b/private", upstream.url))).status).toBe(403);
    expect(await (await fetch(new URL("/b/public", upstream.url))).text()).toBe("news");
    expect(s3.refusals).toEqual(["GET /b/private: AccessDenied"]);
  });

  test.each([
    [{ range: "bytes=1-2" }, 206, "el"],
    [{ range: "bytes=-2" }, 206, "lo"],
    [{ range: "bytes=9-" }, 416, undefined],
    [{ range: "bytes=0-0,2-2" }, 200, "hello"],
    [{ "if-none-match": '"x", "tag"' }, 304, ""],
    [{ "if-match": '"other"' }, 412, undefined],
    [{ "if-modified-since": "Thu, 01 Jan 2026 00:00:00 GMT" }, 304, ""],
  ])("answers %j with %d", async (headers, status, body) => {
    await using upstream = await ScriptedUpstream.start();
    new ScriptedS3(upstream).put("b", "k", "hello", { isPublic: true, etag: '"tag"' });
    const answer = await fetch(new URL("/b/k", upstream.url), {
      headers: headers as Record<string, string>,
    });
    expect(answer.status).toBe(status);
    const text = await answer.text();
    if (body !== undefined) expect(text).toBe(body);
  });
});
