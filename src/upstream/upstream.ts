/**
 * `Upstream`: the object store as the gateway sees it. A transport, and around it what every
 * request wants: a bounded repetition of reads that were lost on the way, figures, and a
 * memory of when upstream last answered.
 *
 * It is an `UpstreamTransport` itself, so whoever holds one need not know about any of this.
 * The health it keeps is passive (it asks nothing on its own): readiness and the
 * operational page show it, and no request is refused because of it.
 */

import type { ByteSource } from "../base/byte-source.ts";
import type { Clock } from "../base/clock.ts";
import { GatewayError } from "../base/errors.ts";
import type { Random } from "../base/random.ts";
import {
  DEFAULT_RETRY_POLICY,
  isWorthRepeating,
  RetryBudget,
  retryPauseMs,
  type RetryPolicy,
} from "./retry.ts";
import type { UpstreamRequest, UpstreamResponse, UpstreamTransport } from "./transport.ts";

/** Told about every request, retries included. Must not throw. */
export interface UpstreamObserver {
  /** A response header came `ms` after the request was begun. */
  onResponse(method: string, status: number, ms: number): void;
  /** A piece of a body came. */
  onBytes(sizeBytes: number): void;
  /** The request failed, before its header or inside its body; `error` is what the caller gets. */
  onFailure(method: string, error: GatewayError): void;
  /** The request failed and is about to be repeated. */
  onRetry(method: string, error: GatewayError): void;
}

export interface UpstreamOptions {
  readonly transport: UpstreamTransport;
  readonly clock: Clock;
  /** Jitter of the pauses between retries. */
  readonly random: Random;
  readonly observer: UpstreamObserver;
  readonly retry?: RetryPolicy | undefined;
}

/** When upstream last did well and last failed, Unix milliseconds; undefined: never yet. */
export interface UpstreamHealth {
  /** A response below 500. */
  readonly lastSuccessAtMs: number | undefined;
  /** No response, a broken one, or one of 500 and above. */
  readonly lastFailureAtMs: number | undefined;
}

export class Upstream implements UpstreamTransport {
  readonly #transport: UpstreamTransport;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #observer: UpstreamObserver;
  readonly #retry: RetryPolicy;
  readonly #budget = new RetryBudget();
  #lastSuccessAtMs: number | undefined;
  #lastFailureAtMs: number | undefined;

  constructor(options: UpstreamOptions) {
    this.#transport = options.transport;
    this.#clock = options.clock;
    this.#random = options.random;
    this.#observer = options.observer;
    this.#retry = options.retry ?? DEFAULT_RETRY_POLICY;
  }

  get health(): UpstreamHealth {
    return { lastSuccessAtMs: this.#lastSuccessAtMs, lastFailureAtMs: this.#lastFailureAtMs };
  }

  async send(request: UpstreamRequest): Promise<UpstreamResponse> {
    this.#budget.earn();
    for (let attempt = 0; ; attempt += 1) {
      try {
        return await this.#sendOnce(request);
      } catch (error) {
        const failure = this.#noteFailure(request.method, error);
        const mayRepeat =
          attempt < this.#retry.retriesMax &&
          isWorthRepeating(request, failure) &&
          this.#budget.spend();
        if (failure === undefined || !mayRepeat) throw error;
        this.#observer.onRetry(request.method, failure);
        const pauseMs = retryPauseMs(this.#retry, attempt, this.#random);
        await this.#clock.sleep(pauseMs, request.signal);
      }
    }
  }

  close(): void {
    this.#transport.close();
  }

  async #sendOnce(request: UpstreamRequest): Promise<UpstreamResponse> {
    const startMs = this.#clock.monotonicMs();
    const response = await this.#transport.send(request);
    const { status } = response;
    this.#observer.onResponse(request.method, status, this.#clock.monotonicMs() - startMs);
    if (status < 500) this.#lastSuccessAtMs = this.#clock.nowMs();
    else this.#lastFailureAtMs = this.#clock.nowMs();
    return { ...response, body: this.#watched(request.method, response.body) };
  }

  /** `body`, counted, whose breaking is noted too. */
  #watched(method: string, body: ByteSource): ByteSource {
    return {
      read: () =>
        body.read().then(
          (chunk) => {
            if (chunk !== null) this.#observer.onBytes(chunk.length);
            return chunk;
          },
          (error: unknown) => {
            this.#noteFailure(method, error);
            throw error;
          },
        ),
      release: (chunk) => body.release?.(chunk),
      close: () => body.close(),
    };
  }

  /** Counts `error` if it is upstream's doing (a client that left is not), and hands it back. */
  #noteFailure(method: string, error: unknown): GatewayError | undefined {
    if (!(error instanceof GatewayError) || error.source !== "upstream") return undefined;
    this.#lastFailureAtMs = this.#clock.nowMs();
    this.#observer.onFailure(method, error);
    return error;
  }
}
