// What upstream is asked for when a range is missing, and when the rest is fetched along.
import { expect, test } from "bun:test";
import { alignedRange, WarmCredit } from "../../../src/gateway/range-plan.ts";
import { parseRangeHeader } from "../../../src/http/range.ts";

const MIB = 1024 * 1024;

test.each([
  ["bytes=0-0", "bytes=0-99", "one byte is one block"],
  ["bytes=99-100", "bytes=0-199", "a border inside"],
  ["bytes=100-199", "bytes=100-199", "whole blocks as they are"],
  ["bytes=250-", "bytes=200-", "an open end stays open"],
  ["bytes=-30", "bytes=-130", "a suffix gets one block more, since its start is unknown"],
  ["bytes=-0", "bytes=-0", "no bytes are no bytes"],
  ["bytes=0-1,5-6", undefined, "several ranges mean the whole object"],
] as const)("%s asks for %s: %s", (asked, expected) => {
  expect(alignedRange(parseRangeHeader(asked), 100)).toBe(expected);
});

test("small reads of many objects pull at most twice what is read, in the long run", () => {
  const credit = new WarmCredit();
  const sizeBytes = 40 * MIB;
  const footerBytes = 100 * 1024;
  let readBytes = 0;
  let pulledBytes = 0;
  for (let index = 0; index < 20_000; index += 1) {
    const id = { bucket: "b", key: `set/part-${index}` };
    readBytes += footerBytes;
    pulledBytes += footerBytes;
    const restBytes = sizeBytes - footerBytes;
    if (credit.mayFetchRest(id, footerBytes, restBytes)) pulledBytes += restBytes;
  }
  expect(pulledBytes / readBytes).toBeLessThanOrEqual(2.05);
  expect(pulledBytes / readBytes).toBeGreaterThan(1.5); // and the account is used
});

test("the first range of an object is enough to fetch the rest of it", () => {
  expect(new WarmCredit().mayFetchRest({ bucket: "b", key: "k" }, 10, 60 * MIB)).toBe(true);
});

test("one group's account does not pay for another's", () => {
  const credit = new WarmCredit();
  const one = { bucket: "b", key: "one/k" };
  expect(credit.mayFetchRest(one, 0, 64 * MIB)).toBe(true);
  expect(credit.mayFetchRest(one, 0, 1 * MIB)).toBe(false);
  expect(credit.mayFetchRest({ bucket: "b", key: "two/k" }, 0, 1 * MIB)).toBe(true);
});
