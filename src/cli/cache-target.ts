/**
 * What the cache tools are pointed at: `bucket`, `bucket/prefix`, or the same as
 * `s3://bucket/prefix`. A prefix is the beginning of a key and nothing more, as in S3's
 * listings: `b/logs` means `b/logs-old` too, `b/logs/` does not.
 */

import { usage } from "./arguments.ts";

export interface Target {
  readonly bucket: string;
  /** "" for everything. */
  readonly prefix: string;
}

/** Throws a `usage` error when `text` names no bucket. */
export function parseTarget(text: string): Target {
  const path = text.replace(/^s3:\/\//, "");
  const slash = path.indexOf("/");
  const bucket = slash === -1 ? path : path.slice(0, slash);
  if (bucket === "") throw usage(`"${text}" names no bucket, write bucket or bucket/prefix`);
  return { bucket, prefix: slash === -1 ? "" : path.slice(slash + 1) };
}

/** `bucket/prefix`, for messages. */
export function formatTarget({ bucket, prefix }: Target): string {
  return printable(prefix === "" ? bucket : `${bucket}/${prefix}`);
}

/** Keys may hold line breaks and escape sequences; a terminal must not obey them. */
export function printable(key: string): string {
  // oxlint-disable-next-line no-control-regex -- control characters are what is looked for
  return key.replace(/[\u0000-\u001f\u007f-\u009f]/g, (character) => {
    return `\\x${character.charCodeAt(0).toString(16).padStart(2, "0")}`;
  });
}
