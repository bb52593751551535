/**
 * Virtual-host style: the bucket in front of a name the origin goes by
 * (`photos.localhost:9000`), and the whole path as the key.
 */

/**
 * The bucket a `Host` names, or undefined for path style.
 *
 * @param host  the header as sent, port included
 * @param names lower-case host names of the origin, without port
 */
export function bucketOfHost(
  host: string | undefined,
  names: readonly string[],
): string | undefined {
  const name = host?.toLowerCase().replace(/:\d+$/, "");
  if (name === undefined) return undefined;
  const base = names.find((candidate) => name.endsWith(`.${candidate}`));
  return base === undefined ? undefined : name.slice(0, -base.length - 1);
}
