// Goal: in signing mode only holders of configured pairs get through, within their rights,
// and what goes upstream is exactly their request under the gateway's own signature.
import { describe, expect, test } from "bun:test";
import { createSigningAuth } from "../../../src/auth/auth.ts";
import type { Auth, ClientPair, Principal, UpstreamCall } from "../../../src/auth/auth.ts";
import { readAll } from "../../../src/base/byte-source.ts";
import { Secret } from "../../../src/base/secret.ts";
import type { Inbound } from "../../../src/http/exchange.ts";
import { Fields } from "../../../src/http/fields.ts";
import type { RawHeaders } from "../../../src/http/fields.ts";
import { checksumOf } from "../../../src/s3/checksum.ts";
import { isS3Error } from "../../../src/s3/error.ts";
import type { S3Error } from "../../../src/s3/error.ts";
import {
  EMPTY_SHA256,
  SigningKey,
  UNSIGNED_PAYLOAD,
  deriveSigningKey,
  parseAuthorization,
  presign,
  signRequest,
  signerFor,
  verifySignature,
} from "../../../src/s3/sigv4.ts";
import { chunkedBody } from "../../support/aws-chunked.ts";
import { inboundOf, targetOf } from "../../support/inbound.ts";
import { SimClock } from "../../support/sim-clock.ts";

const START_MS = Date.UTC(2026, 6, 24, 12);
const HOST = ["Host", "tag.internal:8080"];
const ENDPOINT = "https://s3.example.com";

interface TestPair {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}
const ANN: TestPair = { accessKeyId: "ann", secretAccessKey: "ann_secret" };
const BOB: TestPair = { accessKeyId: "bob", secretAccessKey: "bob_secret" };
const UP: TestPair = { accessKeyId: "up", secretAccessKey: "up_secret" };

const secretly = (pair: TestPair): ClientPair => ({
  accessKeyId: pair.accessKeyId,
  secretAccessKey: new Secret(pair.secretAccessKey),
});

interface WorldOptions {
  readonly pairs?: readonly ClientPair[];
  readonly endpoint?: string;
  readonly isPathStyle?: boolean;
  readonly forwardsAnonymous?: boolean;
}

interface World {
  readonly clock: SimClock;
  readonly auth: Auth;
}

function worldOf(options: WorldOptions = {}): World {
  const clock = new SimClock({ startMs: START_MS });
  const auth = createSigningAuth({
    endpoint: options.endpoint ?? ENDPOINT,
    region: "eu-west-1",
    isPathStyle: options.isPathStyle ?? true,
    pairs: options.pairs ?? [{ ...secretly(ANN), upstream: secretly(UP) }],
    forwardsAnonymous: options.forwardsAnonymous ?? false,
    authzTtlMs: 600_000,
    clock,
  });
  return { clock, auth };
}

interface Signed {
  readonly method?: string;
  readonly rawTarget?: string;
  readonly headers?: RawHeaders;
  readonly pair?: TestPair;
  readonly atMs?: number;
  readonly payloadHash?: string;
  readonly body?: Uint8Array;
}

function signedInbound(signed: Signed = {}): Inbound {
  const { method = "GET", rawTarget = "/pics/a%20b", pair = ANN, atMs = START_MS } = signed;
  const headers = signRequest(
    {
      method,
      rawTarget,
      headers: [...HOST, ...(signed.headers ?? [])],
      payloadHash: signed.payloadHash ?? EMPTY_SHA256,
    },
    signerFor(pair, "any-region", atMs),
    atMs,
  );
  const { body } = signed;
  return inboundOf({ method, rawTarget, headers, ...(body === undefined ? {} : { body }) });
}

function judged({ auth }: World, inbound: Inbound): ReturnType<Auth["authenticate"]> {
  return auth.authenticate(inbound, targetOf(inbound.rawTarget));
}

function ask(world: World, inbound: Inbound): Principal {
  const who = judged(world, inbound);
  if (isS3Error(who)) throw new Error(`refused: ${who.code}`);
  return who;
}

function forwardedOrRefused(world: World, inbound: Inbound): UpstreamCall | S3Error {
  return world.auth.forward(inbound, targetOf(inbound.rawTarget), ask(world, inbound));
}

function forwarded(world: World, inbound: Inbound): UpstreamCall & { fields: Fields } {
  const call = forwardedOrRefused(world, inbound);
  if ("code" in call) throw new Error(`refused: ${call.code}`);
  return { ...call, fields: new Fields(call.headers) };
}

/** What an upstream that knows `pair` would find. */
function verifiesUpstream(call: UpstreamCall, pair = UP): boolean {
  const fields = new Fields(call.headers);
  const target = targetOf(call.rawTarget);
  const parsed = parseAuthorization(fields, target);
  if (parsed.kind !== "signed" || parsed.claim.accessKeyId !== pair.accessKeyId) return false;
  const { claim } = parsed;
  const key = new SigningKey(deriveSigningKey(pair.secretAccessKey, claim.date, claim.region));
  return (
    claim.region === "eu-west-1" &&
    verifySignature(claim, { method: call.method, target, fields }, key)
  );
}

async function bodyOf(call: UpstreamCall): Promise<string> {
  if (call.body === null) return "";
  return Buffer.from(await readAll(call.body, 1 << 20)).toString("latin1");
}

describe("who gets through", () => {
  test("the holder of a configured pair, in header form, presigned and in any region", () => {
    const world = worldOf();
    expect(ask(world, signedInbound())).toMatchObject({ kind: "valid", accessKeyId: "ann" });
    const rawTarget = presign(
      { method: "GET", rawTarget: "/pics/a", headers: HOST, expiresSeconds: 60 },
      signerFor(ANN, "eu-west-1", START_MS),
      START_MS,
    );
    expect(ask(world, inboundOf({ rawTarget, headers: HOST })).kind).toBe("valid");
  });

  const unsigned = (rawTarget: string, ...headers: string[]): Inbound =>
    inboundOf({ rawTarget, headers: [...HOST, ...headers] });
  const MINUTE_MS = 60_000;
  const MALFORMED = "AuthorizationHeaderMalformed";
  const BAD_QUERY = "AuthorizationQueryParametersError";

  test.each([
    ["an unknown key", "InvalidAccessKeyId", "unknown_access_key", signedInbound({ pair: BOB })],
    ["the upstream pair", "InvalidAccessKeyId", "unknown_access_key", signedInbound({ pair: UP })],
    [
      "a wrong secret",
      "SignatureDoesNotMatch",
      "signature_mismatch",
      signedInbound({ pair: { ...ANN, secretAccessKey: "no" } }),
    ],
    [
      "a date too old",
      "RequestTimeTooSkewed",
      "expired_request",
      signedInbound({ atMs: START_MS - 16 * MINUTE_MS }),
    ],
    [
      "a date in the future",
      "RequestTimeTooSkewed",
      "expired_request",
      signedInbound({ atMs: START_MS + 16 * MINUTE_MS }),
    ],
    ["nothing signed", MALFORMED, "malformed_auth", unsigned("/pics/a")],
    ["SigV2", MALFORMED, "malformed_auth", unsigned("/pics/a", "Authorization", "AWS ann:x")],
    [
      "nonsense",
      MALFORMED,
      "malformed_auth",
      unsigned("/a", "Authorization", "AWS4-HMAC-SHA256 x"),
    ],
    ["half a URL", BAD_QUERY, "malformed_auth", unsigned("/a?X-Amz-Algorithm=AWS4-HMAC-SHA256")],
  ])("%s does not: %s, counted as %s", (_why, code, reason, inbound) => {
    expect(judged(worldOf(), inbound)).toMatchObject({ kind: "s3-error", code, reason });
  });

  test("an expired presigned URL is denied", async () => {
    const world = worldOf();
    const rawTarget = presign(
      { method: "GET", rawTarget: "/pics/a", headers: HOST, expiresSeconds: 60 },
      signerFor(ANN, "auto", START_MS),
      START_MS,
    );
    await world.clock.advance(61_000);
    expect(judged(world, inboundOf({ rawTarget, headers: HOST }))).toMatchObject({
      code: "AccessDenied",
      reason: "expired_request",
      message: "Request has expired",
    });
  });

  test("nobody adds an x-amz-* field to what was signed: no copy source on a presigned PUT", () => {
    const rawTarget = presign(
      { method: "PUT", rawTarget: "/pics/a", headers: HOST, expiresSeconds: 60 },
      signerFor(ANN, "auto", START_MS),
      START_MS,
    );
    const headers = [...HOST, "X-Amz-Copy-Source", "/secret/k"];
    expect(judged(worldOf(), inboundOf({ method: "PUT", rawTarget, headers }))).toMatchObject({
      code: "AccessDenied",
      details: { HeadersNotSigned: "x-amz-copy-source" },
    });
  });

  test("two pairs with one id, or one upstream pair with two secrets, are a mistake", () => {
    expect(() => worldOf({ pairs: [secretly(ANN), secretly(ANN)] })).toThrow(RangeError);
    const other = secretly({ ...UP, secretAccessKey: "another" });
    expect(() =>
      worldOf({
        pairs: [
          { ...secretly(ANN), upstream: secretly(UP) },
          { ...secretly(BOB), upstream: other },
        ],
      }),
    ).toThrow(RangeError);
  });
});

describe("anonymous requests", () => {
  test("a preflight and a form upload go on unsigned, upstream judges them", () => {
    const world = worldOf();
    const origin = ["Origin", "https://a.example", "Access-Control-Request-Method", "PUT"];
    const preflight = inboundOf({
      method: "OPTIONS",
      rawTarget: "/pics/a",
      headers: [...HOST, ...origin],
    });
    const call = forwarded(world, preflight);
    expect(call.fields.get("origin")).toBe("https://a.example");
    expect(call.fields.has("authorization")).toBe(false);
    const headers = [
      ...HOST,
      "Content-Type",
      "multipart/form-data; boundary=x",
      "Content-Length",
      "3",
    ];
    const form = inboundOf({
      method: "POST",
      rawTarget: "/pics",
      headers,
      body: Buffer.from("abc"),
    });
    expect(forwarded(world, form).fields.get("content-length")).toBe("3");
  });

  describe("a preflight of a presigned request", () => {
    const presigned = presign(
      { method: "PUT", rawTarget: "/pics/a?versionId=1", headers: HOST, expiresSeconds: 60 },
      signerFor(ANN, "eu-west-1", START_MS),
      START_MS,
    );
    const preflight = (...headers: string[]): Inbound =>
      inboundOf({ method: "OPTIONS", rawTarget: presigned, headers: [...HOST, ...headers] });
    const page = ["Origin", "https://a.example"];

    test("asks in the name of the one who presigned, for the method asked about", () => {
      const call = forwarded(worldOf(), preflight(...page, "Access-Control-Request-Method", "PUT"));
      expect(call.method).toBe("OPTIONS");
      expect(call.rawTarget).toBe("/pics/a?versionId=1");
      expect(verifiesUpstream({ ...call, method: "PUT" })).toBe(true);
    });

    test("asks unsigned when the signature is of another method", () => {
      const call = forwarded(worldOf(), preflight(...page, "Access-Control-Request-Method", "GET"));
      expect(call.rawTarget).toBe("/pics/a?versionId=1");
      expect(call.fields.has("authorization")).toBe(false);
    });

    describe("whose signature covers headers that come with that request only", () => {
      const signer = signerFor(ANN, "eu-west-1", START_MS);
      const headers = [...HOST, "x-amz-acl", "private"];
      const url = presign(
        { method: "PUT", rawTarget: "/pics/a", headers, expiresSeconds: 60 },
        signer,
        START_MS,
      );
      const asking = (rawTarget: string): Inbound =>
        inboundOf({
          method: "OPTIONS",
          rawTarget,
          headers: [...HOST, ...page, "Access-Control-Request-Method", "PUT"],
        });

      test("asks in its name too, with a signature that is good for a preflight alone", () => {
        const call = forwarded(worldOf(), asking(url));
        expect(call.method).toBe("OPTIONS");
        expect(verifiesUpstream(call)).toBe(true);
        expect(verifiesUpstream({ ...call, method: "PUT" })).toBe(false);
      });

      test.each([
        ["it is expired", (text: string) => text.replace("Expires=60", "Expires=0")],
        ["nobody knows it", (text: string) => text.replace(ANN.accessKeyId, "nobody")],
      ])("asks unsigned when %s", (_what, change) => {
        expect(forwardedOrRefused(worldOf(), asking(change(url)))).toMatchObject({
          headers: expect.not.arrayContaining(["Authorization"]),
        });
      });

      test("is refused where the pair may not read", () => {
        const pairs = [{ ...secretly(ANN), upstream: secretly(UP), buckets: ["others"] }];
        expect(forwardedOrRefused(worldOf({ pairs }), asking(url))).toMatchObject({
          kind: "s3-error",
          code: "AccessDenied",
        });
      });
    });

    test.each([
      ["no origin", ["Access-Control-Request-Method", "PUT"]],
      ["no method", page],
    ])("with %s is answered as S3 does", (_what, headers) => {
      expect(forwardedOrRefused(worldOf(), preflight(...headers))).toMatchObject({
        kind: "s3-error",
        code: "InvalidRequest",
      });
    });
  });

  test("all of them do when that is configured, and none reads the cache by itself", () => {
    const world = worldOf({ forwardsAnonymous: true });
    const inbound = inboundOf({
      rawTarget: "/pics/a?versionId=1",
      headers: [...HOST, "Cookie2", "x"],
    });
    const who = ask(world, inbound);
    expect(world.auth.mayRead(who, "pics")).toBe(false);
    const call = forwarded(world, inbound);
    expect(call.headers).toEqual(["Host", "s3.example.com"]);
    expect(call.rawTarget).toBe("/pics/a?versionId=1");
    const read = { method: "GET", id: { bucket: "pics", key: "a" }, headers: [] } as const;
    expect(world.auth.onBehalf(who, read)?.headers).toEqual(["Host", "s3.example.com"]);
  });
});

describe("rights", () => {
  const limited: ClientPair = { ...secretly(ANN), buckets: ["pics", "logs-*"], rights: "read" };

  test.each([
    ["read a bucket of the list", "GET", "/pics/a", [], "forwarded"],
    ["read a bucket of the pattern", "HEAD", "/logs-2026/a", [], "forwarded"],
    ["list a bucket", "GET", "/pics?list-type=2", [], "forwarded"],
    ["select from an object", "POST", "/pics/a?select&select-type=2", [], "forwarded"],
    ["read another bucket", "GET", "/docs/a", [], "AccessDenied"],
    ["read a bucket that only begins alike", "GET", "/pics2/a", [], "AccessDenied"],
    ["write", "PUT", "/pics/a", [], "AccessDenied"],
    ["delete", "DELETE", "/pics/a", [], "AccessDenied"],
    ["see all buckets", "GET", "/", [], "AccessDenied"],
  ])("a pair limited to reading may %s: %s %s", (_why, method, rawTarget, headers, outcome) => {
    const world = worldOf({ pairs: [limited] });
    const call = forwardedOrRefused(world, signedInbound({ method, rawTarget, headers }));
    expect("code" in call ? call.code : "forwarded").toBe(outcome);
  });

  test("a copy needs the right to read its source, however the source is spelled", () => {
    const writer: ClientPair = { ...secretly(ANN), buckets: ["pics"] };
    const world = worldOf({ pairs: [writer] });
    const copy = (...sources: string[]): string => {
      const headers = sources.flatMap((source) => ["x-amz-copy-source", source]);
      const call = forwardedOrRefused(world, signedInbound({ method: "PUT", headers }));
      return "code" in call ? call.code : "forwarded";
    };
    expect(copy("/pics/x")).toBe("forwarded");
    expect(copy("pics%2Fx?versionId=1")).toBe("forwarded");
    expect(copy("/docs/x")).toBe("AccessDenied");
    expect(copy("%2Fdocs%2Fx")).toBe("AccessDenied");
    expect(copy("arn:aws:s3:eu-west-1:1:accesspoint/docs/object/x")).toBe("AccessDenied");
    expect(copy("/pics/x", "/docs/x")).toBe("AccessDenied");
  });

  test("a move needs the right to write its source too", () => {
    const world = worldOf({
      pairs: [
        { ...secretly(ANN), buckets: ["pics"] },
        { ...secretly(BOB), rights: "read" },
      ],
    });
    const move = (pair: TestPair, source: string): string => {
      const headers = ["x-amz-copy-source", source, "X-Tigris-Rename", "true"];
      const call = forwardedOrRefused(world, signedInbound({ method: "PUT", headers, pair }));
      return "code" in call ? call.code : "forwarded";
    };
    expect(move(ANN, "/pics/x")).toBe("forwarded");
    expect(move(BOB, "/pics/x")).toBe("AccessDenied");
  });

  test("a pair without rights may nothing; mayRead and mayWrite say the same as forward", () => {
    const world = worldOf({ pairs: [{ ...secretly(ANN), rights: "none" }] });
    const who = ask(world, signedInbound());
    expect([world.auth.mayRead(who, "pics"), world.auth.mayWrite(who, "pics")]).toEqual([
      false,
      false,
    ]);
    const reader = worldOf({ pairs: [limited] });
    const ann = ask(reader, signedInbound());
    expect([reader.auth.mayRead(ann, "pics"), reader.auth.mayWrite(ann, "pics")]).toEqual([
      true,
      false,
    ]);
    expect(reader.auth.mayRead(ann, "docs")).toBe(false);
    expect(reader.auth.lesson(ann, "docs")).toBe("known");
  });
});

describe("the cache between clients", () => {
  const answer = { isObjectRead: true, bucket: "pics", status: 200, headers: [] as RawHeaders };

  test("with one identity upstream whatever is cached may be read by all who have the right", () => {
    const shared = secretly(UP);
    const world = worldOf({
      pairs: [
        { ...secretly(ANN), upstream: shared },
        { ...secretly(BOB), upstream: shared },
      ],
    });
    const bob = ask(world, signedInbound({ pair: BOB }));
    expect(world.auth.mayRead(bob, "pics")).toBe(true);
    expect(world.auth.lesson(bob, "pics")).toBe("known");
  });

  test("with several identities each must have been let in by upstream, for a time", async () => {
    const world = worldOf({ pairs: [secretly(ANN), secretly(BOB)] });
    const { auth } = world;
    const ann = ask(world, signedInbound());
    const bob = ask(world, signedInbound({ pair: BOB }));
    expect([auth.mayRead(ann, "pics"), auth.lesson(ann, "pics")]).toEqual([false, "needs-lesson"]);
    auth.learn(ann, answer);
    expect([auth.mayRead(ann, "pics"), auth.mayRead(bob, "pics")]).toEqual([true, false]);
    auth.learn(bob, { ...answer, status: 403 });
    expect([auth.lesson(bob, "pics"), auth.lesson(ann, "pics")]).toEqual(["known", "known"]);
    const next = worldOf({ pairs: [secretly(ANN), secretly(BOB)] });
    next.auth.restore(auth.learned());
    expect(next.auth.mayRead(ann, "pics")).toBe(true);
    auth.learn(ann, { ...answer, status: 403 });
    expect(auth.mayRead(ann, "pics")).toBe(false);
    auth.learn(ann, answer);
    await world.clock.advance(600_000);
    expect(auth.mayRead(ann, "pics")).toBe(false);
  });
});

describe("signing anew", () => {
  test("the request reaches upstream under the other pair, with its key exactly kept", () => {
    const world = worldOf();
    for (const key of ["a%20b", "what%3Fx=1", "a/../b//c/.", "%E6%97%A5", "100%25", "a%2Bb"]) {
      const call = forwarded(world, signedInbound({ rawTarget: `/pics/${key}?partNumber=1&acl` }));
      expect(call.rawTarget).toBe(
        `/pics/${encodeURI(decodeURIComponent(key)).replaceAll(/[?=+]/g, encodeURIComponent)}?partNumber=1&acl`,
      );
      expect(call.fields.get("host")).toBe("s3.example.com");
      expect(verifiesUpstream(call)).toBe(true);
    }
  });

  test("only what S3 acts on is passed on", () => {
    const kept = [
      "Content-Type",
      "text/plain",
      "If-Range",
      '"x"',
      "Range",
      "bytes=0-1",
      "X-Amz-Meta-Name",
      "v",
      "x-tigris-regions",
      "fra",
      "Tigris-Thing",
      "1",
      "Origin",
      "https://a.example",
    ];
    const dropped = [
      "User-Agent",
      "x",
      "Accept-Encoding",
      "gzip",
      "Cookie",
      "c",
      "Expect",
      "100-continue",
      "X-Forwarded-For",
      "10.0.0.1",
      "X-Tigris-Forwarded-Host",
      "evil",
      "X-Tigris-Proxy-Access-Key",
      "evil",
      "Date",
      "Fri, 24 Jul 2026 12:00:00 GMT",
    ];
    const call = forwarded(worldOf(), signedInbound({ headers: [...kept, ...dropped] }));
    expect(call.headers.slice(2, 2 + kept.length)).toEqual(kept);
    for (let at = 0; at < dropped.length; at += 2) {
      expect(call.fields.has((dropped[at] ?? "").toLowerCase())).toBe(false);
    }
    expect(verifiesUpstream(call)).toBe(true);
  });

  test("a presigned request becomes an ordinary one; headers it carried in the query are headers again", () => {
    const rawTarget = presign(
      {
        method: "PUT",
        rawTarget: "/pics/a?x-amz-acl=public-read&X-Amz-Meta-A=b%20c&x-id=PutObject&partNumber=2",
        headers: HOST,
        expiresSeconds: 60,
      },
      { ...signerFor(ANN, "auto", START_MS), sessionToken: "theirs" },
      START_MS,
    );
    const inbound = inboundOf({
      method: "PUT",
      rawTarget,
      headers: [...HOST, "Content-Length", "3"],
      body: Buffer.from("abc"),
    });
    const call = forwarded(worldOf(), inbound);
    expect(call.rawTarget).toBe("/pics/a?x-id=PutObject&partNumber=2");
    expect(call.fields.get("x-amz-acl")).toBe("public-read");
    expect(call.fields.get("x-amz-meta-a")).toBe("b c");
    expect(call.fields.get("x-amz-content-sha256")).toBe(UNSIGNED_PAYLOAD);
    expect(call.fields.get("content-length")).toBe("3");
    expect([...call.fields.names()].toSorted()).toEqual([
      "authorization",
      "content-length",
      "host",
      "x-amz-acl",
      "x-amz-content-sha256",
      "x-amz-date",
      "x-amz-meta-a",
    ]);
    expect(verifiesUpstream(call)).toBe(true);
  });

  test("whoever holds a presigned URL adds no Tigris field that was not signed", () => {
    const make = (signedFields: RawHeaders): Fields => {
      const rawTarget = presign(
        {
          method: "PUT",
          rawTarget: "/pics/a",
          headers: [...HOST, ...signedFields],
          expiresSeconds: 60,
        },
        signerFor(ANN, "auto", START_MS),
        START_MS,
      );
      const headers = [...HOST, "X-Tigris-Rename", "true"];
      return forwarded(worldOf(), inboundOf({ method: "PUT", rawTarget, headers })).fields;
    };
    expect(make([]).has("x-tigris-rename")).toBe(false);
    expect(make(["X-Tigris-Rename", "true"]).has("x-tigris-rename")).toBe(true);
  });

  test("a header value in a presigned query cannot smuggle a line break", () => {
    const rawTarget = presign(
      {
        method: "PUT",
        rawTarget: "/pics/a?x-amz-acl=a%0d%0aX-Evil:1",
        headers: HOST,
        expiresSeconds: 60,
      },
      signerFor(ANN, "auto", START_MS),
      START_MS,
    );
    const call = forwarded(worldOf(), inboundOf({ method: "PUT", rawTarget, headers: HOST }));
    expect(call.headers.join("|")).not.toContain("\n");
  });

  test("the upstream pair's session token is sent, the client's is not", () => {
    const upstream = { ...secretly(UP), sessionToken: new Secret("ours") };
    const world = worldOf({ pairs: [{ ...secretly(ANN), upstream }] });
    const call = forwarded(
      world,
      signedInbound({ pair: { ...ANN, sessionToken: "theirs" } as TestPair }),
    );
    expect(call.fields.all("x-amz-security-token")).toEqual(["ours"]);
    expect(verifiesUpstream(call)).toBe(true);
  });

  test.each([
    ["an object", "/pics/a", "https://s3.example.com", "/a", "pics.s3.example.com"],
    [
      "a bucket",
      "/pics?list-type=2",
      "https://s3.example.com",
      "/?list-type=2",
      "pics.s3.example.com",
    ],
    ["the service", "/", "https://s3.example.com", "/", "s3.example.com"],
    [
      "a dotted bucket over TLS",
      "/my.pics/a",
      "https://s3.example.com",
      "/my.pics/a",
      "s3.example.com",
    ],
    ["an address", "/pics/a", "http://127.0.0.1:9000", "/pics/a", "127.0.0.1:9000"],
    [
      "an endpoint with a path",
      "/pics/a",
      "https://s3.example.com/base/",
      "/base/a",
      "pics.s3.example.com",
    ],
  ])("virtual-host style upstream: %s", (_why, rawTarget, endpoint, sent, host) => {
    const call = forwarded(worldOf({ endpoint, isPathStyle: false }), signedInbound({ rawTarget }));
    expect(call.rawTarget).toBe(sent);
    expect(call.fields.get("host")).toBe(host);
    expect(verifiesUpstream(call)).toBe(true);
  });

  test("an endpoint's own path goes before the bucket, and a bucket in the client's host into the path", () => {
    const world = worldOf({ endpoint: "https://s3.example.com/base" });
    expect(forwarded(world, signedInbound()).rawTarget).toBe("/base/pics/a%20b");
    const inbound = signedInbound({ rawTarget: "/k?acl" });
    const call = world.auth.forward(inbound, targetOf("/k?acl"), ask(world, inbound), {
      bucket: "pics",
    });
    expect(call).toMatchObject({ rawTarget: "/base/pics/k?acl" });
  });

  test("the gateway's own read is signed with the asker's upstream pair, day after day", async () => {
    const world = worldOf();
    const who = ask(world, signedInbound());
    const read = {
      method: "HEAD",
      id: { bucket: "pics", key: "a?b" },
      headers: ["If-Match", "x"],
    } as const;
    for (let day = 0; day < 2; day += 1) {
      const call = world.auth.onBehalf(who, read);
      if (call === undefined) throw new Error("no call");
      expect(call.rawTarget).toBe("/pics/a%3Fb");
      expect(verifiesUpstream(call)).toBe(true);
      await world.clock.advance(86_400_000);
    }
  });
});

describe("uploads", () => {
  const key = deriveSigningKey(ANN.secretAccessKey, "20260724", "any-region");

  /** A streaming upload whose chunks are signed from the request's own signature on. */
  function streaming(options: {
    readonly payloadHash: string;
    readonly chunks: readonly string[];
    readonly headers?: RawHeaders;
    readonly trailers?: readonly (readonly [string, string])[];
    readonly decodedLength?: string;
  }): Inbound {
    const decodedBytes = options.chunks.join("").length;
    const inbound = signedInbound({
      method: "PUT",
      payloadHash: options.payloadHash,
      headers: [
        "x-amz-decoded-content-length",
        options.decodedLength ?? String(decodedBytes),
        ...(options.headers ?? []),
      ],
    });
    const seedSignature =
      /Signature=(\w+)/.exec(inbound.fields.get("authorization") ?? "")?.[1] ?? "";
    const signing = {
      key,
      seedSignature,
      timestamp: "20260724T120000Z",
      scope: "20260724/any-region/s3/aws4_request",
    };
    const isSigned = options.payloadHash.includes("HMAC");
    const body = chunkedBody({
      chunks: options.chunks,
      ...(isSigned ? { signing } : {}),
      ...(options.trailers === undefined ? {} : { trailers: options.trailers }),
    });
    const headers = [...inbound.fields.raw, "Content-Length", String(body.length)];
    return inboundOf({ method: "PUT", rawTarget: inbound.rawTarget, headers, body });
  }

  test("an ordinary body keeps its signed hash and its length", async () => {
    const hash = Bun.SHA256.hash("abc", "hex");
    const inbound = signedInbound({
      method: "PUT",
      payloadHash: hash,
      headers: ["Content-Length", "3", "Content-Encoding", "gzip"],
      body: Buffer.from("abc"),
    });
    const call = forwarded(worldOf(), inbound);
    expect(call.fields.get("x-amz-content-sha256")).toBe(hash);
    expect(call.fields.get("content-length")).toBe("3");
    expect(call.fields.get("content-encoding")).toBe("gzip");
    expect(await bodyOf(call)).toBe("abc");
  });

  test("an empty body is an empty body", () => {
    const call = forwarded(
      worldOf(),
      signedInbound({ method: "PUT", headers: ["Content-Length", "0"] }),
    );
    expect([call.body, call.fields.get("content-length")]).toEqual([null, "0"]);
  });

  test("signed chunks are checked and taken off, with the right length and coding left", async () => {
    const inbound = streaming({
      payloadHash: "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
      chunks: ["hello ", "world"],
      headers: ["Content-Encoding", "aws-chunked, gzip"],
    });
    const call = forwarded(worldOf(), inbound);
    expect(call.fields.get("content-length")).toBe("11");
    expect(call.fields.all("content-encoding")).toEqual(["gzip"]);
    expect(call.fields.get("x-amz-content-sha256")).toBe(UNSIGNED_PAYLOAD);
    expect(call.fields.has("x-amz-decoded-content-length")).toBe(false);
    expect(verifiesUpstream(call)).toBe(true);
    expect(await bodyOf(call)).toBe("hello world");
  });

  test("a forged chunk fails the body before its last byte", async () => {
    const inbound = streaming({
      payloadHash: "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
      chunks: ["hello"],
    });
    const forged = Buffer.from(await readAll(inbound.body ?? never(), 1 << 20));
    forged[forged.indexOf("hello")] = 0x48;
    const call = forwarded(
      worldOf(),
      inboundOf({
        method: "PUT",
        rawTarget: inbound.rawTarget,
        headers: inbound.fields.raw,
        body: forged,
      }),
    );
    expect(await bodyOf(call).catch((error: { s3Code?: string }) => error.s3Code)).toBe(
      "SignatureDoesNotMatch",
    );
  });

  test.each(["STREAMING-UNSIGNED-PAYLOAD-TRAILER", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"])(
    "%s: the trailing checksum is checked and travels on in new framing",
    async (payloadHash) => {
      const value = checksumOf("CRC64NVME", Buffer.from("hello world"));
      const inbound = streaming({
        payloadHash,
        chunks: ["hello ", "world"],
        headers: ["x-amz-trailer", "x-amz-checksum-crc64nvme", "Content-Encoding", "aws-chunked"],
        trailers: [["x-amz-checksum-crc64nvme", value]],
      });
      const call = forwarded(worldOf(), inbound);
      expect(call.fields.get("x-amz-content-sha256")).toBe("STREAMING-UNSIGNED-PAYLOAD-TRAILER");
      expect(call.fields.all("x-amz-trailer")).toEqual(["x-amz-checksum-crc64nvme"]);
      expect(call.fields.all("x-amz-decoded-content-length")).toEqual(["11"]);
      expect(call.fields.all("content-encoding")).toEqual(["aws-chunked"]);
      expect(verifiesUpstream(call)).toBe(true);
      const body = await bodyOf(call);
      expect(body).toBe(`b\r\nhello world\r\n0\r\nx-amz-checksum-crc64nvme:${value}\r\n\r\n`);
      expect(call.fields.get("content-length")).toBe(String(body.length));
    },
  );

  test("a wrong trailing checksum fails the body", async () => {
    const inbound = streaming({
      payloadHash: "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
      chunks: ["hello"],
      headers: ["x-amz-trailer", "x-amz-checksum-crc32"],
      trailers: [["x-amz-checksum-crc32", "AAAAAA=="]],
    });
    const call = forwarded(worldOf(), inbound);
    expect(await bodyOf(call).catch((error: { s3Code?: string }) => error.s3Code)).toBe(
      "BadDigest",
    );
  });

  test("a trailer that is no checksum makes the length unknown, so it goes out chunked", async () => {
    const inbound = streaming({
      payloadHash: "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
      chunks: ["hello"],
      headers: ["x-amz-trailer", "x-note"],
      trailers: [["x-note", "hi"]],
    });
    const call = forwarded(worldOf(), inbound);
    expect(call.fields.has("content-length")).toBe(false);
    expect(await bodyOf(call)).toBe("5\r\nhello\r\n0\r\nx-note:hi\r\n\r\n");
  });

  test("a streaming upload of no bytes has a length of zero", async () => {
    const inbound = streaming({ payloadHash: "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", chunks: [] });
    const call = forwarded(worldOf(), inbound);
    expect([call.fields.get("content-length"), await bodyOf(call)]).toEqual(["0", ""]);
  });

  test.each([
    ["no decoded length", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", undefined, "MissingContentLength"],
    [
      "a decoded length that is none",
      "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
      "-1",
      "BadContentLength",
    ],
    ["SigV4A chunks", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", "1", "NotImplemented"],
    ["an unknown constant", "STREAMING-SOMETHING", "1", "InvalidArgument"],
    ["no body for a decoded length", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "1", "IncompleteBody"],
  ])("%s is refused", (_why, payloadHash, length, code) => {
    const headers = length === undefined ? [] : ["x-amz-decoded-content-length", length];
    const inbound = signedInbound({ method: "PUT", payloadHash, headers });
    expect(forwardedOrRefused(worldOf(), inbound)).toMatchObject({ kind: "s3-error", code });
  });
});

function never(): never {
  throw new Error("no body");
}
