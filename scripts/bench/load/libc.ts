/**
 * The few system calls of the load generator, straight from libc.
 *
 * A load generator must cost less than what it measures. Bun's own sockets cost about as much per
 * request as the servers under test; a loop over epoll with calls of 0.1 µs each does not. Linux and
 * IPv4 only, like the rest of the instrument (taskset, /proc).
 */

import { dlopen, FFIType, ptr, read } from "bun:ffi";
import type { Pointer } from "bun:ffi";

const { i32, u32, i64_fast, ptr: pointer } = FFIType;

const { symbols: libc } = dlopen("libc.so.6", {
  socket: { args: [i32, i32, i32], returns: i32 },
  connect: { args: [i32, pointer, u32], returns: i32 },
  fcntl: { args: [i32, i32, i32], returns: i32 },
  setsockopt: { args: [i32, i32, i32, pointer, u32], returns: i32 },
  epoll_create1: { args: [i32], returns: i32 },
  epoll_ctl: { args: [i32, i32, i32, pointer], returns: i32 },
  epoll_pwait2: { args: [i32, pointer, i32, pointer, pointer], returns: i32 },
  send: { args: [i32, pointer, i64_fast, i32], returns: i64_fast },
  recv: { args: [i32, pointer, i64_fast, i32], returns: i64_fast },
  close: { args: [i32], returns: i32 },
  __errno_location: { args: [], returns: pointer },
});

const AF_INET = 2;
const SOCK_STREAM = 1;
const IPPROTO_TCP = 6;
const TCP_NODELAY = 1;
const F_SETFL = 4;
const O_NONBLOCK = 0o4000;
const MSG_NOSIGNAL = 0x4000;
const EPOLL_CTL_ADD = 1;
const EPOLLIN = 1;
const EINTR = 4;
const EAGAIN = 11;

/** A connected socket that never blocks. Throws when nobody listens there. */
export function connectTo(host: string, port: number): number {
  const octets = host.split(".").map(Number);
  if (octets.length !== 4 || octets.some((octet) => !(octet >= 0 && octet <= 255))) {
    throw new RangeError(`${host} is no IPv4 address`);
  }
  const descriptor = libc.socket(AF_INET, SOCK_STREAM, 0);
  // struct sockaddr_in: family in host order, port and address in network order.
  const address = new Uint8Array(16);
  new DataView(address.buffer).setUint16(0, AF_INET, true);
  new DataView(address.buffer).setUint16(2, port, false);
  address.set(octets, 4);
  if (libc.connect(descriptor, ptr(address), address.length) !== 0) {
    const code = errno();
    libc.close(descriptor);
    throw new Error(`cannot connect to ${host}:${port} (errno ${code})`);
  }
  const one = new Int32Array([1]);
  libc.setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, ptr(one), 4);
  libc.fcntl(descriptor, F_SETFL, O_NONBLOCK);
  return descriptor;
}

/** Sends all of a small message, or throws: it always fits into the buffer of an idle socket. */
export function sendAll(descriptor: number, address: Pointer, sizeBytes: number): void {
  const sent = Number(libc.send(descriptor, address, sizeBytes, MSG_NOSIGNAL));
  if (sent !== sizeBytes) throw new Error(`send took ${sent} of ${sizeBytes} bytes`);
}

/** Bytes received; 0 when the peer closed, -1 when nothing is there yet. Throws on a reset. */
export function receive(descriptor: number, address: Pointer, sizeBytes: number): number {
  const received = Number(libc.recv(descriptor, address, sizeBytes, 0));
  if (received >= 0) return received;
  const code = errno();
  if (code === EAGAIN || code === EINTR) return -1;
  throw new Error(`recv failed (errno ${code})`);
}

export function closeSocket(descriptor: number): void {
  libc.close(descriptor);
}

/** Which of many sockets have something to read. */
export class Poller {
  readonly #descriptor = libc.epoll_create1(0);
  readonly #events: DataView;
  readonly #address: Pointer;
  readonly #max: number;
  // struct timespec: a schedule of a thousand requests per second has no use for whole milliseconds.
  readonly #timeout = new BigInt64Array(2);
  readonly #timeoutAddress = ptr(this.#timeout);
  // struct epoll_event is packed on x86-64 only.
  readonly #stride = process.arch === "x64" ? 12 : 16;
  readonly #dataAt = process.arch === "x64" ? 4 : 8;

  constructor(max: number) {
    this.#max = max;
    const bytes = new Uint8Array(max * this.#stride);
    this.#events = new DataView(bytes.buffer);
    this.#address = ptr(bytes);
  }

  /** `token` comes back from `tokenAt` when the socket is readable. */
  add(descriptor: number, token: number): void {
    const event = new DataView(new ArrayBuffer(this.#stride));
    event.setUint32(0, EPOLLIN, true);
    event.setUint32(this.#dataAt, token, true);
    libc.epoll_ctl(this.#descriptor, EPOLL_CTL_ADD, descriptor, ptr(event));
  }

  /** Waits up to `timeoutNs` (below a second) and says how many sockets are readable. */
  wait(timeoutNs: number): number {
    this.#timeout[1] = BigInt(timeoutNs);
    const { epoll_pwait2: wait } = libc;
    return Math.max(
      0,
      wait(this.#descriptor, this.#address, this.#max, this.#timeoutAddress, null),
    );
  }

  tokenAt(index: number): number {
    return this.#events.getUint32(index * this.#stride + this.#dataAt, true);
  }

  close(): void {
    libc.close(this.#descriptor);
  }
}

function errno(): number {
  const address = libc.__errno_location();
  return address === null ? 0 : read.i32(address);
}
