// CORS of the dev origin: rules are kept as given, a preflight is granted or refused by them, and an
// answer carries the fields for the page that asked, whatever its status.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  CreateBucketCommand,
  DeleteBucketCorsCommand,
  GetBucketCorsCommand,
  PutBucketCorsCommand,
  PutObjectCommand,
  type S3Client,
} from "@aws-sdk/client-s3";
import type { RawAnswer } from "../support/raw-client.ts";
import { TestOrigin } from "../support/test-origin.ts";

const Bucket = "pages";
const RULES = [
  {
    ID: "readers",
    AllowedMethods: ["GET", "HEAD"],
    AllowedOrigins: ["https://*.example"],
    AllowedHeaders: ["x-amz-*", "Range"],
    ExposeHeaders: ["ETag"],
    MaxAgeSeconds: 60,
  },
  { AllowedMethods: ["PUT"], AllowedOrigins: ["*"] },
];

let server: TestOrigin;
let s3: S3Client;

beforeAll(async () => {
  server = await TestOrigin.start();
  s3 = server.s3();
  await s3.send(new CreateBucketCommand({ Bucket, ACL: "public-read" }));
  await s3.send(new PutObjectCommand({ Bucket, Key: "k", Body: "hello" }));
  const CORSConfiguration = { CORSRules: RULES };
  await s3.send(new PutBucketCorsCommand({ Bucket, CORSConfiguration }));
});

afterAll(async () => {
  expect(server.errors).toEqual([]);
  await server[Symbol.asyncDispose]();
});

function ask(method: string, headers: readonly string[], key = "k"): Promise<RawAnswer> {
  return server.anonymous().call({ method, rawTarget: `/${Bucket}/${key}`, headers });
}

test("rules are read back as they were put, until they are deleted", async () => {
  expect((await s3.send(new GetBucketCorsCommand({ Bucket }))).CORSRules).toEqual(RULES);
  await s3.send(new CreateBucketCommand({ Bucket: "other" }));
  await s3.send(
    new PutBucketCorsCommand({ Bucket: "other", CORSConfiguration: { CORSRules: RULES } }),
  );
  await s3.send(new DeleteBucketCorsCommand({ Bucket: "other" }));
  const gone: unknown = await s3
    .send(new GetBucketCorsCommand({ Bucket: "other" }))
    .catch((error: unknown) => error);
  expect(gone).toMatchObject({ name: "NoSuchCORSConfiguration" });
});

test.each([
  ["an unknown method", { AllowedMethods: ["PATCH"], AllowedOrigins: ["*"] }, "InvalidRequest"],
  ["two wildcards", { AllowedMethods: ["GET"], AllowedOrigins: ["*.*"] }, "InvalidRequest"],
  ["no origin", { AllowedMethods: ["GET"], AllowedOrigins: [] }, "MalformedXML"],
])("%s is refused", async (_why, rule, name) => {
  const command = new PutBucketCorsCommand({ Bucket, CORSConfiguration: { CORSRules: [rule] } });
  expect(await s3.send(command).catch((error: unknown) => error)).toMatchObject({ name });
});

describe("a preflight", () => {
  const asks = (origin: string, method: string, headers?: string) => [
    "Origin",
    origin,
    "Access-Control-Request-Method",
    method,
    ...(headers === undefined ? [] : ["Access-Control-Request-Headers", headers]),
  ];

  test.each([
    ["a fitting page", asks("https://a.example", "GET"), 200],
    ["headers that are allowed", asks("https://a.example", "GET", "Range, X-Amz-Date"), 200],
    ["a header that is not", asks("https://a.example", "GET", "x-other"), 403],
    ["a page nobody named", asks("https://a.test", "GET"), 403],
    ["a page that only ends alike", asks("https://example", "GET"), 403],
    ["a method no rule has", asks("https://a.example", "DELETE"), 403],
    ["a later rule", asks("https://a.test", "PUT"), 200],
    ["no origin", ["Access-Control-Request-Method", "GET"], 400],
    ["no method", ["Origin", "https://a.example"], 400],
  ])("with %s", async (_what, headers, status) => {
    expect((await ask("OPTIONS", headers)).status).toBe(status);
  });

  test("says what may be sent and how long that holds", async () => {
    const { fields } = await ask("OPTIONS", asks("https://a.example", "GET", "Range"));
    expect(fields.get("access-control-allow-origin")).toBe("https://a.example");
    expect(fields.get("access-control-allow-methods")).toBe("GET, HEAD");
    expect(fields.get("access-control-allow-headers")).toBe("range");
    expect(fields.get("access-control-max-age")).toBe("60");
    expect(fields.get("access-control-allow-credentials")).toBe("true");
  });
});

test.each([
  ["an object", "GET", "k", 200],
  ["an object that is not there", "GET", "none", 404],
])("the answer about %s carries the fields for the page", async (_what, method, key, status) => {
  const answer = await ask(method, ["Origin", "https://a.example"], key);
  expect(answer.status).toBe(status);
  expect(answer.fields.get("access-control-allow-origin")).toBe("https://a.example");
  expect(answer.fields.get("access-control-expose-headers")).toBe("ETag");
  expect(answer.fields.get("vary")).toStartWith("Origin");
});

test("a rule for every origin names none and asks for no credentials", async () => {
  const { fields } = await ask("PUT", ["Origin", "https://a.test", "Content-Length", "0"]);
  expect(fields.get("access-control-allow-origin")).toBe("*");
  expect(fields.has("access-control-allow-credentials")).toBe(false);
});

test("requests that come from no page, or from another, get none", async () => {
  for (const headers of [[], ["Origin", "https://a.test"]]) {
    expect((await ask("GET", headers)).fields.has("access-control-allow-origin")).toBe(false);
  }
});
