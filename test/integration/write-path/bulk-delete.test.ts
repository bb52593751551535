// Issue C: DeleteObjects takes up to 1000 keys in one batch, fails for some of them, names versions
// and keys that need escaping, and comes framed as aws-chunked from some SDKs.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { answer } from "../../support/scripted-upstream.ts";
import { AWKWARD_KEYS } from "../../support/awkward-keys.ts";
import { BUCKET, World } from "../read-path/world.ts";
import { send, type Write } from "./writer.ts";

const XML = ["Content-Type", "application/xml"];
const TARGET = `/${BUCKET}?delete`;

let w: World;
let count = 0;

beforeAll(async () => {
  w = await World.open();
  await w.teach(w.alice);
});

afterAll(() => w[Symbol.asyncDispose]());

async function cached(...names: readonly string[]): Promise<string[]> {
  count += 1;
  const keys = names.map((name) => `${count}-${name}`);
  for (const key of keys) {
    w.s3.put(BUCKET, key, "old");
    await w.warm(key);
  }
  return keys;
}

const escape = (text: string) =>
  text
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll("\n", "&#10;")
    .replaceAll("\r", "&#13;");

function deletion(objects: readonly string[], more: Partial<Write> = {}): Write {
  const body = `<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${objects.join("")}</Delete>`;
  return { method: "POST", target: TARGET, body, ...more };
}

const plain = (key: string) => `<Object><Key>${escape(key)}</Key></Object>`;
const failed = (key: string, version = "") =>
  `<Error><Key>${escape(key)}</Key>${version}<Code>AccessDenied</Code><Message>No</Message></Error>`;

function answering(inner: string) {
  const body = `<?xml version="1.0"?>\n<DeleteResult>${inner}</DeleteResult>`;
  w.upstream.once("POST", /\?delete$/, answer({ headers: XML, body }));
}

async function outcomes(keys: readonly string[]): Promise<(string | undefined)[]> {
  const seen: (string | undefined)[] = [];
  for (const key of keys) seen.push((await w.alice.get(key)).xCache);
  return seen;
}

test("1000 keys go in one request, as they were sent, and cost upstream nothing else", async () => {
  const warm = await cached("a", "b", "c");
  const keys = [...warm, ...Array.from({ length: 997 }, (_, index) => `bulk/${index}`)];
  const write = deletion(keys.map(plain));
  answering("");
  expect((await send(w, write)).status).toBe(200);
  expect(w.upstream.requests).toHaveLength(1);
  expect(w.upstream.requests[0]?.body.toString()).toBe(String(write.body));
  expect(await outcomes(warm)).toEqual(["MISS", "MISS", "MISS"]);
});

test("a key that could not be deleted keeps its entry, the others lose theirs", async () => {
  const keys = await cached("kept", "gone");
  const [kept = "", gone = ""] = keys;
  answering(failed(kept) + `<Deleted><Key>${gone}</Key></Deleted>`);
  await send(w, deletion(keys.map(plain)));
  expect(await outcomes(keys)).toEqual(["HIT", "MISS"]);
});

test("in quiet mode only failures are told, and that is enough", async () => {
  const keys = await cached("kept", "gone");
  answering(failed(keys[0] ?? ""));
  await send(w, deletion(["<Quiet>true</Quiet>", ...keys.map(plain)]));
  expect(await outcomes(keys)).toEqual(["HIT", "MISS"]);
});

test("of several versions of a key, one success is enough to lose the entry", async () => {
  const keys = await cached("some", "none");
  const [some = "", none = ""] = keys;
  const versions = [some, some, none, none].map(
    (key, at) => `<Object><Key>${key}</Key><VersionId>v${at}</VersionId></Object>`,
  );
  // Servers answer with a version of their own making, or none: only the key counts.
  answering(
    failed(some, "<VersionId>null</VersionId>") +
      failed(none) +
      failed(none, "<VersionId>x</VersionId>"),
  );
  await send(w, deletion(versions));
  expect(await outcomes(keys)).toEqual(["MISS", "HIT"]);
});

test.each([
  ["a 403", 403, "<Error><Code>AccessDenied</Code></Error>"],
  ["an <Error> inside a 200", 200, "<Error><Code>MalformedXML</Code></Error>"],
])("%s keeps every entry", async (_what, status, body) => {
  const keys = await cached("a", "b");
  w.upstream.once("POST", /\?delete$/, answer({ status, headers: XML, body }));
  expect((await send(w, deletion(keys.map(plain)))).status).toBe(status);
  expect(await outcomes(keys)).toEqual(["HIT", "HIT"]);
});

test("an answer nobody can read costs every key its entry", async () => {
  const keys = await cached("a", "b");
  w.upstream.once("POST", /\?delete$/, answer({ headers: XML, body: "<DeleteResult><Err" }));
  await send(w, deletion(keys.map(plain)));
  expect(await outcomes(keys)).toEqual(["MISS", "MISS"]);
});

test("a body nobody can read costs the bucket its entries, if upstream can", async () => {
  const keys = await cached("a");
  answering("");
  await send(w, { method: "POST", target: TARGET, body: "<Delete><Object>" });
  expect(await outcomes(keys)).toEqual(["MISS"]);

  const kept = await cached("b");
  w.upstream.once("POST", /\?delete$/, answer({ status: 400, headers: XML, body: "<Error/>" }));
  await send(w, { method: "POST", target: TARGET, body: "<Delete><Object>" });
  expect(await outcomes(kept)).toEqual(["HIT"]);
});

test.each(["signed-chunks", "unsigned-trailer", "signed-chunks-trailer"] as const)(
  "a body framed as %s is read, and forwarded as it came",
  async (coding) => {
    const keys = await cached("a", "other");
    const [key = ""] = keys;
    answering("");
    expect((await send(w, deletion([plain(key)], { coding }))).status).toBe(200);
    expect(w.upstream.requests[0]?.body.toString("latin1")).toContain("\r\n");
    expect(await outcomes(keys)).toEqual(["MISS", "HIT"]);
  },
);

test.each(AWKWARD_KEYS)("a key with $name is found in the body", async ({ key }) => {
  const [other = ""] = await cached("other");
  w.s3.put(BUCKET, key, "old");
  await w.warm(key);
  answering("");
  await send(w, deletion([plain(key)]));
  expect(await outcomes([key, other])).toEqual(["MISS", "HIT"]);
});

test("a body of more than 8 MiB is refused before anything is forwarded", async () => {
  const [key = ""] = await cached("a");
  const refused = await send(w, deletion([plain(key), " ".repeat(9 * 1024 * 1024)]));
  expect(refused.status).toBe(400);
  expect(refused.body.toString()).toContain("<Code>MaxMessageLengthExceeded</Code>");
  expect(w.upstream.requests).toHaveLength(0);
  expect(await outcomes([key])).toEqual(["HIT"]);
});

test("a request without a body is refused", async () => {
  const refused = await send(w, { method: "POST", target: TARGET });
  expect(refused.status).toBe(400);
  expect(refused.body.toString()).toContain("<Code>MissingRequestBodyError</Code>");
});
