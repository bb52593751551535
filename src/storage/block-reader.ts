/**
 * Reads of the file tier: checks what was not checked yet, then hands out file slices.
 *
 * A block is compared with its checksum once per run of the process; after that the page
 * cache is trusted, as the kernel is trusted with everything else. The check reads whole
 * blocks, so what a range costs is its own length plus at most two blocks.
 */

import type { BufferPool } from "../base/buffer-pool.ts";
import type { ByteSource } from "../base/byte-source.ts";
import { GatewayError } from "../base/errors.ts";
import type { FileSlice } from "../http/exchange.ts";
import type { ByteRange } from "../http/range.ts";
import type { BlockFiles, FileBody } from "./block-files.ts";
import type { OpenFile } from "./open-files.ts";
import type { StoredBody } from "./storage.ts";

/** Up to this, bytes just read for checking are handed out instead of a slice. */
const SMALL_BYTES = 256 * 1024;

/** The bytes, or why there are none. */
export type FileRead = StoredBody | "missing" | "damaged" | Unreadable;

/** The file could not be opened or read; whether that is its own fault, the error says. */
export interface Unreadable {
  readonly kind: "unreadable";
  readonly error: unknown;
}

export class FileReader {
  readonly #files: BlockFiles;
  readonly #checking: BufferPool;

  /** `checking`: buffers for blocks that are only checked, as many at a time as fit in one. */
  constructor(files: BlockFiles, checking: BufferPool) {
    this.#files = files;
    this.#checking = checking;
  }

  /**
   * The bytes `[start, end)` of a body, not empty. Synchronous when all of them were
   * checked before. Rejects never.
   */
  read(body: FileBody, range: ByteRange): FileRead | Promise<FileRead> {
    const { blockBytes } = body.layout;
    const first = Math.floor(range.start / blockBytes);
    const last = Math.floor((range.end - 1) / blockBytes);
    let isChecked = true;
    for (let block = first; block <= last; block += 1) {
      if (!body.isPresent(block)) return "missing";
      isChecked &&= body.isChecked(block);
    }
    if (isChecked) return this.#handOut(body, range);
    return this.#check(body, range, first, last);
  }

  /** The bytes of a short range, in memory and checked. Rejects with `corrupt_entry`. */
  async bytes(body: FileBody, range: ByteRange): Promise<Uint8Array> {
    const { blockBytes } = body.layout;
    const last = Math.floor((range.end - 1) / blockBytes);
    const read = await this.#check(body, range, Math.floor(range.start / blockBytes), last);
    if (typeof read !== "string" && read.kind === "bytes") return read.bytes;
    if (typeof read !== "string" && read.kind === "file") read.file.release();
    throw new GatewayError("corrupt_entry", "stored blocks are not what was written");
  }

  async #check(body: FileBody, range: ByteRange, first: number, last: number): Promise<FileRead> {
    const { blockBytes, sizeBytes } = body.layout;
    const spanStart = first * blockBytes;
    const spanEnd = Math.min(sizeBytes, (last + 1) * blockBytes);
    const stepBytes = Math.max(this.#checking.bufferBytes, blockBytes);
    const isHandedOut = range.end - range.start <= SMALL_BYTES && spanEnd - spanStart <= stepBytes;
    const isBorrowed = !isHandedOut && stepBytes === this.#checking.bufferBytes;
    const target = this.#files.source(body.layout);
    try {
      for (let at = spanStart; at < spanEnd; at += stepBytes) {
        const stretchBytes = Math.min(stepBytes, spanEnd - at);
        const buffer = isBorrowed ? await this.#checking.borrow() : new Uint8Array(stretchBytes);
        try {
          const bytes = buffer.subarray(0, stretchBytes);
          if ((await target.read(bytes, at)) !== bytes.length) return "damaged";
          if (!areIntact(body, bytes, at)) return "damaged";
          if (isHandedOut) {
            return {
              kind: "bytes",
              bytes: bytes.subarray(range.start - spanStart, range.end - spanStart),
            };
          }
        } finally {
          if (isBorrowed) this.#checking.give(buffer);
        }
      }
      return this.#handOut(body, range);
    } catch (error) {
      return { kind: "unreadable", error };
    } finally {
      target.close();
    }
  }

  /** A slice of the file, or a stream over several chunk files. */
  #handOut(body: FileBody, range: ByteRange): FileRead {
    const { chunkBytes } = body.layout;
    try {
      if (Math.floor(range.start / chunkBytes) === Math.floor((range.end - 1) / chunkBytes)) {
        return { kind: "file", file: this.#slice(body, range) };
      }
      return { kind: "stream", source: this.#stream(body, range) };
    } catch (error) {
      return { kind: "unreadable", error };
    }
  }

  #slice(body: FileBody, range: ByteRange): FileSlice {
    const { chunkBytes } = body.layout;
    const chunk = Math.floor(range.start / chunkBytes);
    const open = this.#files.acquire(body.layout, chunk);
    const offsetBytes = range.start - chunk * chunkBytes;
    const lengthBytes = range.end - range.start;
    // Somebody may have cut the file since its blocks were checked; one fstat is cheap.
    if (open.file.sizeBytes() < offsetBytes + lengthBytes) {
      open.release();
      throw new RangeError("the file is shorter than its blocks");
    }
    return {
      descriptor: open.file.descriptor,
      path: open.file.path,
      offsetBytes,
      lengthBytes,
      release: () => open.release(),
    };
  }

  /** Over several files, all opened now: a body in use stays readable when its entry goes. */
  #stream(body: FileBody, range: ByteRange): ByteSource {
    const { chunkBytes } = body.layout;
    const firstChunk = Math.floor(range.start / chunkBytes);
    const lastChunk = Math.floor((range.end - 1) / chunkBytes);
    const open: OpenFile[] = [];
    const release = (): void => {
      for (const file of open.splice(0)) file.release();
    };
    try {
      for (let chunk = firstChunk; chunk <= lastChunk; chunk += 1) {
        open.push(this.#files.acquire(body.layout, chunk));
      }
    } catch (error) {
      release();
      throw error;
    }
    let at = range.start;
    return {
      async read() {
        if (at >= range.end) {
          release();
          return null;
        }
        const chunk = Math.floor(at / chunkBytes);
        const file = open[chunk - firstChunk];
        const length = Math.min(SMALL_BYTES, range.end - at, (chunk + 1) * chunkBytes - at);
        const bytes = new Uint8Array(length);
        if ((await file?.file.read(bytes, at - chunk * chunkBytes)) !== length) {
          throw new GatewayError("corrupt_entry", "a file is shorter than its blocks");
        }
        at += length;
        return bytes;
      },
      close() {
        at = range.end;
        release();
      },
    };
  }
}

/** Compares whole blocks, the first of which begins at `at` of the body, with their CRCs, and notes them. */
function areIntact(body: FileBody, bytes: Uint8Array, at: number): boolean {
  const { blockBytes } = body.layout;
  for (let offset = 0; offset < bytes.length; offset += blockBytes) {
    const block = (at + offset) / blockBytes;
    if (Bun.hash.crc32(bytes.subarray(offset, offset + blockBytes)) !== body.crcOf(block)) {
      return false;
    }
    body.markChecked(block);
  }
  return true;
}
