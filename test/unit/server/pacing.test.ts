// Goal: connections from this machine are not paced, those from elsewhere are as the host wants it.
// Method: real sockets; a host whose default is BBR is played by its name, since nothing else of it
// is looked at. Linux only, like the code.

import { afterEach, describe, expect, test } from "bun:test";
import type { Socket, TCPSocketListener } from "bun";
import { descriptorOf } from "../../../src/server/http1/wire.ts";
import { congestionControlOf, withoutLocalPacing } from "../../../src/server/pacing.ts";

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
