/**
 * S3 errors on the wire: the XML body of an error answer, and telling such a body
 * from a result, because CopyObject and CompleteMultipartUpload may send one
 * under status 200.
 */

import type { S3Error } from "./error.ts";
import { childText, escapeXml, parseXml, rootElementName, XML_DECLARATION } from "./xml.ts";

/** Where and when an error happened; all of it is shown to the client. */
export interface ErrorContext {
  /** The decoded path: bucket and key, or whatever else was asked for. */
  readonly resource: string;
  /** The same id as in `x-amz-request-id`. */
  readonly requestId: string;
  /** The same text as in `x-amz-id-2`. */
  readonly hostId: string;
}

/** The body for an answer of type `application/xml`. */
export function renderErrorXml(error: S3Error, context: ErrorContext): string {
  const elements = {
    Code: error.code,
    Message: error.message,
    ...error.details,
    Resource: context.resource,
    RequestId: context.requestId,
    HostId: context.hostId,
  };
  let body = "";
  for (const [name, text] of Object.entries(elements)) {
    body += `<${name}>${escapeXml(text)}</${name}>`;
  }
  return `${XML_DECLARATION}\n<Error>${body}</Error>`;
}

/** Code and message of an error body; undefined when the text is not one. */
export function parseErrorXml(
  text: string,
): { readonly code: string; readonly message: string } | undefined {
  const document = parseXml(text);
  if (document?.root !== "Error") return undefined;
  const code = childText(document.content, "Code");
  if (code === undefined) return undefined;
  return { code, message: childText(document.content, "Message") ?? "" };
}

/** True when the root element is `Error`; needs only the beginning of the body. */
export function bodyIsError(text: string): boolean {
  return rootElementName(text) === "Error";
}
