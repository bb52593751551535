/** What starting servers has in common: the result, a free port, a program's output, waiting. */

import { createServer, type AddressInfo } from "node:net";

import { systemClock } from "../../src/base/clock.ts";
import type { KeyPair } from "../../src/s3/sigv4.ts";

/** An S3 server the suite can be run against. */
export interface Server extends AsyncDisposable {
  /** For the report: `Ceph RGW 16.2.15`. */
  readonly name: string;
  /** The suite's configuration for it. */
  readonly conf: string;
  /** What a gateway in transparent mode proves itself with; undefined: the server knows no gateways. */
  readonly proxyAccess: KeyPair | undefined;
  /** Tests that end the server itself, as `test_s3.py::test_name`: they are not run. */
  readonly crashedBy: readonly string[];
}

/** A port of the loopback interface that is free at this moment. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Standard output of a program. Rejects with its standard error when it fails. */
export async function output(command: readonly string[]): Promise<string> {
  const child = Bun.spawn([...command], { stdout: "pipe", stderr: "pipe" });
  const [text, error] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  if ((await child.exited) !== 0) throw new Error(`${command.slice(0, 4).join(" ")}: ${error}`);
  return text;
}

/** Waits until the endpoint answers anything. Rejects when `isOver` or when the time is up. */
export async function untilListening(
  endpoint: string,
  isOver: () => boolean,
  limitMs: number,
): Promise<void> {
  const deadlineMs = systemClock.monotonicMs() + limitMs;
  while (!isOver() && systemClock.monotonicMs() < deadlineMs) {
    if (await fetch(endpoint).catch(() => undefined)) return;
    await systemClock.sleep(100);
  }
  throw new Error(`nothing listens at ${endpoint}`);
}
