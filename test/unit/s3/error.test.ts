import { describe, expect, test } from "bun:test";
import { isS3Error, S3_ERRORS, type S3ErrorCode, s3Error } from "../../../src/s3/error.ts";
import { bodyIsError, parseErrorXml, renderErrorXml } from "../../../src/s3/error-xml.ts";

const CONTEXT = { resource: "/bkt/a&b<c>", requestId: "REQ1", hostId: "node-1" };

describe("the table of codes", () => {
  // Statuses as in the "Error responses" page of the S3 API reference.
  test.each([
    ["AccessDenied", 403],
    ["BadDigest", 400],
    ["BucketAlreadyExists", 409],
    ["BucketNotEmpty", 409],
    ["IncompleteBody", 400],
    ["InternalError", 500],
    ["InvalidAccessKeyId", 403],
    ["InvalidBucketName", 400],
    ["InvalidRange", 416],
    ["MethodNotAllowed", 405],
    ["MissingContentLength", 411],
    ["NoSuchBucket", 404],
    ["NoSuchKey", 404],
    ["NotImplemented", 501],
    ["PreconditionFailed", 412],
    ["RequestTimeTooSkewed", 403],
    ["SignatureDoesNotMatch", 403],
    ["SlowDown", 503],
    ["ServiceUnavailable", 503],
    ["BadGateway", 502],
    ["GatewayTimeout", 504],
  ] as const)("%s is a %d", (code, status) => {
    expect(s3Error(code).status).toBe(status);
  });

  test("holds only error statuses and a sentence for each", () => {
    for (const { status, message } of Object.values(S3_ERRORS)) {
      expect(status).toBeGreaterThanOrEqual(400);
      expect(status).toBeLessThan(600);
      expect(message).toMatch(/^[A-Z].{7,}$/);
    }
  });
});

describe("an S3 error", () => {
  test("takes status and message from the table, unless it is told better", () => {
    const error = s3Error("InvalidRange", {
      headers: ["Content-Range", "bytes */10"],
      details: { ActualObjectSize: "10" },
    });
    expect(error).toEqual({
      kind: "s3-error",
      code: "InvalidRange",
      status: 416,
      message: "The requested range is not satisfiable",
      headers: ["Content-Range", "bytes */10"],
      details: { ActualObjectSize: "10" },
    });
    expect(s3Error("InvalidRange", { message: "no" }).message).toBe("no");
  });

  test("is told from what it stands in for", () => {
    expect(isS3Error(s3Error("SlowDown"))).toBe(true);
    for (const other of [undefined, null, "s3-error", { kind: "read" }, new Error("x"), 1]) {
      expect(isS3Error(other)).toBe(false);
    }
  });

  test("is rendered with declaration, details, resource and ids", () => {
    const error = s3Error("NoSuchKey", { details: { Key: "a&b<c>" } });
    expect(renderErrorXml(error, CONTEXT)).toBe(
      '<?xml version="1.0" encoding="UTF-8"?>\n' +
        "<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message>" +
        "<Key>a&amp;b&lt;c&gt;</Key><Resource>/bkt/a&amp;b&lt;c&gt;</Resource>" +
        "<RequestId>REQ1</RequestId><HostId>node-1</HostId></Error>",
    );
  });

  test.each(Object.keys(S3_ERRORS) as S3ErrorCode[])("%s is read back from its body", (code) => {
    const body = renderErrorXml(s3Error(code), CONTEXT);
    expect(parseErrorXml(body)).toEqual({ code, message: S3_ERRORS[code].message });
    expect(bodyIsError(body)).toBe(true);
  });

  test("is no XML declaration or element of its own making", () => {
    const evil = s3Error("InvalidArgument", { message: "</Message></Error><x>\u0000\u0001" });
    expect(parseErrorXml(renderErrorXml(evil, { ...CONTEXT, resource: "]]>" }))?.code).toBe(
      "InvalidArgument",
    );
  });
});

describe("a 200 body", () => {
  test.each([
    ["<Error><Code>x</Code></Error>", true, "an error"],
    ['<?xml version="1.0"?>\n<Error>', true, "its beginning is enough"],
    ["  \n\n <?xml version='1.0'?>  \n   <Error >", true, "S3 sends blanks ahead of slow results"],
    ["\uFEFF<Error>", true, "behind a byte order mark"],
    ["<!-- c --><s3:Error xmlns:s3='u'>", true, "with a comment and a prefix"],
    ["<Error/>", true, "empty"],
    ["<CopyObjectResult><ETag/></CopyObjectResult>", false, "a result"],
    ["<Errors>", false, "another name"],
    ["<Result><Error/></Result>", false, "an error inside"],
    ["<error>", false, "names are case-sensitive"],
    ["<Error", false, "cut inside the name, so it may be another"],
    ["Error", false, "no element"],
    ["", false, "nothing"],
    ["<!-- <Error>", false, "an unfinished comment"],
    ["<?xml <Error>", false, "an unfinished declaration"],
  ])("%j is an error: %p (%s)", (body, expected) => {
    expect(bodyIsError(body)).toBe(expected);
  });

  test("of many blanks is judged in one pass", () => {
    expect(bodyIsError(`${" \n".repeat(500_000)}<Error>`)).toBe(true);
    expect(bodyIsError(`${"<!---->".repeat(100_000)}<Error>`)).toBe(true);
  });
});
