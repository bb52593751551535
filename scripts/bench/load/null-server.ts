/**
 * The least a server can do: the same answer of 1 KiB for whatever arrives, without reading it. How
 * many requests per second the load generator gets out of this is the ceiling of every figure that
 * is not marked as bound by the client.
 *
 *     bun scripts/bench/load/null-server.ts PORT
 */

const answer = Buffer.concat([
  Buffer.from("HTTP/1.1 200 OK\r\nContent-Length: 1024\r\nX-Cache: HIT\r\n\r\n"),
  Buffer.alloc(1024, 0x61),
]);

Bun.listen({
  hostname: "127.0.0.1",
  port: Number(process.argv[2] ?? 0),
  socket: {
    data(socket) {
      socket.write(answer);
    },
  },
});
