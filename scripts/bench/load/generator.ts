/**
 * The load generator: one thread, many connections, one request at a time on each.
 *
 * It blocks its thread in epoll on purpose; worker.ts gives it a process of its own. Nothing is
 * pipelined. What it measures it measures at the socket: latency from before `send` (or from the
 * moment a request was due) to after the `recv` that completed its answer.
 */

import { ptr } from "bun:ffi";
import type { Pointer } from "bun:ffi";

import { unreachable } from "../../../src/base/assert.ts";
import { cpuMsBetween, cpuMsOf, isAlive } from "../proc.ts";
import { AnswerReader } from "./answer.ts";
import { prepareHeads } from "./heads.ts";
import type { PreparedHeads } from "./heads.ts";
import { LatencyHistogram } from "./histogram.ts";
import { closeSocket, connectTo, Poller, receive, sendAll } from "./libc.ts";
import type { GroupResult, LoadPlan, LoadResult, PlannedRequest } from "./plan.ts";

/** Large enough for few calls per MiB, small enough to stay in the second-level cache. */
const RECEIVE_BYTES = 256 * 1024;
const ERROR_SAMPLES_MAX = 5;
/** A run of nothing but errors is over: the server is gone. */
const ERRORS_MAX = 1000;
/** Longest time without any answer; a hanging server must not hang the benchmark. */
const SILENCE_LIMIT_MS = 30_000;
/** Longest wait for anything to happen. */
const IDLE_NS = 100e6;
/** How often a run looks whether the process it accompanies still lives. */
const LOOK_EVERY_MS = 10;

class Connection {
  readonly reader = new AnswerReader();
  descriptor = -1;
  /** Index of the request that is running; -1 when idle. */
  request = -1;
  /** The connection's own piece of the list: `[next, batchEnd)`. */
  next = 0;
  batchEnd = 0;
  sinceNs = 0;
  hasFirstByte = false;
}

interface GroupRecord {
  readonly latency: LatencyHistogram;
  readonly firstByte: LatencyHistogram;
}

/** Carries out a plan. Throws when it cannot connect or when everything fails. */
export function generateLoad(plan: LoadPlan): LoadResult {
  return new Generator(plan).run();
}

class Generator {
  readonly #plan: LoadPlan;
  readonly #heads: PreparedHeads;
  readonly #headsAddress: Pointer;
  readonly #poller: Poller;
  readonly #connections: Connection[];
  readonly #buffer = Buffer.alloc(RECEIVE_BYTES);
  readonly #bufferAddress: Pointer = ptr(this.#buffer);
  readonly #groups = new Map<string, GroupRecord>();
  readonly #errorSamples: string[] = [];
  /** Position in the (endless or single) list from which the next batch is taken. */
  #cursor = 0;
  #bodyBytes = 0;
  #requests = 0;
  #errors = 0;
  #hits = 0;
  #headsRead = 0;
  #isOver = false;

  constructor(plan: LoadPlan) {
    this.#plan = plan;
    this.#heads = prepareHeads(plan, Date.now());
    this.#headsAddress = ptr(this.#heads.bytes);
    this.#poller = new Poller(plan.connections);
    this.#connections = Array.from({ length: plan.connections }, () => new Connection());
    for (const { group } of plan.requests) {
      if (this.#groups.has(group)) continue;
      const record = { latency: new LatencyHistogram(), firstByte: new LatencyHistogram() };
      this.#groups.set(group, record);
    }
  }

  run(): LoadResult {
    const { pace, end } = this.#plan;
    for (const [index, connection] of this.#connections.entries()) this.#open(connection, index);
    // The clock starts when every connection stands: what is compared is serving, not accepting.
    let startNs = Bun.nanoseconds();
    let edges = this.#readCpu();
    const measureAtNs = startNs + (end.kind === "list" ? 0 : end.warmupMs * 1e6);
    const hasEnded = endOf(end, measureAtNs);
    let isMeasuring = end.kind === "list";
    const schedule = pace.kind === "open" ? new Schedule(pace.perSecond, startNs) : undefined;
    if (schedule === undefined)
      for (const connection of this.#connections) this.#startNext(connection);

    let lastAnswerNs = startNs;
    while (!this.#isOver) {
      const count = this.#poller.wait(schedule?.timeoutNs() ?? IDLE_NS);
      for (let index = 0; index < count; index += 1) {
        const connection = this.#connections[this.#poller.tokenAt(index)];
        if (connection !== undefined) this.#onReadable(connection, schedule === undefined);
      }
      const nowNs = Bun.nanoseconds();
      if (count > 0) lastAnswerNs = nowNs;
      if (schedule !== undefined) this.#startDue(schedule, nowNs);
      if (!isMeasuring && nowNs >= measureAtNs) {
        isMeasuring = true;
        this.#reset();
        edges = this.#readCpu();
        startNs = nowNs;
      }
      if (hasEnded(nowNs)) break;
      if (nowNs - lastAnswerNs > SILENCE_LIMIT_MS * 1e6 && schedule === undefined) {
        throw new Error(`no byte for ${SILENCE_LIMIT_MS / 1000} s after ${this.#requests} answers`);
      }
    }
    const seconds = (Bun.nanoseconds() - startNs) / 1e9;
    const now = this.#readCpu();
    for (const { descriptor } of this.#connections) closeSocket(descriptor);
    this.#poller.close();
    return {
      seconds,
      requests: this.#requests,
      bodyBytes: this.#bodyBytes,
      errors: this.#errors,
      errorSamples: this.#errorSamples,
      hitShare: this.#headsRead === 0 ? 0 : this.#hits / this.#headsRead,
      groups: this.#groupResults(),
      serverCpuMs: cpuMsBetween(edges.serverMs, now.serverMs),
      clientCpuMs: now.clientMs - edges.clientMs,
    };
  }

  #open(connection: Connection, index: number): void {
    connection.descriptor = connectTo(this.#plan.host, this.#plan.port);
    this.#poller.add(connection.descriptor, index);
  }

  /** The next request of the connection's batch, or of a new one; -1 when the list is used up. */
  #take(connection: Connection): number {
    const { requests, batch, end } = this.#plan;
    if (connection.next === connection.batchEnd) {
      if (end.kind === "list" && this.#cursor >= requests.length) return -1;
      connection.next = this.#cursor;
      this.#cursor += batch;
      connection.batchEnd = this.#cursor;
      if (end.kind === "list") connection.batchEnd = Math.min(this.#cursor, requests.length);
    }
    const index = connection.next % requests.length;
    connection.next += 1;
    return index;
  }

  #startNext(connection: Connection): void {
    const index = this.#take(connection);
    if (index === -1) {
      connection.request = -1;
      this.#isOver = this.#connections.every(({ request }) => request === -1);
      return;
    }
    this.#send(connection, index, Bun.nanoseconds());
  }

  #send(connection: Connection, index: number, sinceNs: number): void {
    const from = this.#heads.offsets[index] ?? 0;
    const to = this.#heads.offsets[index + 1] ?? from;
    connection.request = index;
    connection.sinceNs = sinceNs;
    connection.hasFirstByte = false;
    connection.reader.begin();
    sendAll(connection.descriptor, (this.#headsAddress + from) as Pointer, to - from);
  }

  /** Open pace: idle connections take the requests that are due; the others wait, and that counts. */
  #startDue(schedule: Schedule, nowNs: number): void {
    for (const connection of this.#connections) {
      if (connection.request !== -1) continue;
      const dueNs = schedule.takeDue(nowNs);
      if (dueNs === undefined) return;
      this.#send(connection, this.#take(connection), dueNs);
    }
  }

  #onReadable(connection: Connection, startsNext: boolean): void {
    const request = this.#plan.requests[connection.request];
    if (request === undefined) {
      this.#onIdleReadable(connection);
      return;
    }
    try {
      const count = receive(connection.descriptor, this.#bufferAddress, RECEIVE_BYTES);
      if (count === -1) return;
      if (count === 0) throw new Error("the server closed the connection");
      if (!connection.hasFirstByte) this.#onFirstByte(connection, request);
      if (!this.#receive(connection.reader, count, request)) return;
      this.#onAnswer(connection, request);
    } catch (error) {
      this.#onError(`${request.rawTarget}: ${String(error)}`);
      closeSocket(connection.descriptor);
      this.#open(connection, this.#connections.indexOf(connection));
    }
    if (startsNext) this.#startNext(connection);
    else connection.request = -1;
  }

  /** A server may close an idle connection, but must not send anything on it. */
  #onIdleReadable(connection: Connection): void {
    const count = receive(connection.descriptor, this.#bufferAddress, RECEIVE_BYTES);
    if (count === -1) return;
    if (count > 0) {
      throw new Error(`unasked for: ${this.#buffer.toString("latin1", 0, Math.min(count, 200))}`);
    }
    closeSocket(connection.descriptor);
    this.#open(connection, this.#connections.indexOf(connection));
  }

  /** Gives the reader what was received; true when the answer is complete. */
  #receive(reader: AnswerReader, count: number, request: PlannedRequest): boolean {
    const bytes = this.#buffer.subarray(0, count);
    const before = reader.bodyBytes;
    const mayGlance = this.#requests % this.#plan.readEvery !== 0;
    const isComplete =
      (mayGlance && reader.isWholeAnswer(bytes, expectedStatus(request), expectedBytes(request))) ||
      reader.push(bytes, request.method === "HEAD");
    this.#bodyBytes += reader.bodyBytes - before;
    return isComplete;
  }

  #onFirstByte(connection: Connection, request: PlannedRequest): void {
    connection.hasFirstByte = true;
    this.#groups.get(request.group)?.firstByte.record(Bun.nanoseconds() - connection.sinceNs);
  }

  #onAnswer(connection: Connection, request: PlannedRequest): void {
    const { reader } = connection;
    this.#groups.get(request.group)?.latency.record(Bun.nanoseconds() - connection.sinceNs);
    this.#requests += 1;
    if (reader.isRead) this.#headsRead += 1;
    if (reader.isHit) this.#hits += 1;
    if (reader.status !== expectedStatus(request) || reader.bodyBytes !== expectedBytes(request)) {
      this.#onError(`${request.rawTarget}: ${reader.status} with ${reader.bodyBytes} bytes`);
    }
  }

  #onError(sample: string): void {
    this.#errors += 1;
    if (this.#errorSamples.length < ERROR_SAMPLES_MAX) this.#errorSamples.push(sample);
    if (this.#errors >= ERRORS_MAX) throw new Error(`nothing but errors: ${sample}`);
  }

  #reset(): void {
    this.#bodyBytes = this.#requests = this.#errors = this.#hits = this.#headsRead = 0;
    for (const { latency, firstByte } of this.#groups.values()) {
      latency.reset();
      firstByte.reset();
    }
  }

  #readCpu(): { serverMs: ReadonlyMap<number, number>; clientMs: number } {
    const { user, system } = process.cpuUsage();
    return { serverMs: cpuMsOf(this.#plan.watchedPids), clientMs: (user + system) / 1000 };
  }

  #groupResults(): Record<string, GroupResult> {
    const results: Record<string, GroupResult> = {};
    for (const [group, { latency, firstByte }] of this.#groups) {
      results[group] = {
        requests: latency.count,
        latency: latency.summary(),
        firstByte: firstByte.summary(),
      };
    }
    return results;
  }
}

function expectedStatus({ range }: PlannedRequest): number {
  return range === undefined ? 200 : 206;
}

function expectedBytes({ method, sizeBytes }: PlannedRequest): number {
  return method === "HEAD" ? 0 : sizeBytes;
}

/** Says when a run that does not end by itself is over. */
function endOf(end: LoadPlan["end"], measureAtNs: number): (nowNs: number) => boolean {
  switch (end.kind) {
    case "time":
      return (nowNs) => nowNs >= measureAtNs + end.durationMs * 1e6;
    case "list":
      return () => false;
    case "beside": {
      let lookAtNs = 0;
      return (nowNs) => {
        if (nowNs < lookAtNs) return false;
        lookAtNs = nowNs + LOOK_EVERY_MS * 1e6;
        return !isAlive(end.pid);
      };
    }
    default:
      return unreachable(end);
  }
}

/** The times at which requests of an open pace are due. */
class Schedule {
  readonly #intervalNs: number;
  #nextNs: number;

  constructor(perSecond: number, startNs: number) {
    this.#intervalNs = 1e9 / perSecond;
    this.#nextNs = startNs;
  }

  /** When the next due request was due; undefined when none is. */
  takeDue(nowNs: number): number | undefined {
    if (this.#nextNs > nowNs) return undefined;
    const dueNs = this.#nextNs;
    this.#nextNs += this.#intervalNs;
    return dueNs;
  }

  /** How long there is nothing to start. */
  timeoutNs(): number {
    return Math.min(IDLE_NS, Math.max(0, Math.floor(this.#nextNs - Bun.nanoseconds())));
  }
}
