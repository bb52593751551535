/**
 * Entity tags (RFC 9110 §8.8.3): reading them and comparing them.
 *
 * One deliberate leniency: many S3 clients send the ETag without its quotes in
 * `If-Match` and `If-None-Match`, and S3 accepts that, so a bare word is read as
 * the opaque part of a strong tag.
 */

export interface EntityTag {
  readonly isWeak: boolean;
  /** What stands between the quotes. */
  readonly opaque: string;
}

/** A field that lists tags: `*` (any current representation) or the tags named. */
export type EntityTagList = "*" | readonly EntityTag[];

// One list member: optionally weak, quoted (commas inside belong to the tag) or a bare word.
const MEMBER = /(W\/)?(?:"([^"]*)"|([^",\s][^",]*))/g;
const SINGLE = /^(W\/)?(?:"([^"]*)"|([^",\s]+))$/;

/** Reads one entity tag; undefined when the text is not one. */
export function parseEntityTag(text: string): EntityTag | undefined {
  const match = SINGLE.exec(text.trim());
  if (match === null) return undefined;
  return { isWeak: match[1] !== undefined, opaque: match[2] ?? match[3] ?? "" };
}

/**
 * Reads an `If-Match` or `If-None-Match` value. `*` counts only when it stands alone;
 * members that are no tag are skipped, so a list of nothing but garbage matches nothing.
 */
export function parseEtagList(value: string): EntityTagList {
  if (value.trim() === "*") return "*";
  const tags: EntityTag[] = [];
  for (const match of value.matchAll(MEMBER)) {
    tags.push({ isWeak: match[1] !== undefined, opaque: match[2] ?? match[3]?.trimEnd() ?? "" });
  }
  return tags;
}

/** Strong comparison (§8.8.3.2): same bytes for certain; a weak tag equals nothing. */
export function strongEquals(a: EntityTag, b: EntityTag): boolean {
  return !a.isWeak && !b.isWeak && a.opaque === b.opaque;
}

/** Weak comparison (§8.8.3.2): interchangeable; weakness is ignored. */
export function weakEquals(a: EntityTag, b: EntityTag): boolean {
  return a.opaque === b.opaque;
}
