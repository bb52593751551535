/**
 * Warm on write (`cache.warm_on_write`): what was just written is in the cache before
 * anybody reads it.
 *
 * A PUT body is copied while it is forwarded and stored once upstream has confirmed it,
 * under upstream's ETag and with the headers upstream answers to a HEAD, so a hit looks
 * like any other. Nothing of it delays the writer. Bodies too large to be held in memory,
 * and objects that upstream puts together itself (copies, multipart uploads), are read
 * back once instead.
 *
 * Best effort throughout: whatever goes wrong leaves the object uncached, never stale,
 * because the permit is taken after the write's own tombstone and the copy is only kept
 * when upstream still has the version that was written.
 */

import { bytesSource, type ByteSource, readAll } from "../base/byte-source.ts";
import type { Inbound } from "../http/exchange.ts";
import { Fields } from "../http/fields.ts";
import { awsChunkedVariant, decodeAwsChunked, parseTrailerNames } from "../s3/aws-chunked.ts";
import type { ObjectId } from "../s3/object-id.ts";
import { departOrRelay, sendOnBehalf } from "./departure.ts";
import type { ReadState, WriteState } from "./exchange-state.ts";
import { declaredLength } from "./forward.ts";
import type { Parts } from "./parts.ts";

/** Largest body that is copied in memory on its way. */
const COPY_BYTES_MAX = 32 * 1024 * 1024;
/** All copies together; a write beyond it is read back instead. */
const COPIES_BYTES_MAX = 256 * 1024 * 1024;

/** A body on its way upstream, and the copy of it. */
export interface CopiedBody {
  /** Null: there is none, which is all of an object of no bytes. */
  readonly body: ByteSource | null;
  /** The object's bytes; undefined when they did not all pass, or were not valid. Frees the copy. */
  take(): Promise<Uint8Array | undefined>;
  /** Gives the copy up. */
  drop(): void;
}

const COPY_OF_NOTHING: CopiedBody = {
  body: null,
  take: async () => new Uint8Array(0),
  drop: () => undefined,
};

export class BodyCopies {
  #heldBytes = 0;

  /** Undefined when the body is too large, or too much is held already. */
  begin(inbound: Inbound, lengthBytes: number): CopiedBody | undefined {
    const { body, fields } = inbound;
    if (body === null) return lengthBytes === 0 ? COPY_OF_NOTHING : undefined;
    if (lengthBytes > COPY_BYTES_MAX) return undefined;
    if (this.#heldBytes + lengthBytes > COPIES_BYTES_MAX) return undefined;
    this.#heldBytes += lengthBytes;
    let chunks: Uint8Array[] | undefined = [];
    let isWhole = false;
    const drop = () => {
      if (chunks === undefined) return;
      chunks = undefined;
      this.#heldBytes -= lengthBytes;
    };
    return {
      body: {
        async read() {
          const chunk = await body.read();
          if (chunk === null) isWhole = true;
          else chunks?.push(chunk);
          return chunk;
        },
        close: () => body.close(),
      },
      async take() {
        const seen = chunks;
        drop();
        if (seen === undefined || !isWhole) return undefined;
        return objectBytes(fields, seen, lengthBytes);
      },
      drop,
    };
  }
}

/** What is in a body as it was sent, without aws-chunked framing; undefined when that is not valid. */
export async function objectBytes(
  fields: Fields,
  sent: readonly Uint8Array[],
  lengthBytes: number,
): Promise<Uint8Array | undefined> {
  const variant = awsChunkedVariant(fields.get("x-amz-content-sha256"));
  const plain = bytesSource(...sent);
  const source =
    variant === undefined
      ? plain
      : decodeAwsChunked(plain, {
          variant,
          decodedLengthBytes: lengthBytes,
          trailerNames: parseTrailerNames(fields.get("x-amz-trailer")),
        });
  try {
    const bytes = await readAll(source, lengthBytes);
    return bytes.length === lengthBytes ? bytes : undefined;
  } catch {
    return undefined; // upstream judges the body; we only do not keep what we cannot read
  }
}

/** Stores the copy of a PUT that upstream confirmed with `etag`. */
export async function storeCopy(
  state: WriteState,
  parts: Parts,
  id: ObjectId,
  etag: string,
  copy: CopiedBody,
): Promise<void> {
  const bytes = await copy.take();
  const { cache, observer } = parts;
  const permit = cache.permit(id);
  const reader = readerOf(state, id);
  if (bytes === undefined || reader === undefined) return;
  const answer = await sendOnBehalf(reader, parts, [], "HEAD");
  answer?.body.close();
  if (answer?.status !== 200) return;
  const fields = new Fields(answer.headers);
  const isSame = fields.get("etag") === etag && declaredLength(answer.headers) === bytes.length;
  if (!isSame) return;
  const fill = cache.beginFill({
    permit,
    status: 200,
    fields,
    headers: answer.headers,
    sizeBytes: bytes.length,
    requestFields: reader.inbound.fields,
    isPublic: false,
  });
  if (fill === undefined) return;
  await fill.write(0, bytes);
  observer.fillSettled(id, await fill.commit(() => cache.isValid(permit)));
  fill.release();
}

/** Reads the object back from upstream into the cache, for nobody in particular. */
export async function readBack(state: WriteState, parts: Parts, id: ObjectId): Promise<void> {
  const { cache, flights } = parts;
  const reader = readerOf(state, id);
  if (reader === undefined || flights.find(id) !== undefined) return;
  const permit = cache.permit(id);
  const flight = flights.create();
  flights.list(id, flight);
  try {
    const answer = await sendOnBehalf(reader, parts, []);
    if (answer === undefined) {
      flight.decline();
      return;
    }
    const reply = await departOrRelay(reader, parts, flight, permit, answer, "MISS");
    // The fill goes on without a reader; an answer that is no object ends here.
    if (reply.body.kind === "stream") reply.body.source.close();
  } catch (failure) {
    flight.fail(
      failure instanceof Error ? failure : new Error("warming failed", { cause: failure }),
    );
  }
}

/** The writer as a reader of what it wrote; undefined when nothing may be asked in its name. */
function readerOf(state: WriteState, id: ObjectId): ReadState | undefined {
  if (state.who.kind === "unproven") return undefined;
  return {
    ...state,
    inbound: { ...viewOf(state.inbound), method: "GET", fields: new Fields([]), body: null },
    operation: { kind: "read", name: "GetObject", id, isPlain: true, overrides: [] },
  };
}

function viewOf({ id, rawTarget, signal, remoteAddress, isSecure, receivedAtMs }: Inbound) {
  return { id, rawTarget, signal, remoteAddress, isSecure, receivedAtMs };
}
