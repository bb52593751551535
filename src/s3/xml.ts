/**
 * XML as S3 speaks it: reading request and result documents, writing ours.
 *
 * fast-xml-parser does the work; what is ours is the caution around it. Documents come
 * from strangers, so a DOCTYPE is refused (no entities but the five of XML and
 * character references), nesting is bounded and a document that is not well-formed
 * is no document. Text is never trimmed or turned into numbers, because keys are
 * arbitrary: ` 007 ` is a fine key. Namespaces are ignored, as S3 itself does.
 *
 * The size of a document is for the caller to bound before it has one.
 */

import { XMLBuilder, XMLParser, XMLValidator } from "fast-xml-parser";

/** Namespace of S3's result documents. */
export const S3_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/";

/** What an element holds: text, child elements by name, or the several elements of one name. */
export type XmlNode = string | XmlElement | readonly XmlNode[];
export interface XmlElement {
  readonly [name: string]: XmlNode | undefined;
}

export interface XmlDocument {
  /** Name of the root element without its namespace prefix. */
  readonly root: string;
  readonly content: XmlNode;
}

// No S3 document is deeper than eight; the bound keeps a hostile one off the stack.
const NESTING_MAX = 32;

const parser = new XMLParser({
  ignoreAttributes: true,
  ignoreDeclaration: true,
  ignorePiTags: true,
  removeNSPrefix: true,
  parseTagValue: false,
  trimValues: false,
  maxNestedTags: NESTING_MAX,
  processEntities: true,
  entityDecoder: {
    decode: decodeReferences,
    reset: () => undefined,
    setXmlVersion: () => undefined,
    setExternalEntities: () => undefined,
    addInputEntities: () => undefined,
  },
});

const NAMED: Readonly<Record<string, string>> = {
  amp: "&",
  lt: "<",
  gt: ">",
  quot: '"',
  apos: "'",
};

/** Throws on a reference XML does not define, which makes the document malformed. */
function decodeReferences(text: string): string {
  if (!text.includes("&")) return text;
  return text.replace(/&([^;&]*;?)/g, (_, reference: string) => {
    const name = reference.endsWith(";") ? reference.slice(0, -1) : "";
    const named = Object.hasOwn(NAMED, name) ? NAMED[name] : undefined;
    if (named !== undefined) return named;
    const digits = /^#(?:x([0-9a-fA-F]{1,6})|(\d{1,7}))$/.exec(name);
    if (digits === null) throw new SyntaxError(`unknown reference &${reference}`);
    const [, hex, decimal] = digits;
    const codePoint = hex === undefined ? Number(decimal) : Number.parseInt(hex, 16);
    const isSurrogate = codePoint >= 0xd800 && codePoint <= 0xdfff;
    // XML 1.0 forbids most control characters, but keys may hold them and S3 writes them so.
    if (codePoint === 0 || isSurrogate) throw new SyntaxError(`no character &${reference}`);
    return String.fromCodePoint(codePoint); // throws beyond U+10FFFF
  });
}

/** Reads a document; undefined when it is not well-formed, has a DOCTYPE, or nests too deep. */
export function parseXml(text: string): XmlDocument | undefined {
  const document = withoutBlanks(text);
  if (!document.startsWith("<") || document.includes("<!DOCTYPE")) return undefined;
  try {
    if (XMLValidator.validate(document) !== true) return undefined;
    const parsed = parser.parse(document) as XmlElement;
    const [root, ...others] = Object.keys(parsed).filter((name) => name !== "#text");
    if (root === undefined || others.length > 0) return undefined;
    // The library tolerates text around the root element; XML does not.
    if (rootElementName(document) !== root || !document.endsWith(">")) return undefined;
    const content = parsed[root];
    if (content === undefined || Array.isArray(content)) return undefined;
    return { root, content };
  } catch {
    return undefined;
  }
}

/** The child elements of that name, in order; none when `node` is text or lacks them. */
export function children(node: XmlNode | undefined, name: string): readonly XmlNode[] {
  if (node === undefined || typeof node === "string" || isList(node)) return [];
  const found = Object.hasOwn(node, name) ? node[name] : undefined;
  if (found === undefined) return [];
  return isList(found) ? found : [found];
}

/** The first child element of that name. */
export function child(node: XmlNode | undefined, name: string): XmlNode | undefined {
  return children(node, name)[0];
}

/** Text of the first child element of that name; undefined when absent or not just text. */
export function childText(node: XmlNode | undefined, name: string): string | undefined {
  const found = child(node, name);
  return typeof found === "string" ? found : undefined;
}

function isList(node: XmlNode): node is readonly XmlNode[] {
  return Array.isArray(node);
}

/**
 * Name of the root element, without a prefix, of a document that need not be complete or
 * well-formed; undefined when none begins. Reads no further than it must, and skips
 * the blanks S3 sends ahead of a slow result.
 */
export function rootElementName(text: string): string | undefined {
  let at = beginningOf(text);
  for (;;) {
    while (isBlank(text.charCodeAt(at))) at += 1;
    if (text.startsWith("<?", at)) at = endOf(text, "?>", at);
    else if (text.startsWith("<!--", at)) at = endOf(text, "-->", at);
    else break;
  }
  ROOT_START.lastIndex = at;
  return ROOT_START.exec(text)?.[1];
}

/** Where a document begins: behind the byte order mark, if it has one. */
function beginningOf(text: string): number {
  return text.charCodeAt(0) === 0xfeff ? 1 : 0;
}

/** Without the mark at the beginning and the blanks around. */
function withoutBlanks(text: string): string {
  let start = beginningOf(text);
  let end = text.length;
  while (isBlank(text.charCodeAt(start))) start += 1;
  while (end > start && isBlank(text.charCodeAt(end - 1))) end -= 1;
  return text.slice(start, end);
}

/** The four of XML (production 3); the blanks of JavaScript are more. */
function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09;
}

const ROOT_START = /<(?:[\w.-]+:)?([\w.-]+)(?=[\s/>])/y;

function endOf(text: string, mark: string, from: number): number {
  const found = text.indexOf(mark, from);
  return found === -1 ? text.length : found + mark.length;
}

/** One member of a DeleteObjects request. */
export interface DeleteTarget {
  readonly key: string;
  readonly versionId: string | undefined;
  /** Delete only if the object still has this ETag. */
  readonly etag: string | undefined;
}

export interface DeleteRequest {
  readonly objects: readonly DeleteTarget[];
  /** Only errors are to be listed in the result. */
  readonly quiet: boolean;
}

/** Body of DeleteObjects; undefined when malformed, when it names nothing, or has an empty key. */
export function parseDeleteRequest(text: string): DeleteRequest | undefined {
  const document = parseXml(text);
  if (document?.root !== "Delete") return undefined;
  const objects: DeleteTarget[] = [];
  for (const node of children(document.content, "Object")) {
    const key = childText(node, "Key");
    if (key === undefined || key === "") return undefined;
    objects.push({
      key,
      versionId: childText(node, "VersionId") || undefined,
      etag: childText(node, "ETag"),
    });
  }
  if (objects.length === 0) return undefined;
  return { objects, quiet: childText(document.content, "Quiet")?.trim() === "true" };
}

export interface DeleteResult {
  readonly deleted: readonly { readonly key: string; readonly versionId: string | undefined }[];
  readonly errors: readonly {
    readonly key: string;
    readonly versionId: string | undefined;
    readonly code: string;
  }[];
}

/** Answer to DeleteObjects; undefined when it is not one. `deleted` is empty in quiet mode. */
export function parseDeleteResult(text: string): DeleteResult | undefined {
  const document = parseXml(text);
  if (document?.root !== "DeleteResult") return undefined;
  return {
    deleted: children(document.content, "Deleted").map((node) => ({
      key: childText(node, "Key") ?? "",
      versionId: childText(node, "VersionId") || undefined,
    })),
    errors: children(document.content, "Error").map((node) => ({
      key: childText(node, "Key") ?? "",
      versionId: childText(node, "VersionId") || undefined,
      code: childText(node, "Code") ?? "",
    })),
  };
}

/** One part as named in a CompleteMultipartUpload request. */
export interface CompletedPart {
  /** 1 to 10 000. */
  readonly partNumber: number;
  readonly etag: string;
  /** Base64 checksum by element name: `ChecksumCRC32`, `ChecksumSHA256`, … */
  readonly checksums: Readonly<Record<string, string>>;
}

const CHECKSUM_ELEMENTS = [
  "ChecksumCRC32",
  "ChecksumCRC32C",
  "ChecksumCRC64NVME",
  "ChecksumSHA1",
  "ChecksumSHA256",
] as const;

/** Body of CompleteMultipartUpload, in the order sent; undefined when malformed or without parts. */
export function parseCompleteRequest(
  text: string,
): { readonly parts: readonly CompletedPart[] } | undefined {
  const document = parseXml(text);
  if (document?.root !== "CompleteMultipartUpload") return undefined;
  const parts: CompletedPart[] = [];
  for (const node of children(document.content, "Part")) {
    const number = childText(node, "PartNumber")?.trim() ?? "";
    const etag = childText(node, "ETag")?.trim();
    if (!/^\d{1,5}$/.test(number) || etag === undefined) return undefined;
    const partNumber = Number(number);
    if (partNumber < 1 || partNumber > 10_000) return undefined;
    const checksums: Record<string, string> = {};
    for (const name of CHECKSUM_ELEMENTS) {
      const value = childText(node, name)?.trim();
      if (value !== undefined && value !== "") checksums[name] = value;
    }
    parts.push({ partNumber, etag, checksums });
  }
  return parts.length === 0 ? undefined : { parts };
}

/** Body of a tagging request: the tags in order; undefined when malformed. Empty sets are fine. */
export function parseTagging(
  text: string,
): readonly { readonly key: string; readonly value: string }[] | undefined {
  const document = parseXml(text);
  if (document?.root !== "Tagging") return undefined;
  const tags: { key: string; value: string }[] = [];
  for (const node of children(child(document.content, "TagSet"), "Tag")) {
    const key = childText(node, "Key");
    const value = childText(node, "Value");
    if (key === undefined || value === undefined) return undefined;
    tags.push({ key, value });
  }
  return tags;
}

/**
 * What can be written: undefined members are left out, lists become repeated elements,
 * and a name that starts with "@" is an attribute.
 */
export type XmlValue = string | number | boolean | undefined | XmlContent | readonly XmlValue[];
export interface XmlContent {
  readonly [name: string]: XmlValue;
}

const builder = new XMLBuilder({
  ignoreAttributes: false,
  attributeNamePrefix: "@",
  processEntities: false, // the library's own escaping would let a carriage return be normalised away
  suppressBooleanAttributes: false,
  tagValueProcessor: (_name, value) => escapeXml(String(value)),
  attributeValueProcessor: (_name, value) => escapeXml(String(value)),
});

/** A whole document with its declaration. `xmlns` goes on the root element; S3's unless given. */
export function renderXml(
  root: string,
  content: XmlContent,
  xmlns: string | undefined = S3_NAMESPACE,
): string {
  const element = { ...(xmlns === "" ? {} : { "@xmlns": xmlns }), ...content };
  return `${XML_DECLARATION}\n${builder.build({ [root]: element })}`;
}

export const XML_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>';

/** Escapes text for content and attributes, so that any string survives a round trip. */
export function escapeXml(text: string): string {
  return text.toWellFormed().replace(SPECIAL, (character) => {
    switch (character) {
      case "&":
        return "&amp;";
      case "<":
        return "&lt;";
      case ">":
        return "&gt;";
      case '"':
        return "&quot;";
      case "'":
        return "&apos;";
      default:
        return `&#${character.charCodeAt(0)};`;
    }
  });
}

// Markup, and the control characters a parser would normalise or refuse. Tab and line feed
// are safe in content but not in attributes, so they are written as references too.
// oxlint-disable-next-line no-control-regex
const SPECIAL = /[&<>"'\u0001-\u001f\u007f]/g;
