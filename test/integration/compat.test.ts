/**
 * Goal: scripts/compat.ts measures what it says: its gateway serves all users of the server behind
 * it without mixing them up, and its runner reports what pytest did.
 * Method: our dev origin as the server, once knowing gateways (transparent mode) and once not
 * (signing mode); a program that behaves like pytest in place of Python and the suite.
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { OWN_USERS, parseConf } from "../../scripts/compat/conf.ts";
import type { Server } from "../../scripts/compat/process.ts";
import { startGateway, STARTERS } from "../../scripts/compat/servers.ts";
import { runSuite, type SuiteRun } from "../../scripts/compat/suite.ts";
import { RawClient } from "../support/raw-client.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tag-compat-test-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const GATEWAY = [process.execPath, join(import.meta.dir, "../../src/main.ts")];

async function startOrigin(name: string): Promise<Server> {
  const start = STARTERS["origin"];
  if (start === undefined) throw new Error("there is no origin");
  return start(join(folder, name));
}

describe.each(["transparent", "signing"] as const)("the gateway in %s mode", (mode) => {
  test("serves every user of the server, and each only what is theirs", async () => {
    await using server = await startOrigin(mode);
    const seen = mode === "transparent" ? server : { ...server, proxyAccess: undefined };
    await using gateway = await startGateway(GATEWAY, seen, join(folder, `${mode}-tag`), "auto");
    const { endpoint } = parseConf(gateway.conf);
    expect(endpoint).not.toBe(parseConf(server.conf).endpoint);

    for (const user of OWN_USERS) {
      const client = new RawClient(endpoint, user);
      const bucket = `of-${user.accessKeyId}`;
      const created = await client.call({ method: "PUT", rawTarget: `/${bucket}` });
      expect(created.status).toBe(200);
      expect((await client.put(bucket, "k", Buffer.from(bucket))).status).toBe(200);
      expect((await client.get(bucket, "k")).status).toBe(200);
      const again = await client.get(bucket, "k");
      expect(again.fields.get("x-cache")).toBe("HIT");
      expect(Buffer.from(again.body).toString()).toBe(bucket);
    }
    const [main, alt] = OWN_USERS;
    const others = await new RawClient(endpoint, alt).get(`of-${main?.accessKeyId}`, "k");
    expect(others.status).toBe(403);
    const nobody = await new RawClient(endpoint, undefined).get(`of-${main?.accessKeyId}`, "k");
    expect(nobody.status).toBe(403);
  }, 60_000);
});

describe("a run of the suite", () => {
  async function runWith(
    script: string,
    tests?: readonly string[],
  ): Promise<ReturnType<typeof runSuite>> {
    const python = join(folder, "python");
    await writeFile(python, `#!/bin/sh\n${script}\n`);
    await chmod(python, 0o755);
    const run: SuiteRun = { suite: folder, python, conf: "", folder, label: "run", tests };
    return runSuite(run);
  }
  const line = (name: string, outcome: string): string =>
    `echo '${JSON.stringify({ name, outcome, seconds: 1, because: "" })}' >> "$COMPAT_REPORT"`;

  test("is what the plugin wrote, failed tests included", async () => {
    const results = await runWith(`${line("a", "passed")}\n${line("b", "failed")}\nexit 1`);
    expect([...results.values()].map(({ name, outcome }) => [name, outcome])).toEqual([
      ["a", "passed"],
      ["b", "failed"],
    ]);
  });

  test("begins anew each time", async () => {
    expect([...(await runWith(line("c", "passed"))).keys()]).toEqual(["c"]);
  });

  test("is of the named tests alone when there are such", async () => {
    const echo = `for last; do :; done; echo "{\\"name\\":\\"$last\\",\\"outcome\\":\\"passed\\"}" >> "$COMPAT_REPORT"`;
    expect([...(await runWith(echo)).keys()]).toEqual(["s3tests/functional/test_s3.py"]);
    expect([...(await runWith(echo, ["test_s3.py::test_a[1]"])).keys()]).toEqual([
      "s3tests/functional/test_s3.py::test_a[1]",
    ]);
  });

  test("that pytest itself broke off is an error with its last words", async () => {
    const failure: unknown = await runWith("echo no such plugin; exit 4").catch((e: unknown) => e);
    expect(String(failure)).toMatch(/ended with 4[^]*no such plugin/);
  });

  test("gets the gateway's address in a file and no credentials from elsewhere", async () => {
    const results = await runWith(
      `[ -f "$S3TEST_CONF" ] && [ -z "$AWS_ACCESS_KEY_ID" ] && ${line("asked", "passed")}`,
    );
    expect([...results.keys()]).toEqual(["asked"]);
  });
});
