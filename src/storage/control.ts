/**
 * The control database: the few facts about the whole store that must survive power
 * loss (hence `synchronous = FULL`): its format, how many shards it has, whether it was
 * closed properly, and which run of the process this is.
 *
 * From the run's number (the epoch) come stamps, `epoch * 2^32 + n`: never reused without
 * a single write per fill, and comparable, so that "written before that moment" is one
 * number. After a power loss everything written before is distrusted: its bytes are
 * checked anyway, but lost deletes may have brought old entries back, so they are served
 * only after upstream confirmed them (docs/storage-format.md, "Power loss").
 *
 * The facts are one text with its checksum: an epoch that a flipped bit turned back would
 * hand out versions twice, so a state that does not check means an empty store.
 */

import { Database } from "bun:sqlite";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { GatewayError } from "../base/errors.ts";
import type { Random } from "../base/random.ts";
import { CONTROL_MIGRATIONS, FORMAT, migrate, SchemaUnknown } from "./migrations.ts";
import type { Pin } from "./storage.ts";

/** How the previous run ended. `power-loss` also stands for "cannot tell". */
export type PreviousEnd = "fresh" | "clean" | "crash" | "power-loss";

/** A checkpoint waits for the disk. Counters take a page each time they are saved. */
const WAL_PAGES_MAX = 128;

const STAMPS_PER_EPOCH = 2 ** 32;

/** What is true of the whole store. */
export interface StoreState {
  readonly format: number;
  readonly instanceId: string;
  readonly shardCount: number;
  /** Counts openings. */
  readonly epoch: number;
  readonly isClean: boolean;
  /** The boot in which it was last opened; "" when the platform does not name boots. */
  readonly bootId: string;
  /** Rows with a `written` stamp below this must be revalidated before use. */
  readonly distrustBelow: number;
  /** The cap of the last opening, in bytes. */
  readonly capacityBytes: number;
  /** The cap chosen at the first opening when none was configured. */
  readonly defaultCapacityBytes?: number;
}

/** A pin as it is kept: see pins.ts. */
export interface StoredPin extends Pin {
  /** `pinning` and `unpinning`: some rows are not marked accordingly yet. */
  readonly state: "pinning" | "pinned" | "unpinning";
}

export interface ControlOptions {
  readonly folder: string;
  /** Used when the store is new; an existing one keeps what it was made with. */
  readonly shardCount: number;
  /** Names the boot of the machine; undefined when the platform has no such thing. */
  readonly bootId: string | undefined;
  readonly random: Random;
}

/** The control database does not check: everything under the folder has to go. */
export class ControlDamaged extends Error {}

export class Control {
  readonly previousEnd: PreviousEnd;
  readonly #database: Database;
  #state: StoreState;
  #stamps = 0;

  /**
   * Opens or creates it. Throws `ControlDamaged` when it does not check, `storage_io` when it
   * cannot be written or is of a newer version.
   */
  constructor(options: ControlOptions) {
    const path = join(options.folder, "control.db");
    const bootId = options.bootId ?? "";
    this.#database = openDatabase(path);
    try {
      const found = readState(this.#database);
      if (found !== undefined && found.format > FORMAT) throw newerFormat(options.folder, found);
      migrate(this.#database, CONTROL_MIGRATIONS);
      // Damage is to show here, where it means an empty store, and not later as a failed start.
      this.pins();
      this.counters();
      const before = found ?? newState(options);
      this.previousEnd = previousEnd(found, bootId);
      const epoch = before.epoch + 1;
      this.#state = {
        ...before,
        format: FORMAT,
        epoch,
        isClean: false,
        bootId,
        distrustBelow:
          this.previousEnd === "power-loss" ? epoch * STAMPS_PER_EPOCH : before.distrustBelow,
      };
      this.#save();
    } catch (error) {
      this.#database.close();
      if (error instanceof GatewayError || error instanceof ControlDamaged) throw error;
      if (isDamage(error) || error instanceof SchemaUnknown) {
        throw new ControlDamaged(`${path} is damaged`, { cause: error });
      }
      throw new GatewayError("storage_io", `cannot use ${path}`, { cause: error });
    }
  }

  get state(): StoreState {
    return this.#state;
  }

  /** Changes facts, durably. */
  update(changes: Partial<StoreState>): void {
    this.#state = { ...this.#state, ...changes };
    this.#save();
  }

  /** A number larger than every one before it, in this run and all earlier ones. */
  nextStamp(): number {
    this.#stamps += 1;
    if (this.#stamps === STAMPS_PER_EPOCH) {
      this.update({ epoch: this.#state.epoch + 1 });
      this.#stamps = 1;
    }
    return this.#state.epoch * STAMPS_PER_EPOCH + this.#stamps;
  }

  /** Counters that go on over restarts, as last saved. */
  counters(): Map<string, number> {
    const rows = this.#database
      .query<{ name: string; value: number }, []>("SELECT name, value FROM counter")
      .all();
    return new Map(rows.map((row) => [row.name, row.value]));
  }

  /** Survives the process, but not power loss: that would wait for the disk, and everybody with it. */
  saveCounters(counters: Iterable<readonly [string, number]>): void {
    const save = this.#database.query(
      "INSERT INTO counter VALUES (?, ?) ON CONFLICT(name) DO UPDATE SET value = excluded.value",
    );
    this.#database.run("PRAGMA synchronous = NORMAL");
    try {
      this.#database.transaction(() => {
        for (const [name, value] of counters) save.run(name, value);
      })();
    } finally {
      this.#database.run("PRAGMA synchronous = FULL");
    }
  }

  /** What is pinned, or on its way to be or not to be. */
  pins(): StoredPin[] {
    return readPinsOf(this.#database);
  }

  /** Durably. */
  savePin(pin: StoredPin): void {
    this.#database
      .query(
        "INSERT INTO pin VALUES (?, ?, ?, ?) " +
          "ON CONFLICT(bucket, prefix, origin) DO UPDATE SET state = excluded.state",
      )
      .run(pin.bucket, pin.prefix, pin.origin, pin.state);
  }

  deletePin(pin: Pin): void {
    this.#database
      .query("DELETE FROM pin WHERE bucket = ? AND prefix = ? AND origin = ?")
      .run(pin.bucket, pin.prefix, pin.origin);
  }

  /** Bytes the database and its log take. */
  fileBytes(): number {
    return databaseBytes(this.#database.filename);
  }

  /** Proves that the database can be written. Throws while it cannot. */
  probe(): void {
    this.#save();
  }

  /** `isClean` says that nothing is left to repair. */
  close(isClean: boolean): void {
    try {
      if (isClean) this.update({ isClean });
    } finally {
      this.#database.close();
    }
  }

  #save(): void {
    this.#database
      .query(
        "INSERT INTO meta VALUES ('state', ?) ON CONFLICT(key) DO UPDATE SET value = excluded.value",
      )
      .run(formatState(this.#state));
  }
}

/** The state of a store that somebody else may have open; undefined when there is none that checks. */
export function readStateOf(control: Database): StoreState | undefined {
  try {
    return readState(control);
  } catch {
    return undefined;
  }
}

/** The pins of a store that somebody else may have open; none in one of an older format. */
export function readPinsOf(control: Database): StoredPin[] {
  const hasTable = control
    .query("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'pin'")
    .get();
  if (hasTable === null) return [];
  return control
    .query<StoredPin, []>("SELECT bucket, prefix, origin, state FROM pin ORDER BY bucket, prefix")
    .all();
}

/** The kernel's name for this boot; undefined where there is none (then every crash counts as power loss). */
export function systemBootId(): string | undefined {
  try {
    return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  } catch {
    return undefined;
  }
}

/** True for SQLite errors that mean the file itself is broken, not that the disk refuses for now. */
export function isDamage(error: unknown): boolean {
  if (error instanceof WrongType) return true;
  const code = (error as { code?: unknown } | null)?.code;
  return (
    typeof code === "string" &&
    (code.startsWith("SQLITE_CORRUPT") || code === "SQLITE_NOTADB" || code === "SQLITE_ERROR")
  );
}

/** A column holds what it cannot hold: SQLite believes the header of a row, flipped bits included. */
export class WrongType extends Error {}

function openDatabase(path: string): Database {
  let database: Database | undefined;
  try {
    database = new Database(path, { create: true });
    database.run("PRAGMA busy_timeout = 1000");
    database.run("PRAGMA journal_mode = WAL");
    database.run("PRAGMA synchronous = FULL");
    database.run(`PRAGMA wal_autocheckpoint = ${WAL_PAGES_MAX}`);
    return database;
  } catch (error) {
    database?.close();
    if (isDamage(error)) throw new ControlDamaged(`${path} is damaged`, { cause: error });
    throw new GatewayError("storage_io", `cannot open ${path}`, { cause: error });
  }
}

/** Bytes a SQLite file takes with its log and shared memory. */
export function databaseBytes(path: string): number {
  let sizeBytes = 0;
  for (const suffix of ["", "-wal", "-shm"]) {
    sizeBytes += statSync(`${path}${suffix}`, { throwIfNoEntry: false })?.size ?? 0;
  }
  return sizeBytes;
}

function newState(options: ControlOptions): StoreState {
  return {
    format: FORMAT,
    instanceId: Buffer.from(options.random.bytes(8)).toString("hex"),
    shardCount: options.shardCount,
    epoch: 0,
    isClean: true,
    bootId: options.bootId ?? "",
    distrustBelow: 0,
    capacityBytes: 0,
  };
}

function previousEnd(found: StoreState | undefined, bootId: string): PreviousEnd {
  if (found === undefined) return "fresh";
  if (found.isClean) return "clean";
  return bootId !== "" && found.bootId === bootId ? "crash" : "power-loss";
}

/** The stored state, undefined in a new database. Throws `ControlDamaged` when it does not check. */
function readState(database: Database): StoreState | undefined {
  const hasTable = database
    .query("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'meta'")
    .get();
  if (hasTable === null) return undefined;
  const row = database
    .query<{ value: string }, []>("SELECT value FROM meta WHERE key = 'state'")
    .get();
  const state = row === null ? undefined : parseState(row.value);
  if (state === undefined) throw new ControlDamaged("the state of the store does not check");
  return state;
}

function formatState(state: StoreState): string {
  const text = JSON.stringify(state);
  return `${text} ${Bun.hash.crc32(text)}`;
}

function parseState(value: string): StoreState | undefined {
  const space = value.lastIndexOf(" ");
  const text = value.slice(0, space);
  if (Bun.hash.crc32(text) !== Number(value.slice(space + 1))) return undefined;
  // What carries our checksum was written by us, in some version.
  return JSON.parse(text) as StoreState;
}

function newerFormat(folder: string, state: StoreState): GatewayError {
  return new GatewayError(
    "storage_io",
    `the cache at ${folder} has format ${state.format}, but this version knows only ${FORMAT}: ` +
      "use the newer tag again, or an empty cache folder",
  );
}
