/**
 * Trees of files as people keep them: many small, a few large, some empty, in nested folders, with
 * names that hold whatever a name may hold; and their comparison by content.
 */

import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, readdir, rm, writeFile, open } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import type { Random } from "../../src/base/random.ts";

const KIB = 1024;
const MIB = 1024 * KIB;

export interface TreeOptions {
  readonly files: number;
  /** One file is this large; a few come near. */
  readonly largestBytes: number;
}

/** Names that are hard on something between here and the store. */
const AWKWARD = [
  "two  spaces",
  " padded ",
  "a+b",
  "100%",
  "a%20b",
  "a%2Fb",
  "what?x=1&y=2",
  "a#b",
  'it\'s "quoted"',
  "a;b=c,d~e",
  "(a)[b]{c}",
  "a&amp;b<c>",
  "$HOME`id`!",
  "*star*",
  "user@host:port",
  "back\\slash",
  ".hidden",
  "...",
  "Grüße 日本語 🚀",
  "e\u0301 decomposed",
  "-rf",
  "two\nlines",
  "n".repeat(200),
];

const pathOf = (random: Random, index: number): string => {
  const folders = Array.from({ length: random.below(5) }, () => `d${random.below(6)}`);
  const awkward = AWKWARD[index % (AWKWARD.length * 2)];
  if (awkward === undefined) return join(...folders, `file-${index}.bin`);
  // Half of the awkward names name folders.
  return index % 2 === 0
    ? join(...folders, `${index} ${awkward}`, `file-${index}`)
    : join(...folders, `${awkward} ${index}`);
};

function sizeOf(random: Random, index: number, { files, largestBytes }: TreeOptions): number {
  if (index === 0) return largestBytes;
  if (index < Math.max(2, files / 200)) return Math.floor(random.float() * largestBytes * 0.2);
  if (index % 25 === 0) return 0;
  if (index % 10 === 0) return random.below(MIB);
  return random.below(32 * KIB);
}

/** Makes a tree. */
export async function makeTree(
  folder: string,
  random: Random,
  options: TreeOptions,
): Promise<void> {
  for (let index = 0; index < options.files; index += 1) {
    const path = join(folder, pathOf(random, index));
    await mkdir(dirname(path), { recursive: true });
    await writeRandom(path, random, sizeOf(random, index, options));
  }
}

/** Changes some files and removes others, one in `every` of each. */
export async function changeTree(folder: string, random: Random, every: number): Promise<void> {
  const paths = (await filesOf(folder)).toSorted();
  for (const [index, path] of paths.entries()) {
    if (index % every === 1) await writeRandom(path, random, 1 + random.below(40 * KIB));
    if (index % every === 2) await rm(path);
  }
}

/** Path below the folder and SHA-256 of every file. */
export async function hashesOf(folder: string): Promise<Map<string, string>> {
  const hashes = new Map<string, string>();
  for (const path of await filesOf(folder)) {
    const hash = createHash("sha256");
    for await (const chunk of createReadStream(path)) hash.update(chunk as Uint8Array);
    hashes.set(relative(folder, path), hash.digest("hex"));
  }
  return hashes;
}

/** What tells two trees apart, at most ten lines of it; empty when they are the same. */
export function differences(
  expected: ReadonlyMap<string, string>,
  found: ReadonlyMap<string, string>,
): string[] {
  const lines: string[] = [];
  for (const [path, hash] of expected) {
    const other = found.get(path);
    if (other === undefined) lines.push(`missing: ${JSON.stringify(path)}`);
    else if (other !== hash) lines.push(`different: ${JSON.stringify(path)}`);
  }
  for (const path of found.keys()) {
    if (!expected.has(path)) lines.push(`too many: ${JSON.stringify(path)}`);
  }
  return lines.slice(0, 10);
}

async function filesOf(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

async function writeRandom(path: string, random: Random, sizeBytes: number): Promise<void> {
  if (sizeBytes <= MIB) return writeFile(path, random.bytes(sizeBytes));
  const block = random.bytes(MIB);
  const file = await open(path, "w");
  try {
    for (let left = sizeBytes; left > 0; left -= MIB) {
      // Blocks differ, so that one in the wrong place is noticed.
      block.set(random.bytes(16));
      await file.write(block.subarray(0, Math.min(MIB, left)));
    }
  } finally {
    await file.close();
  }
}
