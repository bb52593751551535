// Goal: the life of a server process: ready, asked, signalled, stopped.
// Method: the real program from source, on free ports, with the dev origin behind it.

import { describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { systemClock } from "../../src/base/clock.ts";
import { eventually } from "../support/eventually.ts";
import type { Program } from "../support/binary.ts";
import { startProgram } from "../support/binary.ts";
import { commonNameOf, TLS_ONE, TLS_TWO } from "../support/tls-fixture.ts";

const MAIN = join(import.meta.dir, "../../src/main.ts");

const start = (
  words: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Program> => startProgram([process.execPath, MAIN, ...words], env);

/** Runs a command beside the program, with the program's configuration. */
async function beside(
  program: Pick<Program, "port" | "folder">,
  words: readonly string[],
  env: Readonly<Record<string, string>> = {},
) {
  const child = Bun.spawn([process.execPath, MAIN, ...words], {
    cwd: program.folder,
    env: {
      PATH: process.env["PATH"] ?? "",
      TAG_BIND_IP: "127.0.0.1",
      TAG_HTTP_PORT: String(program.port),
      TAG_CACHE_DISK_PATH: join(program.folder, "cache"),
      ...env,
    },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [exitCode, stdout, stderr] = await Promise.all([
    child.exited,
    child.stdout.text(),
    child.stderr.text(),
  ]);
  return { exitCode, stdout, stderr };
}

describe("tag dev", () => {
  test("says where it is, with which credentials, and how to stop it", async () => {
    await using program = await start(["dev", "--latency", "1"]);
    await eventually(() => program.output().includes("Ctrl-C"));
    const output = program.output();
    expect(output).toContain(`Endpoint      http://127.0.0.1:${program.port}`);
    expect(output).toContain("tagdev / tagdevsecret (all rights)");
    expect(output).toContain("TAG is ready");
    expect(await program.stop()).toBe(0);
    expect(program.output()).toContain("TAG shutdown complete");
  });

  test("refuses a fault rule that is none, in one line", async () => {
    const started = start(["dev", "--fault", "explode"]);
    expect(await failureOf(started)).toMatch(/^\[error\] .*"explode" is no fault/m);
  });
});

describe("beside a running server", () => {
  test("tag health and tag cache stats see it, and see when it is gone", async () => {
    await using program = await start(["dev"]);
    const up = await beside(program, ["health"]);
    expect([up.exitCode, up.stdout]).toEqual([0, `healthy: ${program.endpoint}/health\n`]);
    const live = await beside(program, ["cache", "stats", "--json"]);
    expect(live.exitCode).toBe(0);
    expect(JSON.parse(live.stdout)).toMatchObject({
      store: { isPresent: true, entries: 0 },
      live: { url: program.endpoint, hits: 0 },
    });
    expect((await beside(program, ["cache", "stats", "--prometheus"])).stdout).toContain(
      "tag_store_up 1\n",
    );

    await program.stop();
    const down = await beside(program, ["health"]);
    expect([down.exitCode, down.stdout]).toEqual([1, ""]);
    expect(down.stderr).toContain("connection refused");
    const dead = await beside(program, ["cache", "stats", "--json"]);
    expect(dead.exitCode).toBe(0);
    expect(JSON.parse(dead.stdout)).toMatchObject({ store: { isPresent: true }, live: null });
    expect((await beside(program, ["cache", "stats"])).stdout).toContain("Server    not running");
  });

  test.each([
    [["--origin", "elsewhere"], "is in use by process PID", "TAG_CACHE_DISK_PATH"],
    [[], "is in use by another tag dev", "--origin"],
  ])(
    "a second server on the same folders is refused with the cure (%j)",
    async (words, who, cure) => {
      await using program = await start(["dev"]);
      const env = { TAG_READ_PORT: "0", TAG_HTTP_PORT: "0" };
      const second = await beside(program, ["dev", ...words], env);
      expect(second.exitCode).toBe(1);
      const errors = second.stderr.split("\n").filter((line) => line.startsWith("[error]"));
      expect(errors).toHaveLength(1);
      expect(errors[0]).toContain(who.replace("PID", String(program.pid)));
      expect(errors[0]).toContain(cure);
    },
  );
});

describe("signals", () => {
  test("a drain waits for a running request, and a second signal ends it at once", async () => {
    await using program = await start(["dev", "--fault", "hang"], { TAG_DRAIN_TIMEOUT: "60s" });
    const request = fetch(`${program.endpoint}/bucket/key`).catch(() => "cut");
    await eventually(async () => {
      const metrics = await (await fetch(`${program.endpoint}/metrics`)).text();
      return /^tag_inflight_requests 1$/m.test(metrics);
    });
    process.kill(program.pid, "SIGTERM");
    await eventually(() => program.output().includes("draining"));
    const startedMs = systemClock.monotonicMs();
    expect(await program.stop()).toBe(1);
    expect(systemClock.monotonicMs() - startedMs).toBeLessThan(5_000);
    expect(await request).toBe("cut");
  });

  test("SIGHUP applies a new log level, and keeps the old when the file is broken", async () => {
    await using files = await temporaryFolder();
    const file = join(files.path, "tag.yaml");
    await Bun.write(file, "log: {level: info}\n");
    await using program = await start(["dev", "--config", file]);

    await Bun.write(file, "log: {levle: debug}\n");
    process.kill(program.pid, "SIGHUP");
    await eventually(() => program.output().includes("not reloaded"));
    expect(program.output()).toContain("log.levle: unknown key; did you mean log.level?");

    await Bun.write(file, "log: {level: error}\n");
    process.kill(program.pid, "SIGHUP");
    await eventually(() => program.output().includes("configuration reloaded"));
    expect(await program.stop()).toBe(0);
    expect(program.output()).not.toContain("shutdown complete"); // an info line
  });

  test("SIGHUP takes up a renewed certificate, and tag health works with TLS", async () => {
    await using files = await temporaryFolder();
    const certificate = join(files.path, "cert.pem");
    const key = join(files.path, "key.pem");
    const renew = async ({ certificatePem, keyPem }: typeof TLS_ONE) => {
      await Bun.write(certificate, certificatePem);
      await Bun.write(key, keyPem);
    };
    await renew(TLS_ONE);
    const env = { TAG_TLS_CERT_FILE: certificate, TAG_TLS_KEY_FILE: key };
    await using program = await startWithTls(files.path, env);
    expect(await commonNameOf(program.port)).toBe("one");
    const asked = await beside({ port: program.port, folder: files.path }, ["health"], env);
    expect([asked.exitCode, asked.stdout]).toEqual([
      0,
      `healthy: https://127.0.0.1:${program.port}/health\n`,
    ]);

    await renew(TLS_TWO);
    process.kill(program.pid, "SIGHUP");
    await eventually(async () => (await commonNameOf(program.port)) === "two");
  });

  test("a certificate that cannot be read stops the start with one line", async () => {
    const started = start(["dev"], {
      TAG_TLS_CERT_FILE: "/nope/c.pem",
      TAG_TLS_KEY_FILE: "/nope/k.pem",
    });
    expect(await failureOf(started)).toMatch(
      /^\[error\] cannot read server\.tls_cert_file \/nope\/c\.pem: no such file or folder/m,
    );
  });
});

/** `tag dev` with TLS; `startProgram` asks over plain HTTP whether it is up. */
async function startWithTls(folder: string, env: Readonly<Record<string, string>>) {
  const child = Bun.spawn([process.execPath, MAIN, "dev", "--port", "0", "--read-port", "0"], {
    cwd: folder,
    env: { PATH: process.env["PATH"] ?? "", TAG_LOG_FORMAT: "json", ...env },
    stdin: "ignore",
    stdout: "ignore",
    stderr: "pipe",
  });
  let output = "";
  const decoder = new TextDecoder();
  for await (const chunk of child.stderr) {
    output += decoder.decode(chunk, { stream: true });
    if (output.includes("TAG is ready")) break;
  }
  return {
    pid: child.pid,
    port: Number(/"httpPort":(\d+)/.exec(output)?.[1]),
    async [Symbol.asyncDispose]() {
      child.kill("SIGTERM");
      await child.exited;
    },
  };
}

/** What a program that does not start wrote. */
async function failureOf(started: Promise<Program>): Promise<string> {
  try {
    await (await started).stop();
    return "it started";
  } catch (error) {
    return String(error);
  }
}

async function temporaryFolder(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(tmpdir(), "tag-cli-serve-"));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}
