// The vectors are those of the gateway protocol's specification (tag-behaviour 4.6): TAG key id
// `tid_proxy`, TAG secret `tsec_test_secret`, client key `tid_client` / `client_secret`, region auto.

import { createDecipheriv } from "node:crypto";
import { describe, expect, test } from "bun:test";
import { seededRandom } from "../../../src/base/random.ts";
import { Fields } from "../../../src/http/fields.ts";
import {
  identifyProxy,
  proxySignature,
  signingKeysOf,
  wrapSigningKeys,
} from "../../../src/origin/proxy-protocol.ts";

const GATEWAY = { accessKeyId: "tid_proxy", secretAccessKey: "tsec_test_secret" };
const CLIENT = { accessKeyId: "tid_client", secretAccessKey: "client_secret" };
const AT_MS = Date.UTC(2026, 6, 24, 12);

test.each([
  {
    what: {
      host: "localhost:8080",
      timestamp: "1753315200",
      method: "GET",
      path: "/my-bucket/dir/a b+c.txt",
    },
    signature: "3e763694016586051d0adc491af2642fda41a7b1b45a68dc01b9435670bfdc49",
  },
  {
    what: { host: "tag.internal", timestamp: "1753315200", method: "PUT", path: "/" },
    signature: "62ef5ffb4befe7085ffd3373abf168fa55eae47f7b65ecb6a51c95dcd6272bdd",
  },
])("the proxy signature over $what.method $what.path is the one of the vector", (vector) => {
  expect(proxySignature(GATEWAY.secretAccessKey, vector.what)).toBe(vector.signature);
});

test("wrapping one key with the vector's nonce gives the vector's bytes", () => {
  const [today] = signingKeysOf(CLIENT, "auto", AT_MS);
  expect(today).toEqual({
    date: "20260724",
    region: "auto",
    key: "90f2822624b9c7a26b85ac60e3035c4a8616332c07aa4283177199354823bdbb",
  });
  const nonce = {
    ...seededRandom(1),
    bytes: (count: number) => Uint8Array.from({ length: count }, (_, at) => at),
  };
  expect(
    wrapSigningKeys(today === undefined ? [] : [today], CLIENT.accessKeyId, GATEWAY, nonce),
  ).toBe(
    "AAECAwQFBgcICQoLZi0cgGjcXVVy24TWZAwGlxKABVlL/6OOQLMMECwjDvhdSb/g5UO4uKgEU/2+kjQHm+U2kaYEINlsrZRohPerlEfgRrnTyN3lx9gY1RzTeQ37mXgfuI34J9zHaeKcKB47CO4f9Lw89zbBSIXe7O/AlHY8VrYtcDR9XzZb+LiW",
  );
});

test("the keys of today and yesterday are handed out, in the client's region", () => {
  const entries = signingKeysOf(CLIENT, "eu-west-1", Date.UTC(2026, 2, 1, 0, 5));
  expect(entries.map(({ date, region }) => [date, region])).toEqual([
    ["20260301", "eu-west-1"],
    ["20260228", "eu-west-1"],
  ]);
});

test("wrapped keys open with the gateway's secret and the client's id, and with nothing else", () => {
  const entries = signingKeysOf(CLIENT, "auto", AT_MS);
  const blob = Buffer.from(
    wrapSigningKeys(entries, CLIENT.accessKeyId, GATEWAY, seededRandom(3)),
    "base64",
  );
  const open = (secret: string, clientId: string): string => {
    const key = new Bun.CryptoHasher("sha256").update(secret).digest();
    const decipher = createDecipheriv("aes-256-gcm", key, blob.subarray(0, 12));
    decipher.setAAD(Buffer.from(clientId));
    decipher.setAuthTag(blob.subarray(-16));
    return Buffer.concat([decipher.update(blob.subarray(12, -16)), decipher.final()]).toString();
  };
  expect(JSON.parse(open(GATEWAY.secretAccessKey, CLIENT.accessKeyId))).toEqual(entries);
  expect(() => open("another", CLIENT.accessKeyId)).toThrow();
  expect(() => open(GATEWAY.secretAccessKey, "tid_other")).toThrow();
});

describe("identifyProxy", () => {
  const timestamp = String(AT_MS / 1000);
  const path = "/my-bucket/dir/ü b";
  function identify(change: Record<string, string | undefined>, nowMs = AT_MS, method = "GET") {
    const host = "tag.example:8080";
    const headers: Record<string, string | undefined> = {
      "X-Tigris-Forwarded-Host": host,
      "X-Tigris-Proxy-Access-Key": GATEWAY.accessKeyId,
      "X-Tigris-Proxy-Timestamp": timestamp,
      "X-Tigris-Proxy-Signature": proxySignature(GATEWAY.secretAccessKey, {
        host,
        timestamp,
        method: "GET",
        path,
      }),
      ...change,
    };
    const raw = Object.entries(headers).flatMap(([name, value]) =>
      value === undefined ? [] : [name, value],
    );
    return identifyProxy({ method, path, fields: new Fields(raw) }, GATEWAY, nowMs);
  }

  test("believes the forwarded host of a gateway that proves itself", () => {
    expect(identify({})).toEqual({ kind: "proxied", forwardedHost: "tag.example:8080" });
  });

  test("takes a request without any of the headers for a direct one", () => {
    const none = identifyProxy({ method: "GET", path, fields: new Fields([]) }, GATEWAY, AT_MS);
    expect(none).toEqual({ kind: "direct" });
  });

  test.each([
    { why: "one header is missing", change: { "X-Tigris-Proxy-Signature": undefined } },
    { why: "the host was changed", change: { "X-Tigris-Forwarded-Host": "evil" } },
    { why: "the gateway is another one", change: { "X-Tigris-Proxy-Access-Key": "tid_other" } },
    {
      why: "the timestamp was changed",
      change: { "X-Tigris-Proxy-Timestamp": String(AT_MS / 1000 + 1) },
    },
    { why: "the timestamp is no number", change: { "X-Tigris-Proxy-Timestamp": "now" } },
    { why: "the signature is empty", change: { "X-Tigris-Proxy-Signature": "" } },
  ])("refuses when $why", ({ change }) => {
    expect(identify(change).kind).toBe("refused");
  });

  test("refuses a signature over another method", () => {
    expect(identify({}, AT_MS, "PUT").kind).toBe("refused");
  });

  test.each([
    [14 * 60_000 + 59_000, "proxied"],
    [15 * 60_000 + 1000, "refused"],
    [-14 * 60_000 - 59_000, "proxied"],
    [-15 * 60_000 - 1000, "refused"],
  ] as const)("with clocks %d ms apart is %s", (skewMs, kind) => {
    expect(identify({}, AT_MS + skewMs).kind).toBe(kind);
  });
});
