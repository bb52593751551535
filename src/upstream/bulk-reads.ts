/**
 * Large bodies, taken from the kernel when their reader wants the next piece.
 *
 * Left to itself Bun reads every socket that has something as soon as it has, up to 512 KiB each, into one
 * buffer, and hands out a copy. With eight objects on their way those are 4 MiB in one turn of the event loop, and
 * every small request waits for all of them, whatever is said later about when to handle them. So the socket
 * of a large body is paused, and its exchange reads it: no copy, a bounded number of bytes per turn by all of them
 * together, and each piece is still in the processor's cache when it is summed, stored and sent.
 */

import { freeMemory } from "../base/counted-bytes.ts";
import { GatewayError } from "../base/errors.ts";
import { receive } from "../base/socket-calls.ts";
import { TurnShare } from "../base/turn-share.ts";

const KIB = 1024;
/** The fewer bodies, the larger the pieces: each costs its way through the program, whatever its length. */
const PIECES_BYTES = 512 * KIB;
/** Small requests wait for half of one on average. */
const PIECE_BYTES_MIN = 128 * KIB;

export class BulkReads {
  /** Asked before a piece is read: a turn of the event loop is for one. */
  readonly turns = new TurnShare(1);
  /** Bodies that are read like this. */
  #bodyCount = 0;
  #spare: Buffer | undefined;

  /** One more body is read like this, until `leave`. */
  enter(): void {
    this.#bodyCount += 1;
  }

  leave(): void {
    this.#bodyCount -= 1;
  }

  /** Length of the pieces just now. */
  get pieceBytes(): number {
    const share = Math.floor(PIECES_BYTES / Math.max(1, this.#bodyCount));
    return Math.max(PIECE_BYTES_MIN, share);
  }

  /**
   * What has come for a socket, at most `pieceBytes`, in memory that nobody else uses. Undefined when nothing has, or
   * nothing will any more: Bun knows which, once the socket goes on. Throws when the connection failed.
   */
  read(descriptor: number): Buffer | undefined {
    const buffer = this.#takeSpare();
    const count = receive(descriptor, buffer);
    if (count * 2 >= buffer.length) return buffer.subarray(0, count);
    // A buffer is not spent on a few bytes: its readers count them, not it.
    this.#spare = buffer;
    if (count < 0) throw new GatewayError("upstream_reset", "upstream broke the connection");
    return count === 0 ? undefined : copyOf(buffer.subarray(0, count));
  }

  #takeSpare(): Buffer {
    const { pieceBytes } = this;
    const spare = this.#spare;
    this.#spare = undefined;
    if (spare?.length === pieceBytes) return spare;
    if (spare !== undefined) freeMemory(spare);
    return Buffer.allocUnsafeSlow(pieceBytes);
  }
}

/** In a buffer of its own, which is freed with it; `Buffer.from` cuts small ones out of a common one. */
function copyOf(bytes: Uint8Array): Buffer {
  const copy = Buffer.allocUnsafeSlow(bytes.length);
  copy.set(bytes);
  return copy;
}
