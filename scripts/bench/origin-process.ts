/**
 * The dev origin as a process of its own: the object store everybody in a benchmark caches. Its
 * settings come as one JSON argument; over IPC it tells how much was asked of it.
 */

import { systemClock } from "../../src/base/clock.ts";
import { systemRandom } from "../../src/base/random.ts";
import { createOrigin } from "../../src/origin/origin.ts";
import { createStrictListener } from "../../src/server/listener.ts";
import { CLIENT, GATEWAY } from "./credentials.ts";
import type { OriginSettings } from "./origin.ts";

const settings = JSON.parse(process.argv[2] ?? "{}") as OriginSettings & {
  readonly root: string;
  readonly port: number;
};

const log = {
  debug: () => undefined,
  info: () => undefined,
  warn: (message: string) => console.error(message),
  error: (message: string) => console.error(message),
};

const origin = await createOrigin({
  root: settings.root,
  latencyMs: settings.latencyMs,
  bandwidthBytesPerSecond: settings.bandwidthBytesPerSecond,
  credentials: [{ ...CLIENT, rights: { "*": ["own"] } }],
  proxyAccess: GATEWAY,
  hosts: [],
  clock: systemClock,
  random: systemRandom,
  log,
});
let requestCount = 0;
const listener = createStrictListener({
  bindIp: "127.0.0.1",
  port: settings.port,
  handler: origin.handle,
  clock: systemClock,
  log,
  newRequestId: () => {
    requestCount += 1;
    return requestCount.toString(16).padStart(16, "0");
  },
});
await listener.start();

process.on("message", () => {
  const { requests } = origin;
  process.send?.({ requests: requests.count(), bodyBytes: requests.bytesSent });
});
