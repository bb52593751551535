/**
 * Another S3 cache, started by whoever runs the benchmark: `--peer name=url` or `--peer name=url@pid`.
 * It must serve the origin's bucket and accept the benchmark's key pair. It gets signed requests. We cannot
 * empty it, so it takes part in hits only; its CPU time is known when its process id is.
 */

import { lookup } from "node:dns/promises";

import type { Server } from "../contender.ts";
import { processTree } from "../proc.ts";

export interface PeerSpec {
  readonly name: string;
  readonly url: URL;
  readonly pid: number | undefined;
}

/** Reads the value of `--peer`. Throws a RangeError that says how it should look. */
export function parsePeer(text: string): PeerSpec {
  const match = /^([\w-]+)=(http:\/\/.+?)(?:@(\d+))?$/.exec(text);
  const [, name, address, pid] = match ?? [];
  if (name === undefined || address === undefined || !URL.canParse(address)) {
    throw new RangeError(
      `--peer ${text} is not name=http://host:port or name=http://host:port@pid`,
    );
  }
  return { name, url: new URL(address), pid: pid === undefined ? undefined : Number(pid) };
}

export async function asPeer({ name, url, pid }: PeerSpec): Promise<Server> {
  const { address } = await lookup(url.hostname, { family: 4 });
  return {
    endpoints: [{ contender: name, host: address, port: Number(url.port || "80"), isSigned: true }],
    get pids() {
      return pid === undefined ? [] : processTree(pid);
    },
    keepsBodiesInMemory: false,
    renew: () => Promise.resolve(false),
    stop: () => Promise.resolve(),
  };
}
