// Goal: in transparent mode nothing is served without proof, nothing signed is changed on
// the way, and upstream's answers teach exactly what they prove.
import { describe, expect, test } from "bun:test";
import { createTransparentAuth, validationResult } from "../../../src/auth/auth.ts";
import type { Auth, Principal, UpstreamCall } from "../../../src/auth/auth.ts";
import { Secret } from "../../../src/base/secret.ts";
import type { Inbound } from "../../../src/http/exchange.ts";
import { Fields } from "../../../src/http/fields.ts";
import type { RawHeaders } from "../../../src/http/fields.ts";
import {
  EMPTY_SHA256,
  SigningKey,
  deriveSigningKey,
  parseAuthorization,
  presign,
  signRequest,
  signerFor,
  verifySignature,
} from "../../../src/s3/sigv4.ts";
import { inboundOf, targetOf } from "../../support/inbound.ts";
import { SimClock } from "../../support/sim-clock.ts";
import { derivedKeyHex, wrapKeys } from "../../support/wrapped-keys.ts";

const START_MS = Date.UTC(2026, 6, 24, 12);
const TTL_MS = 600_000;
const GATEWAY_SECRET = "tsec_test_secret";
const CLIENT = { accessKeyId: "tid_client", secretAccessKey: "client_secret" };
const HOST = ["Host", "tag.internal:8080"];
const READ = { isObjectRead: true, bucket: "pics", status: 200, headers: [] as RawHeaders };

interface World {
  readonly clock: SimClock;
  readonly auth: Auth;
  readonly unreadable: string[];
}

function worldOf(endpoint = "https://t3.storage.dev", startMs = START_MS): World {
  const clock = new SimClock({ startMs });
  const unreadable: string[] = [];
  const auth = createTransparentAuth({
    endpoint,
    accessKeyId: "tid_proxy",
    secretAccessKey: new Secret(GATEWAY_SECRET),
    authzTtlMs: TTL_MS,
    clock,
    onUnreadableKeys: (accessKeyId) => unreadable.push(accessKeyId),
  });
  return { clock, auth, unreadable };
}

function keysHeader(pair = CLIENT, dates = ["20260724", "20260723"]): RawHeaders {
  const entries = dates.map((date) => ({
    date,
    region: "auto",
    key: derivedKeyHex(pair.secretAccessKey, date, "auto"),
  }));
  const value = wrapKeys(JSON.stringify(entries), pair.accessKeyId, GATEWAY_SECRET);
  return ["X-Tigris-Proxy-Signing-Keys", value];
}

interface Signed {
  readonly method?: string;
  readonly rawTarget?: string;
  readonly headers?: RawHeaders;
  readonly pair?: { accessKeyId: string; secretAccessKey: string; sessionToken?: string };
  readonly atMs?: number;
  readonly payloadHash?: string;
}

function signedInbound(signed: Signed = {}): Inbound {
  const { method = "GET", rawTarget = "/pics/a%20b", pair = CLIENT, atMs = START_MS } = signed;
  const headers = signRequest(
    {
      method,
      rawTarget,
      headers: [...HOST, ...(signed.headers ?? [])],
      payloadHash: signed.payloadHash ?? EMPTY_SHA256,
    },
    signerFor(pair, "auto", atMs),
    atMs,
  );
  return inboundOf({ method, rawTarget, headers });
}

function ask({ auth }: World, inbound: Inbound): Principal {
  const who = auth.authenticate(inbound, targetOf(inbound.rawTarget));
  if (who.kind === "s3-error") throw new Error("transparent mode refused a request");
  return who;
}

/** A world in which upstream has already answered one read of the client with its keys. */
function taughtWorld(endpoint?: string, startMs?: number): World {
  const world = worldOf(endpoint, startMs);
  const who = ask(world, signedInbound());
  world.auth.learn(who, { ...READ, headers: keysHeader() });
  return world;
}

function forwarded(world: World, inbound: Inbound): UpstreamCall & { fields: Fields } {
  const target = targetOf(inbound.rawTarget);
  const call = world.auth.forward(inbound, target, ask(world, inbound));
  if ("code" in call) throw new Error("refused");
  return { ...call, fields: new Fields(call.headers) };
}

describe("proof", () => {
  test("a first request is unproven, teaches, and the next one is proven and granted", () => {
    const world = worldOf();
    const first = ask(world, signedInbound());
    expect(first).toMatchObject({ kind: "unproven", because: "unknown_key" });
    expect(world.auth.mayRead(first, "pics")).toBe(false);
    expect(validationResult(first, false)).toBe("unknown_key");

    world.auth.learn(first, { ...READ, headers: keysHeader() });
    const second = ask(world, signedInbound({ rawTarget: "/pics/other" }));
    expect(second).toMatchObject({ kind: "valid", accessKeyId: "tid_client" });
    expect(world.auth.mayRead(second, "pics")).toBe(true);
    expect(world.auth.mayRead(second, "docs")).toBe(false);
    expect(world.auth.sizes()).toEqual({ keys: 2, grants: 1 });
    expect(validationResult(second, true)).toBe("success");
    expect(validationResult(second, false)).toBe("authz_expired");
  });

  test("a presigned URL is proven without x-amz-content-sha256", () => {
    const rawTarget = presign(
      { method: "GET", rawTarget: "/pics/a", headers: HOST, expiresSeconds: 900 },
      signerFor(CLIENT, "auto", START_MS),
      START_MS,
    );
    const world = taughtWorld();
    expect(ask(world, inboundOf({ rawTarget, headers: HOST })).kind).toBe("valid");
  });

  test("a wrong secret, another key id, another target or a stale date stay unproven", async () => {
    const world = taughtWorld();
    const forged = { accessKeyId: "tid_client", secretAccessKey: "guess" };
    expect(ask(world, signedInbound({ pair: forged }))).toMatchObject({
      because: "signature_mismatch",
    });
    const stranger = { accessKeyId: "tid_other", secretAccessKey: "client_secret" };
    expect(ask(world, signedInbound({ pair: stranger }))).toMatchObject({ because: "unknown_key" });
    const moved = inboundOf({ rawTarget: "/pics/b", headers: signedInbound().fields.raw });
    expect(ask(world, moved)).toMatchObject({ because: "signature_mismatch" });
    const late = signedInbound();
    await world.clock.advance(15 * 60_000 + 1000);
    expect(ask(world, late)).toMatchObject({ because: "outside_time" });
  });

  test("an x-amz-* field added to a signed request makes it unproven", () => {
    const world = taughtWorld();
    const headers = [...signedInbound().fields.raw, "x-amz-checksum-mode", "ENABLED"];
    expect(ask(world, inboundOf({ rawTarget: "/pics/a%20b", headers }))).toMatchObject({
      because: "unsigned_headers",
    });
  });

  test.each([
    ["SigV2", "/pics/a", ["Authorization", "AWS tid:sig="], "unsupported_scheme"],
    [
      "SigV2 in the query",
      "/pics/a?AWSAccessKeyId=a&Signature=b&Expires=1",
      [],
      "unsupported_scheme",
    ],
    ["a token in the query", "/pics/a?token=t", [], "unsupported_scheme"],
    ["a bearer token", "/pics/a", ["Authorization", "Bearer t"], "unsupported_scheme"],
    ["nonsense", "/pics/a", ["Authorization", "AWS4-HMAC-SHA256 nonsense"], "parse_error"],
  ])("%s is neither refused nor anonymous", (_why, rawTarget, headers, because) => {
    const world = taughtWorld();
    const inbound = inboundOf({ rawTarget, headers: [...HOST, ...headers] });
    const who = ask(world, inbound);
    expect(who).toMatchObject({ kind: "unproven", because });
    expect(validationResult(who, false)).toBe("parse_error");
    world.auth.learn(who, { ...READ, headers: keysHeader() });
    expect(world.auth.mayRead(who, "pics")).toBe(false);
    expect(
      world.auth.onBehalf(who, { method: "GET", id: { bucket: "pics", key: "a" }, headers: [] }),
    ).toBeUndefined();
    const call = forwarded(world, inbound);
    expect(call.rawTarget).toBe(rawTarget);
    expect(call.fields.get("host")).toBe("t3.storage.dev");
  });

  test("temporary credentials are granted per session token", () => {
    const world = taughtWorld();
    const withToken = (sessionToken: string): Inbound =>
      signedInbound({ pair: { ...CLIENT, sessionToken } });
    world.auth.learn(ask(world, withToken("one")), { ...READ, bucket: "docs" });
    expect(world.auth.mayRead(ask(world, withToken("one")), "docs")).toBe(true);
    expect(world.auth.mayRead(ask(world, withToken("two")), "docs")).toBe(false);
    expect(world.auth.mayRead(ask(world, signedInbound()), "docs")).toBe(false);
  });
});

describe("learning", () => {
  test.each([200, 206, 304])("an object read answered %d earns a grant", (status) => {
    const world = worldOf();
    world.auth.learn(ask(world, signedInbound()), { ...READ, status, headers: keysHeader() });
    expect(world.auth.mayRead(ask(world, signedInbound()), "pics")).toBe(true);
  });

  test.each([
    ["a write or a listing", { isObjectRead: false }],
    ["a missing object", { status: 404 }],
    ["a refusal", { status: 403 }],
    ["an upstream failure", { status: 503 }],
    ["an object anybody may read", { isPublic: true }],
  ])("%s earns none", (_why, difference) => {
    const world = worldOf();
    const answer = { ...READ, headers: keysHeader(), ...difference };
    world.auth.learn(ask(world, signedInbound()), answer);
    expect(world.auth.sizes().grants).toBe(0);
  });

  test("a success without keys proves nothing about a signature nobody checked", () => {
    const world = worldOf();
    world.auth.learn(ask(world, signedInbound()), READ);
    expect(world.auth.sizes()).toEqual({ keys: 0, grants: 0 });
    const wrong = signedInbound({ pair: { ...CLIENT, secretAccessKey: "guess" } });
    const taught = taughtWorld();
    taught.auth.learn(ask(taught, wrong), { ...READ, bucket: "docs" });
    expect(taught.auth.mayRead(ask(taught, signedInbound()), "docs")).toBe(false);
  });

  test("a proven request needs no keys in the answer to earn a grant", () => {
    const world = taughtWorld();
    world.auth.learn(ask(world, signedInbound()), { ...READ, bucket: "docs" });
    expect(world.auth.mayRead(ask(world, signedInbound()), "docs")).toBe(true);
  });

  test("a write teaches keys, not grants", () => {
    const world = worldOf();
    const who = ask(world, signedInbound({ method: "PUT" }));
    world.auth.learn(who, { ...READ, isObjectRead: false, headers: keysHeader() });
    expect(world.auth.sizes()).toEqual({ keys: 2, grants: 0 });
  });

  test("keys wrapped for another client or by another secret are reported and ignored", () => {
    const world = worldOf();
    const who = ask(world, signedInbound());
    const foreign = keysHeader({ accessKeyId: "tid_other", secretAccessKey: "client_secret" });
    world.auth.learn(who, { ...READ, headers: foreign });
    expect(world.auth.sizes()).toEqual({ keys: 0, grants: 0 });
    expect(world.unreadable).toEqual(["tid_client"]);
  });

  test("a refused read revokes the grant of a proven principal only", () => {
    const world = taughtWorld();
    const forged = signedInbound({ pair: { ...CLIENT, secretAccessKey: "guess" } });
    world.auth.learn(ask(world, forged), { ...READ, status: 403 });
    const who = ask(world, signedInbound());
    expect(world.auth.mayRead(who, "pics")).toBe(true);
    world.auth.learn(who, { ...READ, isObjectRead: false, status: 403 });
    expect(world.auth.mayRead(who, "pics")).toBe(true);
    world.auth.learn(who, { ...READ, bucket: "docs", status: 403 });
    expect(world.auth.mayRead(who, "pics")).toBe(true);
    world.auth.learn(who, { ...READ, status: 403 });
    expect(world.auth.mayRead(who, "pics")).toBe(false);
  });

  test("a grant ends with its time, however often it is used", async () => {
    const world = taughtWorld();
    const who = ask(world, signedInbound());
    await world.clock.advance(TTL_MS - 1);
    expect(world.auth.mayRead(who, "pics")).toBe(true);
    await world.clock.advance(1);
    expect(world.auth.mayRead(who, "pics")).toBe(false);
  });

  test("the keys never travel on to the client, in any spelling", () => {
    const { auth } = worldOf();
    const plain = ["ETag", '"x"'];
    expect(auth.stripLearned(plain)).toBe(plain);
    const [, value = ""] = keysHeader();
    expect(auth.stripLearned(["x-tigris-proxy-SIGNING-keys", value, ...plain])).toEqual(plain);
  });
});

describe("lessons", () => {
  test("wait for one when a key or a grant is missing, for none when it could not help", () => {
    const world = worldOf();
    const { auth } = world;
    const unknown = ask(world, signedInbound());
    expect(auth.lesson(unknown, "pics")).toBe("needs-lesson");
    expect(auth.lesson({ kind: "anonymous" }, "pics")).toBe("known");
    auth.learn(unknown, { ...READ, headers: keysHeader() });
    const valid = ask(world, signedInbound());
    expect(auth.lesson(valid, "pics")).toBe("known");
    expect(auth.lesson(valid, "docs")).toBe("needs-lesson");
    const forged = signedInbound({ pair: { ...CLIENT, secretAccessKey: "guess" } });
    expect(auth.lesson(ask(world, forged), "pics")).toBe("known");
  });

  test("a lesson that taught nothing is not repeated for some seconds", async () => {
    const world = worldOf();
    const { auth, clock } = world;
    const who = ask(world, signedInbound());
    auth.learn(who, { ...READ, status: 403 });
    expect(auth.lesson(who, "pics")).toBe("known");
    expect(auth.lesson(who, "docs")).toBe("needs-lesson");
    await clock.advance(5_000);
    expect(auth.lesson(who, "pics")).toBe("needs-lesson");
  });
});

describe("forwarding", () => {
  test("the request goes on as it was signed, vouched for with the Host that was signed", () => {
    const world = worldOf();
    const inbound = signedInbound({
      method: "PUT",
      rawTarget: "/pics/a%2fb/../%7E?x=1&acl&y=%2f",
      headers: ["x-amz-META-Case", "  kept  as is ", "X-Repeat", "1", "x-repeat", "2"],
    });
    const call = forwarded(world, inbound);
    expect(call.method).toBe("PUT");
    expect(call.rawTarget).toBe(inbound.rawTarget);
    expect(call.host).toBeUndefined();
    expect(call.headers.slice(0, 2)).toEqual(["Host", "t3.storage.dev"]);
    const others = inbound.fields.raw.slice(2);
    expect(call.headers.slice(2, 2 + others.length)).toEqual([...others]);
    expect(call.fields.get("x-tigris-forwarded-host")).toBe("tag.internal:8080");
    expect(call.fields.get("x-tigris-proxy-access-key")).toBe("tid_proxy");
    expect(call.fields.get("x-tigris-proxy-timestamp")).toBe(String(START_MS / 1000));
  });

  test("proxy headers of the client and hop-by-hop fields are left behind, signed ones are not", () => {
    const world = worldOf();
    const headers = [
      "X-Tigris-Forwarded-Host",
      "evil",
      "Connection",
      "keep-alive, X-Custom",
      "X-Custom",
      "1",
      "TE",
      "trailers",
      "Transfer-Encoding",
      "chunked",
    ];
    const plain = forwarded(
      world,
      inboundOf({ rawTarget: "/pics/a", headers: [...HOST, ...headers] }),
    );
    for (const name of ["connection", "x-custom", "te", "transfer-encoding"]) {
      expect(plain.fields.has(name)).toBe(false);
    }
    expect(plain.fields.all("x-tigris-forwarded-host")).toEqual(["tag.internal:8080"]);

    const raw = signedInbound().fields.raw.map((text) =>
      text.replace("SignedHeaders=host", "SignedHeaders=connection;host;te"),
    );
    const signed = forwarded(
      world,
      inboundOf({ rawTarget: "/pics/a", headers: [...raw, ...headers] }),
    );
    expect(signed.fields.has("connection")).toBe(true);
    expect(signed.fields.has("te")).toBe(true);
    expect(signed.fields.has("transfer-encoding")).toBe(false);
  });

  test("X-Amz-Date is added when the header form was dated by Date alone, and only then", () => {
    const world = worldOf();
    const raw = [...signedInbound().fields.raw];
    raw.splice(raw.indexOf("X-Amz-Date"), 2, "Date", "Fri, 24 Jul 2026 12:00:00 GMT");
    const call = forwarded(world, inboundOf({ rawTarget: "/pics/a%20b", headers: raw }));
    expect(call.fields.get("x-amz-date")).toBe("20260724T120000Z");
    expect(call.fields.get("date")).toBe("Fri, 24 Jul 2026 12:00:00 GMT");
    const sigV2 = ["Date", "Fri, 24 Jul 2026 12:00:00 GMT", "Authorization", "AWS a:b"];
    const old = forwarded(world, inboundOf({ rawTarget: "/pics/a", headers: [...HOST, ...sigV2] }));
    expect(old.fields.has("x-amz-date")).toBe(false);
  });

  test.each([
    ["missing", [], ["aws-chunked"]],
    ["another coding", ["Content-Encoding", "gzip"], ["aws-chunked,gzip"]],
    ["there already", ["content-encoding", "AWS-Chunked"], ["AWS-Chunked"]],
    [
      "among others",
      ["Content-Encoding", "gzip", "Content-Encoding", "aws-chunked"],
      ["gzip", "aws-chunked"],
    ],
  ])("aws-chunked in Content-Encoding of a streaming upload: %s", (_why, headers, codings) => {
    const world = worldOf();
    const raw = signedInbound({
      method: "PUT",
      payloadHash: "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
    }).fields.raw;
    const inbound = inboundOf({
      method: "PUT",
      rawTarget: "/pics/a",
      headers: [...raw, ...headers],
    });
    expect(forwarded(world, inbound).fields.all("content-encoding")).toEqual(codings);
  });

  test("a signed Content-Encoding is never touched, nor is that of an ordinary upload", () => {
    const world = worldOf();
    const headers = ["Content-Encoding", "gzip"];
    const raw = signedInbound({
      method: "PUT",
      payloadHash: "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
    }).fields.raw.map((text) => text.replace("SignedHeaders=", "SignedHeaders=content-encoding;"));
    const signed = inboundOf({
      method: "PUT",
      rawTarget: "/pics/a",
      headers: [...raw, ...headers],
    });
    expect(forwarded(world, signed).fields.all("content-encoding")).toEqual(["gzip"]);
    const plain = signedInbound({ method: "PUT", headers });
    expect(forwarded(world, plain).fields.all("content-encoding")).toEqual(["gzip"]);
  });

  test.each([
    ["an object", "/pics/a%20b?x=1", "https://t3.storage.dev", "pics.t3.storage.dev", "/a%20b?x=1"],
    ["a bucket", "/pics", "https://t3.storage.dev", "pics.t3.storage.dev", "/"],
    [
      "a bucket with a query",
      "/pics/?list-type=2",
      "https://t3.storage.dev",
      "pics.t3.storage.dev",
      "/?list-type=2",
    ],
    [
      "a key with doubled slashes",
      "/pics//a",
      "https://t3.storage.dev",
      "pics.t3.storage.dev",
      "//a",
    ],
    [
      "an endpoint with a port",
      "/pics/a",
      "https://t3.storage.dev:8443",
      "pics.t3.storage.dev:8443",
      "/a",
    ],
  ])(
    "anonymous requests go out in virtual-host style: %s",
    (_why, rawTarget, endpoint, host, sent) => {
      const world = worldOf(endpoint);
      const call = forwarded(world, inboundOf({ rawTarget, headers: HOST }));
      expect(call.rawTarget).toBe(sent);
      expect(call.fields.get("host")).toBe(host);
      expect(call.host).toBe(host.replace(/:\d+$/, ""));
      expect(call.fields.has("authorization")).toBe(false);
      expect(call.fields.get("x-tigris-forwarded-host")).toBe("tag.internal:8080");
    },
  );

  test.each([
    ["the list of buckets", "/", "https://t3.storage.dev"],
    ["localhost", "/pics/a", "http://localhost:9000"],
    ["an address", "/pics/a", "http://127.0.0.1:9000"],
    ["an IPv6 address", "/pics/a", "http://[::1]:9000"],
    ["a dotted bucket over TLS", "/my.pics/a", "https://t3.storage.dev"],
  ])("anonymous requests stay in path style: %s", (_why, rawTarget, endpoint) => {
    const call = forwarded(worldOf(endpoint), inboundOf({ rawTarget, headers: HOST }));
    expect(call.rawTarget).toBe(rawTarget);
    expect(call.host).toBeUndefined();
    expect(call.fields.get("host")).toBe(new URL(endpoint).host);
  });

  test("the proxy signature of a virtual-host request covers the path without the bucket", () => {
    const call = forwarded(worldOf(), inboundOf({ rawTarget: "/pics/a%20b", headers: HOST }));
    const text = `tag.internal:8080\n${START_MS / 1000}\nGET\n/a b`;
    expect(call.fields.get("x-tigris-proxy-signature")).toBe(
      new Bun.CryptoHasher("sha256", GATEWAY_SECRET).update(text).digest("hex"),
    );
  });

  test("a bucket the client named in the host is named in the host upstream", () => {
    const world = worldOf();
    const inbound = signedInbound({ rawTarget: "/a" });
    const call = world.auth.forward(inbound, targetOf("/a"), ask(world, inbound), {
      bucket: "pics",
    });
    expect(call).toMatchObject({ rawTarget: "/a", host: "pics.t3.storage.dev" });
  });
});

describe("reads on behalf of the asker", () => {
  const read = {
    method: "GET",
    id: { bucket: "pics", key: "a b/ü?.txt" },
    headers: ["If-None-Match", '"x"', "Range", "bytes=0-9"],
  } as const;

  /** What upstream would check, with the client's secret and the forwarded host. */
  function verifiesUpstream(call: UpstreamCall): boolean {
    const fields = new Fields(call.headers);
    const target = targetOf(call.rawTarget);
    const parsed = parseAuthorization(fields, target);
    if (parsed.kind !== "signed") return false;
    const { claim } = parsed;
    const host = fields.get("x-tigris-forwarded-host") ?? "";
    const asSigned = new Fields(["Host", host, ...call.headers.slice(2)]);
    const key = new SigningKey(deriveSigningKey(CLIENT.secretAccessKey, claim.date, claim.region));
    return verifySignature(claim, { method: call.method, target, fields: asSigned }, key);
  }

  test("a proven asker's read is signed with its own derived key", () => {
    const world = taughtWorld();
    const call = world.auth.onBehalf(ask(world, signedInbound()), read);
    if (call === undefined) throw new Error("no call");
    expect(call.rawTarget).toBe("/pics/a%20b/%C3%BC%3F.txt");
    expect(call.body).toBeNull();
    const fields = new Fields(call.headers);
    expect(fields.get("authorization")).toContain("Credential=tid_client/20260724/auto/");
    expect(fields.get("x-tigris-forwarded-host")).toBe("t3.storage.dev");
    expect(fields.get("host")).toBe("t3.storage.dev");
    expect(fields.get("if-none-match")).toBe('"x"');
    expect(verifiesUpstream(call)).toBe(true);
  });

  test("a session token goes along and is signed, from a header or a presigned URL", () => {
    const world = taughtWorld();
    const pair = { ...CLIENT, sessionToken: "tok/en" };
    const rawTarget = presign(
      { method: "GET", rawTarget: "/pics/a", headers: HOST, expiresSeconds: 60 },
      signerFor(pair, "auto", START_MS),
      START_MS,
    );
    for (const inbound of [signedInbound({ pair }), inboundOf({ rawTarget, headers: HOST })]) {
      const call = world.auth.onBehalf(ask(world, inbound), read);
      if (call === undefined) throw new Error("no call");
      expect(new Fields(call.headers).get("x-amz-security-token")).toBe("tok/en");
      expect(verifiesUpstream(call)).toBe(true);
    }
  });

  test("after midnight the key of the new day is used, or the asker's own moment while it is recent", async () => {
    const world = taughtWorld();
    const lateMs = Date.UTC(2026, 6, 24, 23, 55);
    await world.clock.advance(lateMs - START_MS);
    const who = ask(world, signedInbound({ atMs: lateMs }));
    await world.clock.advance(10 * 60_000);
    const call = world.auth.onBehalf(who, read);
    if (call === undefined) throw new Error("no call");
    expect(new Fields(call.headers).get("x-amz-date")).toBe("20260724T235500Z");
    expect(verifiesUpstream(call)).toBe(true);

    await world.clock.advance(10 * 60_000);
    expect(world.auth.onBehalf(who, read)).toBeUndefined();
    world.auth.learn(who, { ...READ, headers: keysHeader(CLIENT, ["20260725"]) });
    const next = world.auth.onBehalf(who, read);
    expect(new Fields(next?.headers ?? []).get("x-amz-date")).toBe("20260725T001500Z");
  });

  test("an anonymous read is unsigned, in virtual-host style, and vouched for", () => {
    const call = worldOf().auth.onBehalf({ kind: "anonymous" }, read);
    if (call === undefined) throw new Error("no call");
    const fields = new Fields(call.headers);
    expect(call).toMatchObject({ rawTarget: "/a%20b/%C3%BC%3F.txt", host: "pics.t3.storage.dev" });
    expect(fields.has("authorization")).toBe(false);
    expect(fields.get("x-tigris-forwarded-host")).toBe(fields.get("host"));
    const local = worldOf("http://localhost:9000").auth.onBehalf({ kind: "anonymous" }, read);
    expect(local?.rawTarget).toBe("/pics/a%20b/%C3%BC%3F.txt");
  });
});

test("what was learned can be handed to the next process", async () => {
  const world = taughtWorld();
  const next = worldOf();
  next.auth.restore(world.auth.learned());
  expect(next.auth.mayRead(ask(next, signedInbound()), "pics")).toBe(true);
  await world.clock.advance(TTL_MS);
  expect(world.auth.learned().grants).toEqual([]);
  const { revision } = world.auth;
  world.auth.learn(ask(world, signedInbound({ atMs: START_MS + TTL_MS })), READ);
  expect(world.auth.revision).toBeGreaterThan(revision);
});
