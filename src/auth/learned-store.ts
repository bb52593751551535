/**
 * Keeps what was learned over a restart, so that a restart does not send every client
 * upstream again: one sealed file, replaced whole, written when something changed.
 *
 * Losing it costs a round trip per client and bucket, so trouble is reported and then
 * ignored. The file holds at most a bounded number of entries, those that live longest.
 */

import { open, readFile, rename } from "node:fs/promises";
import { dirname } from "node:path";
import type { Clock } from "../base/clock.ts";
import type { Random } from "../base/random.ts";
import type { Secret } from "../base/secret.ts";
import type { Auth, Learned } from "./principal.ts";
import { openLearned, sealLearned } from "./sealed.ts";

/** The two file operations the store needs. Failures reject. */
export interface LearnedFiles {
  /** Undefined when there is no such file. */
  read(path: string): Promise<Uint8Array | undefined>;
  /** After a crash the file holds either its old or its new content, whole. */
  replace(path: string, bytes: Uint8Array): Promise<void>;
}

export interface LearnedStoreOptions {
  readonly path: string;
  /** The gateway's own secret: the file opens only with the same one. */
  readonly secret: Secret;
  readonly auth: Auth;
  readonly files: LearnedFiles;
  readonly clock: Clock;
  readonly random: Random;
  /** Told when the file could not be read or written. */
  readonly onTrouble: (message: string, cause: unknown) => void;
}

/** Between two saves, in milliseconds: what a crash may cost. */
const SAVE_EVERY_MS = 15_000;
/** Bounds the file and the time to write it (about 10 MB, tens of milliseconds). */
const KEPT_MAX = 50_000;

export class LearnedStore {
  readonly #options: LearnedStoreOptions;
  #savedRevision: number;

  constructor(options: LearnedStoreOptions) {
    this.#options = options;
    this.#savedRevision = options.auth.revision;
  }

  /** Hands what an earlier process learned to `auth`; answers whether there was anything. Never rejects. */
  async load(): Promise<boolean> {
    const { path, files, secret, auth, onTrouble } = this.#options;
    try {
      const sealed = await files.read(path);
      if (sealed === undefined) return false;
      const learned = openLearned(sealed, secret);
      if (learned === undefined) {
        onTrouble("learned keys were sealed with another secret or are damaged", undefined);
        return false;
      }
      auth.restore(learned);
      return true;
    } catch (cause) {
      onTrouble("learned keys could not be read", cause);
      return false;
    }
  }

  /** Writes the file if anything was learned since it was last written. Never rejects. */
  async save(): Promise<void> {
    const { path, files, secret, auth, random, onTrouble } = this.#options;
    const { revision } = auth;
    if (revision === this.#savedRevision) return;
    try {
      await files.replace(path, sealLearned(bounded(auth.learned()), secret, random));
      this.#savedRevision = revision;
    } catch (cause) {
      onTrouble("learned keys could not be written", cause);
    }
  }

  /** Saves again and again until `signal` aborts, and once more then. A task for the whole life. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.#options.clock.sleep(SAVE_EVERY_MS, signal);
      } catch {
        break; // aborted: the sleep has no other reason to reject
      }
      await this.save();
    }
    await this.save();
  }
}

function bounded(learned: Learned): Learned {
  const { keys, grants } = learned;
  return {
    keys:
      keys.length <= KEPT_MAX
        ? keys
        : keys.toSorted((left, right) => (left.date < right.date ? 1 : -1)).slice(0, KEPT_MAX),
    grants:
      grants.length <= KEPT_MAX
        ? grants
        : grants.toSorted((left, right) => right.expiresAtMs - left.expiresAtMs).slice(0, KEPT_MAX),
  };
}

/** The file system: a private temporary file, synced, renamed over the old one. */
export const systemLearnedFiles: LearnedFiles = {
  async read(path) {
    try {
      return await readFile(path);
    } catch (error) {
      if ((error as { code?: string }).code === "ENOENT") return undefined;
      throw error;
    }
  },
  async replace(path, bytes) {
    const temporary = `${path}.new`;
    const file = await open(temporary, "w", 0o600);
    try {
      await file.writeFile(bytes);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
    const folder = await open(dirname(path), "r");
    try {
      await folder.sync(); // makes the new name survive a power loss
    } finally {
      await folder.close();
    }
  },
};
