// Goal: what the documents name exists. A link, a metric or an error code that is gone is worse than
// none at three in the morning.

import { describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";

import { ERROR_CODES } from "../../src/base/errors.ts";

const ROOT = join(import.meta.dir, "../..");
const PAGES = [
  ...new Bun.Glob("*.md").scanSync({ cwd: ROOT }),
  ...new Bun.Glob("docs/**/*.md").scanSync({ cwd: ROOT }),
].toSorted();

const textOf = (page: string) => Bun.file(join(ROOT, page)).text();

test.each(PAGES)("every file %s refers to exists", async (page) => {
  const text = await textOf(page);
  const links = [...text.matchAll(/\]\(([^)#\s]+)[^)]*\)/g)].map(([, link = ""]) => link);
  const local = links.filter((link) => !/^[a-z]+:/.test(link));
  const inLinks = local.map((link) => join(dirname(page), link));
  // Paths in running text are from the root: `src/http/range.ts`, docs/security.md.
  const inText = [
    ...text.matchAll(/(?<![\w./-])(?:src|test|scripts|docs)\/[\w./-]*\w\.(?:ts|md|sh|json)\b/g),
  ].map(([path]) => path);
  const missing = [...inLinks, ...inText].filter((path) => !existsSync(join(ROOT, path)));
  expect(missing).toEqual([]);
});

test("operations.md says what to do about every error code, and about no other", async () => {
  const section = (await textOf("docs/operations.md")).split("## Error codes")[1] ?? "";
  const documented = [...section.matchAll(/^\| `(\w+)` \|/gm)].map(([, code = ""]) => code);
  expect(documented.toSorted()).toEqual(Object.keys(ERROR_CODES).toSorted());
});

test("metrics the documents mention are exported", async () => {
  const known = await textOf("docs/metrics.md");
  const pages = PAGES.filter((page) => page !== "docs/metrics.md");
  const mentioned = (await Promise.all(pages.map(textOf))).flatMap((text) =>
    [...text.matchAll(/\btag_[a-z0-9_]+\b/g)].map(([name]) => name.replace(/_bucket$/, "")),
  );
  expect([...new Set(mentioned)].filter((name) => !known.includes(name))).toEqual([]);
});

describe("decisions", () => {
  test("are all in the index, and no number is used twice", async () => {
    const index = await textOf("docs/decisions/README.md");
    const notes = [...new Bun.Glob("[0-9]*.md").scanSync({ cwd: join(ROOT, "docs/decisions") })];
    expect(notes.filter((note) => !index.includes(`(${note})`))).toEqual([]);
    const numbers = notes.map((note) => note.slice(0, 4));
    expect(new Set(numbers).size).toBe(numbers.length);
  });
});
