// Goal: the log is written in the background and in order, bounded, and none of it is lost however the process ends.
// Method: a file that writes when the test says so, and a real one.

import { expect, test } from "bun:test";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { nextTurn } from "../../../src/base/next-turn.ts";
import { LogFile, logFileOf } from "../../../src/observability/log-file.ts";

function world() {
  const written: string[] = [];
  const due: { text: string; done: PromiseWithResolvers<void> }[] = [];
  const file = new LogFile({
    append: (bytes) => {
      const done = Promise.withResolvers<void>();
      due.push({ text: Buffer.from(bytes).toString(), done });
      return done.promise;
    },
    appendSync: (bytes) => void written.push(Buffer.from(bytes).toString()),
  });
  return {
    file,
    written,
    due,
    /** The disk does what it was asked to; with an error it does not. */
    arrive: async (error?: Error) => {
      for (const { text, done } of due.splice(0)) {
        if (error === undefined) {
          written.push(text);
          done.resolve();
        } else done.reject(error);
      }
      await nextTurn();
    },
  };
}

test("one batch is on its way, and what comes meanwhile is the next", async () => {
  const { file, written, due, arrive } = world();
  file.write("a\n", false);
  file.write("b\n", false);
  file.write("c\n", false);
  expect(due.map(({ text }) => text)).toEqual(["a\n"]);
  expect(written).toEqual([]);
  await arrive();
  expect(due.map(({ text }) => text)).toEqual(["b\nc\n"]);
  await arrive();
  expect(due).toEqual([]);
  file.write("d\n", false);
  await arrive();
  expect(written).toEqual(["a\n", "b\nc\n", "d\n"]);
});

test("what is urgent is there at once, behind what was queued", async () => {
  const { file, written, arrive } = world();
  file.write("a\n", false);
  file.write("b\n", false);
  file.write("urgent\n", true);
  expect(written).toEqual(["b\nurgent\n"]);
  await arrive();
  expect(written).toEqual(["b\nurgent\n", "a\n"]);
});

test("a disk that stands still does not make the queue grow without end", async () => {
  const { file, written, arrive } = world();
  const line = `${"x".repeat(1023)}\n`;
  const lines = 5000;
  file.write("first\n", false);
  for (let no = 0; no < lines; no += 1) file.write(line, false);
  const longest = Math.max(...written.map((text) => text.length));
  expect(longest).toBeWithin(1024 * 1024, 1024 * 1024 + 2 * line.length);
  await arrive();
  await arrive();
  expect(written.join("").length).toBe("first\n".length + lines * line.length);
});

test("after a batch that could not be written it goes on", async () => {
  const { file, written, arrive } = world();
  file.write("lost\n", false);
  await arrive(new Error("no space"));
  file.write("kept\n", false);
  await arrive();
  expect(written).toEqual(["kept\n"]);
});

test("it is drained when everything is written, and at once when there is nothing", async () => {
  const { file, arrive } = world();
  await file.drained();
  let isDrained = false;
  file.write("a\n", false);
  void file.drained().then(() => {
    isDrained = true;
  });
  file.write("b\n", false);
  await arrive();
  expect(isDrained).toBe(false);
  await arrive();
  expect(isDrained).toBe(true);
});

test("a process that ends leaves nothing behind, and nothing twice that is known to have arrived", async () => {
  const { file, written, arrive } = world();
  file.write("arrived\n", false);
  await arrive();
  file.write("on its way\n", false);
  file.write("queued\n", false);
  file.abandon();
  file.abandon();
  expect(written).toEqual(["arrived\n", "on its way\n", "queued\n"]);
});

test("a real file has all of it in order; a device is none, nor what is closed", async () => {
  const folder = mkdtempSync(join(tmpdir(), "tag-log-"));
  const path = join(folder, "tag.log");
  const descriptor = openSync(path, "w");
  try {
    const file = logFileOf(descriptor);
    if (file === undefined) throw new Error("a file");
    let expected = "";
    for (let no = 0; no < 500; no += 1) {
      const line = `${no} ${"ü".repeat(no)}\n`;
      expected += line;
      file.write(line, false);
      if (no % 50 === 0) await nextTurn();
    }
    await file.drained();
    file.write("last\n", true);
    expect(readFileSync(path, "utf8")).toBe(`${expected}last\n`);
  } finally {
    closeSync(descriptor);
    rmSync(folder, { recursive: true });
  }
  const device = openSync("/dev/null", "w");
  expect(logFileOf(device)).toBeUndefined();
  closeSync(device);
  expect(logFileOf(device)).toBeUndefined();
});
