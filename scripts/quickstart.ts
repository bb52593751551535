/**
 * The tour of quickstart.sh: builds dist/tag, starts `tag dev` with 20 ms of simulated distance to
 * its object store, writes a few objects, and reads each twice through the gateway with the AWS
 * SDK, first from afar and then from the local disk.
 *
 *     bun scripts/quickstart.ts [--once]
 *
 * Keeps serving until Ctrl-C; with --once it ends after the table. TAG_HTTP_PORT chooses the port,
 * otherwise it is 8080, or any free one when that is taken. Everything lies in a temporary folder.
 */

import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import {
  CreateBucketCommand,
  GetObjectCommand,
  PutObjectCommand,
  S3Client,
} from "@aws-sdk/client-s3";
import Table from "cli-table3";

const ROOT = join(import.meta.dir, "..");
const BINARY = join(ROOT, "dist/tag");
const BUCKET = "quickstart";
const LATENCY_MS = 20;
const START_LIMIT_MS = 15_000;
const CREDENTIALS = { accessKeyId: "tagdev", secretAccessKey: "tagdevsecret" };

const OBJECTS: readonly {
  readonly key: string;
  readonly size: string;
  readonly sizeBytes: number;
}[] = [
  { key: "labels.json", size: "4 KiB", sizeBytes: 4 * 1024 },
  { key: "images/cat.jpg", size: "200 KiB", sizeBytes: 200 * 1024 },
  { key: "shards/train-0001.tar", size: "16 MiB", sizeBytes: 16 * 1024 * 1024 },
];

interface Read {
  readonly outcome: string;
  readonly ms: number;
}

/** Writes the objects and reads each twice; throws when a byte came back wrong. */
async function tour(endpoint: string): Promise<readonly (readonly [first: Read, second: Read])[]> {
  const s3 = new S3Client({
    endpoint,
    region: "auto",
    credentials: CREDENTIALS,
    forcePathStyle: true,
    maxAttempts: 1,
  });
  let outcome = "";
  s3.middlewareStack.add(
    (next) => async (args) => {
      const result = await next(args);
      const { headers } = result.response as { headers: Record<string, string> };
      outcome = headers["x-cache"] ?? "none";
      return result;
    },
    { step: "deserialize", priority: "low" },
  );

  async function read(key: string, expected: Uint8Array): Promise<Read> {
    const startedMs = performance.now();
    const { Body } = await s3.send(new GetObjectCommand({ Bucket: BUCKET, Key: key }));
    const bytes = await Body?.transformToByteArray();
    const ms = performance.now() - startedMs;
    if (bytes === undefined || Buffer.compare(bytes, expected) !== 0) {
      throw new Error(`${key} came back with other bytes`);
    }
    return { outcome, ms };
  }

  await s3.send(new CreateBucketCommand({ Bucket: BUCKET }));
  // The SDK's own first calls are slow; they are not what the table is about.
  const warmUp = randomBytes(1024);
  await s3.send(new PutObjectCommand({ Bucket: BUCKET, Key: "warm-up", Body: warmUp }));
  for (let round = 0; round < 3; round += 1) await read("warm-up", warmUp);
  const rows: [Read, Read][] = [];
  for (const { key, sizeBytes } of OBJECTS) {
    const content = randomBytes(sizeBytes);
    await s3.send(new PutObjectCommand({ Bucket: BUCKET, Key: key, Body: content }));
    rows.push([await read(key, content), await read(key, content)]);
  }
  s3.destroy();
  return rows;
}

function tableOf(rows: readonly (readonly [Read, Read])[]): string {
  const table = new Table({
    head: ["object", "size", "first read", "", "second read", "", "times faster"],
    colAligns: ["left", "right", "left", "right", "left", "right", "right"],
    style: { head: [], border: [] },
  });
  for (const [index, [first, second]] of rows.entries()) {
    const { key = "", size = "" } = OBJECTS[index] ?? {};
    table.push([
      key,
      size,
      first.outcome,
      `${first.ms.toFixed(1)} ms`,
      second.outcome,
      `${second.ms.toFixed(1)} ms`,
      (first.ms / second.ms).toFixed(1),
    ]);
  }
  return table.toString();
}

/** `wanted` when nothing listens there, else any free port. */
async function freePort(wanted: number): Promise<number> {
  const probe = (port: number) =>
    new Promise<number | undefined>((resolve) => {
      const server = createServer();
      server.once("error", () => resolve(undefined));
      server.listen(port, "127.0.0.1", () => {
        const taken = (server.address() as AddressInfo).port;
        server.close(() => resolve(taken));
      });
    });
  const port = (await probe(wanted)) ?? (await probe(0));
  if (port === undefined) throw new Error("no free port on 127.0.0.1");
  return port;
}

async function isHealthy(endpoint: string): Promise<boolean> {
  const answer = await fetch(`${endpoint}/health`).catch(() => undefined);
  return answer?.status === 200;
}

async function main(): Promise<void> {
  const build = Bun.spawnSync([process.execPath, join(ROOT, "scripts/build.ts")], {
    stdout: "ignore",
    stderr: "inherit",
  });
  if (!build.success) throw new Error("the build failed");

  const folder = await mkdtemp(join(tmpdir(), "tag-quickstart-"));
  const port = await freePort(Number(process.env["TAG_HTTP_PORT"] ?? 8080));
  const endpoint = `http://127.0.0.1:${port}`;
  const logPath = join(folder, "tag.log");
  const log = Bun.file(logPath);
  const program = Bun.spawn(
    [BINARY, "dev", "--origin", join(folder, "origin"), "--latency", `${LATENCY_MS}ms`],
    {
      cwd: folder,
      env: {
        PATH: process.env["PATH"] ?? "",
        TAG_HTTP_PORT: String(port),
        TAG_READ_PORT: "0",
        TAG_BIND_IP: "127.0.0.1",
        TAG_CACHE_DISK_PATH: join(folder, "cache"),
      },
      stdin: "ignore",
      stdout: log,
      stderr: log,
      // A session of its own: Ctrl-C reaches it once, through us, and a second signal would cut it.
      detached: true,
    },
  );

  let isStopping = false;
  const stop = () => {
    if (!isStopping) program.kill("SIGTERM");
    isStopping = true;
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, stop);

  try {
    const deadlineMs = performance.now() + START_LIMIT_MS;
    while (!(await isHealthy(endpoint))) {
      if (program.exitCode !== null || performance.now() > deadlineMs) {
        throw new Error(`tag dev did not start:\n${await log.text()}`);
      }
      await Bun.sleep(20);
    }
    console.log(`\nThe object store is ${LATENCY_MS} ms away; the cache is on this disk.\n`);
    console.log(tableOf(await tour(endpoint)));
    console.log(`
endpoint     ${endpoint}  (path style, any region)
credentials  AWS_ACCESS_KEY_ID=${CREDENTIALS.accessKeyId} AWS_SECRET_ACCESS_KEY=${CREDENTIALS.secretAccessKey}
stop         Ctrl-C; the log is ${logPath}
`);
    if (!process.argv.includes("--once")) {
      await program.exited;
      if (!isStopping) throw new Error(`tag dev ended by itself:\n${await log.text()}`);
    }
  } catch (error) {
    // Whatever fails after a signal to us fails because the gateway is ending.
    if (!isStopping) throw error;
  } finally {
    stop();
    await program.exited;
    await rm(folder, { recursive: true, force: true });
  }
}

try {
  await main();
} catch (error) {
  console.error(`quickstart: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
