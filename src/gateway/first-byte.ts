/**
 * Waiting for the first byte of a body before an answer is begun with it. Until then
 * another way is still open: an object that changed or went away while its parts were being
 * fetched can be read anew, where a client would otherwise see its connection cut.
 */

import type { ByteSource } from "../base/byte-source.ts";

/** The same source, once it has shown that it brings something; rejects, closed, when it breaks before. */
export async function withFirstByte(source: ByteSource): Promise<ByteSource> {
  let next: Uint8Array | null | undefined;
  try {
    next = await source.read();
  } catch (failure) {
    source.close();
    throw failure;
  }
  return {
    async read() {
      if (next === undefined) return source.read();
      const chunk = next;
      next = chunk === null ? null : undefined;
      return chunk;
    },
    release: (chunk) => source.release?.(chunk),
    close: () => source.close(),
  };
}
