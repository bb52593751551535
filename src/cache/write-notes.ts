/**
 * Notes on disk of writes under way, so that a process that is killed between forwarding a
 * write and learning its outcome leaves word of it for the next one.
 *
 * One small file per write, made before the write is forwarded and removed after it was
 * settled. Nothing is synced: a note has to survive the process, not the machine, because
 * after a power loss the store trusts none of its entries without asking upstream anyway
 * (docs/storage-format.md, "Power loss"). A note that was cut short belongs to a write that
 * was never forwarded; one that outlives its write costs a miss.
 */

import { join } from "node:path";
import type { Disk } from "../base/disk.ts";
import type { WriteTargets } from "./write-targets.ts";

export interface WriteNotes {
  /** The writes whose outcome an earlier process did not live to learn. */
  readonly left: readonly LeftNote[];
  /** Returns when the note will survive this process; undefined when the disk refuses it. Never throws. */
  write(targets: WriteTargets): WriteNote | undefined;
}

export interface WriteNote {
  /** The write was settled. */
  erase(): void;
}

export interface LeftNote extends WriteNote {
  readonly targets: WriteTargets;
}

export interface WriteNotesOptions {
  /** Made when it is not there; nothing else may live in it. */
  readonly folder: string;
  readonly disk: Disk;
  /** Told when the disk refuses. Must not throw. */
  readonly onTrouble: (cause: unknown) => void;
}

/** Opens the notes and reads what an earlier process left. Throws `storage_io` when that cannot be read. */
export function openWriteNotes(options: WriteNotesOptions): WriteNotes {
  const { folder, disk, onTrouble } = options;
  disk.makeFolder(folder);
  const names = disk.list(folder);
  // Above every number in use, so that a new note never meets one that was left.
  let count = Math.max(0, ...names.map((name) => Number.parseInt(name, 10) || 0));
  const noteAt = (path: string): WriteNote => ({
    erase: () => {
      disk.remove(path).catch(onTrouble);
    },
  });
  const left: LeftNote[] = [];
  for (const name of names) {
    const path = join(folder, name);
    const targets = parse(read(disk, path));
    if (targets === undefined) noteAt(path).erase();
    else left.push({ targets, ...noteAt(path) });
  }
  return {
    left,
    write(targets) {
      count += 1;
      const path = join(folder, `${count}.json`);
      try {
        const file = disk.open(path, "create");
        try {
          file.writeSync([format(targets)], 0);
        } finally {
          file.close();
        }
      } catch (error) {
        onTrouble(error);
        noteAt(path).erase();
        return undefined;
      }
      return noteAt(path);
    },
  };
}

function read(disk: Disk, path: string): string {
  const file = disk.open(path, "read");
  try {
    const bytes = new Uint8Array(file.sizeBytes());
    return new TextDecoder().decode(bytes.subarray(0, file.readSync(bytes, 0)));
  } finally {
    file.close();
  }
}

function format(targets: WriteTargets): Uint8Array {
  const value =
    targets.kind === "bucket"
      ? { bucket: targets.bucket }
      : { objects: targets.ids.map(({ bucket, key }) => [bucket, key]) };
  return new TextEncoder().encode(JSON.stringify(value));
}

/** Undefined when the text is not whole. */
function parse(text: string): WriteTargets | undefined {
  let value: { bucket?: unknown; objects?: unknown };
  try {
    value = JSON.parse(text) as typeof value;
  } catch {
    return undefined;
  }
  if (typeof value.bucket === "string") return { kind: "bucket", bucket: value.bucket };
  if (!Array.isArray(value.objects)) return undefined;
  const ids = value.objects.map((pair) => {
    const [bucket, key] = pair as [string, string];
    return { bucket, key };
  });
  return { kind: "objects", ids };
}
