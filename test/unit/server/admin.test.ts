// Goal: nobody gets past the administrative routes without the token and this machine's address.

import { describe, expect, test } from "bun:test";
import { chmodSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { bytesSource } from "../../../src/base/byte-source.ts";
import { systemRandom } from "../../../src/base/random.ts";
import type { Inbound } from "../../../src/http/exchange.ts";
import { Fields } from "../../../src/http/fields.ts";
import {
  createAdmin,
  newAdminToken,
  readAdminAccess,
  removeAdminAccess,
  writeAdminAccess,
} from "../../../src/server/admin.ts";

const TOKEN = newAdminToken(systemRandom);

interface Call {
  readonly path?: string;
  readonly method?: string;
  readonly authorization?: string;
  readonly from?: string;
  readonly body?: string;
}

async function call(what: Call) {
  const done: unknown[] = [];
  const admin = createAdmin({
    token: TOKEN,
    bindIp: "10.0.0.5",
    actions: {
      purge: async (bucket, prefix) => {
        done.push([bucket, prefix]);
        return { entries: 3 };
      },
      pin: async (bucket, prefix) => {
        done.push(["pin", bucket, prefix]);
        return { entries: 4 };
      },
      unpin: async (bucket, prefix) => {
        done.push(["unpin", bucket, prefix]);
        return bucket === "pinned" ? { entries: 0 } : undefined;
      },
      verify: async (damaged) => {
        done.push(damaged);
        return { dropped: damaged.length };
      },
      compact: async () => ({ segments: 1 }),
    },
  });
  const inbound: Inbound = {
    id: "1",
    method: what.method ?? "POST",
    rawTarget: `/_/api/admin/cache/${what.path ?? "purge"}`,
    fields: new Fields(["Authorization", what.authorization ?? `Bearer ${TOKEN}`]),
    body: what.body === undefined ? null : bytesSource(new TextEncoder().encode(what.body)),
    signal: new AbortController().signal,
    remoteAddress: what.from ?? "127.0.0.1",
    isSecure: false,
    receivedAtMs: 0,
  };
  const { status, body } = await admin(inbound);
  const bytes = body.kind === "bytes" ? body.bytes : new Uint8Array(0);
  return { status, answer: JSON.parse(new TextDecoder().decode(bytes)) as unknown, done };
}

const PURGE = '{"bucket":"b","prefix":"p/"}';

describe("who may call", () => {
  test.each([
    ["127.0.0.1", 200, "loopback"],
    ["127.8.9.1", 200, "all of 127/8 is loopback"],
    ["::1", 200, "loopback of IPv6"],
    ["::ffff:127.0.0.1", 200, "IPv4 on a socket for both"],
    ["10.0.0.5", 200, "our own address, so this machine"],
    ["10.0.0.6", 401, "a neighbour"],
    ["::ffff:10.0.0.6", 401, "a neighbour on a socket for both"],
    ["1270.0.1", 401, "no address of ours"],
  ])("a caller from %s gets %d: %s", async (from, status) => {
    const { status: got, done } = await call({ from, body: PURGE });
    expect([got, done.length]).toEqual([status, status === 200 ? 1 : 0]);
  });

  test.each([
    ["", "none"],
    ["Bearer", "an empty one"],
    [`Bearer ${TOKEN.slice(0, -1)}`, "a shorter one"],
    [`Bearer ${TOKEN}A`, "a longer one"],
    [`Basic ${TOKEN}`, "another scheme"],
    [TOKEN, "no scheme"],
  ])("a call with the token %p is refused: %s", async (authorization) => {
    const { status, answer, done } = await call({ authorization, body: PURGE });
    expect([status, answer, done]).toEqual([401, { error: "unauthorized" }, []]);
  });
});

describe("what may be said", () => {
  test.each<[Call, number, unknown]>([
    [{ body: PURGE }, 200, ["b", "p/"]],
    [{ body: '{"bucket":"b"}' }, 200, ["b", ""]],
    [{ body: '{"bucket":""}' }, 400, undefined],
    [{ body: '{"bucket":"b","prefix":1}' }, 400, undefined],
    [{ body: '["b"]' }, 400, undefined],
    [{ body: "{" }, 400, undefined],
    [{ body: `{"bucket":"${"b".repeat(2_000_000)}"}` }, 400, undefined],
    [{}, 400, undefined],
    [
      { path: "verify", body: '{"damaged":[{"bucket":"b","key":"k","version":7,"more":1}]}' },
      200,
      [{ bucket: "b", key: "k", version: 7 }],
    ],
    [{ path: "verify", body: '{"damaged":[{"bucket":"b","key":"k"}]}' }, 400, undefined],
    [{ path: "verify", body: '{"damaged":[null]}' }, 400, undefined],
    [{ path: "verify", body: "{}" }, 400, undefined],
    [{ path: "compact" }, 200, undefined],
    [{ path: "compact", method: "GET" }, 405, undefined],
    [{ path: "other" }, 404, undefined],
  ])("%j is answered %d", async (what, status, done) => {
    const got = await call(what);
    expect(got.status).toBe(status);
    expect(got.done[0]).toEqual(done);
  });
});

describe("the file", () => {
  test("is for its owner alone, also where a readable draft was left, and says nothing when damaged", () => {
    const folder = mkdtempSync(join(tmpdir(), "tag-admin-"));
    const path = join(folder, "admin.json");
    try {
      expect(readAdminAccess(folder)).toBeUndefined();
      writeFileSync(`${path}.new`, "left by a killed process");
      chmodSync(`${path}.new`, 0o644);
      writeAdminAccess(folder, { port: 8080, token: TOKEN });
      expect(statSync(path).mode & 0o777).toBe(0o600);
      expect(readAdminAccess(folder)).toEqual({ port: 8080, token: TOKEN });
      writeFileSync(path, '{"port":"8080"}');
      expect(readAdminAccess(folder)).toBeUndefined();
      removeAdminAccess(folder);
      removeAdminAccess(folder);
      expect(readAdminAccess(folder)).toBeUndefined();
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
