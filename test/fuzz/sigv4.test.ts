// Goal: no credentials of a stranger make the SigV4 code throw or hang, what we sign verifies
// whatever it is made of, and nothing verifies that was changed after signing.
// Method: text near and far from the grammar; a slow, obvious canonical request on node:crypto.

import { createHash, createHmac } from "node:crypto";
import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import { Fields } from "../../src/http/fields.ts";
import type { RawHeaders } from "../../src/http/fields.ts";
import { encodePath, encodeQueryComponent, parseRawTarget } from "../../src/http/raw-target.ts";
import {
  EMPTY_SHA256,
  SigningKey,
  deriveSigningKey,
  judgeTime,
  parseAuthorization,
  presign,
  signRequest,
  signerFor,
  unsignedAmzFields,
  verifySignature,
} from "../../src/s3/sigv4.ts";
import { targetOf } from "../support/inbound.ts";
import { FUZZ_TIMEOUT_MS, effort } from "./effort.ts";

const NOW_MS = Date.UTC(2026, 6, 24);
const PAIR = { accessKeyId: "tid_client", secretAccessKey: "client_secret" };
const SIGNER = signerFor(PAIR, "auto", NOW_MS);
const KEY_BYTES = deriveSigningKey(PAIR.secretAccessKey, "20260724", "auto");

const piece = fc.constantFrom(
  "AWS4-HMAC-SHA256 ",
  "AWS4-HMAC-SHA256",
  "Credential=",
  "SignedHeaders=",
  "Signature=",
  "a/20260724/auto/s3/aws4_request",
  "host;x-amz-date",
  "0".repeat(64),
  ",",
  ", ",
  "=",
  "/",
  ";",
  " ",
);
/** What is right in its place more often than not, so that the others are looked at too. */
function mostly(right: string, ...wrong: readonly string[]): fc.Arbitrary<string> {
  return fc.oneof(
    { weight: 8, arbitrary: fc.constant(right) },
    { weight: 1, arbitrary: fc.oneof(fc.constantFrom(right + right, ...wrong), fc.string()) },
  );
}

const credential = mostly(
  "a/20260724/auto/s3/aws4_request",
  "a/b/20260724/auto/s3/aws4_request",
  "/20260724/auto/s3/aws4_request",
  "a/20260725/auto/s3/aws4_request",
  "a/20260724/auto/s3",
);
const signedHeaders = mostly(
  "host;x-amz-date",
  "host",
  "host;x-amz-date;x-amz-meta-a",
  "host;host;x-amz-date",
  "x-amz-date;host",
  "Host;x-amz-date",
  "host;;x-amz-date",
);
const signature = mostly("0".repeat(64), "F".repeat(64), "0".repeat(63), "0".repeat(65));

const nearAuthorizations = fc
  .tuple(
    mostly("AWS4-HMAC-SHA256 ", "AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256 ", "AWS a:b"),
    fc.shuffledSubarray(["Credential", "SignedHeaders", "Signature"], { minLength: 3 }),
    credential,
    signedHeaders,
    signature,
    mostly(",", ", ", ";", " ,\t", ",,"),
  )
  .map(([scheme, names, scope, signed, hash, separator]) => {
    const values: Record<string, string> = {
      Credential: scope,
      SignedHeaders: signed,
      Signature: hash,
    };
    return scheme + names.map((name) => `${name}=${values[name]}`).join(separator);
  });
const authorizations = fc.oneof(
  nearAuthorizations,
  fc
    .array(fc.oneof({ weight: 5, arbitrary: piece }, fc.string({ maxLength: 4 })), {
      maxLength: 14,
    })
    .map((parts) => parts.join("")),
);

const parameter = fc.oneof(
  fc.constantFrom(
    "X-Amz-Algorithm=AWS4-HMAC-SHA256",
    "X-Amz-Credential=a%2F20260724%2Fauto%2Fs3%2Faws4_request",
    "X-Amz-Date=20260724T000000Z",
    "X-Amz-Expires=60",
    "X-Amz-SignedHeaders=host",
    `X-Amz-Signature=${"0".repeat(64)}`,
    "X-Amz-Security-Token=t",
    "X-Amz-Expires",
    "x-amz-date=1",
    "Signature=%",
    "%00=%ff",
    "a+b=c+d",
  ),
  fc.stringMatching(/^[!-~]{0,6}$/),
);
const nearPresigned = fc
  .tuple(
    mostly("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"),
    credential,
    mostly("20260724T000000Z", "20260725T000000Z", "20260724"),
    mostly("60", "0", "-1", "604801", "1e9", "9".repeat(20)),
    signedHeaders,
    signature,
  )
  .map(([algorithm, scope, date, expires, signed, hash]) => [
    `X-Amz-Algorithm=${algorithm}`,
    `X-Amz-Credential=${encodeQueryComponent(scope.toWellFormed())}`,
    `X-Amz-Date=${encodeQueryComponent(date.toWellFormed())}`,
    `X-Amz-Expires=${encodeQueryComponent(expires.toWellFormed())}`,
    `X-Amz-SignedHeaders=${encodeQueryComponent(signed.toWellFormed())}`,
    `X-Amz-Signature=${hash}`,
  ]);
const someParameters = fc.array(parameter, { maxLength: 9 });
const queryParameters = fc.oneof(
  someParameters,
  fc
    .tuple(nearPresigned, fc.array(parameter, { maxLength: 2 }))
    .chain(([right, more]) =>
      fc.shuffledSubarray([...right, ...more], { minLength: right.length + more.length - 1 }),
    ),
);
const targets = fc
  .tuple(fc.stringMatching(/^[!-~]{0,8}$/), fc.oneof(someParameters, queryParameters))
  .map(([path, parameters]) => `/${path}?${parameters.join("&")}`);

const latin1 = fc.string({
  unit: fc.integer({ min: 0x20, max: 0xff }).map((code) => String.fromCharCode(code)),
  maxLength: 12,
});
const fieldNames = fc.constantFrom(
  "x-amz-date",
  "x-amz-content-sha256",
  "Date",
  "Host",
  "x-amz-meta-a",
  "Cookie",
);
const someHeaders = fc
  .array(fc.tuple(fieldNames, fc.oneof(latin1, fc.constant("20260724T000000Z"))), { maxLength: 6 })
  .map((pairs) => pairs.flat());
const headerLists = fc.oneof(
  someHeaders,
  fc
    .tuple(fc.constantFrom("x-amz-meta-a", "Cookie"), latin1)
    .map((pair) => ["Host", "localhost", "x-amz-date", "20260724T000000Z", ...pair]),
);

describe("credentials of strangers", () => {
  test(
    "never throw, however they are spelled, and are judged in bounded time",
    () => {
      const key = new SigningKey(KEY_BYTES);
      const reached = { header: 0, query: 0 };
      fc.assert(
        fc.property(authorizations, targets, headerLists, (authorization, rawTarget, headers) => {
          const target = parseRawTarget(rawTarget);
          if (target === undefined) return;
          const fields = new Fields([...headers, "Authorization", authorization]);
          const unsigned = new Fields(headers);
          for (const candidate of [fields, unsigned]) {
            const parsed = parseAuthorization(candidate, target);
            if (parsed.kind !== "signed") continue;
            const { claim } = parsed;
            reached[candidate === fields ? "header" : "query"] += 1;
            expect(claim.accessKeyId).not.toBe("");
            expect(claim.signedHeaders).toContain("host");
            judgeTime(claim, NOW_MS);
            unsignedAmzFields(claim, candidate);
            // Nobody guesses a signature.
            expect(verifySignature(claim, { method: "GET", target, fields: candidate }, key)).toBe(
              false,
            );
          }
        }),
        effort(4),
      );
      // Credentials that are refused at first sight alone would show little.
      expect(Math.min(reached.header, reached.query)).toBeGreaterThan(20);
    },
    FUZZ_TIMEOUT_MS,
  );

  test("a field that is signed over and over is refused before it costs anything", () => {
    const names = `host;${Array.from({ length: 100 }, () => "x-big").join(";")}`;
    const fields = new Fields([
      "x-amz-date",
      "20260724T000000Z",
      "x-amz-content-sha256",
      EMPTY_SHA256,
      "x-big",
      " a".repeat(30_000),
      "Authorization",
      `AWS4-HMAC-SHA256 Credential=a/20260724/auto/s3/aws4_request,SignedHeaders=${names},Signature=${"0".repeat(64)}`,
    ]);
    expect(parseAuthorization(fields, targetOf("/b/k")).kind).toBe("malformed");
  });
});

const keys = fc.string({ unit: "grapheme", minLength: 1, maxLength: 12 });
const queries = fc.array(fc.tuple(fc.string({ maxLength: 5 }), fc.string({ maxLength: 5 })), {
  maxLength: 5,
});
const requests = fc.record({
  method: fc.constantFrom("GET", "PUT", "DELETE"),
  key: keys,
  query: queries,
  meta: latin1,
});

function rawTargetOf(request: { key: string; query: [string, string][] }): string {
  const pairs = request.query
    .filter(([name]) => name !== "")
    .map(([name, value]) => `${encodeQueryComponent(name)}=${encodeQueryComponent(value)}`);
  const path = encodePath(`/bucket/${request.key.toWellFormed()}`);
  return pairs.length === 0 ? path : `${path}?${pairs.join("&")}`;
}

/** The signature of a header-form request, straight from the specification. */
function slowSignature(method: string, rawTarget: string, headers: RawHeaders): string {
  const bytes = (text: string): Buffer => Buffer.from(text, "latin1");
  const sha256 = (text: string): string => createHash("sha256").update(bytes(text)).digest("hex");
  const [path = "", query = ""] = rawTarget.split("?");
  const canonicalQuery = query
    .split("&")
    .filter((pair) => pair !== "")
    .map((pair) => pair.split("="))
    .toSorted(([aName = "", aValue = ""], [bName = "", bValue = ""]) =>
      aName === bName ? (aValue < bValue ? -1 : 1) : aName < bName ? -1 : 1,
    )
    .map(([name, value]) => `${name}=${value}`)
    .join("&");
  const names = ["host", "x-amz-content-sha256", "x-amz-date", "x-amz-meta-a"];
  const valueOf = (name: string): string => {
    const at = headers.findIndex((text, index) => index % 2 === 0 && text.toLowerCase() === name);
    return (headers[at + 1] ?? "")
      .trim()
      .split(/[ \t]+/)
      .join(" ");
  };
  const canonical = [
    method,
    path,
    canonicalQuery,
    ...names.map((name) => `${name}:${valueOf(name)}`),
    "",
    names.join(";"),
    EMPTY_SHA256,
  ].join("\n");
  const text = `AWS4-HMAC-SHA256\n20260724T000000Z\n20260724/auto/s3/aws4_request\n${sha256(canonical)}`;
  return createHmac("sha256", KEY_BYTES).update(text).digest("hex");
}

describe("requests we sign", () => {
  test(
    "carry the signature the specification asks for and verify; changed, they do not",
    () => {
      fc.assert(
        fc.property(requests, fc.nat(), (request, salt) => {
          const { method } = request;
          const rawTarget = rawTargetOf(request);
          const headers = signRequest(
            {
              method,
              rawTarget,
              headers: ["Host", "localhost", "x-amz-meta-a", request.meta],
              payloadHash: EMPTY_SHA256,
            },
            SIGNER,
            NOW_MS,
          );
          expect(headers.at(-1)).toEndWith(slowSignature(method, rawTarget, headers));
          const verifies = (target: string, sent: RawHeaders): boolean => {
            const parsed = parseAuthorization(new Fields(sent), targetOf(target));
            if (parsed.kind !== "signed") return false;
            const candidate = { method, target: targetOf(target), fields: new Fields(sent) };
            return verifySignature(parsed.claim, candidate, SIGNER.key);
          };
          expect(verifies(rawTarget, headers)).toBe(true);

          const [path = "", query = ""] = rawTarget.split("?");
          expect(verifies(`${path}x?${query}`, headers)).toBe(false);
          expect(verifies(`${path}?${query}&added=${salt}`, headers)).toBe(false);
          const meta = headers.indexOf("x-amz-meta-a") + 1;
          expect(verifies(rawTarget, headers.with(meta, `${request.meta.trim()}!`))).toBe(false);
        }),
        effort(0.5),
      );
    },
    FUZZ_TIMEOUT_MS,
  );

  test(
    "verify as presigned URLs, for their own key and method only",
    () => {
      fc.assert(
        fc.property(requests, (request) => {
          const { method } = request;
          const headers = ["Host", "localhost"];
          const url = presign(
            { method, rawTarget: rawTargetOf(request), headers, expiresSeconds: 60 },
            SIGNER,
            NOW_MS,
          );
          const target = targetOf(url);
          const fields = new Fields(headers);
          const parsed = parseAuthorization(fields, target);
          // A key or value may happen to look like a credential; then the URL is ambiguous and refused.
          if (parsed.kind !== "signed") {
            expect(request.query.some(([name]) => name.startsWith("X-Amz-"))).toBe(true);
            return;
          }
          const { claim } = parsed;
          expect(verifySignature(claim, { method, target, fields }, SIGNER.key)).toBe(true);
          expect(verifySignature(claim, { method: "HEAD", target, fields }, SIGNER.key)).toBe(
            false,
          );
          const other = new SigningKey(deriveSigningKey("other", "20260724", "auto"));
          expect(verifySignature(claim, { method, target, fields }, other)).toBe(false);
        }),
        effort(0.5),
      );
    },
    FUZZ_TIMEOUT_MS,
  );
});
