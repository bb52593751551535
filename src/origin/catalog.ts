/**
 * The catalog of the dev origin: which buckets, objects, uploads and parts exist,
 * in SQLite. A row names its body file; bytes live in body-files.ts.
 *
 * Keys are BLOBs, so SQLite compares their UTF-8 bytes, which is the order S3 lists
 * in, and any character survives. The one place a write becomes visible is the
 * commit of its row; `synchronous=FULL` makes that durable before it is
 * acknowledged. The lock is exclusive: one process serves a folder.
 *
 * Every method that replaces or deletes rows answers the names of the body files
 * nobody needs any more; the caller unlinks them after the commit.
 */

import { Database } from "bun:sqlite";
import type { ScanKeys } from "./listing.ts";
import type { BucketRecord, ObjectRecord, PartRecord, UploadRecord } from "./records.ts";

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS buckets (
    name TEXT PRIMARY KEY,
    record TEXT NOT NULL
  ) STRICT;
  CREATE TABLE IF NOT EXISTS objects (
    id INTEGER PRIMARY KEY,
    bucket TEXT NOT NULL,
    key BLOB NOT NULL,
    body TEXT NOT NULL,
    record TEXT NOT NULL,
    UNIQUE (bucket, key)
  ) STRICT;
  CREATE TABLE IF NOT EXISTS uploads (
    id TEXT PRIMARY KEY,
    bucket TEXT NOT NULL,
    key BLOB NOT NULL,
    initiated_at_ms INTEGER NOT NULL,
    completed_at_ms INTEGER,
    record TEXT NOT NULL
  ) STRICT;
  CREATE TABLE IF NOT EXISTS parts (
    upload TEXT NOT NULL,
    number INTEGER NOT NULL,
    body TEXT NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (upload, number)
  ) STRICT;
  CREATE INDEX IF NOT EXISTS uploads_by_key ON uploads (bucket, key, initiated_at_ms);
`;

/** Raised when the tables change; a folder of another version is refused, not guessed at. */
const SCHEMA_VERSION = 1;

/** How long a completed upload is remembered for clients that ask twice. */
const COMPLETED_UPLOAD_MEMORY_MS = 24 * 3_600_000;

interface RecordRow {
  record: string;
}

export class Catalog {
  readonly #db: Database;
  readonly #scanObjects;

  /** Opens or creates the database file; throws when another process has it. */
  constructor(path: string) {
    this.#db = new Database(path, { create: true, strict: true });
    try {
      this.#prepare(path);
    } catch (error) {
      this.#db.close();
      throw error;
    }
    this.#scanObjects = this.#db.query<RecordRow, [string, Uint8Array, number]>(
      "SELECT record FROM objects WHERE bucket = ? AND key >= ? ORDER BY key LIMIT ?",
    );
  }

  #prepare(path: string): void {
    this.#db.run("PRAGMA locking_mode = EXCLUSIVE");
    this.#db.run("PRAGMA journal_mode = WAL");
    this.#db.run("PRAGMA synchronous = FULL");
    const version = this.#db.query<{ user_version: number }, []>("PRAGMA user_version").get();
    if (version !== null && version.user_version > SCHEMA_VERSION) {
      throw new Error(`${path} was written by a newer version of the dev origin`);
    }
    this.#db.run(SCHEMA);
    this.#db.run(`PRAGMA user_version = ${SCHEMA_VERSION}`);
  }

  close(): void {
    this.#db.close();
  }

  // Buckets

  bucket(name: string): BucketRecord | undefined {
    const row = this.#db
      .query<RecordRow, [string]>("SELECT record FROM buckets WHERE name = ?")
      .get(name);
    return row === null ? undefined : parseBucket(row);
  }

  buckets(): readonly BucketRecord[] {
    return this.#db
      .query<RecordRow, []>("SELECT record FROM buckets ORDER BY name")
      .all()
      .map(parseBucket);
  }

  /** Creates the bucket or replaces what is known of it. */
  putBucket(bucket: BucketRecord): void {
    this.#db
      .query("INSERT OR REPLACE INTO buckets (name, record) VALUES (?, ?)")
      .run(bucket.name, JSON.stringify(bucket));
  }

  /** Deletes a bucket without objects, and its unfinished uploads. Undefined: it is not empty. */
  deleteBucket(name: string): readonly string[] | undefined {
    if (this.#scanObjects.get(name, new Uint8Array(0), 1) !== null) return undefined;
    return this.#db.transaction(() => {
      const bodies = this.uploads(name).flatMap((upload) => this.deleteUpload(upload.id));
      this.#db.query("DELETE FROM uploads WHERE bucket = ?").run(name);
      this.#db.query("DELETE FROM buckets WHERE name = ?").run(name);
      return bodies;
    })();
  }

  // Objects

  object(bucket: string, key: string): ObjectRecord | undefined {
    const row = this.#db
      .query<RecordRow, [string, Uint8Array]>(
        "SELECT record FROM objects WHERE bucket = ? AND key = ?",
      )
      .get(bucket, encode(key));
    return row === null ? undefined : parseObject(row);
  }

  /** Objects of the bucket in key order; see `ScanKeys`. */
  scanObjects(bucket: string): ScanKeys<ObjectRecord> {
    return (from, limit) => this.#scanObjects.all(bucket, from, limit).map(parseObject);
  }

  /** Publishes an object in place of the one of the same key. */
  putObject(bucket: string, object: ObjectRecord): readonly string[] {
    return this.#db.transaction(() => {
      const replaced = this.object(bucket, object.key);
      this.#db
        .query("INSERT OR REPLACE INTO objects (bucket, key, body, record) VALUES (?, ?, ?, ?)")
        .run(bucket, encode(object.key), object.body, JSON.stringify(object));
      return replaced === undefined || replaced.body === object.body ? [] : [replaced.body];
    })();
  }

  deleteObject(bucket: string, key: string): readonly string[] {
    const object = this.object(bucket, key);
    if (object === undefined) return [];
    this.#db.query("DELETE FROM objects WHERE bucket = ? AND key = ?").run(bucket, encode(key));
    return [object.body];
  }

  // Multipart uploads

  upload(id: string): UploadRecord | undefined {
    const row = this.#db
      .query<RecordRow, [string]>("SELECT record FROM uploads WHERE id = ?")
      .get(id);
    return row === null ? undefined : parseUpload(row);
  }

  /** Uploads of the bucket that are neither completed nor aborted, by key, then by age. */
  uploads(bucket: string): readonly UploadRecord[] {
    return this.#db
      .query<RecordRow, [string]>(
        `SELECT record FROM uploads WHERE bucket = ? AND completed_at_ms IS NULL
         ORDER BY key, initiated_at_ms, id`,
      )
      .all(bucket)
      .map(parseUpload);
  }

  putUpload(upload: UploadRecord): void {
    this.#db
      .query(
        "INSERT INTO uploads (id, bucket, key, initiated_at_ms, record) VALUES (?, ?, ?, ?, ?)",
      )
      .run(
        upload.id,
        upload.bucket,
        encode(upload.key),
        upload.initiatedAtMs,
        JSON.stringify(upload),
      );
  }

  /** Forgets an upload and its parts. */
  deleteUpload(id: string): readonly string[] {
    return this.#db.transaction(() => {
      const bodies = this.parts(id).map((part) => part.body);
      this.#db.query("DELETE FROM parts WHERE upload = ?").run(id);
      this.#db.query("DELETE FROM uploads WHERE id = ?").run(id);
      return bodies;
    })();
  }

  /** Publishes `object` as what the upload became; the upload stays known as completed. */
  completeUpload(upload: UploadRecord, object: ObjectRecord): readonly string[] {
    const nowMs = object.modifiedAtMs;
    return this.#db.transaction(() => {
      const unneeded = [
        ...this.parts(upload.id).map((part) => part.body),
        ...this.putObject(upload.bucket, object),
      ];
      this.#db.query("DELETE FROM parts WHERE upload = ?").run(upload.id);
      this.#db
        .query("UPDATE uploads SET completed_at_ms = ?, record = ? WHERE id = ?")
        .run(nowMs, JSON.stringify({ ...upload, completedEtag: object.etag }), upload.id);
      this.#db
        .query("DELETE FROM uploads WHERE completed_at_ms < ?")
        .run(nowMs - COMPLETED_UPLOAD_MEMORY_MS);
      return unneeded;
    })();
  }

  /** Every part of the upload, by number. */
  parts(uploadId: string): readonly PartRecord[] {
    return this.#db
      .query<RecordRow, [string]>("SELECT record FROM parts WHERE upload = ? ORDER BY number")
      .all(uploadId)
      .map((row) => JSON.parse(row.record) as PartRecord);
  }

  /** Adds a part or replaces the one of the same number. */
  putPart(uploadId: string, part: PartRecord): readonly string[] {
    return this.#db.transaction(() => {
      const replaced = this.#db
        .query<{ body: string }, [string, number]>(
          "SELECT body FROM parts WHERE upload = ? AND number = ?",
        )
        .get(uploadId, part.number);
      this.#db
        .query("INSERT OR REPLACE INTO parts (upload, number, body, record) VALUES (?, ?, ?, ?)")
        .run(uploadId, part.number, part.body, JSON.stringify(part));
      return replaced === null ? [] : [replaced.body];
    })();
  }

  /** Every body file some row names. */
  bodyNames(): Set<string> {
    const rows = this.#db
      .query<{ body: string }, []>("SELECT body FROM objects UNION ALL SELECT body FROM parts")
      .all();
    return new Set(rows.map((row) => row.body));
  }
}

function parseBucket(row: RecordRow): BucketRecord {
  return JSON.parse(row.record) as BucketRecord;
}

function parseObject(row: RecordRow): ObjectRecord {
  return JSON.parse(row.record) as ObjectRecord;
}

function parseUpload(row: RecordRow): UploadRecord {
  return JSON.parse(row.record) as UploadRecord;
}

function encode(key: string): Uint8Array {
  return new TextEncoder().encode(key);
}
