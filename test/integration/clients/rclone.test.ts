import { describeClient, DEV_PAIR, runTool, type S3Client } from "./suite.ts";

describeClient({
  name: "rclone",
  isInstalled: Bun.which("rclone") !== null,
  connect,
  cannotSend: {
    "leading slash": "removes it",
    "trailing slash": "means a folder",
    "double slash": "makes it one",
    "dot segment": "removes it",
    "dot alone": "removes it",
    "dot dot segment": "resolves it",
    "dot dot alone": "resolves it",
    "leading dot dot": "resolves it",
  },
});

function connect(endpoint: string, folder: string): S3Client {
  const env = {
    HOME: folder,
    RCLONE_CONFIG: `${folder}/rclone.conf`,
    RCLONE_S3_PROVIDER: "Other",
    RCLONE_S3_ENDPOINT: endpoint,
    RCLONE_S3_REGION: "auto",
    RCLONE_S3_ACCESS_KEY_ID: DEV_PAIR.accessKeyId,
    RCLONE_S3_SECRET_ACCESS_KEY: DEV_PAIR.secretAccessKey,
    RCLONE_RETRIES: "1",
    RCLONE_LOW_LEVEL_RETRIES: "1",
  };
  const rclone = (...args: readonly string[]) => runTool(["rclone", ...args], env);
  const remote = (bucket: string, key: string) => `:s3:${bucket}/${key}`;

  return {
    async put(bucket, key, file) {
      await rclone("copyto", file, remote(bucket, key));
    },
    async get(bucket, key, file) {
      await rclone("copyto", remote(bucket, key), file);
      // To rclone a missing object is an empty folder, and copying that is a success.
      if (!(await Bun.file(file).exists())) throw new Error(`rclone found no ${key}`);
    },
    async getRange(bucket, key, start, end) {
      const span = ["--offset", String(start), "--count", String(end - start)];
      return rclone("cat", ...span, remote(bucket, key));
    },
    async list(bucket, prefix) {
      const names = (await rclone("lsf", remote(bucket, prefix))).toString().trim().split("\n");
      return names.map((name) => prefix + name);
    },
    async putMultipart(bucket, key, file) {
      const inParts = ["--s3-upload-cutoff", "5M", "--s3-chunk-size", "8M"];
      await rclone("copyto", ...inParts, file, remote(bucket, key));
    },
    async delete(bucket, key) {
      await rclone("deletefile", remote(bucket, key));
    },
  };
}
