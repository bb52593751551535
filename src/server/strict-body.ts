/**
 * The request body of the strict listener: pulled from the socket as it is read, failed when the
 * client leaves or stalls.
 */

import type { IncomingMessage, ServerResponse } from "node:http";

import type { ByteSource } from "../base/byte-source.ts";
import type { Clock } from "../base/clock.ts";
import type { GatewayError } from "../base/errors.ts";
import type { Setting } from "./inbound.ts";
import { clientGone } from "./options.ts";

export class StrictBody implements ByteSource {
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #clock: Clock;
  readonly #stallTimeoutMs: number;
  #awaitsContinue: boolean;
  #isStarted = false;
  #isGivenUp = false;
  /** Undefined for a chunked body. */
  #remainingBytes: number | undefined;
  #failure: GatewayError | undefined;
  #wake: (() => void) | undefined;

  constructor(
    request: IncomingMessage,
    response: ServerResponse,
    awaitsContinue: boolean,
    setting: Setting,
  ) {
    this.#request = request;
    this.#response = response;
    this.#awaitsContinue = awaitsContinue;
    this.#clock = setting.clock;
    this.#stallTimeoutMs = setting.limits.stallTimeoutMs;
    const declared = request.headers["content-length"];
    this.#remainingBytes = declared === undefined ? undefined : Number(declared);
  }

  async read(): Promise<Uint8Array | null> {
    this.#start();
    for (;;) {
      if (this.#isGivenUp) return null;
      const chunk = this.#request.read() as Uint8Array | null;
      if (chunk !== null) {
        if (this.#remainingBytes !== undefined) this.#remainingBytes -= chunk.length;
        return chunk;
      }
      if (this.#request.readableEnded) return null;
      if (this.#failure !== undefined) throw this.#failure;
      await this.#progress();
    }
  }

  close(): void {
    this.#isGivenUp = true;
    this.#wake?.();
  }

  /** True when at most `limitBytes` are still to come, so that dropping them is cheap. */
  isNearlyRead(limitBytes: number): boolean {
    if (this.#request.readableEnded) return true;
    if (this.#remainingBytes === 0) return true;
    if (this.#awaitsContinue || this.#remainingBytes === undefined) return false;
    return this.#remainingBytes <= limitBytes;
  }

  /** The exchange is over: what nobody read is of no use. */
  onClose(): void {
    this.#fail();
    if (this.#request.readableEnded) return;
    // The next request of the connection stands behind the rest of this body.
    this.#request.resume();
    const { socket } = this.#request;
    const timer = this.#clock.after(this.#stallTimeoutMs, () => socket.destroy());
    this.#request.once("close", () => timer.cancel());
  }

  #start(): void {
    if (this.#isStarted) return;
    this.#isStarted = true;
    const wake = () => this.#wake?.();
    this.#request.on("readable", wake);
    this.#request.on("end", wake);
    this.#request.on("error", () => this.#fail());
    this.#request.on("aborted", () => this.#fail());
    if (!this.#awaitsContinue) return;
    this.#awaitsContinue = false;
    this.#response.writeContinue();
  }

  #fail(): void {
    this.#failure ??= clientGone();
    this.#wake?.();
  }

  /** Waits for more of the body, its end, or the stall limit. */
  async #progress(): Promise<void> {
    const timer = this.#clock.after(this.#stallTimeoutMs, () => {
      this.#fail();
      this.#request.socket.destroy();
    });
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    this.#wake = undefined;
    timer.cancel();
  }
}
