/**
 * Goal: all together handle a bounded number of bytes per turn, in the order they came.
 * Method: turns are called by hand.
 */

import { expect, test } from "bun:test";
import { TurnShare } from "../../../src/base/turn-share.ts";

const KIB = 1024;

test("a turn takes what fits, and the others take theirs in order", async () => {
  const turns: (() => void)[] = [];
  const share = new TurnShare(512 * KIB, (run) => turns.push(run));
  const done: number[] = [];
  const enter = (name: number, sizeBytes: number): void => {
    const turn = share.enter(sizeBytes);
    if (turn === undefined) done.push(name);
    else void turn.then(() => done.push(name));
  };
  for (let name = 0; name < 6; name += 1) enter(name, 256 * KIB);
  expect(done).toEqual([0, 1]);
  expect(turns).toHaveLength(1);
  turns.shift()?.();
  await Promise.resolve();
  expect(done).toEqual([0, 1, 2, 3]);
  // Whoever comes now waits behind those who were there before, small as it is.
  enter(6, 1);
  expect(done).toHaveLength(4);
  turns.shift()?.();
  await Promise.resolve();
  expect(done).toEqual([0, 1, 2, 3, 4, 5]);
  turns.shift()?.();
  await Promise.resolve();
  expect(done).toEqual([0, 1, 2, 3, 4, 5, 6]);
  turns.shift()?.();
  expect(turns).toHaveLength(0);
});

test("what is small goes before each helping, at once or in its turn", async () => {
  const turns: (() => void)[] = [];
  const done: string[] = [];
  const share = new TurnShare(
    512 * KIB,
    (run) => turns.push(run),
    () => done.push("small"),
  );
  const enter = (name: string): void => {
    const turn = share.enter(512 * KIB);
    if (turn === undefined) done.push(name);
    else void turn.then(() => done.push(name));
  };
  for (const name of ["a", "b", "c"]) enter(name);
  expect(done).toEqual(["small", "a"]);
  for (const next of ["b", "c"]) {
    done.length = 0;
    turns.shift()?.();
    expect(done).toEqual(["small"]);
    await Promise.resolve();
    expect(done).toEqual(["small", next]);
  }
});

test("what is larger than a turn has one to itself", () => {
  const turns: (() => void)[] = [];
  const share = new TurnShare(512 * KIB, (run) => turns.push(run));
  expect(share.enter(4096 * KIB)).toBeUndefined();
  expect(share.enter(1)).toBeInstanceOf(Promise);
  turns.shift()?.();
  expect(share.enter(1)).toBeUndefined();
});
