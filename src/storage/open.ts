/**
 * The second door of the store: opening one. Finds out how the last run ended, takes the
 * lock, and puts the parts together; everything after that goes through `Storage`.
 */

import { join } from "node:path";
import type { Clock } from "../base/clock.ts";
import { systemDisk, type Disk } from "../base/disk.ts";
import { GatewayError } from "../base/errors.ts";
import type { Random } from "../base/random.ts";
import { Control, systemBootId } from "./control.ts";
import { Engine, type StorageEvent } from "./engine.ts";
import { lockStore } from "./lock.ts";
import type { Storage } from "./storage.ts";

export {
  openCatalogReader,
  type BucketSummary,
  type CatalogReader,
  type InspectedEntry,
  type StoreSummary,
  type TierSummary,
} from "./catalog-reader.ts";
export type { StorageEvent } from "./engine.ts";

export interface StorageOptions {
  /** The cache folder; made when it is not there. One process at a time. */
  readonly path: string;
  /**
   * The cap on everything under `path`, in bytes. Undefined: 80 % of what the volume had
   * free when the store was first opened.
   */
  readonly capacityBytes: number | undefined;
  /** Fills running at once; more are refused with `too_many_fills`. Default 256. */
  readonly fillsMax?: number;
  /** Bytes that fills may hold in memory together. Default 256 MiB. */
  readonly fillMemoryBytes?: number;
  /** Bytes of parsed entries kept in memory. Default 64 MiB. */
  readonly indexBytes?: number;
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
 * Opens the store at `options.path`, creating an empty one when there is none.
 *
 * Throws `storage_locked` when another process has it open, and `storage_io` when the
 * folder cannot be made or written, or was written by a newer version.
 */
export async function openStorage(options: StorageOptions): Promise<Storage> {
  const disk = options.disk ?? systemDisk;
  disk.makeFolder(join(options.path, "catalog"));
  disk.makeFolder(join(options.path, "files"));
  const lock = lockStore(options.path, options.clock.nowMs());
  try {
    const control = new Control({
      folder: options.path,
      shardCount: options.shardCount ?? 16,
      bootId: "bootId" in options ? options.bootId : systemBootId(),
      random: options.random,
    });
    const capacityBytes = options.capacityBytes ?? defaultCapacity(control, disk, options.path);
    control.set("capacity_bytes", String(capacityBytes));
    return new Engine(
      {
        folder: options.path,
        capacityBytes,
        indexBytes: options.indexBytes ?? 64 * MIB,
        fillsMax: options.fillsMax ?? 256,
        fillMemoryBytes: options.fillMemoryBytes ?? 256 * MIB,
        clock: options.clock,
        disk,
        report: options.report ?? (() => undefined),
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

/** 80 % of what was free at first, remembered: a full cache must not shrink its own cap. */
function defaultCapacity(control: Control, disk: Disk, folder: string): number {
  const remembered = Number(control.get("default_capacity_bytes"));
  if (remembered > 0) return remembered;
  const capacityBytes = Math.floor(disk.space(folder).freeBytes * 0.8);
  control.set("default_capacity_bytes", String(capacityBytes));
  return capacityBytes;
}
