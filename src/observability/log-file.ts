/**
 * The log where standard error is a file: written by the thread pool.
 *
 * A write into the page cache can wait for the disk as well: ext4 holds it up while the journal commits the inode of
 * the file. On the thread of the requests that was 5 to 11 ms every few seconds beside large reads from disk, and it
 * lasts as long as the disk stands still.
 */

import { fstatSync, write, writeSync } from "node:fs";

/** Beyond, the log is written at once, by the thread of the requests: lines are not lost. */
const QUEUED_CHARS_MAX = 1024 * 1024;

export interface LogFileOptions {
  /** Appends all bytes in the background; rejects when that fails. */
  readonly append: (bytes: Uint8Array) => Promise<void>;
  /** Appends all bytes before it returns, or throws. */
  readonly appendSync: (bytes: Uint8Array) => void;
}

export class LogFile {
  readonly #options: LogFileOptions;
  #queued = "";
  /** On its way; undefined when nothing is. */
  #appending: Buffer | undefined;
  #idle = Promise.withResolvers<void>();

  constructor(options: LogFileOptions) {
    this.#options = options;
    this.#idle.resolve();
  }

  /**
   * Takes complete lines. What is urgent is in the file when this returns, and what was queued before it; lines that are
   * on their way may come behind it. What cannot be written is dropped: there is nobody to tell.
   */
  write(text: string, isUrgent: boolean): void {
    this.#queued += text;
    if (isUrgent || this.#queued.length > QUEUED_CHARS_MAX) this.#appendNow(this.#takeQueued());
    else if (this.#appending === undefined) void this.#appendQueued();
  }

  /** Resolves when everything that was taken so far is written. */
  drained(): Promise<void> {
    return this.#idle.promise;
  }

  /**
   * For a process that ends at once: writes what is queued, and what is on its way once more, as nobody
   * will know whether it arrived. Better twice than not at all.
   */
  abandon(): void {
    const appending = this.#appending;
    this.#appending = undefined;
    if (appending !== undefined) this.#appendNow(appending);
    this.#appendNow(this.#takeQueued());
  }

  async #appendQueued(): Promise<void> {
    this.#idle = Promise.withResolvers();
    while (this.#queued !== "") {
      this.#appending = this.#takeQueued();
      await this.#options.append(this.#appending).catch(() => undefined);
    }
    this.#appending = undefined;
    this.#idle.resolve();
  }

  #appendNow(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    try {
      this.#options.appendSync(bytes);
    } catch {
      // As in the background.
    }
  }

  #takeQueued(): Buffer {
    const bytes = Buffer.from(this.#queued);
    this.#queued = "";
    return bytes;
  }
}

/** The file behind a descriptor; undefined when it is none (a terminal, a pipe), or closed. */
export function logFileOf(descriptor: number): LogFile | undefined {
  if (!isFile(descriptor)) return undefined;
  return new LogFile({
    append: (bytes) => {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      const appendFrom = (offset: number): void => {
        write(descriptor, bytes, offset, bytes.length - offset, null, (error, count) => {
          if (error !== null) reject(error);
          else if (offset + count < bytes.length) appendFrom(offset + count);
          else resolve();
        });
      };
      appendFrom(0);
      return promise;
    },
    appendSync: (bytes) => {
      for (let offset = 0; offset < bytes.length;) offset += writeSync(descriptor, bytes, offset);
    },
  });
}

function isFile(descriptor: number): boolean {
  try {
    return fstatSync(descriptor).isFile();
  } catch {
    return false;
  }
}
