import { expect, test } from "bun:test";
import { objectIdString } from "../../../src/s3/object-id.ts";

test("two objects never share a string", () => {
  const ids = [
    { bucket: "bkt", key: "a/b" },
    { bucket: "bkt", key: "/a/b" },
    { bucket: "bkt.a", key: "b" },
    { bucket: "bkt", key: "a//b" },
    { bucket: "bkt", key: "/" },
  ];
  expect(new Set(ids.map(objectIdString)).size).toBe(ids.length);
});
