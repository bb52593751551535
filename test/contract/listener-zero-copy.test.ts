import { expect, test } from "bun:test";

import { systemClock } from "../../src/base/clock.ts";
import { NO_BODY } from "../../src/http/exchange.ts";
import { ZeroCopyListener } from "../../src/server/zero-copy.ts";
import { WireClient, requestText } from "../support/wire-client.ts";
import { listenerContract } from "./listener.suite.ts";

listenerContract({
  name: "zero-copy (Bun.serve)",
  create: (options) => new ZeroCopyListener(options),
  keepsRawTargets: false,
  keepsRequestHeaders: false,
  replyHeaders: "repeats-joined",
  keepsLengthOfLargeStreams: false,
  continuesOnRead: false,
  noticesLeavingWhileBodyUnread: true,
  allowsHalfClose: false,
  boundsHeaderTime: false,
  pipelines: false,
  countsConnections: false,
  reloadsTls: true,
});

test("a request pipelined behind a slow answer ends the connection (difference 6)", async () => {
  const listener = new ZeroCopyListener({
    bindIp: "127.0.0.1",
    port: 0,
    handler: async () => {
      await systemClock.sleep(20);
      return { status: 204, headers: [], body: NO_BODY };
    },
    clock: systemClock,
    log: { warn: () => undefined, error: () => undefined },
    newRequestId: () => "id",
  });
  await listener.start();
  await using client = await WireClient.connect(listener.port);
  await client.send(requestText("GET", "/1") + requestText("GET", "/2"));
  const received = await client.rest();
  expect(received.toString().split("HTTP/1.1").length - 1).toBeLessThan(2);
  await listener.stop();
});
