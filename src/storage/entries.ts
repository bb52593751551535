/**
 * The visible entries: an index of parsed ones in memory over the rows of the catalog.
 *
 * What is visible changes here and nowhere else, always in one synchronous step: an entry
 * is revealed, replaced, renewed or removed. Entries whose row is still to be written
 * are pinned in `#pending`, so that an index of any size shows them.
 */

import type { LruMap } from "../base/lru.ts";
import { objectIdString, type ObjectId } from "../s3/object-id.ts";
import { Burials } from "./burials.ts";
import type { Catalog, CatalogRow } from "./catalog.ts";
import type { QueuedChange } from "./committer.ts";
import { Entry } from "./entry.ts";
import { identityOf, type Identity } from "./identity.ts";
import type { StoredObject } from "./storage.ts";

/** A visible entry whose row is not written yet. */
export class Pending {
  readonly entry: Entry;
  /** The same version before it was renewed; its own row comes first. */
  readonly renews: Pending | undefined;
  /** Resolves when the body is where the row will point; false when it could not be put there. */
  readonly bodyReady: Promise<boolean>;
  change: QueuedChange | undefined;
  /** True once removed or replaced: no row is to be written any more. */
  isCancelled = false;

  constructor(entry: Entry, bodyReady: Promise<boolean>, renews: Pending | undefined) {
    this.entry = entry;
    this.bodyReady = bodyReady;
    this.renews = renews;
  }

  cancel(): void {
    this.isCancelled = true;
    this.change?.cancel();
    this.renews?.cancel();
  }
}

export interface EntriesOptions {
  readonly catalog: Catalog;
  readonly index: LruMap<string, Entry>;
  /** Makes an entry of its row; undefined when it does not check (and was reported). */
  readonly load: (id: ObjectId, identity: Identity, row: CatalogRow) => Entry | undefined;
  /** Frees what the row of an entry pointed at. */
  readonly releaseRow: (row: CatalogRow, identity: Identity) => void;
  /** Frees the body of an entry that never got a row. */
  readonly releaseEntry: (entry: Entry) => void;
  readonly nextStamp: () => number;
  /** The disk refused a change. */
  readonly onFailure: (error: unknown) => void;
}

const NAMES_PER_PAGE = 256;

export class Entries {
  readonly #options: EntriesOptions;
  readonly #pending = new Map<string, Pending>();
  readonly #burials = new Burials();

  constructor(options: EntriesOptions) {
    this.#options = options;
  }

  get pendingCount(): number {
    return this.#pending.size;
  }

  /** True when no removal waits for the disk. */
  get isSettled(): boolean {
    return this.#burials.isEmpty;
  }

  find(id: ObjectId): Entry | undefined {
    const name = objectIdString(id);
    const known = this.#options.index.get(name) ?? this.#pending.get(name)?.entry;
    if (known !== undefined && !known.isGone) return known;
    const entry = this.load(id);
    if (entry !== undefined) this.#options.index.set(name, entry, entry.memoryBytes);
    else if (known !== undefined) this.#options.index.delete(name);
    return entry;
  }

  /** The entry of this very version as it is now; undefined when it is not visible any more. */
  current(object: StoredObject): Entry | undefined {
    // The hit path: an instance that the index still holds needs no further look.
    if (object instanceof Entry && !object.isGone) {
      if (this.#options.index.peek(object.name) === object) return object;
    }
    const entry = this.find(object.id);
    return entry?.version === object.version ? entry : undefined;
  }

  /** The entry in memory under a name, if it is there. */
  inMemory(name: string): Entry | undefined {
    return this.#options.index.peek(name) ?? this.#pending.get(name)?.entry;
  }

  /** Reads an entry from the catalog past the index. */
  load(id: ObjectId): Entry | undefined {
    const { catalog, load } = this.#options;
    const identity = identityOf(id, catalog.shardCount);
    const row = catalog.find(identity);
    if (row === undefined || this.#burials.hides(id, row.version)) return undefined;
    return load(id, identity, row);
  }

  /** Makes `entry` the visible one of its object, now. What was visible before is not any more. */
  reveal(entry: Entry, bodyReady: Promise<boolean>): Pending {
    const before = this.#pending.get(entry.name);
    const isRenewal = before?.entry.version === entry.version;
    if (before !== undefined && !isRenewal) {
      before.cancel();
      this.#freeBody(before.entry);
    }
    const pending = new Pending(entry, bodyReady, isRenewal ? before : undefined);
    this.#pending.set(entry.name, pending);
    this.#options.index.set(entry.name, entry, entry.memoryBytes);
    return pending;
  }

  /** What `bodyReady` a renewal of `entry` has to wait for. */
  bodyReadyOf(entry: Entry): Promise<boolean> {
    const pending = this.#pending.get(entry.name);
    return pending?.entry.version === entry.version ? pending.bodyReady : READY;
  }

  /** The row is written. */
  settle(pending: Pending): void {
    const { name } = pending.entry;
    if (this.#pending.get(name) === pending) this.#pending.delete(name);
  }

  /**
   * The entry could not be stored after all. Whatever it replaced stays invisible, since
   * somebody may have been told of the newer one.
   */
  withdraw(pending: Pending): void {
    const { entry } = pending;
    if (this.#pending.get(entry.name) !== pending) return;
    this.#pending.delete(entry.name);
    this.#options.index.delete(entry.name);
    this.#freeBody(entry);
    this.remove([entry.id]);
  }

  /** Makes entries invisible at once. Returns the body sizes of those there were. */
  remove(ids: readonly ObjectId[]): number[] {
    const { catalog } = this.#options;
    const targets = ids.map((id) => ({ id, identity: identityOf(id, catalog.shardCount) }));
    const removed = new Map<string, number>();
    for (const { id } of targets) {
      const name = objectIdString(id);
      const pending = this.#pending.get(name);
      if (pending !== undefined) {
        pending.cancel();
        this.#pending.delete(name);
        this.#freeBody(pending.entry);
        removed.set(name, pending.entry.sizeBytes);
      }
      this.#options.index.delete(name);
    }
    for (const [shard, ofShard] of Map.groupBy(targets, ({ identity }) => identity.shard)) {
      for (const { name, size } of this.#deleteRows(shard, ofShard)) removed.set(name, size);
    }
    return [...removed.values()];
  }

  /** Removes what begins with `prefix`; what cannot even be listed is hidden. */
  removePrefix(bucket: string, prefix: string): number {
    let count = this.remove(this.#pendingUnder(bucket, prefix).map(({ id }) => id)).length;
    try {
      for (const ids of this.#idsOf(bucket, prefix)) count += this.remove(ids).length;
    } catch (error) {
      this.#bury({ bucket, key: prefix, isPrefix: true });
      this.#options.index.clear(); // an index that cannot be compared with the rows hides nothing
      this.#options.onFailure(error);
    }
    return count;
  }

  /** Every visible entry of a bucket (of all when undefined) by prefix. */
  *list(bucket: string | undefined, prefix: string): Iterable<Entry> {
    const listed = new Set<string>();
    for (const entry of this.#pendingUnder(bucket, prefix)) {
      listed.add(entry.name);
      yield entry;
    }
    for (const name of bucket === undefined ? this.#options.catalog.bucketNames() : [bucket]) {
      for (const ids of this.#idsOf(name, prefix)) {
        for (const id of ids) {
          const key = objectIdString(id);
          if (listed.has(key)) continue;
          const known = this.inMemory(key);
          const entry = known !== undefined && !known.isGone ? known : this.load(id);
          if (entry !== undefined) yield entry;
        }
      }
    }
  }

  /**
   * Frees the body of an entry that was pending, unless its version has a row already: a
   * renewed one has. Then the body goes with the row, and a crash before that finds both.
   */
  #freeBody(entry: Entry): void {
    if (this.#options.catalog.find(entry.identity)?.version === entry.version) return;
    this.#options.releaseEntry(entry);
  }

  #pendingUnder(bucket: string | undefined, prefix: string): Entry[] {
    return [...this.#pending.values()]
      .map(({ entry }) => entry)
      .filter(({ id }) => bucket === undefined || id.bucket === bucket)
      .filter(({ id }) => id.key.startsWith(prefix));
  }

  /** Ids of a bucket by prefix, in pages; some may turn out to be gone. */
  *#idsOf(bucket: string, prefix: string): Generator<ObjectId[]> {
    const { catalog } = this.#options;
    const bytes = Buffer.from(prefix);
    for (let index = 0; index < catalog.shardCount; index += 1) {
      let after: Uint8Array | undefined;
      for (;;) {
        const from = after;
        const names = catalog.look(
          index,
          (shard) => shard.names(bucket, bytes, from, NAMES_PER_PAGE),
          [],
        );
        yield names.map(({ key }) => ({ bucket, key: Buffer.from(key).toString() }));
        after = names.at(-1)?.key;
        if (names.length < NAMES_PER_PAGE) break;
      }
    }
  }

  /** Tries again what the disk refused; what fails again is hidden again. */
  retryRemovals(): void {
    for (const { bucket, key, isPrefix } of this.#burials.take()) {
      if (isPrefix) this.removePrefix(bucket, key);
      else this.remove([{ bucket, key }]);
    }
  }

  #deleteRows(
    shard: number,
    targets: readonly { id: ObjectId; identity: Identity }[],
  ): { name: string; size: number }[] {
    const { catalog, releaseRow, onFailure } = this.#options;
    try {
      // A transaction for nothing would cost a write on every PUT of an uncached object.
      if (!targets.some(({ identity }) => catalog.shard(shard).has(identity))) return [];
      const rows = catalog.transact(shard, (changes) =>
        targets.flatMap(({ id, identity }) => {
          const row = changes.remove(identity, id);
          return row === undefined ? [] : [{ id, identity, row }];
        }),
      );
      return rows.flatMap(({ id, identity, row }) => {
        const wasVisible = !this.#burials.hides(id, row.version);
        releaseRow(row, identity);
        return wasVisible ? [{ name: objectIdString(id), size: row.size }] : [];
      });
    } catch (error) {
      for (const { id } of targets) this.#bury({ ...id, isPrefix: false });
      onFailure(error);
      return [];
    }
  }

  #bury(what: { bucket: string; key: string; isPrefix: boolean }): void {
    this.#burials.add({ ...what, before: this.#options.nextStamp() });
  }
}

export const READY = Promise.resolve(true);
