/**
 * Two HTTP/1.1 parsers, one stream of bytes: our engine against Bun's `node:http`.
 *
 * Goal: no input that both accept is read differently, and whatever our engine accepts alone is one of a
 * few named, harmless cases. Method: seeded random requests, some correct, some broken in one of the
 * ways real smuggling uses, some damaged byte by byte, all sent to both over real sockets. Each
 * handler records method, target, header and body; only requests whose body arrived whole count
 * as accepted. Every case ends with a request that asks for the end of the connection, so most
 * cases need no time-out; where one engine read less, the case is sent again to listeners with so
 * much patience that a busy machine is no reason.
 *
 * `SEED=7 bun test test/fuzz/http1.test.ts` repeats one seed, `FUZZ_MINUTES=60` runs for an hour.
 */

import { afterAll, beforeAll, expect, test } from "bun:test";

import { METHODS as METHOD_NAMES } from "node:http";

import { readAll } from "../../src/base/byte-source.ts";
import { systemClock } from "../../src/base/clock.ts";
import { seededRandom } from "../../src/base/random.ts";
import type { Random } from "../../src/base/random.ts";
import { ChunkedDecoder } from "../../src/server/http1/chunked-decoder.ts";
import { parseHead } from "../../src/server/http1/head-parser.ts";
import { DEFAULT_LIMITS, createStrictListener } from "../../src/server/listener.ts";
import type { Listener, StrictEngine } from "../../src/server/listener.ts";
import { WireClient } from "../support/wire-client.ts";

/** Cases in flight at once; each lane has a listener of its own, so that records do not mix. */
const LANES = 16;
const CASES_PER_SEED = 400;
const HASTY_MS = 100;
const PATIENT_MS = 15_000;

interface Lane {
  readonly listener: Listener;
  accepted: string[];
}

type Lanes = Record<StrictEngine, Lane[]>;

const hasty: Lanes = { node: [], own: [] };
const patient: Lanes = { node: [], own: [] };

beforeAll(async () => {
  for (const engine of ["node", "own"] as const) {
    for (let index = 0; index < LANES; index += 1) {
      hasty[engine].push(await openLane(engine, HASTY_MS));
      patient[engine].push(await openLane(engine, PATIENT_MS));
    }
  }
});

afterAll(async () => {
  const all = [hasty, patient].flatMap(({ node, own }) => [...node, ...own]);
  await Promise.all(all.map((lane) => lane.listener.stop()));
});

async function openLane(engine: StrictEngine, limitMs: number): Promise<Lane> {
  const lane: { listener: Listener; accepted: string[] } = {
    listener: createStrictListener({
      engine,
      bindIp: "127.0.0.1",
      port: 0,
      handler: async (inbound) => {
        const { accepted } = lane;
        const headers = JSON.stringify(inbound.fields.raw);
        const body = inbound.body === null ? null : await readAll(inbound.body, 1e6);
        const text = body === null ? "" : Buffer.from(body).toString("latin1");
        accepted.push(`${inbound.method} ${inbound.rawTarget} ${headers} ${JSON.stringify(text)}`);
        return { status: 200, headers: [], body: { kind: "none" } };
      },
      clock: systemClock,
      log: { warn: () => undefined, error: () => undefined },
      newRequestId: () => "id",
      limits: { headerTimeoutMs: limitMs, idleTimeoutMs: limitMs, stallTimeoutMs: limitMs },
    }),
    accepted: [],
  };
  await lane.listener.start();
  return lane;
}

/** What one engine accepts of `text`, in order. */
async function acceptedBy(lane: Lane, text: string): Promise<readonly string[]> {
  const record: string[] = [];
  lane.accepted = record;
  await using client = await WireClient.connect(lane.listener.port);
  await client.send(text);
  await client.rest();
  return record;
}

const LAST = "GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

class Generator {
  readonly #random: Random;

  constructor(random: Random) {
    this.#random = random;
  }

  message(): string {
    let text = "";
    for (let count = 1 + this.#random.below(3); count > 0; count -= 1) text += this.#request();
    text += LAST;
    for (let damage = this.#random.below(4); damage === 1; damage = this.#random.below(3)) {
      text = this.#damaged(text);
    }
    return text;
  }

  #request(): string {
    const lines: string[] = [];
    if (this.#chance(0.95)) lines.push(this.#pick(["Host: x", "host:x", "HOST:\t x "]));
    const body = this.#pick(["", "a", "hello", "0\r\n\r\n", LAST]);
    let framed = "";
    const kind = this.#random.float();
    if (kind < 0.3) {
      lines.push(this.#odd("Content-Length: ", String(body.length)));
      framed = body;
    } else if (kind < 0.6) {
      lines.push(this.#odd("Transfer-Encoding: ", "chunked"));
      framed = this.#chunked(body);
    } else if (kind < 0.65) {
      lines.push(`Content-Length: ${body.length}`, "Transfer-Encoding: chunked");
      framed = this.#chunked(body);
    }
    for (let count = this.#random.below(3); count > 0; count -= 1) {
      lines.push(this.#pick(FIELDS));
    }
    this.#shuffle(lines);
    const method = this.#pick(["GET", "PUT", "POST", "DELETE", "HEAD"]);
    const start = `${method} ${this.#pick(TARGETS)} HTTP/1.${this.#chance(0.95) ? "1" : "0"}`;
    const end = this.#chance(0.02) ? "\n" : "\r\n";
    return `${[start, ...lines].join(end)}${end}${end}${framed}`;
  }

  #chunked(body: string): string {
    const split = this.#random.below(body.length + 1);
    let text = "";
    for (const part of [body.slice(0, split), body.slice(split)]) {
      if (part === "") continue;
      const size = part.length.toString(16);
      text += this.#chance(0.9)
        ? size
        : this.#pick([`0${size}`, `+${size}`, ` ${size}`, `${size} `, `0x${size}`]);
      text += this.#chance(0.9) ? "" : this.#pick([";a", ";a=b", ";a=b;c", "; a"]);
      text += this.#chance(0.97) ? "\r\n" : this.#pick(["\n", "\r", "\r\r\n"]);
      text += part;
      text += this.#chance(0.97) ? "\r\n" : this.#pick(["\n", "", "x\r\n"]);
    }
    return `${text}0\r\n${this.#chance(0.95) ? "" : "X-Trailer: y\r\n"}\r\n`;
  }

  /** A framing field, mostly as it should be. */
  #odd(name: string, value: string): string {
    if (this.#chance(0.85)) return `${name}${value}`;
    return this.#pick([
      `${name.toUpperCase()}${value.toUpperCase()}`,
      `${name}+${value}`,
      `${name}${value},${value}`,
      `${name}${value}\r\n${name}${value}`,
      `${name}\x0b${value}`,
      `${name}${value}\0`,
      `${name.replace(":", " :")}${value}`,
      `${name}\r\n ${value}`,
      `X: y\n${name}${value}`,
      `X: y\r${name}${value}`,
      `${name}${value};q=1`,
      `${name}identity`,
      name,
      `\x20${name}${value}`,
      `${name}00${value}`,
    ]);
  }

  #damaged(text: string): string {
    const at = this.#random.below(text.length);
    const end = at + 1 + this.#random.below(3);
    switch (this.#random.below(4)) {
      case 0:
        return text.slice(0, at) + text.slice(end);
      case 1:
        return text.slice(0, end) + text.slice(at);
      case 2:
        return text.slice(0, at) + String.fromCharCode(this.#random.below(256)) + text.slice(at);
      default:
        return (
          text.slice(0, at) +
          this.#pick(["\r", "\n", "\r\n", " ", "\t", "\0", ":", ",", ";"]) +
          text.slice(end)
        );
    }
  }

  #pick<T>(items: readonly T[]): T {
    return items[this.#random.below(items.length)] as T;
  }

  #chance(probability: number): boolean {
    return this.#random.float() < probability;
  }

  #shuffle(items: string[]): void {
    for (let index = items.length - 1; index > 0; index -= 1) {
      const other = this.#random.below(index + 1);
      [items[index], items[other]] = [items[other] as string, items[index] as string];
    }
  }
}

const TARGETS = [
  "/",
  "/b/k",
  "/b/k?a=b&c",
  "/b/../k%2F",
  "//",
  "/b/k#f",
  "http://x/b/k",
  "http://y/b",
  "*",
  "x:80",
];

const FIELDS = [
  "X-A: 1",
  "x-a:  two words\t",
  "X-B:",
  "X-C: \xe9\xff",
  "Expect: 100-continue",
  "Connection: keep-alive",
  "Connection: close",
  "Host: x",
  "Host: y",
  "X D: 1",
  "nonsense",
  ": empty",
  "X-E: a\0b",
  " folded",
];

const seed = Number(process.env["SEED"] ?? 1);
const minutes = Number(process.env["FUZZ_MINUTES"] ?? 0);

/** Checks one case; when one engine read less, again: it may have run into its time limit. */
async function compare(text: string, index: number): Promise<void> {
  for (const lanes of [hasty, patient]) {
    const [node, own] = [lanes.node[index % LANES], lanes.own[index % LANES]];
    if (node === undefined || own === undefined) throw new Error("no such lane");
    const byNode = await acceptedBy(node, text);
    const byOwn = await acceptedBy(own, text);
    const shared = Math.min(byNode.length, byOwn.length);
    expect({ text, accepted: byOwn.slice(0, shared) }).toEqual({
      text,
      accepted: byNode.slice(0, shared),
    });
    const ownOnly = byOwn[shared];
    const nodeOnly = byNode[shared];
    if (ownOnly === undefined && nodeOnly === undefined) return;
    if (ownOnly !== undefined && isHarmless(text, ownOnly)) return;
    const refusal = refusalOf(text);
    if (nodeOnly !== undefined && isStricter(text, refusal)) return;
    if (lanes === patient) throw new Error(JSON.stringify({ text, ownOnly, nodeOnly, refusal }));
  }
}

const METHODS = new Set(METHOD_NAMES);

/** What only our engine accepts: methods `node:http` has no name for, and odd chunk extensions. */
function isHarmless(text: string, request: string): boolean {
  const method = request.slice(0, request.indexOf(" "));
  return !METHODS.has(method) || /[\da-f];[\x21-\x7e]*[^\w;=][\x21-\x7e]*\r\n/i.test(text);
}

/** Where our engine is the stricter one; head-parser.ts says why. */
const STRICTER = new RegExp(
  [
    "Transfer-Encoding in HTTP/1.0",
    "no transfer coding but chunked",
    "malformed Host",
    "more than one Host",
    "more than one Content-Length",
    "more than one Transfer-Encoding",
    // node:http skips any number of bare line ends before a request.
    "malformed request line",
    "a control character",
  ].join("|"),
);

function isStricter(text: string, refusal: string | undefined): boolean {
  if (refusal === undefined) return false;
  // Bytes that no chunk extension may have, or (beyond ASCII) in quoted strings only.
  if (refusal.includes("malformed chunk size")) return /;[\x21-\x7e]*[\x7f-\xff]/.test(text);
  return STRICTER.test(refusal);
}

/** Why our parser stops reading `text`; undefined when it does not. */
function refusalOf(text: string): string | undefined {
  let rest = Buffer.from(text, "latin1");
  for (;;) {
    const result = parseHead(rest, DEFAULT_LIMITS.headerBytesMax);
    if (result.kind === "refused") return result.reason;
    if (result.kind === "incomplete" || !result.head.isPersistent) return undefined;
    rest = rest.subarray(result.sizeBytes);
    const { framing } = result.head;
    if (framing.kind === "length") rest = rest.subarray(framing.lengthBytes);
    if (framing.kind === "chunked") {
      try {
        rest = rest.subarray(new ChunkedDecoder().push(rest, () => undefined));
      } catch (error) {
        return String(error);
      }
    }
  }
}

test(
  `both engines read the same requests (seed ${seed})`,
  async () => {
    const generator = new Generator(seededRandom(seed));
    const startedAtMs = systemClock.monotonicMs();
    do {
      const cases = Array.from({ length: CASES_PER_SEED }, () => generator.message());
      await Promise.all(
        Array.from({ length: LANES }, async (_, lane) => {
          for (let at = lane; at < cases.length; at += LANES) {
            const text = cases[at];
            if (text !== undefined) await compare(text, lane);
          }
        }),
      );
    } while (systemClock.monotonicMs() - startedAtMs < minutes * 60_000);
  },
  (minutes + 1) * 60_000,
);
