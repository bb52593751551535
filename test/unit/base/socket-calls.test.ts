// Real sockets of both families; nothing is known of descriptors that are none. Linux only, like the code.

import { expect, test } from "bun:test";

import {
  congestionControlOf,
  isListening,
  localEndOf,
  localPortOf,
  ownDescriptors,
  remoteEndOf,
  setCongestionControl,
} from "../../../src/base/socket-calls.ts";

test.skipIf(process.platform !== "linux").each([
  ["127.0.0.1", "127.0.0.1"],
  ["::1", "::1"],
  ["::", "127.0.0.1"],
])("listening on %s, a client of %s and its connection know each other", async (hostname, to) => {
  const accepted = Promise.withResolvers<void>();
  const listener = Bun.listen({
    hostname,
    port: 0,
    socket: { open: () => accepted.resolve(), data: () => undefined },
  });
  const client = await Bun.connect({
    hostname: to,
    port: listener.port,
    socket: { data: () => undefined },
  });
  await accepted.promise;
  try {
    const ofPort = ownDescriptors().filter((each) => localEndOf(each)?.port === listener.port);
    expect(ofPort).toHaveLength(2);
    const [acceptor = -1] = ofPort.filter(isListening);
    const [connection = -1] = ofPort.filter((each) => !isListening(each));
    expect(remoteEndOf(acceptor)).toBeUndefined();
    expect(remoteEndOf(connection)).toEqual({ address: to, port: client.localPort });
    expect(localEndOf(connection)).toEqual({ address: to, port: listener.port });
    expect(localPortOf(connection)).toBe(listener.port);
    expect(setCongestionControl(connection, "reno")).toBe(true);
    expect(congestionControlOf(connection)).toBe("reno");
    expect(setCongestionControl(connection, "none such")).toBe(false);
  } finally {
    client.end();
    listener.stop(true);
  }
});

test("nothing is known of what is no socket", () => {
  for (const descriptor of [-1, 0]) {
    expect(remoteEndOf(descriptor)).toBeUndefined();
    expect(isListening(descriptor)).toBe(false);
  }
  expect(congestionControlOf(-1)).toBeUndefined();
  expect(localEndOf(-1)).toBeUndefined();
  expect(localPortOf(-1)).toBeUndefined();
  expect(setCongestionControl(-1, "reno")).toBe(false);
});
