/**
 * The objects of a benchmark: a few classes of equal size, random content, in one public bucket.
 */

import { EMPTY_SHA256, signerFor, signRequest, UNSIGNED_PAYLOAD } from "../../src/s3/sigv4.ts";
import { CLIENT } from "./credentials.ts";

export const KIB = 1024;
export const MIB = 1024 * KIB;

export const BUCKET = "bench";

/** Objects of one size: `prefix/00000`, `prefix/00001` … */
export interface ObjectClass {
  readonly prefix: string;
  readonly sizeBytes: number;
  readonly count: number;
}

export type ClassName = "1k" | "16k" | "100k" | "1m" | "8m" | "64m" | "model" | "settle";

/**
 * Everything that is read. The objects of `settle` are read before anything counts, from a cache that
 * has nothing yet: so keys and rights are known, connections stand, and code is compiled that compiles as it runs.
 */
export type DataSet = Readonly<Record<ClassName, ObjectClass>>;

/** Counts are such that a class fits into memory and is more than one object. */
export const FULL_DATA: DataSet = {
  "1k": { prefix: "1k", sizeBytes: KIB, count: 2000 },
  "16k": { prefix: "16k", sizeBytes: 16 * KIB, count: 1000 },
  "100k": { prefix: "100k", sizeBytes: 100 * KIB, count: 10_000 },
  "1m": { prefix: "1m", sizeBytes: MIB, count: 512 },
  "8m": { prefix: "8m", sizeBytes: 8 * MIB, count: 16 },
  "64m": { prefix: "64m", sizeBytes: 64 * MIB, count: 24 },
  model: { prefix: "model", sizeBytes: 256 * MIB, count: 1 },
  settle: { prefix: "settle", sizeBytes: KIB, count: 5000 },
};

/** Enough to exercise everything in a minute or two; its figures mean little. */
export const QUICK_DATA: DataSet = {
  "1k": { prefix: "1k", sizeBytes: KIB, count: 200 },
  "16k": { prefix: "16k", sizeBytes: 16 * KIB, count: 50 },
  "100k": { prefix: "100k", sizeBytes: 100 * KIB, count: 400 },
  "1m": { prefix: "1m", sizeBytes: MIB, count: 24 },
  "8m": { prefix: "8m", sizeBytes: 8 * MIB, count: 4 },
  "64m": { prefix: "64m", sizeBytes: 64 * MIB, count: 4 },
  model: { prefix: "model", sizeBytes: 128 * MIB, count: 1 },
  settle: { prefix: "settle", sizeBytes: KIB, count: 100 },
};

export function rawTargetOf({ prefix }: ObjectClass, index: number): string {
  return `/${BUCKET}/${prefix}/${String(index).padStart(5, "0")}`;
}

const UPLOADS_AT_ONCE = 8;

/** Makes the bucket and puts every object into it, straight into the origin. */
export async function upload(
  dataSet: Readonly<Record<string, ObjectClass>>,
  originPort: number,
): Promise<void> {
  const put = putter(originPort);
  await put(`/${BUCKET}`, "", ["x-amz-acl", "public-read"]);
  for (const objects of Object.values(dataSet)) {
    const content = randomContent(objects.sizeBytes);
    let next = 0;
    const uploader = async (): Promise<void> => {
      while (next < objects.count) {
        const index = next;
        next += 1;
        // The same noise with another beginning: objects differ, and making them costs little.
        const own = objects.sizeBytes > 8 * MIB ? content : content.slice();
        new DataView(own.buffer).setUint32(0, index);
        await put(rawTargetOf(objects, index), own, []);
      }
    };
    // Large ones share their buffer and so go one after the other.
    const uploaders = objects.sizeBytes > 8 * MIB ? 1 : UPLOADS_AT_ONCE;
    await Promise.all(Array.from({ length: uploaders }, uploader));
  }
}

function putter(port: number) {
  const host = `127.0.0.1:${port}`;
  return async (rawTarget: string, body: string | Uint8Array<ArrayBuffer>, extra: string[]) => {
    const payloadHash = body === "" ? EMPTY_SHA256 : UNSIGNED_PAYLOAD;
    const nowMs = Date.now(); // key and time of one day, also at midnight
    const raw = signRequest(
      { method: "PUT", rawTarget, headers: ["Host", host, ...extra], payloadHash },
      signerFor(CLIENT, CLIENT.region, nowMs),
      nowMs,
    );
    const headers = new Headers();
    for (let at = 0; at + 1 < raw.length; at += 2) headers.set(raw[at] ?? "", raw[at + 1] ?? "");
    const answer = await fetch(`http://${host}${rawTarget}`, { method: "PUT", headers, body });
    if (!answer.ok) {
      throw new Error(`PUT ${rawTarget}: ${answer.status} ${await answer.text()}`);
    }
  };
}

/** Noise that no compression shrinks; the same in every run. */
function randomContent(sizeBytes: number): Uint8Array<ArrayBuffer> {
  const words = new Uint32Array(Math.ceil(sizeBytes / 4));
  let state = 0x9e3779b9;
  for (let at = 0; at < words.length; at += 1) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[at] = state;
  }
  return new Uint8Array(words.buffer, 0, sizeBytes);
}
