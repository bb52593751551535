/**
 * Takes pacing off connections that never leave the machine.
 *
 * BBR, the default of many hosts, spaces packets out by a timer per packet. That is good on a network
 * and a loss on loopback, where a gateway beside a training job has its clients: 64 MiB from the page cache
 * cost 482 µs per MiB with the timers and 91 without, and came at 2.0 instead of 5.3 GiB/s (virtual
 * machine, Linux 6.18). A socket that began with BBR stays paced under any other algorithm, so
 * the listener has to be changed, whose connections inherit from it; those from other machines
 * get back what the host prescribes. Hosts with another default (cubic, reno) are left alone.
 *
 * libc is asked directly; where it cannot be (macOS, musl) everything stays as it is.
 */

import { dlopen, FFIType, ptr } from "bun:ffi";

const IPPROTO_TCP = 6;
const TCP_CONGESTION = 13;
/** Longest name of an algorithm, as the kernel has it (TCP_CA_NAME_MAX). */
const NAME_BYTES = 16;
/** Paces nothing, and is there and allowed on every Linux. */
const UNPACED = "reno";

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

/** The congestion control of a socket, "bbr" for example; undefined when the system cannot be asked. */
export function congestionControlOf(descriptor: number): string | undefined {
  const name = Buffer.alloc(NAME_BYTES);
  const length = new Uint32Array([NAME_BYTES]);
  const calls = socketCalls();
  if (calls?.getsockopt(descriptor, IPPROTO_TCP, TCP_CONGESTION, ptr(name), ptr(length)) !== 0) {
    return undefined;
  }
  return name.toString("latin1").replace(/\0.*$/s, "");
}

function setCongestionControl(descriptor: number, algorithm: string): boolean {
  const name = Buffer.from(algorithm, "latin1");
  const calls = socketCalls();
  return calls?.setsockopt(descriptor, IPPROTO_TCP, TCP_CONGESTION, ptr(name), name.length) === 0;
}

type SocketCalls = ReturnType<typeof open>;

/** Undefined until it was looked for, null when the system has none. */
let loaded: SocketCalls | null | undefined;

function socketCalls(): SocketCalls | null {
  if (loaded !== undefined) return loaded;
  try {
    loaded = process.platform === "linux" ? open() : null;
  } catch {
    loaded = null;
  }
  return loaded;
}

function open() {
  const { i32, ptr: pointer, u32 } = FFIType;
  return dlopen("libc.so.6", {
    getsockopt: { args: [i32, i32, i32, pointer, pointer], returns: i32 },
    setsockopt: { args: [i32, i32, i32, pointer, u32], returns: i32 },
  }).symbols;
}
