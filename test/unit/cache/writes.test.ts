// A write under way: what may be used and stored meanwhile, what stays when it is refused, and
// what a process that was killed in between finds out.
import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemDisk, type Disk } from "../../../src/base/disk.ts";
import { GatewayError } from "../../../src/base/errors.ts";
import { Cache, openWriteNotes, type WriteTargets } from "../../../src/cache/cache.ts";
import { readWishes } from "../../../src/cache/decision.ts";
import { Fields } from "../../../src/http/fields.ts";
import { createMemoryStorage, type MemoryStorage } from "../../support/memory-storage.ts";
import { SimClock } from "../../support/sim-clock.ts";

const A = { bucket: "bucket", key: "a" };
const B = { bucket: "bucket", key: "b" };
const OF_A: WriteTargets = { kind: "objects", ids: [A] };
const NOTHING_ASKED = new Fields([]);

let folder: string;
let clock: SimClock;
let storage: MemoryStorage;
let cache: Cache;
let troubles: unknown[];

function open(disk: Disk = systemDisk): Cache {
  const notes = openWriteNotes({ folder, disk, onTrouble: (cause) => troubles.push(cause) });
  return new Cache(
    storage,
    clock,
    { ttlMs: 3_600_000, sizeThresholdBytes: 1000, staleIfErrorMs: 0, tombstonesMax: 10 },
    { fillSkipped: () => undefined, invalidated: () => undefined },
    notes,
  );
}

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "tag-writes-"));
  clock = new SimClock();
  storage = createMemoryStorage();
  troubles = [];
  cache = open();
});

afterEach(() => rm(folder, { recursive: true }));

/** Stores `text` as upstream's answer to a request that was sent when `permit` was taken. */
async function store(text: string, permit = cache.permit(A)): Promise<string> {
  const headers = ["ETag", `"${text}"`, "Content-Length", String(text.length)];
  const fill = cache.beginFill({
    permit,
    status: 200,
    fields: new Fields(headers),
    headers,
    sizeBytes: text.length,
    requestFields: NOTHING_ASKED,
    isPublic: false,
  });
  await fill?.write(0, Buffer.from(text));
  const outcome = await fill?.commit(() => cache.isValid(permit));
  fill?.release();
  return outcome?.kind ?? "none";
}

/** A disk that takes no more bytes into open files. */
function diskThat(problem: string): Disk {
  return {
    ...systemDisk,
    open(path, mode) {
      const file = systemDisk.open(path, mode);
      return new Proxy(file, {
        get(target, name) {
          if (name === "writeSync") throw new GatewayError("storage_io", problem);
          const member: unknown = Reflect.get(target, name, target);
          return typeof member === "function" ? member.bind(target) : member;
        },
      });
    },
  };
}

/** What a read of A would do, and of which version. */
function decided(id = A): string {
  const entry = cache.lookup(id, NOTHING_ASKED);
  const decision = cache.decide(entry, readWishes(NOTHING_ASKED));
  return entry === undefined ? decision.kind : `${decision.kind} ${entry.etag}`;
}

test("an entry from before the write is used only when upstream confirms it", async () => {
  await store("old");
  await clock.advance(1);
  const write = cache.beginWrite(OF_A);
  expect(decided()).toBe('revalidate "old"');
  expect(decided(B)).toBe("miss");
  write.settle("succeeded", OF_A);
  expect(decided()).toBe("miss");
});

test("an entry that was confirmed while the write is under way is used until it succeeds", async () => {
  await store("old");
  const write = cache.beginWrite(OF_A);
  await clock.advance(1);
  const entry = cache.lookup(A, NOTHING_ASKED);
  if (entry === undefined) throw new Error("the entry is gone");
  cache.refresh(entry, ["ETag", '"old"'], false);
  expect(decided()).toBe('hit "old"');
  write.settle("succeeded", OF_A);
  expect(decided()).toBe("miss");
});

test("a refused write leaves the entry as it was", async () => {
  await store("old");
  await clock.advance(1);
  const write = cache.beginWrite(OF_A);
  write.settle("rejected", OF_A);
  expect(decided()).toBe('hit "old"');
});

test("a refused write leaves the entry doubted while another write is under way", async () => {
  await store("old");
  await clock.advance(1);
  const refused = cache.beginWrite(OF_A);
  const running = cache.beginWrite(OF_A);
  refused.settle("rejected", OF_A);
  expect(decided()).toBe('revalidate "old"');
  running.settle("succeeded", OF_A);
  expect(decided()).toBe("miss");
});

test("a fill that began before the write commits only when the write was refused", async () => {
  const early = cache.permit(A);
  const write = cache.beginWrite(OF_A);
  expect(await store("old", early)).toBe("refused");
  write.settle("rejected", OF_A);
  expect(await store("old", early)).toBe("committed");

  const again = cache.permit(A);
  const second = cache.beginWrite(OF_A);
  second.settle("succeeded", OF_A);
  expect(await store("older", again)).toBe("refused");
});

test("what is stored while a write is under way goes when it succeeds", async () => {
  const write = cache.beginWrite(OF_A);
  const permit = cache.permit(A);
  await clock.advance(1);
  expect(await store("old", permit)).toBe("committed");
  expect(decided()).toBe('hit "old"');
  const late = cache.permit(A);
  write.settle("succeeded", OF_A);
  expect(decided()).toBe("miss");
  expect(await store("old", late)).toBe("refused");
});

test("a write of a bucket doubts its objects and no others", async () => {
  await store("old");
  await clock.advance(1);
  const write = cache.beginWrite({ kind: "bucket", bucket: "bucket" });
  const other = cache.beginWrite({ kind: "bucket", bucket: "other" });
  expect(decided()).toBe('revalidate "old"');
  write.settle("rejected", { kind: "bucket", bucket: "bucket" });
  other.settle("succeeded", { kind: "bucket", bucket: "other" });
  expect(decided()).toBe('hit "old"');
});

test("a bulk deletion that failed for a key keeps its entry", async () => {
  await store("old");
  await clock.advance(1);
  const write = cache.beginWrite({ kind: "objects", ids: [A, B] });
  write.settle("succeeded", { kind: "objects", ids: [B] });
  expect(decided()).toBe('hit "old"');
});

test("after a write without an answer everything is confirmed for a minute, then stored afresh", async () => {
  await store("old");
  const write = cache.beginWrite(OF_A);
  write.settle("unknown", OF_A);
  expect(decided()).toBe("miss");
  await clock.advance(10);
  await store("old");
  await clock.advance(10);
  expect(decided()).toBe('revalidate "old"');
  await clock.advance(60_000);
  expect(decided()).toBe("miss");
  await store("new");
  expect(decided()).toBe('hit "new"');
});

// The interleavings of a kill: the next process is a new Cache over the same store and folder.

test("after a kill before the answer, the entry from before the write is gone", async () => {
  await store("old");
  cache.beginWrite(OF_A);
  cache = open();
  expect(decided()).toBe("miss");
});

test("after a kill before the answer, what was stored meanwhile is gone", async () => {
  cache.beginWrite(OF_A);
  await store("old");
  cache = open();
  expect(decided()).toBe("miss");
});

test("after a kill before the answer of a bucket's write, the whole bucket is gone", async () => {
  await store("old");
  cache.beginWrite({ kind: "bucket", bucket: "bucket" });
  cache = open();
  expect(decided()).toBe("miss");
});

test("after a kill upstream may still carry the write out: all is confirmed for a minute", async () => {
  await store("old");
  cache.beginWrite(OF_A);
  cache = open();
  await clock.advance(10);
  await store("old");
  expect(decided()).toBe('revalidate "old"');
  cache = open(); // killed once more
  expect(decided()).toBe("miss");
  await store("old");
  await clock.advance(60_000);
  expect(decided()).toBe("miss");
  cache = open();
  await store("new");
  expect(decided()).toBe('hit "new"');
});

test("after a kill behind a refusal, the entry is still there", async () => {
  await store("old");
  await clock.advance(1);
  cache.beginWrite(OF_A).settle("rejected", OF_A);
  cache = open();
  expect(decided()).toBe('hit "old"');
});

test("when no note can be written, the entry goes before the write is forwarded and none comes meanwhile", async () => {
  cache = open(diskThat("is full"));
  await store("old");
  await clock.advance(1);
  const write = cache.beginWrite(OF_A);
  expect(decided()).toBe("miss");
  expect(await store("old")).toBe("refused");
  expect(troubles).not.toBeEmpty();
  write.settle("rejected", OF_A);
  expect(await store("old")).toBe("committed");
});
