// Issue C: every write path invalidates, before forwarding and after success; what upstream
// refuses invalidates nothing; and what is no write leaves the cache alone.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { answer, Gate, resetBeforeHeaders, type Script } from "../../support/scripted-upstream.ts";
import { BUCKET, targetOf, World } from "../read-path/world.ts";
import { send, type Write } from "./writer.ts";

const XML = "<Some/>";
const OK_XML = { status: 200, headers: ["Content-Type", "application/xml"], body: "<Result/>" };

interface Path {
  readonly name: string;
  /** The request, for an object called `key`. */
  readonly write: (key: string) => Write;
  readonly ok: Parameters<typeof answer>[0];
}

const onObject =
  (method: string, query: string, body?: string, headers: readonly string[] = []) =>
  (key: string): Write => ({
    method,
    target: targetOf(key) + query,
    headers,
    ...(body === undefined ? {} : { body }),
  });

const onBucket =
  (method: string, query: string, body?: string, headers: readonly string[] = []) =>
  (): Write => ({
    method,
    target: `/${BUCKET}${query}`,
    headers,
    ...(body === undefined ? {} : { body }),
  });

const EMPTY = { status: 200 };
const GONE = { status: 204, framing: "none" as const };
const formOf = (key: string) =>
  `--x\r\nContent-Disposition: form-data; name="key"\r\n\r\n${key}\r\n` +
  '--x\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nnew\r\n--x--\r\n';
const FORM = ["Content-Type", "multipart/form-data; boundary=x"];

/** Every operation that makes a stored answer wrong. */
const WRITES: readonly Path[] = [
  { name: "PutObject", write: onObject("PUT", "", "new"), ok: { headers: ["ETag", '"new"'] } },
  {
    name: "PutObject of no bytes",
    write: onObject("PUT", "", ""),
    ok: { headers: ["ETag", '"0"'] },
  },
  {
    name: "CopyObject",
    write: onObject("PUT", "", undefined, ["x-amz-copy-source", `/${BUCKET}/other`]),
    ok: { ...OK_XML, body: "<CopyObjectResult/>" },
  },
  { name: "DeleteObject", write: onObject("DELETE", ""), ok: GONE },
  { name: "DeleteObject of a version", write: onObject("DELETE", "?versionId=3"), ok: GONE },
  {
    name: "DeleteObjects",
    write: (key) => ({
      method: "POST",
      target: `/${BUCKET}?delete`,
      body: `<Delete><Object><Key>${key}</Key></Object></Delete>`,
    }),
    ok: { ...OK_XML, body: "<DeleteResult/>" },
  },
  {
    name: "CompleteMultipartUpload",
    write: onObject("POST", "?uploadId=u", "<CompleteMultipartUpload/>"),
    ok: { ...OK_XML, body: "<CompleteMultipartUploadResult/>" },
  },
  { name: "PutObjectAcl", write: onObject("PUT", "?acl", XML), ok: EMPTY },
  { name: "PutObjectTagging", write: onObject("PUT", "?tagging", XML), ok: EMPTY },
  { name: "DeleteObjectTagging", write: onObject("DELETE", "?tagging"), ok: GONE },
  { name: "PutObjectRetention", write: onObject("PUT", "?retention", XML), ok: EMPTY },
  { name: "PutObjectLegalHold", write: onObject("PUT", "?legal-hold", XML), ok: EMPTY },
  { name: "RestoreObject", write: onObject("POST", "?restore", XML), ok: { status: 202 } },
  { name: "PutBucketPolicy", write: onBucket("PUT", "?policy", "{}"), ok: GONE },
  { name: "DeleteBucketPolicy", write: onBucket("DELETE", "?policy"), ok: GONE },
  { name: "PutBucketAcl", write: onBucket("PUT", "?acl", XML), ok: EMPTY },
  { name: "PutBucketCors", write: onBucket("PUT", "?cors", XML), ok: EMPTY },
  { name: "DeleteBucketCors", write: onBucket("DELETE", "?cors"), ok: GONE },
  { name: "PutPublicAccessBlock", write: onBucket("PUT", "?publicAccessBlock", XML), ok: EMPTY },
  {
    name: "PutBucketOwnershipControls",
    write: onBucket("PUT", "?ownershipControls", XML),
    ok: EMPTY,
  },
  { name: "DeleteBucket", write: onBucket("DELETE", ""), ok: GONE },
  {
    name: "a form upload",
    write: (key) => ({
      method: "POST",
      target: `/${BUCKET}`,
      headers: FORM,
      body: formOf(key),
      isUnsigned: true,
    }),
    ok: GONE,
  },
];

const NO_WRITES: readonly Path[] = [
  { name: "UploadPart", write: onObject("PUT", "?uploadId=u&partNumber=1", "part"), ok: EMPTY },
  { name: "CreateMultipartUpload", write: onObject("POST", "?uploads"), ok: OK_XML },
  { name: "AbortMultipartUpload", write: onObject("DELETE", "?uploadId=u"), ok: GONE },
  { name: "SelectObjectContent", write: onObject("POST", "?select&select-type=2", XML), ok: EMPTY },
  { name: "CreateBucket", write: onBucket("PUT", ""), ok: EMPTY },
  { name: "PutBucketTagging", write: onBucket("PUT", "?tagging", XML), ok: EMPTY },
  { name: "PutBucketLifecycle", write: onBucket("PUT", "?lifecycle", XML), ok: EMPTY },
];

let w: World;
/** Where writes end without an answer: what they may have touched is doubted for a minute. */
let uncertain: World;
let count = 0;

beforeAll(async () => {
  w = await World.open();
  uncertain = await World.open();
  for (const world of [w, uncertain]) await world.teach(world.alice);
});

afterAll(async () => {
  await w[Symbol.asyncDispose]();
  await uncertain[Symbol.asyncDispose]();
});

/** An object of its own, served from the cache. */
async function cached(world = w): Promise<string> {
  count += 1;
  const key = `k${count}`;
  world.s3.put(BUCKET, key, "old");
  await world.warm(key);
  return key;
}

/** Scripts the next request of this kind. */
function script(path: Path, key: string, act: ReturnType<typeof answer>, world = w): void {
  const { method, target } = path.write(key);
  world.upstream.once(method, new RegExp(`^${RegExp.escape(target)}$`), act);
}

describe.each(WRITES)("$name", (path) => {
  test("makes the next read ask upstream, once it succeeded", async () => {
    const key = await cached();
    script(path, key, async (call) => {
      w.s3.put(BUCKET, key, "new");
      await answer(path.ok)(call);
    });
    const { status } = path.ok ?? {};
    expect((await send(w, path.write(key))).status).toBe(status ?? 200);
    const read = await w.alice.get(key);
    expect([read.xCache, read.body.toString()]).toEqual(["MISS", "new"]);
  });

  test("keeps unconfirmed bytes from everybody while upstream has not answered", async () => {
    const key = await cached();
    const [done, gate] = [new Gate(), new Gate()];
    script(path, key, async (call) => {
      await call.readBody();
      w.s3.put(BUCKET, key, "new"); // it is done, and nobody knows yet
      done.open();
      await gate.opened;
      await answer(path.ok)(call);
    });
    const writing = send(w, path.write(key));
    await done.opened;
    const read = await w.alice.get(key);
    expect(read.body.toString()).toBe("new");
    expect(w.asked(key, "GET").length).toBeGreaterThan(0);
    gate.open();
    await writing;
    expect((await w.alice.get(key)).body.toString()).toBe("new");
  });

  test.each([403, 412, 501])("keeps the entry when upstream answers %d", async (status) => {
    const key = await cached();
    script(path, key, answer({ status, body: "<Error><Code>No</Code></Error>" }));
    expect((await send(w, path.write(key))).status).toBe(status);
    const read = await w.alice.get(key);
    expect([read.xCache, read.body.toString()]).toEqual(["HIT", "old"]);
    expect(w.asked(key, "GET")).toHaveLength(0);
  });

  test.each<[string, Script, number]>([
    ["upstream failed", answer({ status: 500 }), 500],
    ["the answer is lost", resetBeforeHeaders, 502],
  ])("invalidates when %s, because it may have been done", async (_what, act, status) => {
    const key = await cached(uncertain);
    const done: Script = (call) => {
      uncertain.s3.put(BUCKET, key, "new");
      return act(call);
    };
    script(path, key, done, uncertain);
    expect((await send(uncertain, path.write(key))).status).toBe(status);
    expect((await uncertain.alice.get(key)).body.toString()).toBe("new");
    // It may still be done: everything is confirmed for a while.
    uncertain.s3.put(BUCKET, key, "newer");
    expect((await uncertain.alice.get(key)).body.toString()).toBe("newer");
  });
});

test.each(NO_WRITES)("$name leaves the entry alone", async (path) => {
  const key = await cached();
  script(path, key, answer(path.ok));
  expect((await send(w, path.write(key))).status).toBe(path.ok?.status ?? 200);
  expect((await w.alice.get(key)).xCache).toBe("HIT");
});

test("a rename takes the entry of its source with it", async () => {
  const from = await cached();
  const to = await cached();
  w.upstream.once("PUT", targetOf(to), answer({ ...OK_XML, body: "<CopyObjectResult/>" }));
  await send(w, {
    method: "PUT",
    target: targetOf(to),
    headers: ["x-amz-copy-source", targetOf(from), "X-Tigris-Rename", "true"],
  });
  expect((await w.alice.get(from)).xCache).toBe("MISS");
  expect((await w.alice.get(to)).xCache).toBe("MISS");
});

test("a write of one object leaves the others alone", async () => {
  const one = await cached();
  const other = await cached();
  await send(w, { method: "PUT", target: targetOf(one), body: "new" });
  expect((await w.alice.get(other)).xCache).toBe("HIT");
  expect((await w.alice.get(one)).body.toString()).toBe("new");
});

test("a form upload of one object leaves the others alone, one whose key is not plain does not", async () => {
  const one = await cached();
  const other = await cached();
  const form = { method: "POST", target: `/${BUCKET}`, headers: FORM, isUnsigned: true };
  w.upstream.once("POST", `/${BUCKET}`, answer(GONE));
  await send(w, { ...form, body: formOf(one) });
  expect((await w.alice.get(other)).xCache).toBe("HIT");
  expect((await w.alice.get(one)).xCache).toBe("MISS");
  w.upstream.once("POST", `/${BUCKET}`, answer(GONE));
  await send(w, { ...form, body: formOf("${filename}") });
  expect((await w.alice.get(other)).xCache).toBe("MISS");
});

test("a write nobody could deliver keeps the entry", async () => {
  const key = await cached();
  await w.upstream.refuse();
  // A round trip later the gateway knows that its idle connections are gone; on one of those the write
  // might have been delivered.
  await w.metric("tag_inflight_requests");
  expect((await send(w, { method: "PUT", target: targetOf(key), body: "new" })).status).toBe(502);
  await w.upstream.listen();
  expect((await w.alice.get(key)).xCache).toBe("HIT");
});

test("an answer without X-Cache: a write is no read", async () => {
  const key = await cached();
  const { xCache } = await send(w, { method: "PUT", target: targetOf(key), body: "new" });
  expect(xCache).toBeUndefined();
});
