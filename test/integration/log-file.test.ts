// Goal: a log that is a file has every access line, once and in order, when the program was told to stop.
// Method: the program with standard error in a file, and clients whose last answer comes just before the signal.

import { expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

import { eventually } from "../support/eventually.ts";

const REQUESTS = 300;

test("every access line is in the file once the program has ended", async () => {
  const folder = mkdtempSync(join(tmpdir(), "tag-log-"));
  const path = join(folder, "tag.log");
  mkdirSync(join(folder, "origin"));
  const child = Bun.spawn([process.execPath, join(import.meta.dir, "../../src/main.ts"), "serve"], {
    cwd: folder,
    env: {
      PATH: process.env["PATH"] ?? "",
      HOME: folder,
      TAG_HTTP_PORT: "0",
      TAG_READ_PORT: "0",
      TAG_BIND_IP: "127.0.0.1",
      TAG_CACHE_DISK_PATH: join(folder, "cache"),
      TAG_UPSTREAM_ENDPOINT: pathToFileURL(join(folder, "origin")).href,
      TAG_LOG_FORMAT: "json",
      AWS_ACCESS_KEY_ID: "gateway",
      AWS_SECRET_ACCESS_KEY: "gateway-secret",
    },
    stdin: "ignore",
    stdout: "ignore",
    stderr: Bun.file(path),
  });
  try {
    let port: number | undefined;
    await eventually(() => {
      port = Number(/"TAG is ready".*?"httpPort":(\d+)/.exec(readFileSync(path, "utf8"))?.[1]);
      return port > 0;
    });
    for (let no = 0; no < REQUESTS; no += 1) {
      const answer = await fetch(`http://127.0.0.1:${port}/bucket/no-${no}`);
      await answer.arrayBuffer();
    }
    child.kill("SIGTERM");
    expect(await child.exited).toBe(0);
    const log = readFileSync(path, "utf8");
    const seen = [...log.matchAll(/"key":"no-(\d+)"/g)].map(([, no]) => Number(no));
    expect(seen).toEqual(Array.from({ length: REQUESTS }, (_, no) => no));
    expect(log.trimEnd().split("\n").at(-1)).toContain("TAG shutdown complete");
  } finally {
    child.kill("SIGKILL");
    await child.exited;
    rmSync(folder, { recursive: true, force: true });
  }
}, 30_000);
