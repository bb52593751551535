/**
 * Who is compared: servers that can be started, emptied and stopped, and the endpoints they offer.
 * One TAG process has two (the S3 port and the read port).
 */

/** Where requests of a contender go. */
export interface Endpoint {
  readonly contender: ContenderName;
  /** IPv4 address. */
  readonly host: string;
  readonly port: number;
  /** True when requests carry a signature; for those who would not check it they carry none. */
  readonly isSigned: boolean;
}

/** `tag`, `tag-read`, `nginx`, `varnish`, `direct`, `tag@node`, `tag@own`, or the name of a peer. */
export type ContenderName = string;

/** A server under test. */
export interface Server {
  readonly endpoints: readonly Endpoint[];
  /** Its processes; empty when they are not ours to look at. */
  readonly pids: readonly number[];
  /** True when stored bodies live in the process and never leave memory. */
  readonly keepsBodiesInMemory: boolean;
  /** Starts it again with nothing cached. False when that is not possible. */
  renew(): Promise<boolean>;
  stop(): Promise<void>;
}

/** What a server is started with. */
export interface ServerPlace {
  /** An empty folder of its own. */
  readonly folder: string;
  /** The core of servers under test. */
  readonly core: number;
  readonly originPort: number;
}
