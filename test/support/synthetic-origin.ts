/**
 * An object store in which every object exists: for replays of millions of requests, where
 * a real one would be the bottleneck.
 *
 *     bun test/support/synthetic-origin.ts        says {"httpPort":N}, answers /health
 *
 * The size of an object is the second part of its path, `/bucket/<bytes>/anything`, and its
 * bytes follow from the path, so that who reads can check them (`isSynthetic`). Everything
 * is public; ranges are honoured; nothing can be written. `GET /served` tells the requests
 * and body bytes so far.
 */

/** Bodies are windows of this; its length is a prime, so that no block size divides it. */
const PERIOD_BYTES = 1_048_573;

/** Twice the period: a window of one period can begin anywhere in the first half. */
const noise = makeNoise();

function makeNoise(): Uint8Array {
  const period = new Uint8Array(PERIOD_BYTES);
  let state = 7;
  for (let at = 0; at < period.length; at += 1) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    period[at] = state;
  }
  return Buffer.concat([period, period]);
}

/** True when `bytes` is what stands at `offsetBytes` of the object at `path`. */
export function isSynthetic(path: string, offsetBytes: number, bytes: Uint8Array): boolean {
  for (let at = 0; at < bytes.length; at += PERIOD_BYTES) {
    const part = bytes.subarray(at, at + PERIOD_BYTES);
    if (Buffer.compare(windowAt(path, offsetBytes + at, part.length), part) !== 0) return false;
  }
  return true;
}

/** Size of the object at `path` in bytes. */
export function syntheticSize(path: string): number {
  return Number(path.split("/")[2] ?? 0);
}

/** Up to one period of the body at `path`, from `offsetBytes` on; a view. */
function windowAt(path: string, offsetBytes: number, lengthBytes: number): Uint8Array {
  const start = (Bun.hash.crc32(path) + offsetBytes) % PERIOD_BYTES;
  return noise.subarray(start, start + Math.min(lengthBytes, PERIOD_BYTES));
}

function* piecesOf(path: string, start: number, end: number): Generator<Uint8Array> {
  for (let at = start; at < end; at += PERIOD_BYTES) yield windowAt(path, at, end - at);
}

function bodyOf(path: string, start: number, end: number): Uint8Array {
  const isOnePiece = end - start <= PERIOD_BYTES;
  return isOnePiece
    ? windowAt(path, start, end - start)
    : Buffer.concat([...piecesOf(path, start, end)]);
}

/** The range asked for, `[start, end)`; undefined: all of it. */
function rangeOf(request: Request, sizeBytes: number): readonly [number, number] | undefined {
  const match = /^bytes=(\d*)-(\d*)$/.exec(request.headers.get("range") ?? "");
  if (match === null) return undefined;
  const [, first = "", last = ""] = match;
  if (first === "") return [Math.max(0, sizeBytes - Number(last)), sizeBytes];
  return [Number(first), last === "" ? sizeBytes : Math.min(sizeBytes, Number(last) + 1)];
}

function serve(): void {
  const served = { requests: 0, bodyBytes: 0 };
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    idleTimeout: 0, // who reads slowly has reasons
    fetch(request) {
      const path = request.url.slice(request.url.indexOf("/", 8));
      if (path === "/health") return new Response("ok");
      if (path === "/served") return Response.json(served);
      const sizeBytes = syntheticSize(path);
      const range = rangeOf(request, sizeBytes);
      const [start, end] = range ?? [0, sizeBytes];
      served.requests += 1;
      served.bodyBytes += request.method === "HEAD" ? 0 : end - start;
      const headers: Record<string, string> = {
        "Content-Type": "application/octet-stream",
        ETag: `"${Bun.hash.crc32(path).toString(16).padStart(8, "0")}"`,
        "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT",
        "Accept-Ranges": "bytes",
      };
      if (range !== undefined) headers["Content-Range"] = `bytes ${start}-${end - 1}/${sizeBytes}`;
      // From memory in one piece, because a streamed answer would lose its Content-Length.
      const body = request.method === "HEAD" ? null : bodyOf(path, start, end);
      return new Response(body, { status: range === undefined ? 200 : 206, headers });
    },
  });
  process.stdout.write(`${JSON.stringify({ httpPort: server.port })}\n`);
}

if (import.meta.main) serve();
