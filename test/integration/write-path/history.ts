/**
 * What upstream really held, state by state, and what a reader may still be shown: nothing older
 * than the newest state a write through the gateway was acknowledged for when its request began.
 */

import type { Answer } from "../read-path/world.ts";

/** What a read may show from now on; taken when it begins. */
export type Floor = number;

export class History {
  /** By key: its bodies one after the other; undefined: there was no object. */
  readonly #states = new Map<string, (Buffer | undefined)[]>();
  readonly #floors = new Map<string, number>();

  /** Upstream holds this now; returns the number of the state. */
  apply(key: string, body: Buffer | undefined): number {
    const states = this.#of(key);
    states.push(body);
    return states.length - 1;
  }

  /** The writer of this state knows that it is there. */
  acknowledge(key: string, state: number): void {
    this.#floors.set(key, Math.max(this.floor(key), state));
  }

  floor(key: string): Floor {
    return this.#floors.get(key) ?? 0;
  }

  current(key: string): Buffer | undefined {
    return this.#of(key).at(-1);
  }

  /** Throws when an answer to a GET, of `[start, end)` if it was a range, shows no state from `floor` on. */
  check(key: string, floor: Floor, answer: Answer, range?: readonly [number, number]): void {
    const states = this.#of(key);
    const isRight = states.slice(floor).some((body) => agrees(body, answer, range));
    if (isRight) return;
    const shown = states.findIndex((body) => agrees(body, answer, range));
    throw new Error(
      shown === -1
        ? `${key}: ${answer.status}, ${answer.body.length} bytes, ${answer.xCache}: no state upstream ever had`
        : `${key}: ${answer.xCache}, state ${shown} after ${floor} was acknowledged`,
    );
  }

  #of(key: string): (Buffer | undefined)[] {
    let states = this.#states.get(key);
    if (states === undefined) this.#states.set(key, (states = []));
    return states;
  }
}

function agrees(
  body: Buffer | undefined,
  { status, body: shown, isTruncated }: Answer,
  range: readonly [number, number] | undefined,
): boolean {
  if (body === undefined) return status === 404;
  if (range !== undefined && range[0] >= body.length) return status === 416;
  const expected = range === undefined ? body : body.subarray(...range);
  if (status !== (range === undefined ? 200 : 206)) return false;
  // A reader may be cut off, but never with bytes of another version.
  return isTruncated ? expected.subarray(0, shown.length).equals(shown) : expected.equals(shown);
}
