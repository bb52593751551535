import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { errnoOf, systemDisk } from "../../../src/base/disk.ts";
import { errorCode } from "../../../src/base/errors.ts";

async function withFolder(run: (folder: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "tag-disk-"));
  try {
    await run(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const bytes = (...values: number[]) => Uint8Array.from(values);

test("many chunks are written one after the other, however many there are", () =>
  withFolder(async (folder) => {
    const file = systemDisk.open(join(folder, "f"), "create");
    const chunks = Array.from({ length: 3000 }, (_, n) => bytes(n & 255, n >> 8));
    await file.write(chunks, 10);
    const back = new Uint8Array(6000);
    expect(await file.read(back, 10)).toBe(6000);
    expect(Buffer.compare(back, Buffer.concat(chunks))).toBe(0);
    expect(file.readSync(new Uint8Array(100), 6000)).toBe(10);
    expect(file.sizeBytes()).toBe(6010);
    file.close();
  }));

test("preallocated space is really taken, and given back by truncate", () =>
  withFolder(async (folder) => {
    const file = systemDisk.open(join(folder, "f"), "create");
    file.preallocate(1024 * 1024);
    expect(file.sizeBytes()).toBe(1024 * 1024);
    if (process.platform === "linux") {
      expect(file.allocatedBytes()).toBeGreaterThanOrEqual(1024 * 1024);
    }
    file.truncate(4096);
    expect(systemDisk.allocatedBytes(join(folder, "f"))).toBeLessThanOrEqual(8192);
    file.close();
  }));

test("a file closed under a read is closed after it", () =>
  withFolder(async (folder) => {
    const file = systemDisk.open(join(folder, "f"), "create");
    await file.write([new Uint8Array(1024 * 1024).fill(7)], 0);
    const back = new Uint8Array(1024 * 1024);
    const reading = file.read(back, 0);
    file.close();
    expect(await reading).toBe(back.length);
    expect(back.every((value) => value === 7)).toBe(true);
    expect(errorCode(await file.read(back, 0).catch((error: unknown) => error))).toBe("storage_io");
  }));

test("what the system refuses keeps its reason", () =>
  withFolder(async (folder) => {
    let failure: unknown;
    try {
      systemDisk.open(join(folder, "none", "f"), "read");
    } catch (error) {
      failure = error;
    }
    expect(errorCode(failure)).toBe("storage_io");
    expect(errnoOf(failure)).toBe("ENOENT");
    await systemDisk.remove(join(folder, "never-there"));
    expect(systemDisk.list(join(folder, "none"))).toEqual([]);
    expect(systemDisk.allocatedBytes(join(folder, "none"))).toBe(0);
  }));
