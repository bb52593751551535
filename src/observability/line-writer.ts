/**
 * Collects log lines and writes many at once.
 *
 * A write to stderr is a system call; at tens of thousands of requests a second, one
 * per access line would cost more than the requests. Lines wait at most `delayMs`, and
 * never behind a warning: when something is wrong, it is on paper at once, in order.
 */

import type { Clock, Timer } from "../base/clock.ts";
import type { LogLevel } from "./log.ts";

export interface LineWriterOptions {
  readonly clock: Clock;
  /** Takes complete lines; what is urgent is to be written at once. Must not throw. */
  readonly write: (text: string, isUrgent: boolean) => void;
  /** Longest time a line waits. */
  readonly delayMs?: number | undefined;
  /** Written at the latest when so many characters have gathered. */
  readonly limitChars?: number | undefined;
}

export class LineWriter {
  readonly #clock: Clock;
  readonly #write: (text: string, isUrgent: boolean) => void;
  readonly #delayMs: number;
  readonly #limitChars: number;
  #pending = "";
  #timer: Timer | undefined;

  constructor(options: LineWriterOptions) {
    this.#clock = options.clock;
    this.#write = options.write;
    this.#delayMs = options.delayMs ?? 50;
    this.#limitChars = options.limitChars ?? 65_536;
  }

  /** Fits `LogOptions.write` as it is. */
  readonly write = (line: string, level: LogLevel): void => {
    this.#pending += `${line}\n`;
    if (level === "error" || level === "warn") this.flush();
    else if (this.#pending.length >= this.#limitChars) this.#pass(false);
    else this.#timer ??= this.#clock.after(this.#delayMs, () => this.#pass(false));
  };

  /** Writes what waits; to be called before the process ends. */
  flush(): void {
    this.#pass(true);
  }

  #pass(isUrgent: boolean): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    if (this.#pending === "") return;
    const text = this.#pending;
    this.#pending = "";
    this.#write(text, isUrgent);
  }
}
