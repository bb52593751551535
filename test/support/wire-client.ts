/**
 * An HTTP client without opinions: it writes the bytes it is told to and shows the bytes
 * that come back. `fetch` would normalise targets, merge headers and hide how a body was framed,
 * which is what the listener tests are about.
 *
 * It reads only when asked, so a test decides how slow its client is.
 */

import { connect } from "node:net";
import type { Socket } from "node:net";
import { connect as connectTls } from "node:tls";

export interface WireHead {
  readonly status: number;
  readonly statusLine: string;
  /** `[name, value, …]` exactly as received. */
  readonly headers: readonly string[];
}

export interface WireResponse extends WireHead {
  readonly body: Uint8Array;
  /** How the end of the body was known. */
  readonly framing: "none" | "length" | "chunked" | "close";
  /** True when the connection ended before the body did. */
  readonly isTruncated: boolean;
}

type WireBody = Pick<WireResponse, "body" | "framing" | "isTruncated">;

export class WireClient implements AsyncDisposable {
  readonly #socket: Socket;
  #received: Buffer = Buffer.alloc(0);
  #isEnded = false;
  #wake: (() => void) | undefined;
  /** Settles when the server has ended the connection, cleanly or not. */
  readonly ended: Promise<void>;
  /** Settles when the connection is fully closed, by whichever side and reason. */
  readonly closed: Promise<void>;

  private constructor(socket: Socket) {
    this.#socket = socket;
    const { promise: ended, resolve: end } = Promise.withResolvers<void>();
    this.ended = ended;
    const onEnd = () => {
      this.#isEnded = true;
      this.#wake?.();
      end();
    };
    socket.on("readable", () => this.#wake?.());
    socket.on("end", onEnd);
    socket.on("error", onEnd);
    this.closed = new Promise((resolve) => {
      socket.once("close", () => {
        onEnd();
        resolve();
      });
    });
  }

  /** Opens a connection to the loopback; `tls` accepts any certificate. */
  static connect(port: number, options: { readonly tls?: boolean } = {}): Promise<WireClient> {
    return new Promise((resolve, reject) => {
      const isTls = options.tls === true;
      const socket = isTls
        ? connectTls({ port, host: "127.0.0.1", rejectUnauthorized: false })
        : connect({ port, host: "127.0.0.1", allowHalfOpen: true });
      socket.once("error", reject);
      socket.once(isTls ? "secureConnect" : "connect", () => {
        socket.off("error", reject);
        resolve(new WireClient(socket));
      });
    });
  }

  /** Writes Latin-1 text or bytes; resolves when the kernel took them or the connection ended. */
  send(data: string | Uint8Array): Promise<void> {
    const bytes = typeof data === "string" ? Buffer.from(data, "latin1") : data;
    return new Promise((resolve) => {
      if (this.#socket.destroyed) {
        resolve();
        return;
      }
      this.#socket.write(bytes, () => resolve());
      void this.closed.then(resolve);
    });
  }

  /** Ends our half of the connection. */
  endSending(): void {
    this.#socket.end();
  }

  /** Leaves without a word: the server sees an end or a reset. */
  destroy(): void {
    this.#socket.destroy();
  }

  /** One final response; interim 1xx are collected in `interim`. */
  async response(method = "GET", interim: WireHead[] = []): Promise<WireResponse> {
    for (;;) {
      const head = await this.head();
      if (head.status >= 200) return { ...head, ...(await this.#body(method, head)) };
      interim.push(head);
    }
  }

  /** The next response header; throws when the connection ends before it is complete. */
  async head(): Promise<WireHead> {
    for (;;) {
      const end = this.#received.indexOf("\r\n\r\n");
      if (end >= 0) return parseHead(this.#take(end + 4).toString("latin1"));
      if (!(await this.#more())) {
        const seen = JSON.stringify(this.#received.toString("latin1"));
        throw new Error(`connection ended in the header: ${seen}`);
      }
    }
  }

  /** Up to `count` bytes; fewer only when the connection ended. */
  async bytes(count: number): Promise<Buffer> {
    const parts: Buffer[] = [];
    for (let missing = count; missing > 0;) {
      if (this.#received.length === 0 && !(await this.#more())) break;
      const part = this.#take(Math.min(missing, this.#received.length));
      parts.push(part);
      missing -= part.length;
    }
    return Buffer.concat(parts);
  }

  /** Counts and drops bytes until `count` were seen or the connection ended; for large bodies. */
  async skip(count: number): Promise<number> {
    let seen = 0;
    while (seen < count) {
      if (this.#received.length === 0 && !(await this.#more())) break;
      seen += this.#take(Math.min(count - seen, this.#received.length)).length;
    }
    return seen;
  }

  /** Everything until the connection ends. */
  rest(): Promise<Buffer> {
    return this.bytes(Number.POSITIVE_INFINITY);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket.destroy();
    await this.closed;
  }

  async #body(method: string, head: WireHead): Promise<WireBody> {
    if (method === "HEAD" || head.status === 204 || head.status === 304) {
      return { body: new Uint8Array(), framing: "none", isTruncated: false };
    }
    if (headerOf(head, "transfer-encoding")?.toLowerCase() === "chunked") return this.#chunked();
    const declared = headerOf(head, "content-length");
    if (declared === undefined) {
      return { body: await this.rest(), framing: "close", isTruncated: false };
    }
    const body = await this.bytes(Number(declared));
    return { body, framing: "length", isTruncated: body.length < Number(declared) };
  }

  async #chunked(): Promise<WireBody> {
    const parts: Buffer[] = [];
    const result = (isTruncated: boolean): WireBody => ({
      body: Buffer.concat(parts),
      framing: "chunked",
      isTruncated,
    });
    for (;;) {
      const line = await this.#line();
      if (line === undefined) return result(true);
      const size = Number.parseInt(line, 16);
      const data = await this.bytes(size);
      parts.push(data);
      if (data.length < size || (await this.#line()) === undefined) return result(true);
      if (size === 0) return result(false);
    }
  }

  async #line(): Promise<string | undefined> {
    for (;;) {
      const end = this.#received.indexOf("\r\n");
      if (end >= 0) {
        const line = this.#take(end + 2);
        return line.toString("latin1", 0, end);
      }
      if (!(await this.#more())) return undefined;
    }
  }

  #take(count: number): Buffer {
    const taken = this.#received.subarray(0, count);
    this.#received = this.#received.subarray(count);
    return taken;
  }

  async #more(): Promise<boolean> {
    for (;;) {
      const chunk = this.#socket.read() as Buffer | null;
      if (chunk !== null) {
        this.#received =
          this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk]);
        return true;
      }
      if (this.#isEnded) return false;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

function parseHead(text: string): WireHead {
  const lines = text.slice(0, -4).split("\r\n");
  const statusLine = lines.shift() ?? "";
  const headers = lines.flatMap((line) => {
    const colon = line.indexOf(":");
    return [line.slice(0, colon), line.slice(colon + 1).trim()];
  });
  return { status: Number(statusLine.split(" ")[1]), statusLine, headers };
}

/** First value of a header of a response, by lower-case name. */
export function headerOf(
  response: { readonly headers: readonly string[] },
  lowerName: string,
): string | undefined {
  const at = response.headers.findIndex(
    (name, index) => index % 2 === 0 && name.toLowerCase() === lowerName,
  );
  return at === -1 ? undefined : response.headers[at + 1];
}

/** A request of the usual kind as text; `headers` are sent as they are after `Host`. */
export function requestText(
  method: string,
  target: string,
  headers: readonly string[] = [],
  body = "",
): string {
  let text = `${method} ${target} HTTP/1.1\r\nHost: test\r\n`;
  for (let at = 0; at + 1 < headers.length; at += 2) {
    text += `${headers[at]}: ${headers[at + 1]}\r\n`;
  }
  return `${text}\r\n${body}`;
}
