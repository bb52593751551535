/** Waiting for what another process or a later turn brings about, where no event tells. */

import { systemClock } from "../../src/base/clock.ts";

/**
 * Resolves once `isTrue` holds; rejects, naming it, when it does not within `withinMs`. That is a deadline for
 * what is broken, far beyond what a busy machine needs.
 */
export async function eventually(
  isTrue: () => boolean | Promise<boolean>,
  { withinMs = 20_000, everyMs = 5 } = {},
): Promise<void> {
  const deadlineMs = systemClock.monotonicMs() + withinMs;
  while (!(await isTrue())) {
    if (systemClock.monotonicMs() > deadlineMs)
      throw new Error(`never became true: ${isTrue.toString()}`);
    await systemClock.sleep(everyMs);
  }
}
