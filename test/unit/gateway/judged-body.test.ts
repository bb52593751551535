// A 200 that tells in its body whether it is one: relayed as it comes, judged before its last
// byte is handed on, and heard out when its reader leaves.
import { expect, test } from "bun:test";
import type { ByteSource } from "../../../src/base/byte-source.ts";
import { JudgedBody } from "../../../src/gateway/judged-body.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const text = (chunk: Uint8Array | null) => (chunk === null ? null : Buffer.from(chunk).toString());

/** A body fed by the test, and what is said about it. */
function open(captureBytes = 100) {
  const waiting: PromiseWithResolvers<Uint8Array | null>[] = [];
  const ready: Promise<Uint8Array | null>[] = [];
  const told: string[] = [];
  const running: Promise<void>[] = [];
  const stopping = new AbortController();
  const source: ByteSource = {
    read() {
      const next = ready.shift();
      if (next !== undefined) return next;
      const later = Promise.withResolvers<Uint8Array | null>();
      waiting.push(later);
      return later.promise;
    },
    close() {
      told.push("closed");
      for (const reader of waiting.splice(0)) reader.resolve(null);
    },
  };
  const feed = (chunk: string | null | Error) => {
    const reader = waiting.shift();
    if (reader === undefined) {
      const failed = chunk instanceof Error ? Promise.reject<null>(chunk) : undefined;
      void failed?.catch(() => undefined);
      ready.push(failed ?? Promise.resolve(typeof chunk === "string" ? bytes(chunk) : null));
    } else if (chunk instanceof Error) reader.reject(chunk);
    else reader.resolve(chunk === null ? null : bytes(chunk));
  };
  const body = new JudgedBody(
    source,
    captureBytes,
    {
      judge: (whole) => told.push(`judged ${whole === undefined ? "long" : text(whole)}`),
      giveUp: () => told.push("gave up"),
    },
    (run) => running.push(run(stopping.signal)),
  );
  return { body, feed, told, running, stopping };
}

test("blanks are handed on at once, the last chunk after the verdict", async () => {
  const { body, feed, told } = open();
  feed(" ");
  expect(text(await body.read())).toBe(" ");
  feed("<Error/>");
  expect(told).toEqual([]);
  const last = body.read();
  feed(null);
  expect(text(await last)).toBe("<Error/>");
  expect(told).toEqual(["judged  <Error/>"]);
  expect(await body.read()).toBeNull();
  body.close();
  expect(told).toEqual(["judged  <Error/>", "closed"]);
});

test("an empty body is judged too", async () => {
  const { body, feed, told } = open();
  feed(null);
  expect(await body.read()).toBeNull();
  expect(told).toEqual(["judged "]);
});

test("a body longer than is kept is judged as long", async () => {
  const { body, feed, told } = open(3);
  for (const chunk of ["ab", "cd", null]) feed(chunk);
  while ((await body.read()) !== null);
  expect(told).toEqual(["judged long"]);
});

test("a body that breaks is given up", async () => {
  const { body, feed, told } = open();
  feed("a");
  feed(new Error("reset"));
  expect(body.read()).rejects.toThrow("reset");
  await Bun.sleep(0);
  body.close();
  expect(told).toEqual(["gave up", "closed"]);
});

test("when the reader leaves, the rest is heard out", async () => {
  const { body, feed, told, running } = open();
  const first = body.read();
  feed(" ");
  feed("<Result/>");
  await first;
  body.close();
  body.close();
  expect(told).toEqual([]);
  feed(null);
  await Promise.all(running);
  expect(told).toEqual(["judged  <Result/>", "closed"]);
  expect(running).toHaveLength(1);
});

test("when the reader leaves while it waits, no byte is read twice", async () => {
  const { body, feed, told, running } = open();
  const pending = body.read();
  body.close();
  feed("<Result/>");
  feed(null);
  expect(await pending).toBeNull();
  await Promise.all(running);
  expect(told).toEqual(["judged <Result/>", "closed"]);
});

test("a stop ends the hearing out", async () => {
  const { body, told, running, stopping } = open();
  body.close();
  await Bun.sleep(0);
  stopping.abort();
  await Promise.all(running);
  expect(told[0]).toBe("gave up");
  expect(told).not.toContain("judged ");
});
