/**
 * The header of a reply as text: the handler's fields as they are, then `Date` and `Connection`.
 * A value that could end its line early would let whoever wrote it forge a reply, so it is an
 * error here whatever checks came before.
 */

import { STATUS_CODES } from "node:http";

import { isNamed } from "../../http/fields.ts";
import type { RawHeaders } from "../../http/fields.ts";

const NOT_A_TOKEN = /[^\w!#$%&'*+\-.^`|~]/;
const NOT_A_VALUE = /[^\t\x20-\x7e\x80-\xff]/;

export interface ReplyHead {
  readonly status: number;
  readonly headers: RawHeaders;
  /** `Date: …\r\n`, used when the reply brings no date of its own. */
  readonly dateLine: string;
  readonly isLast: boolean;
  readonly isChunked: boolean;
}

/** Latin-1 text, empty line included. Throws when a field cannot be written as one line. */
export function writeHead(head: ReplyHead): string {
  const { status, headers } = head;
  let text = statusLine(status);
  let hasDate = false;
  for (let at = 0; at + 1 < headers.length; at += 2) {
    const name = headers[at] ?? "";
    const value = headers[at + 1] ?? "";
    if (!isName(name) || NOT_A_VALUE.test(value)) {
      throw new Error(`reply field ${JSON.stringify(name)} cannot be written`);
    }
    if (isNamed(name, "date")) hasDate = true;
    text = `${text}${name}: ${value}\r\n`;
  }
  if (!hasDate) text += head.dateLine;
  if (head.isChunked) text += "Transfer-Encoding: chunked\r\n";
  return text + (head.isLast ? "Connection: close\r\n\r\n" : "Connection: keep-alive\r\n\r\n");
}

/** Replies use the same few names over and over; looking one up is a tenth of checking it. */
const knownNames = new Set<string>();
const KNOWN_NAMES_MAX = 1000;

function isName(name: string): boolean {
  if (knownNames.has(name)) return true;
  if (name === "" || NOT_A_TOKEN.test(name)) return false;
  // Metadata names are the users' to choose, so the set has a bound.
  if (knownNames.size < KNOWN_NAMES_MAX) knownNames.add(name);
  return true;
}

const STATUS_LINES = new Map<number, string>();

function statusLine(status: number): string {
  let line = STATUS_LINES.get(status);
  if (line === undefined) {
    if (!Number.isInteger(status) || status < 200 || status > 999) {
      throw new Error(`${status} is not the status of a final reply`);
    }
    line = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? "Unknown"}\r\n`;
    STATUS_LINES.set(status, line);
  }
  return line;
}
