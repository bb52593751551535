// Which answers may be kept, and why the others may not.
import { expect, test } from "bun:test";
import { admit, isDefaultVariant } from "../../../src/cache/admission.ts";
import { Fields } from "../../../src/http/fields.ts";

const LIMITS = { isEnabled: true, isIncluded: true, sizeThresholdBytes: 1000 };
const OK = { status: 200, headers: ["ETag", '"e"'], size: 10, request: [] as string[] };

test.each([
  ["a plain 200", {}, "admit"],
  ["a part", { status: 206 }, "admit"],
  ["an object of exactly the threshold", { size: 1000 }, "admit"],
  ["one byte more", { size: 1001 }, "too_large"],
  ["an unknown length", { size: undefined }, "unknown_length"],
  ["a 404", { status: 404 }, "not_an_object"],
  ["a 304", { status: 304 }, "not_an_object"],
  ["no ETag", { headers: [] }, "no_etag"],
  ["an empty ETag", { headers: ["ETag", '""'] }, "no_etag"],
  ["no-store in the answer", { headers: ["ETag", '"e"', "cache-control", "No-Store"] }, "no_store"],
  ["no-store in the request", { request: ["Cache-Control", "no-store"] }, "no_store"],
  ["private", { headers: ["ETag", '"e"', "Cache-Control", "max-age=9, private"] }, "private"],
  [
    "a word that contains private",
    { headers: ["ETag", '"e"', "Cache-Control", "x-private-ish"] },
    "admit",
  ],
  ["Vary: *", { headers: ["ETag", '"e"', "Vary", "*"] }, "varies"],
  ["Vary on a field the request lacks", { headers: ["ETag", '"e"', "Vary", "Origin"] }, "admit"],
  [
    "Vary on a field the request has",
    { headers: ["ETag", '"e"', "Vary", "Origin"], request: ["Origin", "x"] },
    "varies",
  ],
  ["no word on the page's origin", { request: ["Origin", "https://a"] }, "varies"],
  [
    "another page's origin",
    {
      headers: ["ETag", '"e"', "Access-Control-Allow-Origin", "https://b"],
      request: ["Origin", "https://a"],
    },
    "varies",
  ],
  [
    "any page's origin",
    {
      headers: ["ETag", '"e"', "Access-Control-Allow-Origin", "*"],
      request: ["Origin", "https://a"],
    },
    "admit",
  ],
  [
    "the page's own origin",
    {
      headers: ["ETag", '"e"', "Access-Control-Allow-Origin", "https://a"],
      request: ["Origin", "https://a"],
    },
    "admit",
  ],
] as const)("%s: %o is %s", (_, change, outcome) => {
  const { status, headers, size, request } = { ...OK, ...change };
  const candidate = {
    status,
    fields: new Fields(headers),
    sizeBytes: size,
    requestFields: new Fields(request),
  };
  const admission = admit(candidate, LIMITS);
  expect(admission.kind === "admit" ? "admit" : admission.reason).toBe(outcome);
  expect(admit(candidate, { ...LIMITS, isEnabled: false })).toEqual({
    kind: "skip",
    reason: "disabled",
  });
  expect(admit(candidate, { ...LIMITS, isIncluded: false })).toEqual({
    kind: "skip",
    reason: "excluded",
  });
});

test("Accept-Encoding: identity, which SDKs send, selects no variant", () => {
  const answer = new Fields(["Vary", "Accept-Encoding"]);
  expect(isDefaultVariant(answer, new Fields(["Accept-Encoding", "identity"]))).toBe(true);
  expect(isDefaultVariant(answer, new Fields(["Accept-Encoding", "gzip"]))).toBe(false);
});
