// Goal: what only the compiled program can show: its version, and how fast a small command starts.

import { expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import packageJson from "../../package.json" with { type: "json" };
import { BINARY } from "../support/binary.ts";

function runBinary(words: readonly string[], cwd: string) {
  const env = {
    PATH: process.env["PATH"] ?? "",
    TAG_CACHE_DISK_PATH: join(cwd, "cache"),
    TAG_HTTP_PORT: "1", // where nobody listens
  };
  const run = Bun.spawnSync([BINARY, ...words], { cwd, env, stdin: "ignore" });
  return {
    exitCode: run.exitCode,
    stdout: run.stdout.toString(),
    /** User and system time of the process. */
    cpuMs: Number(run.resourceUsage.cpuTime.total) / 1000,
  };
}

test("version, commit and time are built in", () => {
  const { exitCode, stdout } = runBinary(["--version"], tmpdir());
  expect(exitCode).toBe(0);
  expect(stdout).toContain(`  Version:    ${packageJson.version}\n`);
  expect(stdout).toMatch(/ {2}Build Time: \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\n/);
  expect(stdout).toMatch(/ {2}Git Commit: [0-9a-f]{7,}/);
});

test("tag cache stats takes less than 0.15 s of a processor", async () => {
  const folder = await mkdtemp(join(tmpdir(), "tag-cli-binary-"));
  try {
    // Processor time, which is what it takes on an idle machine: others' work does not count.
    let bestMs = Number.POSITIVE_INFINITY;
    for (let round = 0; round < 8; round += 1) {
      const { exitCode, stdout, cpuMs } = runBinary(["cache", "stats"], folder);
      bestMs = Math.min(bestMs, cpuMs);
      expect(exitCode).toBe(0);
      expect(stdout).toContain("Server    not running");
    }
    expect(bestMs).toBeGreaterThan(0);
    expect(bestMs).toBeLessThan(150);
  } finally {
    await rm(folder, { recursive: true });
  }
});
