/**
 * TAG as it is shipped: the compiled binary in transparent mode, default limits, access log on (into
 * a file), both ports. Every request it gets is signed and every signature is checked.
 */

import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";

import { freePort, Program } from "../child.ts";
import type { Endpoint, Server, ServerPlace } from "../contender.ts";
import { GATEWAY } from "../credentials.ts";

export interface TagOptions {
  /** The command that runs it, before `serve`. */
  readonly command: readonly string[];
  /** Name of the S3 port among the contenders. */
  readonly name: string;
  /** Name of the read port; undefined: that port is off. */
  readonly readName: string | undefined;
  /** Of `server.engine`; undefined: its default. */
  readonly engine: string | undefined;
  /** More variables of its environment. */
  readonly env?: Readonly<Record<string, string>> | undefined;
}

export async function startTag(options: TagOptions, place: ServerPlace): Promise<Server> {
  const port = await freePort();
  const readPort = options.readName === undefined ? 0 : await freePort();
  const cacheFolder = join(place.folder, "cache");
  let program = await run();

  async function run(): Promise<Program> {
    mkdirSync(cacheFolder, { recursive: true });
    const started = new Program({
      name: options.name,
      command: [...options.command, "serve"],
      core: place.core,
      cwd: place.folder,
      env: {
        ...options.env,
        TAG_HTTP_PORT: String(port),
        TAG_READ_PORT: String(readPort),
        TAG_BIND_IP: "127.0.0.1",
        TAG_UPSTREAM_ENDPOINT: `http://127.0.0.1:${place.originPort}`,
        TAG_CACHE_DISK_PATH: cacheFolder,
        AWS_ACCESS_KEY_ID: GATEWAY.accessKeyId,
        AWS_SECRET_ACCESS_KEY: GATEWAY.secretAccessKey,
        ...(options.engine === undefined ? {} : { TAG_SERVER_ENGINE: options.engine }),
      },
      logPath: join(place.folder, "tag.log"),
    });
    await started.listening(port);
    return started;
  }

  const endpoint = (contender: string, at: number): Endpoint => ({
    contender,
    host: "127.0.0.1",
    port: at,
    isSigned: true,
  });
  return {
    endpoints: [
      endpoint(options.name, port),
      ...(options.readName === undefined ? [] : [endpoint(options.readName, readPort)]),
    ],
    get pids() {
      return program.pids;
    },
    keepsBodiesInMemory: false,
    async renew() {
      await program.stop();
      rmSync(cacheFolder, { recursive: true, force: true });
      program = await run();
      return true;
    },
    stop: () => program.stop(),
  };
}
