/**
 * Settings from YAML: a walk over its tree along the option table. The text is that of a file, or of
 * a variable that holds what is more than one value.
 *
 * Unknown keys, repeated keys and values of the wrong form are problems with their
 * line. The walk goes on after each, so that a person repairs a file in one go.
 */

import { Secret } from "../base/secret.ts";
import { expandEnvironment } from "./expand.ts";
import { Collector } from "./layer.ts";
import type { Environment, Layer } from "./layer.ts";
import { nearest } from "./nearest.ts";
import { PAIR_RIGHTS } from "./option.ts";
import { EMPTY_RULE, RULE_KEYS, RULE_VALUES, ruleTrouble } from "./cache-rule.ts";
import type { CacheRule } from "../cache/cache.ts";
import type { KeyPair, Option, PairRight } from "./option.ts";
import type { OptionPath } from "./options.ts";
import { isOptionPath, OPTION_ROWS, OPTIONS } from "./options.ts";
import type { ConfigProblem, Source } from "./problem.ts";
import { formatAlternatives, readValue } from "./values.ts";
import type { Position, Tree } from "./yaml-tree.ts";
import { parseYaml } from "./yaml-tree.ts";

/**
 * Settings from the text of a YAML file.
 *
 * @param file the file's name for messages
 */
export function settingsFromYaml(source: string, file: string, env: Environment): Layer {
  const layer = new Collector();
  const place = (at: Position): Source => ({ kind: "file", file, ...at });
  const parsed = parseYaml(source);
  if (parsed.kind === "invalid") {
    for (const { message, at } of parsed.errors) {
      layer.fail("malformed", undefined, place(at), `not valid YAML: ${message}`);
    }
    return layer;
  }
  new FileReader(layer, env, place).readMap(parsed.tree, "");
  return layer;
}

/**
 * A setting that is a list or a map, from the text of a variable: YAML, of which JSON is a part, in the
 * form the file has below the key.
 */
export function settingsFromYamlVariable(
  path: OptionPath,
  text: string,
  name: string,
  env: Environment,
): Layer {
  const layer = new Collector();
  const source: Source = { kind: "env", name };
  const parsed = parseYaml(text);
  // What the parser says may quote the text, and the text holds secrets.
  if (parsed.kind === "invalid") layer.fail("malformed", path, source, "is neither YAML nor JSON");
  else new FileReader(layer, env, () => source).readOption(path, parsed.tree);
  return layer;
}

const ALL_PATHS = OPTION_ROWS.map(([path]) => path);
/** Every proper prefix of a path: the maps a file may have. */
const SECTIONS = new Set(
  ALL_PATHS.flatMap((path) => {
    const keys = path.split(".");
    return keys.slice(1).map((_, index) => keys.slice(0, index + 1).join("."));
  }),
);

const PAIR_KEYS = [
  "access_key_id",
  "secret_access_key",
  "session_token",
  "buckets",
  "rights",
  "upstream_access_key_id",
  "upstream_secret_access_key",
] as const;
type PairKey = (typeof PAIR_KEYS)[number];

/** Walks the tree of one file along the option table. */
class FileReader {
  readonly #layer: Collector;
  readonly #env: Environment;
  readonly #place: (at: Position) => Source;

  constructor(layer: Collector, env: Environment, place: (at: Position) => Source) {
    this.#layer = layer;
    this.#env = env;
    this.#place = place;
  }

  /** `prefix` is "" at the top and a section's path with its dot below. */
  readMap(tree: Tree, prefix: string): void {
    if (tree.kind === "scalar" && tree.text === undefined) return;
    if (tree.kind !== "map") {
      const path = prefix === "" ? undefined : prefix.slice(0, -1);
      this.#fail("malformed", path, tree.at, "must be a map of keys and values");
      return;
    }
    const lineOfKey = new Map<string, number>();
    for (const { key, at, value } of tree.entries) {
      const path = `${prefix}${key}`;
      if (this.#isRepeated(lineOfKey, key, path, at)) continue;
      if (isOptionPath(path)) this.readOption(path, value);
      else if (SECTIONS.has(path)) this.readMap(value, `${path}.`);
      else this.#unknownKey(path, at);
    }
  }

  readOption(path: OptionPath, tree: Tree): void {
    const option: Option = OPTIONS[path];
    if (option.kind === "pairs") {
      this.#readPairs(path, tree);
      return;
    }
    if (option.kind === "rules") {
      this.#readRules(path, tree);
      return;
    }
    if (tree.kind === "list" && option.kind === "list") {
      const items = tree.items.map((item) => this.#scalar(item, path, "must be a text"));
      const value = items.filter((item) => item !== undefined && item !== "");
      this.#layer.settings.push({ path, value, source: this.#place(tree.at) });
      return;
    }
    if (tree.kind !== "scalar") {
      const wanted = option.kind === "list" ? "a list" : "a single value";
      this.#fail("malformed", path, tree.at, `must be ${wanted}, not a ${tree.kind}`);
      return;
    }
    const text = this.#scalar(tree, path, "must be a single value");
    if (text !== undefined) this.#layer.add(path, readValue(option, text), this.#place(tree.at));
  }

  /** The expanded text of a scalar; undefined when it is null or was reported. */
  #scalar(tree: Tree, path: string, complaint: string): string | undefined {
    if (tree.kind !== "scalar") {
      this.#fail("malformed", path, tree.at, complaint);
      return undefined;
    }
    if (tree.text === undefined) return undefined;
    const expanded = expandEnvironment(tree.text, this.#env);
    if (expanded.kind === "text") return expanded.text;
    this.#fail("malformed", path, tree.at, expanded.message);
    return undefined;
  }

  #readPairs(path: OptionPath, tree: Tree): void {
    if (tree.kind === "scalar" && tree.text === undefined) return;
    if (tree.kind !== "list") {
      this.#fail("malformed", path, tree.at, "must be a list of key pairs");
      return;
    }
    const rightNames: readonly string[] = (OPTIONS[path] as Option).choices ?? [];
    const value = tree.items.map((item, index) =>
      this.#readPair(`${path}[${index}]`, item, rightNames),
    );
    this.#layer.settings.push({
      path,
      value: value.filter((pair) => pair !== undefined),
      source: this.#place(tree.at),
    });
  }

  #readPair(path: string, tree: Tree, rightNames: readonly string[]): KeyPair | undefined {
    if (tree.kind !== "map") {
      this.#fail(
        "malformed",
        path,
        tree.at,
        "must be a map with access_key_id and secret_access_key",
      );
      return undefined;
    }
    const texts = new Map<PairKey, string>();
    let buckets: readonly string[] = ["*"];
    let rights: readonly PairRight[] = ["own"];
    const lineOfKey = new Map<string, number>();
    for (const { key, at, value } of tree.entries) {
      const keyPath = `${path}.${key}`;
      if (this.#isRepeated(lineOfKey, key, keyPath, at)) continue;
      const known = PAIR_KEYS.find((candidate) => candidate === key);
      if (known === undefined) {
        this.#fail("malformed", keyPath, at, "unknown key", suggest(nearest(key, PAIR_KEYS)));
      } else if (known === "buckets") {
        buckets = this.#texts(value, keyPath);
      } else if (known === "rights") {
        rights = this.#rights(value, keyPath, rightNames);
      } else {
        const text = this.#scalar(value, keyPath, "must be a single value");
        if (text !== undefined && text !== "") texts.set(known, text.trim());
      }
    }
    const accessKeyId = texts.get("access_key_id");
    const secretAccessKey = texts.get("secret_access_key");
    if (accessKeyId === undefined || secretAccessKey === undefined) {
      this.#fail("malformed", path, tree.at, "needs access_key_id and secret_access_key");
      return undefined;
    }
    const upstreamAccessKeyId = texts.get("upstream_access_key_id");
    const upstreamSecret = texts.get("upstream_secret_access_key");
    if ((upstreamAccessKeyId === undefined) !== (upstreamSecret === undefined)) {
      const message = "upstream_access_key_id and upstream_secret_access_key need each other";
      this.#fail("refused", path, tree.at, message);
      return undefined;
    }
    const token = texts.get("session_token");
    return {
      accessKeyId,
      secretAccessKey: new Secret(secretAccessKey),
      sessionToken: token === undefined ? undefined : new Secret(token),
      buckets,
      rights,
      upstreamAccessKeyId,
      upstreamSecretAccessKey:
        upstreamSecret === undefined ? undefined : new Secret(upstreamSecret),
    };
  }

  #readRules(path: OptionPath, tree: Tree): void {
    if (tree.kind === "scalar" && tree.text === undefined) return;
    if (tree.kind !== "list") {
      this.#fail("malformed", path, tree.at, "must be a list of rules");
      return;
    }
    const value = tree.items.map((item, index) => this.#readRule(`${path}[${index}]`, item));
    this.#layer.settings.push({
      path,
      value: value.filter((rule) => rule !== undefined),
      source: this.#place(tree.at),
    });
  }

  #readRule(path: string, tree: Tree): CacheRule | undefined {
    if (tree.kind !== "map") {
      this.#fail("malformed", path, tree.at, "must be a rule: a map with bucket and settings");
      return undefined;
    }
    const rule = { ...EMPTY_RULE };
    const { length: complaints } = this.#layer.problems;
    const placeOfKey = new Map<string, Position>();
    const lineOfKey = new Map<string, number>();
    for (const { key, at, value } of tree.entries) {
      const keyPath = `${path}.${key}`;
      if (this.#isRepeated(lineOfKey, key, keyPath, at)) continue;
      const known = RULE_KEYS.find((candidate) => candidate === key);
      if (known === undefined) {
        this.#fail("malformed", keyPath, at, "unknown key", suggest(nearest(key, RULE_KEYS)));
        continue;
      }
      placeOfKey.set(known, value.at);
      switch (known) {
        case "bucket":
        case "prefix":
          rule[known] = this.#scalar(value, keyPath, "must be a single value") ?? "";
          break;
        case "include":
        case "exclude":
          rule[known] = this.#patterns(value, keyPath);
          break;
        case "ttl":
          rule.ttlMs = this.#ruleValue("ttl", value, keyPath) as number | undefined;
          break;
        case "quota":
          rule.quotaBytes = this.#ruleValue("quota", value, keyPath) as number | undefined;
          break;
        case "pin":
          rule.isPinned = this.#ruleValue("pin", value, keyPath) === true;
          break;
      }
    }
    // A value that could not be read makes the whole look wrong where it is not.
    if (this.#layer.problems.length > complaints) return undefined;
    const trouble = ruleTrouble(rule);
    if (trouble === undefined) return rule;
    const { key, message, hint } = trouble;
    const keyPath = placeOfKey.has(key) ? `${path}.${key}` : path;
    this.#fail("refused", keyPath, placeOfKey.get(key) ?? tree.at, message, hint);
    return undefined;
  }

  /** The value of a row of `RULE_VALUES`; undefined when it is empty or was reported. */
  #ruleValue(key: keyof typeof RULE_VALUES, tree: Tree, path: string): unknown {
    const text = this.#scalar(tree, path, "must be a single value");
    if (text === undefined) return undefined;
    const read = readValue(RULE_VALUES[key], text);
    if (read.kind === "unset") return undefined;
    if (read.kind === "value") return read.value;
    this.#fail(read.kind, path, tree.at, read.message, read.hint);
    return undefined;
  }

  /** Patterns of keys; see docs/configuration.md, "Rules". */
  #patterns(tree: Tree, path: string): readonly string[] | undefined {
    const patterns = this.#texts(tree, path);
    for (const pattern of patterns) {
      if (!pattern.startsWith("!")) continue;
      const hint = `write the rest of it under ${path.endsWith("include") ? "exclude" : "include"}`;
      this.#fail("refused", path, tree.at, `"${pattern}": a pattern cannot begin with !`, hint);
    }
    return patterns.length === 0 ? undefined : patterns;
  }

  /** The items of a list; a single value is a list of one. */
  #texts(tree: Tree, path: string): readonly string[] {
    const items = tree.kind === "list" ? tree.items : [tree];
    return items
      .map((item) => this.#scalar(item, path, "must be a list of texts"))
      .filter((item) => item !== undefined);
  }

  #rights(tree: Tree, path: string, known: readonly string[]): readonly PairRight[] {
    const rights: PairRight[] = [];
    for (const word of this.#texts(tree, path)) {
      const right = PAIR_RIGHTS.find((candidate) => candidate === word && known.includes(word));
      const message = `"${word}" must be ${formatAlternatives(known)}`;
      if (right !== undefined) rights.push(right);
      else this.#fail("refused", path, tree.at, message);
    }
    return rights;
  }

  #isRepeated(lineOfKey: Map<string, number>, key: string, path: string, at: Position): boolean {
    const firstLine = lineOfKey.get(key);
    if (firstLine === undefined) {
      lineOfKey.set(key, at.line);
      return false;
    }
    this.#fail("malformed", path, at, `repeated key, first given in line ${firstLine}`);
    return true;
  }

  #unknownKey(path: string, at: Position): void {
    this.#fail("malformed", path, at, "unknown key", suggest(nearestPath(path)));
  }

  #fail(
    kind: ConfigProblem["kind"],
    path: string | undefined,
    at: Position,
    message: string,
    hint?: string,
  ): void {
    this.#layer.fail(kind, path, this.#place(at), message, hint);
  }
}

const suggest = (name: string | undefined): string | undefined =>
  name === undefined ? undefined : `did you mean ${name}?`;

/** The option or section a wrong path most likely means. */
function nearestPath(path: string): string | undefined {
  const key = path.slice(path.lastIndexOf(".") + 1);
  const section = path.slice(0, -key.length);
  const inSection = new Map(
    [...ALL_PATHS, ...SECTIONS]
      .filter((known) => known.startsWith(section) && !known.slice(section.length).includes("."))
      .map((known) => [known.slice(section.length), known]),
  );
  const neighbour = nearest(key, inSection.keys());
  if (neighbour !== undefined) return inSection.get(neighbour);
  // The right key in the wrong section.
  return ALL_PATHS.find((known) => known.endsWith(`.${key}`)) ?? nearest(path, ALL_PATHS);
}
