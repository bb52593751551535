/** A pause for everybody else: work in pieces gives way between them. */

/** Resolves after everything that is already due on the event loop. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
