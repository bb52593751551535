// Issue C: a client that leaves mid-write, or an upstream that never answers, never brings old bytes
// back; and costs no entry when upstream cannot have had the whole request.

import { expect, test } from "bun:test";
import { answer, Gate, hangBeforeHeaders } from "../../support/scripted-upstream.ts";
import { eventually } from "../../support/eventually.ts";
import { BUCKET, targetOf, World } from "../read-path/world.ts";
import { begin, send, type Write } from "./writer.ts";

const PUT: Write = { method: "PUT", target: targetOf("k"), body: "n".repeat(200_000) };

async function worldWith(env: Record<string, string> = {}): Promise<World> {
  const w = await World.open(env);
  await w.teach(w.alice);
  w.s3.put(BUCKET, "k", "old");
  await w.warm("k");
  return w;
}

test("a client that leaves before its body is whole costs no entry", async () => {
  await using w = await worldWith();
  const open = await begin(w, PUT);
  await open.wire.send(open.framed.subarray(0, 100_000));
  await w.upstream.received(1);
  open.wire.destroy();
  await eventually(() => w.upstream.openConnections === 0 || w.upstream.requests.length === 1);
  await eventually(async () => (await w.metric("tag_inflight_requests")) === 0);
  const read = await w.alice.get("k");
  expect([read.xCache, read.body.toString()]).toEqual(["HIT", "old"]);
  expect(w.upstream.requests[0]?.bodySha256).toBeUndefined(); // upstream never had all of it
});

test.each<[string, Write]>([
  ["PutObject", PUT],
  ["DeleteObject", { method: "DELETE", target: targetOf("k") }],
])("a client that leaves after the whole of its %s does not stop it", async (_name, write) => {
  await using w = await worldWith();
  const gate = new Gate();
  w.upstream.once(write.method, targetOf("k"), async (call) => {
    await call.readBody();
    await gate.opened;
    w.s3.put(BUCKET, "k", "new");
    await answer({ headers: ["ETag", '"new"'] })(call);
  });
  const open = await begin(w, write);
  await open.wire.send(open.framed);
  await w.upstream.received(1);
  open.wire.destroy();
  // While it is under way, upstream is asked each time.
  expect((await w.alice.get("k")).body.toString()).toBe("old");
  gate.open();
  await eventually(async () => (await w.alice.get("k")).body.toString() === "new");
  await eventually(async () => (await w.metric("tag_inflight_requests")) === 0);
  await w.warm("k");
  expect((await w.alice.get("k")).body.toString()).toBe("new");
});

test("a write upstream never answers may happen after all: nothing is used unconfirmed", async () => {
  await using w = await worldWith({ TAG_UPSTREAM_HEADER_TIMEOUT: "100ms" });
  w.upstream.once("PUT", targetOf("k"), hangBeforeHeaders);
  expect((await send(w, PUT)).status).toBe(504);
  expect((await w.alice.get("k")).body.toString()).toBe("old");
  w.s3.put(BUCKET, "k", "new"); // now upstream does it
  expect((await w.alice.get("k")).body.toString()).toBe("new");
});

test("a write upstream answered before it had read everything is settled by that answer", async () => {
  await using w = await worldWith();
  w.upstream.once("PUT", targetOf("k"), async (call) => {
    await call.writeHead(403, ["Content-Length", "0", "Connection", "close"], "Forbidden");
    call.end();
  });
  const open = await begin(w, PUT);
  await open.wire.send(open.framed.subarray(0, 1000));
  expect((await open.answer()).status).toBe(403);
  await open[Symbol.asyncDispose]();
  expect((await w.alice.get("k")).xCache).toBe("HIT");
});

test("a body that breaks its own framing costs no entry", async () => {
  await using w = await worldWith();
  const open = await begin(w, { ...PUT, coding: "signed-chunks", framing: "chunked" });
  await open.wire.send("zz\r\nnot a chunk size\r\n");
  await open.wire.rest();
  await open[Symbol.asyncDispose]();
  expect((await w.alice.get("k")).xCache).toBe("HIT");
});

test("stopping the gateway in the middle of a write leaves nothing that a restart would serve", async () => {
  await using w = await worldWith();
  const gate = new Gate();
  w.upstream.once("PUT", targetOf("k"), async (call) => {
    await call.readBody();
    w.s3.put(BUCKET, "k", "new");
    await gate.opened;
    await answer()(call);
  });
  const open = await begin(w, PUT);
  await open.wire.send(open.framed);
  await w.upstream.received(1);
  await w.restart();
  gate.open();
  expect((await w.alice.get("k")).body.toString()).toBe("new");
  await open[Symbol.asyncDispose]();
}, 30_000); // as a process it waits for its requests before it stops
