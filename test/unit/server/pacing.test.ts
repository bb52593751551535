// Goal: connections from this machine are not paced, those from elsewhere are as the host wants it.
// Method: real sockets; a host whose default is BBR is played by its name, since nothing else of it
// is looked at. Linux only, like the code.

import { afterEach, describe, expect, test } from "bun:test";
import type { Socket, TCPSocketListener } from "bun";
import { connect } from "node:net";

import {
  congestionControlOf,
  descriptorOf,
  localEndOf,
  ownDescriptors,
  remoteEndOf,
} from "../../../src/base/socket-calls.ts";
import type { SocketEnd } from "../../../src/base/socket-calls.ts";
import { PacingByPort, withoutLocalPacing } from "../../../src/server/pacing.ts";
import { SimClock } from "../../support/sim-clock.ts";

const open: { stop(isNow: boolean): void }[] = [];
afterEach(() => {
  for (const each of open.splice(0)) each.stop(true);
});

function listen(onOpen: (socket: Socket<unknown>) => void): TCPSocketListener {
  const listener = Bun.listen<unknown>({
    hostname: "127.0.0.1",
    port: 0,
    socket: { open: onOpen, data: () => undefined },
  });
  open.push(listener);
  return listener;
}

async function connectTo(port: number): Promise<void> {
  const socket = await Bun.connect({
    hostname: "127.0.0.1",
    port,
    socket: { data: () => undefined },
  });
  open.push({ stop: () => socket.end() });
}

describe.if(process.platform === "linux")("pacing", () => {
  test("is off for a client with the same address as the listener", async () => {
    const accepted = Promise.withResolvers<string | undefined>();
    const listener = listen((socket) => {
      const { localAddress, remoteAddress } = socket;
      pacing?.onAccepted({ descriptor: descriptorOf(socket), localAddress, remoteAddress });
      accepted.resolve(congestionControlOf(descriptorOf(socket)));
    });
    const pacing = withoutLocalPacing(descriptorOf(listener), "bbr");
    await connectTo(listener.port);
    expect(await accepted.promise).toBe("reno");
  });

  test("is as the host has it for a client from elsewhere", async () => {
    const accepted = Promise.withResolvers<string | undefined>();
    const listener = listen((socket) => {
      const localAddress = "192.0.2.1"; // no packet comes from there
      const { remoteAddress } = socket;
      pacing?.onAccepted({ descriptor: descriptorOf(socket), localAddress, remoteAddress });
      accepted.resolve(congestionControlOf(descriptorOf(socket)));
    });
    const host = congestionControlOf(descriptorOf(listener)) ?? "";
    const pacing = withoutLocalPacing(descriptorOf(listener), "bbr");
    await connectTo(listener.port);
    // "bbr" is what was told; a host that does not have it leaves the connection unpaced.
    expect(["bbr", "reno"]).toContain((await accepted.promise) ?? "");
    if (host === "bbr") expect(await accepted.promise).toBe("bbr");
  });

  test("is left alone on a host that does not pace", () => {
    const listener = listen(() => undefined);
    const before = congestionControlOf(descriptorOf(listener));
    expect(withoutLocalPacing(descriptorOf(listener), "cubic")).toBeUndefined();
    expect(congestionControlOf(descriptorOf(listener))).toBe(before ?? "");
  });

  test("is left alone when the descriptor is none", () => {
    expect(congestionControlOf(-1)).toBeUndefined();
    expect(withoutLocalPacing(-1)).toBeUndefined();
  });
});

/** A server that shows no descriptors, and connections to it from addresses of this machine. */
function hideServer() {
  const server = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response("") });
  open.push(server);
  const port = server.port ?? 0;
  const clock = new SimClock();
  const pacing = PacingByPort.prepare(port, clock, "bbr");
  if (pacing === undefined) throw new Error("the listening socket was not found");
  return {
    clock,
    pacing,
    connectFrom: async (localAddress: string) => {
      const client = await new Promise<SocketEnd>((resolve, reject) => {
        const socket = connect({ host: "127.0.0.1", port, localAddress });
        open.push({ stop: () => socket.destroy() });
        socket.once("error", reject);
        // An answer has come: the server has accepted it.
        socket.once("data", () => resolve({ address: localAddress, port: socket.localPort ?? 0 }));
        socket.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
      });
      const descriptor = ownDescriptors().find(
        (each) => localEndOf(each)?.port === port && remoteEndOf(each)?.port === client.port,
      );
      return { client, congestionControl: () => congestionControlOf(descriptor ?? -1) };
    },
  };
}

describe.if(process.platform === "linux")("pacing of a server that shows no descriptors", () => {
  /** What a connection has that was given back to the host; one without BBR cannot set it. */
  function givenBack(): string {
    const isThere = congestionControlOf(descriptorOf(listen(() => undefined))) === "bbr";
    return isThere ? "bbr" : "reno";
  }

  test("is off for a client on loopback, also after a large reply", async () => {
    const { pacing, connectFrom } = hideServer();
    const { client, congestionControl } = await connectFrom("127.0.0.1");
    expect(congestionControl()).toBe("reno");
    pacing.beforeLargeReply(client);
    expect(congestionControl()).toBe("reno");
  });

  test("is as the host has it from the first large reply on for a client from elsewhere", async () => {
    const { pacing, connectFrom } = hideServer();
    const first = await connectFrom("127.0.0.2");
    const second = await connectFrom("127.0.0.3");
    expect(first.congestionControl()).toBe("reno");
    pacing.beforeLargeReply(first.client);
    expect(first.congestionControl()).toBe(givenBack());
    expect(second.congestionControl()).toBe("reno");
    pacing.beforeLargeReply(first.client);
    pacing.beforeLargeReply(second.client);
    expect(first.congestionControl()).toBe(givenBack());
    expect(second.congestionControl()).toBe(givenBack());
  });

  test("searches for connections once a second at most", async () => {
    const { pacing, clock, connectFrom } = hideServer();
    pacing.beforeLargeReply({ address: "127.0.0.2", port: 1 }); // there is none such
    const { client, congestionControl } = await connectFrom("127.0.0.2");
    await clock.advance(999);
    pacing.beforeLargeReply(client);
    expect(congestionControl()).toBe("reno");
    await clock.advance(1);
    pacing.beforeLargeReply(client);
    expect(congestionControl()).toBe(givenBack());
  });

  test("is left alone where nobody listens, and on a host that does not pace", () => {
    const listener = listen(() => undefined);
    const { port } = listener;
    expect(PacingByPort.prepare(port, new SimClock(), "cubic")).toBeUndefined();
    listener.stop(true);
    expect(PacingByPort.prepare(port, new SimClock(), "bbr")).toBeUndefined();
  });
});
