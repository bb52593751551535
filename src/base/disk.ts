/**
 * The disk, as a seam: the dozen file operations the store is built on, so that a
 * test can run it on memory, lose unsynced bytes, flip bits and fill it up.
 *
 * Small metadata lives in SQLite, which brings its own file access; this seam is
 * for body bytes. Reads come in a synchronous and an asynchronous form because a
 * page-cache hit costs less than the way through a thread pool, and only the
 * caller knows which it expects. Failures throw `storage_io` with the cause kept.
 */

import { dlopen } from "bun:ffi";
import { constants as fsConstants } from "node:fs";
import * as fs from "node:fs";
import * as os from "node:os";
import { GatewayError } from "./errors.ts";
import { fromLibc, LIBC } from "./libc.ts";
import { readResident } from "./page-cache.ts";

/** An open file. Positions and lengths are bytes. */
export interface DiskFile {
  readonly path: string;
  /** Good for `pread` by others until `close`. */
  readonly descriptor: number;
  sizeBytes(): number;
  /** Bytes the file takes on the volume: less than its size when it has holes. */
  allocatedBytes(): number;
  /** Fills `target` from `position`; returns fewer bytes only at the end of the file. */
  readSync(target: Uint8Array, position: number): number;
  /**
   * `readSync` of what is in memory: fewer bytes, and none, also when the next one would have to
   * come from the disk, when the system cannot tell, and when there is trouble.
   */
  readResident(target: Uint8Array, position: number): number;
  /** `readSync` without blocking the event loop. */
  read(target: Uint8Array, position: number): Promise<number>;
  /** Writes all chunks one after the other from `position`; rejects unless every byte was taken. */
  write(chunks: readonly Uint8Array[], position: number): Promise<void>;
  /** `write` on the calling thread: right for a few KiB towards the page cache. */
  writeSync(chunks: readonly Uint8Array[], position: number): void;
  /** Contents and length are on stable storage when this resolves (fdatasync). */
  sync(): Promise<void>;
  /**
   * Reserves space for `[fromBytes, sizeBytes)` and makes the file that long, so that no
   * later write into it can find the volume full. On platforms without
   * `fallocate` the file is only made long. Nothing may be writing there meanwhile.
   *
   * @param fromBytes up to where it was done already; 0 when absent
   */
  preallocate(sizeBytes: number, fromBytes?: number): void;
  truncate(sizeBytes: number): void;
  /**
   * Gives the descriptor back, once reads and writes under way are through: closed any
   * earlier, its number could name another file by the time the kernel looks at it.
   */
  close(): void;
}

export interface DiskSpace {
  readonly totalBytes: number;
  /** Free for us, the share reserved for root left out. */
  readonly freeBytes: number;
}

export interface Disk {
  /** `create` makes a new, empty file; `update` and `read` need an existing one. Throws `storage_io`. */
  open(path: string, mode: "create" | "update" | "read"): DiskFile;
  /** Unlinks; open descriptors stay readable. A file that is not there is a success. */
  remove(path: string): Promise<void>;
  /** Makes the folder and its parents. */
  makeFolder(path: string): void;
  /** Names in a folder, in no order; empty when there is no such folder. */
  list(path: string): string[];
  exists(path: string): boolean;
  /** Bytes a file takes on the volume, 0 when it is not there. */
  allocatedBytes(path: string): number;
  space(path: string): DiskSpace;
}

const POSIX_BLOCK_BYTES = 512; // the unit of st_blocks, whatever the file system's own block is

export const systemDisk: Disk = {
  open(path, mode) {
    const flags =
      mode === "create"
        ? fsConstants.O_RDWR | fsConstants.O_CREAT | fsConstants.O_TRUNC
        : mode === "update"
          ? fsConstants.O_RDWR
          : fsConstants.O_RDONLY;
    try {
      return new SystemFile(path, fs.openSync(path, flags, 0o600));
    } catch (error) {
      throw ioError(`cannot open ${path}`, error);
    }
  },

  remove(path) {
    return new Promise((resolve, reject) => {
      fs.unlink(path, (error) => {
        if (error === null || error.code === "ENOENT") resolve();
        else reject(ioError(`cannot remove ${path}`, error));
      });
    });
  },

  makeFolder(path) {
    try {
      fs.mkdirSync(path, { recursive: true, mode: 0o700 });
    } catch (error) {
      throw ioError(`cannot make folder ${path}`, error);
    }
  },

  list(path) {
    try {
      return fs.readdirSync(path);
    } catch (error) {
      if (errnoOf(error) === "ENOENT") return [];
      throw ioError(`cannot list ${path}`, error);
    }
  },

  exists(path) {
    return fs.existsSync(path);
  },

  allocatedBytes(path) {
    const status = fs.statSync(path, { throwIfNoEntry: false });
    return status === undefined ? 0 : status.blocks * POSIX_BLOCK_BYTES;
  },

  space(path) {
    try {
      const volume = fs.statfsSync(path);
      return {
        totalBytes: volume.blocks * volume.bsize,
        freeBytes: volume.bavail * volume.bsize,
      };
    } catch (error) {
      throw ioError(`cannot ask for the free space of ${path}`, error);
    }
  },
};

class SystemFile implements DiskFile {
  readonly path: string;
  readonly descriptor: number;
  #isClosing = false;
  /** Asynchronous calls that the thread pool has not answered yet. */
  #underWay = 0;

  constructor(path: string, descriptor: number) {
    this.path = path;
    this.descriptor = descriptor;
  }

  sizeBytes(): number {
    return this.#attempt("cannot stat", () => fs.fstatSync(this.descriptor).size);
  }

  allocatedBytes(): number {
    return this.#attempt(
      "cannot stat",
      () => fs.fstatSync(this.descriptor).blocks * POSIX_BLOCK_BYTES,
    );
  }

  readSync(target: Uint8Array, position: number): number {
    return this.#attempt("cannot read", () => {
      let done = 0;
      while (done < target.length) {
        const count = fs.readSync(
          this.descriptor,
          target,
          done,
          target.length - done,
          position + done,
        );
        if (count === 0) break;
        done += count;
      }
      return done;
    });
  }

  readResident(target: Uint8Array, position: number): number {
    this.#mustBeOpen();
    return readResident(this.descriptor, target, 0, target.length, position);
  }

  async read(target: Uint8Array, position: number): Promise<number> {
    let done = 0;
    while (done < target.length) {
      const from = done;
      const count = await this.#call<number>("cannot read", (answer) =>
        fs.read(this.descriptor, target, from, target.length - from, position + from, answer),
      );
      if (count === 0) break;
      done += count;
    }
    return done;
  }

  async write(chunks: readonly Uint8Array[], position: number): Promise<void> {
    let rest = chunks;
    let at = position;
    while (rest.length > 0) {
      const batch = rest.slice(0, IOV_MAX);
      const wanted = totalLength(batch);
      const from = at;
      const written = await this.#call<number>("cannot write", (answer) =>
        fs.writev(this.descriptor, batch, from, answer),
      );
      // A short write is how a full volume announces itself; the next one says ENOSPC.
      if (written === 0 && wanted > 0) throw ioError(`cannot write ${this.path}`, undefined);
      at += written;
      rest =
        written === wanted
          ? rest.slice(batch.length)
          : [...afterBytes(batch, written), ...rest.slice(batch.length)];
    }
  }

  writeSync(chunks: readonly Uint8Array[], position: number): void {
    this.#attempt("cannot write", () => {
      let at = position;
      for (const chunk of chunks) {
        let done = 0;
        while (done < chunk.length) {
          const count = fs.writeSync(this.descriptor, chunk, done, chunk.length - done, at);
          if (count === 0) throw new Error("the volume took no bytes");
          done += count;
          at += count;
        }
      }
    });
  }

  async sync(): Promise<void> {
    await this.#call<undefined>("cannot sync", (answer) => {
      fs.fdatasync(this.descriptor, (error) => answer(error, undefined));
    });
  }

  preallocate(sizeBytes: number, fromBytes = 0): void {
    this.#attempt("cannot reserve space for", () => {
      reserve(this.descriptor, fromBytes, sizeBytes - fromBytes);
    });
    if (this.sizeBytes() < sizeBytes) this.truncate(sizeBytes);
  }

  truncate(sizeBytes: number): void {
    this.#attempt("cannot truncate", () => fs.ftruncateSync(this.descriptor, sizeBytes));
  }

  close(): void {
    if (this.#isClosing) return;
    this.#isClosing = true;
    if (this.#underWay === 0) this.#closeNow();
  }

  #closeNow(): void {
    try {
      fs.closeSync(this.descriptor);
    } catch (error) {
      throw ioError(`cannot close ${this.path}`, error);
    }
  }

  /** One asynchronous call of the file module, during which the descriptor stays open. */
  async #call<T>(
    what: string,
    start: (answer: (error: Error | null | undefined, value: T) => void) => void,
  ): Promise<T> {
    this.#mustBeOpen();
    this.#underWay += 1;
    try {
      return await new Promise<T>((resolve, reject) => {
        start((error, value) => {
          if (error === null || error === undefined) resolve(value);
          else reject(ioError(`${what} ${this.path}`, error));
        });
      });
    } finally {
      this.#underWay -= 1;
      if (this.#isClosing && this.#underWay === 0) this.#closeNow();
    }
  }

  #mustBeOpen(): void {
    if (this.#isClosing) throw ioError(`${this.path} is closed`, undefined);
  }

  #attempt<T>(what: string, run: () => T): T {
    this.#mustBeOpen();
    try {
      return run();
    } catch (error) {
      throw ioError(`${what} ${this.path}`, error);
    }
  }
}

/** Linux takes at most this many buffers in one `pwritev`. */
const IOV_MAX = 1024;

/** The system's error code ("ENOSPC", "EIO", …) behind an error of this seam, if there is one. */
export function errnoOf(error: unknown): string | undefined {
  for (let at: unknown = error; at instanceof Error; at = at.cause) {
    const code = (at as { code?: unknown }).code;
    if (typeof code === "string" && /^E[A-Z0-9]+$/.test(code)) return code;
  }
  return undefined;
}

function ioError(what: string, cause: unknown): GatewayError {
  const because = cause instanceof Error ? `: ${cause.message}` : "";
  return new GatewayError("storage_io", `${what}${because}`, { cause });
}

function totalLength(chunks: readonly Uint8Array[]): number {
  let sizeBytes = 0;
  for (const chunk of chunks) sizeBytes += chunk.length;
  return sizeBytes;
}

function afterBytes(chunks: readonly Uint8Array[], skipBytes: number): Uint8Array[] {
  const rest: Uint8Array[] = [];
  let skip = skipBytes;
  for (const chunk of chunks) {
    if (skip >= chunk.length) {
      skip -= chunk.length;
    } else {
      rest.push(skip === 0 ? chunk : chunk.subarray(skip));
      skip = 0;
    }
  }
  return rest;
}

/**
 * `posix_fallocate(fd, fromBytes, lengthBytes)`: the one call Node's file module lacks, and what
 * turns "disk full in the middle of a record" into "disk full when a file is made".
 * Does nothing where libc has none that we can call (macOS, musl): files there are made
 * long, not reserved. Throws an error with a `code` as Node's own calls do.
 */
function reserve(descriptor: number, fromBytes: number, lengthBytes: number): void {
  if (lengthBytes <= 0) return;
  const errno = fallocate()(descriptor, fromBytes, lengthBytes);
  if (errno === 0 || errno === os.constants.errno.EOPNOTSUPP) return;
  const name = Object.entries(os.constants.errno).find(([, value]) => value === errno)?.[0];
  throw Object.assign(new Error(`posix_fallocate failed with ${name ?? `errno ${errno}`}`), {
    code: name ?? "EIO",
  });
}

type Fallocate = (descriptor: number, fromBytes: number, lengthBytes: number) => number;

const fallocate = fromLibc<Fallocate, Fallocate>(openFallocate, () => 0);

function openFallocate(): Fallocate {
  const { symbols } = dlopen(LIBC, {
    posix_fallocate: { args: ["i32", "i64", "i64"], returns: "i32" },
  });
  return (descriptor, fromBytes, lengthBytes) =>
    symbols.posix_fallocate(descriptor, fromBytes, lengthBytes);
}
