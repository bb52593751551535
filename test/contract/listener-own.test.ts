import { expect, test } from "bun:test";
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { systemClock } from "../../src/base/clock.ts";
import { Http1Engine } from "../../src/server/http1/engine.ts";
import { makeCold } from "../support/page-cache.ts";
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

test("a file that is not in memory is read by the thread pool and arrives whole", async () => {
  const folder = mkdtempSync(join(import.meta.dir, "cold-"));
  const path = join(folder, "file");
  const content = Buffer.from(
    Array.from({ length: 3_000_000 }, (_, at) => (at * 7 + (at >> 8)) & 255),
  );
  writeFileSync(path, content);
  const descriptor = openSync(path, "r");
  let releaseCount = 0;
  const file = {
    descriptor,
    path,
    offsetBytes: 1000,
    lengthBytes: 2_900_000,
    release: () => (releaseCount += 1),
  };
  const listener = new Http1Engine({
    bindIp: "127.0.0.1",
    port: 0,
    handler: () => ({ status: 200, headers: [], body: { kind: "file", file } }),
    clock: systemClock,
    log: { warn: () => undefined, error: () => undefined },
    newRequestId: () => "id",
  });
  await listener.start();
  try {
    for (let round = 0; round < 3; round += 1) {
      makeCold(descriptor);
      await using client = await WireClient.connect(listener.port);
      await client.send(requestText("GET", "/b/k"));
      const { body } = await client.response();
      expect(Buffer.compare(body, content.subarray(1000, 2_901_000))).toBe(0);
    }
    await listener.drain(1000);
    expect(releaseCount).toBe(3);
  } finally {
    await listener.stop();
    closeSync(descriptor);
    rmSync(folder, { recursive: true });
  }
});
