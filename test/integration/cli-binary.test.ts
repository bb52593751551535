// Goal: what only the compiled program can show: its version, and how fast a small command starts.

import { expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import packageJson from "../../package.json" with { type: "json" };
import { systemClock } from "../../src/base/clock.ts";
import { BINARY } from "../support/binary.ts";

function runBinary(words: readonly string[], cwd: string) {
  const env = {
    PATH: process.env["PATH"] ?? "",
    TAG_CACHE_DISK_PATH: join(cwd, "cache"),
    TAG_HTTP_PORT: "1", // where nobody listens
  };
  const run = Bun.spawnSync([BINARY, ...words], { cwd, env, stdin: "ignore" });
  return { exitCode: run.exitCode, stdout: run.stdout.toString(), stderr: run.stderr.toString() };
}

test("version, commit and time are built in", () => {
  const { exitCode, stdout } = runBinary(["--version"], tmpdir());
  expect(exitCode).toBe(0);
  expect(stdout).toContain(`  Version:    ${packageJson.version}\n`);
  expect(stdout).toMatch(/ {2}Build Time: \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\n/);
  expect(stdout).toMatch(/ {2}Git Commit: [0-9a-f]{7,}/);
});

test("tag cache stats starts in less than 0.15 s", async () => {
  const folder = await mkdtemp(join(tmpdir(), "tag-cli-binary-"));
  try {
    // The best of some runs: the machine may be busy, the program must not be slow.
    let bestMs = Number.POSITIVE_INFINITY;
    for (let round = 0; round < 8; round += 1) {
      const startedMs = systemClock.monotonicMs();
      const { exitCode, stdout } = runBinary(["cache", "stats"], folder);
      bestMs = Math.min(bestMs, systemClock.monotonicMs() - startedMs);
      expect(exitCode).toBe(0);
      expect(stdout).toContain("Server    not running");
    }
    expect(bestMs).toBeLessThan(150);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("a small command does not drag the server's modules in", () => {
  // What is loaded eagerly from main.ts: the command line and the option table, no more.
  const eager = Bun.spawnSync(
    [
      process.execPath,
      "-e",
      'await import("./src/cli/root.ts"); console.log(Object.keys(require.cache).join("\\n"))',
    ],
    { cwd: join(import.meta.dir, "../..") },
  ).stdout.toString();
  expect(eager).toContain("/src/cli/root.ts");
  expect(eager).toContain("/citty/");
  for (const heavy of [
    "consola",
    "hono",
    "prom-client",
    "fast-xml-parser",
    "src/app.ts",
    "src/storage",
  ]) {
    expect(eager).not.toContain(`/${heavy}`);
  }
});
