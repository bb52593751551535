/**
 * Reads answers off a connection: how many bytes are missing, and what the header says. It looks at
 * no more than it must, because its cost is part of every measurement.
 */

/** An answer being received on one connection. */
export class AnswerReader {
  /** Header text so far; complete when `isInBody`. */
  #head = "";
  #isInBody = false;
  /** Bytes still to come; undefined while the body is chunked. */
  #missingBytes = 0;
  #chunked: ChunkCounter | undefined;
  status = 0;
  /** The header was read and `isHit` means something. */
  isRead = false;
  isHit = false;
  bodyBytes = 0;

  begin(): void {
    this.#head = "";
    this.#isInBody = false;
    this.#missingBytes = 0;
    this.#chunked = undefined;
    this.status = 0;
    this.isRead = this.isHit = false;
    this.bodyBytes = 0;
  }

  /** True while not one byte of the answer has come. */
  get isUntouched(): boolean {
    return !this.#isInBody && this.#head === "";
  }

  /**
   * Whether `bytes` are an answer of the expected status and size, complete and nothing else: the
   * header ends exactly where the body has to begin. That is how small answers nearly always come,
   * and seeing it costs a fifth of reading the header.
   */
  isWholeAnswer(bytes: Buffer, status: number, sizeBytes: number): boolean {
    const bodyAt = bytes.length - sizeBytes;
    if (!this.isUntouched || bodyAt < SHORTEST_HEAD_BYTES) return false;
    if (bytes.readUInt32BE(bodyAt - 4) !== CRLF_CRLF) return false;
    this.status = statusIn(bytes);
    if (this.status !== status) return false;
    this.bodyBytes = sizeBytes;
    return true;
  }

  /**
   * Takes what was received and says whether the answer is complete. Throws when it is no answer the
   * generator understands, or when bytes follow it that nobody asked for.
   */
  push(bytes: Buffer, isHead: boolean): boolean {
    if (this.#isInBody) return this.#pushBody(bytes, 0);
    const from = this.#head.length;
    const end = from === 0 ? bytes.indexOf("\r\n\r\n") : -1;
    if (end === -1) return this.#pushSplitHead(bytes, isHead);
    this.#head = bytes.toString("latin1", 0, end + 4);
    this.#readHead(isHead);
    return this.#pushBody(bytes, end + 4);
  }

  /** The rare case of a header that comes in pieces. */
  #pushSplitHead(bytes: Buffer, isHead: boolean): boolean {
    const before = this.#head.length;
    this.#head += bytes.toString("latin1", 0, Math.min(bytes.length, 64 * 1024));
    const end = this.#head.indexOf("\r\n\r\n");
    if (end === -1) return false;
    this.#head = this.#head.slice(0, end + 4);
    this.#readHead(isHead);
    return this.#pushBody(bytes, end + 4 - before);
  }

  #readHead(isHead: boolean): void {
    const head = this.#head;
    this.#isInBody = true;
    this.status = Number(head.slice(9, 12));
    this.isRead = true;
    this.isHit = HIT.test(head);
    if (isHead || this.status === 304) return;
    const length = CONTENT_LENGTH.exec(head)?.[1];
    if (length !== undefined) this.#missingBytes = Number(length);
    else if (CHUNKED.test(head)) this.#chunked = new ChunkCounter();
    else throw new Error(`an answer without framing: ${head.slice(0, 200)}`);
  }

  #pushBody(bytes: Buffer, from: number): boolean {
    if (this.#chunked !== undefined) {
      const isDone = this.#chunked.push(bytes, from);
      this.bodyBytes = this.#chunked.dataBytes;
      return isDone;
    }
    const count = bytes.length - from;
    this.#missingBytes -= count;
    this.bodyBytes += count;
    if (this.#missingBytes < 0) throw new Error("more bytes than the answer announced");
    return this.#missingBytes === 0;
  }
}

const SHORTEST_HEAD_BYTES = "HTTP/1.1 200 OK\r\n\r\n".length;
const CRLF_CRLF = 0x0d0a0d0a;

/** The three digits behind `HTTP/1.1 `. */
function statusIn(bytes: Buffer): number {
  const digit = (at: number): number => (bytes[at] ?? 0) - 0x30;
  return digit(9) * 100 + digit(10) * 10 + digit(11);
}

const CONTENT_LENGTH = /\r\ncontent-length: *(\d+)/i;
const CHUNKED = /\r\ntransfer-encoding: *chunked/i;
const HIT = /\r\nx-cache: *hit/i;

const LF = 10;

/** Finds the end of a chunked body and counts its data (RFC 9112 §7.1); trusts the server. */
class ChunkCounter {
  dataBytes = 0;
  #line = "";
  /** Data and its CRLF still to come. */
  #skip = 0;
  #isLast = false;

  push(bytes: Buffer, from: number): boolean {
    let at = from;
    while (at < bytes.length) {
      if (this.#skip > 0) {
        const step = Math.min(this.#skip, bytes.length - at);
        this.#skip -= step;
        at += step;
        continue;
      }
      const end = bytes.indexOf(LF, at);
      this.#line += bytes.toString("latin1", at, end === -1 ? bytes.length : end + 1);
      if (end === -1) return false;
      at = end + 1;
      const line = this.#line.trimEnd();
      this.#line = "";
      if (this.#isLast) {
        if (line === "") return true;
        continue;
      }
      const size = Number.parseInt(line, 16);
      if (size === 0) this.#isLast = true;
      else {
        this.dataBytes += size;
        this.#skip = size + 2;
      }
    }
    return false;
  }
}
