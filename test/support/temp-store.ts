/** Stores in folders of their own, closed and deleted when the test ends. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { systemRandom } from "../../src/base/random.ts";
import {
  type DiskStorage,
  openStorage,
  type StorageEvent,
  type StorageOptions,
} from "../../src/storage/open.ts";

const MIB = 1024 * 1024;

export class TempStore implements AsyncDisposable {
  readonly path = mkdtempSync(join(tmpdir(), "tag-store-"));
  readonly events: StorageEvent[] = [];
  #open: DiskStorage | undefined;

  /** Opens the store, closing the one before. */
  async open(options: Partial<StorageOptions> = {}): Promise<DiskStorage> {
    await this.close();
    this.#open = await openStorage({
      path: this.path,
      capacityBytes: 1024 * MIB,
      shardCount: 4, // faster to set up than 16
      clock: systemClock,
      random: systemRandom,
      report: (event) => this.events.push(event),
      ...options,
    });
    return this.#open;
  }

  async close(): Promise<void> {
    await this.#open?.close();
    this.#open = undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
    rmSync(this.path, { recursive: true, force: true });
  }
}
