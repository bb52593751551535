// Goal: however an answer comes about, a client cannot tell: the reader whose request opened the
// flight, those who joined it, a later hit, a hit on a body that was put together from ranges.
// (That a plain hit equals its miss is in read-path/hit-equals-miss.test.ts.)
// Method: objects with fields as S3 and its clients really write them, between real sockets.

import { expect, test } from "bun:test";

import { Gate, Pattern } from "../support/scripted-upstream.ts";
import { eventually } from "../support/eventually.ts";
import { type Answer, BUCKET, KIB, targetOf, World } from "./read-path/world.ts";

/** What belongs to one exchange and may differ. */
const OF_ONE_EXCHANGE = new Set([
  "x-cache",
  "age",
  "date",
  "x-amz-request-id",
  "x-amz-id-2",
  "connection",
]);

/** UTF-8 bytes as they travel in a field: one character per byte. */
const onWire = (text: string): string => Buffer.from(text, "utf8").toString("latin1");

const VARIANTS: Readonly<Record<string, readonly string[]>> = {
  "no fields at all": [],
  "metadata in UTF-8": ["x-amz-meta-city", onWire("Zürich 東京 🚀")],
  "metadata in RFC 2047 words": ["x-amz-meta-city", "=?UTF-8?B?WsO8cmljaA==?="],
  "metadata in Latin-1": ["x-amz-meta-city", "Z\u00fcrich"],
  "empty and blank metadata": ["x-amz-meta-none", "", "x-amz-meta-comma", " , ,"],
  "metadata twice, in two spellings": ["x-amz-meta-A", "1", "X-AMZ-META-a", "2"],
  "two kilobytes of metadata": ["x-amz-meta-long", "m".repeat(2000)],
  "lower case only": ["content-type", "text/plain", "cache-control", "max-age=60"],
  "upper case only": ["CONTENT-TYPE", "TEXT/PLAIN", "CACHE-CONTROL", "MAX-AGE=60"],
  checksums: ["x-amz-checksum-crc64nvme", "AAAAAAAAAAA=", "x-amz-checksum-type", "FULL_OBJECT"],
  "customer-provided encryption": [
    "x-amz-server-side-encryption-customer-algorithm",
    "AES256",
    "x-amz-server-side-encryption-customer-key-MD5",
    "XrY7u+Ae7tCTyyK7j1rNww==",
  ],
  "object lock": [
    "x-amz-object-lock-mode",
    "COMPLIANCE",
    "x-amz-object-lock-retain-until-date",
    "2030-01-01T00:00:00.000Z",
    "x-amz-object-lock-legal-hold",
    "ON",
  ],
  "tags, class, parts, replication": [
    "x-amz-tagging-count",
    "3",
    "x-amz-storage-class",
    "GLACIER_IR",
    "x-amz-mp-parts-count",
    "7",
    "x-amz-replication-status",
    "REPLICA",
  ],
  "a website redirect": ["x-amz-website-redirect-location", "https://example.com/?a=b&c=d"],
  "a compressed page": ["Content-Type", 'text/html; charset="utf-8"', "Content-Encoding", "gzip"],
  "a name to be saved under": [
    "Content-Disposition",
    `attachment; filename="a;b.txt"; filename*=UTF-8''%e2%82%ac.txt`,
  ],
  "a language list": ["Content-Language", "de, en-GB"],
  CORS: ["Access-Control-Allow-Origin", "*", "Access-Control-Expose-Headers", "ETag, x-amz-meta-a"],
  vary: ["Vary", "Origin", "Vary", "Access-Control-Request-Headers"],
  caching: ["Cache-Control", "public, max-age=600", "Expires", "Fri, 01 Jan 2027 00:00:00 GMT"],
  cookies: [
    "Set-Cookie",
    "a=1; Path=/",
    "Set-Cookie",
    "b=2; Expires=Fri, 01 Jan 2027 00:00:00 GMT",
  ],
  links: ["Link", "</a>; rel=preload", "Link", "</b>; rel=next"],
  "a server's name": ["Server", "Tigris OS", "X-Tigris-Regions", "fra,iad", "Via", "1.1 fly.io"],
  "odd but legal names": ["X-!#$%&'*+.^_`|~", "yes", "x-1", "2"],
};

const SIZES = [0, 1, 100, 70 * KIB, 1200 * KIB];

/** Everything that must be equal: the status, the other fields in order and case, the bytes. */
function comparable({ status, fields, body }: Answer) {
  const { raw } = fields;
  return {
    status,
    fields: raw.filter((_, at) => !OF_ONE_EXCHANGE.has((raw[at - (at % 2)] ?? "").toLowerCase())),
    body: Bun.SHA256.hash(body, "hex"),
  };
}

test.each(Object.keys(VARIANTS))(
  "an object with %s is the same for the first reader, those who join, and later ones",
  async (name) => {
    await using w = await World.open({ TAG_CACHE_TTL: "60m" });
    await w.teach(w.alice, w.bob);
    for (const sizeBytes of SIZES) {
      const key = `${name} ${sizeBytes}`;
      const pattern = new Pattern(sizeBytes + 1);
      w.s3.putPattern(BUCKET, key, pattern, sizeBytes, { headers: VARIANTS[name] ?? [] });
      // A body of several pieces stops behind the first one until the others have joined.
      const [beforeHead, insideBody] = [new Gate(), new Gate()];
      w.s3.beforeHead = () => beforeHead.opened;
      w.s3.beforePiece = (index) => (index === 1 ? insideBody.opened : undefined);
      const sharedBefore = await w.metric("tag_broadcast_shared_total");
      const together = [w.alice, w.bob, w.alice].map((client) => client.get(key));
      await eventually(async () => (await w.metric("tag_inflight_requests")) === 3);
      beforeHead.open();
      const isLong = sizeBytes > w.s3.pieceBytes;
      if (isLong) {
        await eventually(
          async () => (await w.metric("tag_broadcast_shared_total")) === sharedBefore + 2,
        );
      }
      insideBody.open();
      const [first, ...joined] = await Promise.all(together);
      if (first === undefined) throw new Error("nobody asked");
      expect(first.xCache).toBe("MISS");
      if (isLong) expect(joined.map(({ xCache }) => xCache)).toEqual(["MISS", "MISS"]);
      await eventually(async () => (await w.alice.head(key)).xCache === "HIT");
      const later = await w.bob.get(key);
      expect(later.xCache).toBe("HIT");
      const readers = [first, ...joined, later];
      expect(pattern.matches(0, first.body)).toBe(true);
      for (const reader of readers) expect(comparable(reader)).toEqual(comparable(first));
      expect(w.asked(key, "GET")).toHaveLength(1);
    }
  },
  60_000,
);

test("a part is the same from upstream, from the flight and from the cache", async () => {
  await using w = await World.open({ TAG_CACHE_TTL: "60m" });
  await w.teach(w.alice);
  const sizeBytes = 300 * KIB;
  const pattern = new Pattern(5);
  for (const [name, headers] of Object.entries(VARIANTS)) {
    const key = `part of ${name}`;
    w.s3.putPattern(BUCKET, key, pattern, sizeBytes, { headers });
    for (const range of ["bytes=1000-1999", "bytes=-500", "bytes=200000-"]) {
      const miss = await w.alice.get(key, ["Range", range]);
      await eventually(async () => (await w.alice.get(key, ["Range", range])).xCache === "HIT");
      const hit = await w.alice.get(key, ["Range", range]);
      expect(miss.status).toBe(206);
      expect(comparable(hit)).toEqual(comparable(miss));
    }
  }
}, 60_000);

test("an object put together from ranges is the same as one that came whole", async () => {
  await using w = await World.open({ TAG_CACHE_TTL: "60m" });
  await w.teach(w.alice);
  const sizeBytes = 500 * KIB;
  const pattern = new Pattern(6);
  for (const [name, headers] of Object.entries(VARIANTS)) {
    const [whole, pieced] = [`whole ${name}`, `pieced ${name}`];
    const etag = '"same"';
    for (const key of [whole, pieced]) {
      w.s3.putPattern(BUCKET, key, pattern, sizeBytes, { headers, etag });
    }
    for (const range of ["bytes=-1000", "bytes=100000-150000", "bytes=0-9"]) {
      expect((await w.alice.get(pieced, ["Range", range])).status).toBe(206);
    }
    await w.alice.get(whole);
    for (const key of [whole, pieced]) {
      await eventually(async () => (await w.alice.get(key)).xCache === "HIT");
    }
    const [first, second] = [await w.alice.get(whole), await w.alice.get(pieced)];
    expect(comparable(second)).toEqual(comparable(first));
    expect(w.asked(pieced, "GET").some((request) => request.field("range") === undefined)).toBe(
      false,
    );
  }
}, 60_000);

test("a hit for an unsigned reader is the same as one for a signed reader", async () => {
  await using w = await World.open({ TAG_CACHE_TTL: "60m" });
  await w.teach(w.alice);
  for (const [name, headers] of Object.entries(VARIANTS)) {
    const key = `public ${name}`;
    w.s3.put(BUCKET, key, "for everybody", { headers, isPublic: true });
    const first = await w.anonymous.get(key);
    await eventually(async () => (await w.anonymous.get(key)).xCache === "HIT");
    const answers = [await w.anonymous.get(key), await w.alice.get(key)];
    for (const answer of answers) {
      expect(answer.xCache).toBe("HIT");
      expect(comparable(answer)).toEqual(comparable(first));
    }
    expect(w.upstream.requestsFor("GET", targetOf(key))).toHaveLength(1);
  }
}, 60_000);
