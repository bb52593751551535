/**
 * The door of server/: a `Listener` binds a port, turns what arrives into `Inbound`s for the
 * handler it was given, and carries out the `Reply`s (http/exchange.ts is that contract;
 * test/contract/listener.suite.ts is its text, run against every listener).
 *
 * A reply is carried out exactly: headers as they are, in order and with repeats, plus `Date`,
 * `Connection` and the framing; a body of known length never chunked; a body that breaks cuts the
 * connection before the declared length; `release` and `close` of bodies and `onFinish` called
 * once whatever happens. Strings of header fields hold one character per byte (Latin-1), as on
 * the wire.
 */

import { Http1Engine } from "./http1/engine.ts";
import type { Listener, ListenerOptions } from "./options.ts";
import { StrictListener } from "./strict.ts";
import { ZeroCopyListener } from "./zero-copy.ts";

export { DEFAULT_LIMITS, ListenError } from "./options.ts";
export type {
  Listener,
  ListenerLimits,
  ListenerLog,
  ListenerOptions,
  TlsMaterial,
} from "./options.ts";

/** Which HTTP/1.1 implementation carries the S3 port: Bun's `node:http` or our own (http1/). */
export type StrictEngine = "node" | "own";

export interface StrictListenerOptions extends ListenerOptions {
  /** Undefined: "node". Both keep the contract; strict.ts says what only the other one can. */
  readonly engine?: StrictEngine | undefined;
}

/** The listener of the S3 port: keeps raw targets, header spelling and declared lengths. */
export function createStrictListener(options: StrictListenerOptions): Listener {
  return options.engine === "own" ? new Http1Engine(options) : new StrictListener(options);
}

/**
 * The listener of the read port: files go out by sendfile and never enter this process.
 * Its differences are listed in zero-copy.ts.
 */
export function createZeroCopyListener(options: ListenerOptions): Listener {
  return new ZeroCopyListener(options);
}
