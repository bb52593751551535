/**
 * Which object a form upload writes (PostObject, S3 API reference "POST Object"). Its key is a field
 * of the form, ahead of the file, so the beginning of the body is read before the rest
 * streams on untouched.
 *
 * Wrong would be worse than unknown: whatever is not plain (a key that upstream makes up
 * from the file's name, two keys, headers that need interpretation) is unknown, and the
 * caller then takes any object of the bucket for written.
 */

import type { ByteSource } from "../base/byte-source.ts";

export interface FormUpload {
  /** Undefined when the form does not tell it plainly. */
  readonly key: string | undefined;
  /** The whole body, from its first byte. */
  readonly body: ByteSource;
}

/** S3 allows 20 KB of fields; their framing comes on top. */
const FIELDS_BYTES = 64 * 1024;
const KEY_BYTES_MAX = 1024;

/** Reads as much of `body` as it takes to know the key. Rejects when the body breaks before. */
export async function readForm(contentType: string, body: ByteSource): Promise<FormUpload> {
  const boundary = /\bboundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))/i.exec(contentType);
  const delimiter = boundary?.[1] ?? boundary?.[2];
  if (delimiter === undefined) return { key: undefined, body };
  const seen: Uint8Array[] = [];
  let text = "";
  for (;;) {
    const chunk = await body.read();
    if (chunk === null) return { key: undefined, body: startingWith(seen, body) };
    seen.push(chunk);
    text += Buffer.from(chunk).toString("latin1");
    const finding = keyIn(text, delimiter);
    if (finding.kind === "more" && text.length < FIELDS_BYTES) continue;
    const key = finding.kind === "key" ? finding.key : undefined;
    return { key, body: startingWith(seen, body) };
  }
}

type Finding =
  | { readonly kind: "key"; readonly key: string }
  | { readonly kind: "unknown" }
  /** The file has not begun yet. */
  | { readonly kind: "more" };

const UNKNOWN: Finding = { kind: "unknown" };
const MORE: Finding = { kind: "more" };

// One header a field needs, one a file has; the names as browsers and SDKs write them.
const DISPOSITION = /^content-disposition: form-data; name="([^"\\]*)"(?:; filename="[^"]*")?$/i;
const CONTENT_TYPE = /^content-type:/i;

/** Looks through the fields, as Latin-1 text, up to the file. */
function keyIn(text: string, delimiter: string): Finding {
  const mark = `--${delimiter}`;
  let key: string | undefined;
  let at = 0;
  for (;;) {
    if (text.length < at + mark.length + 2) return MORE;
    if (!text.startsWith(`${mark}\r\n`, at)) return UNKNOWN;
    at += mark.length + 2;
    const headEnd = text.indexOf("\r\n\r\n", at);
    if (headEnd === -1) return MORE;
    const name = nameOf(text.slice(at, headEnd));
    if (name === undefined) return UNKNOWN;
    if (name === "file") return key === undefined ? UNKNOWN : plainKey(key);
    at = headEnd + 4;
    const valueEnd = text.indexOf(`\r\n${mark}`, at);
    if (valueEnd === -1) return MORE;
    if (name === "key") {
      if (key !== undefined) return UNKNOWN;
      key = text.slice(at, valueEnd);
    }
    at = valueEnd + 2;
  }
}

/** The field's name in lower case; undefined when the part is anything but plain. */
function nameOf(head: string): string | undefined {
  let name: string | undefined;
  for (const line of head.split("\r\n")) {
    const disposition = DISPOSITION.exec(line);
    if (disposition === null) {
      if (!CONTENT_TYPE.test(line)) return undefined;
    } else if (name === undefined) {
      name = disposition[1]?.toLowerCase();
    } else return undefined;
  }
  // Says that the other fields are in another character set.
  return name === "_charset_" ? undefined : name;
}

function plainKey(latin1: string): Finding {
  if (latin1 === "" || latin1.length > KEY_BYTES_MAX || latin1.includes("${")) return UNKNOWN;
  try {
    const bytes = Buffer.from(latin1, "latin1");
    return {
      kind: "key",
      key: new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes),
    };
  } catch {
    return UNKNOWN;
  }
}

function startingWith(first: readonly Uint8Array[], rest: ByteSource): ByteSource {
  let index = 0;
  return {
    read() {
      const chunk = first[index];
      index += 1;
      return chunk === undefined ? rest.read() : Promise.resolve(chunk);
    },
    close: () => rest.close(),
  };
}
