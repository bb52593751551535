/**
 * Loads the configuration: flags over environment over file over a command's own
 * defaults over the table's. One function for every command, so that what `tag
 * config lint` accepts is what `tag serve` starts with.
 *
 * All layers are read even when a higher one decides, and every problem of all of
 * them is reported at once. There is no partly loaded configuration.
 */

import { findConfigFile, systemFiles } from "./find-file.ts";
import type { ConfigFiles, FoundFile } from "./find-file.ts";
import type { Environment, FlagSetting, Layer } from "./layer.ts";
import type { Config, OptionPath } from "./options.ts";
import { configPropertyOf, isOptionPath, OPTION_ROWS } from "./options.ts";
import type { ConfigProblem, Source } from "./problem.ts";
import { settingsFromEnvironment, settingsFromFlags, settingsFromPreset } from "./settings.ts";
import { validate } from "./validate.ts";
import type { Sources } from "./validate.ts";

export interface LoadRequest {
  /** The value of `--config`. */
  readonly configPath?: string | undefined;
  readonly flags?: readonly FlagSetting[];
  readonly env: Environment;
  readonly cwd: string;
  readonly files?: ConfigFiles;
  /** Defaults of the calling command, over those of the table. */
  readonly preset?: {
    readonly command: string;
    readonly values: Readonly<Partial<Record<OptionPath, string>>>;
  };
  /** False: look at `--config` and `TAG_CONFIG` only, not at the search list. */
  readonly isSearching?: boolean;
}

export type LoadResult =
  | {
      readonly kind: "loaded";
      readonly config: Config;
      readonly sources: Sources;
      readonly found: FoundFile;
      readonly warnings: readonly ConfigProblem[];
    }
  | {
      readonly kind: "failed";
      readonly found: FoundFile;
      /** Errors and warnings, in the order a reader meets them: file, environment, flags, whole. */
      readonly problems: readonly ConfigProblem[];
    };

/** Never throws for anything a user can write. */
export async function loadConfig(request: LoadRequest): Promise<LoadResult> {
  const { env, cwd, files = systemFiles, flags = [], preset } = request;
  const isNamed = (request.configPath ?? "") !== "" || (env["TAG_CONFIG"] ?? "") !== "";
  const found: FoundFile =
    isNamed || request.isSearching !== false
      ? findConfigFile({ configPath: request.configPath, env, cwd, files })
      : { name: undefined, path: undefined, because: "none found", ignored: [] };

  // From the lowest to the highest.
  const layers: readonly Layer[] = [
    preset === undefined ? NO_LAYER : settingsFromPreset(preset.values, preset.command),
    await readFileLayer(found, files, env),
    settingsFromEnvironment(env),
    ...(await readPairVariables(env)),
    settingsFromFlags(flags),
  ];
  const { config, sources } = merge(layers);
  const problems = layers.flatMap((layer) => layer.problems);
  problems.push(...ignoredFiles(found), ...wholeProblems(config, sources, problems));

  return problems.some((problem) => problem.level === "error")
    ? { kind: "failed", found, problems }
    : { kind: "loaded", config, sources, found, warnings: problems };
}

/**
 * The problems of the whole, but for sections with a value that could not be read: a
 * default stands in for that one, and rules about it would blame the wrong thing.
 */
function wholeProblems(
  config: Config,
  sources: Sources,
  problems: readonly ConfigProblem[],
): readonly ConfigProblem[] {
  const sectionOfPath = (path = ""): string => path.replace(/\..*/, "");
  const unread = new Set(
    problems
      .filter(({ level, path }) => level === "error" && isOptionPath(path ?? ""))
      .map(({ path }) => sectionOfPath(path)),
  );
  return validate(config, sources).filter(({ path }) => !unread.has(sectionOfPath(path)));
}

const NO_LAYER: Layer = { settings: [], problems: [] };

async function readFileLayer(
  found: FoundFile,
  files: ConfigFiles,
  env: Environment,
): Promise<Layer> {
  const { path, name } = found;
  if (path === undefined || name === undefined) return NO_LAYER;
  const failed = (kind: ConfigProblem["kind"], message: string, hint?: string): Layer => ({
    settings: [],
    problems: [{ level: "error", kind, path: undefined, source: wholeFile(name), message, hint }],
  });
  if (path.endsWith(".toml")) {
    return failed(
      "malformed",
      "TOML is not supported",
      "write the same keys as YAML into tag.yaml",
    );
  }
  let source: string;
  try {
    source = files.read(path);
  } catch (error) {
    const because = found.because === "TAG_CONFIG" ? " (named by TAG_CONFIG)" : "";
    return failed("unreadable", `${readFailure(error)}${because}`);
  }
  // Most commands run without a file; the YAML parser is a third of their start-up time.
  const { settingsFromYaml } = await import("./file-settings.ts");
  return settingsFromYaml(source, name, env);
}

/** Variables that hold lists of key pairs. The YAML parser is loaded when there is one. */
async function readPairVariables(env: Environment): Promise<readonly Layer[]> {
  const layers: Layer[] = [];
  for (const [path, option] of OPTION_ROWS) {
    const text = option.env === undefined ? undefined : env[option.env];
    if (option.kind !== "pairs" || text === undefined || text.trim() === "") continue;
    const { settingsFromYamlVariable } = await import("./file-settings.ts");
    layers.push(settingsFromYamlVariable(path, text, option.env ?? "", env));
  }
  return layers;
}

function readFailure(error: unknown): string {
  const code = (error as { readonly code?: unknown }).code;
  if (code === "ENOENT" || code === "ENOTDIR") return "no such file";
  if (code === "EACCES" || code === "EPERM") return "permission denied";
  if (code === "EISDIR") return "is a directory";
  return error instanceof Error ? error.message : String(error);
}

function ignoredFiles(found: FoundFile): readonly ConfigProblem[] {
  return found.ignored.map((name) => ({
    level: "warning",
    kind: "refused",
    path: undefined,
    source: wholeFile(name),
    message: `is not read, because ${found.name} comes first`,
    hint: undefined,
  }));
}

const wholeFile = (file: string): Source => ({ kind: "file", file, line: 0, column: 0 });

function merge(layers: readonly Layer[]): { readonly config: Config; readonly sources: Sources } {
  const values = new Map<OptionPath, unknown>(
    OPTION_ROWS.map(([path, option]) => [path, option.default]),
  );
  const sources = new Map<OptionPath, Source>();
  for (const { settings } of layers) {
    for (const { path, value, source } of settings) {
      values.set(path, value);
      sources.set(path, source);
    }
  }
  const config: Record<string, Record<string, unknown>> = {};
  for (const [path, value] of values) {
    const [section, property] = configPropertyOf(path);
    (config[section] ??= {})[property] = value;
  }
  // The table gives every property its type, and the readers of values.ts keep to it.
  return { config: config as unknown as Config, sources };
}
