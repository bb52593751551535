import { expect, test } from "bun:test";
import { ProxyIdentity, isProxyField } from "../../../src/auth/proxy-headers.ts";
import { Fields } from "../../../src/http/fields.ts";

const IDENTITY = new ProxyIdentity("tid_proxy", "tsec_test_secret");
const AT_MS = 1_753_315_200_999;

// The vectors of the behaviour reference.
test.each([
  [
    { host: "localhost:8080", method: "GET", path: "/my-bucket/dir/a b+c.txt" },
    "3e763694016586051d0adc491af2642fda41a7b1b45a68dc01b9435670bfdc49",
  ],
  [
    { host: "tag.internal", method: "PUT", path: "/" },
    "62ef5ffb4befe7085ffd3373abf168fa55eae47f7b65ecb6a51c95dcd6272bdd",
  ],
])("vouching for %p signs it", (request, signature) => {
  const fields = new Fields(IDENTITY.vouch([], request, AT_MS));
  expect(fields.raw).toEqual([
    "X-Tigris-Forwarded-Host",
    request.host,
    "X-Tigris-Proxy-Access-Key",
    "tid_proxy",
    "X-Tigris-Proxy-Timestamp",
    "1753315200",
    "X-Tigris-Proxy-Signature",
    signature,
  ]);
});

test("what a client put there itself is thrown out, other fields stay as they are", () => {
  const forged = [
    "x-tigris-forwarded-host",
    "evil",
    "X-Tigris-Regions",
    "fra",
    "X-TIGRIS-PROXY-SIGNATURE",
    "forged",
    "x-tigris-proxy-future",
    "1",
  ];
  const fields = new Fields(IDENTITY.vouch(forged, { host: "h", method: "GET", path: "/" }, AT_MS));
  expect(fields.all("x-tigris-forwarded-host")).toEqual(["h"]);
  expect(fields.all("x-tigris-proxy-signature")).toHaveLength(1);
  expect(fields.get("x-tigris-regions")).toBe("fra");
  expect(fields.has("x-tigris-proxy-future")).toBe(false);
  expect(isProxyField("x-tigris-regions")).toBe(false);
});
