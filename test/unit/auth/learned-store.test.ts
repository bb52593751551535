import { expect, test } from "bun:test";
import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createTransparentAuth } from "../../../src/auth/auth.ts";
import type { Auth, LearnedFiles } from "../../../src/auth/auth.ts";
import { LearnedStore, systemLearnedFiles } from "../../../src/auth/learned-store.ts";
import { openLearned, sealLearned } from "../../../src/auth/sealed.ts";
import { seededRandom } from "../../../src/base/random.ts";
import { Secret } from "../../../src/base/secret.ts";
import { SimClock } from "../../support/sim-clock.ts";

const START_MS = Date.UTC(2026, 6, 24, 12);
const SECRET = new Secret("tsec_test_secret");
const LEARNED = {
  keys: [
    { accessKeyId: "ann/x", date: "20260724", region: "auto", key: new Uint8Array(32).fill(9) },
  ],
  grants: [{ grantee: "ann/x", bucket: "pics", expiresAtMs: START_MS + 60_000 }],
};

function memoryFiles(): LearnedFiles & { content: Uint8Array | undefined; writes: number } {
  return {
    content: undefined,
    writes: 0,
    async read() {
      return this.content;
    },
    async replace(_path, bytes) {
      this.content = bytes;
      this.writes += 1;
    },
  };
}

function setUp(
  files: LearnedFiles,
  secret = SECRET,
): {
  clock: SimClock;
  auth: Auth;
  store: LearnedStore;
  troubles: string[];
} {
  const clock = new SimClock({ startMs: START_MS });
  const auth = createTransparentAuth({
    endpoint: "https://t3.storage.dev",
    accessKeyId: "tid_proxy",
    secretAccessKey: SECRET,
    authzTtlMs: 600_000,
    clock,
  });
  const troubles: string[] = [];
  const store = new LearnedStore({
    path: "/learned",
    secret,
    auth,
    files,
    clock,
    random: seededRandom(1),
    onTrouble: (message) => troubles.push(message),
  });
  return { clock, auth, store, troubles };
}

test("what was sealed opens with the same secret only, and shows nothing", () => {
  const sealed = sealLearned(LEARNED, SECRET, seededRandom(1));
  expect(openLearned(sealed, SECRET)).toEqual({
    keys: [{ ...LEARNED.keys[0], key: Buffer.alloc(32, 9) }],
    grants: LEARNED.grants,
  } as unknown as typeof LEARNED);
  expect(openLearned(sealed, new Secret("other"))).toBeUndefined();
  expect(Buffer.from(sealed).toString("latin1")).not.toContain("pics");
});

test("a sealed file with any byte changed or cut off does not open", () => {
  const sealed = sealLearned(LEARNED, SECRET, seededRandom(1));
  for (let at = 0; at < sealed.length; at += 1) {
    const changed = Uint8Array.from(sealed);
    changed[at] = (changed[at] ?? 0) ^ 1;
    expect(openLearned(changed, SECRET)).toBeUndefined();
    expect(openLearned(sealed.subarray(0, at), SECRET)).toBeUndefined();
  }
});

test("two seals of the same content differ", () => {
  const random = seededRandom(1);
  const first = sealLearned(LEARNED, SECRET, random);
  expect(Buffer.compare(first, sealLearned(LEARNED, SECRET, random))).not.toBe(0);
});

test("the next process knows what the last one learned, less what expired meanwhile", async () => {
  const files = memoryFiles();
  files.content = sealLearned(LEARNED, SECRET, seededRandom(1));
  const { auth, store } = setUp(files);
  expect(await store.load()).toBe(true);
  expect(auth.sizes()).toEqual({ keys: 1, grants: 1 });

  const later = setUp(files);
  await later.clock.advance(60_000);
  expect(await later.store.load()).toBe(true);
  expect(later.auth.sizes()).toEqual({ keys: 1, grants: 0 });
});

test("nothing is written while nothing was learned; news are written within a quarter minute and at the end", async () => {
  const files = memoryFiles();
  const { clock, auth, store } = setUp(files);
  const stop = new AbortController();
  const running = store.run(stop.signal);
  await clock.advance(60_000);
  expect(files.writes).toBe(0);
  const claim = { form: "header", accessKeyId: "ann", date: "20260724", region: "auto" };
  const who = { kind: "valid", accessKeyId: "ann", grantee: "ann", claim } as never;
  const success = { isObjectRead: true, bucket: "pics", status: 200, headers: [] };
  auth.learn(who, success);
  await clock.advance(15_000);
  expect(files.writes).toBe(1);
  await clock.advance(60_000);
  expect(files.writes).toBe(1);
  auth.learn(who, { ...success, bucket: "docs" });
  stop.abort();
  await clock.run(running);
  expect(files.writes).toBe(2);
  expect(openLearned(files.content ?? new Uint8Array(0), SECRET)?.grants).toHaveLength(2);
  expect(clock.pendingTimers).toBe(0);
});

test("a missing file is no trouble; a foreign, damaged or failing one is reported and ignored", async () => {
  const missing = setUp(memoryFiles());
  expect([await missing.store.load(), missing.troubles]).toEqual([false, []]);

  const foreign = memoryFiles();
  foreign.content = sealLearned(LEARNED, new Secret("other"), seededRandom(1));
  const other = setUp(foreign);
  expect(await other.store.load()).toBe(false);
  expect(other.troubles).toHaveLength(1);

  const failing = setUp({
    read: () => Promise.reject(new Error("disk")),
    replace: () => Promise.reject(new Error("disk")),
  });
  expect(await failing.store.load()).toBe(false);
  failing.auth.restore(LEARNED);
  await failing.store.save();
  expect(failing.troubles).toEqual(["learned keys could not be read"]);
});

test("on a real disk the file is private, replaced whole, and leaves nothing beside it", async () => {
  const folder = await mkdtemp(join(tmpdir(), "tag-learned-"));
  try {
    const path = join(folder, "learned");
    expect(await systemLearnedFiles.read(path)).toBeUndefined();
    await systemLearnedFiles.replace(path, Buffer.from("one"));
    await systemLearnedFiles.replace(path, Buffer.from("two"));
    expect(Buffer.from((await systemLearnedFiles.read(path)) ?? []).toString()).toBe("two");
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect(await Array.fromAsync(new Bun.Glob("*").scan(folder))).toEqual(["learned"]);
  } finally {
    await rm(folder, { recursive: true });
  }
});
