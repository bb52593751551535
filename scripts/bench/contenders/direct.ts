/**
 * No cache at all: the same signed requests straight to the origin. When hits are compared the origin
 * moves to the core of the servers under test, so that its figures are those of a server; when misses
 * are compared it stays where it is for everybody, on the core of the clients.
 */

import type { Server } from "../contender.ts";
import type { OriginServer } from "../origin.ts";

export function asDirect(origin: OriginServer): Server {
  return {
    endpoints: [{ contender: "direct", host: "127.0.0.1", port: origin.port, isSigned: true }],
    get pids() {
      return origin.pids;
    },
    keepsBodiesInMemory: false,
    renew: () => Promise.resolve(true), // nothing is cached
    stop: () => Promise.resolve(), // it is stopped as the origin
  };
}
