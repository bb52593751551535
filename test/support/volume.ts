/** Real file systems of a few MiB, for tests of what happens when one is full. Linux and root only. */

import {
  closeSync,
  mkdirSync,
  openSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";

const MIB = 1024 * 1024;

/** `tmpfs` is in memory; `ext4` is in a file behind a loop device, and counts blocks as a disk does. */
export type VolumeKind = "tmpfs" | "ext4";

export class Volume implements Disposable {
  /** Where it is mounted. */
  readonly path: string;
  readonly #image: string | undefined;

  private constructor(path: string, image: string | undefined) {
    this.path = path;
    this.#image = image;
  }

  /** Why there can be none, in words; undefined when there can. `folder` is used to find out. */
  static whyNot(folder: string): string | undefined {
    if (process.platform !== "linux") return "mounting is done as on Linux";
    try {
      Volume.mount(folder, "ext4", 8 * MIB)[Symbol.dispose]();
      return undefined;
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }

  /** An empty volume below `folder`. Throws when this is not permitted. */
  static mount(folder: string, kind: VolumeKind, sizeBytes: number): Volume {
    const path = join(folder, kind);
    mkdirSync(path, { recursive: true });
    if (kind === "tmpfs") {
      run("mount", "-t", "tmpfs", "-o", `size=${sizeBytes}`, "tmpfs", path);
      return new Volume(path, undefined);
    }
    const image = join(folder, `${kind}.image`);
    writeFileSync(image, "");
    truncateSync(image, sizeBytes);
    run("mkfs.ext4", "-q", "-F", "-m", "0", image);
    run("mount", "-o", "loop", image, path);
    return new Volume(path, image);
  }

  [Symbol.dispose](): void {
    Bun.spawnSync(["umount", "-l", this.path]);
    rmSync(this.path, { recursive: true, force: true });
    if (this.#image !== undefined) rmSync(this.#image, { force: true });
  }
}

function run(...command: string[]): void {
  let result;
  try {
    result = Bun.spawnSync(command);
  } catch (error) {
    throw new Error(`${command[0]} cannot be run`, { cause: error });
  }
  if (!result.success) throw new Error(result.stderr.toString().trim());
}

/** Writes a file that takes every byte its volume has left. */
export function hogAll(path: string): void {
  const file = openSync(path, "w");
  try {
    for (let chunk = MIB; chunk >= 1; chunk = Math.floor(chunk / 2)) {
      const bytes = new Uint8Array(chunk);
      try {
        for (;;) writeSync(file, bytes);
      } catch {
        // Smaller pieces may still fit.
      }
    }
  } finally {
    closeSync(file);
  }
}
