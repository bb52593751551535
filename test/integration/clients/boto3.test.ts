import { join } from "node:path";

import { describeClient, DEV_PAIR, type S3Client } from "./suite.ts";

const PYTHON = process.env["TAG_TEST_PYTHON"] ?? "python3";

describeClient({
  name: "boto3",
  isInstalled: hasBoto3(),
  connect,
  cannotSend: {},
});

function hasBoto3(): boolean {
  if (Bun.which(PYTHON) === null) return false;
  return Bun.spawnSync([PYTHON, "-c", "import boto3"], { stderr: "ignore" }).success;
}

/** One Python process for all calls: importing boto3 takes longer than most of them. */
function connect(endpoint: string, folder: string): S3Client {
  const { accessKeyId, secretAccessKey } = DEV_PAIR;
  const script = join(import.meta.dir, "boto3-client.py");
  const child = Bun.spawn([PYTHON, script, endpoint, accessKeyId, secretAccessKey], {
    env: { PATH: process.env["PATH"] ?? "", HOME: folder },
    stdin: "pipe",
    stdout: "pipe",
    stderr: "inherit",
  });
  const answers = linesOf(child.stdout);

  async function call(name: string, ...args: readonly (string | number)[]): Promise<unknown> {
    await child.stdin.write(`${JSON.stringify([name, ...args])}\n`);
    await child.stdin.flush();
    const { value, done } = await answers.next();
    if (done === true) throw new Error("boto3-client.py ended");
    const answer: unknown = JSON.parse(value);
    if (typeof answer === "object" && answer !== null && "error" in answer) {
      throw new Error(`${name} ${args.join(" ")}: ${String(answer.error)}`);
    }
    return answer;
  }

  return {
    put: async (...args) => void (await call("put", ...args)),
    get: async (...args) => void (await call("get", ...args)),
    async getRange(bucket, key, start, end) {
      const file = join(folder, "range");
      await call("get_range", bucket, key, start, end, file);
      return Bun.file(file).bytes();
    },
    list: async (bucket, prefix) => (await call("list_keys", bucket, prefix)) as string[],
    putMultipart: async (...args) => void (await call("put_multipart", ...args)),
    delete: async (...args) => void (await call("delete", ...args)),
    async close() {
      await child.stdin.end();
      await child.exited;
    },
  };
}

async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string, void> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stream) {
    rest += decoder.decode(chunk, { stream: true });
    const lines = rest.split("\n");
    rest = lines.pop() ?? "";
    yield* lines;
  }
}
