import { join } from "node:path";

import { describeClient, DEV_PAIR, runTool, type S3Client } from "./suite.ts";

describeClient({
  name: "AWS CLI",
  isInstalled: Bun.which("aws") !== null,
  connect,
  cannotSend: {},
});

function connect(endpoint: string, folder: string): S3Client {
  const env = {
    HOME: folder,
    AWS_ACCESS_KEY_ID: DEV_PAIR.accessKeyId,
    AWS_SECRET_ACCESS_KEY: DEV_PAIR.secretAccessKey,
    AWS_DEFAULT_REGION: "auto",
    AWS_MAX_ATTEMPTS: "1",
    AWS_PAGER: "",
  };
  const aws = (...args: readonly string[]) =>
    runTool(["aws", "--endpoint-url", endpoint, ...args], env).catch((error) =>
      Promise.reject(new Error(`aws ${args.join(" ")}`, { cause: error })),
    );
  const object = (bucket: string, key: string) => ["--bucket", bucket, "--key", key];

  return {
    async put(bucket, key, file) {
      await aws("s3api", "put-object", ...object(bucket, key), "--body", file);
    },
    async get(bucket, key, file) {
      await aws("s3api", "get-object", ...object(bucket, key), file);
    },
    async getRange(bucket, key, start, end) {
      const file = join(folder, "range");
      const range = `bytes=${start}-${end - 1}`;
      await aws("s3api", "get-object", ...object(bucket, key), "--range", range, file);
      return Bun.file(file).bytes();
    },
    async list(bucket, prefix) {
      const page = await aws("s3api", "list-objects-v2", "--bucket", bucket, "--prefix", prefix);
      const { Contents } = JSON.parse(page.toString()) as { Contents: { Key: string }[] };
      return Contents.map(({ Key }) => Key);
    },
    async putMultipart(bucket, key, file) {
      await aws("s3", "cp", "--only-show-errors", file, `s3://${bucket}/${key}`);
    },
    async delete(bucket, key) {
      await aws("s3", "rm", "--only-show-errors", `s3://${bucket}/${key}`);
    },
  };
}
