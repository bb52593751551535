/**
 * One process per store. The lock is an exclusive SQLite transaction on `lock.db` that
 * lasts as long as the process: the operating system gives it back when the process
 * ends in whatever way, so there are no stale locks to judge and pid reuse cannot fool
 * us. `owner.json` beside it only makes the refusal readable.
 */

import { Database } from "bun:sqlite";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { GatewayError } from "../base/errors.ts";

export interface StoreLock {
  release(): void;
}

/** Throws `storage_locked` (naming pid and folder) when another process, or we ourselves, hold it. */
export function lockStore(folder: string, nowMs: number): StoreLock {
  const database = openLockFile(folder);
  try {
    database.run("PRAGMA busy_timeout = 0");
    database.run("PRAGMA locking_mode = EXCLUSIVE");
    database.run("PRAGMA journal_mode = MEMORY");
    database.run("BEGIN EXCLUSIVE");
  } catch (error) {
    database.close();
    if ((error as { code?: unknown }).code !== "SQLITE_BUSY") {
      throw new GatewayError("storage_io", `cannot lock the cache folder ${folder}`, {
        cause: error,
      });
    }
    const owner = readOwner(folder);
    const who =
      owner === undefined ? "another process" : `process ${owner.pid} (since ${owner.since})`;
    throw new GatewayError("storage_locked", `the cache folder ${folder} is in use by ${who}`, {
      cause: error,
    });
  }
  const ownerFile = join(folder, "owner.json");
  const owner: Owner = { pid: process.pid, since: new Date(nowMs).toISOString() };
  writeFileSync(ownerFile, `${JSON.stringify(owner)}\n`, { mode: 0o600 });
  return {
    release() {
      rmSync(ownerFile, { force: true });
      database.run("ROLLBACK");
      database.close();
    },
  };
}

export interface Owner {
  readonly pid: number;
  /** When it opened the store, ISO 8601. */
  readonly since: string;
}

/** Who says to own the store; undefined when nobody does or nothing readable is there. */
export function readOwner(folder: string): Owner | undefined {
  try {
    const parsed: unknown = JSON.parse(readFileSync(join(folder, "owner.json"), "utf8"));
    if (typeof parsed !== "object" || parsed === null) return undefined;
    const { pid, since } = parsed as { pid?: unknown; since?: unknown };
    return typeof pid === "number" && typeof since === "string" ? { pid, since } : undefined;
  } catch {
    return undefined;
  }
}

function openLockFile(folder: string): Database {
  try {
    return new Database(join(folder, "lock.db"), { create: true });
  } catch (error) {
    throw new GatewayError("storage_io", `cannot write to the cache folder ${folder}`, {
      cause: error,
    });
  }
}
