import { expect, test } from "bun:test";
import { Fields, fieldValue, isNamed, withField, withoutFields } from "../../../src/http/fields.ts";

const RAW = ["X-A", "1", "Host", "h", "x-a", "2", "X-B", ""];

test("values are found by lower-case name, in order, repeats kept", () => {
  const fields = new Fields(RAW);
  expect(fields.get("x-a")).toBe("1");
  expect(fields.all("x-a")).toEqual(["1", "2"]);
  expect(fields.list("x-a")).toBe("1, 2");
  expect(fields.all("host")).toEqual(["h"]);
  expect(["x-a", "host", "x-c"].map((name) => fields.isRepeated(name))).toEqual([
    true,
    false,
    false,
  ]);
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

test("many fields are found the same way as few", () => {
  const filler = Array.from({ length: 100 }, (_, index) => [
    `X-Filler-${index}`,
    `${index}`,
  ]).flat();
  const fields = new Fields([...RAW, ...filler, "x-A", "3"]);
  expect(fields.get("x-a")).toBe("1");
  expect(fields.all("x-a")).toEqual(["1", "2", "3"]);
  expect(fields.get("x-filler-99")).toBe("99");
  expect(fields.get("x-filler-xx")).toBeUndefined();
  expect(fields.all("host")).toEqual(["h"]);
});

test("a name is not found by another of the same length, nor by one 32 longer", () => {
  const fields = new Fields(["Host", "h"]);
  expect(fields.get("hose")).toBeUndefined();
  expect(fields.get("h".repeat(36))).toBeUndefined();
  expect(new Fields([]).get("")).toBeUndefined();
  expect(new Fields(["", "v"]).get("")).toBe("v");
});

test("names with a prefix are found in any spelling, each once", () => {
  const fields = new Fields(["X-Amz-Date", "1", "x-AMZ-acl", "2", "X-AMZ-DATE", "3", "X-Am", "4"]);
  expect(fields.namesWith("x-amz-")).toEqual(["x-amz-date", "x-amz-acl"]);
  expect(fields.namesWith("x-amz-", ["x-amz-acl", "x-am"])).toEqual(["x-amz-date"]);
  expect(fields.namesWith("x-tigris-")).toEqual([]);
  // A character 32 below another is not always its capital.
  expect(new Fields(["X\rAmz-Date", "1"]).namesWith("x-amz-")).toEqual([]);
});

test("the first value of a field is found in a raw list, in any spelling and by its whole name", () => {
  const raw = ["Date-X", "0", "dATE", "1", "Date", "2", "Empty", ""];
  expect(fieldValue(raw, "date")).toBe("1");
  expect(fieldValue(raw, "empty")).toBe("");
  expect(fieldValue(raw, "dat")).toBeUndefined();
  expect([isNamed("Date", "date"), isNamed("D\x01te", "date"), isNamed("Dates", "date")]).toEqual([
    true,
    false,
    false,
  ]);
});

test("names of Object.prototype are ordinary names", () => {
  expect(new Fields([]).get("constructor")).toBeUndefined();
  expect(new Fields(["__proto__", "x"]).get("__proto__")).toBe("x");
});

test("fields are dropped and replaced whatever their spelling", () => {
  expect(withoutFields(RAW, (name) => name === "x-a")).toEqual(["Host", "h", "X-B", ""]);
  expect(withField(RAW, "X-a", "3")).toEqual(["Host", "h", "X-B", "", "X-a", "3"]);
});
