/**
 * Checks the shape of src/ (docs/architecture.md, "Layers"): imports only point down, modules of
 * one row are strangers, and a service module is entered through its door. `import type` counts
 * like any import, because a type drags its module's ideas along.
 *
 *     bun scripts/check-layers.ts [folder]      exits 1 and names every violation
 *
 * The three tables below are the rule; docs/architecture.md explains them. Cycles inside a folder
 * are found by the linter (import/no-cycle).
 */

import { dirname, join, normalize } from "node:path";

/** From top to bottom; names in one row may not import each other. A file may be a module too. */
const ROWS: readonly (readonly string[])[] = [
  ["main.ts"],
  ["cli"],
  ["app.ts"],
  ["config"],
  ["server"],
  ["gateway"],
  ["auth", "cache", "cluster", "coalesce", "upstream", "origin"],
  ["storage"],
  ["observability", "s3"],
  ["http"],
  ["base"],
];

/**
 * The public files of each service module. A module that is not listed has no door: any of its
 * files may be imported from above. That are the libraries, and config, whose only users are the
 * command line and the composition root.
 */
const DOORS: Readonly<Record<string, readonly string[]>> = {
  server: ["listener.ts", "ops.ts", "admin.ts"],
  gateway: ["gateway.ts"],
  auth: ["auth.ts"],
  cache: ["cache.ts", "decision.ts", "entry.ts"],
  cluster: ["cluster.ts", "transports.ts"],
  coalesce: ["coalescer.ts", "flight.ts"],
  upstream: ["upstream.ts", "transport.ts"],
  origin: ["origin.ts"],
  storage: ["storage.ts", "open.ts"],
};

/** The composition root builds everything, so it alone may reach behind doors. */
const MAY_REACH_BEHIND_DOORS = "app.ts";

export interface LayerViolation {
  /** The importing file, relative to the source folder. */
  readonly file: string;
  /** What it imports, relative to the source folder. */
  readonly imported: string;
  readonly because: string;
}

/**
 * Every violation in a source tree, in the order of the files.
 *
 * @param sources file contents by path relative to the source folder, with `/`
 */
export function checkLayers(sources: ReadonlyMap<string, string>): LayerViolation[] {
  const violations: LayerViolation[] = [];
  for (const [file, text] of sources) {
    if (rowOf(moduleOf(file)) === undefined) {
      violations.push({ file, imported: "", because: "belongs to no layer" });
      continue;
    }
    for (const specifier of importsOf(text)) {
      if (!specifier.startsWith(".")) continue;
      const imported = normalize(join(dirname(file), specifier));
      if (imported.startsWith("..")) continue; // embedded text such as proto/peer.proto
      const because = objection(file, imported);
      if (because !== undefined) violations.push({ file, imported, because });
    }
  }
  return violations;
}

function objection(file: string, imported: string): string | undefined {
  const from = moduleOf(file);
  const to = moduleOf(imported);
  if (from === to) return undefined;
  const fromRow = rowOf(from);
  const toRow = rowOf(to);
  if (fromRow === undefined || toRow === undefined) return `${to} belongs to no layer`;
  if (toRow < fromRow) return `${to} is above ${from}: imports only point down`;
  if (toRow === fromRow) return `${from} and ${to} are siblings, and siblings are strangers`;
  if (file === MAY_REACH_BEHIND_DOORS) return undefined;
  const doors = DOORS[to];
  if (doors === undefined || doors.includes(imported.slice(to.length + 1))) return undefined;
  return `${to} is entered through ${doors.map((door) => `${to}/${door}`).join(" or ")}`;
}

/** `cache/entry.ts` belongs to `cache`; a file of the top folder is a module of its own. */
function moduleOf(file: string): string {
  return file.split("/", 1)[0] ?? file;
}

function rowOf(module: string): number | undefined {
  const row = ROWS.findIndex((names) => names.includes(module));
  return row === -1 ? undefined : row;
}

const parser = new Bun.Transpiler({ loader: "ts", trimUnusedImports: false });

/**
 * Every module specifier in `text`: imports, re-exports, dynamic imports, and types.
 *
 * Bun's parser finds them and is not misled by comments and strings, but it drops what only serves
 * types. So type-only forms are first turned into their ordinary twins, and the one form without a
 * twin, `import("./x.ts").T`, is found by its spelling.
 */
export function importsOf(text: string): Set<string> {
  const withoutTypeOnly = text
    .replaceAll(/\bimport\s+type\s+(?=[\w{*])/g, "import ")
    .replaceAll(/\bexport\s+type\s+(?=\{[^}]*\}\s*from\b|\*)/g, "export ")
    .replaceAll(/\b(?:import|export)\s*\{[^}]*\}\s*from\b/g, (clause) =>
      clause.replaceAll(/([{,]\s*)type\s+(?=\w)/g, "$1"),
    );
  const found = new Set(parser.scanImports(withoutTypeOnly).map((entry) => entry.path));
  for (const [, specifier] of text.matchAll(/\bimport\(\s*["']([^"']+)["']/g)) {
    if (specifier !== undefined) found.add(specifier);
  }
  return found;
}

async function readSources(folder: string): Promise<Map<string, string>> {
  const sources = new Map<string, string>();
  const files = await Array.fromAsync(new Bun.Glob("**/*.ts").scan({ cwd: folder }));
  for (const file of files.toSorted()) sources.set(file, await Bun.file(join(folder, file)).text());
  return sources;
}

if (import.meta.main) {
  const folder = process.argv[2] ?? join(import.meta.dir, "../src");
  const sources = await readSources(folder);
  const violations = checkLayers(sources);
  for (const { file, imported, because } of violations) {
    console.error(`${file}${imported === "" ? "" : ` imports ${imported}`}: ${because}`);
  }
  if (violations.length > 0) process.exit(1);
  console.log(`${sources.size} files, imports only point down`);
}
