// Goal: the first command a newcomer runs shows a miss and a hit, ends well, and leaves nothing.

import { expect, test } from "bun:test";
import { readdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

const QUICKSTART = join(import.meta.dir, "../../scripts/quickstart.sh");

const leftovers = async () =>
  (await readdir(tmpdir())).filter((name) => name.startsWith("tag-quickstart-"));

test("quickstart.sh --once prints a table of MISS and HIT and exits 0", async () => {
  const before = await leftovers();
  const run = Bun.spawn([QUICKSTART, "--once"], { stdout: "pipe", stderr: "pipe" });
  const [stdout, stderr, exitCode] = await Promise.all([
    run.stdout.text(),
    run.stderr.text(),
    run.exited,
  ]);
  expect(stderr).toBe("");
  expect(exitCode).toBe(0);
  const rows = stdout.split("\n").filter((line) => line.includes("MISS"));
  expect(rows.length).toBeGreaterThanOrEqual(3);
  for (const row of rows) expect(row).toMatch(/MISS.* ms .*HIT.* ms .*\d/);
  for (const next of ["endpoint ", "credentials ", "stop "]) expect(stdout).toContain(`\n${next}`);
  expect(await leftovers()).toEqual(before);
});

test("quickstart.sh keeps serving until it is interrupted, and then ends its gateway", async () => {
  const before = await leftovers();
  const run = Bun.spawn([QUICKSTART], { stdout: "pipe", stderr: "inherit" });
  const endpoint = await endpointIn(run.stdout);
  expect((await fetch(`${endpoint}/health`)).status).toBe(200);
  run.kill("SIGINT");
  expect(await run.exited).toBe(0);
  expect(await fetch(`${endpoint}/health`).catch(() => "gone")).toBe("gone");
  expect(await leftovers()).toEqual(before);
});

/** The endpoint quickstart says, once it has said everything. */
async function endpointIn(stdout: ReadableStream<Uint8Array>): Promise<string> {
  const decoder = new TextDecoder();
  const reader = stdout.getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Error(`quickstart ended early:\n${text}`);
    text += decoder.decode(value, { stream: true });
    const endpoint = /^endpoint +(\S+)/m.exec(text)?.[1];
    if (endpoint !== undefined && text.includes("Ctrl-C")) return endpoint;
  }
}
