/** Objects for tests of a store: bodies that cannot be confused, and the steps of a fill. */

import { readSync } from "node:fs";
import { readAll } from "../../src/base/byte-source.ts";
import type { FilePlace } from "../../src/base/counted-bytes.ts";
import type { ObjectId } from "../../src/s3/object-id.ts";
import type {
  Fill,
  FillRequest,
  ObjectMeta,
  Storage,
  StoredBody,
  StoredObject,
} from "../../src/storage/storage.ts";

/** `sizeBytes` bytes that follow from `seed` and look like nothing else. */
export function patternOf(seed: string, sizeBytes: number): Uint8Array {
  const words = new Uint32Array(Math.ceil(sizeBytes / 4));
  let state = Bun.hash.crc32(seed) | 1;
  for (let index = 0; index < words.length; index += 1) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[index] = state;
  }
  return new Uint8Array(words.buffer, 0, sizeBytes);
}

/** What a GET of an object might have brought; `more` replaces parts of it. */
export function metaOf(
  id: ObjectId,
  sizeBytes: number,
  more: Partial<ObjectMeta> = {},
): ObjectMeta {
  return {
    id,
    sizeBytes,
    etag: '"0123456789abcdef0123456789abcdef"',
    lastModified: "Mon, 01 Jan 2026 00:00:00 GMT",
    headers: [
      "Content-Type",
      "text/plain",
      "ETag",
      '"0123456789abcdef0123456789abcdef"',
      "x-amz-meta-Ünïcode",
      "äöü € 𝄞",
      "Set-Thing",
      "a",
      "set-thing",
      "b",
    ],
    storedAtMs: 1_700_000_000_000,
    freshUntilMs: 1_700_000_060_000,
    isPublic: false,
    ...more,
  };
}

/** The bytes of a body, however it is handed out; releases it. */
export async function bytesOf(body: StoredBody | undefined): Promise<Uint8Array | undefined> {
  if (body === undefined) return undefined;
  switch (body.kind) {
    case "bytes": {
      if (body.release === undefined) return body.bytes;
      const bytes = body.bytes.slice();
      if (body.inFile !== undefined && !sameBytes(inFileOf(body.inFile, bytes.length), bytes)) {
        throw new Error("what was lent is not what lies in its file");
      }
      body.release();
      return bytes;
    }
    case "stream":
      try {
        return await readAll(body.source, 2 ** 30);
      } finally {
        body.source.close();
      }
    case "file": {
      const bytes = inFileOf(body.file, body.file.lengthBytes);
      body.file.release();
      return bytes;
    }
  }
}

const sameBytes = (one: Uint8Array, other: Uint8Array) => Buffer.compare(one, other) === 0;

/** What a file has at a place, at most `lengthBytes` of it. */
export function inFileOf(
  { descriptor, offsetBytes }: Pick<FilePlace, "descriptor" | "offsetBytes">,
  lengthBytes: number,
): Uint8Array {
  const bytes = new Uint8Array(lengthBytes);
  return bytes.subarray(0, readSync(descriptor, bytes, 0, lengthBytes, offsetBytes));
}

/** The whole body of an entry, undefined when it is a miss. */
export async function bodyOf(
  storage: Storage,
  object: StoredObject,
): Promise<Uint8Array | undefined> {
  return bytesOf(await storage.read(object, { start: 0, end: object.sizeBytes }));
}

/** `beginFill`, for tests that do not expect a refusal. */
export function mustBegin(storage: Storage, request: FillRequest): Fill {
  const fill = storage.beginFill(request);
  if ("refused" in fill) throw new Error(`the fill was refused: ${fill.refused}`);
  return fill;
}

/** What freed memory holds in tests. */
const POISON = 0xee;

/**
 * Writes in the chunks a socket would bring, the memory of which gets other contents as soon as the fill
 * says that it is done with them.
 */
export async function writeAll(fill: Fill, offset: number, bytes: Uint8Array): Promise<void> {
  const step = 64 * 1024;
  let written: { readonly start: number; readonly chunk: Uint8Array }[] = [];
  for (let at = 0; at < bytes.length; at += step) {
    const chunk = bytes.slice(at, at + step);
    const start = offset + at;
    await fill.write(start, chunk);
    written.push({ start, chunk });
    written = written.filter((one) => {
      const isDone = fill.isDoneWith(one.start, one.start + one.chunk.length);
      if (isDone) one.chunk.fill(POISON);
      return !isDone;
    });
  }
}

/** Stores a whole object and returns the committed entry. */
export async function store(
  storage: Storage,
  meta: ObjectMeta,
  body: Uint8Array,
): Promise<StoredObject> {
  const fill = mustBegin(storage, { meta });
  await writeAll(fill, 0, body);
  const outcome = await fill.commit(() => true);
  fill.release();
  if (outcome.kind !== "committed") throw new Error(`not committed: ${JSON.stringify(outcome)}`);
  return outcome.object;
}
