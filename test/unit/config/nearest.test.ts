import { expect, test } from "bun:test";

import { editDistance, nearest } from "../../../src/config/nearest.ts";

test.each([
  ["ttl", "ttl", 0],
  ["ttll", "ttl", 1],
  ["lebel", "level", 1],
  ["tlt", "ttl", 1],
  ["", "abc", 3],
  ["kitten", "sitting", 3],
])("%s is %s after %d edits", (left, right, edits) => {
  const there = editDistance(left, right);
  expect([there, editDistance(right, left)]).toEqual([edits, edits]);
});

test.each([
  ["ttll", "ttl"],
  ["enabld", "enabled"],
  ["TTL", "ttl"],
  ["disk_pth", "disk_path"],
  ["xyz", undefined],
  ["", undefined],
])("%p most likely means %p", (written, meant) => {
  expect(nearest(written, ["enabled", "ttl", "disk_path", "size_threshold"])).toBe(meant);
});
