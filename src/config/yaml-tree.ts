/**
 * A YAML file as a plain tree that remembers positions.
 *
 * The only file that knows the YAML library. Scalars are kept as text: what a value
 * means is decided by the option it is for (values.ts), not by YAML's guess, so
 * `node_id: 1` is the name "1" and `"8080"` a good port.
 */

import { isAlias, isMap, isPair, isScalar, isSeq, LineCounter, parseAllDocuments } from "yaml";
import type { Document, Node } from "yaml";

/** Line and column, from 1. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

export type Tree =
  /** `text` undefined: null, or a key without a value. */
  | { readonly kind: "scalar"; readonly text: string | undefined; readonly at: Position }
  | { readonly kind: "list"; readonly items: readonly Tree[]; readonly at: Position }
  | { readonly kind: "map"; readonly entries: readonly TreeEntry[]; readonly at: Position };

export interface TreeEntry {
  readonly key: string;
  readonly at: Position;
  readonly value: Tree;
}

export interface YamlError {
  readonly message: string;
  readonly at: Position;
}

export type ParsedYaml =
  | { readonly kind: "tree"; readonly tree: Tree }
  | { readonly kind: "invalid"; readonly errors: readonly YamlError[] };

const START: Position = { line: 1, column: 1 };

/** Parses one YAML 1.2 document; an empty file is an empty map. Never throws. */
export function parseYaml(source: string): ParsedYaml {
  const lines = new LineCounter();
  // Repeated keys are left to the caller, which knows the full path of the key.
  const parsed = parseAllDocuments(source, { lineCounter: lines, uniqueKeys: false });
  const documents: readonly Document[] = Array.isArray(parsed) ? parsed : [];

  const errors: YamlError[] = [];
  for (const document of documents) {
    for (const error of document.errors) {
      errors.push({
        message: firstLine(error.message),
        at: positionOf(lines, error.pos[0]),
      });
    }
  }
  const second = documents[1];
  if (second !== undefined) {
    errors.push({
      message: "more than one YAML document",
      at: positionOf(lines, second.range?.[0] ?? 0),
    });
  }
  if (errors.length > 0) return { kind: "invalid", errors };

  const document = documents[0];
  if (document === undefined || document.contents === null) {
    return { kind: "tree", tree: { kind: "map", entries: [], at: START } };
  }
  try {
    return { kind: "tree", tree: treeOf(document.contents, document, lines, 0) };
  } catch (error) {
    return { kind: "invalid", errors: [{ message: String(error), at: START }] };
  }
}

/** No configuration is this deep; a file of aliases that contain themselves is. */
const DEPTH_MAX = 16;

function treeOf(node: unknown, document: Document, lines: LineCounter, depth: number): Tree {
  if (depth > DEPTH_MAX) throw new RangeError("nested too deeply");
  const at = positionOf(lines, (node as Node | null)?.range?.[0] ?? 0);
  if (isAlias(node)) return treeOf(node.resolve(document) ?? null, document, lines, depth + 1);
  if (isMap(node)) {
    const entries = node.items.filter(isPair).map((pair): TreeEntry => {
      const key = pair.key as Node;
      const keyAt = positionOf(lines, key.range?.[0] ?? 0);
      const value =
        pair.value === null
          ? { kind: "scalar" as const, text: undefined, at: keyAt }
          : treeOf(pair.value, document, lines, depth + 1);
      return { key: scalarText(key) ?? "", at: keyAt, value };
    });
    return { kind: "map", entries, at };
  }
  if (isSeq(node)) {
    const items = node.items.map((item) => treeOf(item, document, lines, depth + 1));
    return { kind: "list", items, at };
  }
  return { kind: "scalar", text: scalarText(node), at };
}

/** The text as written for plain scalars, the content for quoted ones, undefined for null. */
function scalarText(node: unknown): string | undefined {
  if (!isScalar(node) || node.value === null || node.value === undefined) return undefined;
  return typeof node.value === "string" ? node.value : (node.source ?? JSON.stringify(node.value));
}

function positionOf(lines: LineCounter, offset: number): Position {
  const { line, col } = lines.linePos(offset);
  return { line: Math.max(line, 1), column: Math.max(col, 1) };
}

/** The library's messages carry an excerpt of the file below the first line: it may hold a secret. */
function firstLine(message: string): string {
  return (message.split("\n")[0] ?? message).replace(/(?: at line \d+, column \d+)?:?$/, "");
}
