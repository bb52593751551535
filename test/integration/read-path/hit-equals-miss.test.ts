// Issue B, "A hit is byte-identical to the miss it came from": a differential test over 200 kinds of
// objects. Only X-Cache, Age, Date and request ids may differ; order, case and repeats may not.

import { expect, test } from "bun:test";
import { seededRandom, type Random } from "../../../src/base/random.ts";
import type { Answer } from "./world.ts";
import { eventually } from "../../support/eventually.ts";
import { BUCKET, World } from "./world.ts";

const MAY_DIFFER = new Set([
  "x-cache",
  "age",
  "date",
  "x-amz-request-id",
  "x-amz-id-2",
  "connection",
]);

const SIZES = [
  0, 1, 17, 1_023, 1_024, 4_096, 16_383, 16_384, 65_535, 65_536, 65_537, 300_001, 1_048_576,
];

/** Fields S3 sends, each with values that tempt a cache to tidy them up. */
const FIELDS: readonly (readonly [string, readonly string[]])[] = [
  [
    "Content-Type",
    ["text/plain", "application/octet-stream", 'text/html; charset="UTF-8"', "binary/octet-stream"],
  ],
  ["Content-Encoding", ["gzip", "aws-chunked,gzip", "identity", "br"]],
  ["Content-Disposition", ['attachment; filename="a b.txt"', "inline"]],
  ["Content-Language", ["de", "en, fr"]],
  ["Cache-Control", ["max-age=3600", "public, max-age=60, s-maxage=600", "no-transform"]],
  ["Expires", ["Thu, 01 Jan 2027 00:00:00 GMT", "never"]],
  [
    "x-amz-version-id",
    ["3/L4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY+MTRCxf3vjVBH40Nr8X8gdRQBpUMLUo", "null"],
  ],
  ["x-amz-server-side-encryption", ["AES256", "aws:kms"]],
  ["x-amz-server-side-encryption-aws-kms-key-id", ["arn:aws:kms:eu:1:key/x"]],
  ["x-amz-storage-class", ["STANDARD_IA"]],
  ["x-amz-checksum-crc32", ["AAAAAA=="]],
  ["x-amz-checksum-sha256", ["47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="]],
  ["x-amz-checksum-type", ["FULL_OBJECT", "COMPOSITE"]],
  ["x-amz-mp-parts-count", ["3"]],
  ["x-amz-tagging-count", ["2"]],
  ["x-amz-expiration", ['expiry-date="Fri, 21 Dec 2029 00:00:00 GMT", rule-id="r"']],
  ["x-amz-restore", ['ongoing-request="false"']],
  ["x-amz-replication-status", ["COMPLETED"]],
  ["x-amz-website-redirect-location", ["/elsewhere"]],
  ["x-amz-object-lock-mode", ["GOVERNANCE"]],
  ["X-Tigris-Regions", ["fra,iad"]],
  ["Server", ["Tigris OS"]],
  ["Vary", ["Origin, Access-Control-Request-Headers"]],
  ["Access-Control-Allow-Origin", ["*", "https://example.com"]],
  ["Access-Control-Expose-Headers", ["ETag"]],
  ["Set-Cookie", ["a=1", "b=2; Path=/"]],
  ["Link", ["</a>; rel=preload", "</b>; rel=prefetch"]],
  ["x-amz-meta-plain", ["value"]],
  ["x-amz-meta-blank", [""]],
  ["x-amz-meta-Spaced", ["two  spaces inside"]],
  ["x-amz-meta-bytes", ["\u00c3\u00a9\u00c3\u00bc"]],
  ["x-amz-meta-comma", ["a, b,c"]],
  ["x-amz-meta-twice", ["1"]],
  ["X-Amz-Meta-Twice", ["2"]],
];

function randomFields(random: Random): string[] {
  const fields: string[] = [];
  for (let count = random.below(14); count >= 0; count -= 1) {
    const [name, values] = FIELDS[random.below(FIELDS.length)] ?? ["X", [""]];
    fields.push(randomCase(name, random), values[random.below(values.length)] ?? "");
  }
  return fields;
}

function randomCase(name: string, random: Random): string {
  switch (random.below(4)) {
    case 0:
      return name.toLowerCase();
    case 1:
      return name.toUpperCase();
    default:
      return name;
  }
}

/** The fields that must be equal, in order. */
function comparable(answer: Answer): string[] {
  return answer.fields.raw.filter(
    (_, at) => !MAY_DIFFER.has((answer.fields.raw[at - (at % 2)] ?? "").toLowerCase()),
  );
}

test("200 kinds of objects: hit and miss are alike to the byte, for GET, HEAD and ranges", async () => {
  await using w = await World.open({ TAG_CACHE_TTL: "60m" });
  await w.teach(w.alice);
  const random = seededRandom(Number(process.env["SEED"] ?? 20_260_101));
  let totalBytes = 0;
  for (let kind = 0; kind < 200; kind += 1) {
    const key = `object ${kind}`;
    const sizeBytes = SIZES[kind % SIZES.length] ?? 0;
    const etag = random.below(8) === 0 ? `W/"weak-${kind}"` : `"strong-${kind}"`;
    const headers = randomFields(random);
    totalBytes += sizeBytes;
    w.s3.put(BUCKET, key, random.bytes(sizeBytes), { headers, etag });

    const miss = await w.alice.get(key);
    expect([key, miss.status, miss.xCache]).toEqual([key, 200, "MISS"]);
    await eventually(async () => (await w.alice.head(key)).xCache === "HIT");
    const hit = await w.alice.get(key);
    expect([key, hit.status, hit.xCache]).toEqual([key, 200, "HIT"]);
    expect(comparable(hit)).toEqual(comparable(miss));
    expect(hit.body.equals(miss.body)).toBe(true);
    expect(hit.body.length).toBe(sizeBytes);

    const head = await w.alice.head(key);
    expect(head.xCache).toBe("HIT");
    expect(comparable(head)).toEqual(comparable(miss));

    if (sizeBytes > 0) {
      const start = random.below(sizeBytes);
      const part = await w.alice.get(key, ["Range", `bytes=${start}-`]);
      expect(part.status).toBe(206);
      expect(part.body.equals(miss.body.subarray(start))).toBe(true);
    }
  }
  // Some say that they are stale at once and are confirmed each time: that costs no body.
  expect(w.upstream.bodyBytesSent).toBe(totalBytes);
}, 60_000);

test("what upstream sent arrives on the miss as it was, hop-by-hop fields excepted", async () => {
  await using w = await World.open();
  await w.teach(w.alice);
  const headers = ["x-AMZ-meta-B", "1", "x-AMZ-meta-B", "2", "Content-type", "text/x"];
  const hopByHop = ["Keep-Alive", "timeout=60", "Proxy-Authenticate", "Basic", "Upgrade", "h2c"];
  const connection = ["Connection", "x-hop", "X-Hop", "secret", "Trailer", "X-T", "TE", "trailers"];
  w.s3.put(BUCKET, "k", "hello", { headers: [...headers, ...hopByHop, ...connection] });
  for (const outcome of ["MISS", "HIT"]) {
    const got = await w.alice.get("k");
    expect(got.xCache).toBe(outcome);
    const text = got.fields.raw.join("\n");
    expect(text).toContain(headers.join("\n"));
    for (const name of ["keep-alive", "proxy-authenticate", "upgrade", "x-hop", "trailer", "te"]) {
      expect([outcome, name, got.fields.has(name)]).toEqual([outcome, name, false]);
    }
    expect(got.fields.has("x-tigris-proxy-signing-keys")).toBe(false);
    expect(got.fields.get("connection")).not.toBe("x-hop");
  }
});

test("an X-Cache of upstream's own is not passed on as ours", async () => {
  await using w = await World.open();
  await w.teach(w.alice);
  w.s3.put(BUCKET, "k", "hello", { headers: ["X-Cache", "Hit from elsewhere"] });
  expect((await w.alice.get("k")).fields.all("x-cache")).toEqual(["MISS"]);
  expect((await w.alice.get("k")).fields.all("x-cache")).toEqual(["HIT"]);
});
