/**
 * A dev origin on a temporary folder behind a strict listener on a free port, with the
 * clients that talk to it. `await using` closes everything and removes the folder.
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { S3Client } from "@aws-sdk/client-s3";
import { systemClock } from "../../src/base/clock.ts";
import { systemRandom } from "../../src/base/random.ts";
import { createOrigin, type Origin, type OriginOptions } from "../../src/origin/origin.ts";
import type { KeyPair } from "../../src/s3/sigv4.ts";
import { createStrictListener, type Listener } from "../../src/server/listener.ts";
import { RawClient } from "./raw-client.ts";

export const TAGDEV: KeyPair = { accessKeyId: "tagdev", secretAccessKey: "tagdevsecret" };
export const TAGOTHER: KeyPair = { accessKeyId: "tagother", secretAccessKey: "tagothersecret" };
export const GATEWAY: KeyPair = { accessKeyId: "tid_test", secretAccessKey: "tsec_test" };

export class TestOrigin implements AsyncDisposable {
  readonly origin: Origin;
  readonly root: string;
  /** What the origin reported as failures of its own; a test expects none. */
  readonly errors: readonly string[];
  readonly #listener: Listener;
  readonly #clients: S3Client[] = [];
  readonly #ownsRoot: boolean;

  private constructor(
    origin: Origin,
    listener: Listener,
    root: string,
    ownsRoot: boolean,
    errors: readonly string[],
  ) {
    this.origin = origin;
    this.root = root;
    this.errors = errors;
    this.#listener = listener;
    this.#ownsRoot = ownsRoot;
  }

  /** Starts one; a `root` that is given is kept, so that another can be started on it. */
  static async start(options: Partial<OriginOptions> = {}): Promise<TestOrigin> {
    const root = options.root ?? mkdtempSync(join(tmpdir(), "tag-origin-"));
    const errors: string[] = [];
    const report = (message: string, fields?: Record<string, unknown>): void => {
      errors.push(`${message} ${JSON.stringify(fields)} ${String(fields?.["error"])}`);
    };
    const origin = await createOrigin({
      proxyAccess: GATEWAY,
      clock: systemClock,
      random: systemRandom,
      log: { error: report },
      ...options,
      root,
    });
    let requestCount = 0;
    const listener = createStrictListener({
      bindIp: "127.0.0.1",
      port: 0,
      handler: origin.handle,
      clock: systemClock,
      log: { warn: () => undefined, error: report },
      newRequestId: () => `REQUEST${(requestCount += 1)}`,
    });
    await listener.start();
    return new TestOrigin(origin, listener, root, options.root === undefined, errors);
  }

  get port(): number {
    return this.#listener.port;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** The AWS SDK, path style, without retries, so that a test sees the first answer. */
  s3(pair: KeyPair = TAGDEV): S3Client {
    const client = new S3Client({
      endpoint: this.endpoint,
      region: "auto",
      credentials: {
        accessKeyId: pair.accessKeyId,
        secretAccessKey: pair.secretAccessKey,
      },
      forcePathStyle: true,
      maxAttempts: 1,
    });
    this.#clients.push(client);
    return client;
  }

  /** The client without opinions; anonymous when `pair` is undefined. */
  raw(pair: KeyPair | undefined = TAGDEV): RawClient {
    return new RawClient(this.endpoint, pair);
  }

  anonymous(): RawClient {
    return new RawClient(this.endpoint, undefined);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients) client.destroy();
    await this.#listener.stop();
    this.origin.close();
    if (this.#ownsRoot) rmSync(this.root, { recursive: true, force: true });
  }
}

/** Text of a body as bytes. */
export function bytesOf(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** Bytes that repeat only after a long time, so that shifted or swapped parts are noticed. */
export function patternedBytes(sizeBytes: number): Uint8Array {
  const bytes = new Uint8Array(sizeBytes);
  for (let at = 0; at < sizeBytes; at += 1)
    bytes[at] = (at * 31 + (at >> 8) * 17 + (at >> 16)) & 255;
  return bytes;
}
