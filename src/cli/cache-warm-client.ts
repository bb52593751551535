/**
 * An S3 client of the gateway for `tag cache warm`: lists, and reads bodies only to throw
 * them away. Signs with the credentials of whoever runs it, so that warming needs exactly
 * the rights reading needs; sends targets byte for byte, because keys are any text.
 */

import { Agent as HttpAgent, request as requestHttp, type IncomingMessage } from "node:http";
import { Agent as HttpsAgent, request as requestHttps } from "node:https";

import type { Clock } from "../base/clock.ts";
import { decodePercent, encodePath, encodeQueryComponent } from "../http/raw-target.ts";
import type { ObjectId } from "../s3/object-id.ts";
import { EMPTY_SHA256, type KeyPair, signerFor, signRequest } from "../s3/sigv4.ts";
import { child, children, childText, parseXml } from "../s3/xml.ts";
import { CliError, type ExitName } from "./exit-codes.ts";

export interface ListedObject {
  readonly key: string;
  readonly sizeBytes: number;
}

export interface ReadOutcome {
  readonly status: number;
  /** Body bytes that came; of a HEAD, those it announced. */
  readonly sizeBytes: number;
  /** `X-Cache`, if it was a gateway that answered. */
  readonly xCache: string | undefined;
}

export interface GatewayClientOptions {
  /** `http://127.0.0.1:8080`. */
  readonly endpoint: string;
  readonly pair: KeyPair;
  readonly region: string;
  /** Requests at a time, for the pool of connections. */
  readonly concurrency: number;
  readonly clock: Clock;
}

/** No byte for so long: the connection is dead. */
const STALL_LIMIT_MS = 120_000;
const LIST_BYTES_MAX = 64 * 1024 * 1024;

export class GatewayClient implements Disposable {
  readonly #options: GatewayClientOptions;
  readonly #endpoint: URL;
  readonly #agent: HttpAgent;

  constructor(options: GatewayClientOptions) {
    this.#options = options;
    this.#endpoint = new URL(options.endpoint);
    const pool = { keepAlive: true, maxSockets: options.concurrency + 1 };
    this.#agent =
      this.#endpoint.protocol === "https:"
        ? // The local server's certificate is made out for a name, and we ask an address.
          new HttpsAgent({ ...pool, rejectUnauthorized: !isLoopback(this.#endpoint.hostname) })
        : new HttpAgent(pool);
  }

  /**
   * Objects of a bucket by key, after `startAfter` (exclusive; "" for all), in pages
   * (ListObjectsV2). Throws a `CliError` when the listing is refused or fails.
   */
  async *list(
    bucket: string,
    prefix: string,
    startAfter: string,
  ): AsyncGenerator<readonly ListedObject[], void, undefined> {
    let token: string | undefined;
    for (;;) {
      const query = [
        ["list-type", "2"],
        ["encoding-type", "url"],
        ["max-keys", "1000"],
        ...(prefix === "" ? [] : [["prefix", prefix]]),
        ...(token === undefined
          ? startAfter === ""
            ? []
            : [["start-after", startAfter]]
          : [["continuation-token", token]]),
      ].map(([name = "", value = ""]) => `${name}=${encodeQueryComponent(value)}`);
      const { status, text } = await this.#readText(`/${encodePath(bucket)}?${query.join("&")}`);
      if (status !== 200) throw refused(bucket, status, text);
      const { content } = parseXml(text) ?? { content: undefined };
      const page = children(content, "Contents").map((node) => ({
        key: decoded(childText(node, "Key") ?? ""),
        sizeBytes: Number(childText(node, "Size") ?? 0),
      }));
      if (content === undefined || page.some(({ key }) => key === "")) {
        throw new CliError("http", `the listing of ${bucket} is not one`);
      }
      yield page;
      token = childText(content, "NextContinuationToken");
      if (childText(content, "IsTruncated") !== "true" || token === undefined) return;
    }
  }

  /** Reads an object to its end, keeping nothing; `onBytes` is told of every chunk. */
  async read(
    id: ObjectId,
    signal: AbortSignal,
    onBytes: (count: number) => void,
  ): Promise<ReadOutcome> {
    const answer = await this.#send("GET", targetOf(id), signal);
    let sizeBytes = 0;
    for await (const chunk of answer as AsyncIterable<Uint8Array>) {
      sizeBytes += chunk.length;
      onBytes(chunk.length);
    }
    return { ...outcomeOf(answer), sizeBytes };
  }

  /** What a read would bring. */
  async head(id: ObjectId, signal: AbortSignal): Promise<ReadOutcome> {
    const answer = await this.#send("HEAD", targetOf(id), signal);
    answer.resume();
    return outcomeOf(answer);
  }

  [Symbol.dispose](): void {
    this.#agent.destroy();
  }

  async #readText(rawTarget: string): Promise<{ status: number; text: string }> {
    const answer = await this.#send("GET", rawTarget, undefined).catch((error: unknown) => {
      const reason = error instanceof Error ? error.message : String(error);
      throw new CliError("http", `${this.#options.endpoint} does not answer: ${reason}`, {
        cause: error,
      });
    });
    const chunks: Uint8Array[] = [];
    let sizeBytes = 0;
    for await (const chunk of answer as AsyncIterable<Uint8Array>) {
      sizeBytes += chunk.length;
      if (sizeBytes > LIST_BYTES_MAX) throw new CliError("http", "the listing has no end");
      chunks.push(chunk);
    }
    return { status: answer.statusCode ?? 0, text: Buffer.concat(chunks).toString() };
  }

  #send(
    method: "GET" | "HEAD",
    rawTarget: string,
    signal: AbortSignal | undefined,
  ): Promise<IncomingMessage> {
    const { pair, region, clock } = this.#options;
    const nowMs = clock.nowMs();
    const headers = signRequest(
      { method, rawTarget, headers: ["Host", this.#endpoint.host], payloadHash: EMPTY_SHA256 },
      signerFor(pair, region, nowMs),
      nowMs,
    );
    const request = this.#endpoint.protocol === "https:" ? requestHttps : requestHttp;
    return new Promise((resolve, reject) => {
      const outgoing = request({
        host: this.#endpoint.hostname.replace(/^\[|\]$/g, ""),
        port: this.#endpoint.port === "" ? undefined : this.#endpoint.port,
        method,
        path: rawTarget,
        headers,
        setHost: false,
        agent: this.#agent,
        timeout: STALL_LIMIT_MS,
        signal,
      });
      outgoing.on("timeout", () => outgoing.destroy(new Error("no answer in time")));
      outgoing.on("error", reject);
      outgoing.on("response", resolve);
      outgoing.end();
    });
  }
}

function targetOf({ bucket, key }: ObjectId): string {
  return `/${encodePath(bucket)}/${encodePath(key)}`;
}

function outcomeOf({ statusCode, headers }: IncomingMessage): ReadOutcome {
  const xCache = headers["x-cache"];
  return {
    status: statusCode ?? 0,
    sizeBytes: Number(headers["content-length"] ?? 0),
    xCache: Array.isArray(xCache) ? xCache[0] : xCache,
  };
}

/** Keys of a listing with `encoding-type=url`; S3 writes a space as "+". */
function decoded(text: string): string {
  return decodePercent(text.replaceAll("+", "%20")) ?? text;
}

function refused(bucket: string, status: number, text: string): CliError {
  const { content } = parseXml(text) ?? { content: undefined };
  const code = childText(content, "Code") ?? childText(child(content, "Error"), "Code");
  const why = code === undefined ? `${status}` : `${status} ${code}`;
  const exits: Readonly<Record<number, ExitName>> = { 401: "auth", 403: "auth", 404: "notFound" };
  return new CliError(exits[status] ?? "http", `cannot list ${bucket}: ${why}`);
}

const isLoopback = (host: string): boolean => /^(?:127\.|localhost$|\[::1\]$)/.test(host);
