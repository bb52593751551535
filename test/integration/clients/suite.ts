/**
 * What every S3 client must be able to do through the compiled binary, written once: a client is
 * an adapter of six calls, and describeClient runs the suite on it. Each client works through a
 * tap, so that the replies are judged as the gateway sent them.
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { AWKWARD_KEYS } from "../../support/awkward-keys.ts";
import { startBinary, type Program } from "../../support/binary.ts";
import { RawClient } from "../../support/raw-client.ts";
import { openTap, type Tap, type TappedReply } from "../../support/tap.ts";

/** The key pair `tag dev` gives all rights to. */
export const DEV_PAIR = { accessKeyId: "tagdev", secretAccessKey: "tagdevsecret" };

export interface S3Client {
  put(bucket: string, key: string, file: string): Promise<void>;
  /** Downloads the whole object to `file`, which does not exist yet. Throws when there is none. */
  get(bucket: string, key: string, file: string): Promise<void>;
  /** Reads `[start, end)`; a client that can only continue a download ignores `end`. */
  getRange(bucket: string, key: string, start: number, end: number): Promise<Uint8Array>;
  /** Keys of a bucket that start with `prefix`. */
  list(bucket: string, prefix: string): Promise<string[]>;
  putMultipart(bucket: string, key: string, file: string): Promise<void>;
  delete(bucket: string, key: string): Promise<void>;
  close?(): Promise<void>;
}

export interface ClientUnderTest {
  readonly name: string;
  /** False: not on this machine, the tests are skipped (scripts/test.sh says so). */
  readonly isInstalled: boolean;
  /** Opens the client with the dev key pair; `folder` is for its files. */
  connect(endpoint: string, folder: string): S3Client;
  /** Names of awkward keys the client cannot send, with what it does to them instead. */
  readonly cannotSend: Readonly<Record<string, string>>;
}

const BUCKET = "clients";
const LARGE_BYTES = 40 * 1024 * 1024;

export function describeClient(under: ClientUnderTest): void {
  describe.skipIf(!under.isInstalled)(`${under.name} through the compiled binary`, () => {
    let folder: string;
    let program: Program;
    let tap: Tap;
    let client: S3Client;
    let raw: RawClient;
    let files = 0;

    beforeAll(async () => {
      folder = await mkdtemp(join(tmpdir(), "tag-client-"));
      program = await startBinary(["dev"]);
      tap = await openTap(program.port);
      client = under.connect(tap.endpoint, folder);
      raw = new RawClient(program.endpoint, DEV_PAIR);
      const created = await raw.call({ method: "PUT", rawTarget: `/${BUCKET}` });
      expect(created.status).toBe(200);
    });

    afterAll(async () => {
      await client.close?.();
      await tap[Symbol.asyncDispose]();
      await program[Symbol.asyncDispose]();
      await rm(folder, { recursive: true });
    });

    const newFile = () => join(folder, `file-${(files += 1)}`);

    async function fileOf(bytes: Uint8Array): Promise<string> {
      const file = newFile();
      await Bun.write(file, bytes);
      return file;
    }

    /** Downloads with the client and returns the bytes and the object reads it caused. */
    async function download(key: string): Promise<{ bytes: Buffer; reads: TappedReply[] }> {
      const before = tap.replies.length;
      const file = newFile();
      await client.get(BUCKET, key, file);
      const reads = tap.replies.slice(before).filter(isObjectRead);
      expect(reads.length).toBeGreaterThan(0);
      for (const read of reads) expectContentLength(read);
      return { bytes: Buffer.from(await Bun.file(file).arrayBuffer()), reads };
    }

    test("reads back what it put, the second time from the cache", async () => {
      const content = randomBytes(100_000);
      await client.put(BUCKET, "twice", await fileOf(content));

      const first = await download("twice");
      expect(first.bytes.equals(content)).toBe(true);
      expect(outcomes(first.reads)).toContain("MISS");

      const second = await download("twice");
      expect(second.bytes.equals(content)).toBe(true);
      expect(outcomes(second.reads)).toEqual(["HIT"]);
    });

    test("reads a range of a cached object", async () => {
      const content = randomBytes(50_000);
      await client.put(BUCKET, "range", await fileOf(content));
      await download("range");

      const before = tap.replies.length;
      const part = Buffer.from(await client.getRange(BUCKET, "range", 20_000, 50_000));
      expect(part.equals(content.subarray(20_000, 50_000))).toBe(true);
      const partial = tap.replies.slice(before).filter(({ status }) => status === 206);
      expect(outcomes(partial)).toEqual(["HIT"]);
      for (const reply of partial) expect(reply.fields.get("content-length")).toBe("30000");
    });

    test("uploads 40 MiB in parts and reads them twice", async () => {
      const content = randomBytes(LARGE_BYTES);
      const before = tap.replies.length;
      await client.putMultipart(BUCKET, "large", await fileOf(content));
      const parts = tap.replies
        .slice(before)
        .filter((reply) => reply.method === "PUT" && reply.rawTarget.includes("partNumber="));
      expect(parts.length).toBeGreaterThan(1);

      const first = await download("large");
      expect(first.bytes.equals(content)).toBe(true);
      const second = await download("large");
      expect(second.bytes.equals(content)).toBe(true);
      expect(outcomes(second.reads)).toEqual(["HIT"]);
    });

    test("sees its own overwrite", async () => {
      await client.put(BUCKET, "overwritten", await fileOf(Buffer.from("before")));
      await download("overwritten");
      await download("overwritten");
      await client.put(BUCKET, "overwritten", await fileOf(Buffer.from("after!")));
      expect((await download("overwritten")).bytes.toString()).toBe("after!");
    });

    test("lists what it put", async () => {
      for (const key of ["list/a", "list/b"]) {
        await client.put(BUCKET, key, await fileOf(Buffer.from(key)));
      }
      expect((await client.list(BUCKET, "list/")).toSorted()).toEqual(["list/a", "list/b"]);
    });

    test("no longer reads what it deleted", async () => {
      await client.put(BUCKET, "deleted", await fileOf(randomBytes(1000)));
      await download("deleted");
      await client.delete(BUCKET, "deleted");
      const attempt = client.get(BUCKET, "deleted", newFile());
      expect(
        await attempt.then(
          () => "read",
          () => "refused",
        ),
      ).toBe("refused");
      expect((await raw.get(BUCKET, "deleted")).status).toBe(404);
    });

    for (const { name, key } of AWKWARD_KEYS) {
      const because = under.cannotSend[name];
      // Not a skipped test: there is nothing the gateway could do about it.
      if (because !== undefined) continue;
      test(`reads a key with ${name} from the cache`, async () => {
        const content = randomBytes(500);
        await client.put(BUCKET, key, await fileOf(content));
        const warm = await raw.get(BUCKET, key);
        expect(warm.status).toBe(200);
        expect(content.equals(warm.body)).toBe(true);

        const { bytes, reads } = await download(key);
        expect(bytes.equals(content)).toBe(true);
        expect(outcomes(reads)).toEqual(["HIT"]);
      });
    }
  });
}

/** GET or HEAD of an object of the test bucket, answered with success; listings are not reads. */
function isObjectRead({ method, rawTarget, status }: TappedReply): boolean {
  const [path = "", query = ""] = rawTarget.split("?", 2);
  const isObject = path.startsWith(`/${BUCKET}/`) && path.length > BUCKET.length + 2;
  const isListing = query.includes("list-type=") || query.includes("uploadId=");
  return (method === "GET" || method === "HEAD") && isObject && !isListing && status < 300;
}

function expectContentLength({ method, rawTarget, fields }: TappedReply): void {
  const length = fields.get("content-length") ?? "missing";
  expect(`${method} ${rawTarget} Content-Length ${length}`).toMatch(/Content-Length \d+$/);
}

/** The different `X-Cache` values of some replies. */
function outcomes(replies: readonly TappedReply[]): string[] {
  return [...new Set(replies.map(({ fields }) => fields.get("x-cache") ?? "none"))];
}

/** Runs a program of a client and returns its standard output; throws when it exits non-zero. */
export async function runTool(
  command: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<Buffer> {
  const child = Bun.spawn([...command], {
    env: { PATH: process.env["PATH"] ?? "", ...env },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr, exitCode] = await Promise.all([
    child.stdout.bytes(),
    child.stderr.text(),
    child.exited,
  ]);
  if (exitCode !== 0) throw new Error(`${command.join(" ")} exited ${exitCode}: ${stderr}`);
  return Buffer.from(stdout);
}
