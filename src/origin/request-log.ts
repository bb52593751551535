/**
 * What the origin was asked: a bounded ring of the last requests, and counters
 * that are never forgotten. Tests and demos read here how many requests really
 * went past the cache.
 */

export interface RequestRecord {
  readonly requestId: string;
  /** Unix milliseconds at which the request arrived. */
  readonly atMs: number;
  readonly method: string;
  /** S3 name of the operation, or "Unknown" when the request named none. */
  readonly operation: string;
  readonly bucket: string | undefined;
  readonly key: string | undefined;
  readonly status: number;
  /** Access key id of the verified client; undefined for an anonymous or refused one. */
  readonly accessKeyId: string | undefined;
  /** True when a gateway forwarded the request with its identity headers. */
  readonly isProxied: boolean;
  /** The `Range` header as sent. */
  readonly range: string | undefined;
  /** The `If-None-Match` header as sent: tells a revalidation from a first read. */
  readonly ifNoneMatch: string | undefined;
  /** Body bytes handed to the socket. */
  readonly bytesSent: number;
  /** False when the reply was cut before its end. */
  readonly isComplete: boolean;
}

export class RequestLog {
  readonly #limit: number;
  readonly #records: RequestRecord[] = [];
  readonly #countByOperation = new Map<string, number>();
  #bytesSent = 0;

  /** @param limit how many requests are remembered one by one */
  constructor(limit = 1000) {
    this.#limit = limit;
  }

  /** Notes a finished request. */
  add(record: RequestRecord): void {
    this.#records.push(record);
    if (this.#records.length > this.#limit) this.#records.shift();
    this.#countByOperation.set(record.operation, this.count(record.operation) + 1);
    this.#bytesSent += record.bytesSent;
  }

  /** Finished requests, oldest first, at most the limit. */
  get records(): readonly RequestRecord[] {
    return this.#records;
  }

  /** Body bytes of all replies since the start or the last `clear`. */
  get bytesSent(): number {
    return this.#bytesSent;
  }

  /** How often `operation` was asked for; all requests when undefined. */
  count(operation?: string): number {
    if (operation !== undefined) return this.#countByOperation.get(operation) ?? 0;
    let total = 0;
    for (const count of this.#countByOperation.values()) total += count;
    return total;
  }

  clear(): void {
    this.#records.length = 0;
    this.#countByOperation.clear();
    this.#bytesSent = 0;
  }
}
