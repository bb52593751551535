/**
 * Once a second: what needs a clock rather than an event. Measures the catalog and the
 * volume, saves counters, keeps the ballast.
 *
 * The ballast is a file of reserved space that is given up first when the volume is
 * full, so that SQLite can write its log and eviction can proceed: the way out of a full
 * disk that does not need a person.
 */

import { join } from "node:path";
import type { Clock, Timer } from "../base/clock.ts";
import type { Disk } from "../base/disk.ts";
import type { Catalog } from "./catalog.ts";
import type { Control } from "./control.ts";
import type { Space } from "./space.ts";

export interface HousekeepingOptions {
  readonly folder: string;
  readonly clock: Clock;
  readonly disk: Disk;
  readonly catalog: Catalog;
  readonly control: Control;
  readonly space: Space;
  readonly counters: () => Iterable<readonly [string, number]>;
  /** True while the disk refuses writes. */
  readonly isDegraded: () => boolean;
  /** Called after each look, when there may be less room than before. */
  readonly onMeasured: () => void;
  readonly onFailure: (error: unknown) => void;
}

const PERIOD_MS = 1000;
const SAVE_EVERY = 5;
const ROWS_PER_MEASURE = 256;
const MIB = 1024 * 1024;
/** Left to others on the volume: this share, or this much, whichever is less. */
const VOLUME_RESERVE_SHARE = 0.05;
const VOLUME_RESERVE_BYTES = 2048 * MIB;

export class Housekeeping {
  readonly #options: HousekeepingOptions;
  readonly #ballastBytes: number;
  #timer: Timer | undefined;
  #rounds = 0;
  #rowsSinceMeasured = 0;
  #ballast: "unknown" | "there" | "given" = "unknown";

  constructor(options: HousekeepingOptions) {
    this.#options = options;
    this.#ballastBytes = ballastBytesFor(options.space.capacityBytes);
    this.#measure();
    this.#schedule();
  }

  /** Looks at the catalog between two rounds when much was written to it. */
  noteRows(count: number): void {
    this.#rowsSinceMeasured += count;
    if (this.#rowsSinceMeasured >= ROWS_PER_MEASURE) this.#measureCatalog();
  }

  /** Deletes the ballast, so that what must be written can be. */
  async giveBallast(): Promise<void> {
    if (this.#ballast === "given") return;
    this.#ballast = "given";
    this.#options.space.fixedBytes = 0;
    await this.#options.disk.remove(this.#ballastPath).catch(this.#options.onFailure);
  }

  /** Stops the rounds and saves what they would have. */
  close(): void {
    this.#timer?.cancel();
    try {
      this.#options.control.saveCounters(this.#options.counters());
    } catch {
      // Statistics are not worth an error at the end.
    }
  }

  get #ballastPath(): string {
    return join(this.#options.folder, "ballast");
  }

  #schedule(): void {
    this.#timer = this.#options.clock.after(PERIOD_MS, () => {
      this.#round();
      this.#schedule();
    });
  }

  #round(): void {
    const { control, counters, isDegraded, onMeasured, onFailure } = this.#options;
    this.#rounds += 1;
    try {
      this.#measure();
      if (!isDegraded()) {
        if (this.#rounds % SAVE_EVERY === 0) control.saveCounters(counters());
        this.#keepBallast();
      }
    } catch (error) {
      onFailure(error);
    }
    onMeasured();
  }

  #measureCatalog(): void {
    const { catalog, control, space } = this.#options;
    this.#rowsSinceMeasured = 0;
    space.catalogBytes = catalog.fileBytes() + control.fileBytes();
  }

  #measure(): void {
    const { disk, folder, space } = this.#options;
    this.#measureCatalog();
    const { freeBytes, totalBytes } = disk.space(folder);
    const reserveBytes = Math.min(VOLUME_RESERVE_BYTES, VOLUME_RESERVE_SHARE * totalBytes);
    const takenBytes = space.physicalBytes - space.promisedBytes;
    space.volumeLimitBytes = takenBytes + freeBytes - reserveBytes;
  }

  #keepBallast(): void {
    const { disk, space } = this.#options;
    if (this.#ballast === "there" || this.#ballastBytes === 0) return;
    if (space.freeBytes < 4 * this.#ballastBytes) return;
    const file = disk.open(this.#ballastPath, "create");
    try {
      file.preallocate(this.#ballastBytes);
      this.#ballast = "there";
      space.fixedBytes = this.#ballastBytes;
    } finally {
      file.close();
    }
  }
}

/** 1/128 of the cap, at most 256 MiB; nothing for caches too small to spare it. */
function ballastBytesFor(capacityBytes: number): number {
  return capacityBytes < 512 * MIB ? 0 : Math.min(256 * MIB, Math.floor(capacityBytes / 128));
}
