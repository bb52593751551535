/**
 * What a store does after it was opened, in the background and in small slices: count what
 * is live in which segment, and after an unclean end clear away what nobody names.
 *
 * None of it is needed to serve. Rows that name a missing segment are misses already,
 * files and names without a row only take space.
 */

import type { BackgroundBudget } from "./budget.ts";
import type { BlockFiles } from "./block-files.ts";
import { FLAG_PINNED, TIERS, type Catalog, type PlacedRow } from "./catalog.ts";
import { FileUnit, type FileUnits } from "./file-units.ts";
import type { Segments } from "./segments.ts";

export interface RecoveryOptions {
  readonly catalog: Catalog;
  readonly segments: Segments;
  readonly files: BlockFiles;
  readonly units: FileUnits;
  readonly budget: BackgroundBudget;
  /** True when the last run did not close the store. */
  readonly wasUnclean: boolean;
  /** Versions of this run begin here; their rows are counted as they are written. */
  readonly firstStamp: number;
}

/** Rows looked at in one slice: two or three milliseconds. */
const ROWS_PER_SLICE = 4096;
/** What looking at a row costs of the background budget, in bytes. */
const ROW_COST_BYTES = 128;

/** Runs until everything is counted and cleared, or `signal` aborts. */
export async function recover(options: RecoveryOptions, signal: AbortSignal): Promise<void> {
  if (options.wasUnclean) await sealLeftovers(options, signal);
  await recount(options, signal);
  if (options.wasUnclean) {
    await removeOrphanFiles(options, signal);
    await removeStrayNames(options, signal);
  }
}

/** Segments that a killed process left open get their footer, and give back what they never used. */
async function sealLeftovers(options: RecoveryOptions, signal: AbortSignal): Promise<void> {
  const { segments, budget } = options;
  for (const segment of await segments.unsealed()) {
    await budget.spend(segment.fileBytes, signal);
    await segments.sealLeftover(segment);
  }
}

async function recount(options: RecoveryOptions, signal: AbortSignal): Promise<void> {
  const { catalog, segments, units, budget, firstStamp } = options;
  const older: FileUnit[] = [];
  for (let shard = 0; shard < catalog.shardCount; shard += 1) {
    let afterH = -1;
    for (;;) {
      const from = afterH;
      const rows = catalog.look(shard, (part) => part.placesAfter(from, ROWS_PER_SLICE), []);
      const dangling: PlacedRow[] = [];
      for (const row of rows) {
        const tier = TIERS[row.tier];
        const isPinned = (row.flags & FLAG_PINNED) !== 0;
        if (tier === "segment") {
          const segment = segments.get(row.place);
          if (segment === undefined) dangling.push(row);
          else if (row.version < firstStamp) segment.noteLive(row.disk, row.grp, isPinned);
        } else if (tier === "file" && row.version < firstStamp) {
          older.push(
            new FileUnit({ ...row, shard, group: row.grp, sizeBytes: row.disk, isPinned }),
          );
        }
      }
      if (dangling.length > 0) {
        catalog.transact(shard, (changes) => {
          for (const row of dangling) changes.removeDangling(row, row.place);
        });
      }
      await budget.spend(rows.length * ROW_COST_BYTES, signal);
      const last = rows.at(-1);
      if (last === undefined || rows.length < ROWS_PER_SLICE) break;
      afterH = last.h;
    }
  }
  units.addOlder(older);
}

/** Files of fills that were never published, and of entries whose removal was cut short. */
async function removeOrphanFiles(options: RecoveryOptions, signal: AbortSignal): Promise<void> {
  const { catalog, files, budget, firstStamp } = options;
  for (let shard = 0; shard < catalog.shardCount; shard += 1) {
    const known = new Set(catalog.look(shard, (part) => part.fileVersions(), []));
    for (const { version, name } of files.versionsIn(shard)) {
      if (version >= firstStamp || known.has(version)) continue;
      await files.removeNamed(shard, name);
      await budget.spend(ROW_COST_BYTES, signal);
    }
  }
}

async function removeStrayNames(options: RecoveryOptions, signal: AbortSignal): Promise<void> {
  const { catalog, budget } = options;
  for (let shard = 0; shard < catalog.shardCount; shard += 1) {
    let after: { bucket: number; key: Uint8Array } | undefined = {
      bucket: 0,
      key: new Uint8Array(0),
    };
    while (after !== undefined) {
      const from: { bucket: number; key: Uint8Array } = after;
      after = catalog.transact(shard, (changes) => changes.removeStrayNames(from, ROWS_PER_SLICE));
      await budget.spend(ROWS_PER_SLICE * ROW_COST_BYTES, signal);
    }
  }
}
