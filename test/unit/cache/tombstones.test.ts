// The order of writes and fills: a fill may commit only when no write came after its permit.
import { expect, test } from "bun:test";
import { Tombstones } from "../../../src/cache/tombstones.ts";

const A = { bucket: "b", key: "a" };
const B = { bucket: "b", key: "b" };
const OTHER = { bucket: "other", key: "a" };

test("a permit holds until a write names its object", () => {
  const tombstones = new Tombstones(10);
  const permit = tombstones.permit(A);
  tombstones.markObject(B);
  expect(tombstones.isValid(permit)).toBe(true);
  tombstones.markObject(A);
  expect(tombstones.isValid(permit)).toBe(false);
  expect(tombstones.isValid(tombstones.permit(A))).toBe(true);
});

test("a write of the bucket voids the permits of all its objects and no others", () => {
  const tombstones = new Tombstones(10);
  const inside = tombstones.permit(A);
  const outside = tombstones.permit(OTHER);
  tombstones.markBucket("b");
  expect(tombstones.isValid(inside)).toBe(false);
  expect(tombstones.isValid(outside)).toBe(true);
  expect(tombstones.isValid(tombstones.permit(A))).toBe(true);
});

test("a second write voids permits taken between the two", () => {
  const tombstones = new Tombstones(10);
  tombstones.markObject(A); // before forwarding
  const between = tombstones.permit(A); // a read meets the old version upstream
  tombstones.markObject(A); // after success
  expect(tombstones.isValid(between)).toBe(false);
});

test("forgetting a tombstone refuses old permits rather than trusting them", () => {
  const tombstones = new Tombstones(3);
  const old = tombstones.permit(A);
  for (const key of ["1", "2", "3", "4"]) tombstones.markObject({ bucket: "b", key });
  expect(tombstones.count).toBe(3);
  expect(tombstones.isValid(old)).toBe(false); // A was not written, but that is no longer certain
  expect(tombstones.isValid(tombstones.permit(A))).toBe(true);
});

test("a renewed mark counts as young when the oldest is dropped", () => {
  const tombstones = new Tombstones(2);
  tombstones.markObject(A);
  tombstones.markObject(B);
  tombstones.markObject(A);
  const permit = tombstones.permit(B);
  tombstones.markObject(OTHER); // drops B's mark, which is older than the permit
  expect(tombstones.isValid(permit)).toBe(true);
});
