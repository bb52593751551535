/**
 * Facts about Bun that src/server/ is shaped by. None of them is promised by Bun: when one of
 * these tests fails after an upgrade, the code that names the fact can become simpler, or has
 * to change before the upgrade ships.
 */

import { afterAll, expect, test } from "bun:test";
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { createServer as createHttpsServer } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { WireClient, headerOf, requestText } from "../support/wire-client.ts";
import type { WireResponse } from "../support/wire-client.ts";

const folder = mkdtempSync(join(tmpdir(), "tag-bun-facts-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const path = join(folder, "file");
writeFileSync(path, Buffer.alloc(5000, "f"));

/** What `Bun.serve` makes of one response. */
async function exchange(
  make: (request: Request) => Response,
  headers: readonly string[] = [],
): Promise<WireResponse> {
  const server = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: make, error: internalError });
  try {
    await using client = await WireClient.connect(server.port ?? 0);
    await client.send(requestText("GET", "/b/a/../k", headers));
    return await client.response();
  } finally {
    await server.stop(true);
  }
}

const internalError = () => new Response(null, { status: 500 });
const OCTETS: [string, string] = ["content-type", "application/octet-stream"];

test("a streamed body loses its Content-Length (issue 10507: zero-copy.ts buffers small ones)", async () => {
  const source = async function* () {
    yield Buffer.alloc(10);
    await Bun.sleep(1);
    yield Buffer.alloc(10);
  };
  const response = await exchange(
    () => new Response(source(), { headers: { "content-length": "20" } }),
  );
  expect(response.framing).toBe("chunked");
});

test("the target of Request.url is normalised (zero-copy.ts, difference 2)", async () => {
  const response = await exchange((request) => new Response(new URL(request.url).pathname));
  expect(Buffer.from(response.body).toString()).toBe("/b/k");
});

test("a whole file answers Range although the status says 200 (zero-copy.ts, #fileResponse)", async () => {
  const response = await exchange(
    () => new Response(Bun.file(path).slice(0, 5000), { status: 200, headers: [OCTETS] }),
    ["Range", "bytes=1-5"],
  );
  expect(response.status).toBe(206);
});

test("a file of an opaque type gets a Content-Disposition with its name (zero-copy.ts, difference 4)", async () => {
  const response = await exchange(
    () => new Response(Bun.file(path).slice(10, 20), { status: 200, headers: [OCTETS] }),
  );
  expect(headerOf(response, "content-disposition")).toBe('filename="file"');
});

test("a file is opened after the handler returned (zero-copy.ts, fileGraceMs)", async () => {
  const response = await exchange(() => {
    const descriptor = openSync(path, "r");
    queueMicrotask(() => closeSync(descriptor));
    const file = Bun.file(`/proc/self/fd/${descriptor}`).slice(10, 20);
    return new Response(file, { status: 200, headers: [OCTETS] });
  });
  expect(response.status).toBe(500);
});

test("a file shorter than its slice shortens Content-Length (zero-copy.ts checks the size)", async () => {
  const response = await exchange(
    () => new Response(Bun.file(path).slice(0, 9000), { status: 200, headers: [OCTETS] }),
  );
  expect(headerOf(response, "content-length")).toBe("5000");
});

test("https.Server cannot swap its certificate (strict.ts accepts with a tls.Server)", () => {
  expect("setSecureContext" in createHttpsServer()).toBe(false);
});
