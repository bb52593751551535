/**
 * Where requests go upstream: the address part of a call, in path style (`/bucket/key`
 * to the endpoint) or virtual-host style (`/key` to `bucket.endpoint`).
 */

import { isIP } from "node:net";
import { decodePercent } from "../http/raw-target.ts";
import type { RawTarget } from "../http/raw-target.ts";

export interface Endpoint {
  /** Value of `Host`: the port is left out when it is the scheme's own. */
  readonly authority: string;
  readonly hostname: string;
  /** A name in DNS: neither an address nor localhost, so that a bucket can be put before it. */
  readonly isName: boolean;
  readonly isTls: boolean;
  /** What the endpoint's own path puts before every request's; "" or "/…" without slash at the end. */
  readonly basePath: string;
}

/** Reads an endpoint URL; throws a TypeError when it is none. */
export function parseEndpoint(text: string): Endpoint {
  const url = new URL(text);
  const hostname = url.hostname.replace(/^\[|\]$/g, "");
  return {
    authority: url.host,
    hostname,
    isName: isIP(hostname) === 0 && hostname !== "localhost" && !hostname.endsWith(".localhost"),
    isTls: url.protocol === "https:",
    basePath: url.pathname.replace(/\/+$/, ""),
  };
}

/** Address of one call. */
export interface Address {
  readonly authority: string;
  /** Host name to connect to; undefined: the endpoint's. */
  readonly host: string | undefined;
}

/** The endpoint itself, or the bucket's name below it. */
export function addressOf(endpoint: Endpoint, bucket: string | undefined): Address {
  if (bucket === undefined) return { authority: endpoint.authority, host: undefined };
  return {
    authority: `${bucket}.${endpoint.authority}`,
    // An address or localhost has no names below it: only the Host field tells the bucket.
    host: endpoint.isName ? `${bucket}.${endpoint.hostname}` : undefined,
  };
}

/** Whether a bucket's name can stand before a host's. With TLS a dot would fall outside the wildcard certificate. */
export function fitsHostName(bucket: string, endpoint: Endpoint): boolean {
  const isLabel = /^[a-z0-9][a-z0-9.-]*[a-z0-9]$/.test(bucket);
  return endpoint.isName && isLabel && !(endpoint.isTls && bucket.includes("."));
}

/** The bucket a path-style target names, with what is left of its paths without it. */
export interface PathBucket {
  readonly bucket: string;
  /** Raw path behind the bucket; "/" when there is nothing. */
  readonly rawRest: string;
  /** The same decoded. */
  readonly rest: string;
}

/** Undefined for `/`, which names no bucket. */
export function pathBucket(target: RawTarget): PathBucket | undefined {
  const { rawPath } = target;
  const slash = rawPath.indexOf("/", 1);
  const rawBucket = slash === -1 ? rawPath.slice(1) : rawPath.slice(1, slash);
  if (rawBucket === "") return undefined;
  const rawRest = slash === -1 ? "/" : rawPath.slice(slash);
  return {
    bucket: decodePercent(rawBucket) ?? rawBucket,
    rawRest,
    rest: decodePercent(rawRest) ?? rawRest,
  };
}
