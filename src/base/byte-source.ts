/**
 * `ByteSource`: a body that is pulled, chunk by chunk. Pulling is the
 * back-pressure: whoever does not read makes the sender wait.
 *
 * Chunks are immutable once handed out: several readers may hold the same one, so
 * nobody writes into a chunk, and its memory goes to other bytes only when all of
 * them said that they are done with it.
 */

export interface ByteSource {
  /** The next non-empty chunk, or null at the end. Rejects when the body is broken. */
  read(): Promise<Uint8Array | null>;
  /**
   * Says once that nothing looks at a chunk of `read` any more, also after the end or `close`; its
   * memory is free at once then, instead of after some collection. Whoever cannot be sure says nothing.
   */
  release?(chunk: Uint8Array): void;
  /** Gives the source up: frees what it holds, safe to call twice and after the end. */
  close(): void;
}

/** A source over bytes already in memory. */
export function bytesSource(...chunks: readonly Uint8Array[]): ByteSource {
  let index = 0;
  return {
    async read() {
      while (index < chunks.length) {
        const chunk = chunks[index];
        index += 1;
        if (chunk !== undefined && chunk.length > 0) return chunk;
      }
      return null;
    },
    close() {
      index = chunks.length;
    },
  };
}

/** A source over anything that can be iterated (a Node stream, a generator). */
export function iterableSource(
  iterable: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
): ByteSource {
  const iterator =
    Symbol.asyncIterator in iterable
      ? iterable[Symbol.asyncIterator]()
      : iterable[Symbol.iterator]();
  return {
    async read() {
      for (;;) {
        const next = await iterator.next();
        if (next.done === true) return null;
        if (next.value.length > 0) return next.value;
      }
    },
    close() {
      // The promise of a cancelled iterator says nothing anybody could act on.
      void Promise.resolve(iterator.return?.()).catch(() => undefined);
    },
  };
}

/** The rest of `source` in one piece; stops with a RangeError beyond `limitBytes`. */
export async function readAll(source: ByteSource, limitBytes: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  for (;;) {
    const chunk = await source.read();
    if (chunk === null) break;
    sizeBytes += chunk.length;
    if (sizeBytes > limitBytes) {
      source.close();
      throw new RangeError(`body is larger than ${limitBytes} bytes`);
    }
    chunks.push(chunk);
  }
  const only = chunks[0];
  if (chunks.length === 1 && only !== undefined) return only;
  const whole = new Uint8Array(sizeBytes);
  let offset = 0;
  for (const chunk of chunks) {
    whole.set(chunk, offset);
    offset += chunk.length;
  }
  return whole;
}

/** `for await` over a source; the source is closed when the loop is left early. */
export async function* chunksOf(source: ByteSource): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    for (;;) {
      const chunk = await source.read();
      if (chunk === null) return;
      yield chunk;
    }
  } finally {
    source.close();
  }
}
