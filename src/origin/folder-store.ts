/**
 * The folder behind the origin: catalog and body files, opened and closed together,
 * and the order between them.
 *
 *     root/catalog.sqlite     what exists (catalog.ts)
 *     root/objects/xx/…       bodies (body-files.ts)
 *     root/drafts/…           bodies being written
 */

import { SQLiteError } from "bun:sqlite";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Random } from "../base/random.ts";
import { BodyFiles } from "./body-files.ts";
import { Catalog } from "./catalog.ts";

export class FolderStore {
  readonly catalog: Catalog;
  readonly bodies: BodyFiles;

  /** Opens the folder, making it when it is new. Throws when another origin serves it. */
  constructor(root: string, random: Random) {
    mkdirSync(root, { recursive: true });
    // The catalog first: its lock is what makes it safe to sweep the files.
    this.catalog = openCatalog(root);
    try {
      this.bodies = new BodyFiles(root, random);
      const names = this.catalog.bodyNames();
      this.bodies.sweep((name) => names.has(name));
    } catch (error) {
      this.catalog.close();
      throw error;
    }
  }

  /** Unlinks bodies that a catalog change left without a name. */
  discard(bodies: readonly string[]): void {
    for (const body of bodies) this.bodies.remove(body);
  }

  close(): void {
    this.catalog.close();
  }
}

function openCatalog(root: string): Catalog {
  try {
    return new Catalog(join(root, "catalog.sqlite"));
  } catch (error) {
    if (error instanceof SQLiteError && error.code === "SQLITE_BUSY") {
      throw new Error(`another dev origin serves the folder ${root}`, { cause: error });
    }
    throw error;
  }
}
