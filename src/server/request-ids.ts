/** The ids of requests, as they stand in `x-amz-request-id` and in the log. */

import type { Random } from "../base/random.ts";

const DIGITS = Array.from("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ");
/** Every two digits, in order: putting an id together from them is a fifth of writing a number out. */
const PAIRS = DIGITS.flatMap((high) => DIGITS.map((low) => high + low));
/** Ids that differ in their last four digits only. */
const RUN = PAIRS.length * PAIRS.length;

/**
 * Makes ids like S3's: sixteen capital letters and digits. The start is random, so that two processes do not
 * repeat each other; one repeats itself after 36⁸ ids.
 */
export function requestIds(random: Random): () => string {
  const prefix = Array.from({ length: 8 }, () => DIGITS[random.below(36)]).join("");
  let run = 0;
  let front = `${prefix}0000`;
  let count = random.below(RUN);
  return () => {
    count += 1;
    if (count === RUN) {
      count = 0;
      run += 1;
      front = prefix + run.toString(36).padStart(4, "0").toUpperCase();
    }
    const high = Math.floor(count / PAIRS.length);
    return `${front}${PAIRS[high] ?? ""}${PAIRS[count % PAIRS.length] ?? ""}`;
  };
}
