/**
 * The derived signing keys learned from upstream: enough to check a client's signatures
 * of one day and region, and to sign reads for it, but not its secret.
 *
 * A key is worth keeping as long as something signed with it can still be valid: the
 * day it is for plus the seven days of the longest presigned URL. It proves identity
 * only; that its owner may still read is what grants say, which expire much sooner.
 */

import type { Clock } from "../base/clock.ts";
import { LruMap } from "../base/lru.ts";
import { parseAmzDate } from "../http/date.ts";
import { credentialText, MAX_EXPIRES_SECONDS, SigningKey } from "../s3/sigv4.ts";
import type { LearnedKey } from "./principal.ts";

const DAY_MS = 86_400_000;
const LIFE_MS = DAY_MS + MAX_EXPIRES_SECONDS * 1000;

interface Entry {
  readonly learned: LearnedKey;
  readonly key: SigningKey;
}

export class SigningKeys {
  readonly #clock: Clock;
  readonly #entries: LruMap<string, Entry>;

  /** @param limit most keys kept; beyond it the longest unused goes */
  constructor(limit: number, clock: Clock) {
    this.#entries = new LruMap(limit);
    this.#clock = clock;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** @param credential as `credentialText` gives it, and as requests name it */
  get(credential: string): SigningKey | undefined {
    return this.#entries.get(credential)?.key;
  }

  /** Keeps the keys that are not outlived; answers whether any of them is new. */
  learn(keys: readonly LearnedKey[]): boolean {
    const nowMs = this.#clock.nowMs();
    let isNews = false;
    for (const learned of keys) {
      if (learned.key.length !== 32 || !isAlive(learned.date, nowMs)) continue;
      const name = credentialText(learned);
      const present = this.#entries.get(name);
      if (present !== undefined && Buffer.compare(present.learned.key, learned.key) === 0) continue;
      this.#entries.set(name, { learned, key: new SigningKey(learned.key) }, 1);
      isNews = true;
    }
    return isNews;
  }

  /** Every key still alive. */
  all(): LearnedKey[] {
    const nowMs = this.#clock.nowMs();
    const alive: LearnedKey[] = [];
    for (const [, { learned }] of this.#entries.entries()) {
      if (isAlive(learned.date, nowMs)) alive.push(learned);
    }
    return alive;
  }
}

function isAlive(date: string, nowMs: number): boolean {
  const startMs = parseAmzDate(`${date}T000000Z`);
  // Tomorrow's key may come early, when upstream's clock is ahead of ours.
  return startMs !== undefined && nowMs < startMs + LIFE_MS && startMs < nowMs + DAY_MS;
}
