// Issue C: a 200 whose body carries <Error> is a failure. Upstream says 200 at once, sends blanks
// while it works, and tells at the end whether it did.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { answer, Gate, type Script } from "../../support/scripted-upstream.ts";
import { eventually } from "../../support/eventually.ts";
import { BUCKET, targetOf, timed, World } from "../read-path/world.ts";
import { begin, send, type Write } from "./writer.ts";

const XML = ["Content-Type", "application/xml"];
const REFUSED = "<Error><Code>InvalidPart</Code><Message>No</Message></Error>";

let w: World;
let count = 0;

beforeAll(async () => {
  w = await World.open();
  await w.teach(w.alice);
});

afterAll(() => w[Symbol.asyncDispose]());

async function cached(): Promise<string> {
  count += 1;
  const key = `k${count}`;
  w.s3.put(BUCKET, key, "old");
  await w.warm(key);
  return key;
}

/** A 200 that sends blanks until the gate opens, and then `verdict`. */
function slowly(verdict: string, gate: Gate, act: () => void): Script {
  return async (call) => {
    await call.readBody();
    await call.writeHead(200, [...XML, "Transfer-Encoding", "chunked"], "OK");
    await call.write("1\r\n \r\n");
    await gate.opened;
    act();
    await call.write(`${verdict.length.toString(16)}\r\n${verdict}\r\n0\r\n\r\n`);
  };
}

describe.each<[string, (key: string) => Write, string]>([
  [
    "CopyObject",
    (key) => ({
      method: "PUT",
      target: targetOf(key),
      headers: ["x-amz-copy-source", `/${BUCKET}/other`],
    }),
    "<CopyObjectResult><ETag>e</ETag></CopyObjectResult>",
  ],
  [
    "CompleteMultipartUpload",
    (key) => ({ method: "POST", target: `${targetOf(key)}?uploadId=u`, body: "<Complete/>" }),
    "<CompleteMultipartUploadResult/>",
  ],
])("%s", (_name, write, success) => {
  const path = (key: string) => new RegExp(`^${RegExp.escape(write(key).target)}$`);

  test("that fails inside a 200 keeps the entry, and the client sees what upstream said", async () => {
    const key = await cached();
    const gate = new Gate();
    w.upstream.once(
      "*",
      path(key),
      slowly(REFUSED, gate, () => undefined),
    );
    gate.open();
    const seen = await send(w, write(key));
    expect([seen.status, seen.body.toString().trim()]).toEqual([200, REFUSED]);
    const read = await w.alice.get(key);
    expect([read.xCache, read.body.toString()]).toEqual(["HIT", "old"]);
  });

  test("that succeeds after blanks is seen by whoever has read its answer", async () => {
    const key = await cached();
    const gate = new Gate();
    w.upstream.once(
      "*",
      path(key),
      slowly(success, gate, () => w.s3.put(BUCKET, key, "new")),
    );
    await using open = await begin(w, write(key));
    await open.wire.send(open.framed);
    expect((await open.wire.head()).status).toBe(200);
    gate.open();
    await open.wire.rest();
    expect((await w.alice.get(key)).body.toString()).toBe("new");
  });

  test("sends blanks on as they come, so that no client runs into a timeout", async () => {
    const key = await cached();
    const gate = new Gate();
    w.upstream.once("*", path(key), async (call) => {
      await call.readBody();
      await call.writeHead(200, [...XML, "Transfer-Encoding", "chunked"], "OK");
      for (let blank = 0; blank < 3; blank += 1) await call.write("1\r\n \r\n");
      await gate.opened;
      await call.write(`${success.length.toString(16)}\r\n${success}\r\n0\r\n\r\n`);
    });
    await using open = await begin(w, write(key));
    await open.wire.send(open.framed);
    expect((await open.wire.head()).status).toBe(200);
    let blanks = "";
    while (blanks.split(" ").length < 4) blanks += (await open.wire.bytes(1)).toString("latin1");
    gate.open();
    expect((await open.wire.rest()).toString("latin1")).toContain(success);
  });

  test("is heard out when its client leaves between the 200 and the verdict", async () => {
    const key = await cached();
    const gate = new Gate();
    let isDone = false;
    w.upstream.once(
      "*",
      path(key),
      slowly(success, gate, () => {
        w.s3.put(BUCKET, key, "new");
        isDone = true;
      }),
    );
    const open = await begin(w, write(key));
    await open.wire.send(open.framed);
    await open.wire.head();
    open.wire.destroy();
    await w.alice.get(key); // confirmed by upstream, hence right either way
    gate.open();
    await eventually(() => isDone);
    await eventually(async () => (await w.alice.get(key)).body.toString() === "new");
    await w.warm(key);
    expect((await w.alice.get(key)).body.toString()).toBe("new");
  });
});

test("a body that breaks before its verdict counts as done", async () => {
  await using own = await World.open();
  await own.teach(own.alice);
  own.s3.put(BUCKET, "k", "old");
  await own.warm("k");
  own.upstream.once("POST", targetOf("k"), async (call) => {
    await call.readBody();
    await call.writeHead(200, [...XML, "Transfer-Encoding", "chunked"], "OK");
    await call.write("1\r\n \r\n");
    own.s3.put(BUCKET, "k", "new");
    call.end();
  });
  const seen = await send(own, {
    method: "POST",
    target: `${targetOf("k")}?uploadId=u`,
    body: "x",
  });
  expect(seen.isTruncated).toBe(true);
  expect((await own.alice.get("k")).body.toString()).toBe("new");
});

test("CompleteMultipartUpload sent twice leaves no reader with the older version", async () => {
  const key = await cached();
  const write: Write = { method: "POST", target: `${targetOf(key)}?uploadId=u`, body: "<C/>" };
  const first = new Gate();
  w.upstream.once(
    "POST",
    targetOf(key),
    slowly("<CompleteMultipartUploadResult/>", first, () => undefined),
  );
  const slow = send(w, write);
  await w.upstream.received(1);
  // The client lost patience and tries again; by now upstream has done it.
  w.s3.put(BUCKET, key, "new");
  w.upstream.once(
    "POST",
    targetOf(key),
    answer({ status: 404, body: "<Error><Code>NoSuchUpload</Code></Error>" }),
  );
  expect((await send(w, write)).status).toBe(404);
  expect((await w.alice.get(key)).body.toString()).toBe("new");
  first.open();
  expect((await slow).status).toBe(200);
  expect((await w.alice.get(key)).body.toString()).toBe("new");
});

describe("a completion that is asked for again", () => {
  const RESULT = "<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>";
  const write = (key: string): Write => ({
    method: "POST",
    target: `${targetOf(key)}?uploadId=u`,
    body: "<C/>",
  });

  async function completed(): Promise<string> {
    const key = await cached();
    w.upstream.once(
      "POST",
      targetOf(key),
      answer({ headers: [...XML, "x-amz-version-id", "7"], body: RESULT }),
    );
    expect((await send(w, write(key))).status).toBe(200);
    w.upstream.requests.length = 0;
    return key;
  }

  test("is answered as before, since upstream may have forgotten the upload", async () => {
    const key = await completed();
    const again = await send(w, write(key));
    expect([again.status, again.body.toString()]).toEqual([200, RESULT]);
    expect(again.fields.get("x-amz-version-id")).toBe("7");
    expect(w.upstream.requests).toHaveLength(0);
  });

  test.each<[string, Partial<Write>]>([
    ["another client", { pair: { accessKeyId: "tid_bob", secretAccessKey: "bob-secret" } }],
    ["a wrong signature", { pair: { accessKeyId: "tid_alice", secretAccessKey: "no" } }],
    ["nobody", { isUnsigned: true }],
  ])("goes upstream when it comes from %s", async (_who, more) => {
    const key = await completed();
    w.upstream.once("POST", targetOf(key), answer({ status: 403 }));
    expect((await send(w, { ...write(key), ...more })).status).toBe(403);
    expect(w.upstream.requests).toHaveLength(1);
  });

  timed("goes upstream when it is another upload, or a while later", async () => {
    const key = await completed();
    w.upstream.on("POST", targetOf(key), answer({ status: 404 }));
    const other = { ...write(key), target: `${targetOf(key)}?uploadId=v` };
    expect((await send(w, other)).status).toBe(404);
    w.clock.shift(5_001);
    expect((await send(w, write(key))).status).toBe(404);
  });
});
