/** Asks before something is thrown away; `--yes` answers in advance. */

import { createInterface } from "node:readline/promises";
import { isatty } from "node:tty";

import { usage } from "./arguments.ts";

/** True when the person at the terminal agrees. Throws a `usage` error when nobody is there. */
export async function isConfirmed(question: string): Promise<boolean> {
  if (!isatty(0)) throw usage(`${question} Nobody is here to be asked: say --yes`);
  const dialogue = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return /^y(?:es)?$/i.test((await dialogue.question(`${question} [y/N] `)).trim());
  } finally {
    dialogue.close();
  }
}

export const YES_FLAG = { type: "boolean", description: "Do not ask" } as const;
