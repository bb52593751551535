/**
 * The compiled program as a child process: started on free ports with folders of its own, ended
 * with the test. Nothing of the developer's environment reaches it.
 */

import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { systemClock } from "../../src/base/clock.ts";

const ROOT = join(import.meta.dir, "../..");

/** The compiled program, as `bun run build` leaves it. */
export const BINARY = join(ROOT, "dist/tag");

const START_LIMIT_MS = 20_000;
const STOP_LIMIT_MS = 15_000;

export interface Program extends AsyncDisposable {
  /** `http://127.0.0.1:<port>`. */
  readonly endpoint: string;
  readonly port: number;
  readonly pid: number;
  /** Cache, origin and whatever else it writes; removed with the program. */
  readonly folder: string;
  /** Everything it wrote to standard output and standard error so far. */
  output(): string;
  /** Sends SIGTERM and resolves to the exit code. */
  stop(): Promise<number>;
}

/**
 * Starts a command and waits until `GET /health` answers 200.
 *
 * @param command program and arguments
 * @param env     added to PATH and HOME; `TAG_HTTP_PORT=0` and folders below a temporary one are set
 * @param isLogInFile its standard error is a file and not a pipe
 */
export async function startProgram(
  command: readonly string[],
  env: Readonly<Record<string, string>> = {},
  isLogInFile = false,
): Promise<Program> {
  const folder = await mkdtemp(join(tmpdir(), "tag-program-"));
  const logPath = join(folder, "program.log");
  const child = Bun.spawn([...command], {
    cwd: folder,
    env: {
      PATH: process.env["PATH"] ?? "",
      HOME: folder,
      TAG_HTTP_PORT: "0",
      TAG_READ_PORT: "0",
      TAG_BIND_IP: "127.0.0.1",
      TAG_CACHE_DISK_PATH: join(folder, "cache"),
      TAG_LOG_FORMAT: "json",
      ...env,
    },
    stdin: "ignore",
    stdout: "pipe",
    stderr: isLogInFile ? Bun.file(logPath) : "pipe",
  });
  const written: string[] = [];
  const collecting = Promise.all(
    [child.stdout, child.stderr]
      .filter((stream) => stream instanceof ReadableStream)
      .map((stream) => collect(stream, written)),
  );
  const output = () => written.join("") + (isLogInFile ? readFileSync(logPath, "utf8") : "");

  const stop = async () => {
    child.kill("SIGTERM");
    const limit = systemClock.after(STOP_LIMIT_MS, () => child.kill("SIGKILL"));
    const exitCode = await child.exited;
    limit.cancel();
    await collecting;
    return exitCode;
  };
  const dispose = async () => {
    await stop();
    await rm(folder, { recursive: true, force: true });
  };

  const deadlineMs = systemClock.monotonicMs() + START_LIMIT_MS;
  for (;;) {
    const port = listeningPort(output());
    if (port !== undefined && (await isHealthy(port))) {
      const endpoint = `http://127.0.0.1:${port}`;
      return {
        endpoint,
        port,
        pid: child.pid,
        folder,
        output,
        stop,
        [Symbol.asyncDispose]: dispose,
      };
    }
    if (child.exitCode !== null || systemClock.monotonicMs() > deadlineMs) {
      await dispose();
      throw new Error(`${command.join(" ")} did not start:\n${output()}`);
    }
    await systemClock.sleep(20);
  }
}

/** Starts `dist/tag` with these arguments. */
export function startBinary(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Program> {
  if (!existsSync(BINARY)) throw new Error("dist/tag does not exist: bun run build");
  return startProgram([BINARY, ...args], env);
}

async function collect(stream: ReadableStream<Uint8Array>, into: string[]): Promise<void> {
  const decoder = new TextDecoder();
  for await (const chunk of stream) into.push(decoder.decode(chunk, { stream: true }));
}

/** The port a program says it listens on. */
function listeningPort(output: string): number | undefined {
  const port = /"httpPort":(\d+)/.exec(output)?.[1];
  return port === undefined ? undefined : Number(port);
}

async function isHealthy(port: number): Promise<boolean> {
  const answer = await fetch(`http://127.0.0.1:${port}/health`).catch(() => undefined);
  return answer?.status === 200;
}
