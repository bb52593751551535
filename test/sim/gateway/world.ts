/**
 * A gateway between simulated clients and a model of the object store, in simulated time. The
 * gateway's core is real, from `handle` down: pipeline, authentication with real signatures,
 * cache, flights and upstream retries. Replaced are the sockets, the disk and the store.
 *
 * A client here does what a listener does with a reply: it reads the body at its own pace,
 * closes it early when it leaves, and says once that the reply is finished.
 */

import { createTransparentAuth, type Auth } from "../../../src/auth/auth.ts";
import { type ByteSource, bytesSource } from "../../../src/base/byte-source.ts";
import { GatewayError } from "../../../src/base/errors.ts";
import { type Random, seededRandom } from "../../../src/base/random.ts";
import { Secret } from "../../../src/base/secret.ts";
import { Cache } from "../../../src/cache/cache.ts";
import { Coalescer } from "../../../src/coalesce/coalescer.ts";
import type { GatewayObserver } from "../../../src/gateway/accounting.ts";
import { createGateway, type Gateway } from "../../../src/gateway/gateway.ts";
import type { Inbound, Reply } from "../../../src/http/exchange.ts";
import { Fields } from "../../../src/http/fields.ts";
import { parseRawTarget } from "../../../src/http/raw-target.ts";
import { type Signer, signerFor, signRequest } from "../../../src/s3/sigv4.ts";
import { Upstream } from "../../../src/upstream/upstream.ts";
import { createMemoryStorage, type MemoryStorage } from "../../support/memory-storage.ts";
import { SimClock } from "../../support/sim-clock.ts";
import { HOST, ModelStore, PROXY } from "./model-store.ts";
import { type Life, mortalStorage, mortalTransport, NotesFolder } from "./mortal.ts";
import { slowStorage } from "./slow-storage.ts";

export const BUCKET = "bucket";
export const KIB = 1024;

/** The memory store's. */
const BLOCK_BYTES = 16 * KIB;

export interface WorldOptions {
  readonly seed: number;
  readonly latencyMs?: number;
  readonly chunkMs?: number;
  readonly chunkBytes?: number;
  readonly ttlMs?: number;
  readonly staleIfErrorMs?: number;
  readonly authzTtlMs?: number;
  readonly sizeThresholdBytes?: number;
  readonly lessonTimeoutMs?: number;
  readonly isCacheEnabled?: boolean;
  /** Upstream connections for one slow object; 1: never more. */
  readonly parallelLegs?: number;
  /** With more readers than this, reads from disk are shared. */
  readonly crowdReaders?: number;
  readonly warmOnWrite?: boolean;
  /** Ranges of objects from this size on do not fetch the rest. */
  readonly blockThresholdBytes?: number;
  /** Chance that the store lets a call wait. */
  readonly storeDelay?: number;
}

/** What goes on when a gateway is killed: time, upstream and the disk. */
export interface Surroundings {
  readonly clock: SimClock;
  readonly random: Random;
  readonly store: ModelStore;
  readonly storage: MemoryStorage;
  readonly notes: NotesFolder;
}

export interface Ask {
  /** Undefined: unsigned. */
  readonly who: string | undefined;
  readonly method?: string;
  readonly key: string;
  /** With its "?"; default none. */
  readonly query?: string;
  readonly headers?: readonly string[];
  readonly body?: Uint8Array;
  /** The client closes its connection after so long, or after so many body bytes. */
  readonly leavesAfterMs?: number;
  readonly leavesAfterBytes?: number;
  /** Pause before each read, up to this long. */
  readonly paceMs?: number;
  /** Signs with a secret that is not the account's. */
  readonly isForged?: boolean;
}

/** What a client saw. */
export interface Seen {
  readonly ask: Ask;
  readonly startedAtMs: number;
  readonly headAtMs: number;
  readonly endedAtMs: number;
  readonly status: number;
  readonly fields: Fields;
  readonly body: Buffer;
  /** False when the client left, or its connection was cut. */
  readonly isComplete: boolean;
}

export class World implements Surroundings {
  readonly clock: SimClock;
  readonly random: Random;
  readonly store: ModelStore;
  readonly storage: MemoryStorage;
  readonly notes: NotesFolder;
  readonly flights: Coalescer;
  readonly auth: Auth;
  readonly gateway: Gateway;
  readonly options: Required<WorldOptions>;
  /** Replies that were sent and not finished, and finishes that came twice. */
  unfinished = 0;
  readonly outcomes = { slowConsumers: 0, staleServed: 0, internalErrors: [] as unknown[] };
  readonly #secrets = new Map<string, string>();
  readonly #signers = new Map<string, Signer>();
  readonly #life: Life = { isOver: false };
  #requests = 0;

  /** `remains`: what a killed gateway has left; everything is new by default. */
  constructor(given: WorldOptions, remains?: Surroundings) {
    const options = {
      latencyMs: 50,
      chunkMs: 0,
      chunkBytes: 32 * KIB,
      ttlMs: 20_000,
      staleIfErrorMs: 30_000,
      authzTtlMs: 30_000,
      sizeThresholdBytes: 200 * KIB,
      lessonTimeoutMs: 5_000,
      isCacheEnabled: true,
      storeDelay: 0,
      parallelLegs: 3,
      crowdReaders: 16,
      warmOnWrite: false,
      blockThresholdBytes: 100 * KIB,
      ...given,
    };
    this.options = options;
    this.clock = remains?.clock ?? new SimClock();
    this.random = remains?.random ?? seededRandom(options.seed);
    const { clock, random } = this;
    this.store = remains?.store ?? new ModelStore({ ...options, clock, random, bucket: BUCKET });
    this.storage = remains?.storage ?? createMemoryStorage();
    this.notes = remains?.notes ?? new NotesFolder();
    const disk = mortalStorage(this.storage, this.#life);
    const storage = options.isCacheEnabled
      ? slowStorage(disk, clock, random, options.storeDelay)
      : undefined;
    const cache = new Cache(
      storage,
      clock,
      {
        ttlMs: options.ttlMs,
        sizeThresholdBytes: options.sizeThresholdBytes,
        staleIfErrorMs: options.staleIfErrorMs,
        tombstonesMax: 4,
      },
      { fillSkipped: () => undefined, invalidated: () => undefined },
      this.notes.open(this.#life),
    );
    this.flights = new Coalescer(
      {
        windowBytes: 64 * KIB,
        windowWithFillBytes: 32 * KIB,
        slowConsumerMs: 2_000,
        pieceBytes: 64 * KIB,
        legsMax: 4,
        parallelLegs: options.parallelLegs,
        parallelAfterMs: 100,
        crowdReaders: options.crowdReaders,
        memoryBytes: 256 * KIB,
        orphansMax: 2,
      },
      clock,
      {
        slowConsumer: () => (this.outcomes.slowConsumers += 1),
        continuesAlone: () => undefined,
        endedAlone: () => undefined,
      },
    );
    this.auth = createTransparentAuth({
      endpoint: `http://${HOST}`,
      accessKeyId: PROXY.accessKeyId,
      secretAccessKey: new Secret(PROXY.secretAccessKey),
      authzTtlMs: options.authzTtlMs,
      clock,
    });
    const upstream = new Upstream({
      transport: mortalTransport(this.store, this.#life),
      clock,
      random,
      observer: {
        onResponse: () => undefined,
        onFailure: () => undefined,
        onBytes: () => undefined,
        onRetry: () => undefined,
      },
    });
    this.gateway = createGateway(
      {
        auth: this.auth,
        cache,
        flights: this.flights,
        upstream,
        observer: this.#observer(),
        clock,
        blocks: { thresholdBytes: options.blockThresholdBytes, alignBytes: BLOCK_BYTES },
        background: (_name, run) => {
          run(new AbortController().signal).catch((failure: unknown) => {
            if (!(failure instanceof GatewayError)) this.outcomes.internalErrors.push(failure);
          });
        },
      },
      {
        virtualHostDomain: undefined,
        inflightMax: 1000,
        lessonTimeoutMs: options.lessonTimeoutMs,
        warmOnWrite: options.warmOnWrite,
        hostId: "sim",
      },
    );
  }

  /** Nothing this gateway does has any effect from now on. Start another on what it left. */
  kill(): void {
    this.#life.isOver = true;
  }

  /** Makes an account known upstream, or changes what it may do. */
  allow(accessKeyId: string, mayRead: boolean): void {
    const secret = `${accessKeyId}-secret`;
    this.#secrets.set(accessKeyId, secret);
    this.store.allow(accessKeyId, secret, mayRead);
  }

  /** Whether the gateway would let `ask` share at this very moment. */
  mayShare(ask: Ask): boolean {
    const inbound = this.#inbound(ask, new AbortController());
    const target = parseRawTarget(inbound.rawTarget);
    if (target === undefined) return false;
    const who = this.auth.authenticate(inbound, target);
    return who.kind !== "s3-error" && this.auth.mayRead(who, BUCKET);
  }

  /** One exchange from the request to the last byte the client wants. Rejects when nobody answers any more. */
  async exchange(ask: Ask): Promise<Seen> {
    if (this.#life.isOver) throw clientGone();
    const { clock } = this;
    const leaving = new AbortController();
    const inbound = this.#inbound(ask, leaving);
    const startedAtMs = clock.monotonicMs();
    const leaveTimer =
      ask.leavesAfterMs === undefined
        ? undefined
        : clock.after(ask.leavesAfterMs, () => leaving.abort(clientGone()));
    const reply = await this.gateway.handle(inbound);
    const headAtMs = clock.monotonicMs();
    const received = await this.#receive(ask, reply, leaving);
    leaveTimer?.cancel();
    return {
      ask,
      startedAtMs,
      headAtMs,
      endedAtMs: clock.monotonicMs(),
      status: reply.status,
      fields: new Fields(reply.headers),
      ...received,
    };
  }

  #inbound(ask: Ask, leaving: AbortController): Inbound {
    this.#requests += 1;
    const { clock, random } = this;
    const path = ask.key === "" ? `/${BUCKET}` : `/${BUCKET}/${ask.key}`;
    const rawTarget = `${path}${ask.query ?? ""}`;
    const method = ask.method ?? "GET";
    const length = ask.body === undefined ? [] : ["Content-Length", String(ask.body.length)];
    let headers: readonly string[] = ["Host", "gateway.sim", ...(ask.headers ?? []), ...length];
    if (ask.who !== undefined) {
      const signer = this.#signer(ask.who, ask.isForged === true);
      const payloadHash = "UNSIGNED-PAYLOAD";
      headers = signRequest({ method, rawTarget, headers, payloadHash }, signer, clock.nowMs());
    }
    return {
      id: `R${this.#requests}`,
      method,
      rawTarget,
      fields: new Fields(headers),
      body: ask.body === undefined ? null : uploading(ask.body, clock, random, leaving.signal),
      signal: leaving.signal,
      remoteAddress: "10.0.0.1",
      isSecure: false,
      receivedAtMs: clock.monotonicMs(),
    };
  }

  #signer(accessKeyId: string, isForged: boolean): Signer {
    const name = `${accessKeyId} ${isForged}`;
    let signer = this.#signers.get(name);
    if (signer === undefined) {
      const secretAccessKey = isForged ? "guessed" : (this.#secrets.get(accessKeyId) ?? "unknown");
      signer = signerFor({ accessKeyId, secretAccessKey }, "auto", this.clock.nowMs());
      this.#signers.set(name, signer);
    }
    return signer;
  }

  async #receive(
    ask: Ask,
    reply: Reply,
    leaving: AbortController,
  ): Promise<{ body: Buffer; isComplete: boolean }> {
    const chunks: Uint8Array[] = [];
    let isComplete = false;
    try {
      switch (reply.body.kind) {
        case "none":
          isComplete = !leaving.signal.aborted;
          break;
        case "bytes":
          if (!leaving.signal.aborted) chunks.push(reply.body.bytes);
          isComplete = !leaving.signal.aborted;
          break;
        case "file":
          throw new Error("the memory store has no files");
        case "stream":
          isComplete = await this.#pull(ask, reply.body, leaving, chunks);
          break;
      }
    } finally {
      if (reply.body.kind === "stream") reply.body.source.close();
      if (!isComplete) leaving.abort(clientGone());
      const body = Buffer.concat(chunks);
      reply.onFinish?.({ bytesSent: body.length, isComplete });
    }
    return { body: Buffer.concat(chunks), isComplete };
  }

  async #pull(
    { paceMs = 0, leavesAfterBytes = Number.POSITIVE_INFINITY }: Ask,
    { source, lengthBytes }: { source: ByteSource; lengthBytes: number | undefined },
    leaving: AbortController,
    chunks: Uint8Array[],
  ): Promise<boolean> {
    const left = Promise.withResolvers<"left">();
    if (leaving.signal.aborted) return false;
    leaving.signal.addEventListener("abort", () => left.resolve("left"), { once: true });
    let count = 0;
    for (;;) {
      if (paceMs > 0) await this.clock.sleep(this.random.float() * paceMs);
      const reading = source.read().catch(() => "cut" as const);
      const chunk = await Promise.race([reading, left.promise]);
      if (chunk === "left" || chunk === "cut" || leaving.signal.aborted) return false;
      // A listener cuts the connection when the body is not as long as declared.
      if (chunk === null) return lengthBytes === undefined || count === lengthBytes;
      const copy = chunk.slice();
      chunks.push(copy);
      count += chunk.length;
      if (lengthBytes !== undefined && count > lengthBytes) return false;
      if (count >= leavesAfterBytes) return false;
      if (paceMs > 0) await this.clock.sleep(this.random.float() * paceMs);
      if (!Buffer.from(copy).equals(chunk)) throw new Error("bytes changed while they were sent");
      source.release?.(chunk);
    }
  }

  #observer(): GatewayObserver {
    const sent = (reply: Reply, done: () => void): Reply => {
      this.unfinished += 1;
      let isFinished = false;
      return {
        ...reply,
        onFinish: () => {
          if (isFinished) throw new Error("finished twice");
          isFinished = true;
          this.unfinished -= 1;
          done();
        },
      };
    };
    return {
      refused: (_inbound, reply) => sent(reply, () => undefined),
      replied: ({ slot }, reply) => sent(reply, () => slot.release()),
      failed: (_state, failure, error) => {
        if (error.code === "InternalError") this.outcomes.internalErrors.push(failure);
      },
      authRefused: () => undefined,
      validated: () => undefined,
      lesson: () => undefined,
      warmTriggered: () => undefined,
      flightBegan: () => undefined,
      flightShared: () => undefined,
      fillSettled: () => undefined,
      revalidation: () => undefined,
      staleServed: () => {
        this.outcomes.staleServed += 1;
      },
    };
  }
}

/** What a listener says when a client has left. */
function clientGone(): GatewayError {
  return new GatewayError("client_gone", "the client closed the connection");
}

/** A request body that arrives in two pieces and breaks when its client leaves. */
function uploading(
  bytes: Uint8Array,
  clock: SimClock,
  random: Random,
  signal: AbortSignal,
): ByteSource {
  const middle = random.below(bytes.length + 1);
  const whole = bytesSource(bytes.subarray(0, middle), bytes.subarray(middle));
  return {
    async read() {
      await clock.sleep(random.float() * 20, signal);
      return whole.read();
    },
    close: () => whole.close(),
  };
}
