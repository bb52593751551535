/**
 * The request target as received (RFC 9112 §3.2), cut into its parts.
 *
 * The raw text stays the truth: signatures cover it and it is forwarded byte for
 * byte. What is decoded here is only for finding out what is asked. There is no
 * normalisation of any kind: to S3, `//`, `.` and `..` are ordinary parts of a key,
 * and `+` is a plus, in paths and in queries alike.
 */

/** One `name=value` pair of a query, decoded and as received. */
export interface QueryParam {
  /** Percent-decoded; the raw text where that is not possible. */
  readonly name: string;
  /** Percent-decoded; "" for a flag such as `?acl`; the raw text where decoding fails. */
  readonly value: string;
  readonly rawName: string;
  readonly rawValue: string;
  /** False for a flag without "=": `?acl` and `?acl=` are signed alike but are not the same text. */
  readonly hasEquals: boolean;
}

export interface RawTarget {
  /** The whole target, untouched. */
  readonly raw: string;
  /** Up to the first "?", untouched; always starts with "/". */
  readonly rawPath: string;
  /** Behind the first "?", untouched; "" when there is none. */
  readonly rawQuery: string;
  /** `rawPath`, percent-decoded. */
  readonly path: string;
  /** The pairs of the query in order, repeats kept, empty ones (`a&&b`) left out. */
  readonly query: readonly QueryParam[];
}

// Origin-form is printable ASCII (RFC 3986 §2); anything else is refused rather than guessed at.
const ORIGIN_FORM = /^\/[\x21-\x7e]*$/;

const NO_PARAMS: readonly QueryParam[] = [];

/**
 * Reads an origin-form target. Undefined when it is another form (`*`, `http://…`),
 * holds characters outside printable ASCII, or when its path is not percent-encoded
 * UTF-8. A query that cannot be decoded is no reason to refuse: upstream judges it.
 */
export function parseRawTarget(raw: string): RawTarget | undefined {
  if (!ORIGIN_FORM.test(raw)) return undefined;
  const mark = raw.indexOf("?");
  const rawPath = mark === -1 ? raw : raw.slice(0, mark);
  const rawQuery = mark === -1 ? "" : raw.slice(mark + 1);
  const path = decodePercent(rawPath);
  if (path === undefined) return undefined;
  return { raw, rawPath, rawQuery, path, query: rawQuery === "" ? NO_PARAMS : pairsOf(rawQuery) };
}

function pairsOf(rawQuery: string): readonly QueryParam[] {
  const pairs: QueryParam[] = [];
  for (const pair of rawQuery.split("&")) {
    if (pair === "") continue;
    const equals = pair.indexOf("=");
    const rawName = equals === -1 ? pair : pair.slice(0, equals);
    const rawValue = equals === -1 ? "" : pair.slice(equals + 1);
    pairs.push({
      name: decodePercent(rawName) ?? rawName,
      value: decodePercent(rawValue) ?? rawValue,
      rawName,
      rawValue,
      hasEquals: equals !== -1,
    });
  }
  return pairs;
}

/** The first value of a parameter by its decoded name; "" for a flag, undefined when absent. */
export function queryValue(target: RawTarget, name: string): string | undefined {
  for (const param of target.query) if (param.name === name) return param.value;
  return undefined;
}

/**
 * Decodes `%XX` and nothing else ("+" stays a plus). Undefined when an escape is cut
 * short or the bytes are not UTF-8: two spellings of one broken key must not meet.
 */
export function decodePercent(text: string): string | undefined {
  if (!text.includes("%")) return text;
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

/**
 * Encodes a decoded path as SigV4 and S3 clients do: UTF-8, upper-case hex, with the
 * unreserved characters of RFC 3986 §2.3 and "/" left as they are.
 */
export function encodePath(decodedPath: string): string {
  if (PLAIN_PATH.test(decodedPath)) return decodedPath;
  return encodeQueryComponent(decodedPath).replaceAll("%2F", "/");
}

const PLAIN_PATH = /^[A-Za-z0-9\-._~/]*$/;

/** Like `encodePath`, for a name or value of a query: "/" is encoded too. */
export function encodeQueryComponent(text: string): string {
  // encodeURIComponent leaves !'()* alone, which RFC 3986 reserves; it throws on lone surrogates.
  return encodeURIComponent(text.toWellFormed()).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}
