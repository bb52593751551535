// Issue C, "The surface" and "Errors": what is no object read or write reaches upstream as it is, in path
// and virtual-host style; and every answer of the gateway's own is S3's XML, whole.

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { parseErrorXml, type XmlElement } from "./xml.ts";
import { answer, Gate } from "../../support/scripted-upstream.ts";
import { WireClient } from "../../support/wire-client.ts";
import { Fields } from "../../../src/http/fields.ts";
import { type Answer, BUCKET, targetOf, World } from "../read-path/world.ts";
import { ALICE, begin, send, type Write } from "./writer.ts";

const OWN = { accessKeyId: "tid_gateway", secretAccessKey: "gateway-secret" };
const LIST = { headers: ["Content-Type", "application/xml"], body: "<ListBucketResult/>" };

let w: World;
let signing: World;

beforeAll(async () => {
  w = await World.open({ TAG_VIRTUAL_HOST_DOMAIN: "s3.test" });
  await w.teach(w.alice);
  signing = await World.open({ TAG_TRANSPARENT_PROXY: "false" });
});

beforeEach(() => {
  w.upstream.requests.length = 0;
  signing.upstream.requests.length = 0;
});

afterAll(async () => {
  await w[Symbol.asyncDispose]();
  await signing[Symbol.asyncDispose]();
});

/** Bytes as they are, and what came back. */
async function raw(world: World, text: string, method = "GET"): Promise<Answer> {
  await using wire = await WireClient.connect(world.port);
  await wire.send(text);
  const response = await wire.response(method);
  const fields = new Fields(response.headers);
  return {
    status: response.status,
    fields,
    xCache: fields.get("x-cache"),
    body: Buffer.from(response.body),
    isTruncated: response.isTruncated,
  };
}

function expectS3Error(seen: Answer, status: number, code: string, resource?: string): XmlElement {
  expect([seen.status, seen.fields.get("content-type")]).toEqual([status, "application/xml"]);
  expect(seen.fields.get("content-length")).toBe(String(seen.body.length));
  const text = seen.body.toString();
  expect(text.startsWith('<?xml version="1.0" encoding="UTF-8"?>\n<Error>')).toBe(true);
  const error = parseErrorXml(text);
  expect(error["Code"]).toBe(code);
  expect(error["Message"]).toMatch(/\w/);
  expect(error["RequestId"]).toBe(seen.fields.get("x-amz-request-id") ?? "none");
  expect(error["RequestId"]).toMatch(/^[A-Z0-9]{16}$/);
  expect(error["HostId"]).toBe(seen.fields.get("x-amz-id-2") ?? "none");
  if (resource !== undefined) expect(error["Resource"]).toBe(resource);
  return error;
}

describe("an error of the gateway's own is S3 XML, whole", () => {
  test.each<[string, Write, number, string]>([
    [
      "a bucket name no bucket has",
      { method: "GET", target: "/Bad_Bucket/k" },
      400,
      "InvalidBucketName",
    ],
    ["a bucket name too short", { method: "GET", target: "/ab" }, 400, "InvalidBucketName"],
    [
      "a key too long",
      { method: "GET", target: `/${BUCKET}/${"k".repeat(1025)}` },
      400,
      "KeyTooLongError",
    ],
    ["an unknown method", { method: "PATCH", target: targetOf("k") }, 405, "MethodNotAllowed"],
    ["a method the service has not", { method: "DELETE", target: "/" }, 405, "MethodNotAllowed"],
    [
      "POST of an object without a subresource",
      { method: "POST", target: targetOf("k") },
      405,
      "MethodNotAllowed",
    ],
    [
      "an unreadable path",
      { method: "GET", target: `/${BUCKET}/%zz`, isUnsigned: true },
      400,
      "InvalidURI",
    ],
    [
      "an upload without a length",
      { method: "PUT", target: targetOf("k"), body: "x", framing: "chunked" },
      411,
      "MissingContentLength",
    ],
    [
      "a deletion of nothing",
      { method: "POST", target: `/${BUCKET}?delete` },
      400,
      "MissingRequestBodyError",
    ],
  ])("%s", async (_what, write, status, code) => {
    const resource = decodeURIComponent(write.target.split("?")[0]?.replace("%zz", "") ?? "");
    const seen = await send(w, write);
    expectS3Error(seen, status, code, code === "InvalidURI" ? undefined : resource);
    if (status === 405) expect(seen.fields.get("allow")).toMatch(/^[A-Z, ]+$/);
  });

  test.each<[string, Partial<Write>, number, string]>([
    [
      "a wrong signature",
      { pair: { ...OWN, secretAccessKey: "no" } },
      403,
      "SignatureDoesNotMatch",
    ],
    ["an unknown access key", { pair: ALICE }, 403, "InvalidAccessKeyId"],
    ["no signature", { isUnsigned: true }, 400, "AuthorizationHeaderMalformed"],
    [
      "another scheme",
      { isUnsigned: true, headers: ["Authorization", "Bearer x"] },
      400,
      "AuthorizationHeaderMalformed",
    ],
    [
      "SigV4A chunks",
      {
        payloadHash: "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD",
        headers: ["x-amz-decoded-content-length", "1"],
      },
      501,
      "NotImplemented",
    ],
    ["a payload hash of no kind", { payloadHash: "abc" }, 400, "InvalidArgument"],
  ])("signing mode: %s", async (_what, more, status, code) => {
    const seen = await send(signing, {
      method: "PUT",
      target: targetOf("k"),
      body: "x",
      pair: OWN,
      ...more,
    });
    expectS3Error(seen, status, code, `/${BUCKET}/k`);
    expect(signing.upstream.requests).toHaveLength(0);
  });

  test("an expired presigned URL and a skewed clock are told apart", async () => {
    const own = signing.client(OWN.accessKeyId, OWN.secretAccessKey);
    const signedAtMs = signing.clock.nowMs() - 3_600_000;
    const expired = await own.ask({ target: targetOf("k"), isPresigned: true, signedAtMs });
    expectS3Error(expired, 403, "AccessDenied");
    expectS3Error(
      await own.ask({ target: targetOf("k"), signedAtMs }),
      403,
      "RequestTimeTooSkewed",
    );
  });

  test("a range beyond a cached object", async () => {
    w.s3.put(BUCKET, "ranged", "0123456789");
    await w.warm("ranged");
    const seen = await w.alice.get("ranged", ["Range", "bytes=10-"]);
    const error = expectS3Error(seen, 416, "InvalidRange", `/${BUCKET}/ranged`);
    expect(error["ActualObjectSize"]).toBe("10");
    expect(seen.fields.get("content-range")).toBe("bytes */10");
  });

  test("a precondition of a cached object that does not hold", async () => {
    w.s3.put(BUCKET, "conditional", "x");
    await w.warm("conditional");
    const seen = await w.alice.get("conditional", ["If-Match", '"other"']);
    expectS3Error(seen, 412, "PreconditionFailed");
  });

  test("upstream gone, and upstream silent", async () => {
    await using own = await World.open({ TAG_UPSTREAM_HEADER_TIMEOUT: "100ms" });
    own.upstream.once("PUT", targetOf("k"), (call) => call.hang());
    const put: Write = { method: "PUT", target: targetOf("k"), body: "x" };
    expectS3Error(await send(own, put), 504, "GatewayTimeout");
    await own.upstream.refuse();
    expectS3Error(await send(own, put), 502, "BadGateway");
    await own.upstream.listen();
  });

  test("more requests than there are places for", async () => {
    await using own = await World.open({ TAG_MAX_INFLIGHT_REQUESTS: "1" });
    const gate = new Gate();
    own.upstream.on("PUT", targetOf("k"), async (call) => {
      await call.readBody();
      await gate.opened;
      await answer()(call);
    });
    const put: Write = { method: "PUT", target: targetOf("k"), body: "x" };
    const first = send(own, put);
    await own.upstream.received(1);
    expectS3Error(await send(own, put), 503, "SlowDown");
    gate.open();
    expect((await first).status).toBe(200);
  });

  test("for HEAD there is its status and its headers, and no body", async () => {
    const seen = await send(w, { method: "HEAD", target: "/Bad_Bucket/k" });
    expect(seen.status).toBe(400);
    expect(Number(seen.fields.get("content-length"))).toBeGreaterThan(0);
    expect(seen.body).toHaveLength(0);
    expect(seen.fields.get("x-amz-request-id")).toMatch(/^[A-Z0-9]{16}$/);
  });

  test("what upstream says is relayed as it said it", async () => {
    const body = "<Error><Code>NoSuchBucket</Code><RequestId>UP</RequestId></Error>";
    const headers = ["Content-Type", "application/xml", "x-amz-request-id", "UP", "X-Extra", "1"];
    w.upstream.once("PUT", targetOf("k"), answer({ status: 404, headers, body }));
    const seen = await send(w, { method: "PUT", target: targetOf("k"), body: "x" });
    expect([seen.status, seen.body.toString()]).toEqual([404, body]);
    expect([seen.fields.get("x-amz-request-id"), seen.fields.get("x-extra")]).toEqual(["UP", "1"]);
  });
});

describe("everything else goes upstream as it came", () => {
  test.each<[string, Write]>([
    ["ListBuckets", { method: "GET", target: "/" }],
    [
      "ListObjectsV2",
      { method: "GET", target: `/${BUCKET}?list-type=2&prefix=a%2Fb&delimiter=%2F` },
    ],
    ["ListObjects with a trailing slash", { method: "GET", target: `/${BUCKET}/` }],
    ["HeadBucket", { method: "HEAD", target: `/${BUCKET}` }],
    [
      "CreateBucket",
      { method: "PUT", target: "/new-bucket", body: "<CreateBucketConfiguration/>" },
    ],
    ["GetBucketLocation", { method: "GET", target: `/${BUCKET}?location` }],
    ["GetBucketPolicyStatus", { method: "GET", target: `/${BUCKET}?policyStatus` }],
    ["GetObjectAcl", { method: "GET", target: `${targetOf("k")}?acl` }],
    ["GetObjectAttributes", { method: "GET", target: `${targetOf("k")}?attributes` }],
    ["ListParts", { method: "GET", target: `${targetOf("k")}?uploadId=u` }],
    ["an unknown subresource", { method: "GET", target: `/${BUCKET}?something-new=1` }],
    ["a bucket called metrics", { method: "GET", target: "/metrics/?list-type=2" }],
    ["an object in a bucket called health", { method: "PUT", target: "/health/k", body: "x" }],
  ])("%s", async (_what, write) => {
    w.upstream.once("*", /./, answer(LIST));
    const seen = await send(w, write);
    expect([seen.status, seen.xCache]).toEqual([200, undefined]);
    expect(w.upstream.requests.map(({ method, target }) => [method, target])).toEqual([
      [write.method, write.target],
    ]);
  });

  test("where a bucket is, only those hear who may ask", async () => {
    const seen = await send(w, { method: "GET", target: "/not-mine?location" });
    expect(seen.status).toBe(403);
    expect(w.upstream.requests).toHaveLength(1);
    expect(
      (await send(signing, { method: "GET", target: `/${BUCKET}?location`, pair: ALICE })).status,
    ).toBe(403);
    expect(signing.upstream.requests).toHaveLength(0);
  });

  test("a preflight is answered by upstream, with its headers", async () => {
    const headers = ["Access-Control-Allow-Origin", "https://app.example", "Vary", "Origin"];
    for (const world of [w, signing]) {
      world.upstream.once("OPTIONS", targetOf("k"), answer({ headers }));
      const seen = await send(world, {
        method: "OPTIONS",
        target: targetOf("k"),
        isUnsigned: true,
        headers: ["Origin", "https://app.example", "Access-Control-Request-Method", "PUT"],
      });
      expect(seen.status).toBe(200);
      expect(seen.fields.get("access-control-allow-origin")).toBe("https://app.example");
    }
  });
});

describe("virtual-host style", () => {
  const host = `${BUCKET}.s3.test`;

  test("an object is the same one in both styles", async () => {
    w.s3.put(BUCKET, "styled", "old");
    await w.warm("styled");
    await using open = await begin(w, { method: "PUT", target: "/styled", body: "new", host });
    w.upstream.once("PUT", "/styled", answer({ headers: ["ETag", '"n"'] }));
    w.upstream.requests.length = 0;
    await open.wire.send(open.framed);
    expect((await open.answer()).status).toBe(200);
    // The client signed this path, so upstream is asked for it; the bucket is in the host.
    expect(w.upstream.requests[0]?.target).toBe("/styled");
    expect(w.upstream.requests[0]?.field("x-tigris-forwarded-host")).toBe(host);
    w.s3.put(BUCKET, "styled", "new");
    expect((await w.alice.get("styled")).body.toString()).toBe("new");
  });

  test.each([
    ["a port after it", `${BUCKET}.s3.test:8080`],
    ["capitals in it", `${BUCKET}.S3.Test`],
  ])("the host counts with %s", async (_what, spelled) => {
    w.upstream.once("DELETE", "/some/key", answer({ status: 204, framing: "none" }));
    const seen = await send(w, { method: "DELETE", target: "/some/key", host: spelled });
    expect(seen.status).toBe(204);
    expect(w.upstream.requests).toHaveLength(1);
  });

  test("the domain itself, and any other host, is path style", async () => {
    for (const spelled of ["s3.test", "elsewhere.example"]) {
      w.upstream.requests.length = 0;
      w.upstream.once("GET", "/", answer(LIST));
      expect((await send(w, { method: "GET", target: "/", host: spelled })).status).toBe(200);
      expect(w.upstream.requests).toHaveLength(1);
    }
  });

  test("a bucket in the host is created and listed like any other", async () => {
    for (const [method, target] of [
      ["PUT", "/"],
      ["GET", "/?list-type=2"],
    ] as const) {
      w.upstream.once(method, "/", answer(LIST));
      expect((await send(w, { method, target, host })).status).toBe(200);
    }
  });

  test("a bucket name in the host that no bucket has is refused", async () => {
    const seen = await send(w, { method: "GET", target: "/k", host: "Bad_Bucket.s3.test" });
    expectS3Error(seen, 400, "InvalidBucketName");
  });
});

describe("what watches over the gateway", () => {
  test("GET and HEAD of /health answer alike", async () => {
    for (const method of ["GET", "HEAD"]) {
      const seen = await raw(
        w,
        `${method} /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`,
        method,
      );
      expect(seen.status).toBe(200);
    }
  });
});
