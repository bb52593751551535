// What of an answer is kept, and how a 304 renews it.
import { expect, test } from "bun:test";
import { refreshedHeaders, replayableHeaders, wholeFromPartial } from "../../../src/cache/entry.ts";

test("everything end-to-end is kept, in order, in its case, repeats included", () => {
  const sent = [
    "x-amz-id-2", "id", "x-amz-request-id", "r", "Date", "now", "Last-Modified", "then",
    "ETag", '"e"', "X-Amz-Meta-Own", "a", "x-amz-meta-own", "b", "x-amz-checksum-crc32", "c",
    "Connection", "close, X-Hop", "X-Hop", "1", "Vary", "Origin", "Server", "s3",
    "X-Cache", "HIT", "Age", "3", "Content-Length", "5",
  ]; // prettier-ignore
  expect(replayableHeaders(sent)).toEqual([
    "Last-Modified",
    "then",
    "ETag",
    '"e"',
    "X-Amz-Meta-Own",
    "a",
    "x-amz-meta-own",
    "b",
    "x-amz-checksum-crc32",
    "c",
    "Vary",
    "Origin",
    "Server",
    "s3",
    "Content-Length",
    "5",
  ]);
});

test("a 304 replaces what it names, adds what is new, and never touches what describes the body", () => {
  const stored = [
    "ETag",
    '"e"',
    "Cache-Control",
    "max-age=1",
    "X-Twice",
    "1",
    "X-Twice",
    "2",
    "Content-Length",
    "5",
  ];
  const news = [
    "cache-control",
    "max-age=9",
    "x-twice",
    "3",
    "X-New",
    "n",
    "Content-Length",
    "0",
    "etag",
    '"other"',
  ];
  expect(refreshedHeaders(stored, news)).toEqual([
    "ETag",
    '"e"',
    "Cache-Control",
    "max-age=9",
    "X-Twice",
    "3",
    "Content-Length",
    "5",
    "X-New",
    "n",
  ]);
});

test("the headers of a part become those of the whole", () => {
  const part = ["ETag", '"e"', "Content-Length", "10", "Content-Range", "bytes 0-9/100", "X", "y"];
  expect(wholeFromPartial(part, 100)).toEqual(["ETag", '"e"', "Content-Length", "100", "X", "y"]);
});
