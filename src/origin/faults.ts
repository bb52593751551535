/**
 * Faults on purpose, so that tests and demos can see what a gateway does when its
 * upstream misbehaves.
 *
 * A rule is one line of comma-separated terms: what happens, then which requests it
 * happens to. `status=503,key=tmp/*,count=2` answers the first two requests below
 * `tmp/` with 503. What can happen:
 *
 *     status=CODE        an S3 error of that status instead of the answer
 *     delay=DURATION     the answer starts that much later (`delay=1.5s`)
 *     hang               nothing is ever answered; the client has to give up
 *     error-in-200       CopyObject and CompleteMultipartUpload fail inside a 200, as S3 may
 *     reset-after=SIZE   the connection is cut after so many body bytes (`reset-after=1MiB`)
 *     stall              the header is sent, then nothing more
 *     stall-after=SIZE   so many body bytes are sent, then nothing more
 *     short-body         the body ends after half of its declared length
 *
 * and to which requests (all must hold; default: every request):
 *
 *     key=GLOB  bucket=GLOB    `*` is any text, slashes included, `?` any one character
 *     method=METHOD            GET, HEAD, PUT, POST or DELETE
 *     probability=P            0 to 1
 *     count=N                  only the first N times
 *
 * Of several matching rules the first one in order happens. A body fault happens
 * only to a successful reply whose body is long enough to show it, and only then
 * counts.
 */

import { unreachable } from "../base/assert.ts";
import { parseByteSize } from "../base/byte-size.ts";
import { parseDuration } from "../base/duration.ts";
import type { Random } from "../base/random.ts";

export type AnswerFault =
  | { readonly kind: "status"; readonly status: number }
  | { readonly kind: "delay"; readonly delayMs: number }
  | { readonly kind: "hang" }
  | { readonly kind: "error-in-200" };

export type BodyFault =
  | { readonly kind: "reset"; readonly afterBytes: number }
  | { readonly kind: "stall"; readonly afterBytes: number }
  | { readonly kind: "short-body" };

export interface FaultRule {
  readonly fault: AnswerFault | BodyFault;
  readonly key: RegExp | undefined;
  readonly bucket: RegExp | undefined;
  readonly method: string | undefined;
  /** In (0, 1]. */
  readonly probability: number;
  /** How many times it happens; undefined: always. */
  readonly count: number | undefined;
}

/** What rules are matched against. */
export interface FaultTarget {
  readonly method: string;
  readonly operation: string;
  readonly bucket: string | undefined;
  readonly key: string | undefined;
}

/** Parses a rule; answers a sentence about the first problem when it is not one. */
export function parseFaultRule(text: string): FaultRule | string {
  const [effect = "", ...conditions] = text.split(",").map((term) => term.trim());
  const fault = parseFault(effect);
  if (fault === undefined) {
    return `"${effect}" is no fault: use status=CODE, delay=DURATION, hang, error-in-200, reset-after=SIZE, stall, stall-after=SIZE or short-body`;
  }
  let rule: FaultRule = {
    fault,
    key: undefined,
    bucket: undefined,
    method: undefined,
    probability: 1,
    count: undefined,
  };
  for (const term of conditions) {
    const { name, value } = split(term);
    const number = Number(value);
    if (name === "key" && value !== "") rule = { ...rule, key: globPattern(value) };
    else if (name === "bucket" && value !== "") rule = { ...rule, bucket: globPattern(value) };
    else if (name === "method" && value !== "") rule = { ...rule, method: value.toUpperCase() };
    else if (name === "probability" && number > 0 && number <= 1) {
      rule = { ...rule, probability: number };
    } else if (name === "count" && Number.isSafeInteger(number) && number > 0) {
      rule = { ...rule, count: number };
    } else {
      return `"${term}" is no condition: use key=GLOB, bucket=GLOB, method=METHOD, probability=P or count=N`;
    }
  }
  return rule;
}

export class Faults {
  readonly #random: Random;
  #rules: { readonly rule: FaultRule; remainingCount: number }[] = [];

  constructor(rules: readonly FaultRule[], random: Random) {
    this.#random = random;
    for (const rule of rules) this.add(rule);
  }

  add(rule: FaultRule): void {
    this.#rules.push({ rule, remainingCount: rule.count ?? Number.POSITIVE_INFINITY });
  }

  clear(): void {
    this.#rules = [];
  }

  /** What happens instead of, or before, the answer to this request. */
  beforeAnswer(target: FaultTarget): AnswerFault | undefined {
    return this.#take(target, (fault) => {
      switch (fault.kind) {
        case "status":
        case "delay":
        case "hang":
          return fault;
        case "error-in-200":
          return canFailInside200(target.operation) ? fault : undefined;
        case "reset":
        case "stall":
        case "short-body":
          return undefined;
        default:
          return unreachable(fault);
      }
    });
  }

  /** What happens to a successful reply with a body of `lengthBytes`. */
  inBody(target: FaultTarget, lengthBytes: number): BodyFault | undefined {
    return this.#take(target, (fault) => {
      switch (fault.kind) {
        case "reset":
        case "stall":
          return fault.afterBytes < lengthBytes ? fault : undefined;
        case "short-body":
          return lengthBytes > 0 ? fault : undefined;
        case "status":
        case "delay":
        case "hang":
        case "error-in-200":
          return undefined;
        default:
          return unreachable(fault);
      }
    });
  }

  #take<Chosen>(
    target: FaultTarget,
    choose: (fault: FaultRule["fault"]) => Chosen | undefined,
  ): Chosen | undefined {
    for (const entry of this.#rules) {
      const { rule } = entry;
      const chosen = choose(rule.fault);
      if (chosen === undefined || entry.remainingCount === 0) continue;
      if (rule.method !== undefined && rule.method !== target.method) continue;
      if (rule.bucket !== undefined && !rule.bucket.test(target.bucket ?? "")) continue;
      if (rule.key !== undefined && !rule.key.test(target.key ?? "")) continue;
      if (rule.probability < 1 && this.#random.float() >= rule.probability) continue;
      entry.remainingCount -= 1;
      return chosen;
    }
    return undefined;
  }
}

function canFailInside200(operation: string): boolean {
  return operation === "CopyObject" || operation === "CompleteMultipartUpload";
}

function parseFault(text: string): FaultRule["fault"] | undefined {
  const { name, value } = split(text);
  switch (name) {
    case "status":
      return /^[45]\d\d$/.test(value) ? { kind: "status", status: Number(value) } : undefined;
    case "delay": {
      const delayMs = parseDuration(value);
      return delayMs === undefined || delayMs < 0 ? undefined : { kind: "delay", delayMs };
    }
    case "reset-after": {
      const afterBytes = parseByteSize(value);
      return afterBytes === undefined || afterBytes < 0 ? undefined : { kind: "reset", afterBytes };
    }
    case "stall-after": {
      const afterBytes = parseByteSize(value);
      return afterBytes === undefined || afterBytes < 0 ? undefined : { kind: "stall", afterBytes };
    }
    case "stall":
      return value === "" ? { kind: "stall", afterBytes: 0 } : undefined;
    case "hang":
    case "error-in-200":
    case "short-body":
      return value === "" ? { kind: name } : undefined;
    default:
      return undefined;
  }
}

function split(term: string): { readonly name: string; readonly value: string } {
  const at = term.indexOf("=");
  return at === -1
    ? { name: term, value: "" }
    : { name: term.slice(0, at), value: term.slice(at + 1) };
}

/** The whole text must match; `*` crosses slashes, because S3 keys have no folders. */
function globPattern(glob: string): RegExp {
  const source = glob
    .replaceAll(/[.+^${}()|[\]\\]/g, String.raw`\$&`)
    .replaceAll("*", ".*")
    .replaceAll("?", ".");
  return new RegExp(`^${source}$`, "su");
}
