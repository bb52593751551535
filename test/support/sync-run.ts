/**
 * A tree through the gateway and back: up, down twice, changed and up again, down once more. What
 * comes down must be what went up, to the byte, each time.
 */

import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { seededRandom } from "../../src/base/random.ts";
import type { Program } from "./binary.ts";
import { RawClient } from "./raw-client.ts";
import type { SyncClient } from "./sync-clients.ts";
import { changeTree, differences, hashesOf, makeTree, type TreeOptions } from "./sync-tree.ts";

export interface SyncStep {
  readonly name: string;
  readonly seconds: number;
  /** Reads answered from the cache and from upstream meanwhile. */
  readonly hits: number;
  readonly misses: number;
}

const PAIR = { accessKeyId: "tagdev", secretAccessKey: "tagdevsecret" };

/** Runs one client against a started `tag dev`. Throws when a tree came back different. */
export async function syncRun(
  client: SyncClient,
  program: Program,
  bucket: string,
  options: TreeOptions,
): Promise<SyncStep[]> {
  const folder = await mkdtemp(join(tmpdir(), "tag-sync-"));
  const random = seededRandom(options.files);
  const { endpoint } = program;
  const [local, first, second] = ["local", "first", "second"].map((name) => join(folder, name));
  if (local === undefined || first === undefined || second === undefined)
    throw new Error("no folders");
  const steps: SyncStep[] = [];

  const step = async (name: string, act: () => Promise<void>): Promise<void> => {
    const before = await readsOf(endpoint);
    const startedAtMs = systemClock.monotonicMs();
    await act();
    const seconds = (systemClock.monotonicMs() - startedAtMs) / 1000;
    const after = await readsOf(endpoint);
    steps.push({
      name,
      seconds,
      hits: after.hits - before.hits,
      misses: after.misses - before.misses,
    });
  };
  const same = async (target: string): Promise<void> => {
    const found = differences(await hashesOf(local), await hashesOf(target));
    if (found.length > 0) throw new Error(`${client.name}: ${found.join("\n")}`);
  };

  try {
    for (const path of [local, first, second]) await mkdir(path);
    await makeTree(local, random, options);
    const created = await new RawClient(endpoint, PAIR).call({
      method: "PUT",
      rawTarget: `/${bucket}`,
    });
    if (created.status !== 200) throw new Error(`no bucket: ${created.status}`);

    await step("up", () => client.up(endpoint, local, bucket));
    await step("down", () => client.down(endpoint, bucket, first));
    await same(first);
    await step("down again", () => client.down(endpoint, bucket, second));
    await same(second);
    await changeTree(local, random, 10);
    await step("changes up", () => client.up(endpoint, local, bucket));
    await step("changes down", () => client.down(endpoint, bucket, first));
    await same(first);
    return steps;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function readsOf(endpoint: string): Promise<{ hits: number; misses: number }> {
  const text = await (await fetch(`${endpoint}/metrics`)).text();
  const sum = (name: string) =>
    [...text.matchAll(new RegExp(`^${name}(?:\\{.*\\})? (\\S+)$`, "gm"))].reduce(
      (total, [, value]) => total + Number(value),
      0,
    );
  return { hits: sum("tag_cache_hits_total"), misses: sum("tag_cache_misses_total") };
}
