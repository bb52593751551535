/**
 * The bodies of the file tier as things to evict, oldest first. Kept in memory, because
 * there are few of them: each is larger than a segment's largest record.
 */

import type { EvictionUnit } from "./policy.ts";

export class FileUnit implements EvictionUnit {
  readonly version: number;
  readonly shard: number;
  readonly h: number;
  readonly h2: number;
  readonly groups: ReadonlyMap<number, number>;
  readonly liveBytes: number;
  isPinned: boolean;
  order: number;
  isKept = false;

  constructor(body: {
    readonly version: number;
    readonly shard: number;
    readonly h: number;
    readonly h2: number;
    readonly group: number;
    readonly sizeBytes: number;
    readonly isPinned: boolean;
  }) {
    this.version = body.version;
    this.shard = body.shard;
    this.h = body.h;
    this.h2 = body.h2;
    this.liveBytes = body.sizeBytes;
    this.isPinned = body.isPinned;
    this.groups = new Map([[body.group, body.sizeBytes]]);
    this.order = body.version;
  }

  get pinnedBytes(): number {
    return this.isPinned ? this.liveBytes : 0;
  }
}

export class FileUnits {
  /** In eviction order. */
  readonly #units = new Map<number, FileUnit>();
  /** Removed before the bodies of earlier runs were added; undefined once they are. */
  #forgotten: Set<number> | undefined = new Set();

  /** Adds a body, or replaces what is known of it. Keeps its turn. */
  set(unit: FileUnit): void {
    const before = this.#units.get(unit.version);
    if (before !== undefined) {
      unit.order = before.order;
      unit.isKept = before.isKept;
    }
    this.#units.set(unit.version, unit);
  }

  /** Adds, once, what earlier runs left behind: before what this run added meanwhile. */
  addOlder(units: readonly FileUnit[]): void {
    const forgotten = this.#forgotten ?? new Set();
    this.#forgotten = undefined;
    const young = [...this.#units.values()];
    this.#units.clear();
    for (const unit of units.toSorted((left, right) => left.order - right.order)) {
      if (!forgotten.has(unit.version)) this.#units.set(unit.version, unit);
    }
    for (const unit of young) this.set(unit);
  }

  get(version: number): FileUnit | undefined {
    return this.#units.get(version);
  }

  delete(version: number): void {
    this.#units.delete(version);
    this.#forgotten?.add(version);
  }

  /** Gives a body that is in use another turn. */
  spare(unit: FileUnit, order: number): void {
    unit.order = order;
    unit.isKept = true;
    this.#units.delete(unit.version);
    this.#units.set(unit.version, unit);
  }

  get count(): number {
    return this.#units.size;
  }

  oldestFirst(): Iterable<FileUnit> {
    return this.#units.values();
  }
}
