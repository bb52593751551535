/**
 * Header fields as they are on the wire: in order, in their case, repeats kept.
 *
 * Signatures cover fields and a hit must look like the miss it came from, so the
 * raw list is the truth and the lookup by lower-case name is an index over it.
 */

/** `[name, value, name, value, …]`, exactly as received or as to be sent. */
export type RawHeaders = readonly string[];

/** A read-only index over raw headers. Names given to it are lower case. */
export class Fields {
  readonly raw: RawHeaders;
  #index: Map<string, string | string[]> | undefined;

  constructor(raw: RawHeaders) {
    this.raw = raw;
  }

  /** The first value of the field, untouched, or undefined when it is absent. */
  get(lowerName: string): string | undefined {
    const found = this.#lookup(lowerName);
    return typeof found === "object" ? found[0] : found;
  }

  /** Every value of the field in order; empty when it is absent. */
  all(lowerName: string): readonly string[] {
    const found = this.#lookup(lowerName);
    if (found === undefined) return [];
    return typeof found === "string" ? [found] : found;
  }

  /** All values joined by ", " (RFC 9110 §5.3), or undefined when it is absent. */
  list(lowerName: string): string | undefined {
    const found = this.#lookup(lowerName);
    return typeof found === "object" ? found.join(", ") : found;
  }

  has(lowerName: string): boolean {
    return this.#lookup(lowerName) !== undefined;
  }

  /** Every distinct lower-case name, in order of first appearance. */
  names(): IterableIterator<string> {
    this.#index ??= indexOf(this.raw);
    return this.#index.keys();
  }

  #lookup(lowerName: string): string | string[] | undefined {
    this.#index ??= indexOf(this.raw);
    return this.#index.get(lowerName);
  }
}

function indexOf(raw: RawHeaders): Map<string, string | string[]> {
  const index = new Map<string, string | string[]>();
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const name = (raw[at] ?? "").toLowerCase();
    const value = raw[at + 1] ?? "";
    const present = index.get(name);
    if (present === undefined) index.set(name, value);
    else if (typeof present === "string") index.set(name, [present, value]);
    else present.push(value);
  }
  return index;
}

/** `raw` without the fields `drop` answers true for (it is asked with lower-case names). */
export function withoutFields(raw: RawHeaders, drop: (lowerName: string) => boolean): string[] {
  const kept: string[] = [];
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const name = raw[at] ?? "";
    if (!drop(name.toLowerCase())) kept.push(name, raw[at + 1] ?? "");
  }
  return kept;
}

/** `raw` with every field of `name`'s spelling-insensitive name replaced by one value at the end. */
export function withField(raw: RawHeaders, name: string, value: string): string[] {
  const lower = name.toLowerCase();
  const result = withoutFields(raw, (candidate) => candidate === lower);
  result.push(name, value);
  return result;
}
