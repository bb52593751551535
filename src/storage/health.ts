/**
 * Whether the disk works. After a failed write the store stops storing and only serves
 * what it can still read; it then tries a small write again and again, with growing
 * pauses, and goes on by itself when one succeeds. Reads never ask.
 */

import type { Clock, Timer } from "../base/clock.ts";
import { errnoOf } from "../base/disk.ts";

export interface HealthOptions {
  readonly clock: Clock;
  /** Writes, syncs and removes a small file; throws while the disk refuses. */
  readonly probe: () => Promise<void>;
  /** Told of each change: the reason, or undefined when the disk works again. */
  readonly onChange: (because: string | undefined) => void;
}

const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 30_000;

export class DiskHealth {
  readonly #options: HealthOptions;
  #because: string | undefined;
  #isFull = false;
  #pauseMs = FIRST_PAUSE_MS;
  #timer: Timer | undefined;
  #isClosed = false;

  constructor(options: HealthOptions) {
    this.#options = options;
  }

  /** Why nothing is stored for now; undefined while the disk works. */
  get degradedBecause(): string | undefined {
    return this.#because;
  }

  /** True when the trouble is that the volume has no space left. */
  get isFull(): boolean {
    return this.#isFull;
  }

  /** Reports a failed write. */
  fail(error: unknown): void {
    const errno = errnoOf(error);
    this.#isFull = errno === "ENOSPC" || errno === "EDQUOT" || sqliteCode(error) === "SQLITE_FULL";
    const wasWorking = this.#because === undefined;
    this.#because = error instanceof Error ? error.message : String(error);
    if (!wasWorking || this.#isClosed) return;
    this.#pauseMs = FIRST_PAUSE_MS;
    this.#options.onChange(this.#because);
    this.#retryLater();
  }

  close(): void {
    this.#isClosed = true;
    this.#timer?.cancel();
  }

  #retryLater(): void {
    this.#timer = this.#options.clock.after(this.#pauseMs, () => {
      this.#options.probe().then(
        () => this.#recover(),
        (error: unknown) => this.#stillBroken(error),
      );
    });
  }

  #recover(): void {
    if (this.#isClosed) return;
    this.#because = undefined;
    this.#isFull = false;
    this.#options.onChange(undefined);
  }

  #stillBroken(error: unknown): void {
    if (this.#isClosed) return;
    this.fail(error);
    this.#pauseMs = Math.min(LONGEST_PAUSE_MS, this.#pauseMs * 2);
    this.#retryLater();
  }
}

/** True for what a process runs out of: the file that could not be read is as good as before. */
export function isOutOfResources(error: unknown): boolean {
  const errno = errnoOf(error);
  return errno === "EMFILE" || errno === "ENFILE" || errno === "ENOMEM";
}

function sqliteCode(error: unknown): string | undefined {
  for (let at: unknown = error; at instanceof Error; at = at.cause) {
    const code = (at as { code?: unknown }).code;
    if (typeof code === "string" && code.startsWith("SQLITE_")) return code;
  }
  return undefined;
}
