/**
 * Varnish with its objects in memory, its usual and fastest store; the kernel never sees a file. It
 * checks no signature either. Its log is the shared memory log it always writes.
 */

import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { freePort, Program } from "../child.ts";
import type { Server, ServerPlace } from "../contender.ts";

/** Holds every data set of the benchmark. */
const STORAGE = "malloc,8g";

export async function startVarnish(place: ServerPlace): Promise<Server> {
  const port = await freePort();
  const vclPath = join(place.folder, "bench.vcl");
  const workFolder = join(place.folder, "work");
  writeFileSync(vclPath, configuration(place));
  let program = await run();

  async function run(): Promise<Program> {
    rmSync(workFolder, { recursive: true, force: true });
    const started = new Program({
      name: "varnish",
      command: [
        "varnishd",
        "-F",
        ...option("-j", "none"),
        ...option("-n", workFolder),
        ...option("-a", `127.0.0.1:${port}`),
        ...option("-f", vclPath),
        ...option("-s", STORAGE),
        ...option("-p", "default_ttl=3600"),
        ...option("-p", "timeout_idle=300"),
        ...option("-p", "thread_pools=1"),
      ],
      core: place.core,
      logPath: join(place.folder, "varnish.log"),
    });
    await started.listening(port);
    return started;
  }

  return {
    endpoints: [{ contender: "varnish", host: "127.0.0.1", port, isSigned: false }],
    get pids() {
      return program.pids;
    },
    keepsBodiesInMemory: true,
    async renew() {
      await program.stop();
      program = await run();
      return true;
    },
    stop: () => program.stop(),
  };
}

const option = (flag: string, value: string): string[] => [flag, value];

function configuration({ originPort }: ServerPlace): string {
  return `
vcl 4.1;
backend origin { .host = "127.0.0.1"; .port = "${originPort}"; }
sub vcl_backend_response {
  unset beresp.http.Set-Cookie;
  set beresp.ttl = 1h;
}
sub vcl_deliver {
  if (obj.hits > 0) { set resp.http.X-Cache = "HIT"; } else { set resp.http.X-Cache = "MISS"; }
}
`;
}
