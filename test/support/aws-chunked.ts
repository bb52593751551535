/**
 * Makes aws-chunked bodies the slow, obvious way: whole buffers and node:crypto, no
 * code shared with src/s3, so that the decoder is tested against a second opinion.
 */

import { createHash, createHmac } from "node:crypto";

export interface ChunkedBodySigning {
  readonly key: Uint8Array;
  readonly seedSignature: string;
  readonly timestamp: string;
  readonly scope: string;
}

export interface ChunkedBody {
  /** Data of each chunk; the closing chunk of size 0 is added. */
  readonly chunks: readonly (string | Uint8Array)[];
  readonly signing?: ChunkedBodySigning;
  /** `[name, value]` in order; with `signing` the trailer is signed too. */
  readonly trailers?: readonly (readonly [string, string])[];
}

const sha256 = (bytes: Uint8Array | string): string =>
  createHash("sha256").update(bytes).digest("hex");

/** The framed bytes of a body. */
export function chunkedBody(body: ChunkedBody): Uint8Array {
  const { signing } = body;
  let previous = signing?.seedSignature ?? "";
  const sign = (kind: string, hashes: string): string => {
    if (signing === undefined) return "";
    const text = `AWS4-HMAC-SHA256-${kind}\n${signing.timestamp}\n${signing.scope}\n${previous}\n${hashes}`;
    previous = createHmac("sha256", signing.key).update(text).digest("hex");
    return previous;
  };
  const pieces: Uint8Array[] = [];
  for (const chunk of [...body.chunks, ""]) {
    const data = Buffer.from(chunk);
    const signature = sign("PAYLOAD", `${sha256("")}\n${sha256(data)}`);
    const extension = signing === undefined ? "" : `;chunk-signature=${signature}`;
    pieces.push(Buffer.from(`${data.length.toString(16)}${extension}\r\n`), data);
    if (data.length > 0) pieces.push(Buffer.from("\r\n"));
  }
  const trailers = body.trailers ?? [];
  for (const [name, value] of trailers) pieces.push(Buffer.from(`${name}:${value}\r\n`));
  if (signing !== undefined && body.trailers !== undefined) {
    const text = trailers.map(([name, value]) => `${name}:${value}\n`).join("");
    pieces.push(Buffer.from(`x-amz-trailer-signature:${sign("TRAILER", sha256(text))}\r\n`));
  }
  pieces.push(Buffer.from("\r\n"));
  return Buffer.concat(pieces);
}

/** `bytes` cut into pieces of `sizeBytes`, as a socket might deliver them. */
export function piecesOf(bytes: Uint8Array, sizeBytes: number): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += sizeBytes)
    pieces.push(bytes.subarray(at, at + sizeBytes));
  return pieces;
}
