/**
 * What Linux tells of the sockets of this process, and lets change, that Bun has no call for: congestion
 * control, which descriptor a listener or a connection has, and what has come for one.
 *
 * libc is asked directly; where it cannot be (macOS, musl) nothing is known and nothing changes.
 */

import { dlopen, FFIType, ptr, read } from "bun:ffi";
import { readdirSync } from "node:fs";
import type { Socket, TCPSocketListener } from "bun";

import { fromLibc, LIBC, MSG_DONTWAIT } from "./libc.ts";

const SOL_SOCKET = 1;
const SO_ACCEPTCONN = 30;
const IPPROTO_TCP = 6;
const TCP_CONGESTION = 13;
const EAGAIN = 11;
const AF_INET = 2;
const AF_INET6 = 10;
/** Longest name of an algorithm, as the kernel has it (TCP_CA_NAME_MAX). */
const NAME_BYTES = 16;
/** struct sockaddr_in6, the longer one: family, port, flow, address, scope. */
const ADDRESS_BYTES = 28;
/** `::ffff:0:0/96`, an IPv4 address on a socket of both families. */
const MAPPED_PREFIX = "00000000000000000000ffff";

const socketCalls = fromLibc(open, null);

/** One end of a connection. */
export interface SocketEnd {
  /** "192.0.2.1" also for a mapped one, or IPv6 in its shortest form. */
  readonly address: string;
  readonly port: number;
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

/** Changes the congestion control of a socket; false when the system does not have it or allow it. */
export function setCongestionControl(descriptor: number, algorithm: string): boolean {
  const name = Buffer.from(algorithm, "latin1");
  const calls = socketCalls();
  return calls?.setsockopt(descriptor, IPPROTO_TCP, TCP_CONGESTION, ptr(name), name.length) === 0;
}

/** Whether a descriptor is a socket that accepts connections. */
export function isListening(descriptor: number): boolean {
  const value = new Uint32Array(1);
  const length = new Uint32Array([value.byteLength]);
  const calls = socketCalls();
  const result = calls?.getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, ptr(value), ptr(length));
  return result === 0 && value[0] === 1;
}

/** The port of our end; undefined when it is no socket of TCP. Half a microsecond: for going through many. */
export function localPortOf(descriptor: number): number | undefined {
  return askForEnd(descriptor, "getsockname") === undefined ? undefined : endBytes.readUInt16BE(2);
}

/** Our end of a socket; undefined when it is none of TCP. */
export function localEndOf(descriptor: number): SocketEnd | undefined {
  return endOf(descriptor, "getsockname");
}

/** The other end of a connection; undefined when the descriptor is none. */
export function remoteEndOf(descriptor: number): SocketEnd | undefined {
  return endOf(descriptor, "getpeername");
}

/** The descriptor of an open socket; -1 of a closed one. bun-types does not know the property yet. */
export function descriptorOf(socket: Socket<unknown> | TCPSocketListener): number {
  return (socket as unknown as { readonly fd: number }).fd;
}

/** Whether `receive` can be used here. */
export function canReceive(): boolean {
  return socketCalls() !== null;
}

/**
 * Reads what has come for a connection, without waiting for more; never more than `into` holds. Returns how many
 * bytes that were: 0 when nothing has, or when the other side has ended, which whoever asks next is told too. -1
 * when the connection failed: that is told once, and whoever asks next finds an end in good order.
 */
export function receive(descriptor: number, into: Uint8Array): number {
  const calls = socketCalls();
  if (calls === null) return 0;
  const count = Number(calls.recv(descriptor, ptr(into), into.length, MSG_DONTWAIT));
  if (count >= 0) return count;
  const errno = calls.__errno_location();
  return errno !== null && read.i32(errno) === EAGAIN ? 0 : -1;
}

/** All descriptors of this process, whatever they are; none when they cannot be listed. */
export function ownDescriptors(): number[] {
  try {
    return readdirSync("/proc/self/fd").map(Number);
  } catch {
    return [];
  }
}

/** struct sockaddr of the last answer; one for all, as nothing is awaited between asking and reading. */
const endBytes = Buffer.alloc(ADDRESS_BYTES);
const endLength = new Uint32Array(1);

/** Fills `endBytes` and answers with the family; undefined when there is no such end. */
function askForEnd(
  descriptor: number,
  call: "getsockname" | "getpeername",
): typeof AF_INET | typeof AF_INET6 | undefined {
  endLength[0] = ADDRESS_BYTES;
  if (socketCalls()?.[call](descriptor, ptr(endBytes), ptr(endLength)) !== 0) return undefined;
  const family = endBytes.readUInt16LE(0);
  return family === AF_INET || family === AF_INET6 ? family : undefined;
}

function endOf(descriptor: number, call: "getsockname" | "getpeername"): SocketEnd | undefined {
  const family = askForEnd(descriptor, call);
  if (family === undefined) return undefined;
  const port = endBytes.readUInt16BE(2);
  if (family === AF_INET) return { address: dotted(endBytes.subarray(4, 8)), port };
  const hex = endBytes.toString("hex", 8, 24);
  if (hex.startsWith(MAPPED_PREFIX)) return { address: dotted(endBytes.subarray(20, 24)), port };
  const groups = hex.match(/.{4}/g) ?? [];
  // The URL standard writes addresses as RFC 5952 does.
  const address = new URL(`http://[${groups.join(":")}]`).hostname.slice(1, -1);
  return { address, port };
}

function dotted(bytes: Uint8Array): string {
  return bytes.join(".");
}

function open() {
  const { i32, i64_fast, ptr: pointer, u32, u64_fast } = FFIType;
  return dlopen(LIBC, {
    __errno_location: { args: [], returns: pointer },
    getsockopt: { args: [i32, i32, i32, pointer, pointer], returns: i32 },
    setsockopt: { args: [i32, i32, i32, pointer, u32], returns: i32 },
    recv: { args: [i32, pointer, u64_fast, i32], returns: i64_fast },
    getsockname: { args: [i32, pointer, pointer], returns: i32 },
    getpeername: { args: [i32, pointer, pointer], returns: i32 },
  }).symbols;
}
