// Goal: replies wait for the end of the turn and no longer, go out in order, and each has its own bytes.
// Method: a turn that ends when the test says so, and senders that write down what they are given.

import { expect, test } from "bun:test";

import { Outbox } from "../../../../src/server/http1/outbox.ts";
import type { HeldSender } from "../../../../src/server/http1/outbox.ts";

const KIB = 1024;
const NOTHING = new Uint8Array(0);

function world() {
  const due: (() => void)[] = [];
  const sent: string[] = [];
  return {
    sent,
    outbox: new Outbox((run) => due.push(run)),
    endTurn: () => {
      for (const run of due.splice(0)) run();
    },
    sender: (name: string): HeldSender => ({
      sendHeld: (bytes, start, end) =>
        sent.push(`${name}: ${Buffer.from(bytes.subarray(start, end)).toString("latin1")}`),
    }),
    /** To be deferred: says that it is sent. */
    note: (what: string) => () => void sent.push(what),
  };
}

test("everything goes out at the end of the turn, in order, what is of one connection together", () => {
  const { outbox, sent, endTurn, sender, note } = world();
  const [a, b] = [sender("a"), sender("b")];
  outbox.hold(a, "one ", Buffer.from("1"));
  outbox.hold(a, "two ", Buffer.from("2"));
  outbox.hold(b, "three ", Buffer.from("3"));
  void outbox.defer(10, note("four"));
  outbox.hold(a, "five \xe9", NOTHING);
  expect(sent).toEqual([]);
  endTurn();
  expect(sent).toEqual(["a: one 1two 2", "b: three 3", "four", "a: five \xe9"]);
});

test("the next turn begins anew", () => {
  const { outbox, sent, endTurn, sender } = world();
  outbox.hold(sender("a"), "one", NOTHING);
  endTurn();
  outbox.hold(sender("a"), "two", NOTHING);
  expect(sent).toEqual(["a: one"]);
  endTurn();
  endTurn();
  expect(sent).toEqual(["a: one", "a: two"]);
});

test("who sends at once first sends what waits, once", () => {
  const { outbox, sent, endTurn, sender } = world();
  outbox.hold(sender("a"), "one", NOTHING);
  outbox.flush();
  expect(sent).toEqual(["a: one"]);
  outbox.hold(sender("b"), "two", NOTHING);
  endTurn();
  outbox.flush();
  expect(sent).toEqual(["a: one", "b: two"]);
});

test("what was handed over may change afterwards, and more than there is room for goes out early", () => {
  const { outbox, sent, endTurn, sender } = world();
  const body = Buffer.alloc(10 * KIB);
  const expected: string[] = [];
  for (let no = 0; no < 100; no += 1) {
    body.fill(`${no % 10}`);
    outbox.hold(sender("a"), `${no} `, NOTHING);
    outbox.hold(sender("b"), "", body);
    expected.push(`a: ${no} `, `b: ${body.toString("latin1")}`);
    body.fill("x");
  }
  expect(sent.length).toBeGreaterThan(0);
  expect(sent.length).toBeLessThan(200);
  endTurn();
  expect(sent).toEqual(expected);
});

test("large ones are not copied, and beyond a helping they go out early", () => {
  const { outbox, sent, endTurn, note } = world();
  for (let no = 0; no < 9; no += 1) void outbox.defer(128 * KIB, note(`${no}`));
  expect(sent).toEqual(["0", "1", "2", "3", "4", "5", "6", "7"]);
  endTurn();
  expect(sent.length).toBe(9);
});

test("a deferred one settles as its sending does, and costs the others nothing", async () => {
  const { outbox, sent, endTurn, sender } = world();
  const gone = new Error("gone");
  const blocked = Promise.withResolvers<void>();
  const outcomes = [
    outbox.defer(1, () => undefined),
    outbox.defer(1, () => {
      throw gone;
    }),
    outbox.defer(1, () => Promise.reject(gone)),
    outbox.defer(1, () => blocked.promise),
  ].map((done) =>
    done.then(
      () => "sent",
      (error: unknown) => error,
    ),
  );
  outbox.hold(sender("a"), "last", NOTHING);
  endTurn();
  expect(sent).toEqual(["a: last"]);
  expect(await Promise.all(outcomes.slice(0, 3))).toEqual(["sent", gone, gone]);
  blocked.resolve();
  expect(await outcomes[3]).toBe("sent");
});
