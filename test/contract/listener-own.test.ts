import { expect, test } from "bun:test";

import { systemClock } from "../../src/base/clock.ts";
import { Http1Engine } from "../../src/server/http1/engine.ts";
import { WireClient, requestText } from "../support/wire-client.ts";
import { listenerContract } from "./listener.suite.ts";

listenerContract({
  name: "own engine (Bun.listen)",
  create: (options) => new Http1Engine(options),
  keepsRawTargets: true,
  keepsRequestHeaders: true,
  replyHeaders: "exact",
  keepsLengthOfLargeStreams: true,
  continuesOnRead: true,
  noticesLeavingWhileBodyUnread: true,
  allowsHalfClose: false,
  boundsHeaderTime: true,
  pipelines: true,
  countsConnections: true,
  reloadsTls: true,
});

test("a thousand requests sent ahead are answered in order, and reading stops meanwhile", async () => {
  const listener = new Http1Engine({
    bindIp: "127.0.0.1",
    port: 0,
    handler: async (inbound) => {
      await Promise.resolve();
      const bytes = Buffer.from(inbound.rawTarget);
      return { status: 200, headers: [], body: { kind: "bytes", bytes } };
    },
    clock: systemClock,
    log: { warn: () => undefined, error: () => undefined },
    newRequestId: () => "id",
  });
  await listener.start();
  await using client = await WireClient.connect(listener.port);
  const padding = ["X-Padding", "a".repeat(500)];
  const targets = Array.from({ length: 1000 }, (_, index) => `/${index}`);
  const sending = client.send(targets.map((at) => requestText("GET", at, padding)).join(""));
  for (const target of targets) {
    expect(Buffer.from((await client.response()).body).toString()).toBe(target);
  }
  await sending;
  await listener.stop();
});
