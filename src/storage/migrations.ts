/**
 * Schema versions of the SQLite files: a list of steps, each run once, in order, in one
 * transaction with the new `user_version`. A step that was released is never edited;
 * a change is a further step. docs/storage-format.md shows the schema they add up to.
 */

import type { Database } from "bun:sqlite";

/** The format of a store as a whole, see control.ts. Raised when any list below grows. */
export const FORMAT = 2;

export type Migration = (database: Database) => void;

/** Brings `database` to the newest schema. Throws `SchemaUnknown` when it claims a newer one. */
export function migrate(database: Database, steps: readonly Migration[]): void {
  const found = schemaVersion(database);
  if (found > steps.length) {
    throw new SchemaUnknown(`schema ${found} is newer than ${steps.length}`);
  }
  if (found === steps.length) return;
  database.transaction(() => {
    for (const step of steps.slice(found)) step(database);
    database.run(`PRAGMA user_version = ${steps.length}`);
  })();
}

/** One file claims a schema that the store it belongs to does not have: it is damaged. */
export class SchemaUnknown extends Error {}

function schemaVersion(database: Database): number {
  const row = database.query<{ user_version: number }, []>("PRAGMA user_version").get();
  return row?.user_version ?? 0;
}

/** Control database: what is true of the whole store. */
export const CONTROL_MIGRATIONS: readonly Migration[] = [
  (database) => {
    database.run(
      "CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
    );
    database.run(
      "CREATE TABLE counter(name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID",
    );
  },
  (database) => {
    database.run(`CREATE TABLE pin(
      bucket TEXT NOT NULL,
      prefix TEXT NOT NULL,
      origin TEXT NOT NULL,  -- operator or config, see pins.ts
      state  TEXT NOT NULL,  -- pinning, pinned or unpinning
      PRIMARY KEY(bucket, prefix, origin)
    ) STRICT, WITHOUT ROWID`);
  },
];

/** One catalog shard. */
export const CATALOG_MIGRATIONS: readonly Migration[] = [
  (database) => {
    database.run(`CREATE TABLE object(
      h       INTEGER PRIMARY KEY,  -- 52 bits of the id's hash
      h2      INTEGER NOT NULL,     -- 48 more, compared on lookup
      version INTEGER NOT NULL,     -- names this body among all ever stored
      written INTEGER NOT NULL,     -- stamp of the last write of this row, see control.ts
      bucket  INTEGER NOT NULL,     -- bucket.id
      tier    INTEGER NOT NULL,     -- 0 inline, 1 segment, 2 file
      grp     INTEGER NOT NULL,     -- CRC of bucket and leading folders, see policy.ts
      place   INTEGER NOT NULL,     -- segment: its id; file: bytes per chunk file
      offset  INTEGER NOT NULL,     -- segment: start of the record; file: bytes per block
      size    INTEGER NOT NULL,     -- body bytes of the whole object
      disk    INTEGER NOT NULL,     -- bytes on the volume: record length, file blocks, row payload
      flags   INTEGER NOT NULL,     -- 1: every byte is stored; 2: pinned (since format 2)
      crc     INTEGER NOT NULL,     -- CRC-32 of the row
      head    BLOB,                 -- NULL when the head in the segment record holds
      body    BLOB                  -- inline only
    ) STRICT`);
    database.run(`CREATE TABLE name(
      bucket INTEGER NOT NULL, key BLOB NOT NULL, h INTEGER NOT NULL,
      PRIMARY KEY(bucket, key)
    ) STRICT, WITHOUT ROWID`);
    database.run("CREATE TABLE bucket(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT");
    // A row with tier 3 counts the pinned ones of the others once more (since format 2).
    database.run(`CREATE TABLE total(
      bucket INTEGER NOT NULL, tier INTEGER NOT NULL,
      entries INTEGER NOT NULL, bytes INTEGER NOT NULL, disk INTEGER NOT NULL,
      PRIMARY KEY(bucket, tier)
    ) STRICT, WITHOUT ROWID`);
    database.run(`CREATE TABLE block(
      version INTEGER NOT NULL, part INTEGER NOT NULL, data BLOB NOT NULL,
      PRIMARY KEY(version, part)
    ) STRICT, WITHOUT ROWID`);
    database.run("CREATE INDEX file_object ON object(version) WHERE tier = 2");
  },
];
