/**
 * Reply bodies that behave badly or slowly: the simulated distance and the body
 * faults, as wrappers around a stream of the body.
 *
 * Without either, a reply keeps its file body and the listener may send it
 * without a byte passing through here.
 */

import { read } from "node:fs";
import { promisify } from "node:util";
import { assert, unreachable } from "../base/assert.ts";
import { type ByteSource, bytesSource } from "../base/byte-source.ts";
import type { Clock } from "../base/clock.ts";
import { GatewayError } from "../base/errors.ts";
import type { FileSlice, ReplyBody } from "../http/exchange.ts";
import type { BodyFault } from "./faults.ts";

const readFile = promisify(read);

const READ_CHUNK_BYTES = 256 * 1024;

/** Length of a body that has one; undefined for a stream of unknown length. */
export function bodyLengthBytes(body: ReplyBody): number | undefined {
  switch (body.kind) {
    case "none":
      return 0;
    case "bytes":
      return body.bytes.length;
    case "file":
      return body.file.lengthBytes;
    case "stream":
      return body.lengthBytes;
    default:
      return unreachable(body);
  }
}

/** The bytes of any body as a source; a file is released when the source is closed or ends. */
export function bodySource(body: ReplyBody): ByteSource {
  switch (body.kind) {
    case "none":
      return bytesSource();
    case "bytes":
      return bytesSource(body.bytes);
    case "file":
      return fileSource(body.file);
    case "stream":
      return body.source;
    default:
      return unreachable(body);
  }
}

/** Reads a slice of an open file piece by piece, and releases it at the end. */
export function fileSource(file: FileSlice): ByteSource {
  let offset = file.offsetBytes;
  const end = file.offsetBytes + file.lengthBytes;
  return {
    async read() {
      if (offset === end) {
        file.release();
        return null;
      }
      const chunk = Buffer.allocUnsafe(Math.min(READ_CHUNK_BYTES, end - offset));
      const { bytesRead } = await readFile(file.descriptor, chunk, 0, chunk.length, offset);
      assert(bytesRead > 0, "a body file is as long as its row says");
      offset += bytesRead;
      return chunk.subarray(0, bytesRead);
    },
    close() {
      offset = end;
      file.release();
    },
  };
}

/**
 * Lets `bytesPerSecond` through on average, in pieces of a twentieth of a second,
 * as a line of that bandwidth would. Waiting ends when the client is gone.
 */
export function throttled(
  source: ByteSource,
  bytesPerSecond: number,
  clock: Clock,
  signal: AbortSignal,
): ByteSource {
  const pieceBytes = Math.max(1, Math.floor(bytesPerSecond / 20));
  let rest: Uint8Array = new Uint8Array(0);
  let dueAtMs: number | undefined;
  return {
    async read() {
      if (rest.length === 0) {
        const chunk = await source.read();
        if (chunk === null) return null;
        rest = chunk;
      }
      const piece = rest.subarray(0, pieceBytes);
      rest = rest.subarray(piece.length);
      const nowMs = clock.monotonicMs();
      // A reader that was slower than the line earns no credit for its pauses.
      dueAtMs = Math.max(dueAtMs ?? nowMs, nowMs) + (piece.length / bytesPerSecond) * 1000;
      if (dueAtMs > nowMs) await clock.sleep(dueAtMs - nowMs, signal);
      return piece;
    },
    close: () => source.close(),
  };
}

/** `source`, a body of `lengthBytes`, with the fault in it. */
export function faulty(
  source: ByteSource,
  fault: BodyFault,
  lengthBytes: number,
  signal: AbortSignal,
): ByteSource {
  const soundBytes = fault.kind === "short-body" ? Math.floor(lengthBytes / 2) : fault.afterBytes;
  let remainingBytes = soundBytes;
  return {
    async read() {
      if (remainingBytes > 0) {
        const chunk = await source.read();
        if (chunk === null) return null;
        const sound = chunk.subarray(0, remainingBytes);
        remainingBytes -= sound.length;
        return sound;
      }
      source.close();
      switch (fault.kind) {
        case "reset":
          throw new GatewayError("upstream_reset", `cut on purpose after ${soundBytes} bytes`);
        case "stall":
          return untilAborted(signal);
        case "short-body":
          return null;
        default:
          return unreachable(fault);
      }
    },
    close: () => source.close(),
  };
}

/** Never resolves; rejects when the client has given up. */
export function untilAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    else signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}
