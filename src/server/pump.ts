/**
 * Moving a reply's body into a connection: chunk by chunk, no faster than the client
 * reads, and never a byte more or less than was declared. Shared by the listeners that
 * hand chunks to a socket themselves.
 */

import { read } from "node:fs";

import { GatewayError } from "../base/errors.ts";
import type { ByteSource } from "../base/byte-source.ts";
import type { FileSlice } from "../http/exchange.ts";
import { readResident } from "../base/page-cache.ts";

/** The connection as a place for body bytes. */
export interface BodySink {
  /**
   * Hands one chunk over. Undefined: there is room for the next one. A promise: wait for it
   * first; it rejects when the client is gone or stalled.
   */
  write(chunk: Uint8Array): Promise<void> | undefined;
  /** Whether a chunk is with the kernel once there is room for the next one; else it may lie in some queue. */
  readonly keepsNothing: boolean;
}

/** Largest piece handed to a socket at once: enough to amortise a system call. */
export const CHUNK_BYTES = 256 * 1024;

const NOTHING = new Uint8Array(0);

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
    if (sink.keepsNothing) source.release?.(chunk);
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
 * Sends a slice of an open file from `sentBytes` on. What is in memory is read at once; what has to
 * come from the disk is read by the thread pool, so a cold page costs this request time and not the
 * others. Does not release the slice.
 */
export async function pumpFile(file: FileSlice, sentBytes: number, sink: BodySink): Promise<void> {
  for (let offset = sentBytes; offset < file.lengthBytes;) {
    const chunk = readChunkNow(file, offset) ?? (await readChunk(file, offset));
    offset += chunk.length;
    const blocked = sink.write(chunk);
    if (blocked !== undefined) await blocked;
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

/** All of a slice in one piece, from memory or from the disk. */
export async function readWhole(file: FileSlice): Promise<Uint8Array> {
  const whole = Buffer.allocUnsafeSlow(file.lengthBytes);
  for (let filled = 0; filled < whole.length;) {
    const chunk = readChunkNow(file, filled) ?? (await readChunk(file, filled));
    whole.set(chunk, filled);
    filled += chunk.length;
  }
  return whole;
}

/**
 * The bytes of a slice from `offset` on as far as they are in memory, at most `limitBytes`;
 * undefined when the first one is not, or when the system cannot tell.
 */
export function readChunkNow(
  file: FileSlice,
  offset: number,
  limitBytes: number = CHUNK_BYTES,
): Uint8Array | undefined {
  const count = Math.min(limitBytes, file.lengthBytes - offset);
  if (count === 0) return NOTHING;
  const chunk = Buffer.allocUnsafeSlow(count);
  const from = file.offsetBytes + offset;
  const readBytes = readResident(file.descriptor, chunk, 0, count, from);
  return readBytes === 0 ? undefined : chunk.subarray(0, readBytes);
}

/**
 * The bytes of a slice from `offset` on, at most `limitBytes` and never none, read by the thread
 * pool into memory of their own, behind a copy of `prefix`.
 */
export function readChunk(
  file: FileSlice,
  offset: number,
  prefix: Uint8Array = NOTHING,
  limitBytes: number = CHUNK_BYTES,
): Promise<Uint8Array> {
  const count = Math.min(limitBytes, file.lengthBytes - offset);
  const chunk = Buffer.allocUnsafeSlow(prefix.length + count);
  chunk.set(prefix);
  return new Promise((resolve, reject) => {
    const from = file.offsetBytes + offset;
    read(file.descriptor, chunk, prefix.length, count, from, (error, readBytes) => {
      if (error !== null) {
        reject(new GatewayError("storage_io", `read of ${file.path} failed`, { cause: error }));
      } else if (readBytes === 0) reject(endedEarly(file));
      else resolve(readBytes === count ? chunk : chunk.subarray(0, prefix.length + readBytes));
    });
  });
}

/** Resolves when the byte of a slice at `offset` was read by the thread pool: it is in memory then. */
export function touchByte(file: FileSlice, offset: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const byte = new Uint8Array(1);
    read(file.descriptor, byte, 0, 1, file.offsetBytes + offset, (error, readBytes) => {
      if (error !== null) {
        reject(new GatewayError("storage_io", `read of ${file.path} failed`, { cause: error }));
      } else if (readBytes === 0) reject(endedEarly(file));
      else resolve();
    });
  });
}

function endedEarly(file: FileSlice): GatewayError {
  return new GatewayError("corrupt_entry", `${file.path} ends inside an entry`);
}
