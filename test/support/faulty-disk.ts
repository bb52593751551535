/**
 * The real disk with a switch: while `fault` is set, the operations it names fail with its
 * error code, as they would on a volume that is read-only, broken, or out of descriptors.
 * SQLite does not come through here; what it meets is played with real file systems
 * (test/integration/disk-trouble.test.ts).
 */

import { GatewayError } from "../../src/base/errors.ts";
import { systemDisk, type Disk, type DiskFile } from "../../src/base/disk.ts";

/** `open` is opening a file that is there; `create` is making one. */
export type FaultyOperation = "open" | "create" | "read" | "write" | "remove";

export interface Fault {
  /** `EIO`, `EROFS`, … */
  readonly errno: string;
  readonly operations: readonly FaultyOperation[];
}

export class FaultyDisk implements Disk {
  fault: Fault | undefined;
  /** How often it struck. */
  strikes = 0;

  open(path: string, mode: "create" | "update" | "read"): DiskFile {
    this.#strike(mode === "create" ? "create" : "open", path);
    return new FaultyFile(systemDisk.open(path, mode), (operation) =>
      this.#strike(operation, path),
    );
  }

  async remove(path: string): Promise<void> {
    this.#strike("remove", path);
    await systemDisk.remove(path);
  }

  makeFolder(path: string): void {
    systemDisk.makeFolder(path);
  }

  list(path: string): string[] {
    return systemDisk.list(path);
  }

  exists(path: string): boolean {
    return systemDisk.exists(path);
  }

  allocatedBytes(path: string): number {
    return systemDisk.allocatedBytes(path);
  }

  space(path: string) {
    return systemDisk.space(path);
  }

  #strike(operation: FaultyOperation, path: string): void {
    if (this.fault?.operations.includes(operation) !== true) return;
    this.strikes += 1;
    const { errno } = this.fault;
    const cause = Object.assign(new Error(`${errno}: played by a test`), { code: errno });
    throw new GatewayError("storage_io", `cannot ${operation} ${path}: ${errno}`, { cause });
  }
}

class FaultyFile implements DiskFile {
  readonly #file: DiskFile;
  readonly #strike: (operation: FaultyOperation) => void;

  constructor(file: DiskFile, strike: (operation: FaultyOperation) => void) {
    this.#file = file;
    this.#strike = strike;
  }

  get path(): string {
    return this.#file.path;
  }

  get descriptor(): number {
    return this.#file.descriptor;
  }

  sizeBytes(): number {
    return this.#file.sizeBytes();
  }

  allocatedBytes(): number {
    return this.#file.allocatedBytes();
  }

  readSync(target: Uint8Array, position: number): number {
    this.#strike("read");
    return this.#file.readSync(target, position);
  }

  /** Nothing is in memory: what fails is the way to the disk. */
  readResident(): number {
    return 0;
  }

  async read(target: Uint8Array, position: number): Promise<number> {
    this.#strike("read");
    return this.#file.read(target, position);
  }

  async write(chunks: readonly Uint8Array[], position: number): Promise<void> {
    this.#strike("write");
    await this.#file.write(chunks, position);
  }

  writeSync(chunks: readonly Uint8Array[], position: number): void {
    this.#strike("write");
    this.#file.writeSync(chunks, position);
  }

  async sync(): Promise<void> {
    this.#strike("write");
    await this.#file.sync();
  }

  preallocate(sizeBytes: number, fromBytes?: number): void {
    this.#strike("write");
    this.#file.preallocate(sizeBytes, fromBytes);
  }

  truncate(sizeBytes: number): void {
    this.#strike("write");
    this.#file.truncate(sizeBytes);
  }

  close(): void {
    this.#file.close();
  }
}
