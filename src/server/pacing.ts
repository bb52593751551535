/**
 * Takes pacing off connections that never leave the machine.
 *
 * BBR, the default of many hosts, spaces packets out by a timer per packet. That is good on a network
 * and a loss on loopback, where a gateway beside a training job has its clients: 64 MiB from the page cache
 * cost 482 µs per MiB with the timers and 91 without, and came at 2.0 instead of 5.3 GiB/s (virtual
 * machine, Linux 6.18). A socket that began with BBR stays paced under any other algorithm, so
 * the listener has to be changed, whose connections inherit from it; those from other machines
 * get back what the host prescribes. Hosts with another default (cubic, reno) are left alone.
 */

import type { Clock } from "../base/clock.ts";
import {
  congestionControlOf,
  isListening,
  localEndOf,
  localPortOf,
  ownDescriptors,
  remoteEndOf,
  setCongestionControl,
} from "../base/socket-calls.ts";
import type { SocketEnd } from "../base/socket-calls.ts";

/** Paces nothing, and is there and allowed on every Linux. */
const UNPACED = "reno";

/** How often descriptors are gone through at most: a thousand take 2 to 7 ms, eleven thousand 21. */
const SEARCH_EVERY_MS = 1000;

/** What an accepted connection tells of itself. */
export interface Endpoints {
  readonly descriptor: number;
  readonly localAddress: string;
  readonly remoteAddress: string;
}

/** Decides over the connections of one listener. */
export interface Pacing {
  /** Call once for each connection, when it was accepted. */
  onAccepted(connection: Endpoints): void;
}

/**
 * Prepares a listening socket. Undefined when there is nothing to do: the host does not pace, or the
 * system cannot be asked.
 *
 * @param hostAlgorithm the congestion control to count as the host's; its own when absent
 */
export function withoutLocalPacing(
  listenerDescriptor: number,
  hostAlgorithm: string | undefined = congestionControlOf(listenerDescriptor),
): Pacing | undefined {
  if (hostAlgorithm === undefined || !hostAlgorithm.startsWith("bbr")) return undefined;
  if (!setCongestionControl(listenerDescriptor, UNPACED)) return undefined;
  return {
    onAccepted({ descriptor, localAddress, remoteAddress }) {
      // Both ends have one address: 127.0.0.1, ::1, or the machine's own on its network.
      if (localAddress !== remoteAddress) setCongestionControl(descriptor, hostAlgorithm);
    },
  };
}

/**
 * The same for a server that shows neither its listening socket nor its connections (`Bun.serve`): they are
 * found by their ports. A connection from another machine gets the host's algorithm back before its first large
 * reply; its small ones are short bursts, and go as they come.
 */
export class PacingByPort {
  readonly #port: number;
  readonly #pacing: Pacing;
  readonly #clock: Clock;
  /** Connections of the port when it was last searched for them, by their other end. */
  #found = new Map<string, number>();
  #searchedAtMs = Number.NEGATIVE_INFINITY;

  /** Undefined when there is nothing to do. Call it again for the successor of a listener. */
  static prepare(port: number, clock: Clock, hostAlgorithm?: string): PacingByPort | undefined {
    let prepared: PacingByPort | undefined;
    for (const descriptor of ownDescriptors()) {
      if (localPortOf(descriptor) !== port || !isListening(descriptor)) continue;
      const pacing = withoutLocalPacing(descriptor, hostAlgorithm);
      if (pacing !== undefined) prepared = new PacingByPort(port, pacing, clock);
    }
    return prepared;
  }

  private constructor(port: number, pacing: Pacing, clock: Clock) {
    this.#port = port;
    this.#pacing = pacing;
    this.#clock = clock;
  }

  /** Call before a reply of many bytes. A connection that is not found stays without pacing for now. */
  beforeLargeReply(client: SocketEnd): void {
    const { address } = client;
    // Nearly everybody: the address of our end is the same, so that nothing has to be looked up.
    if (address === "127.0.0.1" || address === "::1") return;
    const descriptor = this.#connectionOf(client);
    const localAddress = descriptor === undefined ? undefined : localEndOf(descriptor)?.address;
    if (descriptor === undefined || localAddress === undefined) return;
    this.#pacing.onAccepted({ descriptor, localAddress, remoteAddress: address });
  }

  #connectionOf(client: SocketEnd): number | undefined {
    const known = this.#found.get(keyOf(client));
    const other = known === undefined ? undefined : remoteEndOf(known);
    if (other !== undefined && keyOf(other) === keyOf(client)) return known;
    const nowMs = this.#clock.monotonicMs();
    if (nowMs - this.#searchedAtMs < SEARCH_EVERY_MS) return undefined;
    this.#searchedAtMs = nowMs;
    this.#found = new Map();
    for (const descriptor of ownDescriptors()) {
      if (localPortOf(descriptor) !== this.#port) continue;
      const remote = remoteEndOf(descriptor);
      if (remote !== undefined) this.#found.set(keyOf(remote), descriptor);
    }
    return this.#found.get(keyOf(client));
  }
}

function keyOf({ address, port }: SocketEnd): string {
  return `${address} ${port}`;
}
