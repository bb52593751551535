/** Checks of our own reasoning. They throw: a false one is a bug, never an input. */

export function assert(condition: unknown, message: string): asserts condition {
  if (condition === false || condition === undefined || condition === null) {
    throw new Error(`assertion failed: ${message}`);
  }
}

/** The end of a `switch` over a union: the compiler proves nothing arrives here. */
export function unreachable(value: never): never {
  throw new Error(`unreachable: ${JSON.stringify(value)}`);
}
