/**
 * Where to connect: from the configured endpoint, and the host a single request may name
 * instead of it (virtual-host style), to an address, a port and TLS or not.
 *
 * What stands in the `Host` field is the signer's business and is not touched here.
 */

import { assert } from "../base/assert.ts";

export interface ConnectTarget {
  /** Names the target in messages and in the pool: connections of one key are alike. */
  readonly key: string;
  /** A name or an address, IPv6 without brackets. */
  readonly hostname: string;
  readonly port: number;
  /** Undefined: plain TCP. */
  readonly tls: UpstreamTls | undefined;
}

export interface UpstreamTls {
  /** PEM certificates to trust instead of the system's; undefined: the system's. */
  readonly ca?: string | undefined;
  /** Default true. False accepts any certificate: for tests and closed networks only. */
  readonly rejectUnauthorized?: boolean | undefined;
}

/** The target of an `http:` or `https:` endpoint; its path and query are not looked at. */
export function endpointTarget(endpoint: URL, tls: UpstreamTls = {}): ConnectTarget {
  const isTls = endpoint.protocol === "https:";
  assert(isTls || endpoint.protocol === "http:", "an endpoint is an http: or https: URL");
  const defaultPort = isTls ? 443 : 80;
  const port = endpoint.port === "" ? defaultPort : Number(endpoint.port);
  return targetOf(endpoint.hostname, port, isTls ? tls : undefined);
}

/** `host`, with an optional port of its own; scheme and port are otherwise the endpoint's. */
export function hostTarget(host: string, endpoint: ConnectTarget): ConnectTarget {
  const match = /^(\[[\da-fA-F:.]+\]|[^:/?#\s]+)(?::(\d{1,5}))?$/.exec(host);
  assert(match !== null, "the host to connect to is a name with an optional port");
  const port = match[2] === undefined ? endpoint.port : Number(match[2]);
  return targetOf(match[1] ?? "", port, endpoint.tls);
}

function targetOf(host: string, port: number, tls: UpstreamTls | undefined): ConnectTarget {
  const hostname = host.startsWith("[") ? host.slice(1, -1) : host;
  return { key: `${host}:${port}`, hostname, port, tls };
}
