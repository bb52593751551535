/** S3 clients that bring whole trees up and down: boto3, the AWS CLI and rclone. */

import { join } from "node:path";

/** The key pair `tag dev` gives all rights to. */
const PAIR = { accessKeyId: "tagdev", secretAccessKey: "tagdevsecret" };
const PYTHON = process.env["TAG_TEST_PYTHON"] ?? "python3";

export interface SyncClient {
  readonly name: string;
  readonly isInstalled: boolean;
  /** Makes the bucket as the folder is, deletions included. */
  up(endpoint: string, folder: string, bucket: string): Promise<void>;
  /** Makes the folder as the bucket is, deletions included. */
  down(endpoint: string, bucket: string, folder: string): Promise<void>;
}

const aws = (endpoint: string, from: string, to: string) =>
  run(
    ["aws", "--endpoint-url", endpoint, "s3", "sync", "--delete", "--only-show-errors", from, to],
    {
      AWS_ACCESS_KEY_ID: PAIR.accessKeyId,
      AWS_SECRET_ACCESS_KEY: PAIR.secretAccessKey,
      AWS_DEFAULT_REGION: "auto",
      AWS_PAGER: "",
    },
  );

const rclone = (endpoint: string, from: string, to: string) =>
  run(
    [
      "rclone",
      "sync",
      "--checksum",
      "--s3-chunk-size",
      "8M",
      "--s3-upload-cutoff",
      "16M",
      from,
      to,
    ],
    {
      RCLONE_CONFIG: "/dev/null",
      RCLONE_S3_PROVIDER: "Other",
      RCLONE_S3_ENDPOINT: endpoint,
      RCLONE_S3_REGION: "auto",
      RCLONE_S3_ACCESS_KEY_ID: PAIR.accessKeyId,
      RCLONE_S3_SECRET_ACCESS_KEY: PAIR.secretAccessKey,
    },
  );

const boto3 = (endpoint: string, direction: "up" | "down", bucket: string, folder: string) =>
  run([PYTHON, join(import.meta.dir, "boto3-sync.py"), endpoint, direction, bucket, folder], {
    AWS_ACCESS_KEY_ID: PAIR.accessKeyId,
    AWS_SECRET_ACCESS_KEY: PAIR.secretAccessKey,
  });

export const SYNC_CLIENTS: readonly SyncClient[] = [
  {
    name: "boto3",
    isInstalled: hasBoto3(),
    up: (endpoint, folder, bucket) => boto3(endpoint, "up", bucket, folder),
    down: (endpoint, bucket, folder) => boto3(endpoint, "down", bucket, folder),
  },
  {
    name: "AWS CLI",
    isInstalled: Bun.which("aws") !== null,
    up: (endpoint, folder, bucket) => aws(endpoint, folder, `s3://${bucket}`),
    down: (endpoint, bucket, folder) => aws(endpoint, `s3://${bucket}`, folder),
  },
  {
    name: "rclone",
    isInstalled: Bun.which("rclone") !== null,
    up: (endpoint, folder, bucket) => rclone(endpoint, folder, `:s3:${bucket}`),
    down: (endpoint, bucket, folder) => rclone(endpoint, `:s3:${bucket}`, folder),
  },
];

function hasBoto3(): boolean {
  if (Bun.which(PYTHON) === null) return false;
  return Bun.spawnSync([PYTHON, "-c", "import boto3"], { stderr: "ignore" }).success;
}

async function run(
  command: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<void> {
  const child = Bun.spawn([...command], {
    env: { PATH: process.env["PATH"] ?? "", HOME: "/nonexistent", LANG: "C.UTF-8", ...env },
    stdin: "ignore",
    stdout: "ignore",
    stderr: "pipe",
  });
  const [stderr, exitCode] = await Promise.all([child.stderr.text(), child.exited]);
  if (exitCode !== 0)
    throw new Error(`${command.slice(0, 4).join(" ")} exited ${exitCode}: ${stderr}`);
}
