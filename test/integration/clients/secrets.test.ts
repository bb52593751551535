// Goal: in transparent mode a client's secret never gets into the gateway: not into its memory, its
// log or its disk.
// Method: the origin, which must know the secret, is a process of its own; clients sign in every way
// they can; then everything the gateway holds is searched. That the search works is shown by
// the client's access key id and the gateway's own secret, which it must find.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { closeSync, openSync, readFileSync, readSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

import { GetObjectCommand, PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";

import { startBinary, startProgram, type Program } from "../../support/binary.ts";
import { RawClient } from "../../support/raw-client.ts";

const random = (name: string) => `${name}-${randomBytes(16).toString("hex")}`;
const CLIENT = { accessKeyId: random("client"), secretAccessKey: random("client-secret") };
const GATEWAY = { accessKeyId: random("gateway"), secretAccessKey: random("gateway-secret") };
const BUCKET = "secrets";
const ORIGIN_PROCESS = join(import.meta.dir, "../../support/origin-process.ts");

describe.skipIf(process.platform !== "linux")("a client's secret", () => {
  let origin: Program;
  let gateway: Program;

  beforeAll(async () => {
    const originOptions = {
      root: "origin",
      credentials: [{ ...CLIENT, rights: { "*": ["own"] } }],
      proxyAccess: GATEWAY,
    };
    origin = await startProgram([process.execPath, ORIGIN_PROCESS], {
      ORIGIN_OPTIONS: JSON.stringify(originOptions),
    });
    gateway = await startBinary(["serve", "--log-level", "debug"], {
      TAG_UPSTREAM_ENDPOINT: `http://localhost:${origin.port}`,
      AWS_ACCESS_KEY_ID: GATEWAY.accessKeyId,
      AWS_SECRET_ACCESS_KEY: GATEWAY.secretAccessKey,
      TAG_PERSIST_LEARNED: "true",
    });
    await useEveryKindOfSignature(gateway.endpoint);
  });

  afterAll(async () => {
    await gateway[Symbol.asyncDispose]();
    await origin[Symbol.asyncDispose]();
  });

  test("is not in the gateway's memory", () => {
    const found = searchMemory(gateway.pid, [
      CLIENT.accessKeyId,
      GATEWAY.secretAccessKey,
      CLIENT.secretAccessKey,
    ]);
    expect(found).toEqual([true, true, false]);
  });

  test("is not in its log", async () => {
    // Lines are written in batches.
    while (!gateway.output().includes(BUCKET)) await Bun.sleep(20);
    expect(gateway.output()).not.toContain(CLIENT.secretAccessKey);
    expect(gateway.output()).not.toContain(GATEWAY.secretAccessKey);
  });

  test("is not on its disk", async () => {
    const cache = join(gateway.folder, "cache");
    const entries = await readdir(cache, { recursive: true, withFileTypes: true });
    const files = entries.filter((entry) => entry.isFile());
    const contents = await Promise.all(
      files.map((file) => readFile(join(file.parentPath, file.name))),
    );
    // The etag of what was read shows that the cache was used and that the search reads it.
    expect(contents.some((content) => content.includes(BUCKET))).toBe(true);
    for (const secret of [CLIENT.secretAccessKey, GATEWAY.secretAccessKey]) {
      expect(contents.some((content) => content.includes(secret))).toBe(false);
    }
  });
});

/** Signs in headers, in a URL, and chunk by chunk; reads until the gateway answers itself. */
async function useEveryKindOfSignature(endpoint: string): Promise<void> {
  const raw = new RawClient(endpoint, CLIENT);
  expect((await raw.call({ method: "PUT", rawTarget: `/${BUCKET}` })).status).toBe(200);
  const sdk = new S3Client({ endpoint, region: "auto", credentials: CLIENT, forcePathStyle: true });
  const object = { Bucket: BUCKET, Key: "object" };
  await sdk.send(new PutObjectCommand({ ...object, Body: randomBytes(5000) }));
  const outcomes: (string | null | undefined)[] = [];
  for (let round = 0; round < 2; round += 1) {
    outcomes.push((await raw.get(BUCKET, "object")).fields.get("x-cache"));
  }
  const url = await getSignedUrl(sdk, new GetObjectCommand(object), { expiresIn: 600 });
  const presigned = await fetch(url);
  await presigned.arrayBuffer();
  outcomes.push(presigned.headers.get("x-cache"));
  expect(outcomes).toEqual(["MISS", "HIT", "HIT"]);
  sdk.destroy();
}

const PAGE_BYTES = 4096;
const OVERLAP_BYTES = 256;

/** For each text, whether it stands anywhere in the readable memory of a process. */
function searchMemory(pid: number, texts: readonly string[]): boolean[] {
  // JavaScript keeps a string as Latin-1 or as UTF-16.
  const needles = texts.map((text) => [Buffer.from(text, "latin1"), Buffer.from(text, "utf16le")]);
  const found = texts.map(() => false);
  const chunk = Buffer.alloc(16 * 1024 * 1024);
  const memory = openSync(`/proc/${pid}/mem`, "r");
  try {
    for (const { start, end } of readableRegions(pid)) {
      let at = start;
      while (at < end) {
        const length = readMemory(memory, chunk, at, Math.min(chunk.length, end - at));
        const part = chunk.subarray(0, length);
        for (const [index, forms] of needles.entries()) {
          found[index] ||= forms.some((form) => part.includes(form));
        }
        // A page that cannot be read is left out; pieces overlap, for a text across their border.
        at += length === 0 ? PAGE_BYTES : Math.max(length - OVERLAP_BYTES, PAGE_BYTES);
      }
    }
  } finally {
    closeSync(memory);
  }
  return found;
}

/** The readable memory of a process, files it maps included; the kernel's own pages are not. */
function readableRegions(pid: number): { start: number; end: number }[] {
  const lines = readFileSync(`/proc/${pid}/maps`, "utf8").split("\n");
  return lines.flatMap((line) => {
    const match = /^([0-9a-f]+)-([0-9a-f]+) r\S+ \S+ \S+ \d+ *(.*)$/.exec(line);
    const [, start = "", end = "", name = ""] = match ?? [];
    if (match === null || name.startsWith("[v")) return [];
    return [{ start: Number.parseInt(start, 16), end: Number.parseInt(end, 16) }];
  });
}

/** How much could be read; reserved pages that were never touched cannot, and hold nothing. */
function readMemory(memory: number, into: Buffer, at: number, length: number): number {
  try {
    return readSync(memory, into, 0, length, at);
  } catch {
    return 0;
  }
}
