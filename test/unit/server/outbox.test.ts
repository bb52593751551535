// Goal: replies wait for the end of the turn and no longer, go out in order, and settle as their sending does.
// Method: a turn that ends when the test says so.

import { expect, test } from "bun:test";

import { TurnShare } from "../../../src/base/turn-share.ts";
import { Outbox, outbox as shared } from "../../../src/server/outbox.ts";
import type { Departing } from "../../../src/server/outbox.ts";

const KIB = 1024;

function world() {
  const due: (() => void)[] = [];
  const sent: string[] = [];
  const outbox = new Outbox((run) => due.push(run));
  return {
    sent,
    outbox,
    endTurn: () => {
      for (const run of due.splice(0)) run();
    },
    defer: (name: string, sizeBytes = 1) =>
      outbox.defer(sizeBytes, () => {
        sent.push(name);
      }),
  };
}

test("everything goes out at the end of the turn, in order, and the next one begins anew", async () => {
  const { sent, endTurn, defer } = world();
  const all = [defer("one"), defer("two")];
  expect(sent).toEqual([]);
  endTurn();
  expect(sent).toEqual(["one", "two"]);
  await Promise.all(all);
  void defer("three");
  expect(sent.length).toBe(2);
  endTurn();
  endTurn();
  expect(sent).toEqual(["one", "two", "three"]);
});

test("what waits can be sent before, once", () => {
  const { outbox, sent, endTurn, defer } = world();
  void defer("one");
  outbox.flush();
  expect(sent).toEqual(["one"]);
  void defer("two");
  endTurn();
  outbox.flush();
  expect(sent).toEqual(["one", "two"]);
});

test("beyond a helping they go out early", () => {
  const { sent, endTurn, defer } = world();
  for (let no = 0; no < 9; no += 1) void defer(`${no}`, 128 * KIB);
  expect(sent).toEqual(["0", "1", "2", "3", "4", "5", "6", "7"]);
  endTurn();
  expect(sent.length).toBe(9);
});

test("what is left to do comes when all were sent, and what it adds waits for the next turn", () => {
  const { outbox, sent, endTurn } = world();
  const departing = (name: string, onDeparted: () => void = () => undefined): Departing => ({
    depart: () => void sent.push(name),
    onDeparted: () => {
      sent.push(`after ${name}`);
      onDeparted();
    },
  });
  outbox.add(
    1,
    departing("one", () => {
      for (let no = 0; no < 9; no += 1) outbox.add(128 * KIB, departing(`late ${no}`));
    }),
  );
  outbox.add(1, departing("two"));
  endTurn();
  expect(sent.splice(0)).toEqual(["one", "two", "after one", "after two"]);
  endTurn();
  expect(sent.filter((name) => name.startsWith("late")).length).toBe(9);
  expect(sent.length).toBe(18);
});

test("the one of this process goes before bulk work of whatever kind", () => {
  const sent: string[] = [];
  shared.add(1, { depart: () => void sent.push("reply"), onDeparted: () => undefined });
  expect(sent).toEqual([]);
  expect(new TurnShare(1).enter(1)).toBeUndefined();
  expect(sent).toEqual(["reply"]);
});

test("each settles as its sending does, and costs the others nothing", async () => {
  const { outbox, sent, endTurn, defer } = world();
  const gone = new Error("gone");
  const blocked = Promise.withResolvers<void>();
  const outcomes = [
    outbox.defer<void>(1, () => undefined),
    outbox.defer<void>(1, () => {
      throw gone;
    }),
    outbox.defer<void>(1, () => Promise.reject(gone)),
    outbox.defer(1, () => blocked.promise),
  ].map((done) =>
    done.then(
      () => "sent",
      (error: unknown) => error,
    ),
  );
  void defer("last");
  endTurn();
  expect(sent).toEqual(["last"]);
  expect(await Promise.all(outcomes.slice(0, 3))).toEqual(["sent", gone, gone]);
  blocked.resolve();
  expect(await outcomes[3]).toBe("sent");
});
