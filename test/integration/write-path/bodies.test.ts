// Issue C, "Bodies are forwarded exactly", transparent mode: what the client sent is what upstream
// gets, whatever the framing; and S3's answers to lengths that are missing or wrong.

import { createHash } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { answer, interim } from "../../support/scripted-upstream.ts";
import { BUCKET, targetOf, World } from "../read-path/world.ts";
import { begin, type Coding, send, type Write } from "./writer.ts";

const SIZES = [0, 1, 8191, 8192, 8193, 100_000, 3_000_000];
const CODINGS: readonly Coding[] = [
  "plain",
  "sha256",
  "signed-chunks",
  "signed-chunks-trailer",
  "unsigned-trailer",
];

let w: World;

beforeAll(async () => {
  w = await World.open();
  await w.teach(w.alice);
});

afterAll(() => w[Symbol.asyncDispose]());

const body = (sizeBytes: number) => Buffer.alloc(sizeBytes, "the quick brown fox ");
const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

function put(more: Partial<Write>): Write {
  return { method: "PUT", target: targetOf("k"), body: body(20_000), ...more };
}

/** What upstream got, of one request. */
async function forwarded(write: Write) {
  w.upstream.requests.length = 0;
  w.upstream.once("*", /./, answer({ headers: ["ETag", '"e"'] }));
  const open = await begin(w, write);
  await open.wire.send(open.framed);
  const seen = await open.answer();
  await open[Symbol.asyncDispose]();
  return { seen, sent: open.framed, got: w.upstream.requests[0], interim: open.interim };
}

describe.each(CODINGS)("a %s body", (coding) => {
  test.each(SIZES)("of %d bytes arrives byte for byte", async (sizeBytes) => {
    const { seen, sent, got } = await forwarded(put({ coding, body: body(sizeBytes) }));
    expect(seen.status).toBe(200);
    expect(got?.bodySha256).toBe(sha256(sent));
    expect(got?.field("content-length")).toBe(String(sent.length));
    expect(got?.field("transfer-encoding")).toBeUndefined();
    expect(w.s3.refusals).toEqual([]);
  });
});

test.each(["plain", "signed-chunks", "unsigned-trailer"] as const)(
  "a part of an upload with a %s body arrives byte for byte",
  async (coding) => {
    const target = `${targetOf("k")}?partNumber=1&uploadId=u`;
    const { seen, sent, got } = await forwarded(put({ target, coding }));
    expect(seen.status).toBe(200);
    expect([got?.target, got?.bodySha256]).toEqual([target, sha256(sent)]);
  },
);

test("a part without a length goes upstream without one", async () => {
  const target = `${targetOf("k")}?partNumber=1&uploadId=u`;
  const { got } = await forwarded(put({ target, framing: "chunked" }));
  expect(got?.field("transfer-encoding")).toBe("chunked");
  expect(got?.bodySha256).toBe(sha256(body(20_000)));
});

describe("Expect: 100-continue", () => {
  test("is upstream's to answer", async () => {
    w.upstream.requests.length = 0;
    w.upstream.once("PUT", targetOf("k"), interim("HTTP/1.1 100 Continue\r\n\r\n", answer()));
    await using open = await begin(w, put({ headers: ["Expect", "100-continue"] }));
    expect((await open.wire.head()).status).toBe(100);
    await open.wire.send(open.framed);
    expect((await open.answer()).status).toBe(200);
    expect(w.upstream.requests[0]?.field("expect")).toBe("100-continue");
    expect(w.upstream.requests[0]?.bodySha256).toBe(sha256(open.framed));
  });

  test("is not answered when upstream refuses first", async () => {
    w.upstream.once("PUT", targetOf("k"), async (call) => {
      await call.writeHead(403, ["Content-Length", "0", "Connection", "close"], "Forbidden");
      call.end();
    });
    await using open = await begin(
      w,
      put({ headers: ["Expect", "100-continue"], framing: "chunked", coding: "signed-chunks" }),
    );
    // The first thing that comes is the refusal, and no permission before it.
    expect((await open.wire.head()).status).toBe(403);
  });
});

describe("a length S3 insists on", () => {
  test.each<[string, Partial<Write>, number, string]>([
    ["none, chunked transfer", { framing: "chunked" }, 411, "MissingContentLength"],
    ["none at all", { framing: "none", body: "" }, 411, "MissingContentLength"],
  ])("%s", async (_what, more, status, code) => {
    w.upstream.requests.length = 0;
    const seen = await send(w, put(more));
    expect(seen.status).toBe(status);
    expect(seen.body.toString()).toContain(`<Code>${code}</Code>`);
    expect(w.upstream.requests).toHaveLength(0);
  });

  test.each([
    ["missing", [], 411, "MissingContentLength"],
    ["no number", ["X-Amz-Decoded-Content-Length", "12a"], 400, "BadContentLength"],
    ["negative", ["X-Amz-Decoded-Content-Length", "-1"], 400, "BadContentLength"],
  ] as const)("of the object in an aws-chunked body: %s", async (_what, headers, status, code) => {
    w.upstream.requests.length = 0;
    const payloadHash = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
    const seen = await send(w, put({ payloadHash, headers, body: "0\r\n\r\n" }));
    expect(seen.status).toBe(status);
    expect(seen.body.toString()).toContain(`<Code>${code}</Code>`);
    expect(w.upstream.requests).toHaveLength(0);
  });
});

describe("Content-Encoding of an aws-chunked body", () => {
  // minio-go leaves aws-chunked out; upstream needs it to take the framing off.
  test.each([
    ["absent", [], "aws-chunked"],
    ["of the object alone", ["Content-Encoding", "gzip"], "aws-chunked,gzip"],
    ["complete", ["Content-Encoding", "aws-chunked"], "aws-chunked"],
    ["complete in another case", ["Content-Encoding", "AWS-Chunked,gzip"], "AWS-Chunked,gzip"],
  ] as const)("%s", async (_what, headers, expected) => {
    w.upstream.requests.length = 0;
    w.upstream.once("PUT", targetOf("k"), answer());
    await using open = await begin(
      w,
      put({
        payloadHash: "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        headers: ["x-amz-decoded-content-length", "0"],
        unsignedHeaders: headers,
        body: "0\r\n\r\n",
      }),
    );
    await open.wire.send(open.framed);
    await open.answer();
    expect(w.upstream.requests[0]?.field("content-encoding")).toBe(expected);
  });
});

describe("requests the original loses are relayed as they are", () => {
  test.each<[string, Write]>([
    [
      "a form upload",
      {
        method: "POST",
        target: `/${BUCKET}`,
        isUnsigned: true,
        body: "--x\r\n...",
        headers: ["Content-Type", "multipart/form-data; boundary=x"],
      },
    ],
    [
      "a select",
      { method: "POST", target: `${targetOf("k")}?select&select-type=2`, body: "<SelectRequest/>" },
    ],
    [
      "a restore",
      { method: "POST", target: `${targetOf("k")}?restore`, body: "<RestoreRequest/>" },
    ],
    [
      "a preflight",
      {
        method: "OPTIONS",
        target: targetOf("k"),
        isUnsigned: true,
        headers: ["Origin", "https://app.example", "Access-Control-Request-Method", "PUT"],
      },
    ],
  ])("%s", async (_what, write) => {
    const { seen, sent, got } = await forwarded(write);
    expect(seen.status).toBe(200);
    expect([got?.method, got?.target]).toEqual([write.method, write.target]);
    expect(got?.bodySha256).toBe(sha256(sent));
    for (let at = 0; at < (write.headers ?? []).length; at += 2) {
      const [name = "", value] = write.headers?.slice(at, at + 2) ?? [];
      expect(got?.field(name.toLowerCase())).toBe(value);
    }
  });
});

test("a presigned PUT arrives as it was signed", async () => {
  const { seen, got } = await forwarded(put({ isPresigned: true }));
  expect(seen.status).toBe(200);
  expect(got?.target).toContain("X-Amz-Signature=");
});
