// Goal: no request and no document of a stranger makes these parsers throw, hang or be fooled.
// Method: text near and far from the grammar; what is written by us is read back unchanged.

import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import { systemClock } from "../../src/base/clock.ts";
import { Fields } from "../../src/http/fields.ts";
import { encodePath, parseRawTarget } from "../../src/http/raw-target.ts";
import { isS3Error, S3_ERRORS, type S3ErrorCode, s3Error } from "../../src/s3/error.ts";
import { bodyIsError, parseErrorXml, renderErrorXml } from "../../src/s3/error-xml.ts";
import { classify, OPERATION_NAMES, parseCopySource } from "../../src/s3/operation.ts";
import {
  parseCompleteRequest,
  parseDeleteRequest,
  parseDeleteResult,
  parseTagging,
  parseXml,
  renderXml,
  rootElementName,
} from "../../src/s3/xml.ts";
import { effort, FUZZ_TIMEOUT_MS } from "./effort.ts";

const markup = fc
  .array(
    fc.oneof(
      fc.constantFrom(
        "<",
        ">",
        "</",
        "/>",
        "<Delete>",
        "</Delete>",
        "<Object>",
        "</Object>",
        "<Key>",
        "</Key>",
        "<Key/>",
        "<a:Error xmlns:a='u'>",
        "</a:Error>",
        "<Code>",
        "</Code>",
        "<!--",
        "-->",
        "<![CDATA[",
        "]]>",
        "<?xml version='1.0'?>",
        "<!DOCTYPE a [<!ENTITY x 'y'>]>",
        "&amp;",
        "&x;",
        "&#10;",
        "&#x0;",
        "&#xFFFFFFFF;",
        "<__proto__>",
        "</__proto__>",
        " a='b'",
        "'",
        '"',
        "\u0000",
        "\uFEFF",
      ),
      fc.string({ maxLength: 4 }),
    ),
    { maxLength: 30 },
  )
  .map((parts) => parts.join(""));

/** Any text whose characters XML can carry: everything but NUL and halves of characters. */
const anyKey = fc
  .string({ unit: "binary", minLength: 1, maxLength: 40 })
  .map((text) => text.replaceAll("\u0000", "x"));

function check<T>(title: string, arbitrary: fc.Arbitrary<T>, property: (value: T) => void): void {
  const run = () => fc.assert(fc.property(arbitrary, property), effort());
  test(title, run, FUZZ_TIMEOUT_MS);
}

describe("a document", () => {
  check("of a stranger is read or refused, never thrown at", markup, (text) => {
    parseXml(text);
    parseDeleteRequest(text);
    parseDeleteResult(text);
    parseCompleteRequest(text);
    parseTagging(text);
    parseErrorXml(text);
    bodyIsError(text);
  });

  check("that is read has the root that is named at its beginning", markup, (text) => {
    const document = parseXml(text);
    if (document !== undefined) expect(rootElementName(text)).toBe(document.root);
  });

  check("of ours carries any key", fc.array(anyKey, { minLength: 1, maxLength: 5 }), (keys) => {
    const text = renderXml("Delete", { Object: keys.map((Key) => ({ Key })), Quiet: true });
    const request = parseDeleteRequest(text);
    expect(request?.quiet).toBe(true);
    expect(request?.objects.map(({ key }) => key)).toEqual(keys);
  });

  const errors = fc.record({
    code: fc.constantFrom(...(Object.keys(S3_ERRORS) as S3ErrorCode[])),
    message: anyKey,
    resource: fc.string({ unit: "binary" }),
  });
  check("about an error carries any message", errors, ({ code, message, resource }) => {
    const text = renderErrorXml(s3Error(code, { message }), {
      resource,
      requestId: "1",
      hostId: "2",
    });
    expect(bodyIsError(text)).toBe(true);
    if (!resource.includes("\u0000")) expect(parseErrorXml(text)).toEqual({ code, message });
  });

  test("that is long and hostile takes no more than its length deserves", () => {
    const pieces = [
      "<a>",
      "<!--",
      "&amp;",
      "&",
      "<a b='",
      "]]>",
      "<![CDATA[",
      "<?",
      " ",
      "<a/>",
      "</a>",
    ];
    const startMs = systemClock.monotonicMs();
    for (const piece of pieces) {
      parseXml(`<Delete>${piece.repeat(Math.floor(200_000 / piece.length))}`);
      rootElementName(piece.repeat(Math.floor(200_000 / piece.length)));
    }
    expect(systemClock.monotonicMs() - startMs).toBeLessThan(5000);
  });
});

describe("a request", () => {
  const method = fc.constantFrom(
    "GET",
    "HEAD",
    "PUT",
    "POST",
    "DELETE",
    "OPTIONS",
    "PATCH",
    "",
    "get",
  );
  const subresource = fc.constantFrom(
    "acl",
    "uploadId=u",
    "uploads",
    "tagging",
    "delete",
    "versionId=v",
    "partNumber=1",
    "policy",
    "x-id=GetObject",
    "response-content-type=a",
    "select",
    "restore",
    "%zz",
    "X-Amz-Signature=s",
  );
  const path = fc
    .array(fc.constantFrom("/", "bkt", "b", "..", ".", "%2F", "%00", "k", "Ü", "-"), {
      maxLength: 8,
    })
    .map((parts) => `/${parts.map((part) => (part === "Ü" ? encodePath(part) : part)).join("")}`);
  const header = fc.constantFrom(
    "x-amz-copy-source",
    "x-tigris-rename",
    "x-amz-rename-source",
    "range",
    "x-amz-write-offset-bytes",
  );
  const request = fc.record({
    method,
    path,
    query: fc.array(subresource, { maxLength: 3 }).map((parts) => parts.join("&")),
    headers: fc.array(
      fc.tuple(header, fc.constantFrom("", "/bkt/k", "%", "bkt/a%20b?versionId=1")),
    ),
  });

  check("has an operation with a known name, or an S3 error", request, (asked) => {
    const target = parseRawTarget(asked.query === "" ? asked.path : `${asked.path}?${asked.query}`);
    if (target === undefined) return;
    const answer = classify(asked.method, target, new Fields(asked.headers.flat()));
    if (isS3Error(answer)) {
      expect(answer.status).toBeGreaterThanOrEqual(400);
      return;
    }
    expect(OPERATION_NAMES).toContain(answer.name);
    // The path of an object id leads back to the very path that was asked for.
    if (answer.kind === "read") expect(`/${answer.id.bucket}/${answer.id.key}`).toBe(target.path);
  });

  check("that may change an object is never taken for a plain read", request, (asked) => {
    const target = parseRawTarget(`${asked.path}?${asked.query}`);
    if (target === undefined) return;
    const answer = classify(asked.method, target, new Fields(asked.headers.flat()));
    if (isS3Error(answer)) return;
    const mayChange =
      asked.method === "PUT" || asked.method === "POST" || asked.method === "DELETE";
    if (mayChange) expect(answer.kind).not.toBe("read");
    else expect(answer.kind).not.toBe("write");
  });

  check("with any copy source gets an answer", fc.string({ unit: "binary" }), (source) => {
    const found = parseCopySource(source);
    if (found !== undefined) expect(found.bucket !== "" && found.key !== "").toBe(true);
  });
});
