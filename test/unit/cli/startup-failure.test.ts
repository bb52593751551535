// Goal: whatever stops a start is said in one line that names the cure, with the right exit.

import { expect, test } from "bun:test";

import { GatewayError } from "../../../src/base/errors.ts";
import { CliError } from "../../../src/cli/exit-codes.ts";
import { startupFailure } from "../../../src/cli/startup-failure.ts";
import { loadConfig } from "../../../src/config/load.ts";

async function failureOf(error: unknown): Promise<CliError> {
  const env = {
    TAG_CACHE_DISK_PATH: "/cache",
    TAG_TLS_CERT_FILE: "/tls/cert.pem",
    TAG_TLS_KEY_FILE: "/tls/key.pem",
    TAG_HTTP_PORT: "8443",
  };
  const loaded = await loadConfig({ env, cwd: "/nowhere" });
  if (loaded.kind === "failed") throw new Error("the configuration of the test is wrong");
  return startupFailure(error, loaded.config);
}

const system = (message: string, fields: Record<string, unknown>): Error =>
  Object.assign(new Error(message), fields);

test.each([
  [
    "a busy S3 port, as Bun's HTTP servers say it",
    system("Failed to start server. Is port 8443 in use?", {
      code: "EADDRINUSE",
      syscall: "listen",
    }),
    "runtime",
    "port 8443 on 0.0.0.0 is in use: stop the other program or choose another port with --http-port or TAG_HTTP_PORT",
  ],
  [
    "a busy read port, as Bun.listen says it",
    system("Failed to listen at 0.0.0.0", { code: "EADDRINUSE", port: 8081 }),
    "runtime",
    "port 8081 on 0.0.0.0 is in use: stop the other program or choose another port with --read-port or TAG_READ_PORT (0 turns that port off)",
  ],
  [
    "a privileged port",
    system("permission denied", { code: "EACCES", syscall: "listen", port: 8443 }),
    "runtime",
    "no permission to listen on port 8443: choose a port above 1023 with --http-port or TAG_HTTP_PORT",
  ],
  [
    "an address of another machine",
    system("x", { code: "EADDRNOTAVAIL", syscall: "listen" }),
    "runtime",
    "cannot listen on 0.0.0.0: it is no address of this machine; set server.bind_ip or TAG_BIND_IP",
  ],
  [
    "an unwritable cache folder, from the store",
    new GatewayError("storage_io", "cannot open /cache/control.db", {
      cause: system("EACCES: mkdir", { code: "EACCES", path: "/cache" }),
    }),
    "io",
    "cannot use the cache folder /cache: permission denied; make it writable for this user, or choose another with cache.disk_path or TAG_CACHE_DISK_PATH",
  ],
  [
    "a cache folder below a file, from the system",
    system("ENOTDIR: not a directory", { code: "ENOTDIR", path: "/cache/00.db" }),
    "io",
    "cannot use the cache folder /cache: a part of the path is not a folder; make it writable for this user, or choose another with cache.disk_path or TAG_CACHE_DISK_PATH",
  ],
  [
    "a store written by a newer version",
    new GatewayError("storage_io", "control.db has schema 9"),
    "io",
    "cannot use the cache folder /cache: control.db has schema 9; make it writable for this user, or choose another with cache.disk_path or TAG_CACHE_DISK_PATH",
  ],
  [
    "a cache folder in use",
    new GatewayError("storage_locked", "the cache folder /cache is in use by process 7"),
    "runtime",
    "the cache folder /cache is in use by process 7: stop that process, or give this one a folder of its own with TAG_CACHE_DISK_PATH",
  ],
  [
    "a missing certificate",
    system("ENOENT", { code: "ENOENT", path: "/tls/cert.pem" }),
    "io",
    "cannot read server.tls_cert_file /tls/cert.pem: no such file or folder",
  ],
  [
    "anything else, with its causes",
    new Error("outer", { cause: new Error("inner") }),
    "runtime",
    "cannot start: outer: inner",
  ],
] as const)("says what to do about %s", async (_, error, exit, message) => {
  const failure = await failureOf(error);
  expect([failure.exit, failure.message]).toEqual([exit, message]);
  expect(failure.message).not.toContain("\n");
});

test("an error that already is for the person passes unchanged", async () => {
  const given = new CliError("auth", "no credentials");
  expect(await failureOf(given)).toBe(given);
});
