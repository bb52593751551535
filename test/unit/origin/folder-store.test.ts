// What is on disk: order of keys, atomic replacement, and that a restart finds what was
// acknowledged and removes what was not.

import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bytesSource, readAll } from "../../../src/base/byte-source.ts";
import { systemRandom } from "../../../src/base/random.ts";
import { FolderStore } from "../../../src/origin/folder-store.ts";
import { receiveSource } from "../../../src/origin/receive-body.ts";
import type { ObjectRecord } from "../../../src/origin/records.ts";
import { fileSource } from "../../../src/origin/reply-stream.ts";
import { isS3Error } from "../../../src/s3/error.ts";

let root: string;
let store: FolderStore;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "tag-origin-store-"));
  store = new FolderStore(root, systemRandom);
  store.catalog.putBucket({ name: "b", createdAtMs: 1, ownerId: "o", acl: [], tags: undefined });
});

afterEach(() => {
  store.close();
  rmSync(root, { recursive: true, force: true });
});

async function put(key: string, text: string): Promise<ObjectRecord> {
  const received = await receiveSource(store, bytesSource(Buffer.from(text)), {});
  if (isS3Error(received)) throw new Error(received.code);
  const object: ObjectRecord = {
    key,
    sizeBytes: received.sizeBytes,
    etag: received.md5,
    modifiedAtMs: 1,
    body: received.body,
    checksum: undefined,
    parts: undefined,
    fields: ["Content-Type", "text/plain"],
    tags: [],
    acl: undefined,
    ownerId: "o",
    storageClass: "STANDARD",
  };
  store.discard(store.catalog.putObject("b", object));
  return object;
}

async function read(object: ObjectRecord): Promise<string> {
  const file = store.bodies.open(object.body, { start: 0, end: object.sizeBytes });
  if (file === undefined) throw new Error("gone");
  return Buffer.from(await readAll(fileSource(file), 1e6)).toString();
}

function bodyFiles(): string[] {
  return readdirSync(join(root, "objects"), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => entry.name);
}

function reopen(): void {
  store.close();
  store = new FolderStore(root, systemRandom);
}

test("what was put is there after a restart, with everything known of it", async () => {
  const object = await put("k", "hello");
  reopen();
  expect(store.catalog.object("b", "k")).toEqual(JSON.parse(JSON.stringify(object)));
  expect(await read(object)).toBe("hello");
});

test("replacing an object leaves one body file, and its readers their bytes", async () => {
  const first = await put("k", "first");
  const file = store.bodies.open(first.body, { start: 0, end: 5 });
  const second = await put("k", "second");
  expect(bodyFiles()).toEqual([second.body]);
  if (file === undefined) throw new Error("gone");
  expect(Buffer.from(await readAll(fileSource(file), 100)).toString()).toBe("first");
});

test("a restart removes bodies no row names, and drafts", async () => {
  const object = await put("k", "kept");
  writeFileSync(join(root, "objects", "00", "00ffffffffffffffffffffffffffffff"), "orphan");
  writeFileSync(join(root, "drafts", "unfinished"), "draft");
  reopen();
  expect(bodyFiles()).toEqual([object.body]);
  expect(readdirSync(join(root, "drafts"))).toEqual([]);
});

test("a body that is not as announced leaves nothing behind", async () => {
  const received = await receiveSource(store, bytesSource(Buffer.from("abc")), { lengthBytes: 4 });
  expect(isS3Error(received) && received.code).toBe("IncompleteBody");
  expect(bodyFiles()).toEqual([]);
  expect(readdirSync(join(root, "drafts"))).toEqual([]);
});

test("a body that breaks leaves nothing behind", async () => {
  const broken = {
    read: () => Promise.reject(new Error("broken")),
    close: () => undefined,
  };
  expect(receiveSource(store, broken, {})).rejects.toThrow("broken");
  await Promise.resolve();
  expect(bodyFiles()).toEqual([]);
});

test("a second opener of the folder is refused while the first one runs", () => {
  expect(() => new FolderStore(root, systemRandom)).toThrow(
    `another dev origin serves the folder ${root}`,
  );
});

test("any key is stored and found as itself", async () => {
  for (const key of ["\0", "a\nb", "..", "ü", "u\u0308", "🚀".repeat(256)]) {
    await put(key, key);
    expect(store.catalog.object("b", key)?.key).toBe(key);
  }
  const keys = store.catalog
    .scanObjects("b")(new Uint8Array(0), 100)
    .map(({ key }) => key);
  expect(keys).toEqual(keys.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))));
});

test("a bucket with objects is not deleted", async () => {
  await put("k", "x");
  expect(store.catalog.deleteBucket("b")).toBeUndefined();
  store.discard(store.catalog.deleteObject("b", "k"));
  expect(store.catalog.deleteBucket("b")).toEqual([]);
  expect(store.catalog.bucket("b")).toBeUndefined();
});
