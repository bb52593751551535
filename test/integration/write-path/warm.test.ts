// Issue C, "Warm on write": what was written is a hit before anybody read it, exactly as a read would have
// stored it; published only when upstream confirmed it; and off unless asked for.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { answer, Gate } from "../../support/scripted-upstream.ts";
import { eventually } from "../../support/eventually.ts";
import { BUCKET, targetOf, World } from "../read-path/world.ts";
import { begin, type Coding, send, type Write } from "./writer.ts";

const XML = ["Content-Type", "application/xml"];

let w: World;
let count = 0;

beforeAll(async () => {
  w = await World.open({ TAG_CACHE_WARM_ON_WRITE: "true" });
  await w.teach(w.alice);
});

afterAll(() => w[Symbol.asyncDispose]());

const newKey = () => `k${(count += 1)}`;

function put(key: string, more: Partial<Write> = {}): Write {
  return { method: "PUT", target: targetOf(key), body: "written", ...more };
}

/** Upstream stores `stored` for the key and answers the PUT of it. */
function accepting(key: string, stored: string | Uint8Array, world = w): void {
  world.upstream.once("PUT", targetOf(key), async (call) => {
    await call.readBody();
    const object = world.s3.put(BUCKET, key, stored, { headers: ["x-amz-meta-a", "b"] });
    await answer({ headers: ["ETag", object.etag] })(call);
  });
}

const gets = (key: string) => w.asked(key, "GET").length;

/** Waits for the copy to be stored, without reading it. */
async function settled(): Promise<void> {
  let stored = -1;
  await eventually(async () => {
    const before = stored;
    stored = await w.metric("tag_cache_fills_total");
    return stored === before && (await w.metric("tag_inflight_requests")) === 0;
  });
}

describe.each<Coding>([
  "plain",
  "sha256",
  "signed-chunks",
  "signed-chunks-trailer",
  "unsigned-trailer",
])("an object sent as a %s body", (coding) => {
  test.each([0, 1, 4096, 100_000, 3_000_000])("of %d bytes is a hit at once", async (sizeBytes) => {
    const key = newKey();
    const body = Buffer.alloc(sizeBytes, "the quick brown fox ");
    accepting(key, body);
    w.upstream.requests.length = 0;
    expect((await send(w, put(key, { coding, body }))).status).toBe(200);
    await eventually(async () => (await w.alice.head(key)).xCache === "HIT");
    const read = await w.alice.get(key);
    expect([read.xCache, read.body.equals(body)]).toEqual(["HIT", true]);
    expect(read.fields.get("x-amz-meta-a")).toBe("b"); // as upstream would tell it
    expect(gets(key)).toBe(0); // not a byte was fetched
  });
});

test("off by default: the next read goes upstream", async () => {
  await using own = await World.open();
  await own.teach(own.alice);
  accepting("k", "written", own);
  await send(own, put("k"));
  expect((await own.alice.get("k")).xCache).toBe("MISS");
  expect(await own.metric("tag_warm_on_write_triggered_total")).toBe(0);
});

test("a PUT that was refused leaves nothing", async () => {
  const key = newKey();
  w.upstream.once("PUT", targetOf(key), answer({ status: 403 }));
  expect((await send(w, put(key))).status).toBe(403);
  w.s3.put(BUCKET, key, "of somebody else");
  await settled();
  const read = await w.alice.get(key);
  expect([read.xCache, read.body.toString()]).toEqual(["MISS", "of somebody else"]);
});

test("a PUT that was refused leaves the entry there was", async () => {
  const key = newKey();
  w.s3.put(BUCKET, key, "old");
  await w.warm(key);
  w.upstream.once("PUT", targetOf(key), answer({ status: 412 }));
  await send(w, put(key));
  await settled();
  const read = await w.alice.get(key);
  expect([read.xCache, read.body.toString()]).toEqual(["HIT", "old"]);
});

test("a PUT whose client leaves half-way leaves nothing", async () => {
  const key = newKey();
  const open = await begin(w, put(key, { body: "x".repeat(100_000) }));
  await open.wire.send(open.framed.subarray(0, 50_000));
  await w.upstream.received(w.upstream.requests.length);
  open.wire.destroy();
  await settled();
  expect((await w.alice.get(key)).status).toBe(404);
});

test("a body that is not what its framing says is not stored, whatever upstream thinks of it", async () => {
  const key = newKey();
  accepting(key, "upstream's idea");
  await send(w, put(key, { coding: "signed-chunks", body: "x".repeat(20_000), damage: "chunk" }));
  await settled();
  expect((await w.alice.get(key)).body.toString()).toBe("upstream's idea");
});

test("the copy is not kept when somebody else has written since", async () => {
  const key = newKey();
  const gate = new Gate();
  accepting(key, "written");
  w.s3.beforeHead = (request) => (request.method === "HEAD" ? gate.opened : undefined);
  await send(w, put(key));
  w.s3.put(BUCKET, key, "newer, from elsewhere");
  w.s3.beforeHead = undefined;
  gate.open();
  await settled();
  const read = await w.alice.get(key);
  expect(read.body.toString()).toBe("newer, from elsewhere");
});

test("the copy of one write does not come after another write through the gateway", async () => {
  const key = newKey();
  const gate = new Gate();
  accepting(key, "first");
  w.upstream.once("HEAD", targetOf(key), async (call) => {
    const told = w.s3.answerTo(call);
    await gate.opened;
    await answer(told)(call);
  });
  await send(w, put(key, { body: "first" }));
  accepting(key, "second");
  await send(w, put(key, { body: "second" }));
  gate.open();
  await settled();
  for (let turn = 0; turn < 3; turn += 1) {
    expect((await w.alice.get(key)).body.toString()).toBe("second");
  }
});

test("writers at the same time leave the version upstream kept", async () => {
  for (let round = 0; round < 10; round += 1) {
    const key = newKey();
    await Promise.all(["one", "two", "three", "four"].map((body) => send(w, put(key, { body }))));
    await settled();
    const kept = await w.alice.get(key, ["Cache-Control", "no-store"]);
    expect((await w.alice.get(key)).body.toString()).toBe(kept.body.toString());
  }
});

test.each<[string, (key: string) => Write, string]>([
  [
    "CopyObject",
    (key) => ({
      method: "PUT",
      target: targetOf(key),
      headers: ["x-amz-copy-source", "/bucket/x"],
    }),
    "<CopyObjectResult/>",
  ],
  [
    "CompleteMultipartUpload",
    (key) => ({ method: "POST", target: `${targetOf(key)}?uploadId=u`, body: "<C/>" }),
    "<CompleteMultipartUploadResult/>",
  ],
])("what %s put together is read back once, and hit from then on", async (_name, write, body) => {
  const key = newKey();
  w.upstream.once(write(key).method, targetOf(key), async (call) => {
    await call.readBody();
    w.s3.put(BUCKET, key, "x".repeat(300_000));
    await answer({ headers: XML, body })(call);
  });
  await send(w, write(key));
  await eventually(async () => (await w.alice.head(key)).xCache === "HIT");
  expect((await w.alice.get(key)).xCache).toBe("HIT");
  expect(gets(key)).toBe(1);
});

test("a failure inside a 200 warms nothing", async () => {
  const key = newKey();
  w.upstream.once(
    "POST",
    targetOf(key),
    answer({ headers: XML, body: "<Error><Code>InvalidPart</Code></Error>" }),
  );
  await send(w, { method: "POST", target: `${targetOf(key)}?uploadId=u`, body: "<C/>" });
  await settled();
  expect(w.asked(key, "GET")).toHaveLength(0);
});

test("a write that only changes what is told of an object warms nothing", async () => {
  const key = newKey();
  w.upstream.once("PUT", targetOf(key), answer());
  await send(w, { method: "PUT", target: `${targetOf(key)}?acl`, body: "<Acl/>" });
  await settled();
  expect(w.asked(key, "GET")).toHaveLength(0);
});

test("no-store and objects beyond the threshold are not kept", async () => {
  await using own = await World.open({
    TAG_CACHE_WARM_ON_WRITE: "true",
    TAG_CACHE_SIZE_THRESHOLD: "1000",
  });
  await own.teach(own.alice);
  accepting("large", "x".repeat(2000), own);
  await send(own, put("large", { body: "x".repeat(2000) }));
  own.upstream.once("PUT", targetOf("private"), async (call) => {
    await call.readBody();
    const object = own.s3.put(BUCKET, "private", "x", { headers: ["Cache-Control", "no-store"] });
    await answer({ headers: ["ETag", object.etag] })(call);
  });
  await send(own, put("private", { body: "x" }));
  for (const key of ["large", "private"]) {
    expect((await own.alice.get(key)).xCache).toBe("MISS");
  }
});
