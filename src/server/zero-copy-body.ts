/** The request body of the zero-copy listener; Bun reads it no faster than we do. */

import type { ByteSource } from "../base/byte-source.ts";
import type { Clock } from "../base/clock.ts";
import { GatewayError } from "../base/errors.ts";
import type { Fields } from "../http/fields.ts";
import { clientGone } from "./options.ts";

/** What we use of a stream's reader; bun-types and the DOM do not agree on the rest. */
interface ChunkReader {
  read(): Promise<{ readonly done: boolean; readonly value?: Uint8Array | undefined }>;
  cancel(): Promise<void>;
}

export class ZeroCopyBody implements ByteSource {
  readonly #request: Request;
  readonly #clock: Clock;
  readonly #stallTimeoutMs: number;
  #reader: ChunkReader | undefined;
  /** Undefined for a chunked body. */
  #remainingBytes: number | undefined;
  #isEnded = false;
  #isBroken = false;

  constructor(request: Request, fields: Fields, clock: Clock, stallTimeoutMs: number) {
    this.#request = request;
    this.#clock = clock;
    this.#stallTimeoutMs = stallTimeoutMs;
    const declared = fields.get("content-length");
    this.#remainingBytes = declared === undefined ? undefined : Number(declared);
  }

  async read(): Promise<Uint8Array | null> {
    if (this.#isEnded) return null;
    this.#reader ??= this.#request.body?.getReader();
    if (this.#reader === undefined) return null;
    const { promise: stalled, reject } = Promise.withResolvers<never>();
    const timer = this.#clock.after(this.#stallTimeoutMs, () => reject(clientGone()));
    try {
      for (;;) {
        const next = await Promise.race([this.#reader.read(), stalled]);
        if (next.done || next.value === undefined) {
          this.#isEnded = true;
          return null;
        }
        if (this.#remainingBytes !== undefined) this.#remainingBytes -= next.value.length;
        if (next.value.length > 0) return next.value;
      }
    } catch (cause) {
      this.#isBroken = true;
      throw new GatewayError("client_gone", "the request body broke off", { cause });
    } finally {
      timer.cancel();
    }
  }

  close(): void {
    this.#isEnded = true;
    void this.#reader?.cancel().catch(() => undefined);
  }

  /** True when at most `limitBytes` are still to come, so that dropping them is cheap. */
  isNearlyRead(limitBytes: number): boolean {
    if (this.#isBroken) return false;
    if (this.#remainingBytes === undefined) return this.#isEnded;
    return this.#remainingBytes <= limitBytes;
  }
}
