/**
 * An S3 client without opinions: signs exactly the target it is given and sends it byte for byte.
 * The SDKs rewrite, refuse or re-encode some keys; this one sends them all.
 */

import { request as send } from "node:http";

import { systemClock } from "../../src/base/clock.ts";
import { Fields, type RawHeaders } from "../../src/http/fields.ts";
import { encodePath } from "../../src/http/raw-target.ts";
import { signerFor, signRequest, type KeyPair } from "../../src/s3/sigv4.ts";

export interface RawAnswer {
  readonly status: number;
  readonly fields: Fields;
  readonly body: Uint8Array;
}

export interface RawCall {
  readonly method: string;
  /** Path and query, encoded, sent as they are. */
  readonly rawTarget: string;
  readonly headers?: RawHeaders;
  readonly body?: Uint8Array;
}

/** A client of one endpoint, signing with `pair`, or anonymous when it is undefined. */
export class RawClient {
  readonly #endpoint: URL;
  readonly #pair: KeyPair | undefined;
  readonly #region: string;

  constructor(endpoint: string, pair: KeyPair | undefined, region = "auto") {
    this.#endpoint = new URL(endpoint);
    this.#pair = pair;
    this.#region = region;
  }

  /** The encoded target of an object. */
  static targetOf(bucket: string, key: string): string {
    return `/${bucket}/${encodePath(key)}`;
  }

  put(bucket: string, key: string, body: Uint8Array): Promise<RawAnswer> {
    return this.call({ method: "PUT", rawTarget: RawClient.targetOf(bucket, key), body });
  }

  get(bucket: string, key: string, headers: RawHeaders = []): Promise<RawAnswer> {
    return this.call({ method: "GET", rawTarget: RawClient.targetOf(bucket, key), headers });
  }

  call({ method, rawTarget, headers = [], body }: RawCall): Promise<RawAnswer> {
    const payload = body ?? new Uint8Array(0);
    const framed = ["Host", this.#endpoint.host, ...headers];
    if (body !== undefined) framed.push("Content-Length", String(body.length));
    const signed =
      this.#pair === undefined ? framed : this.#sign(method, rawTarget, framed, payload);
    return new Promise((resolve, reject) => {
      const outgoing = send({
        host: this.#endpoint.hostname,
        port: this.#endpoint.port,
        method,
        path: rawTarget,
        headers: signed,
        setHost: false,
        agent: false,
      });
      outgoing.on("error", reject);
      outgoing.on("response", (incoming) => {
        const chunks: Uint8Array[] = [];
        incoming.on("data", (chunk: Uint8Array) => chunks.push(chunk));
        incoming.on("error", reject);
        incoming.on("end", () =>
          resolve({
            status: incoming.statusCode ?? 0,
            fields: new Fields(incoming.rawHeaders),
            body: Buffer.concat(chunks),
          }),
        );
      });
      outgoing.end(payload);
    });
  }

  #sign(method: string, rawTarget: string, headers: RawHeaders, payload: Uint8Array): string[] {
    if (this.#pair === undefined) return [...headers];
    const nowMs = systemClock.nowMs();
    const payloadHash = new Bun.CryptoHasher("sha256").update(payload).digest("hex");
    const signer = signerFor(this.#pair, this.#region, nowMs);
    return signRequest({ method, rawTarget, headers, payloadHash }, signer, nowMs);
  }
}
