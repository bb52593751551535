import { expect, test } from "bun:test";
import { Fields, withField, withoutFields } from "../../../src/http/fields.ts";

const RAW = ["X-A", "1", "Host", "h", "x-a", "2", "X-B", ""];

test("values are found by lower-case name, in order, repeats kept", () => {
  const fields = new Fields(RAW);
  expect(fields.get("x-a")).toBe("1");
  expect(fields.all("x-a")).toEqual(["1", "2"]);
  expect(fields.list("x-a")).toBe("1, 2");
  expect(fields.all("host")).toEqual(["h"]);
  expect([...fields.names()]).toEqual(["x-a", "host", "x-b"]);
});

test("an empty value is present, an absent field is not", () => {
  const fields = new Fields(RAW);
  expect(fields.has("x-b")).toBe(true);
  expect(fields.get("x-b")).toBe("");
  expect(fields.has("x-c")).toBe(false);
  expect(fields.get("x-c")).toBeUndefined();
  expect(fields.all("x-c")).toEqual([]);
  expect(fields.list("x-c")).toBeUndefined();
});

test("names of Object.prototype are ordinary names", () => {
  expect(new Fields([]).get("constructor")).toBeUndefined();
  expect(new Fields(["__proto__", "x"]).get("__proto__")).toBe("x");
});

test("fields are dropped and replaced whatever their spelling", () => {
  expect(withoutFields(RAW, (name) => name === "x-a")).toEqual(["Host", "h", "X-B", ""]);
  expect(withField(RAW, "X-a", "3")).toEqual(["Host", "h", "X-B", "", "X-a", "3"]);
});
