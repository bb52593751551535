/**
 * Which configuration file applies: the first of a fixed list, the same for every
 * command, so that `tag config which` can explain it.
 *
 * `--config` and `TAG_CONFIG` count even when the file is missing: whoever named a
 * file wants that file, and falling back to another would start the gateway with
 * settings nobody asked for.
 */

import { readFileSync, statSync } from "node:fs";
import { isAbsolute, resolve } from "node:path";

/** Looked for in this order; relative ones in the working directory. */
export const SEARCH_LIST = [
  "./tag.yaml",
  "./tag.yml",
  "./tag.toml",
  "/etc/tag/config.yaml",
  "/etc/tag/config.yml",
  "/etc/tag/config.toml",
] as const;

/** The files a configuration is read from, as a seam for tests. */
export interface ConfigFiles {
  exists(path: string): boolean;
  /** Throws the system's error when the file cannot be read. */
  read(path: string): string;
}

export const systemFiles: ConfigFiles = {
  exists: (path) => statSync(path, { throwIfNoEntry: false })?.isFile() === true,
  read: (path) => readFileSync(path, "utf8"),
};

export interface FoundFile {
  /** As it was named, for messages; undefined when there is none. */
  readonly name: string | undefined;
  /** Absolute. */
  readonly path: string | undefined;
  readonly because: "--config" | "TAG_CONFIG" | "search list" | "none found";
  /** Later entries of the search list that exist and are not read. */
  readonly ignored: readonly string[];
}

export interface FindRequest {
  /** The value of `--config`. */
  readonly configPath?: string | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  readonly files: ConfigFiles;
}

/** Never throws and reads nothing. */
export function findConfigFile(request: FindRequest): FoundFile {
  const { configPath, env, cwd, files } = request;
  const named = (name: string, because: FoundFile["because"]): FoundFile => ({
    name,
    path: isAbsolute(name) ? name : resolve(cwd, name),
    because,
    ignored: [],
  });
  if (configPath !== undefined && configPath !== "") return named(configPath, "--config");
  const variable = env["TAG_CONFIG"];
  if (variable !== undefined && variable !== "") return named(variable, "TAG_CONFIG");

  const [first, ...ignored] = SEARCH_LIST.filter((name) => files.exists(resolve(cwd, name)));
  if (first === undefined) {
    return { name: undefined, path: undefined, because: "none found", ignored: [] };
  }
  return { name: first, path: resolve(cwd, first), because: "search list", ignored };
}
