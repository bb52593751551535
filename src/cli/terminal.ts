/**
 * What a command sees of the process it runs in: where it is, what surrounds it, and
 * where its words go. Results go to standard output, everything said to a person goes
 * to standard error, so that a pipe carries nothing but the result.
 */

import { isatty } from "node:tty";

import type * as Consola from "consola";

export interface Terminal {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  /** True when a person watches standard output. */
  readonly isInteractive: boolean;
  /** Writes a result, with a line break at its end. */
  out(text: string): void;
  info(message: string): void;
  success(message: string): void;
  warn(message: string): void;
  fail(message: string): void;
  /** All of standard input, as text. */
  readInput(): Promise<string>;
}

/** The terminal of this process. */
export function systemTerminal(): Terminal {
  let made: Consola.ConsolaInstance | undefined;
  const people = (): Consola.ConsolaInstance => (made ??= createPeople());
  return {
    env: process.env,
    cwd: process.cwd(),
    isInteractive: isatty(process.stdout.fd),
    out: (text) => void process.stdout.write(`${text}\n`),
    info: (message) => people().info(message),
    success: (message) => people().success(message),
    warn: (message) => people().warn(message),
    fail: (message) => people().error(message),
    readInput: () => Bun.stdin.text(),
  };
}

/**
 * Loaded at the first word to a person: consola takes 20 ms to start, which is most of
 * what `tag version` or `tag cache stats` need, and these usually have nothing to say.
 */
function createPeople(): Consola.ConsolaInstance {
  // A `require`, because saying something must not have to wait.
  const { createConsola } = require("consola") as typeof Consola;
  const isPerson = isatty(process.stderr.fd) && !process.env["NO_COLOR"];
  // Apart, because the types that TypeScript finds for consola are those of its core,
  // which does not know the option.
  const reporter = { fancy: isPerson };
  return createConsola({
    ...reporter,
    stdout: process.stderr,
    stderr: process.stderr,
    formatOptions: { date: false, colors: isPerson, compact: !isPerson },
  });
}
