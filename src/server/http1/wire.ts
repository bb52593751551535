/**
 * The sending half of a connection. It hands bytes to the kernel, keeps what the kernel did not
 * take, and makes the sender wait for it: at most one piece is ever held back per connection, and
 * for files not even that, because a file can be read again.
 *
 * A header is written together with the first bytes of its body, in one system call. Both are
 * put together in a scratch buffer shared by all connections, which is safe because between filling and
 * writing it nothing else runs. Whole replies wait in the outbox for the end of the turn.
 */

import type { Socket } from "bun";

import { assert } from "../../base/assert.ts";
import { freeMemory } from "../../base/counted-bytes.ts";
import type { FilePlace } from "../../base/counted-bytes.ts";
import { SENDABLE_BYTES_MIN } from "../../base/sendable-memory.ts";
import { descriptorOf } from "../../base/socket-calls.ts";
import { TurnShare } from "../../base/turn-share.ts";
import type { FileSlice } from "../../http/exchange.ts";
import { clientGone } from "../options.ts";
import { outbox } from "../outbox.ts";
import type { Departing } from "../outbox.ts";
import { CHUNK_BYTES, readChunk, touchByte } from "../pump.ts";
import type { BodySink } from "../pump.ts";
import {
  bytesReady,
  PROBE_STEP_BYTES,
  prefetch,
  readResident,
  sendBefore,
  sendFile,
} from "../../base/page-cache.ts";

/** Room for a header before the body bytes; a longer one is sent on its own. */
const HEAD_BYTES_MAX = 32 * 1024;

/** What goes out of files in one turn of the event loop, over all connections. */
const TURN_BYTES = 1024 * 1024;

/** One connection's helping of that. */
const PIECE_BYTES = 512 * 1024;

/** Files from here on are sent without copying; below, one write with the header is less work. */
const DIRECT_BYTES_MIN = 128 * 1024;

/** What comes along with their header: 4 KiB or 16 cost the same, 64 half as much again (1 MiB, loopback). */
export const FIRST_BYTES = 16 * 1024;

/** Fewer bytes of a file on disk are copied. */
const SENDFILE_BYTES_MIN = 64 * 1024;

/** Of a file that is not in memory so much is asked for at once. */
const PREFETCH_BYTES = 2 * 1024 * 1024;

/** Enough to find out that a socket is full. */
const PROBE_BYTES = 16 * 1024;

/** Room for the size line and the two line ends around a chunk. */
const CHUNK_FRAME_BYTES = 20;

const fileTurns = new TurnShare(TURN_BYTES);

const scratch = Buffer.allocUnsafeSlow(HEAD_BYTES_MAX + CHUNK_BYTES + CHUNK_FRAME_BYTES);

/** How far the sending of a file has come, in bytes of the slice. */
interface FileProgress {
  readonly file: FileSlice;
  offset: number;
  /** Ends of what the disk was asked for and of what was waited for. */
  askedBytes: number;
  awaitedBytes: number;
}

const NOTHING = new Uint8Array(0);
const LAST_CHUNK = Buffer.from("0\r\n\r\n");

export class Wire implements BodySink {
  readonly keepsNothing = true;
  readonly #socket: Socket<unknown>;
  readonly #isPlain: boolean;
  readonly #onBlocked: () => void;
  /** Taken from senders, who now wait for the kernel to take it from us. */
  #unsent: Uint8Array = NOTHING;
  /** Settles when the kernel has taken all of that. */
  #room: PromiseWithResolvers<void> | undefined;
  #isClosed = false;
  #acceptedBytes = 0;

  /**
   * @param isPlain no TLS: what goes into the descriptor is what the client reads
   * @param onBlocked called when a sender begins to wait for the client to read
   */
  constructor(socket: Socket<unknown>, isPlain: boolean, onBlocked: () => void) {
    this.#socket = socket;
    this.#isPlain = isPlain;
    this.#onBlocked = onBlocked;
  }

  /** Bytes the kernel has taken. */
  get acceptedBytes(): number {
    return this.#acceptedBytes;
  }

  /** The kernel takes no more for now, and somebody waits for it. */
  get isBlocked(): boolean {
    return this.#room !== undefined;
  }

  write(chunk: Uint8Array): Promise<void> | undefined {
    const sentBytes = this.#hand(chunk);
    if (sentBytes === chunk.length) return undefined;
    return this.#keep(chunk.subarray(sentBytes));
  }

  /** What waits for the end of the turn goes out now: the connection is about to end. */
  flush(): void {
    outbox.flush();
  }

  /** Header and body; together, at the end of the turn, where they fit. The body must not change until then. */
  writeWithHead(head: string, body: Uint8Array): Promise<void> | undefined {
    if (head === "") return this.write(body);
    if (!fitsTogether(head, body)) return this.#writeApart(head, body);
    if (this.#isClosed) throw clientGone();
    return outbox.defer<void>(head.length + body.length, () => this.writeTogether(head, body));
  }

  /** Calls `departing` at the end of the turn, to write a header and body that fit together. */
  defer(head: string, body: Uint8Array, departing: Departing): void {
    if (this.#isClosed) throw clientGone();
    outbox.add(head.length + body.length, departing);
  }

  /**
   * Header and body, which fit together, now. The body must not change before the promise settles.
   * `inFile`: where else it is until then.
   */
  writeTogether(head: string, body: Uint8Array, inFile?: FilePlace): Promise<void> | undefined {
    if (inFile === undefined || !this.#isPlain) return this.#copyTogether(head, body);
    const bytesMin = inFile.isMemory ? SENDABLE_BYTES_MIN : SENDFILE_BYTES_MIN;
    return body.length < bytesMin
      ? this.#copyTogether(head, body)
      : this.#sendTogether(head, body, inFile);
  }

  /** Without copying, as far as the kernel goes along; the rest by ordinary writes, which tell why it did not. */
  #sendTogether(
    head: string,
    body: Uint8Array,
    { descriptor, offsetBytes, isMemory }: FilePlace,
  ): Promise<void> | undefined {
    if (this.#isClosed) throw clientGone();
    // Pages that are gone would be waited for, and come from the disk unchecked.
    const isThere = isMemory || bytesReady(descriptor, offsetBytes, body.length) === body.length;
    if (!isThere || this.#unsent.length > 0) return this.#copyTogether(head, body);
    const socketDescriptor = descriptorOf(this.#socket);
    const headBytes = scratch.write(head, 0, "latin1");
    const sentHeadBytes = sendBefore(socketDescriptor, scratch, headBytes);
    this.#acceptedBytes += sentHeadBytes;
    if (sentHeadBytes < headBytes) return this.#copyTogether(head.slice(sentHeadBytes), body);
    const sentBytes = sendFile(socketDescriptor, descriptor, offsetBytes, body.length);
    this.#acceptedBytes += sentBytes;
    return sentBytes === body.length ? undefined : this.write(body.subarray(sentBytes));
  }

  #copyTogether(head: string, body: Uint8Array): Promise<void> | undefined {
    const headBytes = scratch.write(head, 0, "latin1");
    scratch.set(body, headBytes);
    const totalBytes = headBytes + body.length;
    const sentBytes = this.#hand(scratch, totalBytes);
    if (sentBytes === totalBytes) return undefined;
    return this.#keep(
      sentBytes >= headBytes
        ? body.subarray(sentBytes - headBytes)
        : Buffer.from(scratch.subarray(sentBytes, totalBytes)),
    );
  }

  /** One chunk of the chunked coding; an empty one would end the body, so it is left out. */
  writeChunk(head: string, chunk: Uint8Array): Promise<void> | undefined {
    if (head !== "" || chunk.length > CHUNK_BYTES) return this.#writeChunks(head, chunk);
    if (chunk.length === 0) return undefined;
    let length = scratch.write(`${chunk.length.toString(16)}\r\n`, 0, "latin1");
    scratch.set(chunk, length);
    length += chunk.length;
    length += scratch.write("\r\n", length, "latin1");
    const sentBytes = this.#hand(scratch, length);
    if (sentBytes === length) return undefined;
    return this.#keep(Buffer.from(scratch.subarray(sentBytes, length)));
  }

  writeLastChunk(): Promise<void> | undefined {
    return this.write(LAST_CHUNK);
  }

  /**
   * A header and part of a file. Pages in memory are sent here and now, others are waited for.
   * What the kernel does not take is fetched again later, so a slow client holds no memory.
   */
  async writeFile(head: string, file: FileSlice): Promise<void> {
    const isSentDirectly = this.#isPlain && file.lengthBytes >= DIRECT_BYTES_MIN;
    const progress: FileProgress = { file, offset: 0, askedBytes: 0, awaitedBytes: 0 };
    if (head.length > HEAD_BYTES_MAX) await this.write(Buffer.from(head, "latin1"));
    else {
      // The header waits in a buffer that is everybody's, so nothing is waited for before it is sent.
      const headBytes = scratch.write(head, 0, "latin1");
      await this.#sendCopy(progress, headBytes, isSentDirectly ? FIRST_BYTES : CHUNK_BYTES);
    }
    while (progress.offset < file.lengthBytes) {
      const missingBytes = file.lengthBytes - progress.offset;
      const turn = fileTurns.enter(Math.min(PIECE_BYTES, missingBytes));
      if (turn !== undefined) await turn;
      if (!isSentDirectly || missingBytes < SENDFILE_BYTES_MIN) {
        await this.#sendCopy(progress, 0, CHUNK_BYTES);
      } else {
        const copiedBytesMax = await this.#sendPages(progress, Math.min(PIECE_BYTES, missingBytes));
        if (copiedBytesMax > 0) await this.#sendCopy(progress, 0, copiedBytesMax);
      }
    }
    assert(progress.offset === file.lengthBytes, "a slice is sent to its end and not beyond");
  }

  /** The kernel has room: gives it what was kept, then wakes who waits. True when it took any. */
  onDrain(): boolean {
    const before = this.#unsent.length;
    if (before > 0) {
      const sentBytes = this.#give(this.#unsent);
      this.#unsent = sentBytes === before ? NOTHING : this.#unsent.subarray(sentBytes);
    }
    if (this.#unsent.length > 0) return this.#unsent.length < before;
    const room = this.#room;
    this.#room = undefined;
    room?.resolve();
    return true;
  }

  onClose(): void {
    this.#isClosed = true;
    this.#unsent = NOTHING;
    const room = this.#room;
    this.#room = undefined;
    room?.reject(clientGone());
  }

  /**
   * From the page cache to the socket by sendfile, up to `wantedBytes`; first it waits for the disk where it
   * has to. Answers how many of the next bytes are to be copied instead; 0: none.
   */
  #sendPages(progress: FileProgress, wantedBytes: number): number | Promise<number> {
    const { file, offset } = progress;
    const from = file.offsetBytes + offset;
    const readyBytes = bytesReady(file.descriptor, from, wantedBytes);
    // The system cannot tell; or what was waited for is gone again: a copy can wait for the disk.
    if (readyBytes === undefined) return CHUNK_BYTES;
    if (readyBytes === 0) {
      if (progress.awaitedBytes > offset) return CHUNK_BYTES;
      if (progress.askedBytes <= offset) progress.askedBytes = offset + askForPages(file, offset);
      progress.awaitedBytes = offset + Math.min(PROBE_STEP_BYTES, wantedBytes);
      return touchByte(file, progress.awaitedBytes - 1).then(() => 0);
    }
    if (this.#isClosed) throw clientGone();
    if (this.#unsent.length > 0) return CHUNK_BYTES;
    const sentBytes = sendFile(descriptorOf(this.#socket), file.descriptor, from, readyBytes);
    this.#acceptedBytes += sentBytes;
    progress.offset += sentBytes;
    if (sentBytes === readyBytes) return 0;
    // The socket is full. An ordinary write says so too, and makes Bun tell us when it is not.
    return sentBytes > 0 ? PROBE_BYTES : CHUNK_BYTES;
  }

  /**
   * A copy of the next bytes, at most `bytesMax`, behind the header if the buffer begins with one. Hands them to
   * the kernel before it returns, when they are in memory.
   */
  async #sendCopy(progress: FileProgress, headBytes: number, bytesMax: number): Promise<void> {
    const { file, offset } = progress;
    const from = file.offsetBytes + offset;
    // Of what is missing now: sendfile may have taken all but a few bytes of it.
    const count = Math.min(bytesMax, file.lengthBytes - offset);
    const readBytes = readResident(file.descriptor, scratch, headBytes, count, from);
    if (readBytes === 0) {
      progress.offset += await this.#writeFromDisk(headBytes, file, offset, count);
      return;
    }
    const totalBytes = headBytes + readBytes;
    const sentBytes = this.#hand(scratch, totalBytes);
    progress.offset += Math.max(0, sentBytes - headBytes);
    if (sentBytes === totalBytes) return;
    // Of the file nothing is kept: it will be read again. The header is all there is.
    await this.#keep(Buffer.from(scratch.subarray(sentBytes, Math.max(sentBytes, headBytes))));
  }

  async #writeFromDisk(
    headBytes: number,
    file: FileSlice,
    offset: number,
    count: number,
  ): Promise<number> {
    // The scratch buffer is not ours while we wait: the header comes along in the chunk.
    const head = Buffer.from(scratch.subarray(0, headBytes));
    const chunk = await readChunk(file, offset, head, count);
    const bodyBytes = chunk.length - headBytes;
    await this.write(chunk);
    freeMemory(chunk);
    return bodyBytes;
  }

  async #writeChunks(head: string, chunk: Uint8Array): Promise<void> {
    if (head !== "") await this.write(Buffer.from(head, "latin1"));
    for (let at = 0; at < chunk.length; at += CHUNK_BYTES) {
      await this.writeChunk("", chunk.subarray(at, at + CHUNK_BYTES));
    }
  }

  async #writeApart(head: string, body: Uint8Array): Promise<void> {
    await this.write(Buffer.from(head, "latin1"));
    await this.write(body);
  }

  /** What the kernel takes of the first `length` bytes now; nothing while older bytes wait for it. */
  #hand(bytes: Uint8Array, length = bytes.length): number {
    return this.#unsent.length > 0 ? 0 : this.#give(bytes, length);
  }

  #give(bytes: Uint8Array, length = bytes.length): number {
    if (this.#isClosed) throw clientGone();
    const sentBytes = this.#socket.write(bytes, 0, length);
    if (sentBytes < 0) throw clientGone();
    this.#acceptedBytes += sentBytes;
    return sentBytes;
  }

  /** Keeps what the kernel did not take; resolves when there is room for more. */
  #keep(rest: Uint8Array): Promise<void> {
    this.#unsent = this.#unsent.length === 0 ? rest : Buffer.concat([this.#unsent, rest]);
    if (this.#room === undefined) {
      this.#room = Promise.withResolvers();
      this.#onBlocked();
    }
    return this.#room.promise;
  }
}

/**
 * Makes the kernel begin to read a file into memory by itself; a thread that copied would take the processor
 * from everybody else. Returns how many bytes from `offset` on were asked for.
 */
function askForPages(file: FileSlice, offset: number): number {
  const count = Math.min(PREFETCH_BYTES, file.lengthBytes - offset);
  prefetch(file.descriptor, file.offsetBytes + offset, count);
  return count;
}

/** Whether header and body go out in one write. */
export function fitsTogether(head: string, body: Uint8Array): boolean {
  return head.length <= HEAD_BYTES_MAX && body.length <= CHUNK_BYTES;
}
