// Goal: the layer rule of docs/architecture.md cannot be broken unnoticed.
// Method: small planted trees, then the script itself on a planted folder and on the real one.

import { describe, expect, test } from "bun:test";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { checkLayers, importsOf } from "../../../scripts/check-layers.ts";

const SCRIPT = join(import.meta.dir, "../../../scripts/check-layers.ts");

describe("which imports are allowed", () => {
  const allowed: readonly [file: string, specifier: string, why: string][] = [
    ["gateway/gateway.ts", "../cache/cache.ts", "a lower row, through its door"],
    ["gateway/gateway.ts", "../cache/decision.ts", "a second door"],
    ["gateway/gateway.ts", "./respond.ts", "the own folder"],
    ["cluster/swim/probe.ts", "../peer/service.ts", "the own folder, nested"],
    ["cache/cache.ts", "../s3/object-id.ts", "a library has no door"],
    ["app.ts", "./storage/catalog.ts", "the composition root reaches behind doors"],
    ["cluster/peer/service.ts", "../../../proto/peer.proto", "embedded text outside src"],
    ["cache/cache.ts", "bun:sqlite", "a package"],
  ];
  test.each(allowed)("%s may import %s (%s)", (file, specifier) => {
    expect(checkLayers(new Map([[file, `import { x } from "${specifier}";`]]))).toEqual([]);
  });

  const refused: readonly [file: string, specifier: string, because: string][] = [
    ["base/clock.ts", "../http/fields.ts", "http is above base"],
    ["gateway/gateway.ts", "../config/load.ts", "config is above gateway"],
    ["storage/storage.ts", "../cache/cache.ts", "cache is above storage"],
    ["cache/cache.ts", "../upstream/transport.ts", "siblings are strangers"],
    ["s3/operation.ts", "../observability/metrics.ts", "siblings are strangers"],
    ["gateway/gateway.ts", "../cache/freshness.ts", "entered through cache/cache.ts"],
    ["cli/serve.ts", "../gateway/respond.ts", "entered through gateway/gateway.ts"],
    ["cache/cache.ts", "../helpers/x.ts", "helpers belongs to no layer"],
  ];
  test.each(refused)("%s may not import %s (%s)", (file, specifier, because) => {
    const [violation, ...more] = checkLayers(
      new Map([[file, `import { x } from "${specifier}";`]]),
    );
    expect(violation?.because).toContain(because);
    expect(more).toEqual([]);
  });

  test("a file outside every layer is a violation by itself", () => {
    expect(checkLayers(new Map([["utils/strings.ts", ""]]))).toHaveLength(1);
  });
});

describe("which forms of import are seen", () => {
  test.each([
    `import { a } from "./x.ts";`,
    `import type { A } from "./x.ts";`,
    `import type A from "./x.ts";`,
    `import { type A } from "./x.ts";`,
    `import {\n  type A,\n  type B,\n} from "./x.ts";`,
    `import * as a from "./x.ts";`,
    `import "./x.ts";`,
    `export { a } from "./x.ts";`,
    `export type { A } from "./x.ts";`,
    `export type * from "./x.ts";`,
    `export * from "./x.ts";`,
    `const a = await import("./x.ts");`,
    `type A = import("./x.ts").A;`,
    `import text from "./x.ts" with { type: "text" };`,
  ])("%s", (text) => {
    expect([...importsOf(text)]).toEqual(["./x.ts"]);
  });

  test.each([
    `// import { a } from "./x.ts";`,
    `/* export * from "./x.ts"; */`,
    `const a = "from './x.ts'";`,
  ])("%s is not one", (text) => {
    expect(importsOf(text).size).toBe(0);
  });

  test("a type-only export of local names does not confuse the parser", () => {
    const text = `type A = 1;\nexport type { A };\nexport type B = 2;\nimport { c } from "./x.ts";`;
    expect([...importsOf(text)]).toEqual(["./x.ts"]);
  });
});

describe("the script", () => {
  test("fails on a planted violation and names the file", async () => {
    const folder = await mkdtemp(join(tmpdir(), "tag-layers-"));
    try {
      await mkdir(join(folder, "base"));
      await mkdir(join(folder, "http"));
      await writeFile(join(folder, "http/fields.ts"), "export interface Fields {}\n");
      await writeFile(
        join(folder, "base/x.ts"),
        'import type { Fields } from "../http/fields.ts";\n',
      );
      const run = Bun.spawnSync([process.execPath, SCRIPT, folder]);
      expect(run.exitCode).toBe(1);
      expect(run.stderr.toString()).toContain("base/x.ts imports http/fields.ts");
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});
