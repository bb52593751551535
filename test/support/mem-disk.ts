/**
 * A disk in memory that can lose power.
 *
 * It keeps what was synced apart from what was only written. `crash` makes the disk a
 * machine would find after power came back: every unsynced sector is there or is not,
 * files whose folder was never synced may have vanished, unlinked ones may be back.
 * A short synchronous moment separates calls from effects, as with a real thread pool.
 */

import { mkdirSync } from "node:fs";
import type { Disk, DiskFile, DiskSpace } from "../../src/base/disk.ts";
import { GatewayError } from "../../src/base/errors.ts";
import type { Random } from "../../src/base/random.ts";

const SECTOR_BYTES = 4096;

class MemNode {
  /** What a crash cannot take. */
  durable = new Uint8Array(0);
  durableSize = 0;
  bytes = new Uint8Array(0);
  size = 0;
  /** Sectors written since the last sync. */
  readonly dirty = new Set<number>();

  resize(size: number): void {
    if (size > this.bytes.length) {
      const larger = new Uint8Array(Math.max(size, 2 * this.bytes.length));
      larger.set(this.bytes.subarray(0, this.size));
      this.bytes = larger;
    }
    if (size < this.size) this.bytes.fill(0, size, this.size);
    this.size = size;
  }

  write(bytes: Uint8Array, position: number): void {
    const end = position + bytes.length;
    if (end > this.size) this.resize(end);
    this.bytes.set(bytes, position);
    for (let at = position; at < end; at += SECTOR_BYTES) this.dirty.add(sectorOf(at));
    if (end > position) this.dirty.add(sectorOf(end - 1));
  }

  sync(): void {
    this.durable = this.bytes.slice(0, this.size);
    this.durableSize = this.size;
    this.dirty.clear();
  }

  /** What is left of the file after the power failed. */
  crashed(random: Random): MemNode {
    const node = new MemNode();
    const isSizeKnown = random.float() < 0.8;
    node.resize(isSizeKnown ? this.size : this.durableSize);
    const kept = this.durable.subarray(0, Math.min(node.size, this.durableSize));
    node.bytes.set(kept);
    for (const sector of this.dirty) {
      if (random.float() < 0.5) continue;
      const start = sector * SECTOR_BYTES;
      const end = Math.min(node.size, start + SECTOR_BYTES);
      if (start < end) node.bytes.set(this.bytes.subarray(start, end), start);
    }
    node.sync();
    return node;
  }
}

export class MemDisk implements Disk {
  readonly #nodes = new Map<string, MemNode>();
  /** Unlinked since the start: their names may still be on the platter. */
  readonly #ghosts = new Map<string, MemNode>();
  readonly #open = new Map<number, MemNode>();
  #descriptors = 1_000_000;

  open(path: string, mode: "create" | "update" | "read"): DiskFile {
    let node = this.#nodes.get(path);
    if (mode === "create") {
      node = new MemNode();
      this.#nodes.set(path, node);
    }
    if (node === undefined) {
      throw new GatewayError("storage_io", `cannot open ${path}: ENOENT`, {
        cause: Object.assign(new Error("no such file"), { code: "ENOENT" }),
      });
    }
    const descriptor = (this.#descriptors += 1);
    this.#open.set(descriptor, node);
    return new MemFile(path, descriptor, node, () => this.#open.delete(descriptor));
  }

  async remove(path: string): Promise<void> {
    await Promise.resolve();
    const node = this.#nodes.get(path);
    if (node === undefined) return;
    this.#nodes.delete(path);
    this.#ghosts.set(path, node);
  }

  /** Folders are prefixes of names here, and real ones too: SQLite keeps its files in them. */
  makeFolder(path: string): void {
    mkdirSync(path, { recursive: true });
  }

  list(path: string): string[] {
    const prefix = `${path}/`;
    return [...this.#nodes.keys()]
      .filter((name) => name.startsWith(prefix))
      .map((name) => name.slice(prefix.length))
      .filter((name) => !name.includes("/"));
  }

  exists(path: string): boolean {
    return this.#nodes.has(path);
  }

  allocatedBytes(path: string): number {
    return this.#nodes.get(path)?.size ?? 0;
  }

  space(): DiskSpace {
    return { totalBytes: 2 ** 40, freeBytes: 2 ** 40 };
  }

  /** What a server would read from a slice's descriptor. */
  readDescriptor(descriptor: number, offset: number, length: number): Uint8Array {
    const node = this.#open.get(descriptor);
    if (node === undefined) throw new Error(`descriptor ${descriptor} is not open`);
    return node.bytes.slice(offset, Math.min(node.size, offset + length));
  }

  /** How many files are open: a leak check. */
  get openCount(): number {
    return this.#open.size;
  }

  /** The disk after power came back; names are moved from one folder to another. */
  crash(random: Random, from: string, to: string): MemDisk {
    const disk = new MemDisk();
    const moved = (path: string): string => path.replace(from, to);
    for (const [path, node] of this.#nodes) {
      if (random.float() < 0.05) continue; // its folder was never synced
      disk.#nodes.set(moved(path), node.crashed(random));
    }
    for (const [path, node] of this.#ghosts) {
      if (random.float() < 0.2) disk.#nodes.set(moved(path), node.crashed(random));
    }
    return disk;
  }
}

class MemFile implements DiskFile {
  readonly path: string;
  readonly descriptor: number;
  readonly #node: MemNode;
  readonly #onClose: () => void;

  constructor(path: string, descriptor: number, node: MemNode, onClose: () => void) {
    this.path = path;
    this.descriptor = descriptor;
    this.#node = node;
    this.#onClose = onClose;
  }

  sizeBytes(): number {
    return this.#node.size;
  }

  allocatedBytes(): number {
    return this.#node.size;
  }

  readSync(target: Uint8Array, position: number): number {
    const bytes = this.#node.bytes.subarray(
      position,
      Math.min(this.#node.size, position + target.length),
    );
    target.set(bytes);
    return bytes.length;
  }

  /** As if every third page were not in memory. */
  readResident(target: Uint8Array, position: number): number {
    return Math.floor(position / 4096) % 3 === 0 ? 0 : this.readSync(target, position);
  }

  async read(target: Uint8Array, position: number): Promise<number> {
    await Promise.resolve();
    return this.readSync(target, position);
  }

  async write(chunks: readonly Uint8Array[], position: number): Promise<void> {
    await Promise.resolve();
    this.writeSync(chunks, position);
  }

  writeSync(chunks: readonly Uint8Array[], position: number): void {
    let at = position;
    for (const chunk of chunks) {
      this.#node.write(chunk, at);
      at += chunk.length;
    }
  }

  async sync(): Promise<void> {
    await Promise.resolve();
    this.#node.sync();
  }

  preallocate(sizeBytes: number): void {
    if (this.#node.size < sizeBytes) this.#node.resize(sizeBytes);
  }

  truncate(sizeBytes: number): void {
    this.#node.resize(sizeBytes);
  }

  close(): void {
    this.#onClose();
  }
}

function sectorOf(position: number): number {
  return Math.floor(position / SECTOR_BYTES);
}
