/**
 * Notes on disk of writes under way, so that a process that is killed between forwarding a
 * write and learning its outcome leaves word of it for the next one.
 *
 * A log of two kinds of lines, `{"write":7,"objects":[["bucket","key"]]}` before a write is
 * forwarded and `{"settled":7}` after it was settled: some microseconds each, where a file per
 * write takes a hundred times as long. A log that has grown is replaced by one with the
 * notes that still count; both may be there after a kill, and then both are read.
 *
 * Nothing is synced: a note has to survive the process, not the machine, because after a
 * power loss the store trusts none of its entries without asking upstream anyway
 * (docs/storage-format.md, "Power loss"). A line that was cut short belongs to a write that
 * was never forwarded; a note that outlives its write costs a miss.
 */

import { join } from "node:path";
import type { Disk, DiskFile } from "../base/disk.ts";
import type { WriteTargets } from "./write-targets.ts";

export interface WriteNotes {
  /** The writes whose outcome an earlier process did not live to learn. */
  readonly left: readonly LeftNote[];
  /** Returns when the note will survive this process; undefined when the disk refuses it. Never throws. */
  write(targets: WriteTargets): WriteNote | undefined;
  /** Resolves when every log that was replaced so far is gone. */
  readonly cleared: Promise<void>;
  /** Nothing is written any more. What was not erased is left to the next process. */
  close(): void;
}

export interface WriteNote {
  /** The write was settled. Never throws. */
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

/** A log is begun anew when it is longer than this and nothing in it counts any more … */
const EMPTY_BYTES = 64 * 1024;
/** … and replaced when it is longer than this whatever is in it. */
const LONG_BYTES = 4 * 1024 * 1024;

/**
 * Opens the notes and reads what an earlier process left. Throws `storage_io` when that
 * cannot be read, or no new log be made.
 */
export function openWriteNotes(options: WriteNotesOptions): WriteNotes {
  return new NotesLog(options);
}

class NotesLog implements WriteNotes {
  readonly left: readonly LeftNote[];
  readonly #options: WriteNotesOptions;
  /** Noted and not settled, by number. */
  readonly #open: Map<number, WriteTargets>;
  #count: number;
  #logNumber: number;
  #file: DiskFile;
  #lengthBytes = 0;
  #isClosed = false;
  /** One after the other, oldest first: a later log settles what an earlier one noted. */
  #removing: Promise<void> = Promise.resolve();

  constructor(options: WriteNotesOptions) {
    const { folder, disk } = options;
    this.#options = options;
    disk.makeFolder(folder);
    // In the order they were written: a later log may settle what an earlier one noted.
    const names = disk.list(folder).toSorted((one, other) => numberOf(one) - numberOf(other));
    const past = parseLogs(names.map((name) => read(disk, join(folder, name))));
    this.#open = past.open;
    this.#count = past.highest;
    this.#logNumber = Math.max(0, ...names.map(numberOf));
    this.left = [...past.open].map(([number, targets]) => ({
      targets,
      erase: () => this.#erase(number),
    }));
    this.#file = this.#newLog();
    for (const name of names) this.#remove(name);
  }

  get cleared(): Promise<void> {
    return this.#removing;
  }

  write(targets: WriteTargets): WriteNote | undefined {
    this.#count += 1;
    const number = this.#count;
    if (!this.#append(lineOf(number, targets))) return undefined;
    this.#open.set(number, targets);
    return { erase: () => this.#erase(number) };
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#file.close();
  }

  #erase(number: number): void {
    if (!this.#open.delete(number)) return;
    this.#append(`{"settled":${number}}\n`);
    const limitBytes = this.#open.size === 0 ? EMPTY_BYTES : LONG_BYTES;
    if (this.#lengthBytes > limitBytes) this.#replace();
  }

  /** False when the disk refuses. */
  #append(line: string): boolean {
    if (this.#isClosed) return false;
    const bytes = Buffer.from(line);
    try {
      this.#file.writeSync([bytes], this.#lengthBytes);
    } catch (error) {
      // What was written of it is written over, or is a cut line at the end.
      this.#options.onTrouble(error);
      return false;
    }
    this.#lengthBytes += bytes.length;
    return true;
  }

  #replace(): void {
    if (this.#isClosed) return;
    const before = this.#file;
    try {
      this.#file = this.#newLog();
    } catch (error) {
      this.#options.onTrouble(error); // the long one goes on being good
      return;
    }
    before.close();
    this.#remove(nameOf(this.#logNumber - 1));
  }

  /** A log with the notes that count; it is whole before the earlier one goes. */
  #newLog(): DiskFile {
    const { folder, disk } = this.#options;
    const file = disk.open(join(folder, nameOf(this.#logNumber + 1)), "create");
    const lines = [...this.#open].map(([number, targets]) => lineOf(number, targets));
    const bytes = Buffer.from(lines.join(""));
    if (bytes.length > 0) file.writeSync([bytes], 0);
    this.#logNumber += 1;
    this.#lengthBytes = bytes.length;
    return file;
  }

  #remove(name: string): void {
    const { folder, disk, onTrouble } = this.#options;
    this.#removing = this.#removing.then(() => disk.remove(join(folder, name))).catch(onTrouble);
  }
}

function nameOf(logNumber: number): string {
  return `${logNumber}.log`;
}

/** 0 for a name that is none of ours. */
function numberOf(name: string): number {
  return Number.parseInt(name, 10) || 0;
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

function lineOf(number: number, targets: WriteTargets): string {
  const named =
    targets.kind === "bucket"
      ? { bucket: targets.bucket }
      : { objects: targets.ids.map(({ bucket, key }) => [bucket, key]) };
  return `${JSON.stringify({ write: number, ...named })}\n`;
}

/** What is open in some logs, of which one may have replaced the other. */
function parseLogs(texts: readonly string[]): {
  readonly open: Map<number, WriteTargets>;
  readonly highest: number;
} {
  const open = new Map<number, WriteTargets>();
  const settled = new Set<number>();
  let highest = 0;
  for (const line of texts.flatMap((text) => text.split("\n"))) {
    const parsed = parseLine(line);
    if (parsed === undefined) continue;
    highest = Math.max(highest, parsed.number);
    if (parsed.targets === undefined) settled.add(parsed.number);
    else open.set(parsed.number, parsed.targets);
  }
  for (const number of settled) open.delete(number);
  return { open, highest };
}

/** `targets` undefined: the write was settled. Undefined when the line is not whole. */
function parseLine(
  line: string,
): { readonly number: number; readonly targets: WriteTargets | undefined } | undefined {
  let value: { write?: unknown; settled?: unknown; bucket?: unknown; objects?: unknown };
  try {
    value = JSON.parse(line) as typeof value;
  } catch {
    return undefined;
  }
  const { write, settled, bucket, objects } = value;
  if (typeof settled === "number") return { number: settled, targets: undefined };
  if (typeof write !== "number") return undefined;
  if (typeof bucket === "string") return { number: write, targets: { kind: "bucket", bucket } };
  if (!Array.isArray(objects)) return undefined;
  const ids = objects.map((pair) => {
    const [bucketName, key] = pair as [string, string];
    return { bucket: bucketName, key };
  });
  return { number: write, targets: { kind: "objects", ids } };
}
