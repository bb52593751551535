/**
 * The option table as documents: what is in effect (`tag config show`), a file to
 * start from (`tag config init`) and a JSON Schema for editors (`tag config schema`).
 * docs/configuration.md is made from the same rows by scripts/gen-docs.ts.
 */

import { unreachable } from "../base/assert.ts";
import type { Option } from "./option.ts";
import type { Config, OptionPath } from "./options.ts";
import { OPTION_ROWS, optionValue, sectionOf } from "./options.ts";
import { formatSource } from "./problem.ts";
import type { Sources } from "./validate.ts";
import { formatRange, formatValue } from "./values.ts";

/** One option in effect. */
export interface EffectiveOption {
  readonly path: OptionPath;
  /** In the spelling of the file; a secret as its fingerprint; "" when unset. */
  readonly value: string;
  /** `default`, `env TAG_CACHE_TTL`, `flag --http-port`, `tag.yaml:3:8`. */
  readonly source: string;
}

/** Every option with its value and where that came from, in the order of the table. */
export function effectiveOptions(config: Config, sources: Sources): readonly EffectiveOption[] {
  return OPTION_ROWS.map(([path, option]) => ({
    path,
    value: formatValue(option, optionValue(config, path)),
    source: formatSource(sources.get(path) ?? { kind: "default" }),
  }));
}

/** How an option can be given besides the file: `TAG_CACHE_TTL`, `--log-level`. */
export function otherSpellings(option: Option): readonly string[] {
  const spellings: string[] = [];
  if (option.env !== undefined) spellings.push(option.env);
  if (option.flag !== undefined) spellings.push(`--${option.flag}`);
  return spellings;
}

/** What may be written: `true or false`, `0 to 65535`, `lru, fifo or auto`, `a list`. */
export function describeForm(option: Option): string {
  switch (option.kind) {
    case "text":
      return "text";
    case "secret":
      return "secret text";
    case "boolean":
      return "true or false";
    case "choice":
      return (option.choices ?? []).join(", ").replace(/, ([^,]*)$/, " or $1");
    case "list":
      return "list of texts";
    case "pairs":
      return "list of key pairs";
    case "rules":
      return "list of rules";
    case "integer":
    case "size":
    case "duration": {
      const name = option.kind === "integer" ? "whole number" : option.kind;
      const bounds = option.isNegativeUnlimited === true ? [] : [formatRange(option)];
      if (option.isZeroDefault === true) bounds.push("0 means the default");
      if (option.isNegativeUnlimited === true) bounds.push("negative means no limit");
      return [name, ...bounds].join(", ");
    }
    default:
      return unreachable(option.kind);
  }
}

const TEMPLATE_HEAD = `\
# Configuration of TAG.
#
# Every key is shown with its default. To change one, remove the "#" before it.
# Flags win over environment variables, those over this file, and this file over
# the defaults. \${env:NAME} and \${env:NAME:-default} stand for a variable.
# Check with "tag config lint", see the result with "tag config show".
`;

/** A commented file in which nothing is set: every key, its help and its default. */
export function configTemplate(): string {
  let text = TEMPLATE_HEAD;
  let section = "";
  for (const [path, option] of OPTION_ROWS) {
    if (option.inertBecause !== undefined) continue;
    if (sectionOf(path) !== section) {
      section = sectionOf(path);
      text += `\n${section}:\n`;
    } else text += "\n";
    const key = path.slice(section.length + 1);
    const spellings = otherSpellings(option);
    const also = spellings.length === 0 ? "" : ` (${spellings.join(", ")})`;
    for (const line of wrap(`${option.help}${also}`, 92)) text += `  # ${line}\n`;
    text += `  # ${`${key}: ${yamlDefault(option)}`.trimEnd()}\n`;
  }
  return text;
}

function yamlDefault(option: Option): string {
  if (option.kind === "list" || option.kind === "pairs" || option.kind === "rules") return "[]";
  if (option.kind === "secret") return `\${env:${option.env ?? "NAME"}}`;
  const text = formatValue(option, option.default);
  // ":7000" and the like need quotes; a number, a size or a word does not.
  return /^[\w./-][\w./:-]*$|^$/.test(text) ? text : JSON.stringify(text);
}

/** Breaks `text` at spaces into lines of at most `width` letters, longer words apart. */
export function wrap(text: string, width: number): readonly string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  return [...lines, line];
}

type JsonSchema = { readonly [key: string]: unknown };

/** JSON Schema (draft 2020-12) of a configuration file, for editors and for CI. */
export function configSchema(): JsonSchema {
  const sections: Record<string, Record<string, JsonSchema>> = {};
  for (const [path, option] of OPTION_ROWS) {
    const section = sectionOf(path);
    (sections[section] ??= {})[path.slice(section.length + 1)] = optionSchema(option);
  }
  return {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    title: "Configuration of TAG",
    type: "object",
    additionalProperties: false,
    properties: Object.fromEntries(
      Object.entries(sections).map(([section, properties]) => [
        section,
        { type: ["object", "null"], additionalProperties: false, properties },
      ]),
    ),
  };
}

/** Texts are allowed everywhere, because `${env:NAME}` may stand for any value. */
function optionSchema(option: Option): JsonSchema {
  const description = `${option.help} Form: ${describeForm(option)}.`;
  const common = {
    description,
    ...(option.inertBecause === undefined ? {} : { deprecated: true }),
  };
  const text = formatValue(option, option.default);
  switch (option.kind) {
    case "boolean":
      return { ...common, type: ["boolean", "string", "null"], default: option.default };
    case "integer":
      return { ...common, type: ["integer", "string", "null"], default: option.default };
    case "size":
      return { ...common, type: ["integer", "string", "null"], default: text };
    case "duration":
      return { ...common, type: ["string", "null"], default: text };
    case "choice":
      return {
        ...common,
        anyOf: [
          { enum: option.choices ?? [] },
          { type: ["string", "null"], pattern: "\\$\\{env:" },
        ],
        default: text,
      };
    case "text":
    case "secret":
      return {
        ...common,
        type: ["string", "number", "null"],
        ...(option.default === undefined ? {} : { default: text }),
      };
    case "list":
      return {
        ...common,
        anyOf: [{ type: "array", items: { type: "string" } }, { type: ["string", "null"] }],
        default: [],
      };
    case "pairs":
      return {
        ...common,
        type: ["array", "null"],
        items: pairSchema(option.choices ?? []),
        default: [],
      };
    case "rules":
      return { ...common, type: ["array", "null"], items: RULE_SCHEMA, default: [] };
    default:
      return unreachable(option.kind);
  }
}

const TEXT_SCHEMA = { type: ["string", "number"] };
const TEXTS_SCHEMA = { anyOf: [{ type: "array", items: TEXT_SCHEMA }, TEXT_SCHEMA] };

const RULE_SCHEMA: JsonSchema = {
  type: "object",
  additionalProperties: false,
  required: ["bucket"],
  properties: {
    bucket: TEXT_SCHEMA,
    prefix: TEXT_SCHEMA,
    include: TEXTS_SCHEMA,
    exclude: TEXTS_SCHEMA,
    ttl: { type: "string" },
    quota: { type: ["integer", "string"] },
    pin: { type: ["boolean", "string"] },
  },
};

function pairSchema(rights: readonly string[]): JsonSchema {
  const right = { enum: rights };
  return {
    type: "object",
    additionalProperties: false,
    required: ["access_key_id", "secret_access_key"],
    properties: {
      access_key_id: TEXT_SCHEMA,
      secret_access_key: TEXT_SCHEMA,
      session_token: TEXT_SCHEMA,
      buckets: TEXTS_SCHEMA,
      rights: { anyOf: [{ type: "array", items: right }, right] },
      upstream_access_key_id: TEXT_SCHEMA,
      upstream_secret_access_key: TEXT_SCHEMA,
    },
  };
}
