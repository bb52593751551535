/**
 * Moving a reply's body into a connection: chunk by chunk, no faster than the client
 * reads, and never a byte more or less than was declared. Shared by the listeners that
 * hand chunks to a socket themselves.
 */

import { read, readSync } from "node:fs";

import { GatewayError } from "../base/errors.ts";
import type { ByteSource } from "../base/byte-source.ts";
import type { FileSlice } from "../http/exchange.ts";

/** The connection as a place for body bytes. */
export interface BodySink {
  /**
   * Hands one chunk over. Undefined: there is room for the next one. A promise: wait for it
   * first; it rejects when the client is gone or stalled.
   */
  write(chunk: Uint8Array): Promise<void> | undefined;
}

/** Largest piece handed to a socket at once: enough to amortise a system call. */
export const CHUNK_BYTES = 256 * 1024;

/**
 * Sends everything `source` has. Throws what the source or the sink throws, and
 * `upstream_wrong_length` when the source ends before or goes beyond `lengthBytes`; the
 * caller then cuts the connection. Does not close the source.
 */
export async function pumpSource(
  source: ByteSource,
  lengthBytes: number | undefined,
  sink: BodySink,
): Promise<void> {
  let sentBytes = 0;
  for (;;) {
    const chunk = await source.read();
    if (chunk === null) break;
    sentBytes += chunk.length;
    if (lengthBytes !== undefined && sentBytes > lengthBytes)
      throw wrongLength(lengthBytes, sentBytes);
    const blocked = sink.write(chunk);
    if (blocked !== undefined) await blocked;
  }
  if (lengthBytes !== undefined && sentBytes < lengthBytes)
    throw wrongLength(lengthBytes, sentBytes);
}

export function wrongLength(lengthBytes: number, actualBytes: number): GatewayError {
  const relation = actualBytes > lengthBytes ? "more" : "fewer";
  return new GatewayError("upstream_wrong_length", `${relation} than ${lengthBytes} bytes came`);
}

/** Sends bytes already in memory in bounded pieces, so that no socket copies all of them. */
export async function pumpBytes(bytes: Uint8Array, sink: BodySink): Promise<void> {
  for (let offset = 0; offset < bytes.length; offset += CHUNK_BYTES) {
    const blocked = sink.write(bytes.subarray(offset, offset + CHUNK_BYTES));
    if (blocked !== undefined) await blocked;
  }
}

/**
 * Sends a slice of an open file from `sentBytes` on, by positional reads in the thread pool:
 * a cold page costs this request time, not the others. The next chunk is read while the last
 * one drains. Does not release the slice.
 */
export async function pumpFile(file: FileSlice, sentBytes: number, sink: BodySink): Promise<void> {
  if (sentBytes === file.lengthBytes) return;
  let offset = sentBytes;
  let next = readChunk(file, offset);
  for (;;) {
    const chunk = await next;
    offset += chunk.length;
    if (offset === file.lengthBytes) return sink.write(chunk);
    next = readChunk(file, offset);
    // Both are awaited even when the sink fails: the descriptor may be closed and
    // given to another file as soon as we return, so no read may still be under way.
    const [sent] = await Promise.allSettled([sink.write(chunk), next]);
    if (sent.status === "rejected") throw sent.reason;
  }
}

/** A slice as a source, chunk by chunk through the thread pool. Does not release the slice. */
export function fileSource(file: FileSlice): ByteSource {
  let offset = 0;
  return {
    async read() {
      if (offset >= file.lengthBytes) return null;
      const chunk = await readChunk(file, offset);
      offset += chunk.length;
      return chunk;
    },
    close() {
      offset = file.lengthBytes;
    },
  };
}

/** The first chunk of a slice, read on this thread: for small bodies that is the whole of it. */
export function readFirstChunk(file: FileSlice, limitBytes: number): Uint8Array {
  const chunk = Buffer.allocUnsafe(Math.min(file.lengthBytes, limitBytes));
  let filled = 0;
  while (filled < chunk.length) {
    const count = readSync(
      file.descriptor,
      chunk,
      filled,
      chunk.length - filled,
      file.offsetBytes + filled,
    );
    if (count === 0) throw endedEarly(file);
    filled += count;
  }
  return chunk;
}

function readChunk(file: FileSlice, offset: number): Promise<Uint8Array> {
  const chunk = Buffer.allocUnsafeSlow(Math.min(CHUNK_BYTES, file.lengthBytes - offset));
  return new Promise((resolve, reject) => {
    read(file.descriptor, chunk, 0, chunk.length, file.offsetBytes + offset, (error, count) => {
      if (error !== null) {
        reject(new GatewayError("storage_io", `read of ${file.path} failed`, { cause: error }));
      } else if (count === 0) reject(endedEarly(file));
      else resolve(count === chunk.length ? chunk : chunk.subarray(0, count));
    });
  });
}

function endedEarly(file: FileSlice): GatewayError {
  return new GatewayError("corrupt_entry", `${file.path} ends inside an entry`);
}
