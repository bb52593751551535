// Goal: the vectors of the behaviour reference, and one row per rule by which S3 reads and
// checks a signature. Agreement with an independent signer: test/conformance/sigv4-sdk.test.ts.
import { describe, expect, test } from "bun:test";
import { Fields } from "../../../src/http/fields.ts";
import type { RawHeaders } from "../../../src/http/fields.ts";
import { parseRawTarget } from "../../../src/http/raw-target.ts";
import type { RawTarget } from "../../../src/http/raw-target.ts";
import {
  EMPTY_SHA256,
  SigningKey,
  UNSIGNED_PAYLOAD,
  canonicalHeaders,
  canonicalQuery,
  canonicalRequest,
  deriveSigningKey,
  isSame,
  judgeTime,
  parseAuthorization,
  presign,
  scopeText,
  signRequest,
  signatureOf,
  signerFor,
  stringToSign,
  unsignedAmzFields,
  verifySignature,
} from "../../../src/s3/sigv4.ts";
import type { SignatureClaim } from "../../../src/s3/sigv4.ts";

const PAIR = { accessKeyId: "tid_client", secretAccessKey: "client_secret" };
const NOW_MS = Date.UTC(2026, 6, 24);
const SIGNER = signerFor(PAIR, "auto", NOW_MS);
const RAW_TARGET = "/my-bucket/dir/a%20b%2Bc.txt";
const HOST = ["Host", "localhost:8080"];

function targetOf(raw: string): RawTarget {
  const target = parseRawTarget(raw);
  if (target === undefined) throw new Error(`bad target ${raw}`);
  return target;
}

function claimOf(headers: RawHeaders, rawTarget = RAW_TARGET): SignatureClaim {
  const parsed = parseAuthorization(new Fields(headers), targetOf(rawTarget));
  if (parsed.kind !== "signed") throw new Error(JSON.stringify(parsed));
  return parsed.claim;
}

function verifies(
  method: string,
  rawTarget: string,
  headers: RawHeaders,
  key = SIGNER.key,
): boolean {
  const request = { method, target: targetOf(rawTarget), fields: new Fields(headers) };
  return verifySignature(claimOf(headers, rawTarget), request, key);
}

function signed(method: string, rawTarget: string, headers: RawHeaders = HOST): string[] {
  return signRequest({ method, rawTarget, headers, payloadHash: EMPTY_SHA256 }, SIGNER, NOW_MS);
}

/** Signs what the test says is canonical, as a client with opinions of its own might. */
function signedByHand(parts: {
  readonly method?: string;
  readonly path: string;
  readonly query?: string;
  readonly headers: RawHeaders;
  readonly block: string;
  readonly names: string;
  readonly encoding?: "utf8" | "latin1";
}): string[] {
  const canonical = canonicalRequest({
    method: parts.method ?? "GET",
    path: parts.path,
    query: parts.query ?? "",
    headers: parts.block,
    signedHeaders: parts.names,
    payloadHash: EMPTY_SHA256,
  });
  const scope = scopeText({ date: "20260724", region: "auto", service: "s3" });
  const hash = Bun.SHA256.hash(Buffer.from(canonical, parts.encoding ?? "latin1"), "hex");
  const signature = SIGNER.key.sign(`AWS4-HMAC-SHA256\n20260724T000000Z\n${scope}\n${hash}`);
  return [
    ...parts.headers,
    "Authorization",
    `AWS4-HMAC-SHA256 Credential=tid_client/${scope}, SignedHeaders=${parts.names}, Signature=${signature}`,
  ];
}

describe("the vectors of the behaviour reference", () => {
  test("derived key", () => {
    expect(Buffer.from(deriveSigningKey("client_secret", "20260724", "auto")).toString("hex")).toBe(
      "90f2822624b9c7a26b85ac60e3035c4a8616332c07aa4283177199354823bdbb",
    );
  });

  test("header form", () => {
    const headers = signed("GET", RAW_TARGET);
    expect(headers.at(-1)).toBe(
      "AWS4-HMAC-SHA256 Credential=tid_client/20260724/auto/s3/aws4_request, " +
        "SignedHeaders=host;x-amz-content-sha256;x-amz-date, " +
        "Signature=00c177f0d0cb9047d724551b2f26b8806e9f741d5f154d7f2d5629b288394cf3",
    );
    expect(verifies("GET", RAW_TARGET, headers)).toBe(true);
  });

  test("presigned form, which needs no x-amz-content-sha256", () => {
    const url = presign(
      { method: "GET", rawTarget: RAW_TARGET, headers: HOST, expiresSeconds: 900 },
      SIGNER,
      NOW_MS,
    );
    expect(url).toEndWith(
      "&X-Amz-Signature=bb958dd51cde0b6f357720790cbf8a0e46dd8bcf5bd31c249feea1e2f6f2bf08",
    );
    expect(claimOf(HOST, url).payloadHash).toBe(UNSIGNED_PAYLOAD);
    expect(verifies("GET", url, HOST)).toBe(true);
    expect(verifies("HEAD", url, HOST)).toBe(false);
  });
});

test("Amazon's example of a GET with a range verifies", () => {
  // S3 API Reference, "Examples: Signature Calculations", GET Object.
  const headers = [
    "Host",
    "examplebucket.s3.amazonaws.com",
    "Range",
    "bytes=0-9",
    "x-amz-content-sha256",
    EMPTY_SHA256,
    "x-amz-date",
    "20130524T000000Z",
    "Authorization",
    "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request," +
      "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date," +
      "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
  ];
  const secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
  const key = new SigningKey(deriveSigningKey(secret, "20130524", "us-east-1"));
  expect(verifies("GET", "/test.txt", headers, key)).toBe(true);
});

test("Amazon's example of a presigned URL verifies", () => {
  const rawTarget =
    "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256" +
    "&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request" +
    "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host" +
    "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
  const secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
  const key = new SigningKey(deriveSigningKey(secret, "20130524", "us-east-1"));
  expect(verifies("GET", rawTarget, ["Host", "examplebucket.s3.amazonaws.com"], key)).toBe(true);
});

test("every part of a request that is signed is protected", () => {
  const headers = signed("PUT", `${RAW_TARGET}?partNumber=1`, [
    ...HOST,
    "Content-Type",
    "text/plain",
    "x-amz-meta-owner",
    "me",
  ]);
  const raw = `${RAW_TARGET}?partNumber=1`;
  const change = (from: string, to: string): string[] =>
    headers.map((text) => (text.startsWith("AWS4") ? text : text.replace(from, to)));
  expect(verifies("PUT", raw, headers)).toBe(true);
  expect(verifies("GET", raw, headers)).toBe(false);
  expect(verifies("PUT", `${RAW_TARGET}?partNumber=2`, headers)).toBe(false);
  expect(verifies("PUT", `${RAW_TARGET}?partNumber=1&x=y`, headers)).toBe(false);
  expect(verifies("PUT", "/my-bucket/dir/other.txt?partNumber=1", headers)).toBe(false);
  expect(verifies("PUT", raw, change("localhost", "otherhost"))).toBe(false);
  expect(verifies("PUT", raw, change("text/plain", "text/html"))).toBe(false);
  expect(verifies("PUT", raw, change("me", "you"))).toBe(false);
  expect(verifies("PUT", raw, change("T000000Z", "T000001Z"))).toBe(false);
  expect(verifies("PUT", raw, change(EMPTY_SHA256, UNSIGNED_PAYLOAD))).toBe(false);
  expect(verifies("PUT", raw, [...headers, "x-amz-meta-owner", "second"])).toBe(false);
  expect(verifies("PUT", raw, [...headers, "X-Unsigned", "anything"])).toBe(true);
  const otherKey = new SigningKey(deriveSigningKey("other", "20260724", "auto"));
  expect(verifies("PUT", raw, headers, otherKey)).toBe(false);
});

describe("paths", () => {
  test.each([
    ["a space and a plus", "/b/a%20b%2Bc"],
    ["dot segments, which S3 keeps", "/b/a/../c/./d"],
    ["doubled and trailing slashes", "/b//a///"],
    ["an encoded percent", "/b/100%25"],
    ["text that looks encoded", "/b/a%2520b"],
    ["non-ASCII", "/b/Gr%C3%BC%C3%9Fe/%E6%97%A5"],
    ["a question mark in the key", "/b/what%3Fx=1"],
    ["the root", "/"],
  ])("%s: signed once encoded, verified as sent", (_why, rawTarget) => {
    expect(verifies("GET", rawTarget, signed("GET", rawTarget))).toBe(true);
  });

  test.each([
    ["an unreserved character encoded", "/b/%61", "/b/a"],
    ["lower-case hex", "/b/%c3%bc", "/b/%C3%BC"],
    ["reserved characters left plain", "/b/a!b'c(d)*e", "/b/a%21b%27c%28d%29%2Ae"],
    ["a slash of the key encoded", "/b/a%2Fb", "/b/a/b"],
    ["a plus left plain", "/b/a+b", "/b/a%2Bb"],
  ])(
    "%s: accepted whether the canonical form or the sent text was signed",
    (_w, sent, canonical) => {
      const headers = [
        ...HOST,
        "x-amz-content-sha256",
        EMPTY_SHA256,
        "x-amz-date",
        "20260724T000000Z",
      ];
      const names = "host;x-amz-content-sha256;x-amz-date";
      const block = canonicalHeaders(new Fields(headers), names.split(";"));
      const byRule = signedByHand({ path: canonical, headers, block, names });
      const asSent = signedByHand({ path: sent, headers, block, names });
      expect(verifies("GET", sent, byRule)).toBe(true);
      expect(verifies("GET", sent, asSent)).toBe(true);
      expect(verifies("GET", "/b/other", asSent)).toBe(false);
    },
  );
});

describe("queries", () => {
  test.each([
    ["nothing", "", ""],
    ["a flag gets its equals sign", "acl", "acl="],
    ["sorted by name, not by whole pair", "a-b=1&a=2", "a=2&a-b=1"],
    ["repeats sorted by value", "k=b&k=a&k", "k=&k=a&k=b"],
    ["re-encoded by the S3 rule", "prefix=a/b!&d=%7e", "d=~&prefix=a%2Fb%21"],
    ["a plus is a plus", "prefix=a+b", "prefix=a%2Bb"],
    ["empty pairs vanish", "&a=1&&b=2&", "a=1&b=2"],
    ["equals signs in a value", "t=a=b", "t=a%3Db"],
    ["upper case before lower case", "b=1&B=2", "B=2&b=1"],
  ])("%s: %p is %p", (_why, rawQuery, canonical) => {
    expect(canonicalQuery(targetOf(`/b?${rawQuery}`).query)).toBe(canonical);
    const headers = signed("GET", `/b?${rawQuery}`);
    expect(verifies("GET", `/b?${rawQuery}`, headers)).toBe(true);
  });

  test("a plus signed as a space is accepted, as is a query signed as it was sent", () => {
    const headers = [
      ...HOST,
      "x-amz-content-sha256",
      EMPTY_SHA256,
      "x-amz-date",
      "20260724T000000Z",
    ];
    const names = "host;x-amz-content-sha256;x-amz-date";
    const block = canonicalHeaders(new Fields(headers), names.split(";"));
    const make = (query: string): string[] =>
      signedByHand({ path: "/b", query, headers, block, names });
    expect(verifies("GET", "/b?prefix=a+b%2Bc", make("prefix=a%20b%2Bc"))).toBe(true);
    expect(verifies("GET", "/b?z=!&prefix=a+b", make("prefix=a+b&z=!"))).toBe(true);
    expect(verifies("GET", "/b?prefix=a+b", make("prefix=ab"))).toBe(false);
  });
});

describe("header fields", () => {
  const canonical = (headers: RawHeaders, ...names: string[]): string =>
    canonicalHeaders(new Fields(headers), names);

  test.each([
    ["surrounding space goes", ["A", " \t x "], "a:x\n"],
    ["inner runs of space become one", ["A", "x  y \t z"], "a:x y z\n"],
    ["repeats are joined by a comma alone", ["A", "x ", "B", "-", "a", " y"], "a:x,y\n"],
    ["case of the value stays", ["A", "X-Y"], "a:X-Y\n"],
    ["an absent field has an empty value", ["B", "x"], "a:\n"],
    ["an empty field too", ["A", ""], "a:\n"],
  ])("%s", (_why, headers, text) => {
    expect(canonical(headers, "a")).toBe(text);
  });

  test.each(["latin1", "utf8"] as const)("non-ASCII values may be signed as %s", (encoding) => {
    const value = Buffer.from("Grüße").toString("latin1"); // one char per byte, as received
    const headers = [
      ...HOST,
      "x-amz-content-sha256",
      EMPTY_SHA256,
      "x-amz-date",
      "20260724T000000Z",
      "x-amz-meta-a",
      value,
    ];
    const names = "host;x-amz-content-sha256;x-amz-date;x-amz-meta-a";
    const block = canonical(headers, ...names.split(";"));
    expect(
      verifies("GET", "/b/k", signedByHand({ path: "/b/k", headers, block, names, encoding })),
    ).toBe(true);
  });

  test("a Date alone dates the request, in any of its forms", () => {
    for (const date of ["Fri, 24 Jul 2026 00:00:00 GMT", "Fri, 24 Jul 2026 02:00:00 +0200"]) {
      const headers = [...HOST, "x-amz-content-sha256", EMPTY_SHA256, "Date", date];
      const names = "date;host;x-amz-content-sha256";
      const block = canonical(headers, ...names.split(";"));
      const request = signedByHand({ path: "/b/k", headers, block, names });
      expect(claimOf(request, "/b/k").timestamp).toBe("20260724T000000Z");
      expect(verifies("GET", "/b/k", request)).toBe(true);
    }
  });

  test("x-amz-* fields nobody signed are found, except those the signature holds anyway", () => {
    const headers = [...signed("PUT", "/b/k"), "X-Amz-Copy-Source", "/other/k", "X-Other", "1"];
    expect(unsignedAmzFields(claimOf(headers), new Fields(headers))).toEqual(["x-amz-copy-source"]);
    const url = presign(
      { method: "PUT", rawTarget: "/b/k", headers: HOST, expiresSeconds: 60 },
      SIGNER,
      NOW_MS,
    );
    const sent = [...HOST, "x-amz-acl", "public-read", "x-amz-content-sha256", UNSIGNED_PAYLOAD];
    expect(unsignedAmzFields(claimOf(sent, url), new Fields(sent))).toEqual(["x-amz-acl"]);
  });
});

const AUTHORIZATION = signed("GET", "/b/k").at(-1) ?? "";
function headerForm(authorization: string, more: RawHeaders = []): RawHeaders {
  return [
    ...HOST,
    "x-amz-date",
    "20260724T000000Z",
    "x-amz-content-sha256",
    EMPTY_SHA256,
    "Authorization",
    authorization,
    ...more,
  ];
}

describe("reading the header form", () => {
  test("order, spacing and unknown parts do not matter", () => {
    const [, credential, names, signature] =
      /Credential=(\S+), SignedHeaders=(\S+), Signature=(\S+)/.exec(AUTHORIZATION) ?? [];
    const claim = claimOf(
      headerForm(
        `AWS4-HMAC-SHA256\tSignature=${signature},Extra=1 ,  SignedHeaders= ${names?.toUpperCase()},Credential=${credential}`,
      ),
    );
    expect(claim).toEqual(claimOf(headerForm(AUTHORIZATION)));
    expect(claim.accessKeyId).toBe("tid_client");
    expect(claim.region).toBe("auto");
  });

  test("an access key id may contain slashes", () => {
    const claim = claimOf(headerForm(AUTHORIZATION.replace("tid_client", "team/app/key")));
    expect(claim.accessKeyId).toBe("team/app/key");
  });

  test.each([
    ["no credential", AUTHORIZATION.replace("Credential", "X"), "AuthorizationHeaderMalformed"],
    [
      "no signed headers",
      AUTHORIZATION.replace("SignedHeaders", "X"),
      "AuthorizationHeaderMalformed",
    ],
    ["no signature", AUTHORIZATION.replace("Signature=", "X="), "AuthorizationHeaderMalformed"],
    ["a short signature", AUTHORIZATION.slice(0, -1), "AuthorizationHeaderMalformed"],
    [
      "a signature in capitals",
      AUTHORIZATION.replace(/[0-9a-f]{64}$/, (hex) => hex.toUpperCase()),
      "AuthorizationHeaderMalformed",
    ],
    [
      "a credential of four parts",
      AUTHORIZATION.replace("tid_client/", ""),
      "AuthorizationHeaderMalformed",
    ],
    [
      "another terminator",
      AUTHORIZATION.replace("aws4_request", "aws5"),
      "AuthorizationHeaderMalformed",
    ],
    [
      "a date that is none",
      AUTHORIZATION.replace("20260724", "2026-7-4"),
      "AuthorizationHeaderMalformed",
    ],
    [
      "the date of another day",
      AUTHORIZATION.replace("20260724", "20260723"),
      "AuthorizationHeaderMalformed",
    ],
    ["host not signed", AUTHORIZATION.replace("host;", ""), "AuthorizationHeaderMalformed"],
    [
      "thousands of signed headers",
      AUTHORIZATION.replace("host;", "host;".repeat(2000)),
      "AuthorizationHeaderMalformed",
    ],
    [
      "a header signed twice",
      AUTHORIZATION.replace("host;", "host;host;"),
      "AuthorizationHeaderMalformed",
    ],
    ["nothing behind the scheme", "AWS4-HMAC-SHA256 ", "AuthorizationHeaderMalformed"],
  ])("%s is malformed", (_why, authorization, code) => {
    const parsed = parseAuthorization(new Fields(headerForm(authorization)), targetOf("/b/k"));
    expect(parsed).toMatchObject({ kind: "malformed", code });
  });

  test.each([
    ["without any date", ["x-amz-date"], "AccessDenied"],
    ["without a payload hash", ["x-amz-content-sha256"], "AuthorizationHeaderMalformed"],
  ])("%s it is malformed", (_why, missing, code) => {
    const headers = headerForm(AUTHORIZATION);
    const at = headers.indexOf(missing[0] ?? "");
    const less = [...headers.slice(0, at), ...headers.slice(at + 2)];
    expect(parseAuthorization(new Fields(less), targetOf("/b/k"))).toMatchObject({
      kind: "malformed",
      code,
    });
  });

  test("two mechanisms or two headers at once are malformed", () => {
    const twice = headerForm(AUTHORIZATION, ["Authorization", AUTHORIZATION]);
    expect(parseAuthorization(new Fields(twice), targetOf("/b/k")).kind).toBe("malformed");
    const both = new Fields(headerForm(AUTHORIZATION));
    const url = targetOf(`/b/k?X-Amz-Signature=${"0".repeat(64)}`);
    expect(parseAuthorization(both, url)).toMatchObject({ code: "InvalidArgument" });
  });
});

describe("reading the presigned form", () => {
  const url = presign(
    {
      method: "GET",
      rawTarget: "/b/k?response-content-type=text/plain",
      headers: HOST,
      expiresSeconds: 60,
    },
    { ...SIGNER, sessionToken: "tok/en+=" },
    NOW_MS,
  );

  test("everything is found, the session token included", () => {
    const claim = claimOf(HOST, url);
    expect(claim).toMatchObject({
      form: "presigned",
      accessKeyId: "tid_client",
      expiresSeconds: 60,
      sessionToken: "tok/en+=",
      signedHeaders: ["host"],
    });
    expect(verifies("GET", url, HOST)).toBe(true);
    expect(verifies("GET", url.replace("text/plain", "text/html"), HOST)).toBe(false);
  });

  test("a hash in the URL is the one that was signed", () => {
    const rawTarget = presign(
      {
        method: "GET",
        rawTarget: `/b/k?X-Amz-Content-Sha256=${UNSIGNED_PAYLOAD}`,
        headers: HOST,
        expiresSeconds: 60,
      },
      SIGNER,
      NOW_MS,
    );
    expect(verifies("GET", rawTarget, HOST)).toBe(true);
  });

  test.each([
    ["no expiry", /X-Amz-Expires=60&/, ""],
    ["an expiry that is no number", "X-Amz-Expires=60", "X-Amz-Expires=6e1"],
    ["no algorithm", /X-Amz-Algorithm=[^&]*&/, ""],
    ["no date", /X-Amz-Date=[^&]*&/, ""],
    ["a date in another form", "20260724T000000Z", "Fri,%2024%20Jul%202026%2000:00:00%20GMT"],
    ["no signature", /&X-Amz-Signature=.*$/, ""],
    ["a parameter given twice", /$/, "&X-Amz-Expires=9"],
  ])("%s is malformed", (_why, from, to) => {
    const parsed = parseAuthorization(new Fields(HOST), targetOf(url.replace(from, to)));
    expect(parsed).toMatchObject({ kind: "malformed", code: "AuthorizationQueryParametersError" });
  });

  test.each(["0", "-60", "604801"])("an expiry of %s seconds is denied", (seconds) => {
    const rawTarget = url.replace("X-Amz-Expires=60", `X-Amz-Expires=${seconds}`);
    const parsed = parseAuthorization(new Fields(HOST), targetOf(rawTarget));
    expect(parsed).toMatchObject({ kind: "malformed", code: "AccessDenied" });
  });
});

describe("who is anonymous", () => {
  test.each([
    ["nothing at all", "/b/k", []],
    ["an empty Authorization", "/b/k", ["Authorization", ""]],
    ["ordinary parameters", "/b/k?versionId=1&response-expires=x&x-id=GetObject", []],
  ])("%s is", (_why, rawTarget, headers) => {
    expect(parseAuthorization(new Fields(headers), targetOf(rawTarget)).kind).toBe("anonymous");
  });

  test.each([
    ["SigV2 in the header", "/b/k", ["Authorization", "AWS key:signature="]],
    ["a bearer token", "/b/k", ["Authorization", "Bearer abc"]],
    ["basic credentials", "/b/k", ["Authorization", "Basic abc"]],
    ["SigV4A in the header", "/b/k", ["Authorization", "AWS4-ECDSA-P256-SHA256 Credential=x"]],
    ["SigV4A in the query", "/b/k?X-Amz-Algorithm=AWS4-ECDSA-P256-SHA256&X-Amz-Credential=x", []],
    ["SigV2 in the query", "/b/k?AWSAccessKeyId=a&Expires=1&Signature=s", []],
    ["half of SigV2", "/b/k?Signature=s", []],
    ["some X-Amz parameter", "/b/k?x-amz-signature=abc", []],
    ["a token", "/b/k?token=abc", []],
    ["a cookie", "/b/k", ["Cookie", "session=1"]],
    ["a session token alone", "/b/k", ["X-Amz-Security-Token", "t"]],
  ])("%s is not", (_why, rawTarget, headers) => {
    expect(parseAuthorization(new Fields(headers), targetOf(rawTarget)).kind).toBe("unsupported");
  });
});

describe("time", () => {
  const MINUTE_MS = 60_000;
  test.each([
    ["14:59 late", 15 * MINUTE_MS - 1000, "valid"],
    ["15:00 late", 15 * MINUTE_MS, "valid"],
    ["15:01 late", 15 * MINUTE_MS + 1000, "skewed"],
    ["14:59 early", -15 * MINUTE_MS + 1000, "valid"],
    ["15:01 early", -15 * MINUTE_MS - 1000, "skewed"],
  ] as const)("a signed header that arrives %s is %s", (_why, offsetMs, verdict) => {
    expect(judgeTime(claimOf(headerForm(AUTHORIZATION)), NOW_MS + offsetMs)).toBe(verdict);
  });

  test.each([
    ["in the second it ends", 604_800_000, "valid"],
    ["a second later", 604_801_000, "expired"],
    ["14:59 before it was signed", -15 * MINUTE_MS + 1000, "valid"],
    ["15:01 before it was signed", -15 * MINUTE_MS - 1000, "skewed"],
  ] as const)("a presigned URL used %s is %s", (_why, offsetMs, verdict) => {
    const url = presign(
      { method: "GET", rawTarget: "/b/k", headers: HOST, expiresSeconds: 604_800 },
      SIGNER,
      NOW_MS,
    );
    expect(judgeTime(claimOf(HOST, url), NOW_MS + offsetMs)).toBe(verdict);
  });

  test("a key of one day cannot sign at another", () => {
    const request = { method: "GET", rawTarget: "/b", headers: HOST, payloadHash: EMPTY_SHA256 };
    expect(() => signRequest(request, SIGNER, NOW_MS - 1)).toThrow(RangeError);
    expect(() => signRequest({ ...request, rawTarget: "*" }, SIGNER, NOW_MS)).toThrow(RangeError);
  });
});

test("signing replaces what was signed before and carries the session token", () => {
  const first = signed("GET", "/b/k");
  const headers = signRequest(
    { method: "GET", rawTarget: "/b/k", headers: first, payloadHash: UNSIGNED_PAYLOAD },
    { ...SIGNER, sessionToken: "token" },
    NOW_MS + 1000,
  );
  const fields = new Fields(headers);
  expect(fields.all("authorization")).toHaveLength(1);
  expect(fields.all("x-amz-date")).toEqual(["20260724T000001Z"]);
  expect(fields.all("x-amz-security-token")).toEqual(["token"]);
  expect(fields.get("authorization")).toContain("x-amz-security-token");
  expect(verifies("GET", "/b/k", headers)).toBe(true);
});

test("a signature of bytes or of a prepared key is the same", () => {
  const text = stringToSign("20260724T000000Z", "scope", "canonical");
  expect(signatureOf(SIGNER.key.bytes, text)).toBe(signatureOf(SIGNER.key, text));
});

test("comparing signatures notices any difference", () => {
  expect(isSame("abc", "abc")).toBe(true);
  expect(isSame("abc", "abd")).toBe(false);
  expect(isSame("abc", "abcd")).toBe(false);
});
