// How a write ended, by everything that can be known of it. In doubt it is unknown.
import { expect, test } from "bun:test";
import { type ErrorCode, GatewayError } from "../../../src/base/errors.ts";
import type { WriteOutcome } from "../../../src/cache/cache.ts";
import {
  deletedOf,
  outcomeOfBody,
  outcomeOfFailure,
  outcomeOfStatus,
} from "../../../src/gateway/write-outcome.ts";
import { AwsChunkedError } from "../../../src/s3/aws-chunked.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

test.each<[number, WriteOutcome]>([
  [200, "succeeded"],
  [204, "succeeded"],
  [307, "rejected"],
  [400, "rejected"],
  [403, "rejected"],
  [404, "rejected"],
  [409, "rejected"],
  [412, "rejected"],
  [500, "unknown"],
  [501, "rejected"],
  [502, "unknown"],
  [503, "unknown"],
  [504, "unknown"],
])("an answer of status %d means the write was %s", (status, outcome) => {
  expect(outcomeOfStatus(status)).toBe(outcome);
});

test.each<[ErrorCode, WriteOutcome]>([
  ["upstream_unreachable", "rejected"],
  ["upstream_connect_timeout", "rejected"],
  ["client_gone", "rejected"],
  ["client_body_invalid", "rejected"],
  ["upstream_reset", "unknown"],
  ["upstream_header_timeout", "unknown"],
  ["upstream_stalled", "unknown"],
  ["upstream_protocol", "unknown"],
  ["shutting_down", "unknown"],
])("a failure %s means the write was %s", (code, outcome) => {
  expect(outcomeOfFailure(new GatewayError(code, "told to fail"))).toBe(outcome);
});

test("a chunk whose signature is wrong means the write was rejected, any other error is unknown", () => {
  expect(outcomeOfFailure(new AwsChunkedError("SignatureDoesNotMatch", "chunk 2"))).toBe(
    "rejected",
  );
  expect(outcomeOfFailure(new Error("bug"))).toBe("unknown");
});

test.each<[string, string, WriteOutcome]>([
  ["a result", "<CopyObjectResult><ETag>x</ETag></CopyObjectResult>", "succeeded"],
  ["blanks and a result", `  \n${" ".repeat(99)}<CompleteMultipartUploadResult/>`, "succeeded"],
  ["nothing", "", "succeeded"],
  ["a refusal", "<Error><Code>InvalidPart</Code></Error>", "rejected"],
  [
    "blanks and a refusal",
    " \n <?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
    "rejected",
  ],
  ["an error of upstream's own", "<Error><Code>InternalError</Code></Error>", "unknown"],
  ["an error without a code", "<Error/>", "unknown"],
])("a 200 with %s", (_what, body, outcome) => {
  expect(outcomeOfBody(bytes(body))).toBe(outcome);
});

test("a 200 too long to be an error document is a success", () => {
  expect(outcomeOfBody(undefined)).toBe("succeeded");
});

const ids = (...keys: string[]) => keys.map((key) => ({ bucket: "bucket", key }));
const result = (...errors: string[]) =>
  bytes(
    `<DeleteResult>${errors.map((key) => `<Error><Key>${key}</Key><Code>AccessDenied</Code></Error>`).join("")}</DeleteResult>`,
  );

test.each([
  ["all without an error", ids("a", "b"), result(), ids("a", "b")],
  ["not the key that failed", ids("a", "b"), result("a"), ids("b")],
  ["a key of which one version failed", ids("a", "a"), result("a"), ids("a", "a")],
  ["not a key of which every version failed", ids("a", "a", "b"), result("a", "a"), ids("b")],
  [
    "all, when the result is cut short",
    ids("a", "b"),
    bytes("<DeleteResult><Error>"),
    ids("a", "b"),
  ],
  ["all, when the result was too long to keep", ids("a"), undefined, ids("a")],
])("DeleteObjects changed %s", (_what, asked, body, changed) => {
  expect(deletedOf(asked, body)).toEqual(changed);
});
