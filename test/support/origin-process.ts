/**
 * The dev origin as a process of its own, for tests of what a gateway knows: behind `tag dev` both
 * share one memory.
 *
 *     ORIGIN_OPTIONS='{"root": …, "credentials": […], "proxyAccess": {…}}' bun origin-process.ts
 *
 * Says its port like the gateway does and answers /health, so that startProgram can wait for it.
 */

import { systemClock } from "../../src/base/clock.ts";
import { systemRandom } from "../../src/base/random.ts";
import { NO_BODY } from "../../src/http/exchange.ts";
import { createOrigin, type OriginOptions } from "../../src/origin/origin.ts";
import { createStrictListener } from "../../src/server/listener.ts";

const log = { info() {}, debug() {}, warn: report, error: report };

function report(message: string, fields: Record<string, unknown> = {}): void {
  process.stderr.write(`${message} ${JSON.stringify(fields)}\n`);
}

const options = JSON.parse(process.env["ORIGIN_OPTIONS"] ?? "{}") as Pick<
  OriginOptions,
  "root" | "credentials" | "proxyAccess"
>;
const origin = await createOrigin({ ...options, clock: systemClock, random: systemRandom, log });
let requests = 0;
const listener = createStrictListener({
  bindIp: "127.0.0.1",
  port: 0,
  clock: systemClock,
  log,
  newRequestId: () => `origin-${(requests += 1)}`,
  handler: (inbound) =>
    inbound.rawTarget === "/health"
      ? { status: 200, headers: ["Content-Length", "0"], body: NO_BODY }
      : origin.handle(inbound),
});
await listener.start();
process.on("SIGTERM", () => {
  void listener.stop().then(() => {
    origin.close();
    process.exit(0);
  });
});
process.stdout.write(`${JSON.stringify({ httpPort: listener.port })}\n`);
