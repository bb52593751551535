/**
 * The control database: the few facts about the whole store that must survive power
 * loss (hence `synchronous = FULL`): its format, how many shards it has, whether it was
 * closed properly, and which run of the process this is.
 *
 * From the run's number (the epoch) come versions and stamps, `epoch * 2^32 + n`: never
 * reused without a single write per fill, and comparable, so that "written before that
 * moment" is one number. After a power loss everything written before is distrusted:
 * its bytes are checked anyway, but lost deletes may have brought old entries back, so
 * they are served only after upstream confirmed them (docs/storage-format.md, "Power loss").
 */

import { Database } from "bun:sqlite";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { GatewayError } from "../base/errors.ts";
import type { Random } from "../base/random.ts";
import { CONTROL_MIGRATIONS, migrate } from "./migrations.ts";

/** How the previous run ended. `power-loss` also stands for "cannot tell". */
export type PreviousEnd = "fresh" | "clean" | "crash" | "power-loss";

const STAMPS_PER_EPOCH = 2 ** 32;

export interface ControlOptions {
  readonly folder: string;
  /** Used when the store is new; an existing one keeps what it was made with. */
  readonly shardCount: number;
  /** Names the boot of the machine; undefined when the platform has no such thing. */
  readonly bootId: string | undefined;
  readonly random: Random;
}

export class Control {
  readonly instanceId: string;
  readonly shardCount: number;
  readonly previousEnd: PreviousEnd;
  /** Rows with a `written` stamp below this must be revalidated before use. */
  readonly distrustBelow: number;
  readonly #database: Database;
  #epoch: number;
  #stamps = 0;

  /** Opens or creates it. A damaged one throws `storage_io`; the caller starts an empty store then. */
  constructor(options: ControlOptions) {
    const path = join(options.folder, "control.db");
    try {
      this.#database = new Database(path, { create: true });
    } catch (error) {
      throw new GatewayError("storage_io", `cannot open ${path}`, { cause: error });
    }
    try {
      this.#database.run("PRAGMA busy_timeout = 1000");
      this.#database.run("PRAGMA journal_mode = WAL");
      this.#database.run("PRAGMA synchronous = FULL");
      migrate(this.#database, path, CONTROL_MIGRATIONS);
      const isNew = this.get("instance_id") === undefined;
      if (isNew) {
        this.set("instance_id", Buffer.from(options.random.bytes(8)).toString("hex"));
        this.set("shard_count", String(options.shardCount));
      }
      this.instanceId = this.get("instance_id") ?? "";
      this.shardCount = Number(this.get("shard_count"));
      this.previousEnd = isNew
        ? "fresh"
        : this.get("is_clean") === "1"
          ? "clean"
          : options.bootId !== undefined && this.get("boot_id") === options.bootId
            ? "crash"
            : "power-loss";
      this.#epoch = Number(this.get("epoch") ?? "0") + 1;
      this.distrustBelow =
        this.previousEnd === "power-loss"
          ? this.#epoch * STAMPS_PER_EPOCH
          : Number(this.get("distrust_below") ?? "0");
      this.#database.transaction(() => {
        this.set("epoch", String(this.#epoch));
        this.set("is_clean", "0");
        this.set("boot_id", options.bootId ?? "");
        this.set("distrust_below", String(this.distrustBelow));
      })();
    } catch (error) {
      this.#database.close();
      if (error instanceof GatewayError) throw error;
      throw new GatewayError("storage_io", `cannot use ${path}`, { cause: error });
    }
  }

  /** A number larger than every one before it, in this run and all earlier ones. */
  nextStamp(): number {
    this.#stamps += 1;
    if (this.#stamps === STAMPS_PER_EPOCH) {
      this.#epoch += 1;
      this.#stamps = 1;
      this.set("epoch", String(this.#epoch));
    }
    return this.#epoch * STAMPS_PER_EPOCH + this.#stamps;
  }

  get(key: string): string | undefined {
    return this.#database
      .query<{ value: string }, [string]>("SELECT value FROM meta WHERE key = ?")
      .get(key)?.value;
  }

  set(key: string, value: string): void {
    this.#database
      .query("INSERT INTO meta VALUES (?, ?) ON CONFLICT(key) DO UPDATE SET value = excluded.value")
      .run(key, value);
  }

  /** Counters that go on over restarts, as last saved. */
  counters(): Map<string, number> {
    const rows = this.#database
      .query<{ name: string; value: number }, []>("SELECT name, value FROM counter")
      .all();
    return new Map(rows.map((row) => [row.name, row.value]));
  }

  saveCounters(counters: Iterable<readonly [string, number]>): void {
    const save = this.#database.query(
      "INSERT INTO counter VALUES (?, ?) ON CONFLICT(name) DO UPDATE SET value = excluded.value",
    );
    this.#database.transaction(() => {
      for (const [name, value] of counters) save.run(name, value);
    })();
  }

  /** `isClean` says that nothing is left to repair. */
  close(isClean: boolean): void {
    if (isClean) this.set("is_clean", "1");
    this.#database.close();
  }
}

/** The kernel's name for this boot; undefined where there is none (then every crash counts as power loss). */
export function systemBootId(): string | undefined {
  try {
    return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  } catch {
    return undefined;
  }
}
