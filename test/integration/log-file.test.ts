// Goal: a log that is a file has every access line, once and in order, when the program was told to stop.
// Method: the program with standard error in a file, and a client whose last answer comes just before the signal.

import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

import { startProgram } from "../support/binary.ts";

const REQUESTS = 300;

test("every access line is in the file once the program has ended", async () => {
  const origin = mkdtempSync(join(tmpdir(), "tag-log-"));
  try {
    await using program = await startProgram(
      [process.execPath, join(import.meta.dir, "../../src/main.ts"), "serve"],
      {
        TAG_UPSTREAM_ENDPOINT: pathToFileURL(origin).href,
        AWS_ACCESS_KEY_ID: "gateway",
        AWS_SECRET_ACCESS_KEY: "gateway-secret",
      },
      true,
    );
    for (let no = 0; no < REQUESTS; no += 1) {
      const answer = await fetch(`${program.endpoint}/bucket/no-${no}`);
      await answer.arrayBuffer();
    }
    expect(await program.stop()).toBe(0);
    const log = program.output();
    const seen = [...log.matchAll(/"key":"no-(\d+)"/g)].map(([, no]) => Number(no));
    expect(seen).toEqual(Array.from({ length: REQUESTS }, (_, no) => no));
    expect(log.trimEnd().split("\n").at(-1)).toContain("TAG shutdown complete");
  } finally {
    rmSync(origin, { recursive: true, force: true });
  }
}, 30_000);
