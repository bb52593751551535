import { expect, test } from "bun:test";
import { connectionTokens, isHopByHop, stripHopByHop } from "../../../src/http/hop-by-hop.ts";

test("hop-by-hop fields and those that Connection nominates are taken out, the rest stays as it is", () => {
  const raw = [
    "Host",
    "h",
    "CONNECTION",
    "Close, X-Mine",
    "Keep-Alive",
    "5",
    "x-mine",
    "1",
    "X-Amz-Meta-A",
    "1",
    "x-amz-meta-a",
    "2",
    "Transfer-Encoding",
    "chunked",
    "TE",
    "trailers",
    "Trailer",
    "x",
    "Upgrade",
    "h2c",
    "Proxy-Authorization",
    "secret",
    "Proxy-Connection",
    "close",
    "Connection",
    "x-other",
    "X-Other",
    "2",
  ];
  expect(stripHopByHop(raw)).toEqual(["Host", "h", "X-Amz-Meta-A", "1", "x-amz-meta-a", "2"]);
});

test("Connection cannot take away who asks, what for, or where the message ends", () => {
  const raw = [
    "Connection",
    "authorization, host, content-length, cache-control",
    "Host",
    "h",
    "Authorization",
    "a",
    "Content-Length",
    "1",
    "Cache-Control",
    "no-store",
  ];
  expect(stripHopByHop(raw)).toEqual(raw.slice(2));
});

test("without a Connection field only the fixed names end at this hop", () => {
  expect(connectionTokens(["Host", "h"]).size).toBe(0);
  expect(isHopByHop("te")).toBe(true);
  expect(isHopByHop("x-mine")).toBe(false);
  expect(isHopByHop("x-mine", new Set(["x-mine"]))).toBe(true);
});
