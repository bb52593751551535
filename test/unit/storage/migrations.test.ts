// Goal: a store of any released format becomes one of today, whole or not at all.
// Method: databases in memory. The schema of each released format is kept here as it was, so
// that a step that was released cannot be edited unseen.

import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import {
  CATALOG_MIGRATIONS,
  CONTROL_MIGRATIONS,
  FORMAT,
  migrate,
  type Migration,
  SchemaUnknown,
} from "../../../src/storage/migrations.ts";

/** Of a database, what there is in it, without comments and line breaks. */
function schemaOf(database: Database): string[] {
  return database
    .query<{ sql: string | null }, []>("SELECT sql FROM sqlite_schema ORDER BY type, name")
    .all()
    .flatMap(({ sql }) => (sql === null ? [] : [sql.replace(/--.*/g, "").replace(/\s+/g, " ")]));
}

const versionOf = (database: Database): number =>
  database.query<{ user_version: number }, []>("PRAGMA user_version").get()?.user_version ?? 0;

const CONTROL_1 = [
  "CREATE TABLE counter(name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID",
  "CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
];
const CONTROL_2 = [
  ...CONTROL_1,
  "CREATE TABLE pin( bucket TEXT NOT NULL, prefix TEXT NOT NULL, origin TEXT NOT NULL, state TEXT NOT NULL, PRIMARY KEY(bucket, prefix, origin) ) STRICT, WITHOUT ROWID",
];
const CATALOG_1 = [
  "CREATE INDEX file_object ON object(version) WHERE tier = 2",
  "CREATE TABLE block( version INTEGER NOT NULL, part INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY(version, part) ) STRICT, WITHOUT ROWID",
  "CREATE TABLE bucket(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT",
  "CREATE TABLE name( bucket INTEGER NOT NULL, key BLOB NOT NULL, h INTEGER NOT NULL, PRIMARY KEY(bucket, key) ) STRICT, WITHOUT ROWID",
  "CREATE TABLE object( h INTEGER PRIMARY KEY, h2 INTEGER NOT NULL, version INTEGER NOT NULL, written INTEGER NOT NULL, bucket INTEGER NOT NULL, tier INTEGER NOT NULL, grp INTEGER NOT NULL, place INTEGER NOT NULL, offset INTEGER NOT NULL, size INTEGER NOT NULL, disk INTEGER NOT NULL, flags INTEGER NOT NULL, crc INTEGER NOT NULL, head BLOB, body BLOB ) STRICT",
  "CREATE TABLE total( bucket INTEGER NOT NULL, tier INTEGER NOT NULL, entries INTEGER NOT NULL, bytes INTEGER NOT NULL, disk INTEGER NOT NULL, PRIMARY KEY(bucket, tier) ) STRICT, WITHOUT ROWID",
];

test.each([
  ["control, format 1", CONTROL_MIGRATIONS.slice(0, 1), CONTROL_1],
  ["control, format 2", CONTROL_MIGRATIONS.slice(0, 2), CONTROL_2],
  ["catalog, formats 1 and 2", CATALOG_MIGRATIONS.slice(0, 1), CATALOG_1],
] as const)("released steps make the schema they always made: %s", (_, steps, schema) => {
  const database = new Database(":memory:");
  migrate(database, steps);
  expect(schemaOf(database)).toEqual(schema);
  expect(versionOf(database)).toBe(steps.length);
});

test("an older database ends as a new one begins, with what it holds", () => {
  const old = new Database(":memory:");
  migrate(old, CONTROL_MIGRATIONS.slice(0, 1));
  old.run("INSERT INTO counter VALUES ('evicted_entries', 7)");
  migrate(old, CONTROL_MIGRATIONS);
  const fresh = new Database(":memory:");
  migrate(fresh, CONTROL_MIGRATIONS);
  expect(schemaOf(old)).toEqual(schemaOf(fresh));
  expect(old.query("SELECT * FROM counter").all()).toEqual([{ name: "evicted_entries", value: 7 }]);
  migrate(old, CONTROL_MIGRATIONS); // a second time is no time
  expect(versionOf(old)).toBe(CONTROL_MIGRATIONS.length);
});

test("a step that fails leaves the database as it was", () => {
  const steps: Migration[] = [
    (database) => database.run("CREATE TABLE a(x)"),
    (database) => database.run("CREATE TABLE b(x)"),
    () => {
      throw new Error("no");
    },
  ];
  const database = new Database(":memory:");
  migrate(database, steps.slice(0, 1));
  expect(() => migrate(database, steps)).toThrow("no");
  expect(schemaOf(database)).toEqual(["CREATE TABLE a(x)"]);
  expect(versionOf(database)).toBe(1);
});

test("a database of a newer version is not touched", () => {
  const database = new Database(":memory:");
  database.run("PRAGMA user_version = 99");
  expect(() => migrate(database, CONTROL_MIGRATIONS)).toThrow(SchemaUnknown);
  expect(schemaOf(database)).toEqual([]);
});

test("the format of a store was raised when a list grew", () => {
  expect([FORMAT, CONTROL_MIGRATIONS.length, CATALOG_MIGRATIONS.length]).toEqual([2, 2, 1]);
});
