/**
 * What the flights of a process do to each other and to everybody else on its one thread.
 *
 * A chunk that arrived is summed, written and sent in one go, 0.5 MiB in half a millisecond or more. With
 * many flights that all have data nobody else would be served before the last of them: eight misses of 64
 * MiB made small hits beside them wait 30 ms in the middle and 120 ms at worst. So all flights
 * together handle so many bytes per turn of the event loop, first come, first served, and what has to
 * wait stays with the kernel: a leg that waits does not read.
 *
 * The other thing told here is how many large objects are on their way. Each waits while others
 * are handled, and must not take that for a slow line.
 */

import { TurnShare } from "../base/turn-share.ts";

/** Handled in one turn by all flights together. */
const TURN_BYTES = 512 * 1024;

export class Traffic {
  /** Large objects on their way from upstream. */
  largeCount = 0;
  /** Asked before a chunk is handled. */
  readonly turns = new TurnShare(TURN_BYTES);
}
