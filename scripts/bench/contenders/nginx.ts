/**
 * nginx as a cache, configured as one would for this job: one worker (one core), sendfile, open files
 * remembered, upstream connections kept, concurrent misses collapsed, buffered access log. tcp_nopush stays
 * off: on loopback, with its segments of 64 KiB, it makes every answer of 100 KiB wait 40 ms for a delayed
 * acknowledgement. nginx checks no signature: clients come without, and the bucket is public.
 */

import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { freePort, Program } from "../child.ts";
import type { Server, ServerPlace } from "../contender.ts";

export async function startNginx(place: ServerPlace): Promise<Server> {
  const port = await freePort();
  const cacheFolder = join(place.folder, "cache");
  const configPath = join(place.folder, "nginx.conf");
  writeFileSync(configPath, configuration(port, place));
  let program = await run();

  async function run(): Promise<Program> {
    mkdirSync(cacheFolder, { recursive: true });
    const started = new Program({
      name: "nginx",
      command: [
        "nginx",
        "-p",
        place.folder,
        "-c",
        configPath,
        "-e",
        join(place.folder, "error.log"),
      ],
      core: place.core,
      logPath: join(place.folder, "nginx.log"),
    });
    await started.listening(port);
    return started;
  }

  return {
    endpoints: [{ contender: "nginx", host: "127.0.0.1", port, isSigned: false }],
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

function configuration(port: number, { folder, originPort }: ServerPlace): string {
  // As root the worker would change to another user, who cannot use a private folder.
  const user = process.getuid?.() === 0 ? "user root;" : "";
  return `
${user}
daemon off;
worker_processes 1;
worker_rlimit_nofile 65536;
pid ${folder}/nginx.pid;
error_log ${folder}/error.log;
events { worker_connections 4096; }
http {
  access_log ${folder}/access.log combined buffer=64k flush=1s;
  sendfile on;
  tcp_nodelay on;
  keepalive_timeout 300s;
  keepalive_requests 1000000000;
  open_file_cache max=20000 inactive=600s;
  open_file_cache_valid 600s;
  client_body_temp_path ${folder}/body;
  proxy_temp_path ${folder}/proxy;
  fastcgi_temp_path ${folder}/fastcgi;
  uwsgi_temp_path ${folder}/uwsgi;
  scgi_temp_path ${folder}/scgi;
  proxy_cache_path ${folder}/cache levels=1:2 keys_zone=bench:64m max_size=40g inactive=1d use_temp_path=off;
  upstream origin { server 127.0.0.1:${originPort}; keepalive 128; keepalive_requests 1000000000; }
  server {
    listen 127.0.0.1:${port} backlog=4096;
    location / {
      proxy_pass http://origin;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host 127.0.0.1:${originPort};
      proxy_cache bench;
      proxy_cache_key $uri;
      proxy_cache_valid 200 1h;
      proxy_cache_lock on;
      proxy_cache_lock_age 60s;
      proxy_cache_lock_timeout 60s;
      proxy_force_ranges on;
      add_header X-Cache $upstream_cache_status;
    }
  }
}
`;
}
