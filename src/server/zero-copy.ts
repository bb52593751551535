/**
 * The zero-copy listener on `Bun.serve`: large files go from the page cache to the socket by
 * sendfile, and this process never touches their bytes.
 *
 * It keeps the contract of listener.ts with these differences, all of them Bun's (1.4.5) and all
 * pinned by test/contract/listener-zero-copy.test.ts:
 * 1. A streamed reply larger than `bufferedReplyBytes` goes out chunked, without `Content-Length`
 *    (Bun issue 10507). Smaller ones are held back until they are complete: as a file when the reply
 *    offers one, else in memory, which is bounded (zero-copy-budget.ts); beyond that, chunked too.
 * 2. Targets are normalised (`..`, `%2e`, `\`), so keys with dot segments cannot be addressed.
 * 3. Header names and repeats are Bun's: request names arrive in lower case, repeats are joined
 *    by ", ", replies are spelled and ordered as Bun likes.
 * 4. A file body of `SENDFILE_BYTES` or more without a `Content-Disposition` of its own gets an
 *    empty one; otherwise Bun would put the descriptor's number there as a file name.
 * 5. Nobody tells us when a body of known length has left: `onFinish` of bytes and files is called
 *    when Bun takes them over. `requestCount` knows better.
 * 6. A request pipelined behind one whose answer takes a turn of the event loop ends the connection, and replies
 *    of less than `DEFERRED_BYTES` do take it: they go out together with those of the other connections.
 * 7. `100 Continue` is said at once, and only to `100-continue` in lower case; connections are not counted and have one limit, on idleness.
 */

import type { Server } from "bun";

import type { Reply } from "../http/exchange.ts";
import type { Setting } from "./inbound.ts";
import { DEFAULT_LIMITS, ListenError, describeError } from "./options.ts";
import type { Listener, ListenerOptions, TlsMaterial } from "./options.ts";
import { outbox } from "./outbox.ts";
import type { Departing } from "./outbox.ts";
import { PacingByPort } from "./pacing.ts";
import { HotBlobs } from "./zero-copy-blobs.ts";
import { ReplyBudget } from "./zero-copy-budget.ts";
import { DEFERRED_BYTES, ZeroCopyExchange, secondsOf } from "./zero-copy-exchange.ts";
import type { ReplyMemory } from "./zero-copy-exchange.ts";

/** Copies of hot bodies beside those of the memory tier. */
const HOT_BLOB_BYTES = 32 * 1024 * 1024;

export class ZeroCopyListener implements Listener {
  readonly #setting: Setting;
  /** The one that accepts comes last; earlier ones finish what a TLS reload left them. */
  readonly #servers: Server<undefined>[] = [];
  readonly #memory: ReplyMemory;
  #hasRepliedInTurn = false;
  readonly #onTurnOver = (): void => {
    this.#hasRepliedInTurn = false;
  };
  /** Requests that Bun counts and whose `Response` we have not made yet. */
  #unansweredCount = 0;
  #port: number;
  #pacing: PacingByPort | undefined;

  constructor(options: ListenerOptions) {
    const limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.#setting = { ...options, limits, isDraining: false };
    const budget = new ReplyBudget(
      Math.max(limits.bufferedReplyBytes, limits.bufferedRepliesBytes),
      () => this.requestCount - this.#unansweredCount,
    );
    this.#memory = { budget, blobs: new HotBlobs(HOT_BLOB_BYTES) };
    this.#port = options.port;
  }

  get port(): number {
    return this.#port;
  }

  /** Bun counts requests only. */
  get connectionCount(): number {
    return this.requestCount;
  }

  get replyMemoryBytes(): number {
    return this.#memory.budget.heldBytes + this.#memory.blobs.heldBytes;
  }

  get requestCount(): number {
    return this.#servers.reduce((sum, server) => sum + server.pendingRequests, 0);
  }

  async start(): Promise<void> {
    const { bindIp, port, tls, reusePort } = this.#setting;
    try {
      // A reload binds the port a second time, which needs SO_REUSEPORT from the beginning; but
      // then a busy port would go unnoticed. So the port is first taken without.
      const mayReload = tls !== undefined && reusePort !== true;
      if (mayReload) {
        const probe = this.#serve(port, tls, false);
        this.#port = probe.port ?? port;
        await probe.stop(true);
      }
      const server = this.#serve(this.#port, tls, reusePort === true || mayReload);
      this.#servers.push(server);
      this.#port = server.port ?? port;
    } catch (cause) {
      throw new ListenError(bindIp, port, cause);
    }
  }

  stopAccepting(): void {
    this.#setting.isDraining = true;
    for (const server of this.#servers) void server.stop(false);
  }

  async drain(limitMs: number): Promise<boolean> {
    this.stopAccepting();
    const ended = Promise.all(this.#servers.map((server) => server.stop(false))).then(() => true);
    return new Promise((resolve) => {
      const timer = this.#setting.clock.after(limitMs, () => resolve(false));
      void ended.then(() => {
        timer.cancel();
        resolve(true);
      });
    });
  }

  async stop(): Promise<void> {
    this.#setting.isDraining = true;
    await Promise.all(this.#servers.map((server) => server.stop(true)));
  }

  /** As Bun cannot swap a certificate, a second server takes the port over; idle connections end. */
  reloadTls(tls: TlsMaterial): void {
    if (this.#setting.tls === undefined) throw new Error("this listener does not speak TLS");
    const successor = this.#serve(this.#port, tls, true);
    const predecessor = this.#servers.at(-1);
    this.#servers.push(successor);
    void predecessor?.stop(false).then(() => {
      this.#servers.splice(this.#servers.indexOf(predecessor), 1);
    });
  }

  #serve(port: number, tls: TlsMaterial | undefined, reusePort: boolean): Server<undefined> {
    const { clock, limits, log, bindIp } = this.#setting;
    const started = Bun.serve({
      hostname: bindIp,
      port,
      reusePort,
      ...(tls === undefined ? {} : { tls: { cert: tls.certificatePem, key: tls.keyPem } }),
      maxRequestBodySize: Number.MAX_SAFE_INTEGER,
      idleTimeout: secondsOf(limits.idleTimeoutMs),
      development: false,
      fetch: (request, server) => this.#answer(request, server),
      // Without a handler Bun prints source code to standard error.
      error: (error) => {
        log.error("reply failed", { error: describeError(error) });
        return new Response(null, { status: 500 });
      },
    });
    this.#pacing = PacingByPort.prepare(started.port ?? port, clock) ?? this.#pacing;
    return started;
  }

  #answer(request: Request, server: Server<undefined>): Response | Promise<Response> {
    this.#unansweredCount += 1;
    const exchange = new ZeroCopyExchange(
      request,
      server,
      this.#setting,
      this.#memory,
      this.#pacing,
    );
    const response = this.#respond(exchange);
    if (response instanceof Promise) return this.#late(request, response);
    this.#unansweredCount -= 1;
    return exchange.isSmallReply ? this.#inTurn(response) : response;
  }

  #late(request: Request, response: Promise<Response>): Promise<Response> {
    let isCounted = true;
    const forget = (): void => {
      if (isCounted) this.#unansweredCount -= 1;
      isCounted = false;
    };
    // Bun stops counting it when the client leaves, however long the answer still takes.
    request.signal.addEventListener("abort", forget, { once: true });
    return response.finally(forget);
  }

  /** The first small reply of a turn at once, so that a lone client notices nothing of the others. */
  #inTurn(response: Response): Response | Promise<Response> {
    if (this.#hasRepliedInTurn) {
      const deferred = new DeferredResponse(response);
      outbox.add(DEFERRED_BYTES, deferred);
      return deferred.promise;
    }
    this.#hasRepliedInTurn = true;
    setImmediate(this.#onTurnOver);
    return response;
  }

  /** Rejects never and throws never. */
  #respond(exchange: ZeroCopyExchange): Response | Promise<Response> {
    try {
      const reply = this.#setting.handler(exchange);
      return reply instanceof Promise ? respondLate(exchange, reply) : exchange.respond(reply);
    } catch (error) {
      return exchange.fail(error);
    }
  }
}

/** A response that Bun gets when the turn is over. */
class DeferredResponse implements Departing {
  readonly promise: Promise<Response>;
  readonly #resolve: (response: Response) => void;
  readonly #response: Response;

  constructor(response: Response) {
    const { promise, resolve } = Promise.withResolvers<Response>();
    this.promise = promise;
    this.#resolve = resolve;
    this.#response = response;
  }

  depart(): void {
    this.#resolve(this.#response);
  }

  onDeparted(): void {}
}

async function respondLate(exchange: ZeroCopyExchange, reply: Promise<Reply>): Promise<Response> {
  let ready: Reply;
  try {
    ready = await reply;
  } catch (error) {
    return exchange.fail(error);
  }
  return exchange.respond(ready);
}
