/**
 * The chunked transfer coding (RFC 9112 §7.1), decoded as it arrives. Chunk extensions and
 * trailers are checked and dropped: nothing here acts on them. Strict for the same reason as
 * head-parser.ts: a second reading of the framing is a second request for somebody else.
 */

/** Longest line accepted: a size with extensions, or a trailer field. */
const LINE_BYTES_MAX = 4096;
/** All trailers together. */
const TRAILER_BYTES_MAX = 16 * 1024;

// chunk-size [ chunk-ext ]; thirteen digits keep every size below 2^53. The grammar would allow
// blanks in extensions; nobody sends them but those who try what two parsers make of them.
const SIZE_LINE = /^([\da-fA-F]{1,13})(?:;[\x21-\x7e]*)?$/;
const TRAILER_LINE = /^[\w!#$%&'*+\-.^`|~]+:[\t\x20-\x7e\x80-\xff]*$/;

const CR = 13;
const LF = 10;

/** Why a chunked body was refused. */
export class ChunkedError extends Error {}

type State = "size" | "data" | "data-end" | "trailer" | "done";

export class ChunkedDecoder {
  #state: State = "size";
  #line = "";
  #missingBytes = 0;
  #trailerBytes = 0;

  get isDone(): boolean {
    return this.#state === "done";
  }

  /**
   * Takes bytes, gives the data among them to `emit` (as views of `bytes`) and returns how many
   * bytes belonged to the body: fewer than given only when it ended. Throws `ChunkedError`; the
   * decoder is of no use after that.
   */
  push(bytes: Buffer, emit: (data: Buffer) => void): number {
    let at = 0;
    while (at < bytes.length && this.#state !== "done") {
      if (this.#state === "data") {
        const end = Math.min(bytes.length, at + this.#missingBytes);
        emit(bytes.subarray(at, end));
        this.#missingBytes -= end - at;
        at = end;
        if (this.#missingBytes === 0) this.#state = "data-end";
        continue;
      }
      at = this.#collectLine(bytes, at);
    }
    return at;
  }

  /** Adds to the line being collected; acts on it when its CRLF has come. */
  #collectLine(bytes: Buffer, from: number): number {
    const end = bytes.indexOf(LF, from);
    const to = end === -1 ? bytes.length : end + 1;
    if (this.#line.length + to - from > LINE_BYTES_MAX)
      throw new ChunkedError("a line is too long");
    this.#line += bytes.toString("latin1", from, to);
    if (end === -1) {
      // What stands before the last byte can no longer become a line end.
      const cr = this.#line.indexOf("\r");
      if (cr !== -1 && cr !== this.#line.length - 1) throw new ChunkedError("a bare CR");
      return to;
    }
    const line = this.#line;
    this.#line = "";
    if (line.charCodeAt(line.length - 2) !== CR) throw new ChunkedError("a bare LF");
    this.#onLine(line.slice(0, -2));
    return to;
  }

  #onLine(line: string): void {
    switch (this.#state) {
      case "size": {
        const match = SIZE_LINE.exec(line);
        if (match === null) throw new ChunkedError("malformed chunk size");
        this.#missingBytes = Number.parseInt(match[1] ?? "", 16);
        this.#state = this.#missingBytes === 0 ? "trailer" : "data";
        break;
      }
      case "data-end":
        if (line !== "") throw new ChunkedError("a chunk is longer than its size");
        this.#state = "size";
        break;
      case "trailer":
        if (line === "") {
          this.#state = "done";
          break;
        }
        this.#trailerBytes += line.length;
        if (this.#trailerBytes > TRAILER_BYTES_MAX) throw new ChunkedError("too many trailers");
        if (!TRAILER_LINE.test(line)) throw new ChunkedError("malformed trailer");
        break;
      case "data":
      case "done":
        throw new Error(`no line is expected in state ${this.#state}`);
    }
  }
}
