import { expect, test } from "bun:test";
import { Grants } from "../../../src/auth/grants.ts";
import { SigningKeys } from "../../../src/auth/signing-keys.ts";
import { SimClock } from "../../support/sim-clock.ts";

const TTL_MS = 600_000;

function grantsAt(clock: SimClock, limit = 100): Grants {
  return new Grants({ limit, ttlMs: TTL_MS, clock });
}

test("a grant is for one principal and one bucket, and ends with its time", async () => {
  const clock = new SimClock();
  const grants = grantsAt(clock);
  grants.learn("ann", "pics");
  expect(grants.has("ann", "pics")).toBe(true);
  expect(grants.has("ann", "docs")).toBe(false);
  expect(grants.has("bob", "pics")).toBe(false);
  await clock.advance(TTL_MS - 1);
  expect(grants.has("ann", "pics")).toBe(true);
  await clock.advance(1);
  expect(grants.has("ann", "pics")).toBe(false);
  expect(grants.size).toBe(0);
});

test("using a grant does not prolong it, earning it again does", async () => {
  const clock = new SimClock();
  const grants = grantsAt(clock);
  grants.learn("ann", "pics");
  await clock.advance(TTL_MS - 1);
  expect(grants.has("ann", "pics")).toBe(true);
  grants.learn("ann", "pics");
  await clock.advance(TTL_MS - 1);
  expect(grants.has("ann", "pics")).toBe(true);
});

test("setting the clock back does not prolong a grant", async () => {
  const clock = new SimClock();
  const grants = grantsAt(clock);
  grants.learn("ann", "pics");
  clock.jumpWallClock(-86_400_000);
  await clock.advance(TTL_MS);
  expect(grants.has("ann", "pics")).toBe(false);
});

test("a revoked grant is gone at once", () => {
  const grants = grantsAt(new SimClock());
  grants.learn("ann", "pics");
  expect(grants.revoke("ann", "pics")).toBe(true);
  expect(grants.has("ann", "pics")).toBe(false);
  expect(grants.revoke("ann", "pics")).toBe(false);
});

test("the number of grants is bounded; the longest unused goes first", () => {
  const grants = grantsAt(new SimClock(), 2);
  grants.learn("a", "bucket");
  grants.learn("b", "bucket");
  expect(grants.has("a", "bucket")).toBe(true);
  grants.learn("c", "bucket");
  expect([grants.has("a", "bucket"), grants.has("b", "bucket"), grants.size]).toEqual([
    true,
    false,
    2,
  ]);
});

test("a fruitless lesson is remembered for seconds, or until a grant is learned", async () => {
  const clock = new SimClock();
  const grants = grantsAt(clock);
  grants.noteFruitless("ann", "pics");
  expect(grants.isFruitless("ann", "pics")).toBe(true);
  expect(grants.isFruitless("ann", "docs")).toBe(false);
  await clock.advance(5_000);
  expect(grants.isFruitless("ann", "pics")).toBe(false);
  grants.noteFruitless("ann", "pics");
  grants.learn("ann", "pics");
  expect(grants.isFruitless("ann", "pics")).toBe(false);
});

test("grants of an earlier process live for what was left of them, never longer than the time to live", async () => {
  const clock = new SimClock();
  const grants = grantsAt(clock);
  const nowMs = clock.nowMs();
  grants.restore([
    { grantee: "ann", bucket: "pics", expiresAtMs: nowMs + 1000 },
    { grantee: "bob", bucket: "pics", expiresAtMs: nowMs },
    { grantee: "eve", bucket: "pics", expiresAtMs: nowMs + 10 * TTL_MS },
  ]);
  expect(grants.all()).toEqual([
    { grantee: "ann", bucket: "pics", expiresAtMs: nowMs + 1000 },
    { grantee: "eve", bucket: "pics", expiresAtMs: nowMs + TTL_MS },
  ]);
  await clock.advance(1000);
  expect(grants.all().map((grant) => grant.grantee)).toEqual(["eve"]);
});

test("a signing key is kept for its scope, while something signed with it can be valid", async () => {
  const clock = new SimClock({ startMs: Date.UTC(2026, 6, 24, 12) });
  const keys = new SigningKeys(10, clock);
  const key = new Uint8Array(32).fill(7);
  const learned = (date: string, bytes = key) => ({
    accessKeyId: "ann",
    date,
    region: "auto",
    key: bytes,
  });
  expect(keys.learn([learned("20260724")])).toBe(true);
  expect(keys.learn([learned("20260724")])).toBe(false);
  expect(keys.learn([learned("20260724", new Uint8Array(32).fill(8))])).toBe(true);
  expect(keys.get("ann/20260724/auto/s3/aws4_request")?.bytes[0]).toBe(8);
  expect(keys.get("ann/20260724/fra/s3/aws4_request")).toBeUndefined();
  expect(keys.get("bob/20260724/auto/s3/aws4_request")).toBeUndefined();
  const nonsense = [
    learned("20260716"),
    learned("20261224"),
    learned("x"),
    learned("20260724", key.subarray(1)),
  ];
  expect(keys.learn(nonsense)).toBe(false);
  expect(keys.learn([learned("20260717"), learned("20260725")])).toBe(true);
  expect(keys.all().map((entry) => entry.date)).toEqual(["20260724", "20260717", "20260725"]);
  await clock.advance(12 * 3_600_000);
  expect(keys.all().map((entry) => entry.date)).toEqual(["20260724", "20260725"]);
});

test("the number of signing keys is bounded", () => {
  const clock = new SimClock({ startMs: Date.UTC(2026, 6, 24, 12) });
  const keys = new SigningKeys(2, clock);
  for (const accessKeyId of ["a", "b", "c"]) {
    keys.learn([{ accessKeyId, date: "20260724", region: "auto", key: new Uint8Array(32) }]);
  }
  expect([keys.size, keys.get("a/20260724/auto/s3/aws4_request")]).toEqual([2, undefined]);
});
