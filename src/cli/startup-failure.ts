/**
 * Why the server could not start, as the one line a person needs: what is wrong, and
 * what to do about it.
 *
 * The modules throw what they know (an errno, a `GatewayError`); only here, where the
 * configuration is at hand, can it be said which setting leads to it.
 */

import { fileURLToPath } from "node:url";

import { errorCode } from "../base/errors.ts";
import type { Config } from "../config/options.ts";
import { isFileEndpoint } from "../config/validate.ts";
import { CliError } from "./exit-codes.ts";

/** The error to end `tag serve` with. `error` is kept as its cause. */
export function startupFailure(error: unknown, config: Config): CliError {
  if (error instanceof CliError) return error;
  const chain = causes(error);
  const system = chain.find((link) => typeof link.code === "string" && /^E[A-Z]+$/.test(link.code));
  return (
    portFailure(system, config) ??
    fileFailure(system, config) ??
    storageFailure(chain, system, config) ??
    originFailure(chain, config) ??
    new CliError("runtime", `cannot start: ${chain.map(({ message }) => message).join(": ")}`, {
      cause: error,
    })
  );
}

/** The parts of Node's and Bun's system errors that are used here. */
interface SystemError extends Error {
  readonly code?: string;
  readonly syscall?: string;
  readonly path?: string;
  readonly port?: number;
}

function causes(error: unknown): readonly SystemError[] {
  const chain: SystemError[] = [];
  let link = error;
  while (link instanceof Error && chain.length < 8) {
    chain.push(link);
    link = link.cause;
  }
  return chain.length > 0 ? chain : [new Error(String(error))];
}

const PORT_OPTIONS = [
  ["httpPort", "--http-port or TAG_HTTP_PORT"],
  ["readPort", "--read-port or TAG_READ_PORT (0 turns that port off)"],
] as const;

function portFailure(system: SystemError | undefined, { server }: Config): CliError | undefined {
  if (system?.code === "EADDRNOTAVAIL") {
    return new CliError(
      "runtime",
      `cannot listen on ${server.bindIp}: it is no address of this machine; set server.bind_ip or TAG_BIND_IP`,
      { cause: system },
    );
  }
  const isBusy = system?.code === "EADDRINUSE";
  const isForbidden = system?.code === "EACCES" && system.syscall === "listen";
  if (!isBusy && !isForbidden) return undefined;
  // Bun names the port in a field for Bun.listen, and in the message for its HTTP servers.
  const port = system.port ?? Number(/port (\d+)/i.exec(system.message)?.[1] ?? server.httpPort);
  const flags = PORT_OPTIONS.find(([property]) => server[property] === port)?.[1];
  const message = isBusy
    ? `port ${port} on ${server.bindIp} is in use: stop the other program or choose another port`
    : `no permission to listen on port ${port}: choose a port above 1023`;
  return new CliError("runtime", flags === undefined ? message : `${message} with ${flags}`, {
    cause: system,
  });
}

function fileFailure(system: SystemError | undefined, { server }: Config): CliError | undefined {
  const path = system?.path;
  for (const [key, file] of [
    ["tls_cert_file", server.tlsCertFile],
    ["tls_key_file", server.tlsKeyFile],
  ] as const) {
    if (file === undefined || path !== file) continue;
    return new CliError("io", `cannot read server.${key} ${file}: ${reason(system)}`, {
      cause: system,
    });
  }
  return undefined;
}

function storageFailure(
  chain: readonly SystemError[],
  system: SystemError | undefined,
  { cache }: Config,
): CliError | undefined {
  const locked = chain.find((link) => errorCode(link) === "storage_locked");
  if (locked !== undefined) {
    return new CliError(
      "runtime",
      `${locked.message}: stop that process, or give this one a folder of its own with TAG_CACHE_DISK_PATH`,
      { cause: locked },
    );
  }
  const failed = chain.find((link) => errorCode(link) === "storage_io");
  const isInFolder = system?.path?.startsWith(cache.diskPath) === true;
  if (failed === undefined && !isInFolder) return undefined;
  const why = system === undefined ? (failed?.message ?? "") : reason(system);
  return new CliError(
    "io",
    `cannot use the cache folder ${cache.diskPath}: ${why}; make it writable for this user, ` +
      "or choose another with cache.disk_path or TAG_CACHE_DISK_PATH",
    { cause: failed ?? system },
  );
}

/** The dev origin keeps its catalog in SQLite, which admits one writing process. */
function originFailure(chain: readonly SystemError[], { upstream }: Config): CliError | undefined {
  const busy = chain.find((link) => link.code?.startsWith("SQLITE_BUSY") === true);
  if (busy === undefined || !isFileEndpoint(upstream.endpoint)) return undefined;
  return new CliError(
    "runtime",
    `the object store folder ${fileURLToPath(upstream.endpoint)} is in use by another tag dev: ` +
      "stop that one, or choose another folder with --origin",
    { cause: busy },
  );
}

const REASONS: Readonly<Record<string, string>> = {
  EACCES: "permission denied",
  EPERM: "operation not permitted",
  EROFS: "the file system is read-only",
  ENOSPC: "no space left on the device",
  EDQUOT: "the disk quota is exhausted",
  ENOTDIR: "a part of the path is not a folder",
  EEXIST: "there is a file of that name",
  ENOENT: "no such file or folder",
  EISDIR: "is a folder",
};

const reason = (system: SystemError | undefined): string =>
  REASONS[system?.code ?? ""] ?? system?.message ?? "unknown";
