/**
 * The ways to a cache folder. Reading works beside a running server. Changing goes through
 * the server that has the folder open, which says in the folder how to reach it; when there
 * is none, the command opens the store itself, alone.
 */

import { existsSync } from "node:fs";
import { join } from "node:path";

import { systemClock } from "../base/clock.ts";
import { errorCode } from "../base/errors.ts";
import { systemRandom } from "../base/random.ts";
import type { Config } from "../config/options.ts";
import { readAdminAccess } from "../server/admin.ts";
import type { CatalogReader, DiskStorage } from "../storage/open.ts";
import { CliError } from "./exit-codes.ts";
import { localServerUrl, send } from "./local-server.ts";

/**
 * Shows `use` the store as it is on disk; undefined when nothing was cached here yet.
 * Throws "io" when it cannot be read.
 */
export async function readStore<R>(
  { cache }: Config,
  use: (reader: CatalogReader) => R | Promise<R>,
): Promise<R | undefined> {
  const { openCatalogReader } = await import("../storage/open.ts");
  let reader: CatalogReader | undefined;
  try {
    reader = openCatalogReader(cache.diskPath);
    return reader === undefined ? undefined : await use(reader);
  } catch (error) {
    throw error instanceof CliError ? error : unreadable(cache.diskPath, error);
  } finally {
    reader?.close();
  }
}

/** The error for a store that cannot be read. */
function unreadable(folder: string, error: unknown): CliError {
  const reason = error instanceof Error ? error.message : String(error);
  return new CliError("io", `cannot read the cache in ${folder}: ${reason}`, { cause: error });
}

/** A change, as the running server is asked for it and as it is done without one. */
export interface Change<R> {
  /** Below `/_/api/admin/cache/`. */
  readonly action: string;
  readonly input: object;
  /** The same on a store that nobody else has open. */
  readonly offline: (storage: DiskStorage) => R | Promise<R>;
}

/**
 * Carries a change out, wherever that can be done. Undefined when there is no store.
 * Throws "runtime" when the store is in use by a process that does not answer, and "http"
 * when the server failed.
 */
export async function change<R>(config: Config, what: Change<R>): Promise<R | undefined> {
  const answer = await askServer<R>(config, what);
  if (answer !== undefined) return answer;
  return withStore(config, what.offline);
}

/** What the running server answers; undefined when none has this cache folder open. */
async function askServer<R>(config: Config, what: Change<R>): Promise<R | undefined> {
  const access = readAdminAccess(config.cache.diskPath);
  if (access === undefined) return undefined;
  const server = { ...config.server, httpPort: access.port };
  const url = `${localServerUrl({ ...config, server })}/_/api/admin/cache/${what.action}`;
  // Without a time limit: compacting takes as long as it takes, and a server that is gone
  // refuses the connection.
  const answer = await send(url, {
    method: "POST",
    headers: { Authorization: `Bearer ${access.token}`, "Content-Type": "application/json" },
    body: JSON.stringify(what.input),
  });
  // A killed server left its file behind; another program may have its port.
  if (answer.kind === "unreachable" || answer.status === 401) return undefined;
  if (answer.status !== 200) {
    throw new CliError("http", `${url} answered ${answer.status}: ${answer.text}`);
  }
  try {
    return JSON.parse(answer.text) as R;
  } catch {
    return undefined; // no server of ours
  }
}

/** Runs `use` on the store of a stopped server. Undefined when there is no store. */
async function withStore<R>(
  config: Config,
  use: (storage: DiskStorage) => R | Promise<R>,
): Promise<R | undefined> {
  const { cache } = config;
  if (!existsSync(join(cache.diskPath, "control.db"))) return undefined;
  const { openStorage } = await import("../storage/open.ts");
  const { storageSettings } = await import("../config/storage-settings.ts");
  let storage: DiskStorage;
  try {
    storage = await openStorage({
      ...storageSettings(config),
      clock: systemClock,
      random: systemRandom,
    });
  } catch (error) {
    if (errorCode(error) !== "storage_locked") throw unreadable(cache.diskPath, error);
    const message = error instanceof Error ? error.message : String(error);
    throw new CliError("runtime", `${message}, which cannot be asked`, { cause: error });
  }
  try {
    return await use(storage);
  } finally {
    await storage.close();
  }
}
