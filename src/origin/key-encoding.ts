/**
 * `encoding-type=url`: keys in listings percent-encoded, because XML 1.0 cannot hold
 * every character a key may have.
 */

import { encodePath } from "../http/raw-target.ts";
import { type S3Error, s3Error } from "../s3/error.ts";
import { type BucketCall, parameter } from "./call.ts";

export interface KeyEncoding {
  /** Value of the `EncodingType` element; undefined when keys are written as they are. */
  readonly name: "url" | undefined;
  encode(text: string): string;
}

const PLAIN: KeyEncoding = { name: undefined, encode: (text) => text };
const URL_ENCODED: KeyEncoding = { name: "url", encode: encodePath };

/** The encoding a listing asks for. */
export function encodingOf(call: BucketCall): KeyEncoding | S3Error {
  switch (parameter(call, "encoding-type").toLowerCase()) {
    case "":
      return PLAIN;
    case "url":
      return URL_ENCODED;
    default:
      return s3Error("InvalidArgument", {
        message: "Invalid Encoding Method specified in Request",
        details: { ArgumentName: "encoding-type" },
      });
  }
}
