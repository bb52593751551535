/**
 * The connections to upstream: who gets an idle one, who may open one, who waits.
 *
 * Bounds: `maxConnections` in all, `maxIdlePerHost` kept for later. Requests beyond the first
 * bound wait in order of arrival, no longer than a connect may take. The most
 * recently used idle connection is handed out first, so the others can age and go.
 *
 * A connect cannot be cancelled, so one that takes too long is abandoned by its request and
 * goes on alone: when it succeeds after all, it serves the next one, which is how
 * service resumes when a dead network comes back. Abandoned connects have a bound of their
 * own (`maxConnections` again), so a black hole cannot eat the descriptors of the process.
 */

import type { Clock, Timer } from "../base/clock.ts";
import { GatewayError } from "../base/errors.ts";
import { Connection, type ConnectionLimits, type ConnectionOwner } from "./connection.ts";
import type { ConnectTarget } from "./endpoint.ts";

export interface PoolOptions {
  readonly maxIdlePerHost: number;
  readonly maxConnections: number;
  readonly connectTimeoutMs: number;
  /** An idle connection is closed after this time; servers announce or close earlier. */
  readonly idleTimeoutMs: number;
  readonly limits: ConnectionLimits;
  readonly clock: Clock;
}

export interface AcquireWishes {
  /** Longest idle time of a reused connection; 0 insists on a new one. */
  readonly maxIdleMs: number;
  readonly signal?: AbortSignal | undefined;
}

export interface Lease {
  readonly connection: Connection;
  /** Straight from its connect. Otherwise the server may have closed it in this very moment. */
  readonly isFresh: boolean;
}

interface Idle {
  readonly connection: Connection;
  readonly sinceMs: number;
  readonly timer: Timer;
}

interface Waiter {
  readonly target: ConnectTarget;
  readonly needsFresh: boolean;
  readonly grant: (lease: Lease) => void;
  readonly refuse: (error: unknown) => void;
}

/** How much earlier than the server announced an idle connection is closed. */
const KEEP_ALIVE_MARGIN_MS = 1_000;

export class ConnectionPool implements ConnectionOwner {
  readonly #options: PoolOptions;
  readonly #open = new Set<Connection>();
  /** Idle connections by target, the most recently used last. */
  readonly #idle = new Map<string, Idle[]>();
  /** Requests without a connection, in order of arrival. */
  readonly #waiters = new Set<Waiter>();
  /** Connects under way by target, abandoned ones not counted. */
  readonly #dials = new Map<string, number>();
  #dialCount = 0;
  #abandonedCount = 0;
  #isClosed = false;

  constructor(options: PoolOptions) {
    this.#options = options;
  }

  /** Connections that are open or being opened. */
  get count(): number {
    return this.#open.size + this.#dialCount + this.#abandonedCount;
  }

  get idleCount(): number {
    let count = 0;
    for (const idle of this.#idle.values()) count += idle.length;
    return count;
  }

  /**
   * An idle connection or a new one. Rejects with `upstream_unreachable`,
   * `upstream_connect_timeout` (none was free or opened in time), `shutting_down`, or the
   * signal's reason.
   */
  async acquire(target: ConnectTarget, wishes: AcquireWishes): Promise<Lease> {
    wishes.signal?.throwIfAborted();
    if (this.#isClosed) throw shuttingDown();
    const connection = this.#takeIdle(target, wishes.maxIdleMs);
    if (connection !== undefined) return { connection, isFresh: false };
    return this.#wait(target, wishes);
  }

  /** Closes idle connections and refuses new requests; running exchanges end on their own. */
  close(): void {
    this.#isClosed = true;
    for (const idle of [...this.#idle.values()].flat()) this.#closeIdle(idle);
    for (const waiter of this.#waiters) waiter.refuse(shuttingDown());
  }

  // ── What a connection reports ───────────────────────────────────────────────────────

  onIdle(connection: Connection): void {
    this.#offer(connection, false);
  }

  onClosed(connection: Connection): void {
    const idle = this.#idle
      .get(connection.target.key)
      ?.find((one) => one.connection === connection);
    if (idle !== undefined) this.#removeIdle(idle);
    this.#open.delete(connection);
    this.#dialForWaiters();
  }

  // ── Waiting and connecting ──────────────────────────────────────────────────────────

  #wait(target: ConnectTarget, wishes: AcquireWishes): Promise<Lease> {
    const { connectTimeoutMs, clock } = this.#options;
    const { signal } = wishes;
    return new Promise((resolve, reject) => {
      const leave = () => {
        this.#waiters.delete(waiter);
        timer.cancel();
        signal?.removeEventListener("abort", onAbort);
      };
      const waiter: Waiter = {
        target,
        needsFresh: wishes.maxIdleMs === 0,
        grant: (lease) => {
          leave();
          resolve(lease);
        },
        refuse: (error) => {
          leave();
          reject(error);
        },
      };
      const onAbort = () => waiter.refuse(signal?.reason);
      const timer = clock.after(connectTimeoutMs, () =>
        waiter.refuse(
          new GatewayError(
            "upstream_connect_timeout",
            `no connection to ${target.key} within ${connectTimeoutMs} ms`,
          ),
        ),
      );
      signal?.addEventListener("abort", onAbort, { once: true });
      this.#waiters.add(waiter);
      this.#dialForWaiters();
    });
  }

  /** Starts as many connects as there are waiters without one, within the bounds. */
  #dialForWaiters(): void {
    const needed = new Map<string, number>();
    for (const { target } of this.#waiters) {
      const wanted = (needed.get(target.key) ?? 0) + 1;
      needed.set(target.key, wanted);
      if (wanted <= (this.#dials.get(target.key) ?? 0)) continue;
      if (!this.#makeRoom()) return;
      void this.#dial(target);
    }
  }

  /** True when one more connect is allowed; the longest idle connection gives way to it. */
  #makeRoom(): boolean {
    const { maxConnections } = this.#options;
    if (this.#abandonedCount >= maxConnections) return false;
    if (this.#open.size + this.#dialCount < maxConnections) return true;
    let oldest: Idle | undefined;
    for (const [first] of this.#idle.values()) {
      if (first !== undefined && first.sinceMs < (oldest?.sinceMs ?? Infinity)) oldest = first;
    }
    if (oldest === undefined) return false;
    this.#closeIdle(oldest);
    return true;
  }

  async #dial(target: ConnectTarget): Promise<void> {
    let isAbandoned = false;
    this.#countDial(target, 1);
    const timer = this.#options.clock.after(this.#options.connectTimeoutMs, () => {
      isAbandoned = true;
      this.#countDial(target, -1);
      this.#abandonedCount += 1;
    });
    let connection: Connection | undefined;
    let failure: unknown;
    try {
      connection = await Connection.open(target, this.#options.limits, this);
    } catch (error) {
      failure = error;
    }
    timer.cancel();
    if (isAbandoned) this.#abandonedCount -= 1;
    else this.#countDial(target, -1);

    if (connection !== undefined && !connection.isClosed) {
      this.#open.add(connection);
      this.#offer(connection, true);
    } else if (!isAbandoned) {
      // One failed connect fails one request: the one that has waited longest for it.
      this.#firstWaiter(target, true)?.refuse(
        failure ?? new GatewayError("upstream_reset", `${target.key} closed at once`),
      );
    }
    this.#dialForWaiters();
  }

  #countDial(target: ConnectTarget, change: 1 | -1): void {
    this.#dialCount += change;
    const count = (this.#dials.get(target.key) ?? 0) + change;
    if (count === 0) this.#dials.delete(target.key);
    else this.#dials.set(target.key, count);
  }

  #firstWaiter(target: ConnectTarget, isFresh: boolean): Waiter | undefined {
    for (const waiter of this.#waiters) {
      if (waiter.target.key === target.key && (isFresh || !waiter.needsFresh)) return waiter;
    }
    return undefined;
  }

  // ── Idle connections ────────────────────────────────────────────────────────────────

  /** Hands a free connection to the first request that waits for one, or keeps it. */
  #offer(connection: Connection, isFresh: boolean): void {
    if (this.#isClosed) {
      this.#retire(connection);
      return;
    }
    const waiter = this.#firstWaiter(connection.target, isFresh);
    if (waiter !== undefined) {
      waiter.grant({ connection, isFresh });
      return;
    }
    this.#keep(connection);
    this.#dialForWaiters();
  }

  #keep(connection: Connection): void {
    const { idleTimeoutMs, maxIdlePerHost, clock } = this.#options;
    const hintMs = connection.keepAliveHintMs;
    const keepMs =
      hintMs === undefined ? idleTimeoutMs : Math.min(idleTimeoutMs, hintMs - KEEP_ALIVE_MARGIN_MS);
    const { key } = connection.target;
    let list = this.#idle.get(key);
    if (keepMs <= 0 || (list?.length ?? 0) >= maxIdlePerHost) {
      this.#retire(connection);
      return;
    }
    if (list === undefined) this.#idle.set(key, (list = []));
    const idle: Idle = {
      connection,
      sinceMs: clock.monotonicMs(),
      timer: clock.after(keepMs, () => this.#closeIdle(idle)),
    };
    list.push(idle);
  }

  #takeIdle(target: ConnectTarget, maxIdleMs: number): Connection | undefined {
    const newest = this.#idle.get(target.key)?.at(-1);
    if (newest === undefined) return undefined;
    if (this.#options.clock.monotonicMs() - newest.sinceMs >= maxIdleMs) return undefined;
    this.#removeIdle(newest);
    return newest.connection;
  }

  #closeIdle(idle: Idle): void {
    this.#removeIdle(idle);
    this.#retire(idle.connection);
  }

  #removeIdle(idle: Idle): void {
    idle.timer.cancel();
    const { key } = idle.connection.target;
    const list = this.#idle.get(key) ?? [];
    list.splice(list.indexOf(idle), 1);
    if (list.length === 0) this.#idle.delete(key);
  }

  #retire(connection: Connection): void {
    this.#open.delete(connection);
    connection.close();
  }
}

function shuttingDown(): GatewayError {
  return new GatewayError("shutting_down", "the upstream client is closed");
}
