/**
 * Preconditions where S3 has its own ideas: conditional writes and deletes, and the
 * conditions a copy sets on its source. Plain reads follow RFC 9110 (http/conditional.ts).
 */

import { evaluatePreconditions, type Validator } from "../http/conditional.ts";
import { formatHttpDate } from "../http/date.ts";
import { Fields } from "../http/fields.ts";
import { type S3Error, s3Error } from "../s3/error.ts";
import { noSuchKey, type ObjectCall, quoted } from "./call.ts";
import type { ObjectRecord } from "./records.ts";

export function validatorOf(object: ObjectRecord): Validator {
  return { etag: quoted(object.etag), lastModified: formatHttpDate(object.modifiedAtMs) };
}

/**
 * Whether a write of this key may replace `current`, or create it when undefined.
 * `If-Match` on nothing is NoSuchKey, as in S3; dates do not condition a write.
 */
export function judgeWrite(
  call: ObjectCall,
  current: ObjectRecord | undefined,
): S3Error | undefined {
  const { fields } = call.inbound;
  if (current === undefined) return fields.has("if-match") ? noSuchKey(call) : undefined;
  return judge(fields, ["if-match", "if-none-match"], current);
}

/** Whether `current` may be deleted; nothing to delete is no failure. */
export function judgeDelete(
  call: ObjectCall,
  current: ObjectRecord | undefined,
): S3Error | undefined {
  const { fields } = call.inbound;
  // Conditions of directory buckets. Not knowing them must not mean deleting anyway.
  for (const name of ["x-amz-if-match-last-modified-time", "x-amz-if-match-size"]) {
    if (fields.has(name)) return s3Error("NotImplemented", { details: { Header: name } });
  }
  return current === undefined ? undefined : judge(fields, ["if-match"], current);
}

/** Whether the source of a copy is what the client expects; otherwise nothing is copied. */
export function judgeCopySource(fields: Fields, source: ObjectRecord): S3Error | undefined {
  const prefix = "x-amz-copy-source-if-";
  const renamed: string[] = [];
  for (const name of fields.names()) {
    if (name.startsWith(prefix)) {
      renamed.push(`if-${name.slice(prefix.length)}`, fields.list(name) ?? "");
    }
  }
  // As a read, so that the dates count; "not modified" means there is nothing to copy.
  return evaluatePreconditions(new Fields(renamed), validatorOf(source), "GET") === "proceed"
    ? undefined
    : s3Error("PreconditionFailed");
}

function judge(
  fields: Fields,
  names: readonly string[],
  current: ObjectRecord,
): S3Error | undefined {
  const considered = names.flatMap((name) => {
    const value = fields.list(name);
    return value === undefined ? [] : [name, value];
  });
  return evaluatePreconditions(new Fields(considered), validatorOf(current), "PUT") === "proceed"
    ? undefined
    : s3Error("PreconditionFailed");
}
