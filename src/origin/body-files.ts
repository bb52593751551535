/**
 * Body files: the bytes of objects and parts, one immutable file each, under
 * random names. A file never changes once it has its name, so a reader that opened
 * it keeps consistent bytes whatever happens to the object.
 *
 * The order that makes a write durable is: bytes into a temporary file, fsync,
 * rename, fsync of the folder, and only then the catalog row that names it. A
 * crash leaves at most files nobody names; `sweep` removes those at the next start.
 */

import { closeSync, mkdirSync, openSync, readdirSync, rmSync, unlinkSync } from "node:fs";
import { open, rename } from "node:fs/promises";
import { join } from "node:path";
import type { Random } from "../base/random.ts";
import type { ByteRange } from "../http/range.ts";
import type { FileSlice } from "../http/exchange.ts";

/** A body being written. End it with exactly one of `publish` and `discard`. */
export interface BodyDraft {
  write(chunk: Uint8Array): Promise<void>;
  /** Makes the bytes durable and answers the name of the body file. */
  publish(): Promise<string>;
  /** Removes what was written. Never fails: what stays behind is swept later. */
  discard(): Promise<void>;
}

export class BodyFiles {
  readonly #bodyFolder: string;
  readonly #draftFolder: string;
  readonly #random: Random;

  constructor(root: string, random: Random) {
    this.#bodyFolder = join(root, "objects");
    this.#draftFolder = join(root, "drafts");
    this.#random = random;
    // Drafts of an earlier process belong to writes that were never acknowledged.
    rmSync(this.#draftFolder, { recursive: true, force: true });
    mkdirSync(this.#draftFolder, { recursive: true });
    // Two levels of 256 keep folders small; making all of the first level here means
    // that publishing never has to create, and sync, a folder.
    for (let fan = 0; fan < 256; fan += 1) {
      mkdirSync(join(this.#bodyFolder, fan.toString(16).padStart(2, "0")), { recursive: true });
    }
  }

  async begin(): Promise<BodyDraft> {
    const name = Buffer.from(this.#random.bytes(16)).toString("hex");
    const draftPath = join(this.#draftFolder, name);
    const file = await open(draftPath, "wx");
    return {
      async write(chunk) {
        let offset = 0;
        while (offset < chunk.length) {
          const { bytesWritten } = await file.write(chunk, offset, chunk.length - offset);
          offset += bytesWritten;
        }
      },
      publish: async () => {
        await file.sync();
        await file.close();
        const path = this.#pathOf(name);
        await rename(draftPath, path);
        await syncFolder(join(path, ".."));
        return name;
      },
      discard: async () => {
        await file.close().catch(() => undefined);
        removeFile(draftPath);
      },
    };
  }

  /** Opens part of a body for reading; the caller must `release` it. Undefined: the file is gone. */
  open(name: string, range: ByteRange): FileSlice | undefined {
    const path = this.#pathOf(name);
    const descriptor = openIfThere(path);
    if (descriptor === undefined) return undefined;
    let isOpen = true;
    return {
      descriptor,
      path,
      offsetBytes: range.start,
      lengthBytes: range.end - range.start,
      release() {
        if (isOpen) closeSync(descriptor);
        isOpen = false;
      },
    };
  }

  /** Unlinks a body nobody names any more. Readers that have it open are not disturbed. */
  remove(name: string): void {
    removeFile(this.#pathOf(name));
  }

  /** Removes every body file that `isNamed` does not know; answers how many there were. */
  sweep(isNamed: (name: string) => boolean): number {
    let removedCount = 0;
    for (const fan of readdirSync(this.#bodyFolder)) {
      for (const name of readdirSync(join(this.#bodyFolder, fan))) {
        if (isNamed(name)) continue;
        removeFile(this.#pathOf(name));
        removedCount += 1;
      }
    }
    return removedCount;
  }

  #pathOf(name: string): string {
    return join(this.#bodyFolder, name.slice(0, 2), name);
  }
}

function openIfThere(path: string): number | undefined {
  try {
    return openSync(path, "r");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  }
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

function removeFile(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // Already gone, or not removable now: the next start sweeps it.
  }
}
