// Replies: their status, headers in order, body and the facts they leave for the log.

import { describe, expect, test } from "bun:test";
import { bytesSource, readAll } from "../../../src/base/byte-source.ts";
import { ERROR_CODES, type ErrorCode, GatewayError } from "../../../src/base/errors.ts";
import type { ReadState } from "../../../src/gateway/exchange-state.ts";
import { type Bodies, errorOfFailure, Responder } from "../../../src/gateway/respond.ts";
import type { Reply } from "../../../src/http/exchange.ts";
import { Fields } from "../../../src/http/fields.ts";
import type { ByteRange } from "../../../src/http/range.ts";
import { s3Error } from "../../../src/s3/error.ts";
import { parseErrorXml } from "../../../src/s3/error-xml.ts";
import type { StoredBody, StoredObject } from "../../../src/storage/storage.ts";
import { inboundOf, targetOf } from "../../support/inbound.ts";

const BYTES = Uint8Array.from({ length: 100 }, (_, index) => index);
const HEADERS = [
  ["content-type", "text/plain"],
  ["ETag", '"a"'],
  ["Last-Modified", "Sat, 29 Oct 1994 19:43:31 GMT"],
  ["Content-Length", "100"],
  ["x-amz-meta-A", "1"],
  ["X-Amz-Meta-a", "2"],
].flat();

const OBJECT: StoredObject = {
  id: { bucket: "b", key: "k" },
  sizeBytes: 100,
  etag: '"a"',
  lastModified: "Sat, 29 Oct 1994 19:43:31 GMT",
  headers: HEADERS,
  storedAtMs: 0,
  freshUntilMs: 1,
  isPublic: false,
  version: 1,
  tier: "inline",
};

const respond = new Responder({ hostId: "node-1" });

function stateOf(
  headers: readonly string[] = [],
  method: "GET" | "HEAD" = "GET",
  overrides: readonly { header: string; value: string }[] = [],
): ReadState {
  return {
    inbound: inboundOf({ method, rawTarget: "/b/k", headers }),
    target: targetOf("/b/k"),
    operation: {
      kind: "read",
      name: method === "GET" ? "GetObject" : "HeadObject",
      id: OBJECT.id,
      isPlain: true,
      overrides,
    },
    virtualHost: undefined,
    who: { kind: "anonymous" },
    xCache: undefined,
    source: "gateway",
    reason: undefined,
    isRevalidated: false,
    errorCode: undefined,
    upstreamRequestId: undefined,
    slot: { enterUpstream: () => true, release: () => undefined },
  };
}

const stored = ({ start, end }: { start: number; end: number }): StoredBody => ({
  kind: "bytes",
  bytes: BYTES.subarray(start, end),
});

/** The bodies of a store that reads like this. */
const bodies = (
  read: (range: ByteRange) => StoredBody | undefined | Promise<StoredBody | undefined>,
): Bodies => ({ read: (_object, range) => read(range) });

function hit(state: ReadState, body = stored): Reply {
  const reply = respond.fromEntry(state, OBJECT, "HIT", 7, bodies(body));
  if (reply === undefined || reply instanceof Promise) throw new Error("not answered at once");
  return reply;
}

function bytesOf(reply: Reply): number[] | string {
  return reply.body.kind === "bytes" ? [...reply.body.bytes] : reply.body.kind;
}

describe("a hit", () => {
  test("has the stored headers untouched and in order, then Age, request id and X-Cache", () => {
    const state = stateOf();
    const reply = hit(state);
    expect(reply.status).toBe(200);
    const own = ["Age", "7", "x-amz-request-id", "0000000000000001", "X-Cache", "HIT"];
    expect(reply.headers).toEqual([...HEADERS, ...own]);
    expect(bytesOf(reply)).toEqual([...BYTES]);
    expect([state.xCache, state.source]).toEqual(["HIT", "cache"]);
  });

  type Row = readonly [
    why: string,
    method: "GET" | "HEAD",
    request: readonly string[],
    status: number,
    body: readonly [start: number, end: number] | "none" | "error",
    length: string | undefined,
  ];
  const rows: readonly Row[] = [
    ["whole", "GET", [], 200, [0, 100], "100"],
    ["HEAD", "HEAD", [], 200, "none", "100"],
    ["a range", "GET", ["Range", "bytes=5-9"], 206, [5, 10], "5"],
    ["HEAD of a range", "HEAD", ["Range", "bytes=5-9"], 206, "none", "5"],
    ["not modified", "GET", ["If-None-Match", '"a"'], 304, "none", undefined],
    ["HEAD, not modified", "HEAD", ["If-None-Match", '"a"'], 304, "none", undefined],
    ["failed", "GET", ["If-Match", '"b"'], 412, "error", undefined],
    ["HEAD, failed", "HEAD", ["If-Match", '"b"'], 412, "none", undefined],
    ["unsatisfiable", "GET", ["Range", "bytes=100-"], 416, "error", undefined],
    ["HEAD, unsatisfiable", "HEAD", ["Range", "bytes=100-"], 416, "none", undefined],
  ];
  test.each([...rows])("%s", (_why, method, request, status, body, length) => {
    const state = stateOf(request, method);
    const reply = hit(state);
    const fields = new Fields(reply.headers);
    expect(reply.status).toBe(status);
    expect(fields.all("x-cache")).toEqual(["HIT"]);
    expect(fields.all("x-amz-request-id")).toEqual(["0000000000000001"]);
    if (body === "none") expect(bytesOf(reply)).toBe("none");
    else if (body !== "error") {
      const [start, end] = body as [number, number];
      expect(bytesOf(reply)).toEqual([...BYTES.subarray(start, end)]);
    }
    if (length !== undefined) expect(fields.all("content-length")).toEqual([length]);
    if (status === 304) expect(fields.has("content-length")).toBe(false);
    if (body === "error") {
      if (reply.body.kind !== "bytes") throw new Error("an error has a body");
      expect(fields.get("content-length")).toBe(String(reply.body.bytes.length));
    }
  });

  test("tells the size in a 416, as header and in S3's words", () => {
    const state = stateOf(["Range", "bytes=100-"]);
    const reply = hit(state);
    expect(new Fields(reply.headers).get("content-range")).toBe("bytes */100");
    if (reply.body.kind !== "bytes") throw new Error("an error has a body");
    const text = new TextDecoder().decode(reply.body.bytes);
    expect(parseErrorXml(text)?.code).toBe("InvalidRange");
    expect(text).toContain("<RangeRequested>bytes=100-</RangeRequested>");
    expect(text).toContain("<ActualObjectSize>100</ActualObjectSize>");
    expect(state.errorCode).toBe("InvalidRange");
  });

  test("asks the store for exactly the bytes it sends, and for none when it sends none", () => {
    const asked: unknown[] = [];
    const body = (range: { start: number; end: number }) => {
      asked.push(range);
      return stored(range);
    };
    for (const request of [[], ["Range", "bytes=-3"], ["If-None-Match", "*"], ["If-Match", "x"]]) {
      hit(stateOf(request), body);
    }
    hit(stateOf([], "HEAD"), body);
    expect(asked).toEqual([
      { start: 0, end: 100 },
      { start: 97, end: 100 },
    ]);
  });

  test("whose body is gone is no hit, and says nothing of X-Cache", async () => {
    const state = stateOf();
    const none = bodies(() => undefined);
    expect(respond.fromEntry(state, OBJECT, "HIT", 0, none)).toBeUndefined();
    const late = respond.fromEntry(
      state,
      OBJECT,
      "HIT",
      0,
      bodies(async () => undefined),
    );
    expect(await late).toBeUndefined();
    expect(state.xCache).toBeUndefined();
  });

  test("is answered in the same turn unless the store must look at the disk", async () => {
    const fromDisk = bodies(async (range) => stored(range));
    const late = respond.fromEntry(stateOf(), OBJECT, "HIT", 0, fromDisk);
    expect(late).toBeInstanceOf(Promise);
    expect((await late)?.status).toBe(200);
  });

  test("carries further headers, such as a warning, behind Age", () => {
    const warning = ["Warning", "111"];
    const reply = respond.fromEntry(stateOf(), OBJECT, "HIT", 7, bodies(stored), warning);
    if (reply === undefined || reply instanceof Promise) throw new Error("not answered at once");
    const at = reply.headers.indexOf("Age");
    expect(reply.headers.slice(at, at + 4)).toEqual(["Age", "7", "Warning", "111"]);
  });

  test("gets the response overrides of its request, on parts too, but not on a 304", () => {
    const overrides = [{ header: "Content-Type", value: "image/png" }];
    for (const request of [[], ["Range", "bytes=0-0"]]) {
      const { headers } = hit(stateOf(request, "GET", overrides));
      expect(new Fields(headers).all("content-type")).toEqual(["image/png"]);
    }
    const { headers } = hit(stateOf(["If-None-Match", '"a"'], "GET", overrides));
    expect(new Fields(headers).has("content-type")).toBe(false);
  });

  test("sends a stream with the length of the part", () => {
    const source = bytesSource(BYTES.subarray(5, 10));
    const reply = hit(stateOf(["Range", "bytes=5-9"]), () => ({ kind: "stream", source }));
    expect(reply.body).toEqual({ kind: "stream", source, lengthBytes: 5 });
  });
});

describe("a reply from a flight", () => {
  const head = { ...OBJECT, headers: HEADERS };

  test("is what the hit will be, but for Age", async () => {
    for (const request of [[], ["Range", "bytes=5-9"], ["If-None-Match", '"a"']]) {
      const state = stateOf(request);
      const shared = respond.fromFlight(state, head, 100, "MISS", ({ start, end }) =>
        bytesSource(BYTES.subarray(start, end)),
      );
      const later = hit(stateOf(request));
      const isAge = (at: number) => later.headers[at - (at % 2)] === "Age";
      const expected = later.headers.filter((_, at) => !isAge(at));
      expect(shared.status).toBe(later.status);
      expect(shared.headers.slice(0, -1)).toEqual(expected.slice(0, -1));
      expect(shared.headers.at(-1)).toBe("MISS");
      expect(state.source).toBe("flight");
      if (shared.body.kind === "stream") {
        expect(await readAll(shared.body.source, 1000)).toEqual(
          Uint8Array.from(bytesOf(later) as number[]),
        );
      } else expect(bytesOf(later)).toBe("none");
    }
  });

  test("opens no reader when it sends no bytes", () => {
    const open = () => {
      throw new Error("a reader was opened");
    };
    respond.fromFlight(stateOf(["If-None-Match", '"a"']), head, 100, "MISS", open);
    respond.fromFlight(stateOf([], "HEAD"), head, 100, "MISS", open);
    respond.fromFlight(stateOf(["Range", "bytes=200-"]), head, 100, "MISS", open);
  });

  test.each([
    ["the whole", [], { start: 0, end: 100 }],
    ["a part", ["Range", "bytes=5-9"], { start: 5, end: 10 }],
    ["nothing", ["If-None-Match", '"a"'], undefined],
  ])("needs %s", (_why, request, wanted) => {
    expect(respond.wantedFrom(stateOf(request), head, 100)).toEqual(wanted);
  });
});

describe("a relayed answer", () => {
  const relay = (headers: readonly string[], xCache?: "MISS") => {
    const state = stateOf();
    const reply = respond.relay(state, 200, headers, { kind: "none" }, xCache);
    return { state, headers: reply.headers };
  };

  test("keeps end-to-end fields as they are and drops those of the connection", () => {
    const endToEnd = ["Content-Type", "a", "x-b", "1", "X-B", "2", "x-amz-request-id", "UP1"];
    const hopByHop = ["Connection", "close, x-hop", "Keep-Alive", "timeout=5", "X-Hop", "1"];
    const ours = ["Transfer-Encoding", "chunked", "Date", "then", "X-Cache", "theirs"];
    const { headers } = relay([...hopByHop, ...endToEnd, ...ours]);
    expect(headers).toEqual(endToEnd);
  });

  test("keeps upstream's request id, and gets ours when it has none", () => {
    const theirs = relay(["x-amz-request-id", "UP1"]);
    expect(new Fields(theirs.headers).all("x-amz-request-id")).toEqual(["UP1"]);
    expect(theirs.state.upstreamRequestId).toBe("UP1");
    const ours = relay([]);
    expect(new Fields(ours.headers).all("x-amz-request-id")).toEqual(["0000000000000001"]);
    expect(ours.state.upstreamRequestId).toBeUndefined();
  });

  test("has an X-Cache only when it is the answer to a read", () => {
    expect(new Fields(relay([]).headers).has("x-cache")).toBe(false);
    const read = relay([], "MISS");
    expect(new Fields(read.headers).get("x-cache")).toBe("MISS");
    expect([read.state.xCache, read.state.source]).toEqual(["MISS", "upstream"]);
  });
});

test("a shared answer is the same bytes for all, with each request's own id", () => {
  const answer = { status: 404, headers: ["Content-Type", "application/xml"], bytes: BYTES };
  const reply = respond.shared(stateOf(), answer, "MISS");
  const own = ["x-amz-request-id", "0000000000000001", "X-Cache", "MISS"];
  expect(reply.headers).toEqual([...answer.headers, ...own]);
  expect(bytesOf(reply)).toEqual([...BYTES]);
  expect(respond.shared(stateOf([], "HEAD"), answer, "MISS").body.kind).toBe("none");
});

describe("an error of the gateway's own", () => {
  test("is S3's XML with the ids of request and node", () => {
    const state = stateOf();
    const reply = respond.error(state, s3Error("SlowDown"));
    if (reply.body.kind !== "bytes") throw new Error("an error has a body");
    const text = new TextDecoder().decode(reply.body.bytes);
    expect(reply.status).toBe(503);
    expect(parseErrorXml(text)?.code).toBe("SlowDown");
    for (const part of ["<Resource>/b/k<", "<RequestId>0000000000000001<", "<HostId>node-1<"]) {
      expect(text).toContain(part);
    }
    const fields = new Fields(reply.headers);
    expect(fields.get("content-type")).toBe("application/xml");
    expect(fields.get("content-length")).toBe(String(reply.body.bytes.length));
    expect(fields.get("x-amz-request-id")).toBe("0000000000000001");
    expect(fields.get("x-amz-id-2")).toBe("node-1");
    expect(fields.has("x-cache")).toBe(false);
    expect(state.errorCode).toBe("SlowDown");
  });

  test("has the length but not the body for HEAD", () => {
    const get = respond.error(stateOf(), s3Error("SlowDown"));
    const head = respond.error(stateOf([], "HEAD"), s3Error("SlowDown"));
    expect(head.body.kind).toBe("none");
    expect(head.headers).toEqual(get.headers);
  });
});

describe("a failure before the headers is told", () => {
  const expected: Record<ErrorCode, number> = {
    client_gone: 400,
    client_body_invalid: 400,
    upstream_unreachable: 502,
    upstream_connect_timeout: 504,
    upstream_header_timeout: 504,
    upstream_stalled: 504,
    upstream_reset: 502,
    upstream_wrong_length: 502,
    upstream_protocol: 502,
    upstream_changed: 502,
    slow_consumer: 503,
    shutting_down: 503,
    storage_io: 500,
    corrupt_entry: 500,
    storage_locked: 500,
  };
  test.each(Object.keys(ERROR_CODES) as ErrorCode[])("%s", (code) => {
    expect(errorOfFailure(new GatewayError(code, "x")).status).toBe(expected[code]);
  });

  test("as an internal error when it is a bug", () => {
    expect(errorOfFailure(new TypeError("x")).code).toBe("InternalError");
    expect(errorOfFailure("thrown text").code).toBe("InternalError");
  });
});
