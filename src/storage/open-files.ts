/**
 * Files open for reading, shared by all who read them and closed when the last one let
 * go. Descriptors are kept rather than reopened, because the page cache makes a read
 * cheaper than an `open`, and because an open descriptor keeps the bytes of an unlinked
 * file: eviction never has to wait for a reader.
 */

import { assert } from "../base/assert.ts";
import type { Disk, DiskFile } from "../base/disk.ts";
import { LruMap } from "../base/lru.ts";

export class OpenFiles {
  readonly #disk: Disk;
  readonly #open: LruMap<string, OpenFile>;

  /** @param filesMax files kept open without a reader; those being read come on top */
  constructor(disk: Disk, filesMax: number) {
    this.#disk = disk;
    this.#open = new LruMap(filesMax, (_path, file) => file.retire());
  }

  /** Files kept open. */
  get count(): number {
    return this.#open.size;
  }

  /** The file, counted as used until `release`. Throws `storage_io` when it cannot be opened. */
  acquire(path: string): OpenFile {
    let file = this.#open.get(path);
    if (file === undefined) {
      file = new OpenFile(this.#disk.open(path, "read"));
      this.#open.set(path, file, 1);
    }
    file.retain();
    return file;
  }

  /** Takes the file out, because it was or will be unlinked. Readers keep theirs. */
  forget(path: string): void {
    const file = this.#open.peek(path);
    if (file === undefined) return;
    this.#open.delete(path);
    file.retire();
  }

  close(): void {
    for (const [path] of this.#open.entries()) this.forget(path);
  }
}

/** A descriptor with its readers counted. */
export class OpenFile {
  readonly file: DiskFile;
  #readers = 0;
  #isRetired = false;

  constructor(file: DiskFile) {
    this.file = file;
  }

  retain(): void {
    assert(!this.#isRetired, "a file was taken into use after it was given up");
    this.#readers += 1;
  }

  release(): void {
    assert(this.#readers > 0, "a file was released more often than taken");
    this.#readers -= 1;
    this.#closeWhenUnused();
  }

  /** The table gives the file up; it closes with its last reader. */
  retire(): void {
    this.#isRetired = true;
    this.#closeWhenUnused();
  }

  #closeWhenUnused(): void {
    if (this.#isRetired && this.#readers === 0) this.file.close();
  }
}
