// The log of writes under way: what a process that was killed at any byte of it leaves to the next.
import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemDisk } from "../../../src/base/disk.ts";
import { openWriteNotes, type WriteNotes, type WriteTargets } from "../../../src/cache/cache.ts";
import { AWKWARD_KEYS } from "../../support/awkward-keys.ts";

let folder: string;

const open = (): WriteNotes =>
  openWriteNotes({
    folder,
    disk: systemDisk,
    onTrouble: (cause) => {
      throw cause;
    },
  });

const leftOf = (notes: WriteNotes) => notes.left.map(({ targets }) => targets);
const objects = (...keys: string[]): WriteTargets => ({
  kind: "objects",
  ids: keys.map((key) => ({ bucket: "bucket", key })),
});

async function logText(): Promise<string> {
  const names = await readdir(folder);
  const texts = await Promise.all(names.map((name) => readFile(join(folder, name), "utf8")));
  return texts.join("");
}

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "tag-notes-"));
});

// The notes may still be removing a log of theirs: what is gone already is gone.
afterEach(() => rm(folder, { recursive: true, force: true }));

test("what was not erased is left, in order, over any number of processes", () => {
  const first = open();
  expect(first.left).toEqual([]);
  first.write(objects("a"));
  first.write(objects("b"))?.erase();
  first.write({ kind: "bucket", bucket: "bucket" });
  const second = open();
  expect(leftOf(second)).toEqual([objects("a"), { kind: "bucket", bucket: "bucket" }]);
  second.write(objects("c"));
  second.left[0]?.erase();
  const third = open();
  expect(leftOf(third)).toEqual([{ kind: "bucket", bucket: "bucket" }, objects("c")]);
  for (const note of third.left) note.erase();
  expect(open().left).toEqual([]);
});

test("keys of any characters, and a thousand of them, come back as they were", () => {
  const awkward = objects(...AWKWARD_KEYS.map(({ key }) => key));
  const many = objects(...Array.from({ length: 1000 }, (_, index) => `key/${index}`));
  const notes = open();
  notes.write(awkward);
  notes.write(many);
  expect(leftOf(open())).toEqual([awkward, many]);
});

test("a line cut at any byte costs that line alone", async () => {
  const notes = open();
  notes.write(objects("a"));
  const whole = await logText();
  notes.write(objects("b"));
  const text = await logText();
  await notes.cleared;
  for (let length = whole.length; length < text.length - 1; length += 1) {
    await rm(folder, { recursive: true });
    systemDisk.makeFolder(folder);
    await writeFile(join(folder, "1.log"), text.slice(0, length));
    const again = open();
    expect(leftOf(again)).toEqual([objects("a")]);
    await again.cleared; // the next round writes a log of the same name
  }
});

test("of two logs, one about to replace the other, both count", async () => {
  await writeFile(
    join(folder, "1.log"),
    '{"write":1,"objects":[["bucket","a"]]}\n{"write":2,"bucket":"x"}\n',
  );
  await writeFile(join(folder, "2.log"), '{"write":2,"bucket":"x"}\n{"settled":2}\n');
  const notes = open();
  expect(leftOf(notes)).toEqual([objects("a")]);
  notes.write(objects("b")); // under a number of its own
  expect(leftOf(open())).toEqual([objects("a"), objects("b")]);
});

test("the log does not grow without bound while writes overlap, and keeps what counts", async () => {
  const notes = open();
  notes.write(objects("kept"));
  const key = "k".repeat(1000);
  for (let round = 0; round < 10_000; round += 1) notes.write(objects(key))?.erase();
  await notes.cleared;
  expect((await logText()).length).toBeLessThan(6 * 1024 * 1024);
  expect(leftOf(open())).toEqual([objects("kept")]);
});

test("the log is begun anew when nothing counts any more", async () => {
  const notes = open();
  for (let round = 0; round < 2000; round += 1) notes.write(objects("key"))?.erase();
  await notes.cleared;
  expect((await logText()).length).toBeLessThan(70 * 1024);
  expect(open().left).toEqual([]);
});

test("nothing is written after close", async () => {
  const notes = open();
  const note = notes.write(objects("a"));
  notes.close();
  note?.erase();
  expect(notes.write(objects("b"))).toBeUndefined();
  expect(leftOf(open())).toEqual([objects("a")]);
});
