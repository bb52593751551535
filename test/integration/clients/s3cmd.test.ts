import { writeFile } from "node:fs/promises";
import { join } from "node:path";

import { describeClient, DEV_PAIR, runTool, type S3Client } from "./suite.ts";

describeClient({
  name: "s3cmd",
  isInstalled: Bun.which("s3cmd") !== null,
  connect,
  cannotSend: { "trailing slash": "means a folder", newline: "writes it out as text" },
});

function connect(endpoint: string, folder: string): S3Client {
  const { host } = new URL(endpoint);
  const options = [
    "--config=/dev/null",
    `--access_key=${DEV_PAIR.accessKeyId}`,
    `--secret_key=${DEV_PAIR.secretAccessKey}`,
    `--host=${host}`,
    `--host-bucket=${host}`, // without a placeholder: path-style
    "--no-ssl",
    "--no-progress",
  ];
  const env = { HOME: folder, LC_ALL: "C.UTF-8" };
  const s3cmd = (...args: readonly string[]) => runTool(["s3cmd", ...options, ...args], env);
  const url = (bucket: string, key: string) => `s3://${bucket}/${key}`;

  return {
    async put(bucket, key, file) {
      await s3cmd("put", file, url(bucket, key));
    },
    async get(bucket, key, file) {
      await s3cmd("get", url(bucket, key), file);
    },
    async getRange(bucket, key, start) {
      // s3cmd has no option for a range, but it continues a download where a file ends.
      const file = join(folder, "continued");
      await writeFile(file, Buffer.alloc(start));
      await s3cmd("get", "--continue", url(bucket, key), file);
      return (await Bun.file(file).bytes()).subarray(start);
    },
    async list(bucket, prefix) {
      const lines = (await s3cmd("ls", url(bucket, prefix))).toString().trim().split("\n");
      return lines.map((line) => line.slice(line.indexOf(`s3://${bucket}/`) + bucket.length + 6));
    },
    async putMultipart(bucket, key, file) {
      await s3cmd("put", "--multipart-chunk-size-mb=8", file, url(bucket, key));
    },
    async delete(bucket, key) {
      await s3cmd("del", url(bucket, key));
    },
  };
}
