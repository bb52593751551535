/**
 * The second door of the store: opening one. Finds out how the last run ended, takes the
 * lock, and puts the parts together; everything after that goes through `Storage`.
 */

import { rmSync } from "node:fs";
import { join } from "node:path";
import type { Clock } from "../base/clock.ts";
import { systemDisk, type Disk } from "../base/disk.ts";
import { GatewayError } from "../base/errors.ts";
import type { Random } from "../base/random.ts";
import { Control, ControlDamaged, systemBootId } from "./control.ts";
import { Engine, type DiskStorage, type StorageEvent } from "./engine.ts";
import { lockStore } from "./lock.ts";
import type { PolicyName } from "./policy.ts";

export {
  openCatalogReader,
  type BucketSummary,
  type CatalogReader,
  type InspectedEntry,
  type ListedEntry,
  type StoreSummary,
  type TierSummary,
} from "./catalog-reader.ts";
export type { CompactReport } from "./evictor.ts";
export type { QuotaFigures } from "./quotas.ts";
export type { CheckedEntry } from "./scrub.ts";
export type { DiskStorage, StorageEvent, StoreResources } from "./engine.ts";
export type { Pin, PinFigures, PinReport } from "./storage.ts";

export type { PolicyName } from "./policy.ts";

export interface StorageOptions {
  /** The cache folder; made when it is not there. One process at a time. */
  readonly path: string;
  /**
   * The cap on everything under `path`, in bytes. Undefined: 80 % of what the volume had
   * free when the store was first opened.
   */
  readonly capacityBytes: number | undefined;
  /** What goes when it is full, see docs/eviction.md. Default `auto`. */
  readonly policy?: PolicyName;
  /** What the configuration keeps from eviction; see pins.ts. */
  readonly pins?: readonly { readonly bucket: string; readonly prefix: string }[];
  /** Share of the cap that pinned bodies may take. Default 0.8. */
  readonly pinnedShareMax?: number;
  /** What a bucket may take on disk; undefined: what there is. Default: no bucket has a bound. */
  readonly quotaBytes?: (bucket: string) => number | undefined;
  /** Memory for the hottest small bodies. Default 256 MiB. */
  readonly memoryBytes?: number;
  /** Objects from this size on are held in blocks and may be partly present. Default 64 MiB. */
  readonly blockThresholdBytes?: number;
  /** Fills running at once; more are refused with `too_many_fills`. Default 256. */
  readonly fillsMax?: number;
  /** Bytes that fills may hold in memory together. Default 256 MiB. */
  readonly fillMemoryBytes?: number;
  /** Bytes of parsed entries kept in memory. Default 64 MiB. */
  readonly indexBytes?: number;
  /** What eviction, sweeping and recovery may read and write per second. 0: no limit. Default 256 MiB. */
  readonly backgroundBytesPerSecond?: number;
  /** Catalog shards of a new store, a power of two; an existing store keeps its own. Default 16. */
  readonly shardCount?: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly disk?: Disk;
  /** Names the boot of the machine; a test plays power loss by changing it. */
  readonly bootId?: string | undefined;
  /** Told of damage, of trouble with the disk and of its end. Must not throw. */
  readonly report?: (event: StorageEvent) => void;
}

const MIB = 1024 * 1024;

/**
 * Opens the store at `options.path`, creating an empty one when there is none. A store
 * whose control database does not check is emptied: it is a cache.
 *
 * Throws `storage_locked` when another process has it open, and `storage_io` when the
 * folder cannot be made or written, or was written by a newer version.
 */
export async function openStorage(options: StorageOptions): Promise<DiskStorage> {
  const disk = options.disk ?? systemDisk;
  const report = options.report ?? (() => undefined);
  disk.makeFolder(options.path);
  const lock = lockStore(options.path, options.clock.nowMs());
  try {
    const control = openControl(options, report);
    for (const folder of ["catalog", "files"]) disk.makeFolder(join(options.path, folder));
    const capacityBytes = options.capacityBytes ?? defaultCapacity(control, disk, options.path);
    control.update({ capacityBytes });
    return new Engine(
      {
        folder: options.path,
        capacityBytes,
        policy: options.policy ?? "auto",
        pins: options.pins ?? [],
        pinnedShareMax: options.pinnedShareMax ?? 0.8,
        quotaBytes: options.quotaBytes ?? (() => undefined),
        memoryBytes: options.memoryBytes ?? 256 * MIB,
        indexBytes: options.indexBytes ?? 64 * MIB,
        fillsMax: options.fillsMax ?? 256,
        fillMemoryBytes: options.fillMemoryBytes ?? 256 * MIB,
        blockThresholdBytes: options.blockThresholdBytes ?? 64 * MIB,
        backgroundBytesPerSecond: options.backgroundBytesPerSecond ?? 256 * MIB,
        clock: options.clock,
        random: options.random,
        disk,
        report,
      },
      control,
      lock,
    );
  } catch (error) {
    lock.release();
    throw error instanceof GatewayError
      ? error
      : new GatewayError("storage_io", `cannot open the cache at ${options.path}`, {
          cause: error,
        });
  }
}

function openControl(options: StorageOptions, report: (event: StorageEvent) => void): Control {
  const controlOptions = {
    folder: options.path,
    shardCount: options.shardCount ?? 16,
    bootId: "bootId" in options ? options.bootId : systemBootId(),
    random: options.random,
  };
  try {
    return new Control(controlOptions);
  } catch (error) {
    if (!(error instanceof ControlDamaged)) throw error;
    report({ kind: "damage", what: "the control database; the store starts empty", cause: error });
    for (const name of STORE_FILES) {
      rmSync(join(options.path, name), { recursive: true, force: true });
    }
    return new Control(controlOptions);
  }
}

/** Everything a store is made of, but its lock. */
const STORE_FILES = [
  "control.db",
  "control.db-wal",
  "control.db-shm",
  "catalog",
  "segments",
  "files",
  "ballast",
];

/** 80 % of what was free at first, remembered: a full cache must not shrink its own cap. */
function defaultCapacity(control: Control, disk: Disk, folder: string): number {
  const remembered = control.state.defaultCapacityBytes;
  if (remembered !== undefined) return remembered;
  const defaultCapacityBytes = Math.floor(disk.space(folder).freeBytes * 0.8);
  control.update({ defaultCapacityBytes });
  return defaultCapacityBytes;
}
