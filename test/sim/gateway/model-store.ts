/**
 * An object store for simulations: it answers like S3 behind Tigris's proxy protocol and
 * remembers every state an object ever had, who could read it when, and how many answers are
 * still open. The properties of gateway.test.ts are questions to this memory.
 *
 * A request is judged at one moment, between a way there and a way back that take time, so
 * answers overtake each other. Faults are drawn from the chances the world was given.
 */

import type { ByteSource } from "../../../src/base/byte-source.ts";
import { bytesSource, readAll } from "../../../src/base/byte-source.ts";
import type { Clock } from "../../../src/base/clock.ts";
import { type ErrorCode, GatewayError } from "../../../src/base/errors.ts";
import type { Random } from "../../../src/base/random.ts";
import { evaluatePreconditions, ifRangeMatches } from "../../../src/http/conditional.ts";
import { formatHttpDate, parseHttpDate } from "../../../src/http/date.ts";
import { Fields } from "../../../src/http/fields.ts";
import {
  formatContentRange,
  formatUnsatisfiedRange,
  resolveRange,
} from "../../../src/http/range.ts";
import { parseRawTarget, queryValue } from "../../../src/http/raw-target.ts";
import {
  deriveSigningKey,
  parseAuthorization,
  type SignatureClaim,
  SigningKey,
  verifySignature,
} from "../../../src/s3/sigv4.ts";
import type {
  UpstreamRequest,
  UpstreamResponse,
  UpstreamTransport,
} from "../../../src/upstream/transport.ts";
import { derivedKeyHex, wrapKeys } from "../../support/wrapped-keys.ts";

export const HOST = "s3.sim";
export const PROXY = { accessKeyId: "tid_gateway", secretAccessKey: "gateway-secret" };
const REGION = "auto";

export interface ObjectVersion {
  /** Unique among the versions of a key; told in `x-amz-meta-number`. */
  readonly number: number;
  readonly etag: string;
  readonly lastModified: string;
  readonly body: Uint8Array;
}

/** What a key held from one moment to another. */
export interface KeyState {
  readonly index: number;
  /** Undefined: there was no object. */
  readonly version: ObjectVersion | undefined;
  readonly isPublic: boolean;
  readonly sinceMs: number;
  /** Infinity while it lasts. */
  untilMs: number;
}

interface Span {
  readonly mayRead: boolean;
  readonly sinceMs: number;
  untilMs: number;
}

interface Account {
  readonly secretAccessKey: string;
  readonly spans: Span[];
}

/** Chances between 0 and 1. */
export interface Faults {
  /** No connection, reset, lost answer, hang, 500 or 503: each of these. */
  readonly head: number;
  /** Reset, early end or stall: each of these, per chunk. */
  readonly body: number;
  /** A key of a DeleteObjects request is refused. */
  readonly bulk: number;
}

export const NO_FAULTS: Faults = { head: 0, body: 0, bulk: 0 };

export interface ModelStoreOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly bucket: string;
  /** One way takes up to this long. */
  readonly latencyMs: number;
  /** A body chunk takes up to this long; 0: none. */
  readonly chunkMs: number;
  readonly chunkBytes: number;
}

/** A whole object on its way, as upstream saw it asked for. */
export interface WholeFetch {
  readonly key: string;
  readonly reader: string;
  readonly sentAtMs: number;
  endedAtMs: number;
}

const TIMEOUT_MS = 30_000;

export class ModelStore implements UpstreamTransport {
  faults: Faults = NO_FAULTS;
  /** Waited for before a request is judged, and before its answer goes back; undefined: nothing. */
  holdRequest: ((request: UpstreamRequest) => Promise<void> | undefined) | undefined;
  holdAnswer: ((request: UpstreamRequest) => Promise<void> | undefined) | undefined;
  openBodies = 0;
  requestCount = 0;
  bodyBytesSent = 0;
  /** Fetches of whole objects by requests that carried `X-Sim-Reader`. */
  readonly wholeFetches: WholeFetch[] = [];
  readonly #options: ModelStoreOptions;
  readonly #states = new Map<string, KeyState[]>();
  readonly #accounts = new Map<string, Account>();
  readonly #wrapped = new Map<string, string>();
  readonly #signingKeys = new Map<string, SigningKey>();
  /** States that uploads were completed as, by their id. */
  readonly #uploads = new Map<string, number>();
  /** When the requests were sent whose answers are still on their way. */
  readonly #open = new Set<{ readonly sentAtMs: number }>();
  #longestMs = 0;
  #versions = 0;

  constructor(options: ModelStoreOptions) {
    this.#options = options;
  }

  // ---- what the world does to it ----------------------------------------------

  allow(accessKeyId: string, secretAccessKey: string, mayRead: boolean): void {
    const nowMs = this.#options.clock.monotonicMs();
    const spans = [
      { mayRead, sinceMs: Number.NEGATIVE_INFINITY, untilMs: Number.POSITIVE_INFINITY },
    ];
    const account = this.#accounts.get(accessKeyId) ?? { secretAccessKey, spans };
    const last = account.spans.at(-1);
    if (last !== undefined && last.mayRead !== mayRead) {
      last.untilMs = nowMs;
      account.spans.push({ mayRead, sinceMs: nowMs, untilMs: Number.POSITIVE_INFINITY });
    }
    this.#accounts.set(accessKeyId, account);
  }

  /** Stores bytes, or the same bytes again, or nothing (a deletion). */
  change(key: string, body: Uint8Array | "again" | undefined, isPublic?: boolean): KeyState {
    const { clock } = this.#options;
    const history = this.statesOf(key);
    const last = history.at(-1);
    const nowMs = clock.monotonicMs();
    if (last !== undefined) last.untilMs = nowMs;
    const previous = last?.version;
    const bytes = body === "again" ? previous?.body : body;
    let version: ObjectVersion | undefined;
    if (bytes !== undefined) {
      this.#versions += 1;
      const isSame = body === "again" && previous !== undefined;
      version = {
        number: this.#versions,
        etag: isSame ? previous.etag : `"${key}-${this.#versions}"`,
        lastModified: isSame ? secondAfter(previous, clock) : formatHttpDate(clock.nowMs()),
        body: bytes,
      };
    }
    const state: KeyState = {
      index: history.length,
      version,
      isPublic: isPublic ?? last?.isPublic ?? false,
      sinceMs: nowMs,
      untilMs: Number.POSITIVE_INFINITY,
    };
    history.push(state);
    return state;
  }

  /** Changes who may read a key without changing what it holds. */
  publish(key: string, isPublic: boolean): void {
    const history = this.statesOf(key);
    const last = history.at(-1);
    if (last === undefined || last.isPublic === isPublic) return;
    const nowMs = this.#options.clock.monotonicMs();
    last.untilMs = nowMs;
    history.push({
      ...last,
      index: history.length,
      isPublic,
      sinceMs: nowMs,
      untilMs: Number.POSITIVE_INFINITY,
    });
  }

  // ---- what the properties ask it ---------------------------------------------

  statesOf(key: string): KeyState[] {
    let history = this.#states.get(key);
    if (history === undefined) {
      history = [];
      this.#states.set(key, history);
    }
    return history;
  }

  current(key: string): KeyState | undefined {
    return this.statesOf(key).at(-1);
  }

  /** The longest any answer took, or takes so far, from its request to its last byte. */
  get longestMs(): number {
    const nowMs = this.#options.clock.monotonicMs();
    return Math.max(this.#longestMs, ...[...this.#open].map(({ sentAtMs }) => nowMs - sentAtMs));
  }

  /** Whether the account could read at some moment between the two. */
  couldRead(accessKeyId: string, fromMs: number, toMs: number): boolean {
    const spans = this.#accounts.get(accessKeyId)?.spans ?? [];
    return spans.some((span) => span.mayRead && span.sinceMs <= toMs && span.untilMs >= fromMs);
  }

  // ---- the transport ----------------------------------------------------------

  close(): void {
    // Nothing is kept open between requests.
  }

  async send(request: UpstreamRequest): Promise<UpstreamResponse> {
    const { clock, random } = this.#options;
    this.requestCount += 1;
    const sentAtMs = clock.monotonicMs();
    const fields = new Fields(request.headers);
    const target = parseRawTarget(request.rawTarget);
    if (target === undefined) throw new Error(`unreadable target ${request.rawTarget}`);
    const trouble = this.#draw();

    const opened = { sentAtMs };
    this.#open.add(opened);
    const whole = this.#noteWholeFetch(request, fields, sentAtMs);
    const ended = () => {
      const nowMs = clock.monotonicMs();
      this.#open.delete(opened);
      this.#longestMs = Math.max(this.#longestMs, nowMs - sentAtMs);
      if (whole !== undefined) whole.endedAtMs = nowMs;
    };
    try {
      if (trouble === "unreachable") throw failure("upstream_unreachable");
      await this.#travel(request.signal);
      if (trouble === "reset") throw failure("upstream_reset");
      if (trouble === "hang") await this.#hang(request.signal);
      const sent = request.body === null ? new Uint8Array(0) : await readAll(request.body, 1 << 24);
      await this.holdRequest?.(request);
      const answer: Answer =
        trouble === "busy"
          ? errorAnswer(503, "SlowDown")
          : this.#answer(request, fields, target, sent);
      await this.holdAnswer?.(request);
      await this.#travel(request.signal);
      if (trouble === "lost") throw failure("upstream_reset");
      if (trouble === "lost hang") await this.#hang(request.signal);
      const told = trouble === "internal" ? errorAnswer(500, "InternalError") : answer;
      if (whole !== undefined && told.status !== 200) this.#forget(whole);
      const hasBody = request.method !== "HEAD" && told.status !== 304 && told.body.length > 0;
      if (!hasBody) ended();
      return {
        status: told.status,
        headers: [
          ...told.headers,
          ...(told.status === 304 ? [] : ["Content-Length", String(told.body.length)]),
          "x-amz-request-id",
          `UP${this.requestCount}`,
        ],
        body: hasBody ? this.#bodySource(told.body, random, ended) : bytesSource(),
      };
    } catch (error) {
      request.body?.close();
      ended();
      throw error;
    }
  }

  #noteWholeFetch(
    request: UpstreamRequest,
    fields: Fields,
    sentAtMs: number,
  ): WholeFetch | undefined {
    const reader = fields.get("x-sim-reader");
    if (reader === undefined) return undefined;
    const key = request.rawTarget.split("/").at(-1) ?? "";
    const fetch = { key, reader, sentAtMs, endedAtMs: Number.POSITIVE_INFINITY };
    this.wholeFetches.push(fetch);
    return fetch;
  }

  #forget(fetch: WholeFetch): void {
    this.wholeFetches.splice(this.wholeFetches.indexOf(fetch), 1);
  }

  #draw() {
    const { random } = this.#options;
    const troubles = ["unreachable", "reset", "hang", "busy", "lost", "lost hang", "internal"];
    const at = Math.floor(random.float() / Math.max(this.faults.head, Number.EPSILON));
    return troubles[at];
  }

  #travel(signal: AbortSignal | undefined): Promise<void> {
    const { clock, random, latencyMs } = this.#options;
    return clock.sleep(random.float() * latencyMs, signal).catch(() => {
      throw failure("client_gone");
    });
  }

  async #hang(signal: AbortSignal | undefined): Promise<never> {
    await this.#options.clock.sleep(TIMEOUT_MS, signal).catch(() => {
      throw failure("client_gone");
    });
    throw failure("upstream_header_timeout");
  }

  #bodySource(body: Uint8Array, random: Random, ended: () => void): ByteSource {
    const { clock, chunkMs, chunkBytes } = this.#options;
    const paceMs = random.float() * chunkMs;
    let at = 0;
    let isClosed = false;
    this.openBodies += 1;
    const close = () => {
      if (isClosed) return;
      isClosed = true;
      this.openBodies -= 1;
      ended();
    };
    return {
      read: async () => {
        if (isClosed) return null;
        if (paceMs > 0) await clock.sleep(random.float() * paceMs);
        if (isClosed) return null;
        if (at >= body.length) {
          close();
          return null;
        }
        const trouble = Math.floor(random.float() / Math.max(this.faults.body, Number.EPSILON));
        const code = (["upstream_reset", "upstream_wrong_length", "upstream_stalled"] as const)[
          trouble
        ];
        if (code !== undefined) {
          if (code === "upstream_stalled") await clock.sleep(TIMEOUT_MS);
          throw failure(code);
        }
        const chunk = body.slice(at, at + 1 + random.below(chunkBytes));
        at += chunk.length;
        this.bodyBytesSent += chunk.length;
        return chunk;
      },
      // Whoever still looks at it sees something else.
      release: (chunk) => chunk.fill(0xee),
      close,
    };
  }

  // ---- the moment of judgement --------------------------------------------------

  #answer(request: UpstreamRequest, fields: Fields, target: Target, sent: Uint8Array): Answer {
    const { bucket } = this.#options;
    const { method } = request;
    // Virtual-host style is how anonymous requests come.
    const inHost = fields.get("host") === `${bucket}.${HOST}`;
    const path = inHost ? `/${bucket}${target.path}` : target.path;
    const key = path.slice(bucket.length + 2);
    const who = this.#judge(method, fields, target);
    if (who.kind === "refused") return errorAnswer(403, who.code);
    const learned = who.kind === "account" ? this.#keysFor(who.claim) : [];

    if (method === "GET" || method === "HEAD") {
      const state = this.current(key);
      const mayRead =
        who.kind === "account"
          ? this.couldRead(who.claim.accessKeyId, this.#nowMs(), this.#nowMs())
          : state?.isPublic === true;
      if (!mayRead) return errorAnswer(403, "AccessDenied");
      const answer = this.#read(method, fields, target, key, who.kind === "anonymous");
      if (answer.status >= 300) return answer;
      return { ...answer, headers: [...answer.headers, ...learned] };
    }
    if (who.kind === "anonymous") return errorAnswer(403, "AccessDenied");
    const answer = this.#write(method, fields, target, key, sent);
    return { ...answer, headers: [...answer.headers, ...learned] };
  }

  #read(method: string, fields: Fields, target: Target, key: string, isAnonymous: boolean): Answer {
    const wanted = queryValue(target, "versionId");
    const version =
      wanted === undefined
        ? this.current(key)?.version
        : this.statesOf(key).findLast(({ version: one }) => String(one?.number) === wanted)
            ?.version;
    if (version === undefined) return errorAnswer(404, "NoSuchKey");
    const validators = ["ETag", version.etag, "Last-Modified", version.lastModified];
    switch (evaluatePreconditions(fields, version, method)) {
      case "not-modified":
        return { status: 304, headers: validators, body: NOTHING };
      case "precondition-failed":
        return errorAnswer(412, "PreconditionFailed");
      case "proceed":
        break;
    }
    const override = queryValue(target, "response-content-type");
    if (override !== undefined && isAnonymous) return errorAnswer(400, "InvalidRequest");
    const headers = [
      ...validators,
      "Content-Type",
      override ?? typeOf(version),
      "x-amz-meta-number",
      String(version.number),
    ];
    const { body } = version;
    if (queryValue(target, "partNumber") === "1" && body.length > 0) {
      headers.push("x-amz-mp-parts-count", "1");
      headers.push("Content-Range", `bytes 0-${body.length - 1}/${body.length}`);
      return { status: 206, headers, body };
    }
    const range = ifRangeMatches(fields, version)
      ? resolveRange(fields.get("range"), body.length)
      : ({ kind: "whole" } as const);
    switch (range.kind) {
      case "whole":
        return { status: 200, headers, body };
      case "unsatisfiable":
        return {
          ...errorAnswer(416, "InvalidRange"),
          headers: ["Content-Range", formatUnsatisfiedRange(body.length)],
        };
      case "partial":
        headers.push("Content-Range", formatContentRange(range.range, body.length));
        return { status: 206, headers, body: body.subarray(range.range.start, range.range.end) };
    }
  }

  #write(method: string, fields: Fields, target: Target, key: string, sent: Uint8Array): Answer {
    if (queryValue(target, "delete") !== undefined) {
      return this.#deleteAll(new TextDecoder().decode(sent));
    }
    const uploadId = queryValue(target, "uploadId");
    if (uploadId !== undefined) return this.#complete(key, uploadId, sent);
    if (method === "DELETE") {
      const { index } = this.change(key, undefined);
      return { status: 204, headers: ["x-sim-states", `${key}=${index}`], body: NOTHING };
    }
    if (fields.get("if-none-match") === "*" && this.current(key)?.version !== undefined) {
      return errorAnswer(412, "PreconditionFailed");
    }
    const source = fields.get("x-amz-copy-source");
    if (source !== undefined) {
      const copied = this.current(source.split("/").at(-1) ?? "")?.version;
      if (copied === undefined || this.#options.random.float() < 0.3) {
        // S3 has said 200 before it knew.
        return { ...errorAnswer(500, "InternalError"), status: 200 };
      }
      const state = this.change(key, copied.body);
      return {
        status: 200,
        headers: ["x-sim-states", `${key}=${state.index}`],
        body: new TextEncoder().encode(`  <CopyObjectResult/>`),
      };
    }
    const state = this.change(key, sent.length === 1 ? "again" : sent);
    return {
      status: 200,
      headers: ["ETag", state.version?.etag ?? "", "x-sim-states", `${key}=${state.index}`],
      body: NOTHING,
    };
  }

  /** Some of the keys, or of the mentions of one, may be refused. */
  #deleteAll(document: string): Answer {
    const told: string[] = [];
    let results = "";
    const mentions = /<Key>([^<]*)<\/Key>(?:<VersionId>([^<]*)<\/VersionId>)?/g;
    for (const [, name = "", version] of document.matchAll(mentions)) {
      const what = `<Key>${name}</Key>${version === undefined ? "" : `<VersionId>${version}</VersionId>`}`;
      if (this.#options.random.float() < this.faults.bulk) {
        results += `<Error>${what}<Code>AccessDenied</Code></Error>`;
        continue;
      }
      const state =
        version === undefined ? this.change(name, undefined) : this.#uncover(name, version);
      if (state !== undefined) told.push(`${name}=${state.index}`);
      results += `<Deleted>${what}</Deleted>`;
    }
    const body = new TextEncoder().encode(`<DeleteResult>${results}</DeleteResult>`);
    return { status: 200, headers: ["x-sim-states", told.join(",")], body };
  }

  /** Deletes one version; when it was the current one, an earlier one is current again, or none. */
  #uncover(key: string, number: string): KeyState | undefined {
    const history = this.statesOf(key);
    const last = history.at(-1);
    if (last === undefined || String(last.version?.number) !== number) return undefined;
    const below = history.findLast(({ version }) => version !== last.version);
    const nowMs = this.#nowMs();
    last.untilMs = nowMs;
    const state: KeyState = {
      index: history.length,
      version: below?.version,
      isPublic: last.isPublic,
      sinceMs: nowMs,
      untilMs: Number.POSITIVE_INFINITY,
    };
    history.push(state);
    return state;
  }

  /** The first to complete an upload does it; others hear that it is done, or that there is none. */
  #complete(key: string, uploadId: string, sent: Uint8Array): Answer {
    let index = this.#uploads.get(uploadId);
    if (index !== undefined && this.#options.random.float() < 0.5) {
      return errorAnswer(404, "NoSuchUpload");
    }
    index ??= this.change(key, sent).index;
    this.#uploads.set(uploadId, index);
    const body = new TextEncoder().encode("  <CompleteMultipartUploadResult/>");
    return { status: 200, headers: ["x-sim-states", `${key}=${index}`], body };
  }

  #judge(method: string, fields: Fields, target: Target): Judgement {
    const authorization = parseAuthorization(fields, target);
    if (authorization.kind === "anonymous") return { kind: "anonymous" };
    if (authorization.kind !== "signed") return { kind: "refused", code: "AccessDenied" };
    const { claim } = authorization;
    const account = this.#accounts.get(claim.accessKeyId);
    if (account === undefined) return { kind: "refused", code: "InvalidAccessKeyId" };
    const host = fields.get("x-tigris-forwarded-host") ?? fields.get("host") ?? "";
    const signed = new Fields(["Host", host, ...fields.raw.slice(2)]);
    const key = this.#signingKey(claim, account);
    return verifySignature(claim, { method, target, fields: signed }, key)
      ? { kind: "account", claim }
      : { kind: "refused", code: "SignatureDoesNotMatch" };
  }

  #signingKey({ accessKeyId, date, region }: SignatureClaim, account: Account): SigningKey {
    const name = `${accessKeyId} ${date} ${region}`;
    let key = this.#signingKeys.get(name);
    if (key === undefined) {
      key = new SigningKey(deriveSigningKey(account.secretAccessKey, date, region));
      this.#signingKeys.set(name, key);
    }
    return key;
  }

  #keysFor({ accessKeyId, date }: SignatureClaim): string[] {
    const name = `${accessKeyId} ${date}`;
    let wrapped = this.#wrapped.get(name);
    if (wrapped === undefined) {
      const secret = this.#accounts.get(accessKeyId)?.secretAccessKey ?? "";
      const keys = [{ date, region: REGION, key: derivedKeyHex(secret, date, REGION) }];
      wrapped = wrapKeys(JSON.stringify(keys), accessKeyId, PROXY.secretAccessKey);
      this.#wrapped.set(name, wrapped);
    }
    return ["X-Tigris-Proxy-Signing-Keys", wrapped];
  }

  #nowMs(): number {
    return this.#options.clock.monotonicMs();
  }
}

/**
 * Dates have whole seconds: the same bytes stored twice in one second could be told apart by
 * nobody, so the second time counts as a later one.
 */
function secondAfter(previous: ObjectVersion, clock: Clock): string {
  const previousMs = parseHttpDate(previous.lastModified) ?? 0;
  return formatHttpDate(Math.max(clock.nowMs(), previousMs + 1000));
}

type Target = NonNullable<ReturnType<typeof parseRawTarget>>;

type Judgement =
  | { readonly kind: "anonymous" }
  | { readonly kind: "account"; readonly claim: SignatureClaim }
  | { readonly kind: "refused"; readonly code: string };

interface Answer {
  readonly status: number;
  readonly headers: readonly string[];
  readonly body: Uint8Array;
}

const NOTHING = new Uint8Array(0);

/** The type tells the version too, so that headers of two versions cannot be mixed unseen. */
export function typeOf(version: ObjectVersion): string {
  return `application/x-version-${version.number}`;
}

function errorAnswer(status: number, code: string): Answer {
  const text = `<?xml version="1.0" encoding="UTF-8"?><Error><Code>${code}</Code></Error>`;
  return {
    status,
    headers: ["Content-Type", "application/xml"],
    body: new TextEncoder().encode(text),
  };
}

function failure(code: ErrorCode): GatewayError {
  return new GatewayError(code, "told to fail");
}
