/**
 * Byte ranges: which part of a stored object a `Range` header asks for.
 *
 * Pure grammar and arithmetic, so that the cache, the upstream client and the
 * peer protocol agree on one meaning of "the bytes the client wants".
 */

/** A half-open interval `[start, end)`, in bytes from the start of the object. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}
